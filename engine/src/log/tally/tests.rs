//! What is said of a tally until it is durable, and what several of them come to at a start.

use super::super::format::{Head, Record, put_tally};
use super::*;

const FIRST: TallyId = TallyId { run: 1, lane: 0 };
const SECOND: TallyId = TallyId { run: 1, lane: 1 };
const LATER: TallyId = TallyId { run: 2, lane: 0 };

fn tally(id: TallyId, taken_over: &[TallyId], state: &'static [u8]) -> Tally {
    Tally { id, taken_over: taken_over.to_vec(), state: Bytes::from_static(state) }
}

/// Has `tallies` read what is said, as a start does.
fn take(tallies: &mut Tallies, tally: &Tally, positions: &[(u64, u32)]) {
    let mut out = Vec::new();
    put_tally(&mut out, 1, 2, 3, tally, positions);
    let Some(Record::Tally(record)) = Head::read(&out).and_then(|head| head.record(&out)) else { unreachable!() };
    tallies.take(&record);
}

/// `Saying::to_say` has to compare numbers: with "was anything said" the second tally would never be on the disk.
#[test]
fn each_tally_is_said_once_in_a_segment_and_again_in_the_next() {
    let mut saying = Saying::default();
    assert!(saying.to_say().is_none());
    assert_eq!(saying.give(tally(FIRST, &[], b"a"), vec![(7, 1)]), 1);
    assert_eq!(saying.to_say(), Some((&tally(FIRST, &[], b"a"), &[(7, 1)][..])));
    saying.said(100);
    assert!(saying.to_say().is_none());
    saying.give(tally(FIRST, &[], b"b"), vec![(7, 2)]);
    assert_eq!(saying.to_say(), Some((&tally(FIRST, &[], b"b"), &[(7, 2)][..])));
    saying.said(200);
    // Without this the segment that it is in could not go, or would go with it.
    saying.say_again();
    assert_eq!(saying.to_say(), Some((&tally(FIRST, &[], b"b"), &[(7, 2)][..])));
}

/// `Saying::give` without `is_known` writes to the disk for ever where nothing happens; with a look at the state alone a
/// segment whose units were all refused would never go.
#[test]
fn a_tally_is_another_when_it_counts_more_or_goes_further() {
    let mut saying = Saying::default();
    assert_eq!(saying.give(tally(FIRST, &[], b"a"), vec![(7, 1)]), 1);
    assert_eq!(saying.give(tally(FIRST, &[], b"a"), vec![(7, 1)]), 1);
    assert_eq!(saying.give(tally(FIRST, &[], b"a"), vec![(7, 2)]), 2);
    assert_eq!(saying.give(tally(FIRST, &[], b"b"), vec![(7, 2)]), 3);
    assert_eq!(saying.give(tally(FIRST, &[SECOND], b"b"), vec![(7, 2)]), 4);
}

/// How far the tally goes that is durable since the last look.
fn news(saying: &mut Saying, synced: u64) -> Option<Vec<(u64, u32)>> {
    saying.durable_up_to(synced).map(<[_]>::to_vec)
}

/// `Saying::durable_up_to` without `position > synced` lets a segment go whose tally a power cut takes away; without
/// `said != *number` it lets go what only a later tally has.
#[test]
fn positions_are_told_when_the_tally_that_has_them_is_durable() {
    let mut saying = Saying::default();
    saying.give(tally(FIRST, &[], b"a"), vec![(7, 1)]);
    assert_eq!(saying.durable_up_to(u64::MAX), None, "nothing is said");
    saying.said(100);
    assert_eq!((news(&mut saying, 99), saying.durable()), (None, 0));
    assert_eq!((news(&mut saying, 100), saying.durable()), (Some(vec![(7, 1)]), 1));
    assert_eq!(saying.durable_up_to(100), None, "no news");
    saying.give(tally(FIRST, &[], b"b"), vec![(7, 2)]);
    assert_eq!((news(&mut saying, 1000), saying.durable()), (None, 1), "the second is not said yet");
    saying.said(200);
    saying.give(tally(FIRST, &[], b"c"), vec![(7, 3)]);
    assert_eq!((news(&mut saying, 1000), saying.durable()), (None, 1), "what was said is not the latest");
    saying.said(300);
    assert_eq!((news(&mut saying, 300), saying.durable()), (Some(vec![(7, 3)]), 3));
}

/// Without the last condition of `Saying::is_idle` a stop does not wait for the first tally.
#[test]
fn it_is_idle_when_the_latest_is_durable() {
    let mut saying = Saying::default();
    assert!(saying.is_idle(), "nothing is counted here");
    saying.want();
    assert!(!saying.is_idle());
    saying.give(tally(FIRST, &[], b"a"), Vec::new());
    assert!(!saying.is_idle());
    saying.said(5);
    assert!(!saying.is_idle());
    saying.durable_up_to(5);
    assert!(saying.is_idle());
    saying.say_again();
    assert!(!saying.is_idle(), "the segment that is written does not have it");
}

/// `Tallies::take` has to replace: added up, all that a lane says again would be counted again.
#[test]
fn the_last_tally_of_a_lane_holds() {
    let mut tallies = Tallies::default();
    take(&mut tallies, &tally(FIRST, &[], b"old"), &[(7, 1), (8, 9)]);
    take(&mut tallies, &tally(SECOND, &[], b"other"), &[(9, 4)]);
    take(&mut tallies, &tally(FIRST, &[], b"new"), &[(7, 5)]);
    let former = tallies.finish();
    assert_eq!(former.states, [b"new".to_vec(), b"other".to_vec()]);
    assert_eq!(former.positions, [(7, 5), (9, 4)].into());
    assert_eq!(former.ids, [FIRST, SECOND]);
}

/// `Tallies::finish` without `!parts.contains` counts a former run twice; with positions of those alone that are left it
/// counts their requests again; without the names of those that are named the next start counts them twice.
#[test]
fn what_is_taken_over_is_part_of_another_and_its_positions_hold() {
    const GONE: TallyId = TallyId { run: 0, lane: 3 };
    let mut tallies = Tallies::default();
    take(&mut tallies, &tally(FIRST, &[GONE], b"first"), &[(7, 5)]);
    take(&mut tallies, &tally(SECOND, &[], b"second"), &[(8, u32::MAX), (9, 1)]);
    take(&mut tallies, &tally(LATER, &[GONE, FIRST, SECOND], b"later"), &[(9, 3)]);
    let former = tallies.finish();
    assert_eq!(former.states, [b"later".to_vec()]);
    assert_eq!(former.positions, [(7, 5), (8, u32::MAX), (9, 3)].into());
    assert_eq!(former.ids, [GONE, FIRST, SECOND, LATER]);
}

/// Several lanes may have counted of a segment, one run after the other: `Tallies::finish` without the maximum counts again
/// what the later has.
#[test]
fn the_highest_position_of_a_segment_holds() {
    for (one, other) in [(3, 9), (9, 3)] {
        let mut tallies = Tallies::default();
        take(&mut tallies, &tally(FIRST, &[], b"first"), &[(7, one)]);
        take(&mut tallies, &tally(LATER, &[], b"later"), &[(7, other)]);
        let former = tallies.finish();
        assert_eq!(former.positions, [(7, 9)].into());
        assert_eq!(former.states.len(), 2, "nobody has taken over the first");
    }
}

/// `Tallies::merge` without either line loses a directory.
#[test]
fn directories_are_put_together_and_what_is_beyond_the_bound_is_told() {
    let (mut tallies, mut other) = (Tallies::default(), Tallies::default());
    take(&mut tallies, &tally(FIRST, &[], b"first"), &[(7, 1)]);
    for run in 0..=u64::try_from(RECOVERED_TALLIES_MAX).unwrap() {
        take(&mut other, &tally(TallyId { run: 10 + run, lane: 0 }, &[], b"many"), &[]);
    }
    take(&mut other, &tally(TallyId { run: 10, lane: 0 }, &[], b"again"), &[]);
    assert_eq!(other.forgotten, 1, "those that are known are taken at the bound");
    tallies.merge(other);
    assert_eq!(tallies.forgotten, 1);
    let former = tallies.finish();
    assert_eq!(former.states[..2], [b"first".to_vec(), b"again".to_vec()]);
    assert_eq!(former.states.len(), 1 + RECOVERED_TALLIES_MAX);
}
