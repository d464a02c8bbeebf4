//! The sink's own record of what came, for `verify`: one line per trace.

use super::Ledger;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Error, ErrorKind, Result, Write as _};
use std::path::Path;

/// First line of the file.
const HEADER: &str = "# tailwater-load seen 1";

/// Writes the ledger: `ID EXPECTED DUPLICATES REASON SPANS`, spans in hex separated by commas, `-` for no reason.
///
/// # Errors
/// The system's answer.
pub fn write_seen(path: &Path, ledger: &Ledger) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "{HEADER}")?;
    for (trace, record) in &ledger.traces {
        let reason = if record.keep.is_empty() { "-" } else { &record.keep };
        write!(file, "{trace:032x} {} {} {reason} ", record.expected, record.duplicates)?;
        for (index, span) in record.spans.iter().enumerate() {
            write!(file, "{}{span:016x}", if index > 0 { "," } else { "" })?;
        }
        writeln!(file)?;
    }
    file.flush()
}

/// Adds a file written by [`write_seen`] to the ledger, as if its spans came now.
///
/// # Errors
/// The system's answer, or `InvalidData` naming the line.
pub fn read_seen(path: &Path, ledger: &mut Ledger) -> Result<()> {
    for (number, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        let understood = if number == 0 { line == HEADER } else { add(&line, ledger).is_some() };
        if !understood {
            return Err(Error::new(ErrorKind::InvalidData, format!("line {} is not one of the sink's", number + 1)));
        }
    }
    Ok(())
}

fn add(line: &str, ledger: &mut Ledger) -> Option<()> {
    let mut words = line.split(' ');
    let trace = u128::from_str_radix(words.next()?, 16).ok()?;
    let trace_spans = words.next()?.parse().ok()?;
    let duplicates: u64 = words.next()?.parse().ok()?;
    let keep = Some(words.next()?).filter(|reason| *reason != "-").unwrap_or_default();
    for span in words.next()?.split(',').filter(|span| !span.is_empty()) {
        let span = u64::from_str_radix(span, 16).ok()?;
        ledger.record(&crate::walk::SpanFacts { trace, span, trace_spans, keep: keep.as_bytes() });
    }
    if let Some(record) = ledger.traces.get_mut(&trace) {
        record.duplicates += duplicates;
        ledger.spans += duplicates;
    }
    Some(())
}
