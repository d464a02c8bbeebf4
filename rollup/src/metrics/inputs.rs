//! Cumulative series that come in: what of each has been counted, so that the next value adds only what is new.
//!
//! Points of one input series may come to any core, so that no core alone can tell what is new. Tallies do not: they hand on
//! the points, and the sums of the node make the differences, where all of them meet. Of what only grows, the sums know for
//! each *epoch* (all values with one start time) the last value by time; what the epoch adds is that value. So it does
//! not matter in which order points come, and an epoch that is told late is still counted, as long as it is one of the last
//! two. Values that fall within an epoch are a reset that no start time tells; where its points change places, as many are
//! counted as the order in which they came says.
//!
//! ```text
//! first epoch of an input   counted whole, if it began since the sums did; else from its first value on, for what was
//!                           before is none of this stream's
//! the same start, later     the difference is added; the whole value after a fall (a reset)
//! another start             counted whole (a reset)
//! no recorded value         the input has ended; it may come again
//! ```
//! Of what does not only grow (sums that fall, gauges that are summed) the value counts that is last by time, in place of
//! the one before; it counts nothing after its end.

use super::amount::Amount;
use super::series::Key;
use serde::{Deserialize, Serialize};

/// A point of a cumulative series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When its epoch began; zero where that is not known.
    pub start: u64,
    /// When it was.
    pub time: u64,
    /// `None` ends the series.
    pub amount: Option<Amount>,
}

/// Points of one input series, as they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    /// The merged series.
    pub series: Key,
    /// When the last came.
    pub seen: u64,
    /// At least one.
    pub observations: Vec<Observation>,
}

/// Points of an input that a tally keeps between two hand-overs, at least: more come to it only when values fall.
/// At the bound: the last is replaced, and resets between it and the next are not seen; counted in `crowded`.
pub const OBSERVATIONS_MAX: usize = 16;

impl Trail {
    /// Notes a point. Between the first and the last of values that only grow none is needed. False where points were
    /// too many.
    pub fn push(&mut self, observation: Observation, seen: u64) -> bool {
        self.seen = self.seen.max(seen);
        let is_between = match &self.observations[..] {
            [.., before, last] => {
                let grows = |one: &Observation, next: &Observation| match (&one.amount, &next.amount) {
                    (Some(one), Some(next)) => next.since(one).is_some(),
                    _ => false,
                };
                let in_order = |one: &Observation, next: &Observation| one.start == next.start && one.time < next.time;
                in_order(before, last)
                    && in_order(last, &observation)
                    && grows(before, last)
                    && grows(last, &observation)
            }
            _ => false,
        };
        let is_full = self.observations.len() >= OBSERVATIONS_MAX;
        match self.observations.last_mut() {
            Some(last) if is_between || is_full => *last = observation,
            _ => self.observations.push(observation),
        }
        is_between || !is_full
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<(Key, Self)>()
            + self.observations.capacity() * size_of::<Observation>()
            + self.observations.iter().filter_map(|one| one.amount.as_ref()).map(Amount::heap_bytes).sum::<usize>()
    }
}

/// What of an epoch has been counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// When it began.
    pub start: u64,
    /// When its last value was.
    pub time: u64,
    /// Its last value.
    pub value: Amount,
    /// What of it is not counted, for it was before all counting.
    pub base: Option<Amount>,
}

impl Epoch {
    /// What it has added, as far as that is known: of values that have fallen, what came since.
    fn added(&self) -> Option<Amount> {
        match &self.base {
            None => Some(self.value.clone()),
            Some(base) => self.value.since(base),
        }
    }
}

/// What is known of an input series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The merged series that it has been added to.
    pub series: Key,
    /// When something came last.
    pub seen: u64,
    /// Whether it has ended.
    pub has_ended: bool,
    /// By start, at most two. Of what does not only grow, one.
    pub epochs: Vec<Epoch>,
}

/// Epochs of an input that are remembered, for points that come late.
/// At the bound: the oldest stays counted, and points that come later for it are not; counted in `out_of_order`.
const EPOCHS_MAX: usize = 2;

/// What an observation changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Nothing: a point that is older than what is known.
    OutOfOrder,
    /// Nothing: a point that is known.
    Duplicate,
    /// Nothing, for it is the first value and what is new is told from it on.
    Base,
    /// The series has ended; this is no longer counted.
    Ended(Option<Amount>),
    /// This is new.
    Added(Amount),
    /// This is new, and something has begun again.
    Reset(Amount),
    /// The second is counted in place of the first.
    Replaced(Amount, Amount),
}

impl Input {
    /// An input of which nothing is known.
    pub fn new(series: Key) -> Self {
        Self { series, seen: 0, has_ended: false, epochs: Vec::new() }
    }

    /// Takes a point. `is_new` says whether an epoch of this start is counted whole, where it is the first of the input.
    pub fn observe(&mut self, observation: Observation, only_grows: bool, is_new: bool) -> Change {
        if only_grows { self.observe_growth(observation, is_new) } else { self.observe_level(observation) }
    }

    fn observe_growth(&mut self, Observation { start, time, amount }: Observation, is_new: bool) -> Change {
        let Some(value) = amount else {
            self.has_ended = true;
            return Change::Ended(None);
        };
        if let Some(epoch) = self.epochs.iter_mut().find(|epoch| epoch.start == start) {
            if time <= epoch.time {
                return if time == epoch.time { Change::Duplicate } else { Change::OutOfOrder };
            }
            self.has_ended = false;
            epoch.time = time;
            let change = match value.since(&epoch.value) {
                Some(rest) => Change::Added(rest),
                None => {
                    epoch.base = None;
                    Change::Reset(value.clone())
                }
            };
            epoch.value = value;
            return change;
        }
        let place = self.epochs.partition_point(|epoch| epoch.start < start);
        if place == 0 && self.epochs.len() >= EPOCHS_MAX {
            return Change::OutOfOrder;
        }
        self.has_ended = false;
        let is_counted = place > 0 || is_new;
        let base = (!is_counted).then(|| value.clone());
        let is_first = self.epochs.is_empty();
        self.epochs.insert(place, Epoch { start, time, value: value.clone(), base });
        if self.epochs.len() > EPOCHS_MAX {
            self.epochs.remove(0);
        }
        match (is_counted, is_first) {
            (false, _) => Change::Base,
            (true, true) => Change::Added(value),
            (true, false) => Change::Reset(value),
        }
    }

    fn observe_level(&mut self, Observation { start, time, amount }: Observation) -> Change {
        let known = self.epochs.first().map(|epoch| (epoch.time, epoch.start));
        if let Some(known) = known
            && (time, start) <= known
            && !(amount.is_none() && time == known.0)
        {
            return if (time, start) == known { Change::Duplicate } else { Change::OutOfOrder };
        }
        let last = self.epochs.pop().map(|epoch| epoch.value);
        let before = last.clone().filter(|_| !self.has_ended);
        self.has_ended = amount.is_none();
        let Some(value) = amount else {
            // When it ended is kept, so that an older value does not bring it back.
            self.epochs.extend(last.map(|value| Epoch { start, time, value, base: None }));
            return Change::Ended(before);
        };
        self.epochs.push(Epoch { start, time, value: value.clone(), base: None });
        match before {
            None => Change::Added(value),
            Some(before) => Change::Replaced(before, value),
        }
    }

    /// Takes what another sums know of the same input, whose series has what both have added. Returns what is now counted
    /// twice.
    pub fn merge(&mut self, other: Self, only_grows: bool) -> Vec<(Key, Amount)> {
        let mut twice = Vec::new();
        let newest = |input: &Self| input.epochs.iter().map(|epoch| (epoch.time, epoch.start)).max();
        let other_is_later = newest(&other) > newest(self);
        if only_grows {
            for epoch in other.epochs {
                let Some(own) = self.epochs.iter_mut().find(|own| own.start == epoch.start) else {
                    let place = self.epochs.partition_point(|own| own.start < epoch.start);
                    self.epochs.insert(place, epoch);
                    continue;
                };
                let (later, earlier) = if epoch.time > own.time { (epoch, own.clone()) } else { (own.clone(), epoch) };
                twice.extend(earlier.added().map(|amount| (self.series, amount)));
                *own = later;
            }
            let surplus = self.epochs.len().saturating_sub(EPOCHS_MAX);
            self.epochs.drain(..surplus);
        } else {
            let counted = |input: &Self| {
                let value = input.epochs.first().filter(|_| !input.has_ended).map(|epoch| epoch.value.clone());
                value.map(|value| (input.series, value))
            };
            if other_is_later {
                twice.extend(counted(self));
                (self.epochs, self.series) = (other.epochs, other.series);
            } else {
                twice.extend(counted(&other));
            }
        }
        if other_is_later {
            self.has_ended = other.has_ended;
        }
        self.seen = self.seen.max(other.seen);
        twice
    }

    /// What stops counting when the input is forgotten: of what does not only grow, its value.
    pub fn level(&self, only_grows: bool) -> Option<&Amount> {
        self.epochs.first().filter(|_| !only_grows && !self.has_ended).map(|epoch| &epoch.value)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let heap = |epoch: &Epoch| epoch.value.heap_bytes() + epoch.base.as_ref().map_or(0, Amount::heap_bytes);
        size_of::<(Key, Self)>()
            + self.epochs.capacity() * size_of::<Epoch>()
            + self.epochs.iter().map(heap).sum::<usize>()
    }

    /// The time of its last value.
    pub fn time(&self) -> u64 {
        self.epochs.iter().map(|epoch| epoch.time).max().unwrap_or(0)
    }
}
