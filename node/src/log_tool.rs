//! `tailwater log`: reads segments of the write-ahead log and changes nothing, so it may run beside a node. One segment is
//! in memory at a time.

mod dump;
mod meanings;
pub mod moment;
mod verify;

pub use dump::run as dump;
pub use verify::run as verify;

use crate::survey::{ASIDE_DIRECTORY, LOG_DIRECTORY, is_log_name, log_directories};
use crate::terminal::say;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tailwater_engine::log::format::{FileName, SegmentKind, parse_file_name};

/// A path was given that cannot be read: `EX_NOINPUT` of sysexits.h.
pub const EXIT_NO_INPUT: u8 = 66;

/// Largest file that is read: far above any segment, so that a wrong path does not take all memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    path: PathBuf,
    name: FileName,
}

/// The directories of logs that a path means: those of a data directory, one a pipeline, or else itself.
fn logs_of(path: &Path) -> Vec<PathBuf> {
    // What cannot be read is told when it is read as a log.
    let found = log_directories(path).unwrap_or_default();
    if found.is_empty() { vec![path.to_path_buf()] } else { found }
}

/// The segments of the logs in a directory, one list for each log, each by number. A data directory has one for each
/// pipeline.
///
/// # Errors
/// When the directory cannot be read or is no log.
pub fn segments_of(directory: &Path) -> io::Result<Vec<Vec<PathBuf>>> {
    let is_segment = |file: &Listed| matches!(file.name, FileName::Segment { .. });
    let segments =
        |directory: PathBuf| Ok(list_log(&directory)?.into_iter().filter(is_segment).map(|file| file.path).collect());
    logs_of(directory).into_iter().map(segments).collect()
}

/// The files with requests of all logs in a directory, those that are done with included, by number.
///
/// # Errors
/// When the directory cannot be read or is no log.
pub fn request_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let has_requests = |file: &Listed| {
        matches!(file.name, FileName::Segment { kind: SegmentKind::Requests, .. } | FileName::Past { .. })
    };
    let mut files = Vec::new();
    for log in logs_of(directory) {
        files.extend(list_log(&log)?.into_iter().filter(has_requests).map(|file| file.path));
    }
    Ok(files)
}

/// The files of the log in its directory, by number.
fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name) {
            files.push(Listed { path, name });
        }
    }
    files.sort_by_key(|file| (file.name.number(), file.name));
    Ok(files)
}

/// All bytes of a file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any segment of the log"));
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Says that a path cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) {
    say(&format!("{}: {error}; give a segment file, the log's directory or the data directory", path.display()));
}

/// The files of the log in its directory, by number.
///
/// # Errors
/// When it cannot be read or is no log: one that has nothing of a log in it, unless it is empty and called as a node calls
/// its log, which is what a node leaves that has received nothing.
fn list_log(directory: &Path) -> io::Result<Vec<Listed>> {
    let files = list(directory)?;
    if !files.is_empty() {
        return Ok(files);
    }
    let mut is_new = directory.file_name().and_then(|name| name.to_str()).is_some_and(is_log_name);
    for entry in std::fs::read_dir(directory)? {
        is_new &= entry?.file_name() == ASIDE_DIRECTORY;
    }
    if is_new { Ok(files) } else { Err(io::Error::new(io::ErrorKind::NotFound, "this is no log: no segment is in it")) }
}

/// The name of one of several directories of the log, to show before the names of its files; none of the only one.
fn within(directory: &Path) -> String {
    let name = shown(directory);
    if name != LOG_DIRECTORY && is_log_name(&name) { format!("{name}/") } else { String::new() }
}

/// The file's name, to show.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
