//! Segments of the write-ahead log: nothing panics, whatever the file; what is read lies in it, in order, and reads the
//! same by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_engine::log::format::{BLOCK_BYTES, Record, SegmentHeader, SegmentKind};
use tailwater_engine::log::read::{Found, Records, record_at};

fuzz_target!(|bytes: &[u8]| {
    if let Ok((header, records)) = Records::open(bytes) {
        go_through(bytes, &header, records);
    }
    // Headers are hard to guess: most is learnt behind one that is given.
    let header = SegmentHeader {
        kind: SegmentKind::Requests,
        lane: 3,
        number: 0x2a,
        nonce: 0x0123_4567_89ab_cdef,
        first_sequence: 1000,
        created_unix_nano: 0,
        bytes: 0,
    };
    let file = [&header.encode()[..], bytes.get(BLOCK_BYTES..).unwrap_or(bytes)].concat();
    go_through(&file, &header, Records::new(&file, &header));
});

fn go_through(file: &[u8], header: &SegmentHeader, mut records: Records<'_>) {
    let (mut expected, mut end) = (header.first_sequence, BLOCK_BYTES as u64);
    for found in records.by_ref() {
        match found {
            Found::Record { offset, sequence, record } => {
                assert!(sequence == expected && offset >= end);
                let framed = record_at(&file[offset as usize..], header.nonce).expect("it reads the same by itself");
                assert!(framed.record == record && framed.sequence == sequence);
                (expected, end) = (sequence + 1, offset + framed.bytes as u64);
                match record {
                    Record::Request(request) => assert!(request.first_unit.checked_add(request.units).is_some()),
                    Record::Verdicts(verdicts) => assert_eq!(verdicts.entries.len(), verdicts.entries.count()),
                    Record::Annotations(told) => assert!(told.entries.count() <= framed.bytes),
                    Record::Names(names) => assert!(names.entries.count() <= framed.bytes),
                    Record::Done(done) => assert_eq!(done.blocks.len(), done.blocks.count()),
                    Record::Tally(tally) => assert!(tally.state.len() <= framed.bytes),
                    Record::Resolved(resolved) => assert_eq!(resolved.blocks.len(), resolved.blocks.count()),
                }
            }
            Found::Skipped { offset, bytes, sequences } => {
                assert!(offset >= end);
                (expected, end) = (expected + sequences, offset + bytes);
            }
        }
    }
    let tail = records.tail();
    assert_eq!(tail.sequence, expected);
    assert!(tail.offset <= file.len() as u64);
}
