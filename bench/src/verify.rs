//! `tailwater-load verify`: compares what a sampler let out with what it had to let out.

use crate::ledger::{Expectation, Ledger, read_seen, record_json};
use crate::output::Output;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// Options of `tailwater-load verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyOptions {
    /// File written by `generate --expect-out`; may be given several times
    #[arg(long, value_name = "FILE")]
    pub expect: Vec<PathBuf>,
    /// File written by `sink --out`; may be given several times
    #[arg(long, value_name = "FILE")]
    pub seen: Vec<PathBuf>,
    /// File of OTLP/JSON lines, as file exporters write them; may be given several times
    #[arg(long, value_name = "FILE")]
    pub otlp_json: Vec<PathBuf>,
    /// Spans that came twice are counted but no fault (delivery is at least once)
    #[arg(long)]
    pub allow_duplicates: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// Compares and prints; true if everything came out as it should.
///
/// # Errors
/// A text that names the file that cannot be used.
pub fn run(options: &VerifyOptions, output: Output) -> Result<bool, String> {
    if options.seen.is_empty() && options.otlp_json.is_empty() {
        return Err("give at least one file to verify: --seen or --otlp-json".to_owned());
    }
    let mut ledger = Ledger::default();
    for path in &options.seen {
        read_seen(path, &mut ledger).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for path in &options.otlp_json {
        read_json_lines(path, &mut ledger)?;
    }
    let expectation = if options.expect.is_empty() {
        None
    } else {
        Some(Expectation::read(&options.expect).map_err(|error| error.to_string())?)
    };
    let judgement = ledger.judge(expectation.as_ref());
    output.result(&judgement.line("verify"));
    Ok(judgement.is_clean(options.allow_duplicates))
}

fn read_json_lines(path: &Path, ledger: &mut Ledger) -> Result<(), String> {
    let name = path.display();
    let file = BufReader::new(File::open(path).map_err(|error| format!("{name}: {error}"))?);
    for (number, line) in file.split(b'\n').enumerate() {
        let line = line.map_err(|error| format!("{name}: {error}"))?;
        if !line.is_empty() {
            record_json(&line, ledger).map_err(|error| format!("{name}:{}: {error}", number + 1))?;
        }
    }
    Ok(())
}
