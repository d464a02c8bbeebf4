//! A simulated disk with the interface of `tailwater_runtime::files`. It keeps the promises of a real one and no more: what
//! was synced is there after a power cut; of what was written and not synced each sector may be there or not, in any order;
//! a sync that fails leaves the same uncertainty. A change of the directory that fails may have been made. Recycled files
//! keep their old content.

use crate::executor::{pause, random};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use thiserror::Error;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;
/// What the real files insist on.
const BLOCK_BYTES: usize = 4096;
/// Longest that an operation takes before it is done, and again before it is answered.
const MICROS_MAX: u64 = 3000;

/// Why an operation failed.
#[derive(Debug, Error)]
#[error("simulated: {0}")]
pub struct FileError(&'static str);

/// When operations fail, by their number over the disk's life, counted from 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The sync that fails.
    pub sync: Option<u64>,
    /// The write that fails.
    pub write: Option<u64>,
    /// The change of the directory that fails, whether it was made or not.
    pub directory: Option<u64>,
    /// Most bytes of all files: making another fails.
    pub bytes_max: u64,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    /// Written and not synced.
    volatile: Vec<(usize, Vec<u8>)>,
    /// Writes on their way.
    in_flight: Vec<(usize, Vec<u8>)>,
}

impl Content {
    fn view(&self) -> Vec<u8> {
        let mut view = self.durable.clone();
        self.volatile.iter().for_each(|(offset, bytes)| view[*offset..offset + bytes.len()].copy_from_slice(bytes));
        view
    }

    fn settle(&mut self) {
        self.durable = self.view();
        self.volatile.clear();
    }

    /// Each sector of what is not synced is there or not.
    fn tear(&mut self) {
        let mut writes = std::mem::take(&mut self.volatile);
        random(|random| random.shuffle(&mut writes));
        for (offset, bytes) in writes {
            // Whole, gone, or any of its sectors.
            let share = random(|random| [0, 100, random.u32(0..100)][random.usize(0..3)]);
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if random(|random| random.u32(0..100)) < share {
                    let at = offset + number * SECTOR_BYTES;
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

/// The disk: it outlives the node's runs.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<String, Rc<RefCell<Content>>>,
    /// When operations fail.
    pub faults: Faults,
    syncs: u64,
    writes: u64,
    changes: u64,
    /// Syncs and writes that failed so far.
    pub failures: u64,
}

thread_local! {
    static DISK: RefCell<Disk> = RefCell::default();
}

/// Looks at the disk, or changes what it does.
pub fn disk<T>(call: impl FnOnce(&mut Disk) -> T) -> T {
    DISK.with_borrow_mut(call)
}

/// An empty disk.
pub fn reset(faults: Faults) {
    DISK.replace(Disk { faults, ..Disk::default() });
}

impl Disk {
    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Writes all files into a real directory, for code that reads one.
    pub fn copy_to(&self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
        for (name, content) in &self.files {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.borrow().view()).unwrap();
        }
    }

    /// The process is killed, or the power goes as well.
    pub fn crash(&mut self, cuts_power: bool) {
        for content in self.files.values() {
            let mut content = content.borrow_mut();
            if !cuts_power {
                content.settle();
            }
            let in_flight = std::mem::take(&mut content.in_flight);
            content.volatile.extend(in_flight);
            content.tear();
        }
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.borrow().durable.len() as u64).sum()
    }

    /// Makes a change of the directory, or fails with or without it.
    fn change<T>(&mut self, make: impl FnOnce(&mut Self) -> Result<T, FileError>) -> Result<T, FileError> {
        self.changes += 1;
        if self.faults.directory != Some(self.changes) {
            return make(self);
        }
        if random(fastrand::Rng::bool) {
            make(self)?;
        }
        Err(FileError("the directory cannot be synced"))
    }
}

/// `tailwater_runtime::files::Directory`: its name.
#[derive(Debug, Clone)]
pub struct Directory(pub String);

impl Directory {
    fn member(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Makes a file of zeros, unless there is no room.
    pub async fn create(&self, name: &str, bytes: u64) -> Result<File, FileError> {
        let name = &*self.member(name);
        pause(MICROS_MAX).await;
        let made = disk(|disk| {
            if disk.files.contains_key(name) {
                return Err(FileError("the name is taken"));
            }
            if disk.bytes() + bytes > disk.faults.bytes_max {
                return Err(FileError("no space"));
            }
            let durable = vec![0; usize::try_from(bytes).unwrap()];
            let content = Rc::new(RefCell::new(Content { durable, ..Content::default() }));
            let change = |disk: &mut Disk| {
                disk.files.insert(name.into(), content.clone());
                Ok(())
            };
            let made = disk.change(change);
            if let Err(error) = made {
                // The real one tidies up.
                disk.files.remove(name);
                return Err(error);
            }
            Ok(File::new(name, content))
        });
        pause(MICROS_MAX).await;
        made
    }

    /// Gives a file another name and opens it.
    pub async fn recycle(&self, from: &str, to: &str, bytes: u64) -> Result<File, FileError> {
        self.rename(from, to).await?;
        let file = self.open_file(to).await?;
        assert!(file.bytes() >= bytes, "a spare that is too short");
        Ok(file)
    }

    /// Opens a file.
    pub async fn open_file(&self, name: &str) -> Result<File, FileError> {
        let name = &*self.member(name);
        pause(MICROS_MAX).await;
        let content = disk(|disk| disk.files.get(name).cloned()).ok_or(FileError("no such file"))?;
        Ok(File::new(name, content))
    }

    /// Removes a file.
    pub async fn remove(&self, name: &str) -> Result<(), FileError> {
        let name = &*self.member(name);
        pause(MICROS_MAX).await;
        let remove = |disk: &mut Disk| disk.files.remove(name).map(drop).ok_or(FileError("no such file"));
        let removed = disk(|disk| disk.change(remove));
        pause(MICROS_MAX).await;
        removed
    }

    /// Gives a file another name, never that of another.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let (from, to) = (&*self.member(from), &*self.member(to));
        pause(MICROS_MAX).await;
        let rename = |disk: &mut Disk| {
            if disk.files.contains_key(to) {
                return Err(FileError("the name is taken"));
            }
            let content = disk.files.remove(from).ok_or(FileError("no such file"))?;
            disk.files.insert(to.into(), content);
            Ok(())
        };
        let renamed = disk(|disk| disk.change(rename));
        pause(MICROS_MAX).await;
        renamed
    }
}

/// `tailwater_runtime::files::File`.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    content: Rc<RefCell<Content>>,
}

impl File {
    fn new(name: &str, content: Rc<RefCell<Content>>) -> Self {
        Self { path: name.into(), content }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.content.borrow().durable.len() as u64
    }

    /// Writes what `fill` puts together; nothing is durable yet.
    pub async fn write_with(
        &self,
        offset: u64,
        length: usize,
        fill: impl Fn(usize, &mut [u8]),
    ) -> Result<(), FileError> {
        let mut bytes = vec![0; length];
        fill(0, &mut bytes);
        self.write_at(offset, &bytes).await
    }

    /// Writes; nothing is durable yet.
    pub async fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        let at = usize::try_from(offset).unwrap();
        assert!(at.is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES), "aligned");
        assert!(offset + bytes.len() as u64 <= self.bytes(), "within the preallocated file");
        self.content.borrow_mut().in_flight.push((at, bytes.to_vec()));
        pause(MICROS_MAX).await;
        let fails = disk(|disk| {
            disk.writes += 1;
            let fails = disk.faults.write == Some(disk.writes);
            disk.failures += u64::from(fails);
            fails
        });
        {
            let mut content = self.content.borrow_mut();
            let place = content.in_flight.iter().position(|(other, _)| *other == at).unwrap();
            let write = content.in_flight.swap_remove(place);
            content.volatile.push(write);
            if fails {
                // Some of it may have arrived.
                content.tear();
                return Err(FileError("the write failed"));
            }
        }
        pause(MICROS_MAX).await;
        Ok(())
    }

    /// Makes durable what was written before this was called.
    pub async fn sync(&self) -> Result<(), FileError> {
        let count = self.content.borrow().volatile.len();
        pause(MICROS_MAX).await;
        let fails = disk(|disk| {
            disk.syncs += 1;
            let fails = disk.faults.sync == Some(disk.syncs);
            disk.failures += u64::from(fails);
            fails
        });
        {
            let mut content = self.content.borrow_mut();
            if fails {
                content.tear();
                return Err(FileError("the sync failed"));
            }
            let count = count.min(content.volatile.len());
            let later = content.volatile.split_off(count);
            content.settle();
            content.volatile = later;
        }
        pause(MICROS_MAX).await;
        Ok(())
    }

    /// Reads what there is.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
        pause(MICROS_MAX).await;
        let view = self.content.borrow().view();
        let from = usize::try_from(offset).unwrap().min(view.len());
        Ok(view[from..(from + length).min(view.len())].to_vec())
    }
    /// A reader of the file from front to back.
    pub fn sequential(&self, _piece_bytes: usize, _buffers: &ReadBuffers) -> Sequential {
        Sequential(self.clone())
    }
}

/// `tailwater_runtime::files::ReadBuffers`; nothing is used again here.
#[derive(Debug, Default)]
pub struct ReadBuffers(());

/// `tailwater_runtime::files::Sequential`.
#[derive(Debug)]
pub struct Sequential(File);

impl Sequential {
    /// Reads a range, and some blocks behind it.
    pub async fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, FileError> {
        let more = random(|random| random.usize(0..4)) * BLOCK_BYTES;
        self.0.read_at(range.start, usize::try_from(range.end - range.start).unwrap() + more).await
    }
}
