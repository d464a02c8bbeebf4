//! Why a file could not be used, in words for the person who runs the program.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{BLOCK_BYTES, ENTRIES_MAX};

/// Why a call of [`super::Directory`] or [`super::File`] failed. Each call says what its failure leaves behind.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system is full, or a quota is used up. Worth trying again when there is space.
    #[error(
        "cannot {operation} {}: {source}; free space on its file system, or give the log a smaller bound or another \
         directory",
        path.display()
    )]
    NoSpace {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file system is mounted read-only, perhaps by the kernel after an error. Trying again is of no use.
    #[error(
        "cannot {operation} {}: its file system is read-only; look for disk errors in the kernel's log and mount it \
         writable, or choose another directory",
        path.display()
    )]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
    },
    /// There is no such file or directory.
    #[error("cannot {operation} {}: it does not exist; something else may have removed or renamed it", path.display())]
    Missing {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
    },
    /// There is a file of this name already, and it was left alone.
    #[error(
        "cannot {operation} {}: the name is taken; something else writes to this directory, or a number was given twice",
        path.display()
    )]
    Exists {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
    },
    /// The user may not do this.
    #[error(
        "cannot {operation} {}: {source}; give the user that runs tailwater read and write access",
        path.display()
    )]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A mistake of the program: an offset or a length that is not a multiple of [`BLOCK_BYTES`], or an empty file.
    /// Nothing was done.
    #[error(
        "{}: offset {offset} and length {length} must be multiples of {BLOCK_BYTES} bytes; this is a bug, please report it",
        path.display()
    )]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// A mistake of the program: a write past the end of the preallocated file. Nothing was done.
    #[error(
        "{}: a write of {length} bytes at {offset} does not fit its {bytes} bytes; this is a bug, please report it",
        path.display()
    )]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the start.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// The file's length.
        bytes: u64,
    },
    /// A mistake of the program: a name with a slash or a zero byte in it, or one of `.` and `..`. Nothing was done.
    #[error("{name:?} is not the name of a file in a directory; this is a bug, please report it")]
    BadName {
        /// The name.
        name: String,
    },
    /// A file to be recycled is shorter than wanted. Nothing was changed; remove it and create one.
    #[error("cannot recycle {}: it has {bytes} bytes, {wanted} are wanted; remove it", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// The file's length.
        bytes: u64,
        /// The least length wanted.
        wanted: u64,
    },
    /// The directory is not a log's.
    #[error("{} holds more than {ENTRIES_MAX} files; choose a directory of the log's own", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
    },
    /// The executor ends, or the work failed with a panic, which was logged. Whether it was done is not known.
    #[error("cannot tell whether the attempt to {operation} {} succeeded: the work was broken off", path.display())]
    BrokenOff {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
    },
    /// Anything else that the system said. For writes and syncs: the data since the last good sync must be taken as
    /// lost, and writing to this file must stop.
    #[error("cannot {operation} {}: {source}; if the disk is at fault, the kernel's log says more", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl FileError {
    /// Sorts a system's answer.
    pub(super) fn new(path: &Path, operation: &'static str, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path, operation, source },
            Some(Errno::ROFS) => Self::ReadOnly { path, operation },
            Some(Errno::NOENT) => Self::Missing { path, operation },
            Some(Errno::EXIST) => Self::Exists { path, operation },
            Some(Errno::ACCESS | Errno::PERM) => Self::Denied { path, operation, source },
            _ => Self::Io { path, operation, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_and_the_text_has_the_path_and_what_to_do() {
        let path = Path::new("/data/log/a.log");
        for (errno, remedy) in [
            (Errno::NOSPC, "free space"),
            (Errno::DQUOT, "free space"),
            (Errno::ROFS, "mount it writable"),
            (Errno::NOENT, "does not exist"),
            (Errno::EXIST, "the name is taken"),
            (Errno::ACCESS, "read and write access"),
            (Errno::PERM, "read and write access"),
            (Errno::IO, "the kernel's log says more"),
        ] {
            let error = FileError::new(path, "write to", errno);
            let text = error.to_string();
            assert!(text.starts_with("cannot write to /data/log/a.log: ") && text.contains(remedy), "{text}");
            assert_eq!(matches!(error, FileError::Io { .. }), errno == Errno::IO);
        }
    }
}
