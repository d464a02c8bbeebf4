//! A lane of several pipelines on a disk that does at once what it is asked to.

use super::super::bitmap::UNITS_MAX;
use super::super::format::{BLOCK_BYTES, Record, TallyId, VerdictEntry};
use super::super::journal::Recovered;
use super::super::read::{Found, Records};
use super::super::stream::Operation;
use super::super::tally::FormerTallies;
use super::*;
use crate::vocabulary::Annotations;
use std::collections::BTreeMap;

/// A lane and its files.
struct World {
    lane: Lane<u32>,
    files: BTreeMap<(SegmentKind, u64), Vec<u8>>,
    /// Whether the next write to a segment of requests fails.
    fails_next: bool,
}

impl World {
    fn new(pipelines: usize) -> Self {
        let plan = LanePlan {
            core: 0,
            cores: 1,
            first_number: 1,
            nonce_seed: 7,
            segment_bytes: 16 * BLOCK_BYTES as u64,
            begins_small: false,
            requests_bytes_max: 1 << 30,
            journal_segment_bytes: 16 * BLOCK_BYTES as u64,
            journal_segments_max: 3,
            buffer_bytes_max: 8 << 20,
            pipelines: (0..pipelines)
                .map(|number| PipelinePlan { name: format!("p{number}"), verdicts_max: 100 })
                .collect(),
            past: PastPlan::default(),
        };
        let mut world = Self { lane: Lane::new(plan), files: BTreeMap::new(), fails_next: false };
        world.drive();
        world
    }

    /// Does all that is to be done.
    fn drive(&mut self) {
        let streams: Vec<_> = LaneStream::all(self.lane.pipelines()).collect();
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for place in &streams {
                let kind = place.kind();
                let stream = self.lane.stream(*place);
                if let Some(Operation::Open { number, bytes, header }) = stream.poll_open(1) {
                    let mut file = header;
                    file.resize(usize::try_from(bytes).unwrap(), 0);
                    self.files.insert((kind, number), file);
                    stream.opened(true);
                    is_moving = true;
                }
                match stream.poll() {
                    Some(Operation::Write { number, offset, bytes }) => {
                        let fails = kind == SegmentKind::Requests && std::mem::take(&mut self.fails_next);
                        let (at, written) = (usize::try_from(offset).unwrap(), bytes.to_vec());
                        if !fails {
                            let file = self.files.get_mut(&(kind, number)).unwrap();
                            file[at..at + written.len()].copy_from_slice(&written);
                        }
                        stream.wrote(bytes, !fails);
                        is_moving = true;
                    }
                    Some(Operation::Sync { .. }) => {
                        stream.synced_now(true);
                        is_moving = true;
                    }
                    _ => {}
                }
            }
            self.lane.progress();
            for Retired { kind, number, .. } in self.lane.take_retired() {
                self.files.remove(&(kind, number));
            }
            for pipeline in 0..self.lane.pipelines() {
                for unit in self.lane.journal(pipeline).take_released() {
                    self.lane.resolve(pipeline, unit);
                }
            }
        }
    }

    fn append(&mut self, units: u32, takers: Takers, payload: u32) {
        let body = Bytes::from_static(b"a request");
        let request = NewRequest {
            signal: Signal::Traces,
            encoding: BodyEncoding::Identity,
            format: BodyFormat::Protobuf,
            body: &body,
            units,
            takers,
            arrived_unix_nano: 1,
        };
        self.lane.append(&request, true, payload).unwrap();
        self.drive();
    }

    /// A pipeline has judged so many traces, and its journal is flushed.
    fn judge(&mut self, pipeline: usize, traces: usize) {
        for _ in 0..traces {
            self.lane.journal(pipeline).note(VerdictEntry {
                trace_id: [1; 16],
                threshold: 0,
                policy: 0,
                is_kept: true,
                is_hashed: false,
                given: None,
                annotations: Annotations::NONE,
                reason: 0,
                occasion: 0,
                spans: 1,
            });
        }
        self.lane.flush_journal(pipeline, 1);
        self.drive();
    }

    /// What was counted comes to this.
    fn give_tally(&mut self, state: &'static [u8]) -> u64 {
        let id = TallyId { run: 1, lane: 0 };
        let number = self.lane.give_tally(Tally { id, taken_over: Vec::new(), state: Bytes::from_static(state) });
        self.judge(0, 1);
        number
    }

    /// What a start would go on to count from.
    fn former(&self) -> FormerTallies {
        let mut recovered = Recovered::default();
        for (_, file) in self.files.iter().filter(|((kind, _), _)| *kind == SegmentKind::Journal) {
            recovered.begin_segment();
            for found in Records::open(file).unwrap().1 {
                if let Found::Record { record, .. } = found {
                    recovered.take(&record);
                }
            }
        }
        recovered.tallies.finish()
    }

    fn requests(&self) -> Vec<(u32, Takers)> {
        let files = self.files.iter().filter(|((kind, _), _)| *kind == SegmentKind::Requests);
        let found = files.flat_map(|(_, file)| Records::open(file).unwrap().1);
        let requests = found.filter_map(|found| match found {
            Found::Record { record: Record::Request(request), .. } => Some((request.units, request.takers)),
            _ => None,
        });
        requests.collect()
    }
}

#[test]
fn a_request_is_one_record_that_says_who_takes_it_where_not_all_do() {
    let mut world = World::new(2);
    world.append(3, Takers::of(0).with(Takers::of(1)), 10);
    world.append(2, Takers::of(1), 11);
    assert_eq!(world.requests(), [(3, Takers::ALL), (2, Takers::of(1))]);
    let first = world.lane.take_committed().unwrap();
    assert!(first.is_accepted && first.payload == 10);
    let segment = world.lane.segments.get(first.origin.segment.slot()).unwrap();
    assert_eq!((segment.of(0).unresolved(), segment.of(1).unresolved()), (3, 5));
}

/// Without the pipelines that took it a request that the disk failed would hold its segment for good.
#[test]
fn what_the_disk_failed_is_left_to_nobody() {
    let mut world = World::new(3);
    world.fails_next = true;
    world.append(4, Takers::of(0).with(Takers::of(2)), 10);
    let refused = world.lane.take_committed().unwrap();
    assert!(!refused.is_accepted);
    world.drive();
    assert!(world.lane.segments.is_empty(), "nothing was left to do in it");
}

/// Leans on `Segments::restate` in `Journal::flush`: a pipeline that is done with a segment would be given all of it again
/// after a restart, for as long as another holds it.
#[test]
fn what_a_pipeline_has_done_is_said_again_while_another_holds_the_segment() {
    let mut world = World::new(2);
    world.append(1000, Takers::ALL, 10);
    let origin = world.lane.take_committed().unwrap().origin;
    for position in 0..1000 {
        world.lane.journal(0).resolve(origin.unit(position));
    }
    world.judge(0, 1);
    let number = world.lane.segments.get(origin.segment.slot()).unwrap().number;
    let journals = |world: &World| {
        let of_kind = world.files.keys().filter(|(kind, _)| *kind == SegmentKind::Journal);
        of_kind.map(|(_, number)| *number).collect::<Vec<_>>()
    };
    let first = journals(&world);
    for _ in 0..100 {
        world.judge(0, 150);
        world.judge(1, 1);
    }
    let left = journals(&world);
    // The numbers of a core's streams take turns: requests, then the journals.
    let of_first = |journals: &[u64]| journals.iter().filter(|number| **number % 3 == 2).copied().collect::<Vec<_>>();
    assert!(
        of_first(&left).iter().all(|number| !of_first(&first).contains(number)),
        "old segments have gone: {left:?}"
    );
    let mut recovered = [Recovered::default(), Recovered::default()];
    for journal in left {
        let recovered = &mut recovered[usize::from(journal % 3 == 0)];
        recovered.begin_segment();
        for found in Records::open(&world.files[&(SegmentKind::Journal, journal)]).unwrap().1 {
            if let Found::Record { record, .. } = found {
                recovered.take(&record);
            }
        }
    }
    assert_eq!(recovered[0].resolved[&number].count(), 1000);
    assert!(recovered[1].resolved.is_empty() && !recovered[1].verdicts.is_empty());
}

/// `Journal::flush` without `say_again` in a new segment: a start would find nothing counted once the segment has gone that said
/// it, and what it was counted from has gone before.
#[test]
fn what_is_counted_is_said_again_in_each_segment_of_the_journal() {
    let mut world = World::new(1);
    world.lane.count_all();
    let number = world.give_tally(b"all");
    assert_eq!(world.lane.tally_durable(), number);
    let first: Vec<_> = world.files.keys().copied().collect();
    for _ in 0..100 {
        world.judge(0, 150);
    }
    let has_gone = |key: &(SegmentKind, u64)| key.0 == SegmentKind::Requests || !world.files.contains_key(key);
    assert!(first.iter().all(has_gone), "old segments have gone");
    assert_eq!(world.former().states, [b"all".to_vec()]);
}

/// `Segment::is_free` without `is_counted` lets the segment go before a tally has it; `Segments::take_counted` without `leaving`
/// has a start that finds its file count it again; without `left` it would be named for ever.
#[test]
fn a_segment_goes_when_it_is_counted_and_is_told_as_counted_until_its_file_is_gone() {
    let mut world = World::new(1);
    world.lane.count_all();
    world.give_tally(b"");
    let mut first = None;
    for payload in 0..20 {
        world.append(1, Takers::ALL, payload);
        let committed = world.lane.take_committed().unwrap();
        world.lane.count(committed.origin, committed.units);
        let number = world.lane.segments.get(committed.origin.segment.slot()).unwrap().number;
        first.get_or_insert(number);
        world.lane.journal(0).resolve(committed.origin.unit(0));
    }
    let number = first.unwrap();
    world.judge(0, 1);
    assert!(world.files.contains_key(&(SegmentKind::Requests, number)), "no tally has it");
    world.give_tally(b"20");
    assert!(!world.files.contains_key(&(SegmentKind::Requests, number)));
    world.give_tally(b"20 and on");
    assert_eq!(world.former().positions.get(&number), Some(&UNITS_MAX), "the file may still be there after a crash");
    world.lane.retired(&Retired { kind: SegmentKind::Requests, number, home: 0, end: End::Free }, false);
    world.give_tally(b"20 and more");
    assert!(!world.former().positions.contains_key(&number));
}
