//! Bytes that nobody wrote, or that were written to make reading dear. `read` checks for each file that the bytes which
//! go into checksums are at most eight times the file.

use super::*;

/// A header of a record that can be one, with the wrong checksum.
fn bad_head(payload_bytes: usize, sequence: u64) -> [u8; RECORD_HEADER_BYTES] {
    let mut head = [0; RECORD_HEADER_BYTES];
    head[..4].copy_from_slice(&0x1234_5678_u32.to_le_bytes());
    head[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    head[8..16].copy_from_slice(&sequence.to_le_bytes());
    head[16] = 1;
    head
}

fn header() -> SegmentHeader {
    segment(1, 2, 0, BLOCK_BYTES).header
}

#[test]
fn random_bytes_hold_nothing() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let length = random.below(40 * BLOCK_BYTES);
        let mut file = random.bytes(length);
        let (records, gaps, _) = read(&header(), &file);
        assert_eq!((records.len(), gaps.len()), (0, 0));
        _ = Records::open(&file).map(|(_, records)| records.count());
        _ = record_at(&file, 2);
        // Sparse: many zeros look like padding.
        for byte in &mut file {
            *byte *= u8::from(random.below(40) == 0);
        }
        assert!(read(&header(), &file).0.is_empty());
    }
}

/// Files of 4 MiB: quadratic work would be a thousand times the file.
const HOSTILE_BYTES: usize = 4 << 20;

#[test]
fn lengths_that_all_reach_to_the_end_are_not_followed_each() {
    for step in [24, 32, 64, 1024, BLOCK_BYTES, 3 * BLOCK_BYTES] {
        let mut file = vec![0; HOSTILE_BYTES];
        for at in (BLOCK_BYTES..HOSTILE_BYTES - RECORD_HEADER_BYTES).step_by(step) {
            let head = bad_head(HOSTILE_BYTES - at - RECORD_HEADER_BYTES, 1 << 60);
            file[at..at + RECORD_HEADER_BYTES].copy_from_slice(&head);
        }
        assert!(read(&header(), &file).0.is_empty());
    }
}

#[test]
fn lengths_about_the_bound_of_direct_checks_cost_no_more() {
    for payload in [1, 40, 4000, DIRECT_BYTES_MAX - 20, DIRECT_BYTES_MAX - 19, DIRECT_BYTES_MAX, 100_000] {
        for step in [24, 56, BLOCK_BYTES] {
            let mut file = vec![0; HOSTILE_BYTES];
            for at in (BLOCK_BYTES..HOSTILE_BYTES - RECORD_HEADER_BYTES).step_by(step) {
                file[at..at + RECORD_HEADER_BYTES].copy_from_slice(&bad_head(payload, 5));
            }
            assert!(read(&header(), &file).0.is_empty());
        }
    }
}

#[test]
fn sound_records_between_bad_ones_do_not_make_it_dearer() {
    // Somebody who knows the nonce: after each sound record a bad one that reaches to the end, or two blocks far.
    for reach in [DIRECT_BYTES_MAX - 20, HOSTILE_BYTES] {
        let header = header();
        let mut file = header.encode().into_vec();
        let mut sequence = 0;
        while file.len() < HOSTILE_BYTES {
            let mut flush = Vec::new();
            put_resolved(&mut flush, header.nonce, sequence, 1, 1, &[]);
            let rest = HOSTILE_BYTES.saturating_sub(file.len() + flush.len() + RECORD_HEADER_BYTES);
            flush.extend_from_slice(&bad_head(reach.min(rest), sequence + 1));
            pad_to_block(&mut flush);
            file.extend_from_slice(&flush);
            sequence += 2;
        }
        let (records, gaps, _) = read(&header, &file);
        assert_eq!(records.len(), HOSTILE_BYTES / BLOCK_BYTES - 1);
        assert_eq!(gaps.len(), records.len() - 1);
        assert!(gaps.iter().all(|gap| gap.2 == 1));
    }
}

#[test]
fn a_segment_inside_a_body_is_not_read() {
    // The body of a damaged request holds this very segment's earlier blocks, aligned as they were.
    let inner = segment(41, 42, 0, 8 * BLOCK_BYTES);
    let first = inner.records.len() as u64;
    let mut flush = Vec::new();
    let mut body = vec![0; BLOCK_BYTES - 48];
    body.extend_from_slice(&inner.file[BLOCK_BYTES..]);
    let request = Request {
        arrived_unix_nano: 1,
        first_unit: 0,
        units: 1,
        signal: Signal::Logs,
        encoding: BodyEncoding::Identity,
        format: BodyFormat::Protobuf,
        takers: Takers::ALL,
        body: &body,
    };
    put_request(&mut flush, 42, first, &request);
    put_resolved(&mut flush, 42, first + 1, 1, 1, &[]);
    pad_to_block(&mut flush);
    let mut file = [&inner.file[..], &flush].concat();
    file[inner.file.len() + 100] ^= 1;
    let (records, gaps, _) = read(&inner.header, &file);
    assert_eq!(records.len() as u64, first + 1);
    assert_eq!((gaps.len(), gaps[0].2), (1, 1));
}

/// Does one thing to a file that happens to files.
fn harm(random: &mut Random, file: &mut Vec<u8>) {
    let blocks = file.len() / BLOCK_BYTES;
    let start = BLOCK_BYTES + random.below(file.len() - BLOCK_BYTES);
    let end = (start + random.below(3 * BLOCK_BYTES)).min(file.len());
    match random.below(6) {
        0 => file[start] ^= 1 << random.below(8),
        1 => file[start..end].fill(0),
        2 => {
            let bytes = random.bytes(end - start);
            file[start..end].copy_from_slice(&bytes);
        }
        3 => {
            let from = random.below(blocks) * BLOCK_BYTES;
            let to = (1 + random.below(blocks - 1)) * BLOCK_BYTES;
            file.copy_within(from..from + BLOCK_BYTES, to);
        }
        4 => file.truncate(start.max(2 * BLOCK_BYTES)),
        _ => {
            // A sector that was not written.
            let sector = start - start % 512;
            let end = (sector + 512).min(file.len());
            file[sector..end].fill(0);
        }
    }
}

#[test]
fn whatever_happens_to_a_file_what_is_read_was_written() {
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        let first_sequence = random.next() >> 1;
        let segment = segment(seed, random.next(), first_sequence, 12 * BLOCK_BYTES);
        let all = originals(&segment);
        let mut file = segment.file.clone();
        for _ in 0..=random.below(4) {
            harm(&mut random, &mut file);
        }
        for (_, sequence, record) in read(&segment.header, &file).0 {
            let original = &all[(sequence - first_sequence) as usize];
            assert!(record == original.2, "seed {seed}: record {sequence} is another");
        }
    }
}
