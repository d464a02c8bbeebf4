//! The calls that may block, as the helper thread makes them.

use std::ffi::CStr;
use std::fs::{self, File as StdFile};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, fallocate, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::{ENTRIES_MAX, Entry, FileError};

/// How many zero bytes are written at once where blocks cannot be allocated otherwise.
const ZEROS_BYTES: usize = 1 << 20;

/// The unit that `stat` counts blocks in, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;

/// New files are for their owner: they hold what senders have sent.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A file as it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: StdFile,
    pub(super) bytes: u64,
    pub(super) is_writable: bool,
}

/// An open directory. Names are looked up in it even if it has been renamed meanwhile.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    directory: StdFile,
}

impl Place {
    /// Opens the directory; missing ones are made, from the outermost to the innermost, each durable in its parent.
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        let failed = |path: &Path, source| FileError::new(path, "open the directory", source);
        let missing: Vec<&Path> =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.is_dir()).collect();
        for directory in missing.into_iter().rev() {
            match fs::create_dir(directory) {
                // Another executor may have been faster; whoever is syncs the parent too.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(directory, error)),
                _ => {}
            }
            let parent = match directory.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let opened = StdFile::open(parent).map_err(|error| failed(parent, error))?;
            sync_directory(&opened).map_err(|error| failed(parent, error))?;
        }
        let directory = StdFile::open(&path).map_err(|error| failed(&path, error))?;
        let is_directory = directory.metadata().map_err(|error| failed(&path, error))?.is_dir();
        if !is_directory {
            return Err(failed(&path, io::Error::from(Errno::NOTDIR)));
        }
        Ok(Self { path, directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn list(&self) -> Result<Vec<Entry>, FileError> {
        let failed = |errno: Errno| FileError::new(&self.path, "list", errno);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(bytes) = self.regular_bytes(entry.file_name()).map_err(failed)? else { continue };
            let Ok(name) = entry.file_name().to_str() else { continue };
            if entries.len() == ENTRIES_MAX {
                return Err(FileError::TooManyFiles { path: self.path.clone() });
            }
            entries.push(Entry { name: name.to_owned(), bytes });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// The length of a regular file; `None` for anything else, and for what has just been removed.
    fn regular_bytes(&self, name: &CStr) -> Result<Option<u64>, Errno> {
        match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn create(&self, name: &str, bytes: u64) -> Result<Opened, FileError> {
        let path = self.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.directory, name, flags, FILE_MODE)
            .map(StdFile::from)
            .map_err(|errno| FileError::new(&path, "create", errno))?;
        let made = allocate(&file, bytes)
            .map_err(|error| FileError::new(&path, "allocate", error))
            .and_then(|()| file.sync_all().map_err(|error| FileError::new(&path, "sync", error)))
            .and_then(|()| self.sync());
        if let Err(error) = made {
            // The cause is what the caller wants to know; a failure to tidy up has the same cause.
            let _removed = self.remove(name);
            return Err(error);
        }
        Ok(Opened { file, bytes, is_writable: true })
    }

    pub(super) fn recycle(&self, from: &str, to: &str, bytes: u64) -> Result<Opened, FileError> {
        let path = self.path.join(from);
        let failed = |error: io::Error| FileError::new(&self.path.join(from), "recycle", error);
        let opened = self.open_file(from)?;
        if !opened.is_writable {
            return Err(FileError::ReadOnly { path, operation: "recycle" });
        }
        if opened.bytes < bytes {
            return Err(FileError::TooShort { path, bytes: opened.bytes, wanted: bytes });
        }
        // Where all blocks are there nothing is asked for: a full XFS refuses to allocate what it has already.
        let blocks_bytes = opened.file.metadata().map_err(failed)?.blocks().saturating_mul(STAT_BLOCK_BYTES);
        if blocks_bytes < bytes {
            match fallocate_retrying(&opened.file, bytes) {
                Err(errno) if !is_unsupported(errno) => return Err(failed(errno.into())),
                _ => {}
            }
        }
        self.rename(from, to)?;
        Ok(opened)
    }

    pub(super) fn open_file(&self, name: &str) -> Result<Opened, FileError> {
        let failed = |error: io::Error| FileError::new(&self.path.join(name), "open", error);
        let open = |access: OFlags| {
            openat(&self.directory, name, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).map(StdFile::from)
        };
        let (file, is_writable) = match open(OFlags::RDWR) {
            Ok(file) => (file, true),
            Err(Errno::ROFS) => (open(OFlags::RDONLY).map_err(|errno| failed(errno.into()))?, false),
            Err(errno) => return Err(failed(errno.into())),
        };
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Opened { file, bytes, is_writable })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), FileError> {
        unlinkat(&self.directory, name, AtFlags::empty())
            .map_err(|errno| FileError::new(&self.path.join(name), "remove", errno))?;
        self.sync()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let renamed = match renameat_with(&self.directory, from, &self.directory, to, RenameFlags::NOREPLACE) {
            Err(errno) if is_unsupported(errno) => self.look_and_rename(from, to),
            outcome => outcome,
        };
        renamed.map_err(|errno| {
            let subject = if errno == Errno::EXIST { to } else { from };
            FileError::new(&self.path.join(subject), "rename", errno)
        })?;
        self.sync()
    }

    /// For file systems that cannot promise not to replace. Nobody else writes here, so looking first will do.
    fn look_and_rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        match statat(&self.directory, to, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(&self.directory, from, &self.directory, to),
            Ok(_) => Err(Errno::EXIST),
            Err(errno) => Err(errno),
        }
    }

    fn sync(&self) -> Result<(), FileError> {
        sync_directory(&self.directory).map_err(|error| FileError::new(&self.path, "sync the directory", error))
    }
}

/// Makes the entries of a directory durable, where its file system has a way to do so.
fn sync_directory(directory: &StdFile) -> io::Result<()> {
    match directory.sync_all() {
        Err(error) if Errno::from_io_error(&error).is_some_and(is_unsupported) => Ok(()),
        outcome => outcome,
    }
}

/// Takes blocks for the whole file, which is empty, and gives it its length.
fn allocate(file: &StdFile, bytes: u64) -> io::Result<()> {
    match fallocate_retrying(file, bytes) {
        Err(errno) if is_unsupported(errno) => write_zeros(file, bytes),
        outcome => Ok(outcome?),
    }
}

fn fallocate_retrying(file: &StdFile, bytes: u64) -> Result<(), Errno> {
    retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes))
}

/// Whether a file system says that it has no such operation.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)
}

fn write_zeros(file: &StdFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        file.write_all_at(&zeros[..length], offset)?;
        offset += length as u64;
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; returns how many bytes were read.
pub(super) fn read_full_at(file: &StdFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_where_blocks_cannot_be_allocated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, b"").unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let bytes = ZEROS_BYTES as u64 * 2 + 4096;
        write_zeros(&file, bytes).unwrap();
        let written = fs::read(&path).unwrap();
        assert_eq!(written.len() as u64, bytes);
        assert!(written.iter().all(|byte| *byte == 0));
        assert!(is_unsupported(Errno::OPNOTSUPP) && !is_unsupported(Errno::NOSPC));
    }

    #[test]
    fn a_file_is_not_replaced_either_where_the_file_system_does_not_promise_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::open(directory.path().to_owned()).unwrap();
        for name in ["a", "b"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        assert_eq!(place.look_and_rename("a", "b"), Err(Errno::EXIST));
        assert_eq!(place.look_and_rename("none", "c"), Err(Errno::NOENT));
        assert_eq!(place.look_and_rename("a", "c"), Ok(()));
        assert_eq!(fs::read(directory.path().join("c")).unwrap(), b"a");
        assert_eq!(fs::read(directory.path().join("b")).unwrap(), b"b");
    }
}
