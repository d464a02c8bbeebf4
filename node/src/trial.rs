//! `tailwater try`: runs the rules of a configuration over captured traces, without a network, and tells what each
//! policy keeps; with a second configuration also what is different.

mod capture;
mod json;
mod report;

use crate::source::ConfigurationSource;
use crate::terminal::{EXIT_CONFIGURATION, print, say};
use capture::{Capture, STANDARD_INPUT};
use report::{Comparison, Report};
use serde_json::Value;
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
    /// Captures: OTLP as JSON or protobuf, compressed or not, `-` for standard input, segments of a log, directories of one.
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
    let mut capture = Capture::of(&request.files);
    for path in &request.files {
        // A request that one set of rules takes is taken by the other: both scan alike.
        let outcome = capture.read(path, &mut |body| {
            let mut taken = Ok(Default::default());
            for (_, trial) in sides.iter_mut().flatten() {
                taken = trial.take(body);
            }
            taken
        });
        if let Err(error) = outcome {
            capture.end();
            let place = match path.to_str() {
                Some(STANDARD_INPUT) => "standard input".to_string(),
                _ => path.display().to_string(),
            };
            say(&format!(
                "{place}: {error}; give OTLP as JSON or protobuf, as it is or with gzip or zstd, - for standard input, or a \
                data directory"
            ));
            return ExitCode::from(EXIT_NO_INPUT);
        }
    }
    capture.end();
    for fault in capture.faults() {
        say(&fault);
    }
    if capture.spans == 0 {
        say("no span was found in what was given: is it a capture of traces?");
        return ExitCode::from(EXIT_NO_INPUT);
    }
    let mut sides = sides.into_iter();
    let tried = sides.next().unwrap_or_default();
    let mut against = sides.next().map(Counterparts);
    let mut said = Vec::new();
    for (name, trial) in tried {
        let report = Report::of(trial);
        let other = against.as_mut().and_then(|against| against.take(&name));
        let comparison = other.map(|other| Comparison::of(&report, Report::of(other)));
        if request.json {
            said.push((name, report::json(&capture, &report, comparison.as_ref())));
            continue;
        }
        if !name.is_empty() {
            print(&format!("{}pipeline {name}\n\n", if said.is_empty() { "" } else { "\n" }));
        }
        print(&report::text(&capture, &report, comparison.as_ref()));
        said.push((name, Value::Null));
    }
    if request.json {
        print(&format!("{}\n", report::of_pipelines(said)));
    }
    for (name, _) in against.into_iter().flat_map(|against| against.0) {
        say(&format!("pipeline {name} is in the other configuration only, and is compared with nothing"));
    }
    ExitCode::SUCCESS
}

/// The trials of the other configuration that nothing was compared with yet.
struct Counterparts(Side);

impl Counterparts {
    /// The one of the same name; the only one of a configuration without pipelines is that of the first.
    fn take(&mut self, name: &str) -> Option<Trial> {
        let same = self.0.iter().position(|(other, _)| other == name);
        let only = (self.0.len() == 1 && self.0[0].0.is_empty() || name.is_empty()).then_some(0);
        let position = same.or(only).filter(|position| *position < self.0.len())?;
        Some(self.0.remove(position).1)
    }
}

/// A configuration's trials, by the names of its pipelines.
type Side = Vec<(String, Trial)>;

fn side(path: &Path) -> Result<Side, Vec<String>> {
    let loaded = ConfigurationSource::of_file(path).load().map_err(|refused| refused.problems)?;
    let trials = loaded.config.samplings().map(|(name, sampling)| {
        let rules = Rules::compile(sampling).map_err(|error| vec![format!("{}: {error}", path.display())])?;
        Ok((name.to_string(), Trial::new(Arc::new(rules), sampling)))
    });
    trials.collect()
}
