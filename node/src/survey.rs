//! What a former run has left in the log's directories, read before anything is started: segments by kind, what journals
//! say, and files that may be recycled. `claim` sees to it that nothing is forgotten, `whole` puts the directories together.
//! Nothing found here keeps the node from starting, save a format that only a newer release can read.

mod claim;
mod whole;

pub use self::claim::{claim, given_up_below, holds_forwarded, next_number};
pub use self::whole::{LogSurvey, PipelineSurvey};

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::format::{
    BLOCK_BYTES, FileName, HeaderError, SegmentHeader, SegmentKind, VerdictEntry, file_name, parse_file_name,
};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::read::Found;
use tailwater_engine::log::read::cursor::{Cursor, PIECE_BYTES, Pieces};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::log::tally::Tallies;
use tailwater_engine::log::told::Told;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::UNKNOWN_POLICY;
use thiserror::Error;

/// The log's directory inside the data directory, of a node with one way for traces.
pub const LOG_DIRECTORY: &str = "log";
/// The directory of the requests that several pipelines share; no pipeline's log is called so.
pub const REQUESTS_DIRECTORY: &str = "requests";
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
    /// The number of its directory among those of the log.
    pub directory: usize,
    /// The names of the pipelines that shared it; none in the log of a single one.
    pub names: Vec<String>,
    /// The pipelines that may have something left to do in it.
    pub holders: Vec<Holder>,
}

/// A segment of requests that was done with and stayed.
#[derive(Debug, Clone, Copy)]
pub struct OldPast {
    /// Its number.
    pub number: u64,
    /// Its file's length.
    pub bytes: u64,
    /// The number of its directory among those of the log.
    pub directory: usize,
    /// When it was begun and when it was last written, nanoseconds since 1970; 0 where it cannot be read: it is the first to
    /// go.
    pub times: (u64, u64),
}

/// A pipeline and what it has done with a segment.
#[derive(Debug, Default)]
pub struct Holder {
    /// Its number.
    pub pipeline: usize,
    /// Its place among the names of the segment; none where it takes all of it.
    pub place: Option<usize>,
    /// What it was done with.
    pub resolved: ToldOfSegment,
}

/// What journals say of a segment of requests.
#[derive(Debug, Default)]
pub struct ToldOfSegment {
    /// Units that a former run was done with.
    pub units: Bitmap,
    /// Units that some of its exporters were done with, by their names.
    pub done: Vec<(String, Bitmap)>,
}

impl OldSegment {
    /// The pipelines of this run that take a request which was logged for `logged`.
    pub fn takers(&self, logged: Takers) -> Takers {
        let takes = |holder: &&Holder| holder.place.is_none_or(|place| logged.has(place));
        let takers = self.holders.iter().filter(takes).map(|holder| Takers::of(holder.pipeline));
        takers.fold(Takers::NONE, Takers::with)
    }
}

/// What is in one directory.
#[derive(Debug, Default)]
pub struct Survey {
    /// Segments of requests, oldest first.
    pub segments: Vec<OldSegment>,
    /// What journals say of segments, by their numbers: of those here and elsewhere.
    pub told_of: BTreeMap<u64, ToldOfSegment>,
    /// The last verdict on each trace, oldest first.
    pub verdicts: Vec<VerdictEntry>,
    /// What journals told of policies and annotations: those of the verdicts are places in it, or unknown.
    pub told: Told,
    /// Names of journal segments: to be removed once their content was said again.
    pub journals: Vec<String>,
    /// Files to be recycled.
    pub spares: Vec<Spare>,
    /// Segments of requests that were done with and stayed. Nothing of them is read.
    pub past: Vec<OldPast>,
    /// One more than the largest number ever used here.
    pub next_number: u64,
    /// The latest time that journals tell, nanoseconds since 1970.
    pub latest_unix_nano: u64,
    /// What lanes had counted.
    pub tallies: Tallies,
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
        if path.is_dir() && path.file_name().and_then(|name| name.to_str()).is_some_and(is_log_name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a directory of the data directory is called as one of a log.
pub fn is_log_name(name: &str) -> bool {
    name == LOG_DIRECTORY || name == REQUESTS_DIRECTORY || name.starts_with(PIPELINE_LOG_PREFIX)
}

/// Whether a log has anything that a start would read.
pub fn holds_segments(directory: &Path) -> bool {
    let is_segment =
        |(_, name, _): &(String, FileName, u64)| matches!(name, FileName::Segment { kind: SegmentKind::Requests, .. });
    list(directory).is_ok_and(|files| files.iter().any(is_segment))
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
        let number = file_name.number();
        found.next_number = found.next_number.max(number + 1);
        let kind = match file_name {
            FileName::Segment { kind, .. } => kind,
            FileName::Spare { .. } => {
                found.spares.push(Spare { name, bytes });
                continue;
            }
            FileName::Past { .. } => {
                let times = past_times(&path, number).unwrap_or_default();
                found.past.push(OldPast { number, bytes, directory: 0, times });
                continue;
            }
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
            let (directory, names, holders) = (0, names(&path), Vec::new());
            found.segments.push(OldSegment { number, bytes, directory, names, holders });
            continue;
        }
        match read_journal(&path, &mut recovered) {
            Ok(()) => found.journals.push(name),
            Err(error) => set_aside(directory, &name, repair, &error.to_string(), &mut found),
        }
    }
    found.segments.sort_by_key(|segment| segment.number);
    for (number, units) in recovered.resolved {
        found.told_of.entry(number).or_default().units = units;
    }
    for (number, done) in recovered.done {
        found.told_of.entry(number).or_default().done = done;
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
    found.tallies = recovered.tallies;
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
    Ok(SegmentHeader::decode(&first_block(path)?)?)
}

/// When a past segment was begun, and when it was last written; none where it is none.
fn past_times(path: &Path, number: u64) -> Option<(u64, u64)> {
    let header = header(path).ok().filter(|header| (header.number, header.kind) == (number, SegmentKind::Requests))?;
    let written = std::fs::metadata(path).and_then(|known| known.modified()).ok()?;
    let written = written.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((header.created_unix_nano, u64::try_from(written.as_nanos()).ok()?))
}

fn first_block(path: &Path) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    File::open(path)?.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// The names of the pipelines that share the log of a segment whose header can be read.
fn names(path: &Path) -> Vec<String> {
    first_block(path).map(|block| SegmentHeader::pipelines(&block)).unwrap_or_default()
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

    /// The name of a segment's file.
    pub fn name(segment: &OldSegment) -> String {
        file_name(SegmentKind::Requests, segment.number)
    }
}
