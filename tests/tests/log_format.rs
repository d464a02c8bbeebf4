//! Segments of the write-ahead log that released versions wrote, kept in `tests/fixtures/log/`, are read exactly as
//! they were meant. A fixture is never changed: a version that is no longer written must still be read.
//!
//! `TAILWATER_WRITE_FIXTURES=1 cargo test -p tailwater-tests --test log_format` writes those of a new version.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use tailwater_engine::log::format::{
    BLOCK_BYTES, BodyEncoding, BodyFormat, Record, Request, SegmentHeader, SegmentKind, TallyId, VERSION, VerdictEntry,
    pad_to_block, put_annotations, put_done, put_names, put_request, put_resolved, put_tally, put_verdicts,
};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::read::{Behind, Found, Records, Tail};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::log::tally::Tally;
use tailwater_engine::vocabulary::Annotations;
use tailwater_proto::otlp::Signal;

const NANOS: u64 = 1_790_000_000_000_000_000;

const REQUESTS_HEADER: SegmentHeader = SegmentHeader {
    kind: SegmentKind::Requests,
    lane: 3,
    number: 0x2a,
    nonce: 0x0123_4567_89ab_cdef,
    first_sequence: 1000,
    created_unix_nano: NANOS,
    bytes: 4 * BLOCK_BYTES as u64,
};

const JOURNAL_HEADER: SegmentHeader = SegmentHeader {
    kind: SegmentKind::Journal,
    lane: 3,
    number: 0x2b,
    nonce: 0xfedc_ba98_7654_3210,
    first_sequence: 70,
    created_unix_nano: NANOS + 1,
    bytes: 3 * BLOCK_BYTES as u64,
};

/// Requests of every signal, encoding and format. What is in a body is nothing to the log.
const REQUESTS: [Request<'static>; 3] = [
    Request {
        arrived_unix_nano: NANOS + 10,
        first_unit: 0,
        units: 17,
        signal: Signal::Traces,
        encoding: BodyEncoding::Gzip,
        format: BodyFormat::Protobuf,
        takers: Takers::ALL,
        body: b"17 spans, gzip",
    },
    Request {
        arrived_unix_nano: NANOS + 11,
        first_unit: 17,
        units: 1,
        signal: Signal::Logs,
        encoding: BodyEncoding::Identity,
        format: BodyFormat::Json,
        takers: Takers::ALL,
        body: b"{\"resourceLogs\":[]}",
    },
    Request {
        arrived_unix_nano: NANOS + 12,
        first_unit: 18,
        units: 1,
        signal: Signal::Metrics,
        encoding: BodyEncoding::Zstd,
        format: BodyFormat::Protobuf,
        takers: Takers::ALL,
        body: b"",
    },
];

/// The pipelines that share a log, and a request that the second of them takes alone.
const PIPELINES: [&str; 2] = ["traces/errors", "rest"];

fn shared_request() -> Request<'static> {
    Request { arrived_unix_nano: NANOS + 13, first_unit: 19, units: 2, takers: Takers::of(1), ..REQUESTS[0] }
}

const VERDICTS: [VerdictEntry; 2] = [
    VerdictEntry {
        trace_id: *b"the first trace.",
        threshold: 0,
        policy: 2,
        is_kept: true,
        is_hashed: false,
        given: None,
        annotations: Annotations::NONE,
        reason: 0,
        occasion: 1,
        spans: 17,
    },
    VerdictEntry {
        trace_id: *b"the second one..",
        threshold: 0x00e0_0000_0000_0000,
        policy: 0xffff,
        is_kept: false,
        is_hashed: false,
        given: None,
        annotations: Annotations::NONE,
        reason: 4,
        occasion: 2,
        spans: 1,
    },
];

/// A trace whose spans get attributes and whose randomness came with one of them.
fn annotated() -> VerdictEntry {
    VerdictEntry {
        trace_id: *b"the third of all",
        given: Some(0x00d0_0000_0000_0001),
        annotations: Annotations::of(&[5, 0]),
        ..VERDICTS[0]
    }
}

/// Annotations with their numbers: fields 9 of a span, `{"team": "a"}` and `{"tier": "b"}`.
const ANNOTATIONS: [(u16, &[u8]); 2] =
    [(0, b"\x4a\x0b\x0a\x04team\x12\x03\x0a\x01a"), (5, b"\x4a\x0b\x0a\x04tier\x12\x03\x0a\x01b")];

const RESOLVED: [(u32, [u8; 64]); 2] = [(0, [0xff; 64]), (9, [0x81; 64])];

/// An exporter, and what it is done with.
const EXPORTER: &str = "otlp/here";
const DONE: [(u32, [u8; 64]); 1] = [(9, [0x7e; 64])];

/// The policies by their numbers; the second is left out.
const NAMES: [&str; 3] = ["slow", "", "errors"];

/// What the lane has counted, how far, and whose it has taken over. What is in a state is nothing to the log.
fn tally() -> Tally {
    let taken_over = vec![TallyId { run: 0x0a0b, lane: 3 }, TallyId { run: 0x0a0b, lane: 4 }];
    Tally { id: TallyId { run: 0x0c0d_0e0f_1011_1213, lane: 3 }, taken_over, state: b"17 calls"[..].into() }
}

const POSITIONS: [(u64, u32); 2] = [(0x2a, 18), (0x29, u32::MAX)];

/// Two flushes, then a block that is left from the file's former use.
fn requests_segment() -> Vec<u8> {
    let nonce = REQUESTS_HEADER.nonce;
    let mut file = REQUESTS_HEADER.encode_for(&PIPELINES.map(String::from)).into_vec();
    let mut flush = Vec::new();
    put_request(&mut flush, nonce, 1000, &REQUESTS[0]);
    put_request(&mut flush, nonce, 1001, &REQUESTS[1]);
    pad_to_block(&mut flush);
    file.append(&mut flush);
    put_request(&mut flush, nonce, 1002, &REQUESTS[2]);
    put_request(&mut flush, nonce, 1003, &shared_request());
    pad_to_block(&mut flush);
    file.append(&mut flush);
    put_request(&mut flush, nonce ^ 1, 900, &REQUESTS[0]);
    pad_to_block(&mut flush);
    file.append(&mut flush);
    file
}

/// One flush of all kinds of record, then a block that was never written.
fn journal_segment() -> Vec<u8> {
    let nonce = JOURNAL_HEADER.nonce;
    let mut file = JOURNAL_HEADER.encode().into_vec();
    let mut flush = Vec::new();
    put_names(&mut flush, nonce, 70, NANOS + 19, &NAMES.map(String::from));
    put_annotations(&mut flush, nonce, 71, NANOS + 19, &ANNOTATIONS);
    put_verdicts(&mut flush, nonce, 72, NANOS + 20, &[&VERDICTS[..], &[annotated()]].concat());
    put_resolved(&mut flush, nonce, 73, NANOS + 21, 0x2a, &RESOLVED);
    put_done(&mut flush, nonce, 74, NANOS + 22, (0x2a, EXPORTER), &DONE);
    put_tally(&mut flush, nonce, 75, NANOS + 23, &tally(), &POSITIONS);
    pad_to_block(&mut flush);
    file.append(&mut flush);
    file.resize(3 * BLOCK_BYTES, 0);
    file
}

fn path(kind: &str, version: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/log/{kind}-v{version}.log"))
}

fn fixture(kind: &str, version: u8) -> Vec<u8> {
    let path = path(kind, version);
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display())).unwrap()
}

#[test]
fn what_is_written_today_is_the_fixture_of_today() {
    for (kind, bytes) in [("requests", requests_segment()), ("journal", journal_segment())] {
        let path = path(kind, VERSION);
        if std::env::var_os("TAILWATER_WRITE_FIXTURES").is_some() && !path.exists() {
            std::fs::write(path, &bytes).unwrap();
        }
        assert!(fixture(kind, VERSION) == bytes, "{kind}: the format has changed; it needs a new version");
    }
}

#[test]
fn requests_of_every_version_are_read() {
    (1..=VERSION).for_each(requests_are_read);
}

fn requests_are_read(version: u8) {
    let file = fixture("requests", version);
    assert_eq!(SegmentHeader::version(&file), Some(version));
    let (header, mut records) = Records::open(&file).unwrap();
    assert_eq!(header, REQUESTS_HEADER);
    let found: Vec<_> = records.by_ref().collect();
    let is_shared = version >= 6;
    let mut requests = REQUESTS.to_vec();
    requests.extend(is_shared.then(shared_request));
    let places = [(4096, 1000), (4160, 1001), (8192, 1002), (8240, 1003)];
    let expected = places.into_iter().zip(requests).map(|((offset, sequence), request)| Found::Record {
        offset,
        sequence,
        record: Record::Request(request),
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    let sequence = if is_shared { 1004 } else { 1003 };
    let tail = Tail { offset: 12_288, sequence, behind: Behind::Former, last_flush: 8192 };
    assert_eq!(records.tail(), tail);
    // Before version 6 a log was that of one pipeline.
    let names = if is_shared { PIPELINES.map(String::from).to_vec() } else { Vec::new() };
    assert_eq!(SegmentHeader::pipelines(&file), names);
}

#[test]
fn a_journal_of_version_1_is_read() {
    let file = fixture("journal", 1);
    let (header, mut records) = Records::open(&file).unwrap();
    assert_eq!(header, JOURNAL_HEADER);
    let Some(Found::Record { offset: 4096, sequence: 70, record: Record::Verdicts(verdicts) }) = records.next() else {
        unreachable!("the verdicts come first")
    };
    assert_eq!(verdicts.decided_unix_nano, NANOS + 20);
    assert_eq!(verdicts.entries.collect::<Vec<_>>(), VERDICTS);
    let Some(Found::Record { offset: 4192, sequence: 71, record: Record::Resolved(resolved) }) = records.next() else {
        unreachable!("what is resolved comes next")
    };
    assert_eq!((resolved.recorded_unix_nano, resolved.segment), (NANOS + 21, 0x2a));
    let blocks: Vec<_> = resolved.blocks.map(|(index, block)| (index, *block)).collect();
    assert_eq!(blocks, RESOLVED);
    assert_eq!(records.next(), None);
    let tail = Tail { offset: 8192, sequence: 72, behind: Behind::Nothing, last_flush: 4096 };
    assert_eq!(records.tail(), tail);
}

#[test]
fn a_journal_of_version_2_begins_with_names() {
    let file = fixture("journal", 2);
    let (header, mut records) = Records::open(&file).unwrap();
    assert_eq!(header, JOURNAL_HEADER);
    let Some(Found::Record { offset: 4096, sequence: 70, record: Record::Names(names) }) = records.next() else {
        unreachable!("the names come first")
    };
    assert_eq!(names.recorded_unix_nano, NANOS + 19);
    assert!(names.entries.clone().eq(NAMES.map(str::as_bytes)));
    let Some(Found::Record { sequence: 71, record: Record::Verdicts(verdicts), .. }) = records.next() else {
        unreachable!("the verdicts come next")
    };
    assert_eq!(verdicts.entries.collect::<Vec<_>>(), VERDICTS);
    assert!(matches!(records.next(), Some(Found::Record { record: Record::Resolved(_), .. })));
    assert_eq!(records.next(), None);
}

#[test]
fn a_journal_of_version_3_tells_which_exporters_are_done_with_what() {
    let file = fixture("journal", 3);
    let (header, records) = Records::open(&file).unwrap();
    assert_eq!(header, JOURNAL_HEADER);
    let found: Vec<_> = records.collect();
    assert_eq!(found.len(), 4);
    let Found::Record { sequence: 73, record: Record::Done(done), .. } = &found[3] else {
        unreachable!("what an exporter is done with comes last")
    };
    assert_eq!((done.recorded_unix_nano, done.segment, done.exporter), (NANOS + 22, 0x2a, EXPORTER.as_bytes()));
    let blocks: Vec<_> = done.blocks.clone().map(|(index, block)| (index, *block)).collect();
    assert_eq!(blocks, DONE);
    let mut recovered = Recovered::default();
    for found in found {
        let Found::Record { record, .. } = found else { unreachable!("nothing is damaged") };
        recovered.take(&record);
    }
    let (name, units) = &recovered.done[&0x2a][0];
    assert_eq!(
        (name.as_str(), units.count(), units.has(9 * 512 + 1), units.has(9 * 512)),
        (EXPORTER, 384, true, false)
    );
}

#[test]
fn a_journal_of_version_4_tells_annotations_and_randomness() {
    let file = fixture("journal", 4);
    let (header, records) = Records::open(&file).unwrap();
    assert_eq!(header, JOURNAL_HEADER);
    let found: Vec<_> = records.collect();
    assert_eq!(found.len(), 5);
    let Found::Record { sequence: 71, record: Record::Annotations(told), .. } = &found[1] else {
        unreachable!("annotations come before the verdicts that name them")
    };
    assert_eq!(told.recorded_unix_nano, NANOS + 19);
    assert_eq!(told.entries.clone().collect::<Vec<_>>(), ANNOTATIONS);
    let Found::Record { sequence: 72, record: Record::Verdicts(verdicts), .. } = &found[2] else {
        unreachable!("the verdicts come next")
    };
    assert_eq!(verdicts.entries.clone().collect::<Vec<_>>(), [VERDICTS[0], VERDICTS[1], annotated()]);
}

/// Without its arm in `Recovered::take` a start counts all of its log again.
#[test]
fn a_journal_of_version_7_tells_what_is_counted() {
    let file = fixture("journal", 7);
    let (header, records) = Records::open(&file).unwrap();
    assert_eq!(header, JOURNAL_HEADER);
    let found: Vec<_> = records.collect();
    assert_eq!(found.len(), 6);
    let Found::Record { sequence: 75, record: Record::Tally(record), .. } = &found[5] else {
        unreachable!("what is counted comes last")
    };
    let Tally { id, taken_over, state } = tally();
    assert_eq!((record.recorded_unix_nano, record.id), (NANOS + 23, id));
    assert_eq!(record.taken_over.clone().collect::<Vec<_>>(), taken_over);
    assert_eq!(record.positions.clone().collect::<Vec<_>>(), POSITIONS);
    assert_eq!(record.state, state);
    let mut recovered = Recovered::default();
    for found in found {
        let Found::Record { record, .. } = found else { unreachable!("nothing is damaged") };
        recovered.take(&record);
    }
    let former = recovered.tallies.finish();
    assert_eq!((former.states, former.positions), (vec![state.to_vec()], POSITIONS.into_iter().collect()));
    assert_eq!(former.ids, [&taken_over[..], &[id]].concat());
    assert_eq!(recovered.latest_unix_nano, NANOS + 23);
}

/// Leans on `Told::placed` and on what `Told::begin_segment` forgets.
#[test]
fn what_the_numbers_of_annotations_mean_is_told_in_each_segment() {
    let file = fixture("journal", 4);
    let mut recovered = Recovered::default();
    let take = |recovered: &mut Recovered, wanted: fn(&Record<'_>) -> bool| {
        for found in Records::open(&file).unwrap().1 {
            if let Found::Record { record, .. } = found
                && wanted(&record)
            {
                recovered.take(&record);
            }
        }
    };
    let verdicts_only: fn(&Record<'_>) -> bool = |record| matches!(record, Record::Verdicts(_));
    take(&mut recovered, |_| true);
    take(&mut recovered, verdicts_only);
    recovered.begin_segment();
    take(&mut recovered, verdicts_only);
    let annotated = recovered.verdicts.iter().filter(|entry| entry.given.is_some());
    let annotations = annotated.map(|entry| {
        let told = |place: u16| recovered.told.annotations[usize::from(place)].as_slice();
        entry.annotations.numbers().map(told).collect::<Vec<_>>()
    });
    let both = vec![ANNOTATIONS[1].1, ANNOTATIONS[0].1];
    assert_eq!(annotations.collect::<Vec<_>>(), [both.clone(), both, vec![]]);
    assert_eq!(recovered.told.annotations.len(), 2, "each is taken up once");
}

#[test]
fn what_the_numbers_of_policies_mean_is_told_in_each_segment() {
    let policies = |files: &[Vec<u8>]| {
        let mut recovered = Recovered::default();
        for file in files {
            recovered.begin_segment();
            for found in Records::open(file).unwrap().1 {
                if let Found::Record { record, .. } = found {
                    recovered.take(&record);
                }
            }
        }
        let names = recovered.verdicts.iter().filter(|entry| entry.is_kept);
        names.map(|entry| recovered.told.names.get(usize::from(entry.policy)).cloned()).collect::<Vec<_>>()
    };
    let (first, second) = (fixture("journal", 1), fixture("journal", 2));
    let named = Some("errors".to_string());
    assert_eq!(policies(&[first.clone(), second.clone()]), [None, named.clone()]);
    assert_eq!(policies(&[second, first]), [named, None], "not what another segment says");
}
