//! `tailwater try`: runs the rules of a configuration over captured traces, without a network, and tells what each
//! policy keeps; with a second configuration also what is different.

mod capture;
mod report;

use crate::cli::{EXIT_CONFIGURATION, print, say};
use crate::source::ConfigurationSource;
use capture::Capture;
use report::{Comparison, Report};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tailwater_engine::rules::Rules;
use tailwater_engine::trial::Trial;

/// What was captured cannot be read: `EX_NOINPUT` of sysexits.h.
const EXIT_NO_INPUT: u8 = 66;

/// What to try on what.
#[derive(Debug)]
pub struct Request {
    /// The configuration.
    pub config: PathBuf,
    /// The one to compare it with.
    pub against: Option<PathBuf>,
    /// Captures: OTLP JSON lines, protobuf requests, segments of a log, directories of one.
    pub files: Vec<PathBuf>,
    /// Whether to print one JSON object.
    pub json: bool,
}

/// Tries it.
pub fn run(request: &Request) -> ExitCode {
    let mut sides = Vec::new();
    for path in std::iter::once(&request.config).chain(&request.against) {
        match side(path) {
            Ok(side) => sides.push(side),
            Err(problems) => {
                problems.iter().for_each(|problem| say(problem));
                return ExitCode::from(EXIT_CONFIGURATION);
            }
        }
    }
    let mut capture = Capture::default();
    for path in &request.files {
        // A request that one set of rules takes is taken by the other: both scan alike.
        let outcome = capture.read(path, &mut |body| {
            let mut taken = Ok(Default::default());
            for side in &mut sides {
                taken = side.take(body);
            }
            taken
        });
        if let Err(error) = outcome {
            say(&format!("{}: {error}; give OTLP JSON lines, protobuf requests, or a data directory", path.display()));
            return ExitCode::from(EXIT_NO_INPUT);
        }
    }
    for fault in capture.faults() {
        say(fault);
    }
    if capture.spans == 0 {
        say("no span was found in what was given: is it a capture of traces?");
        return ExitCode::from(EXIT_NO_INPUT);
    }
    let mut reports = sides.into_iter().map(Report::of);
    let Some(report) = reports.next() else { return ExitCode::from(EXIT_CONFIGURATION) };
    let comparison = reports.next().map(|other| Comparison::of(&report, other));
    if request.json {
        print(&format!("{}\n", report::json(&capture, &report, comparison.as_ref())));
    } else {
        print(&report::text(&capture, &report, comparison.as_ref()));
    }
    ExitCode::SUCCESS
}

fn side(path: &Path) -> Result<Trial, Vec<String>> {
    let loaded = ConfigurationSource::of_file(path).load()?;
    let sampling = &loaded.config.sampling;
    let rules = Rules::compile(sampling).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    Ok(Trial::new(Arc::new(rules), sampling))
}
