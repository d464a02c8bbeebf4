//! The header: block 0 of every segment file, written and synced before the first record.

use super::{BLOCK_BYTES, VERSION, array, u16_at, u32_at, u64_at};

const MAGIC: [u8; 6] = *b"TWLOG\0";
const VERSION_AT: usize = 6;
const KIND_AT: usize = 7;
const CHECKSUM_AT: usize = 8;
const LANE_AT: usize = 12;
const NUMBER_AT: usize = 16;
const NONCE_AT: usize = 24;
const FIRST_SEQUENCE_AT: usize = 32;
const CREATED_AT: usize = 40;
const BYTES_AT: usize = 48;
const PIPELINES_AT: usize = 56;
/// Bytes before each name.
const NAME_LENGTH_BYTES: usize = 2;

/// Bytes of the names of the pipelines that share a log, two more for each: what is left of the header.
/// At the bound: the node does not start.
pub const PIPELINE_NAMES_BYTES_MAX: usize = BLOCK_BYTES - PIPELINES_AT - 2;

/// Bytes that these names take in a header.
pub fn pipeline_names_bytes<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| NAME_LENGTH_BYTES + name.len()).sum()
}

/// Which of a lane's two streams a segment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Requests as received.
    Requests,
    /// Verdicts, and what is resolved.
    Journal,
}

impl SegmentKind {
    /// The byte on disk.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Requests => 1,
            Self::Journal => 2,
        }
    }

    /// The kind of a byte on disk; none if there is no such kind.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Requests),
            2 => Some(Self::Journal),
            _ => None,
        }
    }

    /// The first part of the file's name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Journal => "journal",
        }
    }
}

/// What the header says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which stream it is part of.
    pub kind: SegmentKind,
    /// The core that wrote it, counted from 0.
    pub lane: u16,
    /// Unique and rising over the life of the data directory, whatever the kind and lane.
    pub number: u64,
    /// Random, new at each use of a file. It seeds the checksum of every record, so that records of a former use do
    /// not check.
    pub nonce: u64,
    /// The sequence of its first record: one more than that of the last record before it in its lane's stream.
    pub first_sequence: u64,
    /// When it was begun, nanoseconds since 1970.
    pub created_unix_nano: u64,
    /// Length of the file as preallocated, header included.
    pub bytes: u64,
}

/// Why a block is not a header. Nothing was changed; the file holds nothing that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is shorter than a header.
    #[error("the file is too short to hold a header")]
    Truncated,
    /// The block is all zero: the file was allocated, and not begun before a crash.
    #[error("the header is blank: the file was allocated but not begun")]
    Blank,
    /// It does not begin with the mark of a segment.
    #[error("not a segment file of tailwater")]
    NotASegment,
    /// It is a segment, of a version this program does not know.
    #[error(
        "version {0} of the format is not known, only those up to {VERSION}; read it with the release of tailwater that wrote it"
    )]
    UnknownVersion(u8),
    /// Its checksum is wrong, or a value in it impossible.
    #[error("the header is damaged")]
    Corrupt,
}

impl SegmentHeader {
    /// The block to write at the start of the file.
    #[must_use]
    pub fn encode(&self) -> Box<[u8]> {
        self.encode_for(&[])
    }

    /// The block to write at the start of the file of a log that these pipelines share: at most 65,535, in
    /// `PIPELINE_NAMES_BYTES_MAX` bytes.
    #[must_use]
    pub fn encode_for(&self, pipelines: &[String]) -> Box<[u8]> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&MAGIC);
        block.push(VERSION);
        block.push(self.kind.byte());
        // The checksum, once the rest is known.
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.lane.to_le_bytes());
        block.extend_from_slice(&[0; 2]);
        for value in [self.number, self.nonce, self.first_sequence, self.created_unix_nano, self.bytes] {
            block.extend_from_slice(&value.to_le_bytes());
        }
        block.extend_from_slice(&u16::try_from(pipelines.len()).unwrap_or(0).to_le_bytes());
        for name in pipelines {
            block.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
            block.extend_from_slice(name.as_bytes());
        }
        block.resize(BLOCK_BYTES, 0);
        let checksum = checksum(&block);
        block[CHECKSUM_AT..LANE_AT].copy_from_slice(&checksum.to_le_bytes());
        block.into_boxed_slice()
    }

    /// The version that a segment's first bytes tell; none if they are too few.
    #[must_use]
    pub fn version(file: &[u8]) -> Option<u8> {
        file.get(VERSION_AT).copied()
    }

    /// The names of the pipelines that share the log, from a header that can be read; none where it has no names, which is
    /// where a single pipeline reads it.
    #[must_use]
    pub fn pipelines(file: &[u8]) -> Vec<String> {
        let count = u16_at(file, PIPELINES_AT).unwrap_or(0);
        let mut at = PIPELINES_AT + 2;
        let names = (0..count).map_while(|_| {
            let length = usize::from(u16_at(file, at)?);
            let name = file.get(at + NAME_LENGTH_BYTES..)?.get(..length)?;
            at += NAME_LENGTH_BYTES + length;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        names.collect()
    }

    /// Reads the header from the start of a file's bytes.
    ///
    /// # Errors
    /// [`HeaderError`], by what stands there instead. The mark and the version are looked at before the checksum, so
    /// that a later version may place its checksum elsewhere.
    pub fn decode(file: &[u8]) -> Result<Self, HeaderError> {
        let block = file.get(..BLOCK_BYTES).ok_or(HeaderError::Truncated)?;
        if block.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Blank);
        }
        if !block.starts_with(&MAGIC) {
            return Err(HeaderError::NotASegment);
        }
        match block[VERSION_AT] {
            // The header is the same in all of them.
            1..=VERSION => fields(block).ok_or(HeaderError::Corrupt),
            other => Err(HeaderError::UnknownVersion(other)),
        }
    }
}

/// The fields of a block that has the mark and the version.
fn fields(block: &[u8]) -> Option<SegmentHeader> {
    if u32_at(block, CHECKSUM_AT)? != checksum(block) || array(block, LANE_AT + 2)? != [0_u8; 2] {
        return None;
    }
    Some(SegmentHeader {
        kind: SegmentKind::from_byte(block[KIND_AT])?,
        lane: u16_at(block, LANE_AT)?,
        number: u64_at(block, NUMBER_AT)?,
        nonce: u64_at(block, NONCE_AT)?,
        first_sequence: u64_at(block, FIRST_SEQUENCE_AT)?,
        created_unix_nano: u64_at(block, CREATED_AT)?,
        bytes: u64_at(block, BYTES_AT)?,
    })
}

/// The checksum of a header block: all of it but the checksum itself.
fn checksum(block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..CHECKSUM_AT]), &block[LANE_AT..])
}
