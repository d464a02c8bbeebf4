//! What segments tell, and what is left out.

use super::super::format::{BLOCK_BYTES, SegmentKind};
use super::super::stream::{Operation, StreamPlan};
use super::*;

const SEGMENT_BYTES: u64 = 16 * BLOCK_BYTES as u64;

fn stream() -> Stream {
    let mut stream = Stream::new(StreamPlan {
        kind: SegmentKind::Journal,
        lane: 0,
        segment_bytes: SEGMENT_BYTES,
        begins_small: false,
        buffer_bytes_max: 1 << 20,
        first_number: 1,
        number_stride: 1,
        nonce_seed: 7,
        pipelines: Vec::new(),
    });
    open(&mut stream);
    stream
}

fn open(stream: &mut Stream) {
    // A segment is made once one is asked for.
    if stream.segment_to_take(1).is_err() && stream.poll_open(1).is_some() {
        stream.opened(true);
    }
}

fn kept_with(annotations: &[u16]) -> VerdictEntry {
    VerdictEntry {
        trace_id: [1; 16],
        threshold: 0,
        policy: 0,
        is_kept: true,
        is_hashed: false,
        given: None,
        annotations: Annotations::of(annotations),
        reason: 0,
        occasion: 0,
        spans: 1,
    }
}

fn numbers(telling: &Telling) -> Vec<u16> {
    telling.annotations_to_tell().iter().map(|(number, _)| *number).collect()
}

/// Without `State::Told` each record of verdicts tells them again; without `State::LeftOut` one is told of that there is no
/// room for.
#[test]
fn a_segment_tells_what_its_verdicts_need_once_and_within_its_bound() {
    let (mut telling, mut stream) = (Telling::new(SEGMENT_BYTES), stream());
    let eighth = usize::try_from(SEGMENT_BYTES / 8).unwrap();
    let annotations = [vec![1; 100], vec![2; eighth - 200], vec![3; 200], vec![4; 50], vec![5; 70_000]];
    telling.set_annotations(&annotations);
    let entries = [kept_with(&[0]), kept_with(&[]), kept_with(&[1, 0])];
    telling.take_segment(&mut stream, &entries).unwrap();
    assert_eq!(numbers(&telling), [0, 1]);
    assert!(!telling.is_told(&entries[0]), "not before it is appended");
    telling.annotations_told();
    assert!(telling.is_told(&entries[2]));
    let more = [kept_with(&[1, 2, 3]), kept_with(&[4]), kept_with(&[77])];
    telling.take_segment(&mut stream, &more).unwrap();
    assert_eq!(numbers(&telling), [3], "2 does not fit, 4 never, and 77 is none");
    telling.annotations_told();
    assert_eq!(more.map(|entry| telling.is_told(&entry)), [false; 3]);
    telling.take_segment(&mut stream, &entries).unwrap();
    assert_eq!((numbers(&telling), telling.annotations_to_tell_bytes()), (vec![], 0));
}

/// Without the loop in `take_segment` what a new segment needs is thought to be told; without `bytes` the verdicts go to
/// another segment than what is told for them.
#[test]
fn a_new_segment_tells_all_again_and_has_room_for_the_verdicts_too() {
    let (mut telling, mut stream) = (Telling::new(SEGMENT_BYTES), stream());
    telling.set_names(std::iter::once("x".repeat(3000)));
    telling.set_annotations(&[vec![1; 3000]]);
    let entries = vec![kept_with(&[0]); 300];
    let mut segments = Vec::new();
    for _ in 0..20 {
        while telling.take_segment(&mut stream, &entries).is_err() {
            write_all(&mut stream);
            open(&mut stream);
        }
        let mut used = Vec::new();
        let names = usize::from(!telling.names_to_tell().is_empty()) * names_bytes(telling.names_to_tell());
        for bytes in [names, telling.annotations_to_tell_bytes(), verdicts_bytes(&entries)] {
            if bytes > 0 {
                used.push(stream.append(bytes, true, |out, _, _| out.resize(out.len() + bytes, 0)).unwrap().number);
            }
        }
        telling.names_told();
        telling.annotations_told();
        let number = used[0];
        assert!(used.iter().all(|used| *used == number), "{used:?}");
        assert_eq!(used.len(), if segments.contains(&number) { 1 } else { 3 }, "{used:?}");
        segments.push(number);
    }
    segments.dedup();
    assert!(segments.len() > 3, "{segments:?}");
}

fn write_all(stream: &mut Stream) {
    while let Some(operation) = stream.poll() {
        match operation {
            Operation::Write { bytes, .. } => stream.wrote(bytes, true),
            _ => stream.synced_now(true),
        }
    }
}

/// Without the bound a start takes up whatever stands in a directory.
#[test]
fn a_start_takes_up_so_many_bytes_of_annotations() {
    let mut told = Told::default();
    let large = vec![0; 60_000];
    for number in 0..50_u16 {
        let mut attributes = large.clone();
        attributes[..2].copy_from_slice(&number.to_le_bytes());
        told.take_annotations([(number, &attributes[..])].into_iter());
    }
    let fitting = RECOVERED_ANNOTATIONS_BYTES_MAX / large.len();
    assert_eq!((told.annotations.len(), told.annotations_forgotten), (fitting, 50 - fitting as u64));
    let placed = told.placed(kept_with(&[49, 2]));
    assert_eq!(placed.annotations, Annotations::of(&[2]), "what it was told it knows");
    // Another segment gives other numbers to the same.
    told.begin_segment();
    told.take_annotations([(0, &told.annotations[2].clone()[..])].into_iter());
    assert_eq!(told.placed(kept_with(&[49, 2, 0])).annotations, Annotations::of(&[2]));
}
