//! How far the reading of large files is, told on standard error: every few seconds, on a terminal in one line that is
//! written over.

use std::cell::Cell;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often it is told. What is read sooner needs no telling.
const INTERVAL: Duration = Duration::from_secs(2);
/// On a terminal, where nothing scrolls.
const INTERVAL_ON_TERMINAL: Duration = Duration::from_millis(500);

/// The bytes that are read, and when that was told.
#[derive(Debug)]
pub struct Progress {
    read: Rc<Cell<u64>>,
    /// Of all that is to be read; `None` where that is not known.
    total: Option<u64>,
    begun: Instant,
    told: Duration,
    is_terminal: bool,
    /// Nothing is told where no terminal is.
    needs_terminal: bool,
    /// A line on the terminal has no end yet.
    is_open: bool,
}

impl Progress {
    /// Of these files and directories; `-` is of unknown length.
    pub fn of(paths: &[impl AsRef<Path>]) -> Self {
        let lengths = paths.iter().map(|path| length(path.as_ref()));
        Self {
            read: Rc::default(),
            total: lengths.sum(),
            begun: Instant::now(),
            told: Duration::ZERO,
            is_terminal: io::stderr().is_terminal(),
            needs_terminal: false,
            is_open: false,
        }
    }

    /// As `of`, and only people are told: what scripts read of standard error are faults.
    pub fn for_people(path: &Path) -> Self {
        Self { needs_terminal: true, ..Self::of(&[path]) }
    }

    /// As `for_people`, of a tool whose output is what people see where it goes to a terminal: then nothing is told.
    pub fn beside_output(path: &Path) -> Self {
        let progress = Self::for_people(path);
        Self { is_terminal: progress.is_terminal && !io::stdout().is_terminal(), ..progress }
    }

    /// A reader whose bytes are counted.
    pub fn counted<R>(&self, reader: R) -> Counted<R> {
        Counted { reader, read: self.read.clone() }
    }

    /// That many bytes were read otherwise.
    pub fn add(&self, bytes: u64) {
        self.read.set(self.read.get() + bytes);
    }

    /// Tells it, with what was found so far, if it is time.
    pub fn tell(&mut self, found: impl FnOnce() -> String) {
        let Some(line) = self.line(self.begun.elapsed(), found) else { return };
        // A closed terminal is no failure.
        if self.is_terminal {
            _ = write!(io::stderr(), "\r{line}\x1b[K");
            self.is_open = true;
        } else {
            _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Nothing more is read.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// What is to be told at `now` from the beginning on.
    fn line(&mut self, now: Duration, found: impl FnOnce() -> String) -> Option<String> {
        if self.needs_terminal && !self.is_terminal {
            return None;
        }
        let interval = if self.is_terminal { INTERVAL_ON_TERMINAL } else { INTERVAL };
        if now.saturating_sub(self.told) < interval {
            return None;
        }
        self.told = now;
        let read = self.read.get();
        let part = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = u128::from(read.min(total)) * 100 / u128::from(total);
                format!("{} of {} ({percent} %)", mebibytes(read), mebibytes(total))
            }
            None => mebibytes(read),
        };
        Some(format!("read {part}: {}", found()))
    }
}

/// A reader whose bytes are counted.
#[derive(Debug)]
pub struct Counted<R> {
    reader: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read.set(self.read.get() + u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

/// Bytes of a file, or of the segments of a directory.
fn length(path: &Path) -> Option<u64> {
    if path.is_dir() {
        let logs = crate::log_tool::segments_of(path).ok()?;
        return logs.iter().flatten().map(|segment| length(segment)).sum();
    }
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_now_and_then() {
        let mut progress = Progress { is_terminal: false, ..Progress::of(&["-"]) };
        progress.add(3 << 20);
        let second = Duration::from_secs(1);
        let found = |number: u64| move || format!("{number} spans");
        assert_eq!(progress.line(second, found(2)), None, "small captures need none");
        assert_eq!(progress.line(2 * second, found(2)).unwrap(), "read 3 MiB: 2 spans");
        assert_eq!(progress.line(3 * second, found(2)), None);
        progress.total = Some(12 << 20);
        assert_eq!(progress.line(4 * second, found(6)).unwrap(), "read 3 MiB of 12 MiB (25 %): 6 spans");
    }

    /// Without the look at `needs_terminal` a script finds lines in standard error that are no faults.
    #[test]
    fn tools_of_the_log_tell_people_only() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let mut progress = Progress { is_terminal: true, ..Progress::for_people(&path) };
        let minute = Duration::from_secs(60);
        assert_eq!(progress.line(minute, || "1 records".into()).unwrap(), "read 0 MiB of 0 MiB (0 %): 1 records");
        progress.is_terminal = false;
        assert_eq!(progress.line(2 * minute, || "2 records".into()), None);
    }
}
