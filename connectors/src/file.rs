//! The embedded next hop: kept data as OTLP JSON lines in a file, so that the program is useful with nothing else
//! installed. Writing blocks, so it runs on a thread of its own, behind a bounded queue.
//!
//! One line is one `Export*ServiceRequest`, in the form of the OpenTelemetry "OTLP JSON file" specification. When the
//! file would outgrow its bound it becomes a backup, with the time in its name, and is begun anew.

mod backups;

use backups::Backups;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tailwater_config::{Breaker as BreakerSettings, FileExporter};
use tailwater_engine::host::{ExportFate, ExportRequest};
use tailwater_proto::otlp::split::halves;
use tailwater_proto::otlp::{Signal, json};
use thiserror::Error;

use crate::otlp::exporter::{Admission, Breaker, BreakerState};

/// Why a request could not be written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file can't be opened, written, synced or renamed. The line may be there in part; the next one begins on a new
    /// line.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The request is no OTLP; nothing was written.
    #[error("a request can't be written as JSON: {0}")]
    Json(String),
}

impl FileError {
    /// What becomes of the request. A full disk may have room again and a lost mount come back, so that is `Exhausted`:
    /// the request is parked where it can be. What is no OTLP will never be, so that is `Refused`.
    #[must_use]
    pub fn fate(&self) -> ExportFate {
        match self {
            Self::Io { .. } => ExportFate::Exhausted,
            Self::Json(_) => ExportFate::Refused,
        }
    }
}

/// One core's view of the file: after a failed write nothing that can be parked is written but, after a pause, one
/// request as a probe. A full disk is not asked for every request.
#[derive(Debug)]
pub struct FileGate {
    breaker: Breaker,
}

/// Longest wait for the outcome of a write: a disk may stall for long, and then another write tells more.
const WRITE_DURATION_MAX: Duration = Duration::from_secs(60);

impl Default for FileGate {
    fn default() -> Self {
        // A write that failed fails again at once: there is nothing to wait for.
        let settings = BreakerSettings {
            failures_max: 1,
            open_interval: Duration::from_secs(5),
            open_interval_max: Duration::from_secs(60),
        };
        Self { breaker: Breaker::new(&settings, WRITE_DURATION_MAX) }
    }
}

impl FileGate {
    /// Whether a request that can be parked is to be written at `now`. Others always are.
    pub fn admits(&mut self, now: Duration) -> bool {
        !matches!(self.breaker.admit(now), Admission::Wait(_))
    }

    /// Books the outcome of a write.
    pub fn book(&mut self, now: Duration, fate: ExportFate) {
        // One write follows the other, so the first outcome while a probe is out is as good as its own.
        if matches!(fate, ExportFate::Delivered | ExportFate::Refused) {
            self.breaker.answered(true);
        } else {
            self.breaker.failed(now, None, true);
        }
    }

    /// Whether a parked request may be offered again, with `waiting` bytes in a queue for `capacity`.
    #[must_use]
    pub fn can_take_back(&self, now: Duration, waiting: usize, capacity: usize) -> bool {
        match self.breaker.outlook(now) {
            Admission::Attempt => waiting < capacity.div_ceil(2),
            Admission::Probe => waiting == 0,
            Admission::Wait(_) => false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }
}

/// What happened to the file.
#[derive(Debug, Default)]
pub struct FileCounters {
    /// Times that it became a backup.
    pub rotations: AtomicU64,
    /// Backups that were deleted, for their number or their age.
    pub backups_deleted: AtomicU64,
    /// Bytes in those.
    pub deleted_bytes: AtomicU64,
}

/// A request of more bytes is written as several lines: as JSON it is many times larger, and one line is in memory.
const LINE_BODY_BYTES_MAX: usize = 4 << 20;
/// A buffer grown past this by one line is given back.
const LINE_CAPACITY_MAX: usize = 16 << 20;

/// The open file.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    backups: Backups,
    counters: Arc<FileCounters>,
    clock: fn() -> u64,
    bytes_max: u64,
    file: File,
    bytes: u64,
    /// The file ends in a part of a line that could not be taken away again.
    is_torn: bool,
    line: Vec<u8>,
}

impl FileWriter {
    /// Opens the file, to be continued where it ends. `clock` gives nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(settings: &FileExporter, clock: fn() -> u64) -> Result<Self, FileError> {
        let fail = |source| FileError::Io { path: settings.path.clone(), source };
        let (file, bytes) = open(&settings.path).map_err(fail)?;
        Ok(Self {
            path: settings.path.clone(),
            backups: Backups::of(settings),
            counters: Arc::default(),
            clock,
            bytes_max: settings.bytes_max,
            file,
            bytes,
            // A loss of power may have left a part of the last line.
            is_torn: !ends_with_a_line(&settings.path, bytes).map_err(fail)?,
            line: Vec::new(),
        })
    }

    /// What happens to the file.
    #[must_use]
    pub fn counters(&self) -> Arc<FileCounters> {
        self.counters.clone()
    }

    /// Writes one request as a line, or a large one as several.
    ///
    /// # Errors
    /// `FileError`; the writer stays usable.
    pub fn write(&mut self, request: &ExportRequest) -> Result<(), FileError> {
        self.write_body(request.signal, &request.body)
    }

    fn write_body(&mut self, signal: Signal, body: &[u8]) -> Result<(), FileError> {
        if body.len() > LINE_BODY_BYTES_MAX
            && let Some(halves) = halves(signal, body)
        {
            return halves.iter().try_for_each(|half| self.write_body(signal, &half.body));
        }
        self.line.clear();
        if self.is_torn {
            // How much of the line is there is not known.
            (self.file, self.bytes) = open(&self.path).map_err(|source| self.failed(source))?;
            self.line.push(b'\n');
        }
        json::from_protobuf(signal, body, &mut self.line).map_err(|error| FileError::Json(error.to_string()))?;
        self.line.push(b'\n');
        let written = self.write_line().map_err(|source| self.failed(source));
        if self.line.capacity() > LINE_CAPACITY_MAX {
            self.line = Vec::new();
        }
        written
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), source }
    }

    /// Returns when all that was written survives a power loss: only then is it to be forgotten elsewhere.
    ///
    /// # Errors
    /// `Io`: what was written since the last good call may be lost, and is to be written again.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    fn write_line(&mut self) -> io::Result<()> {
        let length = self.line.len() as u64;
        if self.bytes_max > 0 && self.bytes > 0 && self.bytes + length > self.bytes_max {
            self.begin_anew()?;
        }
        if let Err(error) = self.file.write_all(&self.line) {
            // A disk that is full takes a part of the line.
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.is_torn = false;
        self.bytes += length;
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        // `sync` will see the new file only.
        self.file.sync_data()?;
        let now = (self.clock)();
        match std::fs::rename(&self.path, self.backups.fresh(now)) {
            // It was renamed before and then could not be opened anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => {
                renamed?;
                self.counters.rotations.fetch_add(1, Ordering::Relaxed);
            }
        }
        (self.file, self.bytes) = open(&self.path)?;
        self.is_torn = false;
        self.delete_surplus(now);
        Ok(())
    }

    /// Deletes backups that are too many or too old. One that can't be deleted is tried again at the next rotation.
    fn delete_surplus(&self, now: u64) {
        let file = self.path.display();
        let surplus = self.backups.surplus(now).unwrap_or_else(|error| {
            tracing::warn!(%file, %error, "backups of the file of kept items cannot be listed");
            Vec::new()
        });
        for backup in surplus {
            let bytes = backup.metadata().map_or(0, |found| found.len());
            let backup_name = backup.display();
            if let Err(error) = std::fs::remove_file(&backup) {
                tracing::warn!(backup = %backup_name, %error, "a backup of kept items cannot be deleted");
                continue;
            }
            self.counters.backups_deleted.fetch_add(1, Ordering::Relaxed);
            self.counters.deleted_bytes.fetch_add(bytes, Ordering::Relaxed);
            tracing::warn!(
                backup = %backup_name,
                bytes,
                "a backup of kept items is deleted: exporters.file.backups_max or backup_age_max is reached"
            );
        }
    }
}

fn ends_with_a_line(path: &Path, bytes: u64) -> io::Result<bool> {
    let Some(last) = bytes.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// Readable by the owner only.
const FILE_MODE: u32 = 0o600;

fn open(path: &Path) -> io::Result<(File, u64)> {
    // What is kept may be confidential.
    let file = OpenOptions::new().create(true).append(true).mode(FILE_MODE).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tailwater_engine::vocabulary::Destinations;

    /// A request with one span of that name.
    fn request(name: &str) -> ExportRequest {
        let field = |number: u8, content: &[u8]| {
            [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
        };
        let span = [field(1, &[7; 16]), field(2, &[8; 8]), field(5, name.as_bytes())].concat();
        let body = Bytes::from(field(1, &field(2, &field(2, &span))));
        ExportRequest {
            signal: Signal::Traces,
            body,
            items: 1,
            units: Vec::new(),
            destinations: Destinations::ALL,
            is_summary: false,
        }
    }

    fn writer(path: PathBuf, bytes_max: u64) -> FileWriter {
        FileWriter::open(&FileExporter { bytes_max, ..FileExporter::at(path) }, || NOON).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        let parsed = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        parsed.map(|line| line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"].to_string()).collect()
    }

    #[test]
    fn a_full_disk_may_have_room_again_and_garbage_is_garbage() {
        let mut full = writer(PathBuf::from("/dev/full"), 0);
        assert_eq!(full.write(&request("a")).unwrap_err().fate(), ExportFate::Exhausted);
        let mut garbage = request("a");
        garbage.body = Bytes::from_static(&[0xff; 3]);
        let directory = tempfile::tempdir().unwrap();
        let mut good = writer(directory.path().join("kept.jsonl"), 0);
        assert_eq!(good.write(&garbage).unwrap_err().fate(), ExportFate::Refused);
        good.write(&request("b")).unwrap();
        good.sync().unwrap();
        assert_eq!(names(&directory.path().join("kept.jsonl")), ["\"b\""]);
    }

    #[test]
    fn a_disk_that_is_full_is_asked_now_and_then() {
        let seconds = Duration::from_secs;
        let mut gate = FileGate::default();
        assert!(
            gate.admits(seconds(0))
                && gate.can_take_back(seconds(0), 31, 64)
                && !gate.can_take_back(seconds(0), 32, 64)
        );
        gate.book(seconds(1), ExportFate::Refused);
        assert_eq!(gate.state(), BreakerState::Closed);
        gate.book(seconds(1), ExportFate::Exhausted);
        assert!(!gate.admits(seconds(2)) && !gate.can_take_back(seconds(2), 0, 64));
        assert!(gate.can_take_back(seconds(6), 0, 64) && !gate.can_take_back(seconds(6), 1, 64));
        assert!(gate.admits(seconds(6)), "the probe");
        assert!(!gate.admits(seconds(6)), "one is enough");
        gate.book(seconds(7), ExportFate::Exhausted);
        assert!(!gate.admits(seconds(16)) && gate.admits(seconds(17)));
        gate.book(seconds(17), ExportFate::Delivered);
        assert_eq!(gate.state(), BreakerState::Closed);
    }

    #[test]
    fn after_a_torn_line_the_next_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        let mut torn = writer(path.clone(), 0);
        torn.write(&request("a")).unwrap();
        std::fs::write(&path, "{\"resou").unwrap();
        // As a start finds it after a loss of power: the next line begins on a line of its own.
        let mut torn = writer(path.clone(), 0);
        torn.write(&request("b")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"resou\n{\"resourceSpans") && text.ends_with("}\n"), "{text}");
        assert_eq!(torn.bytes, text.len() as u64);
    }

    /// 1970-01-01T12:00, in nanoseconds.
    const NOON: u64 = 12 * 3600 * 1_000_000_000;

    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    #[test]
    fn rotation_destroys_nothing_below_its_limits_and_counts_what_it_deletes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        std::fs::write(directory.path().join("kept-notes.jsonl"), "of somebody else").unwrap();
        let settings = FileExporter { bytes_max: 10, backups_max: 3, ..FileExporter::at(path.clone()) };
        let mut rotated = FileWriter::open(&settings, || NOON).unwrap();
        for (number, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            rotated.write(&request(name)).unwrap();
            let backups = files(directory.path()).len() - 2;
            assert_eq!(backups, number.min(3));
        }
        // All in the same millisecond: the names differ all the same.
        let backups = ["kept-1970-01-01T12-00-00.002", "kept-1970-01-01T12-00-00.003", "kept-1970-01-01T12-00-00.004"];
        for (backup, name) in backups.iter().zip(["c", "d", "e"]) {
            assert_eq!(names(&directory.path().join(format!("{backup}.jsonl"))), [format!("\"{name}\"")]);
        }
        assert_eq!(names(&path), ["\"f\""]);
        let counters = rotated.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((read(&counters.rotations), read(&counters.backups_deleted)), (5, 2));
        assert!(read(&counters.deleted_bytes) > 100);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // A day later all are too old.
        let settings = FileExporter { backup_age_max: Duration::from_secs(3600), ..settings };
        let mut later = FileWriter::open(&settings, || 3 * NOON).unwrap();
        later.write(&request("g")).unwrap();
        assert_eq!(files(directory.path()), ["kept-1970-01-02T12-00-00.000.jsonl", "kept-notes.jsonl", "kept.jsonl"]);
    }

    #[test]
    fn a_large_request_is_several_lines_and_its_memory_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        let mut large = writer(path.clone(), 0);
        let one = request(&"x".repeat(20));
        let bodies: Vec<u8> = (0..200_000).flat_map(|_| one.body.to_vec()).collect();
        assert!(bodies.len() > 2 * LINE_BODY_BYTES_MAX);
        large.write(&ExportRequest { body: bodies.into(), items: 200_000, ..one }).unwrap();
        assert!(large.line.capacity() <= LINE_CAPACITY_MAX);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("spanId").count(), 200_000);
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept.jsonl");
        let mut moved = writer(path.clone(), 10);
        moved.write(&request("a")).unwrap();
        moved.write(&request("b")).unwrap();
        let backup = directory.path().join("kept-1970-01-01T12-00-00.000.jsonl");
        assert_eq!((names(&path), names(&backup)), (vec!["\"b\"".into()], vec!["\"a\"".into()]));
        std::fs::remove_file(&path).unwrap();
        moved.write(&request("c")).unwrap();
        assert_eq!(names(&path), ["\"c\""]);
    }
}
