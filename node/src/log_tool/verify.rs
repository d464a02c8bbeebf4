//! `tailwater log verify`: goes through all segments of a directory and says what is wrong. Exit code 0 when nothing
//! accepted is missing, 1 when something is or a segment cannot be read, 66 when there is no log to read.

use super::{EXIT_NO_INPUT, list_log, logs_of, read, shown, unreadable, within};
use crate::progress::Progress;
use crate::terminal::print;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tailwater_engine::log::format::{FileName, HeaderError, Record, SegmentHeader, SegmentKind};
use tailwater_engine::log::read::{Behind, Found, Records, Tail};

/// What was found in one file.
#[derive(Debug)]
struct Segment {
    /// The file's name.
    name: String,
    number: u64,
    /// What was read, if the file has been begun and can be read.
    content: Option<Content>,
    /// What is worth knowing and no loss.
    notes: Vec<String>,
    /// What is wrong.
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Content {
    header: SegmentHeader,
    tail: Tail,
    records: u64,
}

/// Something wrong, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    text: String,
    remedy: &'static str,
}

const CHECK_THE_DISK: &str = "accepted data is missing: check the disk (dmesg, smartctl); a node starts without it";
const MOVE_AWAY: &str = "nothing in it can be read: check the disk, keep a copy, then move it out of the directory";
const OLDER_RELEASE: &str = "start the release that wrote it and let it drain";
const BY_HAND: &str = "files were renamed, copied or restored by hand: put back the directory as one node left it";
const REPORT: &str = "no node writes this: keep a copy and report it";

/// Checks a directory of the log, or all in a data directory.
pub fn run(path: &Path) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for directory in logs_of(path) {
        match checked(&directory) {
            Ok((segments, spares)) => {
                let name = within(&directory);
                let head = if name.is_empty() { String::new() } else { format!("{name}\n") };
                print(&format!("{head}{}", report(&segments, spares)));
                if segments.iter().any(|segment| !segment.faults.is_empty()) {
                    code = ExitCode::FAILURE;
                }
            }
            Err((path, error)) => {
                unreadable(&path, &error);
                return ExitCode::from(EXIT_NO_INPUT);
            }
        }
    }
    code
}

/// The segments of a directory and the number of spare files, or what could not be read.
fn checked(directory: &Path) -> Result<(Vec<Segment>, usize), (PathBuf, io::Error)> {
    let (mut segments, spares) = pass(directory)?;
    if segments.iter().any(|segment| !segment.faults.is_empty()) {
        confirm(&mut segments, &pass(directory)?.0);
    }
    Ok((segments, spares))
}

/// Keeps the faults that were found again. A node may be writing: a file that is read while flushes go into it seems to
/// lack some, and one that is used anew seems to be neither. Such a thing does not look the same twice; damage does.
fn confirm(segments: &mut [Segment], again: &[Segment]) {
    for segment in segments {
        let same = again.iter().find(|same| same.name == segment.name);
        segment.faults.retain(|fault| same.is_some_and(|same| same.faults.contains(fault)));
    }
}

/// Goes through a directory once.
fn pass(directory: &Path) -> Result<(Vec<Segment>, usize), (PathBuf, io::Error)> {
    let files = list_log(directory).map_err(|error| (directory.to_path_buf(), error))?;
    let mut segments: Vec<Segment> = Vec::new();
    let mut spares = 0;
    let mut progress = Progress::for_people(directory);
    for file in files {
        let (kind, number) = match file.name {
            FileName::Segment { kind, number } => (kind, number),
            FileName::Spare { .. } => {
                spares += 1;
                continue;
            }
            // Nobody is owed anything of it: damage in it costs itself.
            FileName::Past { .. } => continue,
        };
        match read(&file.path) {
            Ok(content) => {
                segments.push(examine(shown(&file.path), kind, number, &content));
                progress.add(content.len() as u64);
                progress.tell(|| format!("{} segments, {} records", segments.len(), records_of(&segments)));
            }
            // Retired since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                progress.end();
                return Err((file.path, error));
            }
        }
    }
    progress.end();
    compare(&mut segments);
    Ok((segments, spares))
}

/// Examines a file by itself.
fn examine(name: String, kind: SegmentKind, number: u64, file: &[u8]) -> Segment {
    let mut segment = Segment { name, number, content: None, notes: Vec::new(), faults: Vec::new() };
    let mut fault = |text: String, remedy| segment.faults.push(Fault { text, remedy });
    let (header, mut records) = match Records::open(file) {
        Ok(opened) => opened,
        Err(HeaderError::Blank) => {
            segment.notes.push("allocated and not begun".into());
            return segment;
        }
        Err(error) => {
            let is_other_version = matches!(error, HeaderError::UnknownVersion(_));
            fault(error.to_string(), if is_other_version { OLDER_RELEASE } else { MOVE_AWAY });
            return segment;
        }
    };
    if (header.kind, header.number) != (kind, number) {
        if header.number < number {
            segment.notes.push(format!("taken for reuse and not begun: it was number {}", header.number));
        } else {
            fault(format!("its header is that of {} number {}", header.kind.word(), header.number), BY_HAND);
        }
        return segment;
    }
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    if bytes < header.bytes {
        fault(format!("cut off: {bytes} bytes of {}", header.bytes), CHECK_THE_DISK);
    }
    let mut gaps = Vec::new();
    let (mut count, mut next_unit) = (0, 0);
    for found in records.by_ref() {
        match found {
            Found::Skipped { offset, bytes, sequences } => gaps.push((offset, bytes, sequences)),
            Found::Record { offset, record, .. } => {
                count += 1;
                if let Some(text) = misplaced(kind, &record, &mut next_unit) {
                    fault(format!("at {offset}: {text}"), REPORT);
                }
            }
        }
    }
    let tail = records.tail();
    for (offset, bytes, sequences) in gaps {
        let text = format!("at {offset}: {bytes} bytes are damaged, {sequences} records missing");
        if tail.is_in_last_flush(offset) {
            segment.notes.push(format!("{text}, in the last flush: an interrupted write that was never acknowledged"));
        } else {
            fault(text, CHECK_THE_DISK);
        }
    }
    segment.content = Some(Content { header, tail, records: count });
    segment
}

/// What is wrong with a sound record in this place.
fn misplaced(kind: SegmentKind, record: &Record<'_>, next_unit: &mut u32) -> Option<&'static str> {
    match (kind, record) {
        (SegmentKind::Requests, Record::Request(request)) => {
            let is_above = request.first_unit >= *next_unit;
            *next_unit = request.first_unit.saturating_add(request.units);
            (!is_above).then_some("the units of a request are those of one before it")
        }
        (SegmentKind::Requests, _) | (SegmentKind::Journal, Record::Request(_)) => {
            Some("a record of the other kind of segment")
        }
        (SegmentKind::Journal, _) => None,
    }
}

/// Compares the segments with one another: numbers, and the sequences of each stream.
fn compare(segments: &mut [Segment]) {
    let mut numbers = BTreeMap::new();
    let mut streams: BTreeMap<(u16, SegmentKind), Vec<usize>> = BTreeMap::new();
    for (index, segment) in segments.iter().enumerate() {
        *numbers.entry(segment.number).or_insert(0_usize) += 1;
        if let Some(content) = &segment.content {
            streams.entry((content.header.lane, content.header.kind)).or_default().push(index);
        }
    }
    for segment in segments.iter_mut().filter(|segment| numbers[&segment.number] > 1) {
        segment.faults.push(Fault { text: "another segment has the same number".into(), remedy: BY_HAND });
    }
    for stream in streams.into_values() {
        for (place, index) in stream.iter().enumerate() {
            let next = stream.get(place + 1).and_then(|next| segments[*next].content.as_ref());
            let next_sequence = next.map(|next| next.header.first_sequence);
            if let Some(segment) = segments.get_mut(*index) {
                join(segment, next_sequence);
            }
        }
    }
}

/// Judges the end of a segment by the sequence that the next one of its stream begins with, if there is one.
fn join(segment: &mut Segment, next_sequence: Option<u64>) {
    let Some(content) = &segment.content else { return };
    let tail = content.tail;
    let is_torn = tail.behind == Behind::Torn;
    match next_sequence {
        Some(next) if next < tail.sequence => {
            let text = format!("the next segment begins at sequence {next}, which is used here");
            segment.faults.push(Fault { text, remedy: BY_HAND });
        }
        // A node that started found the same end and went on there.
        Some(next) if is_torn && next == tail.sequence => {
            segment.notes.push(format!("torn at {}: a node stopped during a write and went on elsewhere", tail.offset));
        }
        Some(next) if is_torn => {
            let text =
                format!("at {}: damaged; the next segment begins {} records later", tail.offset, next - tail.sequence);
            segment.faults.push(Fault { text, remedy: CHECK_THE_DISK });
        }
        None if is_torn => {
            let text = format!("torn at {}: a write under way, or interrupted and never acknowledged", tail.offset);
            segment.notes.push(text);
        }
        _ => {}
    }
}

fn report(segments: &[Segment], spares: usize) -> String {
    let mut text = String::new();
    for segment in segments {
        let word = match (segment.faults.is_empty(), segment.notes.is_empty()) {
            (false, _) => "FAIL",
            (true, false) => "note",
            (true, true) => "ok",
        };
        text.push_str(&format!("{word:<5} {}{}\n", segment.name, summary(segment)));
        for note in &segment.notes {
            text.push_str(&format!("{:>10}{note}\n", ""));
        }
        for fault in &segment.faults {
            text.push_str(&format!("{:>10}{}\n{:>13}{}\n", "", fault.text, "-> ", fault.remedy));
        }
    }
    let records = records_of(segments);
    let faults = segments.iter().filter(|segment| !segment.faults.is_empty()).count();
    text.push_str(&format!(
        "{} segments, {records} records, {spares} spare files; {}\n",
        segments.len(),
        if faults == 0 { "nothing accepted is missing".into() } else { format!("{faults} segments are not sound") },
    ));
    text
}

fn records_of(segments: &[Segment]) -> u64 {
    segments.iter().filter_map(|segment| segment.content.as_ref()).map(|content| content.records).sum()
}

fn summary(segment: &Segment) -> String {
    let Some(Content { header, tail, records }) = &segment.content else { return String::new() };
    format!(
        ": lane {}, {records} records, sequences {} to below {}, {} of {} KiB",
        header.lane,
        header.first_sequence,
        tail.sequence,
        tail.offset / 1024,
        header.bytes / 1024,
    )
}

#[cfg(test)]
mod tests;
