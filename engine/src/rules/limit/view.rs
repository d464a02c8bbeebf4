//! Limits as the rules of one generation see them: by their own numbers, to be asked or to be spent.

use super::{Bucket, Candidate, Cost, Left, Limits};
use crate::vocabulary::Nanos;
use tailwater_proto::consistent::{NEVER, to_float};

/// What limits let through.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(super) all: &'a [Bucket],
    /// By the number of a limit: its bucket.
    pub(super) places: &'a [usize],
    /// Who asks is judged early, to make room.
    pub(super) is_early: bool,
    /// What is left of percentages.
    pub(super) left: Left,
    /// Every limit lets all through.
    pub(super) is_open: bool,
}

impl View<'_> {
    /// The same as if every limit let all through.
    #[must_use]
    pub fn opened(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// The threshold of a share of the traces, of which a part may be left.
    #[inline]
    pub(crate) fn share(&self, threshold: u64) -> u64 {
        self.left.of_share(threshold)
    }

    fn bucket(&self, number: u16) -> Option<&Bucket> {
        self.all.get(*self.places.get(usize::from(number))?)
    }

    /// By randomness: the threshold that limit `number` has for a trace of that group and cost.
    #[must_use]
    pub fn threshold(&self, number: u16, group: u64, cost: u64) -> u64 {
        if self.is_open {
            return 0;
        }
        match self.bucket(number) {
            Some(bucket) if to_float(cost) <= bucket.limit.burst => {
                let threshold = bucket.thresholds.get(&group).copied().unwrap_or(bucket.threshold);
                if !self.is_early {
                    return threshold;
                }
                if bucket.tokens < -bucket.burst() { NEVER } else { threshold.max(bucket.early_threshold) }
            }
            _ => NEVER,
        }
    }

    /// What limit `number` counts.
    #[must_use]
    pub fn cost(&self, number: u16) -> Cost {
        self.bucket(number).map_or(Cost::Spans, |bucket| bucket.limit.cost)
    }
}

/// Limits that are spent.
#[derive(Debug)]
pub struct ViewMut<'a> {
    pub(super) limits: &'a mut Limits,
    /// Place of the generation.
    pub(super) place: usize,
    pub(super) is_early: bool,
}

impl ViewMut<'_> {
    /// The same, to be asked.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        let Limits { buckets, generations, left, .. } = &*self.limits;
        let places = generations.get(self.place).map_or(&[][..], |places| &places.buckets);
        View { all: buckets, places, is_early: self.is_early, left: *left, is_open: false }
    }

    /// The same for a shorter time.
    #[inline]
    #[must_use]
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { limits: self.limits, ..*self }
    }

    fn place(&self, number: u16) -> Option<usize> {
        self.limits.generations.get(self.place)?.buckets.get(usize::from(number)).copied()
    }

    fn bucket(&mut self, number: u16) -> Option<&mut Bucket> {
        let place = self.place(number)?;
        self.limits.buckets.get_mut(place)
    }

    /// In order of arrival: whether limit `number` lets `cost` through now; it is paid then.
    pub fn allow(&mut self, number: u16, cost: u64, now: Nanos) -> bool {
        let Some(bucket) = self.bucket(number) else { return false };
        bucket.demand = bucket.demand.saturating_add(cost);
        bucket.allow(cost, now)
    }

    /// By randomness: a trace of the window that is about to be cut wants to pass limit `number`. It is ranked by `cost`,
    /// that of what is there at any randomness, and pays `paid`.
    pub fn offer(&mut self, number: u16, group: u64, randomness: u64, (cost, paid): (u64, u64)) {
        if let Some(place) = self.place(number) {
            self.limits.add_candidate(place, Candidate { group, randomness, cost, paid });
        }
    }

    /// By randomness: a trace that was judged between windows wanted to pass limit `number`. It pays if it was kept and
    /// did.
    pub fn charge(&mut self, number: u16, group: u64, (randomness, is_kept): (u64, bool), cost: u64) {
        let passes = is_kept && self.view().threshold(number, group, cost) <= randomness;
        if let Some(bucket) = self.bucket(number) {
            let paid = if passes { to_float(cost) } else { 0.0 };
            bucket.tokens -= paid;
            bucket.paid_between += paid;
            bucket.demand = bucket.demand.saturating_add(cost);
            bucket.between = bucket.between.saturating_add(cost);
        }
    }

    /// By randomness: a span came late whose trace has passed limit `number`. It is let through and missing in the windows
    /// after it; what is owed is bounded by what a limit may save up.
    pub fn charge_late(&mut self, number: u16, cost: u64) {
        let Some(bucket) = self.bucket(number).filter(|bucket| bucket.limit.one_in.is_none()) else { return };
        bucket.demand = bucket.demand.saturating_add(cost);
        let owed = (bucket.tokens - to_float(cost)).max(-bucket.burst());
        bucket.tokens = bucket.tokens.min(owed);
    }

    /// As `charge_late`, where a trace is kept for its first piece and its other spans always come later: they are reckoned
    /// with when the next pieces come.
    pub fn charge_later(&mut self, number: u16, cost: u64) {
        self.charge_late(number, cost);
        if let Some(bucket) = self.bucket(number) {
            bucket.paid_later += to_float(cost);
        }
    }
}
