//! Numbers of a stream that were said and have not been heard: ranges, with when to ask for each and how often that was done.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Ranges of a stream that are asked for.
/// At the bound: the lowest is given up and counted.
const GAPS_MAX: usize = 1_024;
/// A number may be late without being lost.
const REORDER_PATIENCE: Duration = Duration::from_millis(20);
/// When a range is asked for again the first time; doubled each time.
const ASK_WAIT: Duration = Duration::from_millis(200);
/// Up to this.
const ASK_WAIT_MAX: Duration = Duration::from_millis(500);

/// One range.
#[derive(Debug, Clone)]
struct Gap {
    /// One above its last.
    to: u64,
    noticed: Duration,
    ask_at: Duration,
    times: u32,
}

/// A range to ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// The first number.
    pub from: u64,
    /// One above the last.
    pub to: u64,
    /// How often it was asked for before.
    pub times: u32,
}

/// The ranges of one stream.
#[derive(Debug, Default)]
pub struct Gaps {
    /// By their first numbers.
    gaps: BTreeMap<u64, Gap>,
    given_up: u64,
}

impl Gaps {
    /// Whether nothing is missed.
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// Whether the number is missed.
    pub fn has(&self, number: u64) -> bool {
        self.around(number).is_some()
    }

    fn around(&self, number: u64) -> Option<(u64, &Gap)> {
        self.gaps.range(..=number).next_back().filter(|(_, gap)| number < gap.to).map(|(from, gap)| (*from, gap))
    }

    /// These are missed.
    pub fn open(&mut self, now: Duration, range: Range<u64>) {
        let gap = Gap { to: range.end, noticed: now, ask_at: now + REORDER_PATIENCE, times: 0 };
        self.insert(range.start, gap);
    }

    fn insert(&mut self, from: u64, gap: Gap) {
        if from >= gap.to {
            return;
        }
        self.gaps.insert(from, gap);
        if self.gaps.len() > GAPS_MAX
            && let Some((from, gap)) = self.gaps.pop_first()
        {
            self.given_up += gap.to - from;
        }
    }

    /// This one has come. What is left of its range is asked for anew soon: who gave it has more.
    pub fn close(&mut self, now: Duration, number: u64) {
        self.split(number, |gap| {
            if gap.times > 0 {
                gap.times = 1;
                gap.ask_at = gap.ask_at.min(now + ASK_WAIT);
            }
        });
    }

    /// There was no room for this one: it is asked for later.
    pub fn put_off(&mut self, now: Duration, number: u64) {
        let Some(gap) = self.split(number, |_| ()) else { return };
        self.insert(number, Gap { to: number + 1, ask_at: now + ASK_WAIT, times: 0, ..gap });
    }

    fn split(&mut self, number: u64, change: impl FnOnce(&mut Gap)) -> Option<Gap> {
        let (from, _) = self.around(number)?;
        let mut gap = self.gaps.remove(&from)?;
        let whole = gap.clone();
        change(&mut gap);
        self.insert(from, Gap { to: number, ..gap.clone() });
        self.insert(number + 1, gap);
        Some(whole)
    }

    /// Ranges whose time has come, so many at most.
    pub fn ask(&mut self, now: Duration, count: usize) -> Vec<Ask> {
        let due = self.gaps.iter_mut().filter(|(_, gap)| gap.ask_at <= now).take(count);
        let asks = due.map(|(from, gap)| {
            let ask = Ask { from: *from, to: gap.to, times: gap.times };
            gap.ask_at = now + (ASK_WAIT * 2_u32.saturating_pow(gap.times.min(8))).min(ASK_WAIT_MAX);
            gap.times += 1;
            ask
        });
        asks.collect()
    }

    /// Gives up what has been missed for so long. Returns how many numbers were given up since the last call.
    pub fn give_up(&mut self, now: Duration, patience: Duration) -> u64 {
        let mut given_up = std::mem::take(&mut self.given_up);
        self.gaps.retain(|from, gap| {
            let is_kept = now < gap.noticed + patience;
            given_up += if is_kept { 0 } else { gap.to - from };
            is_kept
        });
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1);

    fn asked(gaps: &mut Gaps, now: Duration) -> Vec<(u64, u64)> {
        gaps.ask(now, 100).into_iter().map(|ask| (ask.from, ask.to)).collect()
    }

    /// Breaks with either `insert` of `split`.
    #[test]
    fn a_number_that_came_splits_its_range() {
        let mut gaps = Gaps::default();
        gaps.open(START, 5..10);
        for (number, left) in [(7, vec![(5, 7), (8, 10)]), (5, vec![(6, 7), (8, 10)]), (9, vec![(6, 7), (8, 9)])] {
            gaps.close(START, number);
            assert!(!gaps.has(number));
            let all: Vec<_> = gaps.gaps.iter().map(|(from, gap)| (*from, gap.to)).collect();
            assert_eq!(all, left);
        }
    }

    /// Without the wait in `ask` a range would be asked for each 100 ms, while its answer is on the way.
    #[test]
    fn a_range_is_asked_for_again_later_and_later() {
        let mut gaps = Gaps::default();
        gaps.open(START, 1..3);
        assert_eq!(asked(&mut gaps, START), []);
        let mut now = START + REORDER_PATIENCE;
        for wait in [200, 400, 500, 500] {
            assert_eq!(asked(&mut gaps, now), [(1, 3)]);
            now += Duration::from_millis(wait);
            assert_eq!(asked(&mut gaps, now - Duration::from_millis(1)), []);
        }
    }

    /// Breaks with the bound in `insert`.
    #[test]
    fn ranges_are_bounded_and_the_lowest_given_up_is_counted() {
        let mut gaps = Gaps::default();
        for number in 0..u64::try_from(GAPS_MAX).unwrap() + 3 {
            gaps.open(START, number * 4..number * 4 + 2);
        }
        assert_eq!((gaps.gaps.len(), gaps.has(9), gaps.has(12)), (GAPS_MAX, false, true));
        assert_eq!(gaps.give_up(START, Duration::from_secs(60)), 6);
        assert_eq!(gaps.give_up(START + Duration::from_secs(60), Duration::from_secs(60)), 2_048);
        assert!(gaps.is_empty());
    }
}
