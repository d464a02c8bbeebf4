//! What stands on disk: names of segment files, their header block, and the records in them. `docs/format-log.md` draws
//! all of it and says what a reader has to check. Everything is little-endian; enums are written as the constants that
//! stand next to them, never by their place in the source.

mod header;
mod name;
mod put;
mod record;

pub use header::{HeaderError, PIPELINE_NAMES_BYTES_MAX, SegmentHeader, SegmentKind, pipeline_names_bytes};
pub use name::{FileName, file_name, parse_file_name, past_file_name, spare_file_name};
pub use put::{
    annotation_bytes, annotations_bytes, done_bytes, hold_request, names_bytes, pad_to_block, put_annotations,
    put_done, put_names, put_request, put_resolved, put_tally, put_verdicts, request_bytes, resolved_bytes,
    tally_bytes, verdicts_bytes,
};
pub(in crate::log) use record::Head;
pub use record::{
    AnnotationEntries, BodyEncoding, BodyFormat, Done, NameEntries, Names, Record, Request, Resolved, ResolvedBlocks,
    TallyId, TallyIds, TallyPositions, TallyRecord, ToldAnnotations, VerdictEntries, VerdictEntry, Verdicts,
};

/// Files are written in whole blocks of this many bytes, each flush from a block's start: what direct I/O asks for on
/// every common disk.
pub const BLOCK_BYTES: usize = 4096;

/// The version of everything here. A program writes this one, reads all up to it and refuses others by name.
pub const VERSION: u8 = 7;

/// Bytes before a record's payload.
pub const RECORD_HEADER_BYTES: usize = 24;

/// Largest payload. Far above what a receiver takes in one request; a length beyond it on disk is damage.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The bits of resolved units in one block of a segment's bitmap, as bytes.
pub const BITMAP_BLOCK_BYTES: usize = 64;

/// Records start at multiples of this, so that in a hexadecimal dump headers begin where a line or half of one begins.
const ALIGNMENT_BYTES: usize = 8;

/// `count` bytes from `at`; none when there are not so many.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests;
