//! Writing records: each is put together at the end of the flush that will be written. A large body is not copied here; its
//! checksum is computed while it is still in the cache.

use super::record::{
    ANNOTATION_FIELDS_BYTES, ANNOTATIONS_FIELDS_BYTES, DONE_FIELDS_BYTES, FLAG_ANNOTATED, FLAG_FLUSH_START, FLAG_GIVEN,
    FLAG_HASHED, FLAG_KEPT, KIND_ANNOTATIONS, KIND_DONE, KIND_NAMES, KIND_REQUEST, KIND_RESOLVED, KIND_SHARED_REQUEST,
    KIND_TALLY, KIND_VERDICTS, NAME_LENGTH_BYTES, NAMES_FIELDS_BYTES, REQUEST_FIELDS_BYTES, RESOLVED_BLOCK_BYTES,
    RESOLVED_FIELDS_BYTES, TAKERS_BYTES, TALLY_FIELDS_BYTES, TALLY_ID_BYTES, TALLY_POSITION_BYTES, THRESHOLD_BITS,
    THRESHOLD_MAX, VERDICT_BYTES, VERDICT_PART_BYTES, VERDICTS_FIELDS_BYTES, framed_bytes, signal_byte,
};
use super::{
    ALIGNMENT_BYTES, BITMAP_BLOCK_BYTES, BLOCK_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, Request, VerdictEntry,
};
use crate::log::flush::{Flush, HELD_BODY_BYTES_MIN};
use crate::log::takers::Takers;
use crate::log::tally::Tally;
use crate::vocabulary::Annotations;
use bytes::Bytes;

/// Bytes that a request with a body of `body_bytes` takes in a segment.
#[must_use]
pub fn request_bytes(body_bytes: usize, takers: Takers) -> usize {
    framed_bytes(request_fields_bytes(takers) + body_bytes)
}

fn request_fields_bytes(takers: Takers) -> usize {
    REQUEST_FIELDS_BYTES + if takers == Takers::ALL { 0 } else { TAKERS_BYTES }
}

fn request_kind(takers: Takers) -> u8 {
    if takers == Takers::ALL { KIND_REQUEST } else { KIND_SHARED_REQUEST }
}

/// Bytes that a record of these verdicts takes in a segment.
#[must_use]
pub fn verdicts_bytes(entries: &[VerdictEntry]) -> usize {
    framed_bytes(verdicts_payload_bytes(entries))
}

fn verdicts_payload_bytes(entries: &[VerdictEntry]) -> usize {
    let parts =
        |entry: &VerdictEntry| usize::from(entry.annotations != Annotations::NONE) + usize::from(entry.given.is_some());
    let more: usize = entries.iter().map(parts).sum();
    VERDICTS_FIELDS_BYTES + entries.len() * VERDICT_BYTES + more * VERDICT_PART_BYTES
}

/// Bytes that a record of annotations with so many bytes of attributes each takes in a segment.
#[must_use]
pub fn annotations_bytes(attributes: impl Iterator<Item = usize>) -> usize {
    framed_bytes(ANNOTATIONS_FIELDS_BYTES + attributes.map(annotation_bytes).sum::<usize>())
}

/// Bytes of an annotation with so many bytes of attributes in its record.
#[must_use]
pub const fn annotation_bytes(attributes: usize) -> usize {
    ANNOTATION_FIELDS_BYTES + attributes
}

/// Bytes that a record of `count` blocks of a bitmap takes in a segment.
#[must_use]
pub const fn resolved_bytes(count: usize) -> usize {
    framed_bytes(RESOLVED_FIELDS_BYTES + count * RESOLVED_BLOCK_BYTES)
}

/// Bytes that a record of `count` blocks of what an exporter is done with takes in a segment.
#[must_use]
pub const fn done_bytes(exporter: &str, count: usize) -> usize {
    framed_bytes(DONE_FIELDS_BYTES + exporter.len() + count * RESOLVED_BLOCK_BYTES)
}

/// Bytes that a record of these names takes in a segment.
#[must_use]
pub fn names_bytes(names: &[String]) -> usize {
    framed_bytes(names_payload_bytes(names))
}

fn names_payload_bytes(names: &[String]) -> usize {
    NAMES_FIELDS_BYTES + names.iter().map(|name| NAME_LENGTH_BYTES + written(name).len()).sum::<usize>()
}

/// What is written of a name; nothing of one that is longer than its length can tell.
fn written(name: &str) -> &str {
    if name.len() > usize::from(u16::MAX) { "" } else { name }
}

/// Appends the names of policies by their numbers. `out` holds the flush so far, and nothing before it.
///
/// # Panics
/// If they take more than [`PAYLOAD_BYTES_MAX`].
pub fn put_names(out: &mut Vec<u8>, nonce: u64, sequence: u64, recorded_unix_nano: u64, names: &[String]) {
    let start = begin(out, sequence, KIND_NAMES, names_payload_bytes(names));
    out.extend_from_slice(&recorded_unix_nano.to_le_bytes());
    for name in names {
        let name = written(name).as_bytes();
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(name);
    }
    finish(out, start, nonce);
}

/// Appends annotations: the number of each and its attributes as fields of a span, at most 65,535 bytes. `out` holds the
/// flush so far, and nothing before it.
///
/// # Panics
/// If they take more than [`PAYLOAD_BYTES_MAX`].
pub fn put_annotations(
    out: &mut Vec<u8>,
    nonce: u64,
    sequence: u64,
    recorded_unix_nano: u64,
    annotations: &[(u16, &[u8])],
) {
    let attributes: usize = annotations.iter().map(|(_, attributes)| annotation_bytes(attributes.len())).sum();
    let start = begin(out, sequence, KIND_ANNOTATIONS, ANNOTATIONS_FIELDS_BYTES + attributes);
    out.extend_from_slice(&recorded_unix_nano.to_le_bytes());
    for (number, attributes) in annotations {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&u16::try_from(attributes.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(attributes);
    }
    finish(out, start, nonce);
}

/// Appends a request. `out` holds the flush so far, and nothing before it.
///
/// # Panics
/// If the body is larger than [`PAYLOAD_BYTES_MAX`] allows, which the caller has ruled out: no segment holds that much.
pub fn put_request(out: &mut Vec<u8>, nonce: u64, sequence: u64, request: &Request<'_>) {
    let payload_bytes = request_fields_bytes(request.takers) + request.body.len();
    let start = begin(out, sequence, request_kind(request.takers), payload_bytes);
    put_request_fields(out, request);
    out.extend_from_slice(request.body);
    finish(out, start, nonce);
}

/// What stands before the body.
fn put_request_fields(out: &mut Vec<u8>, request: &Request<'_>) {
    out.extend_from_slice(&request.arrived_unix_nano.to_le_bytes());
    out.extend_from_slice(&request.first_unit.to_le_bytes());
    out.extend_from_slice(&request.units.to_le_bytes());
    let kinds = [signal_byte(request.signal), request.encoding.byte(), request.format.byte()];
    out.extend_from_slice(&kinds);
    out.extend_from_slice(&[0; 5]);
    if request.takers != Takers::ALL {
        out.extend_from_slice(&request.takers.0.to_le_bytes());
    }
}

/// Appends a request as [`put_request`] does, without a copy of its body if that is large.
///
/// # Panics
/// As [`put_request`].
pub fn hold_request(flush: &mut Flush, nonce: u64, sequence: u64, request: &Request<'_>, body: &Bytes) {
    let request = Request { body, ..*request };
    if body.len() < HELD_BODY_BYTES_MIN {
        return put_request(flush.framing(), nonce, sequence, &request);
    }
    let out = flush.framing();
    let payload_bytes = request_fields_bytes(request.takers) + body.len();
    let start = begin_header(out, sequence, request_kind(request.takers), payload_bytes);
    put_request_fields(out, &request);
    let checksum = crc32c::crc32c_append(checksum_from(nonce, &out[start + 4..]), body);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    flush.hold(body.clone());
    let padding = framed_bytes(payload_bytes) - RECORD_HEADER_BYTES - payload_bytes;
    flush.framing().extend_from_slice(&[0; ALIGNMENT_BYTES][..padding]);
}

/// Appends verdicts that were decided together. `out` holds the flush so far, and nothing before it.
///
/// # Panics
/// If they take more than [`PAYLOAD_BYTES_MAX`].
pub fn put_verdicts(out: &mut Vec<u8>, nonce: u64, sequence: u64, decided_unix_nano: u64, entries: &[VerdictEntry]) {
    let start = begin(out, sequence, KIND_VERDICTS, verdicts_payload_bytes(entries));
    out.extend_from_slice(&decided_unix_nano.to_le_bytes());
    for entry in entries {
        let is_annotated = entry.annotations != Annotations::NONE;
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(entry.is_kept, FLAG_KEPT)
            | flag(entry.is_hashed && entry.given.is_none(), FLAG_HASHED)
            | flag(is_annotated, FLAG_ANNOTATED)
            | flag(entry.given.is_some(), FLAG_GIVEN);
        let packed = entry.threshold.min(THRESHOLD_MAX) | flags << THRESHOLD_BITS;
        out.extend_from_slice(&entry.trace_id);
        out.extend_from_slice(&packed.to_le_bytes());
        out.extend_from_slice(&entry.spans.to_le_bytes());
        out.extend_from_slice(&entry.policy.to_le_bytes());
        out.extend_from_slice(&[entry.reason, entry.occasion]);
        if is_annotated {
            let start = out.len();
            let places = entry.annotations.numbers().map(|number| number.saturating_add(1).to_le_bytes());
            out.extend(places.flatten());
            out.resize(start + VERDICT_PART_BYTES, 0);
        }
        if let Some(given) = entry.given {
            out.extend_from_slice(&given.min(THRESHOLD_MAX).to_le_bytes());
        }
    }
    finish(out, start, nonce);
}

/// Appends changed blocks of the bitmap of request segment `segment`: the index of each and its bytes. `out` holds
/// the flush so far, and nothing before it.
///
/// # Panics
/// If they take more than [`PAYLOAD_BYTES_MAX`].
pub fn put_resolved(
    out: &mut Vec<u8>,
    nonce: u64,
    sequence: u64,
    recorded_unix_nano: u64,
    segment: u64,
    blocks: &[(u32, [u8; BITMAP_BLOCK_BYTES])],
) {
    let start = begin(out, sequence, KIND_RESOLVED, RESOLVED_FIELDS_BYTES + blocks.len() * RESOLVED_BLOCK_BYTES);
    out.extend_from_slice(&recorded_unix_nano.to_le_bytes());
    out.extend_from_slice(&segment.to_le_bytes());
    for (index, block) in blocks {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(block);
    }
    finish(out, start, nonce);
}

/// Appends changed blocks of the bitmap of what an exporter is done with: the number of the request segment, the exporter's
/// name, which is at most 65,535 bytes long, the index of each block and its bytes. `out` holds the flush so far, and nothing
/// before it.
///
/// # Panics
/// If they take more than [`PAYLOAD_BYTES_MAX`].
pub fn put_done(
    out: &mut Vec<u8>,
    nonce: u64,
    sequence: u64,
    recorded_unix_nano: u64,
    (segment, exporter): (u64, &str),
    blocks: &[(u32, [u8; BITMAP_BLOCK_BYTES])],
) {
    let payload_bytes = DONE_FIELDS_BYTES + exporter.len() + blocks.len() * RESOLVED_BLOCK_BYTES;
    let start = begin(out, sequence, KIND_DONE, payload_bytes);
    out.extend_from_slice(&recorded_unix_nano.to_le_bytes());
    out.extend_from_slice(&segment.to_le_bytes());
    out.extend_from_slice(&u16::try_from(exporter.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(exporter.as_bytes());
    for (index, block) in blocks {
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(block);
    }
    finish(out, start, nonce);
}

/// Bytes that the record of a tally takes in a segment, with so many positions.
#[must_use]
pub fn tally_bytes(tally: &Tally, positions: usize) -> usize {
    framed_bytes(tally_payload_bytes(tally, positions))
}

fn tally_payload_bytes(tally: &Tally, positions: usize) -> usize {
    let fields = TALLY_FIELDS_BYTES + tally.taken_over.len() * TALLY_ID_BYTES;
    fields + positions * TALLY_POSITION_BYTES + tally.state.len()
}

/// Appends a tally, which goes as far as `positions` say: numbers of segments, and the unit below which all of it are
/// counted. `out` holds the flush so far, and nothing before it.
///
/// # Panics
/// If it takes more than [`PAYLOAD_BYTES_MAX`].
pub fn put_tally(
    out: &mut Vec<u8>,
    nonce: u64,
    sequence: u64,
    recorded_unix_nano: u64,
    tally: &Tally,
    positions: &[(u64, u32)],
) {
    let start = begin(out, sequence, KIND_TALLY, tally_payload_bytes(tally, positions.len()));
    out.extend_from_slice(&recorded_unix_nano.to_le_bytes());
    out.extend_from_slice(&tally.id.run.to_le_bytes());
    out.extend_from_slice(&tally.id.lane.to_le_bytes());
    out.extend_from_slice(&u16::try_from(tally.taken_over.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&u32::try_from(positions.len()).unwrap_or(u32::MAX).to_le_bytes());
    for id in &tally.taken_over {
        out.extend_from_slice(&id.run.to_le_bytes());
        out.extend_from_slice(&id.lane.to_le_bytes());
    }
    for (segment, counted) in positions {
        out.extend_from_slice(&segment.to_le_bytes());
        out.extend_from_slice(&counted.to_le_bytes());
    }
    out.extend_from_slice(&tally.state);
    finish(out, start, nonce);
}

/// Fills up the last block of a flush with zeros.
pub fn pad_to_block(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Appends a record's header with its checksum open, and returns where it starts.
fn begin(out: &mut Vec<u8>, sequence: u64, kind: u8, payload_bytes: usize) -> usize {
    out.reserve(framed_bytes(payload_bytes));
    begin_header(out, sequence, kind, payload_bytes)
}

/// The same for a record of which not all goes into `out`.
fn begin_header(out: &mut Vec<u8>, sequence: u64, kind: u8, payload_bytes: usize) -> usize {
    assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "a record larger than any segment");
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    let flags = if start == 0 { FLAG_FLUSH_START } else { 0 };
    out.extend_from_slice(&[kind, flags, 0, 0, 0, 0, 0, 0]);
    debug_assert_eq!(out.len() - start, RECORD_HEADER_BYTES);
    start
}

/// Enters the checksum and pads to where the next record starts.
fn finish(out: &mut Vec<u8>, start: usize, nonce: u64) {
    let checksum = checksum_from(nonce, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    // Bodies that are held elsewhere may stand before it, so that `start` itself need not be a multiple.
    out.resize(start + (out.len() - start).next_multiple_of(ALIGNMENT_BYTES), 0);
}

fn checksum_from(nonce: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&nonce.to_le_bytes()), bytes)
}
