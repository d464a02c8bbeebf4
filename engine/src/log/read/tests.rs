//! Segments are written as a node writes them, then harmed: cut, flipped, overwritten, recycled, made up. What is
//! returned must be what was written, and all that can be known to have been written must be returned.

use super::cursor::{DIRECT_BYTES_MAX, Pieces};
use super::*;
use crate::log::format::{
    BodyEncoding, BodyFormat, Request, SegmentKind, VerdictEntry, pad_to_block, put_request, put_resolved, put_verdicts,
};
use crate::log::takers::Takers;
use crate::vocabulary::Annotations;
use std::ops::Range;
use tailwater_proto::otlp::Signal;

/// Marsaglia's xorshift: enough to make bytes that no two records share.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// A record that was written, by its place.
#[derive(Debug, Clone)]
struct Written {
    sequence: u64,
    /// Header and payload, without the padding to the next record.
    range: Range<usize>,
    flush: usize,
}

/// A segment with what it holds.
struct Segment {
    header: SegmentHeader,
    file: Vec<u8>,
    records: Vec<Written>,
    flushes: Vec<Range<usize>>,
}

/// A segment of flushes of up to five records until `bytes` are full, every fourth flush with a long body. Sizes and
/// kinds follow from `seed`; what the records say from the nonce, too.
fn segment(seed: u64, nonce: u64, first_sequence: u64, bytes: usize) -> Segment {
    let mut random = Random::new(seed);
    let mut content = Random::new(seed ^ nonce ^ first_sequence << 32);
    let header = SegmentHeader {
        kind: SegmentKind::Requests,
        lane: 0,
        number: 1,
        nonce,
        first_sequence,
        created_unix_nano: 0,
        bytes: bytes as u64,
    };
    let mut segment = Segment { header, file: header.encode().into_vec(), records: Vec::new(), flushes: Vec::new() };
    let mut sequence = first_sequence;
    while segment.file.len() < bytes {
        let (start, flush) = (segment.file.len(), segment.flushes.len());
        let mut out = Vec::new();
        for index in 0..=random.below(5) {
            let from = out.len();
            let body_bytes = if index == 0 && flush % 4 == 1 { 9000 } else { random.below(900) };
            put(&mut out, random.below(6), &mut content, nonce, sequence, body_bytes);
            let payload = u32::from_le_bytes(out[from + 4..from + 8].try_into().unwrap()) as usize;
            let range = start + from..start + from + RECORD_HEADER_BYTES + payload;
            segment.records.push(Written { sequence, range, flush });
            sequence += 1;
        }
        pad_to_block(&mut out);
        segment.file.extend_from_slice(&out);
        segment.flushes.push(start..segment.file.len());
    }
    segment
}

/// Appends a record of kind 0 (verdicts), 1 (resolved) or another (a request).
fn put(out: &mut Vec<u8>, kind: usize, random: &mut Random, nonce: u64, sequence: u64, body_bytes: usize) {
    match kind {
        0 => {
            let entry = |random: &mut Random| VerdictEntry {
                trace_id: random.bytes(16).try_into().unwrap(),
                threshold: random.next() >> 8,
                policy: random.next() as u16,
                is_kept: random.below(2) == 0,
                is_hashed: false,
                given: (random.below(3) == 0).then(|| random.next() >> 8),
                annotations: Annotations::of(&[1, 2, 3][..random.below(4)]),
                reason: 0,
                occasion: 1,
                spans: random.next() as u32,
            };
            let entries: Vec<VerdictEntry> = (0..=body_bytes / 32).map(|_| entry(random)).collect();
            put_verdicts(out, nonce, sequence, random.next(), &entries);
        }
        1 => {
            let blocks: Vec<(u32, [u8; 64])> =
                (0..=body_bytes / 68).map(|index| (index as u32, random.bytes(64).try_into().unwrap())).collect();
            put_resolved(out, nonce, sequence, random.next(), 7, &blocks);
        }
        _ => {
            let request = Request {
                arrived_unix_nano: random.next(),
                first_unit: 1,
                units: 2,
                signal: Signal::Traces,
                encoding: BodyEncoding::Gzip,
                format: BodyFormat::Protobuf,
                takers: Takers::ALL,
                body: &random.bytes(body_bytes),
            };
            put_request(out, nonce, sequence, &request);
        }
    }
}

/// A gap: where, how long, how many records.
type Gap = (u64, u64, u64);

/// What a file holds: the records by place and sequence, the gaps, the tail.
type Content<'a> = (Vec<(u64, u64, Record<'a>)>, Vec<Gap>, Tail);

/// Reads a file. Checks what holds for any file, and that in pieces the same is found.
fn read<'a>(header: &SegmentHeader, file: &'a [u8]) -> Content<'a> {
    let content = read_whole(header, file);
    check_in_pieces(header, file, &content);
    content
}

fn read_whole<'a>(header: &SegmentHeader, file: &'a [u8]) -> Content<'a> {
    let mut reader = Records::new(file, header);
    let (mut records, mut gaps) = (Vec::new(), Vec::new());
    let mut expected = header.first_sequence;
    let mut end = 0;
    for found in reader.by_ref() {
        match found {
            Found::Record { offset, sequence, record } => {
                assert_eq!(sequence, expected, "sequences go on");
                assert!(offset >= end, "records do not overlap");
                expected += 1;
                end = offset + 1;
                records.push((offset, sequence, record));
            }
            Found::Skipped { offset, bytes, sequences } => {
                assert!(offset >= end, "gaps do not overlap");
                expected += sequences;
                end = offset + bytes;
                gaps.push((offset, bytes, sequences));
            }
        }
    }
    assert!(reader.cursor.checked_bytes <= 8 * file.len(), "{} of {}", reader.cursor.checked_bytes, file.len());
    let tail = reader.tail();
    assert_eq!(tail.sequence, expected);
    assert!(tail.offset <= file.len() as u64);
    assert!(reader.next().is_none());
    (records, gaps, tail)
}

fn check_in_pieces(header: &SegmentHeader, file: &[u8], (records, gaps, tail): &Content<'_>) {
    for blocks in [2, 7] {
        let (found, end) = read_in_pieces(header, file, blocks * BLOCK_BYTES);
        let places = records.iter().map(|(offset, sequence, _)| (*offset, *sequence));
        assert!(
            found.records.iter().map(|(offset, sequence, _)| (*offset, *sequence)).eq(places),
            "of {blocks} blocks"
        );
        assert!(found.records.iter().zip(records).all(|(one, other)| one.2 == checksum_of(&other.2)));
        assert_eq!((&found.gaps, end), (gaps, tail.offset), "in pieces of {blocks} blocks");
    }
}

/// What was found in pieces: the records' places with checksums of what they say, and the gaps.
#[derive(Default)]
struct FoundInPieces {
    records: Vec<(u64, u64, u32)>,
    gaps: Vec<Gap>,
}

fn checksum_of(record: &Record<'_>) -> u32 {
    match record {
        Record::Request(request) => crc32c::crc32c(request.body),
        other => crc32c::crc32c(format!("{other:?}").as_bytes()),
    }
}

/// Reads a file as a node does, a piece at a time, with some blocks more than are wanted. Checks that no more of it is wanted
/// at once than a piece or a sound record, and in sum not more than some times the file.
fn read_in_pieces(header: &SegmentHeader, file: &[u8], piece_bytes: usize) -> (FoundInPieces, u64) {
    let (mut cursor, mut pieces) = (Cursor::new(header, file.len(), piece_bytes), Pieces::default());
    let (mut found, mut longest, mut read, mut longest_record) = (FoundInPieces::default(), 0, 0, 0);
    loop {
        match cursor.next(pieces.window()) {
            Err(wanted) => {
                let (start, end) = (wanted.range.start as usize, wanted.range.end as usize);
                assert!(start.is_multiple_of(BLOCK_BYTES) && (end.is_multiple_of(BLOCK_BYTES) || end == file.len()));
                (longest, read) = (longest.max(end - start), read + end - start);
                let given = (end + start / BLOCK_BYTES % 3 * BLOCK_BYTES).min(file.len());
                assert!(pieces.put(&wanted, file[start..given].to_vec()));
            }
            Ok(Some(Found::Record { offset, sequence, record })) => {
                let framed = record_at(&file[offset as usize..], header.nonce).unwrap();
                longest_record = longest_record.max(framed.bytes);
                found.records.push((offset, sequence, checksum_of(&record)));
            }
            Ok(Some(Found::Skipped { offset, bytes, sequences })) => found.gaps.push((offset, bytes, sequences)),
            Ok(None) => break,
        }
    }
    assert!(longest <= piece_bytes.max(longest_record) + 2 * BLOCK_BYTES, "{longest} bytes at once");
    assert!(read <= 12 * file.len(), "{read} bytes read of {}", file.len());
    assert!(cursor.checked_bytes <= 8 * file.len(), "{} of {}", cursor.checked_bytes, file.len());
    (found, cursor.end())
}

/// The records of an unharmed segment, which are those that were written.
fn originals(segment: &Segment) -> Vec<(u64, u64, Record<'_>)> {
    let (records, gaps, tail) = read(&segment.header, &segment.file);
    assert_eq!((gaps.len(), tail.behind), (0, Behind::Nothing));
    assert_eq!(tail.offset, segment.file.len() as u64);
    let places: Vec<_> = records.iter().map(|record| (record.0 as usize, record.1)).collect();
    let written: Vec<_> = segment.records.iter().map(|written| (written.range.start, written.sequence)).collect();
    assert_eq!(places, written);
    records
}

#[test]
fn what_was_written_is_read() {
    for seed in 0..50 {
        let segment = segment(seed, seed, seed * 1000, 16 * BLOCK_BYTES);
        for (written, original) in segment.records.iter().zip(originals(&segment)) {
            let framed = record_at(&segment.file[written.range.start..], segment.header.nonce).unwrap();
            assert_eq!((framed.sequence, framed.record), (original.1, original.2));
            assert_eq!(framed.bytes, written.range.len().next_multiple_of(8));
            assert!(record_at(&segment.file[written.range.clone()], segment.header.nonce + 1).is_none());
            assert!(
                record_at(&segment.file[written.range.start..written.range.end - 1], segment.header.nonce).is_none()
            );
        }
    }
}

#[test]
fn bodies_are_borrowed_from_the_file() {
    let segment = segment(1, 2, 3, 16 * BLOCK_BYTES);
    let file = segment.file.as_ptr_range();
    let mut requests = 0;
    for (offset, _, record) in originals(&segment) {
        if let Record::Request(request) = record {
            requests += 1;
            assert!(file.contains(&request.body.as_ptr()));
            assert_eq!(request.body.as_ptr() as usize - file.start as usize, offset as usize + 48);
        }
    }
    assert!(requests > 5);
}

#[test]
fn a_file_cut_anywhere_gives_the_records_before_the_cut() {
    let segment = segment(7, 8, 9, 17 * BLOCK_BYTES);
    let all = originals(&segment);
    for length in BLOCK_BYTES..segment.file.len() {
        let (records, gaps, tail) = read(&segment.header, &segment.file[..length]);
        let whole = segment.records.iter().take_while(|written| written.range.end <= length).count();
        assert_eq!((records.len(), gaps.len()), (whole, 0), "cut at {length}");
        assert!(records == all[..whole], "cut at {length}");
        let next = segment.records.get(whole).map_or(segment.file.len(), |written| written.range.start);
        assert_eq!(tail.offset as usize, next.min(length), "cut at {length}");
    }
}

#[test]
fn a_bit_flipped_anywhere_costs_at_most_its_record_and_those_behind_it_in_its_flush() {
    let mut segment = segment(11, 12, 13, 17 * BLOCK_BYTES);
    let reference = Segment { file: segment.file.clone(), ..segment_without_file(&segment) };
    let all = originals(&reference);
    for at in BLOCK_BYTES..segment.file.len() {
        segment.file[at] ^= 1 << (at % 8);
        check_flip(&segment, &all, at);
        segment.file[at] ^= 1 << (at % 8);
    }
}

fn segment_without_file(segment: &Segment) -> Segment {
    let (records, flushes) = (segment.records.clone(), segment.flushes.clone());
    Segment { header: segment.header, file: Vec::new(), records, flushes }
}

/// What is read of `segment`, in which the byte `at` is wrong; `all` is what was written.
fn check_flip(segment: &Segment, all: &[(u64, u64, Record<'_>)], at: usize) {
    let content = read_whole(&segment.header, &segment.file);
    // Reading each of these in pieces too would take a minute.
    if at.is_multiple_of(16) {
        check_in_pieces(&segment.header, &segment.file, &content);
    }
    let (records, gaps, tail) = content;
    let flush = segment.flushes.iter().position(|range| range.contains(&at)).unwrap();
    let is_last_flush = flush + 1 == segment.flushes.len();
    let hit = segment.records.iter().position(|written| written.range.contains(&at));
    for (index, original) in all.iter().enumerate() {
        let written = &segment.records[index];
        let is_read = records.iter().any(|record| record == original);
        let may_be_lost = hit.is_some_and(|hit| {
            // What follows is found by the length in the header; in the header itself the flip may hide it.
            let is_in_header = at < segment.records[hit].range.start + RECORD_HEADER_BYTES;
            index == hit || (index > hit && written.flush == flush && is_in_header)
        });
        assert!(is_read || may_be_lost, "byte {at}: record {index} is missing");
        assert!(!is_read || Some(index) != hit, "byte {at}: record {index} is read in spite of it");
    }
    let lost = (all.len() - records.len()) as u64;
    match hit {
        // The padding between two records is not looked at; that behind a flush is.
        None if gaps.is_empty() => {
            let aligned =
                segment.records.iter().any(|written| (written.range.end..written.range.end + 8).contains(&at));
            assert!(aligned || (is_last_flush && tail.behind == Behind::Torn), "byte {at}");
        }
        None => assert_eq!((gaps.len(), gaps[0].2), (1, 0), "byte {at}"),
        Some(hit) => {
            let start = segment.records[hit].range.start as u64;
            match gaps[..] {
                [] => assert!(tail.offset == start && tail.behind != Behind::Nothing, "byte {at}"),
                [gap] => assert_eq!((gap.0, gap.2), (start, lost), "byte {at}"),
                _ => unreachable!("byte {at}: {gaps:?}"),
            }
            assert!(is_last_flush || gaps.len() == 1, "byte {at}: a gap is not told");
        }
    }
    for gap in gaps {
        assert_eq!(tail.is_in_last_flush(gap.0), is_last_flush, "byte {at}");
    }
}

#[test]
fn what_a_recycled_file_held_before_is_never_read() {
    let new = segment(21, 22, 5000, 17 * BLOCK_BYTES);
    let all = originals(&new);
    let bytes = new.file.len();
    // By the nonce alone, by the sequence alone, by both; of the same shape, and of another.
    for (seed, nonce, first_sequence) in
        [(21, 1, 5000), (21, 22, 100), (21, 1, 100), (23, 1, 5000), (23, 22, 100), (21, 1, 9000), (21, 1, 5001)]
    {
        let old = segment(seed, nonce, first_sequence, bytes + 8 * BLOCK_BYTES);
        for blocks in 1..=bytes / BLOCK_BYTES {
            let written = blocks * BLOCK_BYTES;
            let file = [&new.file[..written], &old.file[written..]].concat();
            let (records, gaps, tail) = read(&new.header, &file);
            let whole = new.records.iter().filter(|record| record.range.end <= written).count();
            assert!(records == all[..whole], "{written} bytes over {seed} {nonce} {first_sequence}");
            assert!(gaps.is_empty());
            // Bytes behind the tail that begin like the next record are taken for it; else they are seen to be old.
            let is_between = written == bytes || new.flushes.iter().any(|flush| flush.start == written);
            let looks_next =
                old.records.iter().any(|record| record.range.start == written && record.sequence == tail.sequence);
            let expected = if is_between && !looks_next { Behind::Former } else { Behind::Torn };
            assert_eq!(tail.behind, expected, "{written} bytes over {seed} {nonce} {first_sequence}");
        }
    }
}

#[test]
fn a_flush_that_never_arrived_is_told() {
    let segment = segment(31, 32, 33, 17 * BLOCK_BYTES);
    let all = originals(&segment);
    for (index, flush) in segment.flushes.iter().enumerate() {
        let mut file = segment.file.clone();
        file[flush.clone()].fill(0);
        let (records, gaps, tail) = read(&segment.header, &file);
        let lost = segment.records.iter().filter(|written| written.flush == index).count();
        let kept: Vec<_> = all.iter().zip(&segment.records).filter(|(_, written)| written.flush != index).collect();
        assert!(records.iter().eq(kept.iter().map(|(record, _)| *record)));
        if index + 1 == segment.flushes.len() {
            assert_eq!((gaps.len(), tail.offset as usize, tail.behind), (0, flush.start, Behind::Nothing));
        } else {
            assert_eq!(gaps, [(flush.start as u64, flush.len() as u64, lost as u64)]);
            assert!(!tail.is_in_last_flush(gaps[0].0));
        }
    }
}

#[test]
fn sequences_end_before_the_last_number() {
    for first_sequence in [u64::MAX - 2, u64::MAX - 1, u64::MAX] {
        let header = SegmentHeader { first_sequence, ..segment(1, 2, 0, BLOCK_BYTES).header };
        let mut file = header.encode().into_vec();
        let mut flush = Vec::new();
        for sequence in first_sequence..=u64::MAX {
            put_resolved(&mut flush, header.nonce, sequence, 1, 1, &[]);
        }
        pad_to_block(&mut flush);
        file.extend_from_slice(&flush);
        assert_eq!(read(&header, &file).0.len() as u64, u64::MAX - first_sequence);
    }
}

mod hostile;
