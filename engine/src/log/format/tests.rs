//! What is written is read back, byte for byte; what cannot be meant is refused.

use super::*;
use crate::log::flush::{Flush, HELD_BODY_BYTES_MIN};
use crate::log::takers::Takers;
use crate::log::tally::Tally;
use crate::vocabulary::Annotations;
use tailwater_proto::otlp::Signal;

fn header() -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Journal,
        lane: 0x0102,
        number: 0x1112_1314_1516_1718,
        nonce: 0x2122_2324_2526_2728,
        first_sequence: 0x3132_3334_3536_3738,
        created_unix_nano: 0x4142_4344_4546_4748,
        bytes: 0x5152_5354_5556_5758,
    }
}

fn request(body: &[u8]) -> Request<'_> {
    Request {
        arrived_unix_nano: 11,
        first_unit: 22,
        units: 33,
        signal: Signal::Metrics,
        encoding: BodyEncoding::Zstd,
        format: BodyFormat::Json,
        takers: Takers::ALL,
        body,
    }
}

fn read(bytes: &[u8]) -> (Head, Record<'_>) {
    let head = Head::read(bytes).unwrap();
    (head, head.record(bytes).unwrap())
}

#[test]
fn a_header_is_read_back() {
    for kind in [SegmentKind::Requests, SegmentKind::Journal] {
        let header = SegmentHeader { kind, ..header() };
        let block = header.encode();
        assert_eq!(block.len(), BLOCK_BYTES);
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
    }
}

#[test]
fn a_header_has_its_fields_where_they_are_drawn() {
    let block = header().encode();
    assert_eq!(block[..8], *b"TWLOG\0\x07\x02");
    assert_eq!(block[12..16], [2, 1, 0, 0]);
    for (at, high) in [(16, 0x10), (24, 0x20), (32, 0x30), (40, 0x40), (48, 0x50)] {
        let expected: Vec<u8> = (1..=8).rev().map(|low| high + low).collect();
        assert_eq!(block[at..at + 8], expected);
    }
    assert!(block[56..].iter().all(|byte| *byte == 0));
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let block = header().encode();
    for bit in 0..BLOCK_BYTES * 8 {
        let mut block = block.clone();
        block[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..6 => HeaderError::NotASegment,
            6 if (1..=VERSION).contains(&block[6]) => HeaderError::Corrupt,
            6 => HeaderError::UnknownVersion(block[6]),
            _ => HeaderError::Corrupt,
        };
        assert_eq!(SegmentHeader::decode(&block), Err(expected), "bit {bit}");
    }
}

#[test]
fn what_is_no_header_is_told_apart() {
    let block = header().encode();
    assert_eq!(SegmentHeader::decode(&block[..BLOCK_BYTES - 1]), Err(HeaderError::Truncated));
    assert_eq!(SegmentHeader::decode(&[0; BLOCK_BYTES]), Err(HeaderError::Blank));
    assert_eq!(SegmentHeader::decode(&[7; BLOCK_BYTES]), Err(HeaderError::NotASegment));
}

#[test]
fn a_request_is_read_back_whatever_its_kinds() {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        for encoding in [BodyEncoding::Identity, BodyEncoding::Gzip, BodyEncoding::Zstd] {
            for format in [BodyFormat::Protobuf, BodyFormat::Json] {
                let request = Request { signal, encoding, format, ..request(b"body") };
                let mut out = Vec::new();
                put_request(&mut out, 1, 2, &request);
                let (head, record) = read(&out);
                assert_eq!((head.sequence, record), (2, Record::Request(request)));
            }
        }
    }
}

#[test]
fn a_request_has_its_fields_where_they_are_drawn() {
    let mut out = Vec::new();
    put_request(&mut out, 0x0102_0304_0506_0708, 5, &request(b"body"));
    assert_eq!(out.len(), 56);
    assert_eq!(out[4..24], [28, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out[24..40], [11, 0, 0, 0, 0, 0, 0, 0, 22, 0, 0, 0, 33, 0, 0, 0]);
    assert_eq!(out[40..48], [2, 3, 2, 0, 0, 0, 0, 0]);
    assert_eq!(out[48..], *b"body\0\0\0\0");
    let checked = [&[8, 7, 6, 5, 4, 3, 2, 1], &out[4..52]].concat();
    assert_eq!(out[..4], crc32c::crc32c(&checked).to_le_bytes());
}

#[test]
fn the_checksum_is_castagnoli() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn framed_sizes_are_what_is_written() {
    for count in 0..100 {
        let body = vec![1; count];
        let mut out = Vec::new();
        put_request(&mut out, 1, 2, &request(&body));
        assert_eq!(out.len(), request_bytes(count, Takers::ALL));
        assert_eq!(Head::read(&out).unwrap().framed_bytes(), out.len());
        out.clear();
        put_verdicts(&mut out, 1, 2, 3, &vec![verdict(); count]);
        assert_eq!(out.len(), verdicts_bytes(&vec![verdict(); count]));
        out.clear();
        put_resolved(&mut out, 1, 2, 3, 4, &vec![(5, [6; 64]); count]);
        assert_eq!(out.len(), resolved_bytes(count));
    }
}

/// Held or copied, the same stands on disk: a checksum without the body, or padding counted from elsewhere, would differ.
#[test]
fn a_flush_that_holds_its_bodies_has_the_bytes_of_one_that_copied_them() {
    let (mut flush, mut copied) = (Flush::default(), Vec::new());
    let lengths = [3, HELD_BODY_BYTES_MIN - 1, HELD_BODY_BYTES_MIN, HELD_BODY_BYTES_MIN + 5, 7, 9001, 0];
    for (sequence, length) in (7..).zip(lengths) {
        let body: Vec<u8> = (0..length).map(|at| (at * 13) as u8).collect();
        let takers = [Takers::ALL, Takers::of(3)][usize::try_from(sequence % 2).unwrap()];
        put_request(&mut copied, 77, sequence, &Request { takers, ..request(&body) });
        hold_request(&mut flush, 77, sequence, &Request { takers, ..request(b"") }, &body.into());
        assert_eq!(flush.len(), copied.len(), "with {length} bytes");
    }
    assert_eq!(flush.to_vec(), copied);
}

/// With the set of takers left out, or counted to the body, what is read is another request.
#[test]
fn a_request_says_who_takes_it_where_not_all_do() {
    for takers in [Takers::ALL, Takers::NONE, Takers::of(0).with(Takers::of(63))] {
        let mut out = Vec::new();
        let shared = Request { takers, ..request(b"body") };
        put_request(&mut out, 1, 2, &shared);
        assert_eq!(out.len(), request_bytes(4, takers));
        assert_eq!(Head::read(&out).unwrap().record(&out), Some(Record::Request(shared)));
    }
}

#[test]
fn a_header_names_the_pipelines_that_share_the_log() {
    let names = ["traces/a".to_string(), String::new(), "b".repeat(80)];
    let block = header().encode_for(&names);
    assert_eq!((SegmentHeader::decode(&block), block.len()), (Ok(header()), BLOCK_BYTES));
    assert_eq!(SegmentHeader::pipelines(&block), names);
    assert!(SegmentHeader::pipelines(&header().encode()).is_empty());
    let most = vec!["x".repeat(78); PIPELINE_NAMES_BYTES_MAX / 80];
    assert!(pipeline_names_bytes(most.iter().map(String::as_str)) <= PIPELINE_NAMES_BYTES_MAX);
    assert_eq!(SegmentHeader::pipelines(&header().encode_for(&most)), most);
}

#[test]
fn only_the_first_record_of_a_flush_is_marked() {
    let mut out = Vec::new();
    put_request(&mut out, 1, 2, &request(b"one"));
    let second = out.len();
    put_verdicts(&mut out, 1, 3, 4, &[verdict()]);
    assert!(Head::read(&out).unwrap().is_flush_start);
    assert!(!Head::read(&out[second..]).unwrap().is_flush_start);
}

fn verdict() -> VerdictEntry {
    VerdictEntry {
        trace_id: *b"0123456789abcdef",
        threshold: 0x00aa_bbcc_ddee_ff11,
        policy: 0x0102,
        is_kept: true,
        is_hashed: true,
        given: None,
        annotations: Annotations::NONE,
        reason: 3,
        occasion: 4,
        spans: 0x0506_0708,
    }
}

#[test]
fn verdicts_are_read_back() {
    let dropped = VerdictEntry { is_kept: false, threshold: 0, ..verdict() };
    let rejected = VerdictEntry { threshold: u64::MAX, is_kept: false, ..verdict() };
    let mut out = Vec::new();
    put_verdicts(&mut out, 1, 2, 3, &[verdict(), dropped, rejected]);
    let (_, Record::Verdicts(verdicts)) = read(&out) else { unreachable!() };
    assert_eq!((verdicts.decided_unix_nano, verdicts.entries.len()), (3, 3));
    let saturated = VerdictEntry { threshold: (1 << 56) - 1, ..rejected };
    assert_eq!(verdicts.entries.collect::<Vec<_>>(), [verdict(), dropped, saturated]);
    assert_eq!(out[32..48], *b"0123456789abcdef");
    assert_eq!(out[48..64], [0x11, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 3, 8, 7, 6, 5, 2, 1, 3, 4]);
}

/// Without one of the parts in `put_verdicts` late spans leave with less after a restart.
#[test]
fn annotations_and_randomness_stand_behind_a_verdict_that_has_them() {
    let plain = VerdictEntry { is_hashed: false, ..verdict() };
    let annotated = VerdictEntry { annotations: Annotations::of(&[0, 0x0102]), ..plain };
    let given = VerdictEntry { given: Some(0x00d1_d2d3_d4d5_d6d7), ..plain };
    let both = VerdictEntry { given: Some(u64::MAX), annotations: Annotations::of(&[7, 8, 9]), ..plain };
    let entries = [annotated, plain, given, both, verdict()];
    let mut out = Vec::new();
    put_verdicts(&mut out, 1, 2, 3, &entries);
    assert_eq!(out.len(), verdicts_bytes(&entries));
    assert_eq!(out.len(), 24 + 8 + 5 * 32 + 4 * 8);
    let (_, Record::Verdicts(verdicts)) = read(&out) else { unreachable!() };
    assert_eq!(verdicts.entries.len(), 5);
    let saturated = VerdictEntry { given: Some((1 << 56) - 1), ..both };
    assert_eq!(verdicts.entries.collect::<Vec<_>>(), [annotated, plain, given, saturated, verdict()]);
    assert_eq!((out[55], out[64..72].to_vec()), (5, vec![1, 0, 3, 1, 0, 0, 0, 0]));
    assert_eq!((out[95 + 32], out[136..144].to_vec()), (9, vec![0xd7, 0xd6, 0xd5, 0xd4, 0xd3, 0xd2, 0xd1, 0]));
    // No flag that is known; a hash that came with a span; annotations of which there are none, after which there are some,
    // and of which there are too many; a randomness of more than 56 bits; what the flags announce is not there.
    let refused: [&[(usize, u8)]; 7] = [
        &[(55, 0x15)],
        &[(127, 11)],
        &[(64, 0), (66, 0), (67, 0)],
        &[(64, 0)],
        &[(68, 1), (70, 1)],
        &[(143, 1)],
        &[(127, 1)],
    ];
    for changes in refused {
        let mut changed = out.clone();
        changes.iter().for_each(|(at, byte)| changed[*at] = *byte);
        assert!(Head::read(&changed).unwrap().record(&changed).is_none(), "{changes:?}");
    }
}

#[test]
fn told_annotations_are_read_back_and_cut_ones_refused() {
    let annotations: [(u16, &[u8]); 3] = [(7, b"J\x02ab"), (0x0102, b""), (0, &[9; 300])];
    let mut out = Vec::new();
    put_annotations(&mut out, 1, 2, 33, &annotations);
    assert_eq!(out.len(), annotations_bytes([4, 0, 300].into_iter()));
    let (_, record) = read(&out);
    let Record::Annotations(told) = record else { panic!("{record:?}") };
    assert_eq!(told.recorded_unix_nano, 33);
    assert_eq!(told.entries.collect::<Vec<_>>(), annotations);
    // One that goes on behind the payload, and one whose number is cut.
    for (at, byte) in [(35, 200), (4, 22)] {
        let mut changed = out.clone();
        changed[at] = byte;
        assert!(Head::read(&changed).unwrap().record(&changed).is_none(), "byte {at}");
    }
}

/// With one of the counts in `put_tally` left out, or read elsewhere by `tally`, something of the state is taken for a place.
#[test]
fn a_tally_is_read_back_and_cut_ones_refused() {
    let id = |run, lane| TallyId { run, lane };
    let taken_over = vec![id(0x0102_0304_0506_0708, 0x090a), id(1, 0)];
    let tally = Tally { id: id(9, 0x0b0c), taken_over: taken_over.clone(), state: b"state"[..].into() };
    let positions = [(0x1112_1314_1516_1718, 0x191a_1b1c), (2, u32::MAX), (3, 0)];
    let mut out = Vec::new();
    put_tally(&mut out, 1, 2, 33, &tally, &positions);
    assert_eq!(out.len(), tally_bytes(&tally, positions.len()));
    let (_, record) = read(&out);
    let Record::Tally(read) = record else { panic!("{record:?}") };
    assert_eq!((read.recorded_unix_nano, read.id, read.state), (33, tally.id, &b"state"[..]));
    assert_eq!(read.taken_over.collect::<Vec<_>>(), taken_over);
    assert_eq!(read.positions.collect::<Vec<_>>(), positions);
    // Where `docs/format-log.md` draws them.
    assert_eq!(out[32..48], [9, 0, 0, 0, 0, 0, 0, 0, 0x0c, 0x0b, 2, 0, 3, 0, 0, 0]);
    assert_eq!(out[48..58], [8, 7, 6, 5, 4, 3, 2, 1, 0x0a, 9]);
    assert_eq!(out[68..80], [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x1c, 0x1b, 0x1a, 0x19]);
    assert_eq!(out[104..109], *b"state");
    // More tallies and more positions than there are bytes for, and a payload that ends before its fields do.
    for (at, byte) in [(42, 9), (43, 1), (44, 4), (47, 0xff), (4, 23)] {
        let mut changed = out.clone();
        changed[at] = byte;
        assert!(Head::read(&changed).unwrap().record(&changed).is_none(), "byte {at}");
    }
    let empty = Tally { taken_over: Vec::new(), state: b""[..].into(), ..tally };
    out.clear();
    put_tally(&mut out, 1, 2, 33, &empty, &[]);
    assert!(Head::read(&out).unwrap().record(&out).is_some(), "nothing counted yet");
}

#[test]
fn resolved_blocks_are_read_back() {
    let mut out = Vec::new();
    put_resolved(&mut out, 1, 2, 3, 4, &[(7, [1; 64]), (0x0102_0304, [2; 64])]);
    let (_, Record::Resolved(resolved)) = read(&out) else { unreachable!() };
    assert_eq!((resolved.recorded_unix_nano, resolved.segment, resolved.blocks.len()), (3, 4, 2));
    assert_eq!(resolved.blocks.collect::<Vec<_>>(), [(7, &[1; 64]), (0x0102_0304, &[2; 64])]);
    assert_eq!(out[40..45], [7, 0, 0, 0, 1]);
}

#[test]
fn payloads_that_no_version_can_have_written_are_refused() {
    let mut out = Vec::new();
    put_request(&mut out, 1, 2, &request(b"body"));
    // The units' end beyond 32 bits, unknown signal, encoding, format, reserved bytes.
    for (at, byte) in [(35, 0xff), (40, 0), (40, 4), (41, 4), (42, 3), (43, 1), (47, 1)] {
        let mut changed = out.clone();
        changed[at] = byte;
        if at == 35 {
            changed[39] = 0xff;
        }
        let head = Head::read(&changed).unwrap();
        assert!(head.record(&changed).is_none(), "byte {at}");
    }
    // Length, kind and the reserved bytes of the record's header.
    for (at, byte) in [(4, 0), (4, 33), (7, 0x40), (16, 0), (16, 9), (17, 2), (18, 1), (23, 1)] {
        let mut changed = out.clone();
        changed[at] = byte;
        assert!(Head::read(&changed).is_none(), "byte {at}");
    }
    out.clear();
    put_done(&mut out, 1, 2, 3, (4, "otlp"), &[(5, [6; 64])]);
    assert!(Head::read(&out).unwrap().record(&out).is_some());
    // A name longer than what is there, and no whole blocks behind a shorter one.
    for (at, byte) in [(40, 200), (40, 3), (41, 1), (4, 17), (4, 89)] {
        let mut changed = out.clone();
        changed[at] = byte;
        assert!(Head::read(&changed).unwrap().record(&changed).is_none(), "byte {at}");
    }
    out.clear();
    put_verdicts(&mut out, 1, 2, 3, &[verdict()]);
    for (at, byte) in [(4, 39), (55, 16)] {
        let mut changed = out.clone();
        changed[at] = byte;
        assert!(Head::read(&changed).unwrap().record(&changed).is_none(), "byte {at}");
    }
}

#[test]
fn names_are_read_back_and_others_refused() {
    for number in [0, 1, 0xabc, u64::MAX] {
        for kind in [SegmentKind::Requests, SegmentKind::Journal] {
            assert_eq!(parse_file_name(&file_name(kind, number)), Some(FileName::Segment { kind, number }));
        }
        assert_eq!(parse_file_name(&spare_file_name(number)), Some(FileName::Spare { number }));
        assert_eq!(parse_file_name(&past_file_name(number)), Some(FileName::Past { number }));
    }
    assert_eq!(file_name(SegmentKind::Requests, 0xabc), "requests-0000000000000abc.log");
    assert_eq!(file_name(SegmentKind::Journal, 1), "journal-0000000000000001.log");
    assert_eq!(spare_file_name(1), "spare-0000000000000001.log");
    for name in [
        "",
        ".log",
        "requests-.log",
        "requests-0000000000000ABC.log",
        "requests-abc.log",
        "requests-00000000000000001.log",
        "requests-+000000000000001.log",
        "requests-0000000000000001",
        "other-0000000000000001.log",
        "requests0000000000000001.log",
    ] {
        assert_eq!(parse_file_name(name), None, "{name}");
    }
}

#[test]
fn a_flush_is_padded_to_blocks() {
    for (before, after) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
        let mut out = vec![1; before];
        pad_to_block(&mut out);
        assert_eq!(out.len(), after);
        assert!(out[before..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn names_are_read_back_and_cut_ones_refused() {
    let names = ["slow", "", "caf\u{e9}"].map(String::from);
    let long = "x".repeat(70_000);
    let mut out = Vec::new();
    put_names(&mut out, 1, 2, 33, &[&names[..], &[long]].concat());
    assert_eq!(out.len(), names_bytes(&[&names[..], &[String::new()]].concat()), "what no length can tell is left out");
    let (_, record) = read(&out);
    let Record::Names(read) = record else { panic!("{record:?}") };
    assert_eq!(read.recorded_unix_nano, 33);
    let expected: Vec<&[u8]> = vec![b"slow", b"", "caf\u{e9}".as_bytes(), b""];
    assert_eq!(read.entries.collect::<Vec<_>>(), expected);
    // A name that goes on behind the payload.
    out[32] = 200;
    assert!(Head::read(&out).unwrap().record(&out).is_none());
}
