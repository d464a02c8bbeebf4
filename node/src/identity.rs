//! Who this node is among others, over restarts: a random id, drawn when the data directory is made, and a number for each run
//! that is greater than those of all runs before. The file `node-id` in the data directory:
//!
//! ```text
//! offset  bytes
//!      0      6  mark, "TWNODE"
//!      6      1  version, 1
//!      7      1  zero
//!      8      8  id of the node
//!     16      8  incarnation of the last run
//!     24      4  CRC-32C of bytes 0..24
//! ```
//! Numbers are little-endian. The file is replaced as a whole, by one that is durable before it takes the name: what a node
//! seals is only safe while no two runs have the same incarnation. So a run has its incarnation only once that is on the disk.
//! Who holds the data directory's lock is the only one to write here.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tailwater_proto::cluster::{Incarnation, NodeId};
use thiserror::Error;

/// The file's name in the data directory.
const FILE_NAME: &str = "node-id";
/// The name of the next file while it is written.
const NEXT_NAME: &str = "node-id.next";
const MARK: &[u8; 6] = b"TWNODE";
const VERSION: u8 = 1;
const FILE_BYTES: usize = 28;

/// A node in one of its runs.
#[derive(Debug)]
pub struct Identity {
    node: NodeId,
    incarnation: Incarnation,
    /// Where it is kept; `None` for a node that nobody knows again.
    directory: Option<PathBuf>,
}

/// Why it is not known who this node is. Nothing was changed.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("cannot read {}: {source}; make it readable for this user", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{} is damaged: {what}; put it back as this node left it, or remove it, and other nodes take this one for a new node",
        path.display()
    )]
    Damaged { path: PathBuf, what: &'static str },
    #[error(
        "{} was written by a later release (version {version}, this one knows {VERSION}); start that one, or remove the file, \
         and other nodes take this one for a new node",
        path.display()
    )]
    Newer { path: PathBuf, version: u8 },
    #[error(
        "cannot write {}: {source}; make room on the disk and the data directory writable for this user, or choose another \
         with --data-dir",
        path.display()
    )]
    Unwritable { path: PathBuf, source: io::Error },
}

impl Identity {
    /// The node of that data directory, in a run of its own. `drawn` becomes its id if it has none yet; see [`draw`].
    pub fn of_directory(directory: &Path, unix_nanos: u64, drawn: u64) -> Result<Self, IdentityError> {
        let path = directory.join(FILE_NAME);
        let (node, last) = match fs::read(&path) {
            Ok(bytes) => decode(&bytes, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (NodeId(drawn), Incarnation(0)),
            Err(source) => return Err(IdentityError::Unreadable { path, source }),
        };
        let directory = Some(directory.to_owned());
        let mut identity = Self { node, incarnation: last, directory };
        identity.renew(unix_nanos)?;
        Ok(identity)
    }

    /// Which node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Which of its runs.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Takes a greater incarnation, as a new run has, within the same process: others take what they know of this node for
    /// out of date. The wall clock may have gone back.
    pub fn renew(&mut self, unix_nanos: u64) -> Result<Incarnation, IdentityError> {
        let next = self.incarnation.0.checked_add(1).map(|next| Incarnation(next.max(unix_nanos)));
        let path = self.directory.as_ref().map(|directory| directory.join(FILE_NAME)).unwrap_or_default();
        let Some(next) = next else {
            return Err(IdentityError::Damaged { path, what: "its incarnation is the last there is" });
        };
        if let Some(directory) = &self.directory {
            store(directory, &encode(self.node, next)).map_err(|source| IdentityError::Unwritable { path, source })?;
        }
        self.incarnation = next;
        Ok(next)
    }
}

/// An id for a node, from the system's randomness. Zero stands for no node.
pub fn draw() -> u64 {
    RandomState::new().hash_one(FILE_NAME).max(1)
}

fn encode(node: NodeId, incarnation: Incarnation) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[..6].copy_from_slice(MARK);
    bytes[6] = VERSION;
    bytes[8..16].copy_from_slice(&node.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&incarnation.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], path: &Path) -> Result<(NodeId, Incarnation), IdentityError> {
    let damaged = |what| IdentityError::Damaged { path: path.to_owned(), what };
    if !bytes.starts_with(MARK) {
        return Err(damaged("it does not begin as such a file does"));
    }
    if let Some(&version) = bytes.get(6)
        && version > VERSION
    {
        return Err(IdentityError::Newer { path: path.to_owned(), version });
    }
    let whole: &[u8; FILE_BYTES] = bytes.try_into().map_err(|_| damaged("it has not the length of one"))?;
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&whole[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let (node, incarnation) = (NodeId(number(8)), Incarnation(number(16)));
    // What is written is the same for the same numbers, the checksum included.
    if *whole != encode(node, incarnation) {
        return Err(damaged("its checksum is wrong"));
    }
    Ok((node, incarnation))
}

/// Replaces the file. On an error the former one stands, and if not even that was there, none does.
fn store(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = directory.join(NEXT_NAME);
    let mut file = File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, directory.join(FILE_NAME))?;
    // Some file systems cannot sync a directory, and have no need to.
    match File::open(directory)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day in nanoseconds since 1970.
    const NOON: u64 = 1_900_000_000_000_000_000;

    fn of(directory: &Path, unix_nanos: u64) -> Result<(u64, u64), IdentityError> {
        let identity = Identity::of_directory(directory, unix_nanos, draw())?;
        Ok((identity.node().0, identity.incarnation().0))
    }

    #[test]
    fn a_node_keeps_its_id_and_each_run_is_later_than_all_before() {
        let directory = tempfile::tempdir().unwrap();
        let (node, first) = of(directory.path(), NOON).unwrap();
        assert!(node != 0 && first == NOON);
        assert_eq!(of(directory.path(), NOON + 10).unwrap(), (node, NOON + 10));
        // The clock stands, goes back, is not set at all.
        assert_eq!(of(directory.path(), NOON + 10).unwrap(), (node, NOON + 11));
        assert_eq!(of(directory.path(), NOON - 10).unwrap(), (node, NOON + 12));
        let mut identity = Identity::of_directory(directory.path(), 0, draw()).unwrap();
        assert_eq!((identity.node(), identity.incarnation()), (NodeId(node), Incarnation(NOON + 13)));
        // Without `store` in `renew` the next start would have the same number.
        assert_eq!(identity.renew(0).unwrap(), Incarnation(NOON + 14));
        assert_eq!(of(directory.path(), 0).unwrap(), (node, NOON + 15));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left lying");
    }

    #[test]
    fn nodes_of_other_directories_are_others() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(of(one.path(), NOON).unwrap().0, of(other.path(), NOON).unwrap().0);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_told_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        of(directory.path(), NOON).unwrap();
        let path = directory.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        let mut broken: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
        broken.push([&whole[..], &[0]].concat());
        broken.extend((0..whole.len() * 8).map(|bit| {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        }));
        for bytes in broken {
            fs::write(&path, &bytes).unwrap();
            let told = of(directory.path(), NOON).unwrap_err().to_string();
            assert!(told.contains("node-id") && told.contains("remove"), "{told}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        let mut later = whole.clone();
        later[6] = 2;
        fs::write(&path, later).unwrap();
        assert!(matches!(of(directory.path(), NOON), Err(IdentityError::Newer { version: 2, .. })));
        fs::write(&path, encode(NodeId(1), Incarnation(u64::MAX))).unwrap();
        assert!(matches!(of(directory.path(), NOON), Err(IdentityError::Damaged { .. })));
    }

    #[test]
    fn a_crash_while_it_was_written_leaves_the_former_one() {
        let directory = tempfile::tempdir().unwrap();
        let (node, _) = of(directory.path(), NOON).unwrap();
        fs::write(directory.path().join(NEXT_NAME), b"TWNO").unwrap();
        assert_eq!(of(directory.path(), NOON).unwrap(), (node, NOON + 1));
    }

    #[test]
    fn what_cannot_be_read_or_written_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let told = of(&missing, NOON).unwrap_err();
        assert!(matches!(&told, IdentityError::Unwritable { .. }) && told.to_string().contains("--data-dir"), "{told}");
        fs::create_dir(directory.path().join(FILE_NAME)).unwrap();
        let told = of(directory.path(), NOON).unwrap_err();
        assert!(matches!(&told, IdentityError::Unreadable { .. }) && told.to_string().contains("node-id"), "{told}");
    }

    /// Another release must read what this one writes.
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = encode(NodeId(0x1122_3344_5566_7788), Incarnation(0x0102_0304_0506_0708));
        let expected = *b"TWNODE\x01\0\x88\x77\x66\x55\x44\x33\x22\x11\x08\x07\x06\x05\x04\x03\x02\x01\x1b\x80\x16\xaf";
        assert_eq!(bytes, expected);
    }
}
