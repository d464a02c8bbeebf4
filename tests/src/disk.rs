//! A disk in memory that keeps the promises of a real one and no more: what was synced is there after a power cut; of what
//! was written and not synced each sector may be there or not, in any order; a sync that fails leaves the same
//! uncertainty and is final. Recycled files keep their old content behind what is written over it.

use fastrand::Rng;
use std::collections::BTreeMap;
use tailwater_engine::log::format::SegmentKind;
use tailwater_engine::log::stream::Operation;

/// A file by what its name says.
pub type FileKey = (SegmentKind, u64);

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default, Clone)]
struct SimulatedFile {
    durable: Vec<u8>,
    /// Written and not synced.
    volatile: Vec<(usize, Vec<u8>)>,
}

impl SimulatedFile {
    fn view(&self) -> Vec<u8> {
        let mut view = self.durable.clone();
        for (offset, bytes) in &self.volatile {
            view[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        view
    }

    fn settle(&mut self) {
        self.durable = self.view();
        self.volatile.clear();
    }

    /// Each sector of what is not synced is there or not.
    fn tear(&mut self, random: &mut Rng) {
        let mut writes = std::mem::take(&mut self.volatile);
        random.shuffle(&mut writes);
        for (offset, bytes) in writes {
            // Whole, gone, or any of its sectors.
            let share = [0, 100, random.u32(0..100)][random.usize(0..3)];
            for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if random.u32(0..100) < share {
                    let at = offset + number * SECTOR_BYTES;
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

/// When operations fail.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The sync with this number fails, counted from 1 over the disk's life.
    pub sync: Option<u64>,
    /// The write with this number fails.
    pub write: Option<u64>,
    /// Most bytes of all files: opening another fails.
    pub bytes_max: u64,
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<FileKey, SimulatedFile>,
    spares: Vec<SimulatedFile>,
    /// Segments of requests that are done with and stay.
    past: BTreeMap<u64, SimulatedFile>,
    /// When operations fail.
    pub faults: Faults,
    /// Syncs so far.
    pub syncs: u64,
    writes: u64,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// Carries an operation out. False when it failed.
    pub fn apply(&mut self, kind: SegmentKind, operation: &Operation, random: &mut Rng) -> bool {
        match operation {
            Operation::Open { number, bytes, header } => self.open((kind, *number), *bytes, header),
            Operation::Write { number, offset, bytes } => {
                self.writes += 1;
                let file = self.files.get_mut(&(kind, *number)).expect("a write to an open file");
                let offset = usize::try_from(*offset).expect("files are small");
                assert!(offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096), "aligned");
                assert!(offset + bytes.len() <= file.durable.len(), "within the preallocated file");
                file.volatile.push((offset, bytes.to_vec()));
                if self.faults.write == Some(self.writes) {
                    // Some of it may have arrived.
                    file.tear(random);
                    return false;
                }
                true
            }
            Operation::Sync { number } => {
                self.syncs += 1;
                let file = self.files.get_mut(&(kind, *number)).expect("a sync of an open file");
                if self.faults.sync == Some(self.syncs) {
                    file.tear(random);
                    return false;
                }
                file.settle();
                true
            }
        }
    }

    fn open(&mut self, key: FileKey, bytes: u64, header: &[u8]) -> bool {
        let length = usize::try_from(bytes).expect("files are small");
        let spare = self.spares.iter().position(|spare| spare.durable.len() >= length);
        if spare.is_none() && self.bytes() + bytes > self.faults.bytes_max {
            return false;
        }
        let mut file = spare.map_or_else(
            || SimulatedFile { durable: vec![0; length], volatile: Vec::new() },
            |position| self.spares.swap_remove(position),
        );
        file.durable[..header.len()].copy_from_slice(header);
        assert!(self.files.insert(key, file).is_none(), "a number is used once");
        true
    }

    fn bytes(&self) -> u64 {
        self.files.values().chain(&self.spares).chain(self.past.values()).map(|file| file.durable.len() as u64).sum()
    }

    /// The file becomes one to be recycled.
    pub fn retire(&mut self, key: FileKey) {
        if let Some(mut file) = self.files.remove(&key) {
            file.settle();
            self.spares.push(file);
        }
    }

    /// The file of a segment of requests is past.
    pub fn make_past(&mut self, number: u64) {
        if let Some(mut file) = self.files.remove(&(SegmentKind::Requests, number)) {
            file.settle();
            assert!(self.past.insert(number, file).is_none(), "a number is used once");
        }
    }

    /// A past file becomes one to be recycled.
    pub fn retire_past(&mut self, number: u64) {
        self.spares.extend(self.past.remove(&number));
    }

    /// The past segments there are, with the bytes of their files.
    #[must_use]
    pub fn past(&self) -> Vec<(u64, u64)> {
        self.past.iter().map(|(number, file)| (*number, file.durable.len() as u64)).collect()
    }

    /// What a reader sees.
    #[must_use]
    pub fn read(&self, key: FileKey) -> Option<Vec<u8>> {
        self.files.get(&key).map(SimulatedFile::view)
    }

    /// The files there are.
    #[must_use]
    pub fn keys(&self) -> Vec<FileKey> {
        self.files.keys().copied().collect()
    }

    /// The process is killed: what the kernel has stays. A write on its way arrives in part.
    pub fn kill(&mut self, in_flight: &[(SegmentKind, Operation)], random: &mut Rng) {
        for file in self.files.values_mut() {
            file.settle();
        }
        for (kind, operation) in in_flight {
            if let Operation::Write { number, offset, bytes } = operation
                && let Some(file) = self.files.get_mut(&(*kind, *number))
            {
                file.volatile.push((usize::try_from(*offset).expect("files are small"), bytes.to_vec()));
                file.tear(random);
            }
        }
    }

    /// The power goes: of what was not synced, any sectors.
    pub fn cut_power(&mut self, in_flight: &[(SegmentKind, Operation)], random: &mut Rng) {
        for (kind, operation) in in_flight {
            if let Operation::Write { number, offset, bytes } = operation
                && let Some(file) = self.files.get_mut(&(*kind, *number))
            {
                file.volatile.push((usize::try_from(*offset).expect("files are small"), bytes.to_vec()));
            }
        }
        for file in self.files.values_mut() {
            file.tear(random);
        }
    }
}
