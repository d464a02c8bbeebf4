//! The lock on the data directory: two processes must not share one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The lock file's name inside the data directory.
const LOCK_FILE_NAME: &str = "lock";

/// An exclusive `flock` on `DIR/lock` and on `DIR` itself, held until dropped. The kernel gives it back when the process
/// dies, however it dies, so a stale file never blocks a restart. The file says who has it; the directory is locked too
/// because somebody may remove the file, and the next one of that name would be another file.
#[derive(Debug)]
pub struct DataDirectoryLock {
    path: PathBuf,
    _file: File,
    _directory: File,
}

/// Why the data directory could not be taken. Nothing was changed but for the directory having been made.
#[derive(Debug, thiserror::Error)]
pub enum LockTaken {
    /// Another process holds it.
    #[error(
        "the data directory {} is in use by {}; stop that process or choose another directory with --data-dir",
        directory.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The data directory.
        directory: PathBuf,
        /// The process that wrote its number into the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// The directory or the file in it cannot be made or opened.
    #[error(
        "cannot use the data directory {}: {source}; make it writable for this user or choose another with --data-dir",
        directory.display()
    )]
    Unusable {
        /// The data directory.
        directory: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl DataDirectoryLock {
    /// Makes the directory if it is not there, takes the lock and writes this process's number into it.
    ///
    /// # Errors
    /// [`LockTaken::Held`] if another process (or this one) has it, [`LockTaken::Unusable`] if the file system refuses.
    pub fn take(directory: &Path) -> Result<Self, LockTaken> {
        let unusable = |source| LockTaken::Unusable { directory: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let path = directory.join(LOCK_FILE_NAME);
        // Not truncated on opening: the number in it belongs to whoever holds the lock.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockTaken::Held { directory: directory.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let itself = File::open(directory).map_err(unusable)?;
        // Network file systems lock files only; there the file has to do.
        if matches!(itself.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(LockTaken::Held { directory: directory.to_owned(), pid: None });
        }
        write_pid(&mut file).map_err(unusable)?;
        Ok(Self { path, _file: file, _directory: itself })
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // A process number is at most 10 digits; more is not ours.
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_and_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let held = DataDirectoryLock::take(directory.path()).unwrap();
        let refused = DataDirectoryLock::take(directory.path()).unwrap_err();
        assert!(matches!(&refused, LockTaken::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
        assert!(refused.to_string().contains(&std::process::id().to_string()));
        drop(held);
        DataDirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn removing_the_file_does_not_give_the_directory_away() {
        let directory = tempfile::tempdir().unwrap();
        let held = DataDirectoryLock::take(directory.path()).unwrap();
        std::fs::remove_file(held.path()).unwrap();
        let refused = DataDirectoryLock::take(directory.path()).unwrap_err();
        assert!(matches!(refused, LockTaken::Held { pid: None, .. }), "{refused}");
        drop(held);
        DataDirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_and_a_file_in_its_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("a/b");
        let lock = DataDirectoryLock::take(&nested).unwrap();
        assert!(lock.path().starts_with(&nested));
        let refused = DataDirectoryLock::take(lock.path()).unwrap_err();
        assert!(matches!(refused, LockTaken::Unusable { .. }));
    }
}
