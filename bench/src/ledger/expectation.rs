//! The generator's list of traces that must come out whole, and of what must be visible; written by `generate --expect-out`.

use crate::generate::EXPECT_HEADER;
use crate::visible::Visible;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// What has to come of one trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// its number of spans
    pub spans: u64,
    /// why it must be kept
    pub reason: String,
}

/// What has to come out, and of which traces nothing can be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// traces that must come whole
    pub keep: HashMap<u128, Wanted>,
    /// traces of which a request was given up by the generator
    pub unsure: HashSet<u128>,
    /// what must be visible in all that comes
    pub visible: Visible,
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectationError {
    /// it cannot be read
    #[error("cannot read {path}: {source}")]
    Read {
        /// the file
        path: String,
        /// the system's answer
        source: std::io::Error,
    },
    /// it is not such a list
    #[error("{path}:{line}: not a line that generate --expect-out writes")]
    Line {
        /// the file
        path: String,
        /// from 1
        line: usize,
    },
}

impl Expectation {
    /// Reads one or several lists together, as several generators write them.
    ///
    /// # Errors
    /// [`ExpectationError`] names the file and the line.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self, ExpectationError> {
        let mut expectation = Self::default();
        for path in paths {
            let path = path.as_ref();
            let name = path.display().to_string();
            let failed = |source| ExpectationError::Read { path: name.clone(), source };
            let file = BufReader::new(File::open(path).map_err(failed)?);
            for (number, line) in file.lines().enumerate() {
                let line = line.map_err(failed)?;
                let understood = if number == 0 { line == EXPECT_HEADER } else { expectation.add(&line).is_some() };
                if !understood {
                    return Err(ExpectationError::Line { path: name, line: number + 1 });
                }
            }
        }
        Ok(expectation)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        if let Some(thing) = line.strip_prefix("see ") {
            return self.visible.add_line(thing);
        }
        let mut words = line.split(' ');
        let kind = words.next()?;
        let trace = u128::from_str_radix(words.next()?, 16).ok()?;
        match kind {
            "keep" => {
                let spans = words.next()?.parse().ok()?;
                let reason = words.next()?.to_owned();
                self.keep.insert(trace, Wanted { spans, reason });
            }
            "unsure" => {
                self.unsure.insert(trace);
            }
            _ => return None,
        }
        Some(())
    }
}
