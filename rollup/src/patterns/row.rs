//! A row of a table: the lines of one shape, and how much memory they take.

use super::token::{WILDCARDS_MAX, tokens};
use super::values::{SLOT_BYTES, Values};

/// Bytes of a body that is shown as an example.
/// At the bound: the rest is not shown.
pub(super) const SAMPLE_BYTES_MAX: usize = 256;

/// Memory of a row besides its shape, samples and values: its place in a list that may have grown to twice what it holds, and
/// its places in the tables, with a bucket of its own.
pub(super) const ROW_BYTES: usize = 2 * size_of::<Row>() + 192;

/// A row.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) group: u32,
    pub(super) shape: Box<[u8]>,
    /// Whether it was made of several shapes, so that others may be covered by it.
    pub(super) merged: bool,
    pub(super) count: u64,
    pub(super) first_unix_nano: u64,
    pub(super) last_unix_nano: u64,
    pub(super) samples: Vec<Box<[u8]>>,
    pub(super) values: Vec<Values>,
    /// Windows in which it did not occur.
    pub(super) idle: u16,
    /// Whether it is in use.
    pub(super) live: bool,
}

/// Memory of a row that has neither samples nor values yet.
pub(super) fn row_bytes(shape: &[u8]) -> usize {
    let wildcards = tokens(shape).filter(|token| token.is_wild()).count().min(WILDCARDS_MAX);
    ROW_BYTES + shape.len() + wildcards * size_of::<Values>()
}

/// Memory of the samples and values of a row.
pub(super) fn held_bytes(row: &Row) -> usize {
    samples_bytes(&row.samples) + row.values.iter().map(|values| values.capacity() * SLOT_BYTES).sum::<usize>()
}

pub(super) fn samples_bytes(samples: &[Box<[u8]>]) -> usize {
    samples.iter().map(|sample| sample.len() + size_of::<Box<[u8]>>()).sum()
}

/// A text of at most that many bytes, cut between two characters.
pub(super) fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    if text.len() <= bytes_max {
        return text;
    }
    let start = (0..=bytes_max).rev().find(|at| text[*at] & 0xc0 != 0x80).unwrap_or(0);
    &text[..start]
}
