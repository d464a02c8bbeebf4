//! Where results and progress go: results to standard output, progress to standard error, as text or as JSON lines.

use serde_json::Value;
use std::io::Write as _;

/// A line in its two forms.
#[derive(Clone, Debug)]
pub struct Line {
    /// for people
    pub text: String,
    /// for programs
    pub json: Value,
}

/// The program's two output streams.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of text
    pub json: bool,
    /// no progress lines
    pub quiet: bool,
}

impl Output {
    /// A line of progress, on standard error.
    pub fn progress(&self, line: &Line) {
        if !self.quiet {
            self.write(&mut std::io::stderr().lock(), line);
        }
    }

    /// A result, on standard output.
    pub fn result(&self, line: &Line) {
        self.write(&mut std::io::stdout().lock(), line);
    }

    /// A message that says why the program fails, on standard error, always as text.
    pub fn failure(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "tailwater-load: {text}");
    }

    fn write(self, stream: &mut impl std::io::Write, line: &Line) {
        // A reader that went away ends nothing: the run and its exit status matter more than the line.
        let _ = if self.json { writeln!(stream, "{}", line.json) } else { writeln!(stream, "{}", line.text) };
    }
}
