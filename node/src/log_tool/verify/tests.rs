//! Directories as crashes, disks and hands leave them.

use super::*;
use tailwater_engine::log::format::{BLOCK_BYTES, file_name, pad_to_block, put_resolved};

/// A journal segment: flushes of so many records each, at the end of it room for two blocks.
fn journal(number: u64, first_sequence: u64, flushes: &[usize]) -> Vec<u8> {
    let blocks = 3 + flushes.len();
    let header = SegmentHeader {
        kind: SegmentKind::Journal,
        lane: 1,
        number,
        nonce: number * 77,
        first_sequence,
        created_unix_nano: 0,
        bytes: u64::try_from(blocks * BLOCK_BYTES).unwrap(),
    };
    let mut file = header.encode().into_vec();
    let mut sequence = first_sequence;
    for count in flushes {
        let mut flush = Vec::new();
        for _ in 0..*count {
            put_resolved(&mut flush, header.nonce, sequence, 5, 6, &[(0, [1; 64])]);
            sequence += 1;
        }
        pad_to_block(&mut flush);
        file.extend_from_slice(&flush);
    }
    file.resize(blocks * BLOCK_BYTES, 0);
    file
}

fn verified(files: &[(u64, Vec<u8>)]) -> Vec<Segment> {
    let examined = files
        .iter()
        .map(|(number, file)| examine(file_name(SegmentKind::Journal, *number), SegmentKind::Journal, *number, file));
    let mut segments: Vec<Segment> = examined.collect();
    compare(&mut segments);
    segments
}

/// Number of notes and the remedies, of each segment.
fn outcome(files: &[(u64, Vec<u8>)]) -> Vec<(usize, Vec<&'static str>)> {
    let remedies = |segment: &Segment| segment.faults.iter().map(|fault| fault.remedy).collect();
    verified(files).iter().map(|segment| (segment.notes.len(), remedies(segment))).collect()
}

#[test]
fn a_sound_directory_is_sound() {
    let files = [(3, journal(3, 10, &[2, 1])), (5, journal(5, 13, &[3])), (9, journal(9, 90, &[]))];
    assert_eq!(outcome(&files), [(0, vec![]), (0, vec![]), (0, vec![])]);
    let text = report(&verified(&files), 2);
    assert!(
        text.contains(
            "ok    journal-0000000000000003.log: lane 1, 3 records, sequences 10 to below 13, 12 of 20 KiB\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("3 segments, 6 records, 2 spare files; nothing accepted is missing\n"), "{text}");
}

#[test]
fn a_torn_end_is_no_fault_where_a_crash_leaves_it() {
    let mut torn = journal(3, 10, &[2, 1]);
    torn[2 * BLOCK_BYTES + 50] ^= 1;
    assert_eq!(outcome(&[(3, torn.clone())]), [(1, vec![])]);
    // The node that started went on at the sequence that was torn.
    assert_eq!(outcome(&[(3, torn.clone()), (5, journal(5, 12, &[1]))]), [(1, vec![]), (0, vec![])]);
    // It did not: it knew of the record.
    let files = [(3, torn), (5, journal(5, 13, &[1]))];
    assert_eq!(outcome(&files), [(0, vec![CHECK_THE_DISK]), (0, vec![])]);
    assert!(report(&verified(&files), 0).contains("begins 1 records later\n          -> "));
}

#[test]
fn damage_before_the_last_flush_is_a_fault() {
    let mut harmed = journal(3, 10, &[2, 1]);
    harmed[BLOCK_BYTES + 50] ^= 1;
    assert_eq!(outcome(&[(3, harmed)]), [(0, vec![CHECK_THE_DISK])]);
    let mut interrupted = journal(3, 10, &[2, 3]);
    interrupted[2 * BLOCK_BYTES + 150] ^= 1;
    assert_eq!(outcome(&[(3, interrupted)]), [(1, vec![])]);
}

#[test]
fn a_fault_that_is_gone_at_the_second_look_was_a_write_under_way() {
    let sound = journal(3, 10, &[2, 1]);
    let mut harmed = sound.clone();
    harmed[BLOCK_BYTES + 50] ^= 1;
    for (again, expected) in [(vec![(3, sound)], 0), (vec![(3, harmed.clone())], 1), (vec![], 0)] {
        let mut segments = verified(&[(3, harmed.clone())]);
        confirm(&mut segments, &verified(&again));
        assert_eq!(segments[0].faults.len(), expected);
    }
}

#[test]
fn files_that_were_not_begun_are_no_fault() {
    let reused = journal(2, 1, &[1]);
    assert_eq!(outcome(&[(7, vec![0; 2 * BLOCK_BYTES]), (8, reused)]), [(1, vec![]), (1, vec![])]);
}

#[test]
fn files_that_no_node_leaves_are_faults() {
    let whole = journal(3, 10, &[1]);
    let mut version = whole.clone();
    version[6] = 9;
    let mut header = whole.clone();
    header[20] ^= 1;
    assert_eq!(outcome(&[(3, version)]), [(0, vec![OLDER_RELEASE])]);
    assert_eq!(outcome(&[(3, header)]), [(0, vec![MOVE_AWAY])]);
    assert_eq!(outcome(&[(3, vec![1; 10])]), [(0, vec![MOVE_AWAY])]);
    assert_eq!(outcome(&[(3, whole[..2 * BLOCK_BYTES].to_vec())]), [(0, vec![CHECK_THE_DISK])]);
    // Renamed to an older number; a copy; a sequence used twice.
    assert_eq!(outcome(&[(1, whole.clone())]), [(0, vec![BY_HAND])]);
    assert_eq!(outcome(&[(3, whole.clone()), (3, vec![0; BLOCK_BYTES])]), [(0, vec![BY_HAND]), (1, vec![BY_HAND])]);
    assert_eq!(outcome(&[(3, whole.clone()), (4, journal(4, 10, &[1]))]), [(0, vec![BY_HAND]), (0, vec![])]);
    // A journal's records in a segment of requests.
    let mut file =
        SegmentHeader { kind: SegmentKind::Requests, ..SegmentHeader::decode(&whole).unwrap() }.encode().into_vec();
    file.extend_from_slice(&whole[BLOCK_BYTES..]);
    let segment = examine(String::new(), SegmentKind::Requests, 3, &file);
    assert_eq!(segment.faults[0].remedy, REPORT);
}
