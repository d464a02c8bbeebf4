//! The files of a log on disk: preallocated, written in whole blocks, durable when a call says so.
//!
//! [`Directory`] makes, finds and removes files and makes each such change durable before it answers; [`File`] is one of
//! them. On an io_uring executor data is written past the page cache and synced by the ring ([`direct`]). Everything
//! else, and everything on an epoll executor or on a file system that has no direct I/O, happens on one helper thread
//! for each executor ([`helper`]), so that no call blocks the executor.
//!
//! A call whose future is dropped is not undone: what it has begun goes on to its end in the background, and its outcome
//! is lost. The memory it works with belongs to it alone, so that dropping is always safe.

mod blocking;
mod direct;
mod error;
mod file;
mod helper;
mod sequential;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocking::Place;
use helper::Helper;

pub use error::FileError;
pub use file::File;
pub use sequential::{Piece, ReadBuffers, Sequential};

/// Offsets and lengths of writes are multiples of this many bytes, and so are the lengths of files. It is the page size
/// and the largest sector of common disks, hence what direct I/O asks for.
pub const BLOCK_BYTES: usize = 4096;

/// Files that [`Directory::list`] reports at most. A log of so many segments would hold terabytes; a directory that has
/// more is not a log's.
pub const ENTRIES_MAX: usize = 65_536;

/// A file in a [`Directory`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name without the directory.
    pub name: String,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// A directory that holds a log. It belongs to the executor that it was opened on.
///
/// Two tasks must not change the same name at once; different names are independent.
#[derive(Clone, Debug)]
pub struct Directory {
    place: Arc<Place>,
    helper: Helper,
}

impl Directory {
    /// Opens a directory, which is made if it is missing, with those above it. What was made is durable.
    ///
    /// # Errors
    /// [`FileError`]; directories that were made before the failure stay.
    pub async fn open(path: &Path) -> Result<Self, FileError> {
        let helper = Helper::current(path)?;
        let wanted = path.to_owned();
        let place = helper.run(path, "open", move || Place::open(wanted)).await?;
        Ok(Self { place: Arc::new(place), helper })
    }

    /// The directory's path, as it was given to [`open`](Self::open).
    #[must_use]
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The regular files in the directory, ordered by name. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// [`FileError`], with [`FileError::TooManyFiles`] beyond [`ENTRIES_MAX`]. Nothing was changed.
    pub async fn list(&self) -> Result<Vec<Entry>, FileError> {
        let place = Arc::clone(&self.place);
        self.helper.run(self.path(), "list", move || place.list()).await
    }

    /// Makes a file of `bytes` zero bytes. All its blocks are allocated, so that later writes need no space; file and
    /// directory entry are durable. (On a copy-on-write file system a write may need space nevertheless.)
    ///
    /// # Errors
    /// [`FileError`]; nothing is left behind. [`FileError::NoSpace`] is the one to expect, and to try again later.
    pub async fn create(&self, name: &str, bytes: u64) -> Result<File, FileError> {
        let path = self.member(name)?;
        if bytes == 0 || !is_aligned(bytes) {
            return Err(FileError::Misaligned { path, offset: 0, length: bytes });
        }
        let (place, wanted) = (Arc::clone(&self.place), name.to_owned());
        let opened = self.helper.run(&path, "create", move || place.create(&wanted, bytes)).await?;
        let file = File::new(path, opened, self.helper.clone());
        file.open_direct().await;
        Ok(file)
    }

    /// Gives an existing file of at least `bytes` bytes a new name and opens it. Its content stays, and so does its
    /// length. Blocks that it lacks are allocated; the directory entry is durable.
    ///
    /// # Errors
    /// [`FileError::TooShort`] and [`FileError::Exists`] (there is a file `to` already) change nothing. After an I/O
    /// error the file has one of the two names.
    pub async fn recycle(&self, from: &str, to: &str, bytes: u64) -> Result<File, FileError> {
        self.member(from)?;
        let path = self.member(to)?;
        let (place, from, to) = (Arc::clone(&self.place), from.to_owned(), to.to_owned());
        let opened = self.helper.run(&path, "recycle", move || place.recycle(&from, &to, bytes)).await?;
        let file = File::new(path, opened, self.helper.clone());
        file.open_direct().await;
        Ok(file)
    }

    /// Opens an existing file to read, and to write unless the file system is mounted read-only.
    ///
    /// # Errors
    /// [`FileError`]; nothing was changed.
    pub async fn open_file(&self, name: &str) -> Result<File, FileError> {
        let path = self.member(name)?;
        let (place, wanted) = (Arc::clone(&self.place), name.to_owned());
        let opened = self.helper.run(&path, "open", move || place.open_file(&wanted)).await?;
        Ok(File::new(path, opened, self.helper.clone()))
    }

    /// Removes a file. Its removal is durable; its blocks are free when it has been closed too.
    ///
    /// # Errors
    /// [`FileError`]; after an I/O error the file may come back with the next boot.
    pub async fn remove(&self, name: &str) -> Result<(), FileError> {
        let path = self.member(name)?;
        let (place, wanted) = (Arc::clone(&self.place), name.to_owned());
        self.helper.run(&path, "remove", move || place.remove(&wanted)).await
    }

    /// Gives a file another name, durably. Open [`File`]s of it go on working; their errors show the old name.
    ///
    /// # Errors
    /// [`FileError::Exists`] if there is a file `to` already; nothing was changed. After an I/O error the file has one
    /// of the two names.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.member(to)?;
        let path = self.member(from)?;
        let (place, from, to) = (Arc::clone(&self.place), from.to_owned(), to.to_owned());
        self.helper.run(&path, "rename", move || place.rename(&from, &to)).await
    }

    /// The path of a file of this directory. Only plain names are taken, so that no call can leave the directory.
    fn member(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.path().join(name);
        let plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        if plain { Ok(path) } else { Err(FileError::BadName { name: name.to_owned() }) }
    }
}

/// Whether an offset or a length is a multiple of [`BLOCK_BYTES`].
const fn is_aligned(bytes: u64) -> bool {
    bytes.trailing_zeros() >= BLOCK_BYTES.trailing_zeros()
}
