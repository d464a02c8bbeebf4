//! Segments of requests that are done with and stay for a while, so that a person can reach back for what was dropped.
//!
//! ```text
//! in use --- all is resolved and counted ---> entering --- its file is renamed ---> past ---> given up
//!                                                                     too old, past their bytes, or in the way
//! ```
//! They have no claim to anything: whenever the log may need room for its next segment, the oldest go first, so that nothing
//! waits for them and nothing is refused or judged early because of them. A name says that a file is past; a start reads none
//! of it. They are in the order of their first requests, and each knows up to when the ones before it and itself go, so that
//! those of a range of time are found by halving.

use super::filter::Filter;
use super::steps::Steps;
use std::collections::VecDeque;

/// The bounds of a core's past segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastPlan {
    /// How long a segment stays after its last request, nanoseconds; 0 for not at all.
    pub keep_nanos: u64,
    /// Most bytes of them.
    pub bytes_max: u64,
}

/// A segment that is done with.
#[derive(Debug)]
pub struct PastSegment {
    /// Its number, which names its file.
    pub number: u64,
    /// Where its file is, as in `Segment::home`.
    pub home: usize,
    /// Bytes of its file.
    pub bytes: u64,
    /// When its first request came, or the file was begun.
    pub first_unix_nano: u64,
    /// When its last request came; of one of a former run, when its file was last written.
    pub last_unix_nano: u64,
    /// Where its records are; `None` for one of a former run that nobody has looked through.
    pub steps: Option<Steps>,
    /// The traces in it; `None` where they are not known.
    pub filter: Option<Filter>,
    /// The latest time of this one and all before it: nothing up to here was received after that.
    latest_unix_nano: u64,
}

impl PastSegment {
    /// A segment of a former run, of which is known when its file was begun and when it was last written.
    #[must_use]
    pub fn former(number: u64, home: usize, bytes: u64, (begun_unix_nano, written_unix_nano): (u64, u64)) -> Self {
        let (first_unix_nano, last_unix_nano) = (begun_unix_nano, written_unix_nano.max(begun_unix_nano));
        let latest_unix_nano = last_unix_nano;
        Self { number, home, bytes, first_unix_nano, last_unix_nano, steps: None, filter: None, latest_unix_nano }
    }

    /// A segment that was in use.
    #[must_use]
    pub fn of(number: u64, home: usize, bytes: u64, steps: Steps, filter: Option<Filter>) -> Self {
        let times = (steps.first_unix_nano(), steps.last_unix_nano());
        Self { steps: Some(steps), filter, ..Self::former(number, home, bytes, times) }
    }
}

/// Why a segment was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// It is as old as it may get.
    Age,
    /// All together were larger than they may be.
    Bytes,
    /// The log may need its room.
    Room,
    /// The disk gave no room for a new file, or failed at this one.
    Disk,
}

impl GivenUp {
    /// All, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Age, Self::Bytes, Self::Room, Self::Disk];

    /// The label value in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
            Self::Room => "room",
            Self::Disk => "disk",
        }
    }
}

/// The past of one core's log.
#[derive(Debug, Default)]
pub struct Past {
    plan: PastPlan,
    /// By the time of their first requests.
    segments: VecDeque<PastSegment>,
    /// Those whose files have still their old names.
    entering: Vec<PastSegment>,
    /// Of both.
    bytes: u64,
    /// Number and home of those that were given up and whose files are to go.
    given_up: Vec<(u64, usize)>,
    /// By `GivenUp`.
    counts: [u64; GivenUp::ALL.len()],
}

impl Past {
    /// Nothing yet.
    #[must_use]
    pub fn new(plan: PastPlan) -> Self {
        Self { plan, ..Self::default() }
    }

    /// Whether segments stay at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.plan.keep_nanos > 0 && self.plan.bytes_max > 0
    }

    /// Those that are there, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PastSegment> {
        self.segments.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len() + self.entering.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of their files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the first request came that is still there; 0 for none.
    #[must_use]
    pub fn oldest_unix_nano(&self) -> u64 {
        self.segments.front().map_or(0, |segment| segment.first_unix_nano)
    }

    /// Segments given up, for each reason.
    pub fn counts(&self) -> impl Iterator<Item = (GivenUp, u64)> {
        GivenUp::ALL.into_iter().zip(self.counts)
    }

    /// A segment is done with and stays: its file is to be renamed.
    pub fn enter(&mut self, segment: PastSegment) {
        self.bytes += segment.bytes;
        self.entering.push(segment);
    }

    /// The file of a segment that entered has its new name, or could not get it and is gone.
    pub fn entered(&mut self, number: u64, home: usize, is_there: bool) {
        let is_meant = |segment: &PastSegment| (segment.number, segment.home) == (number, home);
        let Some(at) = self.entering.iter().position(is_meant) else { return };
        let segment = self.entering.swap_remove(at);
        self.bytes -= segment.bytes;
        if is_there {
            self.add(segment);
        } else {
            self.counts[GivenUp::Disk as usize] += 1;
        }
    }

    /// Adds a segment whose file is there.
    pub fn add(&mut self, segment: PastSegment) {
        self.bytes += segment.bytes;
        let key = |segment: &PastSegment| (segment.first_unix_nano, segment.number);
        let at = self.segments.partition_point(|known| key(known) < key(&segment));
        self.segments.insert(at, segment);
        self.note_latest(at);
    }

    /// Says up to when segments go, from that place on.
    fn note_latest(&mut self, from: usize) {
        let before = from.checked_sub(1).and_then(|at| self.segments.get(at));
        let mut latest = before.map_or(0, |segment| segment.latest_unix_nano);
        for segment in self.segments.iter_mut().skip(from) {
            latest = latest.max(segment.last_unix_nano);
            segment.latest_unix_nano = latest;
        }
    }

    /// The segments that may have something that was received within these times, oldest first.
    pub fn within(&self, from_unix_nano: u64, to_unix_nano: u64) -> impl Iterator<Item = &PastSegment> {
        let begin = self.segments.partition_point(|segment| segment.latest_unix_nano < from_unix_nano);
        let end = self.segments.partition_point(|segment| segment.first_unix_nano <= to_unix_nano).max(begin);
        self.segments.range(begin..end).filter(move |segment| segment.last_unix_nano >= from_unix_nano)
    }

    /// A segment of that number and home.
    pub fn get_mut(&mut self, number: u64, home: usize) -> Option<&mut PastSegment> {
        self.segments.iter_mut().find(|segment| (segment.number, segment.home) == (number, home))
    }

    /// Somebody has looked through a segment: where its records are, and the traces in it.
    pub fn learn(&mut self, number: u64, home: usize, steps: Steps, filter: Option<Filter>) {
        let is_meant = |segment: &PastSegment| (segment.number, segment.home) == (number, home);
        let Some(at) = self.segments.iter().position(is_meant) else { return };
        let segment = &mut self.segments[at];
        // Its place stays: the file was begun before its first request came.
        segment.last_unix_nano = steps.last_unix_nano().max(segment.first_unix_nano);
        segment.steps = Some(steps);
        segment.filter = filter;
        self.note_latest(at);
    }

    /// Gives up what is too old at `unix_nano`.
    pub fn expire(&mut self, unix_nano: u64) {
        let kept_since = unix_nano.saturating_sub(self.plan.keep_nanos);
        let is_on = self.is_on();
        let is_old = |segment: &PastSegment| !is_on || segment.last_unix_nano < kept_since;
        while self.segments.front().is_some_and(is_old) {
            self.give_up_oldest(GivenUp::Age);
        }
    }

    /// Gives up the oldest until what is left takes at most `room` bytes, and no more than they may.
    pub fn make_room(&mut self, room: u64) {
        let past_bytes = if self.is_on() { GivenUp::Bytes } else { GivenUp::Age };
        while self.bytes > self.plan.bytes_max && self.give_up_oldest(past_bytes) {}
        while self.bytes > room && self.give_up_oldest(GivenUp::Room) {}
    }

    /// Gives up all: the disk has no room. True when there was something.
    pub fn clear(&mut self) -> bool {
        let had_some = !self.segments.is_empty();
        while self.give_up_oldest(GivenUp::Disk) {}
        had_some
    }

    fn give_up_oldest(&mut self, why: GivenUp) -> bool {
        let Some(segment) = self.segments.pop_front() else { return false };
        self.bytes -= segment.bytes;
        self.counts[why as usize] += 1;
        self.given_up.push((segment.number, segment.home));
        true
    }

    /// Numbers and homes of those that were given up since the last call.
    pub fn take_given_up(&mut self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: PastPlan = PastPlan { keep_nanos: 100, bytes_max: 1000 };

    fn past(times: &[(u64, u64)]) -> Past {
        let mut past = Past::new(PLAN);
        for (number, times) in (1..).zip(times) {
            past.add(PastSegment::former(number, 0, 10, *times));
        }
        past
    }

    fn numbers<'a>(segments: impl Iterator<Item = &'a PastSegment>) -> Vec<u64> {
        segments.map(|segment| segment.number).collect()
    }

    /// Without `latest_unix_nano` the long segment before shorter ones would be passed over.
    #[test]
    fn segments_of_a_range_are_those_that_a_walk_over_all_finds() {
        let mut random = 9_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let begun: Vec<u64> = (0..next(20)).map(|_| next(100)).collect();
            let times: Vec<(u64, u64)> = begun.into_iter().map(|first| (first, first + next(30))).collect();
            let past = past(&times);
            let order: Vec<u64> = past.iter().map(|segment| segment.first_unix_nano).collect();
            assert!(order.is_sorted());
            let (from, to) = (next(120), next(120));
            let wanted = past.iter().filter(|segment| segment.last_unix_nano >= from && segment.first_unix_nano <= to);
            let wanted = if from <= to { numbers(wanted) } else { numbers(past.within(from, to)) };
            assert_eq!(numbers(past.within(from, to)), wanted, "{times:?} from {from} to {to}");
        }
    }

    /// Without the sorted insertion in `add` the newest would go before the oldest.
    #[test]
    fn the_oldest_go_first_for_age_bytes_and_room() {
        let mut past = past(&[(50, 60), (10, 20), (30, 40), (70, 80)]);
        past.expire(121);
        assert_eq!(past.take_given_up(), [(2, 0)]);
        past.make_room(25);
        assert_eq!((past.take_given_up(), past.bytes()), (vec![(3, 0)], 20));
        past.enter(PastSegment::former(9, 0, 990, (90, 95)));
        past.make_room(5000);
        assert_eq!(past.take_given_up(), [(1, 0)], "all together have 1000 at most");
        past.entered(9, 0, true);
        assert_eq!((numbers(past.iter()), past.bytes()), (vec![4, 9], 1000));
        past.make_room(0);
        assert_eq!((past.bytes(), past.len(), past.take_given_up().len()), (0, 0, 2));
        let counts: Vec<u64> = past.counts().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 3, 0]);
    }

    #[test]
    fn a_file_that_keeps_its_name_is_not_past() {
        let mut past = past(&[]);
        past.enter(PastSegment::former(1, 0, 10, (1, 2)));
        assert_eq!((past.bytes(), past.len(), past.oldest_unix_nano()), (10, 1, 0));
        past.entered(1, 0, false);
        assert_eq!((past.bytes(), past.len()), (0, 0));
        assert!(!Past::new(PastPlan::default()).is_on());
    }

    /// Without `is_on` in `expire` what a run has left that kept segments would stay with one that keeps none.
    #[test]
    fn nothing_stays_where_nothing_is_kept() {
        let mut past = Past::new(PastPlan { keep_nanos: 0, bytes_max: 1000 });
        past.add(PastSegment::former(1, 0, 10, (1, u64::MAX)));
        past.expire(5);
        assert_eq!(past.take_given_up(), [(1, 0)]);
    }

    #[test]
    fn what_was_looked_through_is_known_to_the_moment() {
        let mut past = past(&[(10, 90), (20, 30)]);
        assert_eq!(numbers(past.within(50, 60)), [1]);
        let mut steps = Steps::default();
        steps.note(0, 4096, 12);
        past.learn(1, 0, steps, None);
        assert_eq!((numbers(past.within(50, 60)), numbers(past.within(12, 12))), (vec![], vec![1]));
    }
}
