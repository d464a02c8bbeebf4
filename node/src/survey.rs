//! What a former run has left in the log's directory, read before anything is started: segments by kind, what journals
//! say, and files that may be recycled. Nothing found here keeps the node from starting, save a format that only a
//! newer release can read.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::format::{
    BLOCK_BYTES, FileName, HeaderError, Record, SegmentHeader, SegmentKind, VerdictEntry, file_name, parse_file_name,
};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::read::Found;
use tailwater_engine::log::read::cursor::{Cursor, PIECE_BYTES, Pieces};
use tailwater_engine::log::told::Told;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::UNKNOWN_POLICY;
use tailwater_proto::otlp::Signal;
use thiserror::Error;

/// The log's directory inside the data directory, of a node with one way for traces.
pub const LOG_DIRECTORY: &str = "log";
/// What the name of a pipeline's log begins with.
pub const PIPELINE_LOG_PREFIX: &str = "log-";
/// What stands before the name of a log that was set aside.
const ASIDE_PREFIX: &str = "aside-";

/// A file to be recycled.
#[derive(Debug, Clone)]
pub struct Spare {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A segment of requests to be replayed.
#[derive(Debug)]
pub struct OldSegment {
    /// Its number.
    pub number: u64,
    /// Its file's length.
    pub bytes: u64,
    /// Units that a former run was done with.
    pub resolved: Bitmap,
    /// Units that some of its exporters were done with, by their names.
    pub done: Vec<(String, Bitmap)>,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Survey {
    /// Segments of requests, oldest first.
    pub segments: Vec<OldSegment>,
    /// The last verdict on each trace, oldest first.
    pub verdicts: Vec<VerdictEntry>,
    /// What journals told of policies and annotations: those of the verdicts are places in it, or unknown.
    pub told: Told,
    /// Names of journal segments: to be removed once their content was said again.
    pub journals: Vec<String>,
    /// Files to be recycled.
    pub spares: Vec<Spare>,
    /// One more than the largest number ever used here.
    pub next_number: u64,
    /// The latest time that journals tell, nanoseconds since 1970.
    pub latest_unix_nano: u64,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Why the log can't be taken over. Nothing was changed.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The directory can't be listed.
    #[error(
        "cannot read the log's directory {path}: {source}; make it readable for this user, or choose another with --data-dir"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A newer release wrote it.
    #[error(
        "{path} is of version {version} of the log's format, which this release does not know; start the release that \
         wrote it and let it drain, or start with --repair, which sets such files aside"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// No pipeline of the configuration reads it.
    #[error(
        "{path} has data that was acknowledged and not delivered, of a pipeline that the configuration does not have; \
         start with the former configuration and let it drain, or start with --repair, which sets the log aside"
    )]
    Unclaimed {
        /// The log's directory.
        path: PathBuf,
    },
}

/// Where files go that can't be read, with `--repair`.
pub const ASIDE_DIRECTORY: &str = "aside";

/// The name of a pipeline's log below the data directory: letters, digits, `-` and `_` stand for themselves, other bytes
/// as `%` and two hexadecimal digits.
pub fn log_directory(pipeline: &str) -> String {
    if pipeline.is_empty() {
        return LOG_DIRECTORY.to_string();
    }
    pipeline.bytes().fold(PIPELINE_LOG_PREFIX.to_string(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            // Writing to a String can't fail.
            _ => _ = write!(name, "%{byte:02x}"),
        }
        name
    })
}

/// The logs below a data directory, by name.
///
/// # Errors
/// `Directory`.
pub fn log_directories(data_directory: &Path) -> Result<Vec<PathBuf>, SurveyError> {
    let fail = |source| SurveyError::Directory { path: data_directory.to_owned(), source };
    let entries = match std::fs::read_dir(data_directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let is_log = |name: &str| name == LOG_DIRECTORY || name.starts_with(PIPELINE_LOG_PREFIX);
        if path.is_dir() && path.file_name().and_then(|name| name.to_str()).is_some_and(is_log) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a log has anything that a start would read.
pub fn holds_segments(directory: &Path) -> bool {
    let is_segment =
        |(_, name, _): &(String, FileName, u64)| matches!(name, FileName::Segment { kind: SegmentKind::Requests, .. });
    list(directory).is_ok_and(|files| files.iter().any(is_segment))
}

/// Sees to it that every log with undelivered data in it has a pipeline that reads it. When a node gets pipelines, the
/// first takes over the log that there was. With `repair`, what no pipeline reads is set aside.
///
/// # Errors
/// `Directory`, `Newer`, `Unclaimed`.
pub fn claim(data_directory: &Path, pipelines: &[&str], repair: bool) -> Result<(), SurveyError> {
    let (former, fail) = (data_directory.join(LOG_DIRECTORY), |path: &Path| {
        let path = path.to_owned();
        move |source| SurveyError::Directory { path, source }
    });
    if let Some(first) = pipelines.first().filter(|name| !name.is_empty()) {
        let own = data_directory.join(log_directory(first));
        if former.is_dir() && !own.exists() {
            tracing::info!(from = %former.display(), to = %own.display(), "the first pipeline takes over the log");
            std::fs::rename(&former, &own).map_err(fail(&former))?;
        }
    }
    let claimed: Vec<PathBuf> = pipelines.iter().map(|name| data_directory.join(log_directory(name))).collect();
    for path in log_directories(data_directory)?.into_iter().filter(|path| !claimed.contains(path)) {
        if !repair && holds_unresolved(&path)? {
            return Err(SurveyError::Unclaimed { path });
        }
        if !repair {
            tracing::info!(log = %path.display(), "no pipeline reads this log; all in it is delivered, it can be removed");
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = free_name(data_directory, &format!("{ASIDE_PREFIX}{name}"));
        std::fs::rename(&path, &aside).map_err(fail(&path))?;
        tracing::warn!(log = %path.display(), to = %aside.display(), "set aside: no pipeline reads it");
    }
    Ok(())
}

/// A path that nothing has: what was set aside before stays where it is.
fn free_name(directory: &Path, name: &str) -> PathBuf {
    let numbered = (2_u32..).map(|number| directory.join(format!("{name}.{number}")));
    let mut candidates = std::iter::once(directory.join(name)).chain(numbered);
    candidates.find(|path| !path.exists()).unwrap_or_else(|| directory.join(name))
}

/// Whether a log has requests that are not done with, or that cannot be read.
fn holds_unresolved(directory: &Path) -> Result<bool, SurveyError> {
    let found = survey(directory, false)?;
    if !found.unreadable.is_empty() {
        return Ok(true);
    }
    Ok(found.segments.iter().any(|segment| has_unresolved(directory, segment, |_| true)))
}

/// Whether a log that was looked at has metrics or logs that are not done with, or requests that cannot be read.
pub fn holds_forwarded(directory: &Path, found: &Survey) -> bool {
    found.segments.iter().any(|segment| has_unresolved(directory, segment, |signal| signal != Signal::Traces))
}

/// Whether a segment has requests of these signals that are not done with, or something that cannot be read.
fn has_unresolved(directory: &Path, segment: &OldSegment, is_meant: impl Fn(Signal) -> bool) -> bool {
    let mut is_unresolved = false;
    let outcome = read_segment(&directory.join(Survey::name(segment)), |found| match found {
        Found::Record { record: Record::Request(request), .. } if is_meant(request.signal) => {
            let mut units = (0..request.units).map(|at| request.first_unit + at);
            is_unresolved |= units.any(|unit| !segment.resolved.has(unit));
        }
        Found::Record { .. } => {}
        Found::Skipped { .. } => is_unresolved = true,
    });
    is_unresolved || outcome.is_err()
}

/// Looks at the log in `directory`. With `repair`, files that can't be read are moved aside.
///
/// # Errors
/// `SurveyError`.
pub fn survey(directory: &Path, repair: bool) -> Result<Survey, SurveyError> {
    let mut found = Survey { next_number: 1, ..Survey::default() };
    let mut recovered = Recovered::default();
    let mut files = list(directory)?;
    files.sort();
    for (name, file_name, bytes) in files {
        let path = directory.join(&name);
        let number = match file_name {
            FileName::Segment { number, .. } | FileName::Spare { number } => number,
        };
        found.next_number = found.next_number.max(number + 1);
        let FileName::Segment { kind, .. } = file_name else {
            found.spares.push(Spare { name, bytes });
            continue;
        };
        match header(&path) {
            Ok(header) if header.number == number && header.kind == kind => {}
            // Allocated or renamed, and not begun: nothing was acknowledged in it.
            Ok(_) | Err(Unreadable::Header(HeaderError::Blank)) => {
                found.spares.push(Spare { name, bytes });
                continue;
            }
            Err(Unreadable::Header(HeaderError::UnknownVersion(version))) if !repair => {
                return Err(SurveyError::Newer { path, version });
            }
            Err(error) => {
                set_aside(directory, &name, repair, &error.to_string(), &mut found);
                continue;
            }
        }
        if kind == SegmentKind::Requests {
            found.segments.push(OldSegment { number, bytes, resolved: Bitmap::default(), done: Vec::new() });
            continue;
        }
        match read_journal(&path, &mut recovered) {
            Ok(()) => found.journals.push(name),
            Err(error) => set_aside(directory, &name, repair, &error.to_string(), &mut found),
        }
    }
    found.segments.sort_by_key(|segment| segment.number);
    for segment in &mut found.segments {
        segment.resolved = recovered.resolved.remove(&segment.number).unwrap_or_default();
        segment.done = recovered.done.remove(&segment.number).unwrap_or_default();
    }
    if recovered.done_forgotten > 0 {
        tracing::warn!(
            records = recovered.done_forgotten,
            "more is told of exporters that are done with what waits than a start takes up: they get it once more"
        );
    }
    found.verdicts = recovered.verdicts;
    if recovered.told.annotations_forgotten > 0 {
        tracing::warn!(
            annotations = recovered.told.annotations_forgotten,
            "more annotations are told than a start takes up: late spans of their traces leave without"
        );
    }
    found.told = recovered.told;
    found.latest_unix_nano = recovered.latest_unix_nano;
    Ok(found)
}

fn list(directory: &Path) -> Result<Vec<(String, FileName, u64)>, SurveyError> {
    let fail = |source| SurveyError::Directory { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
        if let Some(parsed) = parse_file_name(&name) {
            files.push((name, parsed, entry.metadata().map_err(fail)?.len()));
        }
    }
    Ok(files)
}

/// Why a file can't be used. Nothing was changed.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// The system's answer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it begins with.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

fn header(path: &Path) -> Result<SegmentHeader, Unreadable> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    File::open(path)?.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
    Ok(SegmentHeader::decode(&block)?)
}

fn set_aside(directory: &Path, name: &str, repair: bool, why: &str, found: &mut Survey) {
    let path = directory.join(name);
    if !repair {
        tracing::error!(file = %path.display(), why, "a segment of the log cannot be read and is left alone; \
            `tailwater log verify` tells more, and a start with --repair sets it aside");
    } else {
        let aside = directory.join(ASIDE_DIRECTORY);
        let moved = std::fs::create_dir_all(&aside).and_then(|()| std::fs::rename(&path, aside.join(name)));
        match moved {
            Ok(()) => tracing::warn!(file = %path.display(), why, to = %aside.display(), "set aside"),
            Err(error) => tracing::error!(file = %path.display(), %error, "could not be set aside"),
        }
    }
    found.unreadable.push((path, why.to_string()));
}

fn read_journal(path: &Path, recovered: &mut Recovered) -> Result<(), Unreadable> {
    recovered.begin_segment();
    read_segment(path, |found| match found {
        Found::Record { record, .. } => recovered.take(&record),
        Found::Skipped { offset, bytes, sequences } => {
            if sequences > 0 {
                // What is missing may have told other names.
                recovered.begin_segment();
            }
            let file = file_of(path);
            tracing::warn!(file, offset, bytes, records = sequences, "damage in the journal was skipped");
        }
    })
}

/// Gives what a segment file holds to `take`, a piece of the file at a time.
///
/// # Errors
/// `Unreadable`: the file does not begin with a header, or the system does not give it all; then what was given already
/// is what it holds up to there.
pub fn read_segment(path: &Path, mut take: impl FnMut(Found<'_>)) -> Result<(), Unreadable> {
    let header = header(path)?;
    let file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let (mut cursor, mut pieces) = (Cursor::new(&header, length, PIECE_BYTES), Pieces::default());
    loop {
        match cursor.next(pieces.window()) {
            Ok(Some(found)) => take(found),
            Ok(None) => return Ok(()),
            Err(wanted) => {
                let mut bytes = vec![0; wanted.length()];
                file.read_exact_at(&mut bytes, wanted.range.start)?;
                if !pieces.put(&wanted, bytes) {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
    }
}

fn file_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Which of the things that journals told are needed, in the order in which they were found to be.
struct Needed<'a, T> {
    told: &'a [T],
    /// By the places in `told`: those in `needed`.
    places: Vec<Option<usize>>,
    needed: Vec<T>,
}

impl<'a, T: Clone> Needed<'a, T> {
    fn of(told: &'a [T]) -> Self {
        Self { told, places: vec![None; told.len()], needed: Vec::new() }
    }

    fn need(&mut self, place: u16) {
        let place = usize::from(place);
        let Some(told) = self.told.get(place) else { return };
        self.places[place].get_or_insert_with(|| {
            self.needed.push(told.clone());
            self.needed.len() - 1
        });
    }

    fn place(&self, place: u16) -> Option<usize> {
        self.places.get(usize::from(place)).copied().flatten()
    }
}

impl Survey {
    /// From now on the verdicts' policies and annotations are the numbers that `rules` give to them. Those that none of the
    /// verdicts needs are forgotten.
    pub fn adopt(&mut self, rules: &mut Rules) {
        let told = std::mem::take(&mut self.told);
        let (mut names, mut annotations) = (Needed::of(&told.names), Needed::of(&told.annotations));
        for entry in self.verdicts.iter().filter(|entry| entry.is_kept) {
            names.need(entry.policy);
            entry.annotations.numbers().for_each(|place| annotations.need(place));
        }
        let policy_numbers = rules.take_over(&names.needed);
        let annotation_numbers = rules.take_over_annotations(&annotations.needed);
        for entry in &mut self.verdicts {
            let number = names.place(entry.policy).and_then(|place| policy_numbers.get(place));
            entry.policy = number.copied().unwrap_or(UNKNOWN_POLICY);
            let number = |place| annotation_numbers.get(annotations.place(place)?).copied().flatten();
            entry.annotations = entry.annotations.renumbered(number);
        }
    }

    /// The segments for each of `cores` cores, spread by size.
    pub fn spread(&mut self, cores: usize) -> Vec<Vec<OldSegment>> {
        let mut shares: Vec<(u64, Vec<OldSegment>)> = (0..cores.max(1)).map(|_| (0, Vec::new())).collect();
        for segment in std::mem::take(&mut self.segments) {
            if let Some((bytes, share)) = shares.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                *bytes += segment.bytes;
                share.push(segment);
            }
        }
        shares.into_iter().map(|(_, share)| share).collect()
    }

    /// The name of a segment's file.
    pub fn name(segment: &OldSegment) -> String {
        file_name(SegmentKind::Requests, segment.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with a segment of which nobody can say that all in it was delivered.
    fn log_with_a_segment(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join(file_name(SegmentKind::Requests, 1)), [7; BLOCK_BYTES]).unwrap();
    }

    #[test]
    fn names_of_logs_are_one_to_one() {
        assert_eq!(log_directory(""), "log");
        assert_eq!(log_directory("traces/a_b-1"), "log-traces%2fa_b-1");
        assert_ne!(log_directory("a%2fb"), log_directory("a/b"));
    }

    #[test]
    fn no_log_is_forgotten_when_pipelines_change() {
        let data = std::env::temp_dir().join(format!("tailwater-claim-{}", std::process::id()));
        log_with_a_segment(&data.join("log"));
        claim(&data, &["a", "b"], false).unwrap();
        assert!(data.join("log-a").is_dir() && !data.join("log").exists(), "the first takes it over");
        claim(&data, &["b", "a"], false).unwrap();
        let unclaimed = claim(&data, &["b", "c"], false).unwrap_err().to_string();
        assert!(unclaimed.contains("log-a") && unclaimed.contains("--repair"), "{unclaimed}");
        assert!(claim(&data, &[""], false).is_err(), "a node without pipelines does not read it either");
        claim(&data, &["b", "c"], true).unwrap();
        log_with_a_segment(&data.join("log-a"));
        claim(&data, &["b", "c"], true).unwrap();
        assert!(data.join("aside-log-a").is_dir() && data.join("aside-log-a.2").is_dir(), "both are kept");
        std::fs::create_dir_all(data.join("log-empty")).unwrap();
        claim(&data, &["b", "c"], false).unwrap();
        std::fs::remove_dir_all(&data).unwrap();
    }
}
