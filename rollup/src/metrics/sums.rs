//! What all tallies of a node have counted, put together, and told in each window.

use super::amount::Amount;
use super::inputs::{Change, Input, Observation, Trail};
use super::partial::MetricsPartial;
use super::plan::{Bounds, Temporality};
use super::series::{Head, Key, Series};
use super::table::{ByKey, Placed, Table};
use super::write::{Emitted, Told, requests};
use hashbrown::hash_map::Entry;

/// What sums have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SumsCounts {
    /// Cumulative series that began again, told by their start or by a value that fell.
    pub resets: u64,
    /// Points older than what was known.
    pub out_of_order: u64,
    /// Points that were known.
    pub duplicates: u64,
    /// First values of cumulative series that had begun before all counting.
    pub bases: u64,
    /// Ends of series that senders told.
    pub ended: u64,
    /// Series for which there was no room.
    pub overflowed: u64,
    /// Amounts for which there was no room at all, or that did not fit.
    pub lost: u64,
    /// Sums of integers that were told as doubles, for they are past 64 bits.
    pub wide: u64,
    /// Series that were forgotten, for nothing came for them.
    pub expired: u64,
    /// Cumulative input series that were forgotten, for they were idle or too many.
    pub inputs_forgotten: u64,
}

/// The sums of a node.
#[derive(Debug)]
pub struct MetricSums {
    bounds: Bounds,
    since: u64,
    forgotten_until: u64,
    table: Table,
    inputs: ByKey<Input>,
    inputs_bytes: usize,
    counts: SumsCounts,
}

impl MetricSums {
    /// Sums that begin at this time: cumulative points tell what has come since. After a restart the partial that
    /// [`MetricSums::to_partial`] gave is merged first.
    #[must_use]
    pub fn new(bounds: Bounds, since_unix_nano: u64) -> Self {
        Self {
            bounds,
            since: since_unix_nano,
            forgotten_until: 0,
            table: Table::new(bounds),
            inputs: ByKey::default(),
            inputs_bytes: 0,
            counts: SumsCounts::default(),
        }
    }

    /// Has other bounds from now on.
    pub fn rebound(&mut self, bounds: Bounds) {
        self.table.rebound(bounds);
        self.bounds = bounds;
    }

    /// Adds what a tally has counted, or what other sums know.
    pub fn merge(&mut self, partial: &MetricsPartial) {
        if partial.since != 0 {
            self.since = self.since.min(partial.since);
        }
        self.forgotten_until = self.forgotten_until.max(partial.forgotten_until);
        let heads: ByKey<(&Head, u64)> = partial.heads.iter().map(|(key, head, at)| (*key, (head, *at))).collect();
        // Where what came for a series went, if not to its own.
        let mut places: ByKey<Key> = ByKey::default();
        for (key, series) in &partial.series {
            let Some((head, emitted)) = heads.get(&series.head) else { continue };
            if let Some(place) = self.series(*key, series, head, *emitted)
                && place != *key
            {
                places.insert(*key, place);
            }
        }
        for (key, input) in &partial.inputs {
            let series = places.get(&input.series).copied().unwrap_or(input.series);
            self.input(*key, Input { series, ..input.clone() });
        }
        for (key, trail) in &partial.trails {
            let series = places.get(&trail.series).copied().unwrap_or(trail.series);
            self.trail(*key, series, trail);
        }
        self.keep_within_bounds();
    }

    /// Adds to a series; says which it is.
    fn series(&mut self, key: Key, series: &Series, head: &Head, emitted: u64) -> Option<Key> {
        let window = head.window_nanos.max(1);
        let begins = (series.seen - series.seen % window).max(self.since);
        let since = self.table.heads.get(&series.head).map_or(0, |entry| entry.emitted).max(emitted);
        let start = if series.start != 0 {
            series.start
        } else if since != 0 {
            since
        } else {
            begins
        };
        let amount = series.amount.as_ref();
        let new = || Series { amount: None, start, ..series.clone() };
        let (placed, place) = self.table.place(key, series.head, amount, || head.clone(), new);
        self.counts.overflowed += u64::from(placed == Placed::Overflow);
        if placed == Placed::Lost {
            self.counts.lost += u64::from(amount.is_some());
            return None;
        }
        if let Some(entry) = self.table.heads.get_mut(&series.head) {
            entry.emitted = entry.emitted.max(if emitted != 0 {
                emitted
            } else if entry.emitted == 0 {
                begins
            } else {
                0
            });
        }
        if let Some(own) = self.table.series.get_mut(&place) {
            own.seen = own.seen.max(series.seen);
            own.start = own.start.min(start);
        }
        if let Some(amount) = amount
            && !self.table.add(place, amount, series.seen)
        {
            self.counts.lost += 1;
        }
        Some(place)
    }

    fn only_grows(&self, series: Key) -> bool {
        let head = self.table.series.get(&series).and_then(|series| self.table.heads.get(&series.head));
        head.is_none_or(|entry| entry.head.kind.only_grows())
    }

    /// Takes what other sums know of an input.
    fn input(&mut self, key: Key, input: Input) {
        let only_grows = self.only_grows(input.series);
        match self.inputs.entry(key) {
            Entry::Vacant(entry) => {
                self.inputs_bytes += input.bytes();
                entry.insert(input);
            }
            Entry::Occupied(mut entry) => {
                let own = entry.get_mut();
                let before = own.bytes();
                let twice = own.merge(input, only_grows);
                self.inputs_bytes = self.inputs_bytes.saturating_sub(before) + own.bytes();
                for (series, amount) in twice {
                    self.table.take_back(series, &amount);
                }
            }
        }
    }

    /// Adds what points of an input tell that is new, in the order of their times.
    fn trail(&mut self, key: Key, series: Key, trail: &Trail) {
        let only_grows = self.only_grows(series);
        let mut observations: Vec<&Observation> = trail.observations.iter().collect();
        observations.sort_by_key(|observation| (observation.time, observation.start));
        for observation in observations {
            // What has begun before all counting, or before an input was forgotten, may have been counted.
            let is_new = observation.start >= self.since && observation.start > self.forgotten_until;
            let input = self.inputs.entry(key).or_insert_with(|| {
                let input = Input::new(series);
                self.inputs_bytes += input.bytes();
                input
            });
            let before = (input.bytes(), input.series);
            let change = input.observe(observation.clone(), only_grows, is_new);
            if !matches!(change, Change::OutOfOrder | Change::Duplicate) {
                input.series = series;
            }
            input.seen = input.seen.max(trail.seen);
            self.inputs_bytes = self.inputs_bytes.saturating_sub(before.0) + input.bytes();
            self.apply(change, before.1, series, trail.seen);
        }
    }

    fn apply(&mut self, change: Change, former: Key, series: Key, seen: u64) {
        let counts = &mut self.counts;
        match change {
            Change::OutOfOrder => counts.out_of_order += 1,
            Change::Duplicate => counts.duplicates += 1,
            Change::Base => counts.bases += 1,
            Change::Ended(_) => counts.ended += 1,
            Change::Reset(_) => counts.resets += 1,
            Change::Added(_) | Change::Replaced(..) => {}
        }
        let (less, more) = match change {
            Change::OutOfOrder | Change::Duplicate | Change::Base => (None, None),
            Change::Ended(amount) => (amount, None),
            Change::Added(amount) | Change::Reset(amount) => (None, Some(amount)),
            Change::Replaced(before, now) => (Some(before), Some(now)),
        };
        if let Some(amount) = less {
            self.table.take_back(former, &amount);
        }
        if let Some(amount) = more
            && !self.table.add(series, &amount, seen)
        {
            self.counts.lost += 1;
        }
    }

    /// Forgets the inputs that have been idle longest while there are too many. What they have added stays.
    fn keep_within_bounds(&mut self) {
        let inputs_max = self.bounds.series_max.saturating_mul(INPUTS_PER_SERIES);
        let is_over = |sums: &Self, bytes_max: usize, inputs_max: usize| {
            sums.inputs_bytes > bytes_max || sums.inputs.len() > inputs_max
        };
        if !is_over(self, self.bounds.bytes_max, inputs_max) {
            return;
        }
        // Some room is made at once, for they are sorted to find the oldest.
        let (bytes_max, inputs_max) = (self.bounds.bytes_max / 8 * 7, inputs_max / 8 * 7);
        let mut order: Vec<(u64, Key)> = self.inputs.iter().map(|(key, input)| (input.seen, *key)).collect();
        order.sort_unstable();
        for (_, key) in order {
            if !is_over(self, bytes_max, inputs_max) {
                break;
            }
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(input) = self.inputs.remove(&key) else { return };
        self.counts.inputs_forgotten += 1;
        self.inputs_bytes = self.inputs_bytes.saturating_sub(input.bytes());
        self.forgotten_until = self.forgotten_until.max(input.time());
        if let Some(amount) = input.level(self.only_grows(input.series)) {
            self.table.take_back(input.series, amount);
        }
    }

    /// Forgets what nothing has come for; what has not been told yet stays.
    pub fn expire(&mut self, now_unix_nano: u64) {
        let idle = self.bounds.idle_nanos;
        let is_idle = |seen: u64| seen.saturating_add(idle) < now_unix_nano;
        let inputs: Vec<Key> =
            self.inputs.iter().filter(|(_, input)| is_idle(input.seen)).map(|(key, _)| *key).collect();
        inputs.into_iter().for_each(|key| self.forget(key));
        let heads = &self.table.heads;
        let is_told = |series: &Series| {
            series.amount.is_none() || heads.get(&series.head).is_none_or(|entry| entry.emitted >= series.seen)
        };
        let idle_series = self.table.series.iter().filter(|(_, series)| is_idle(series.seen) && is_told(series));
        let idle_series: Vec<Key> = idle_series.map(|(key, _)| *key).collect();
        for key in idle_series {
            self.counts.expired += 1;
            self.table.remove(key);
        }
    }

    /// All that is known, as a partial: the sums that it is merged into go on as these.
    #[must_use]
    pub fn to_partial(&self) -> MetricsPartial {
        MetricsPartial {
            since: self.since,
            forgotten_until: self.forgotten_until,
            heads: self.table.heads.iter().map(|(key, entry)| (*key, entry.head.clone(), entry.emitted)).collect(),
            series: self.table.series.iter().map(|(key, series)| (*key, series.clone())).collect(),
            trails: Vec::new(),
            inputs: self.inputs.iter().map(|(key, input)| (*key, input.clone())).collect(),
        }
    }

    /// Tells the series whose window has ended, in requests of about so many bytes. With `all` those too whose window has
    /// not: at the end of a run.
    pub fn emit(&mut self, now_unix_nano: u64, request_bytes_max: usize, all: bool) -> Vec<Emitted> {
        let mut due: ByKey<u64> = ByKey::default();
        for (key, entry) in &mut self.table.heads {
            let window = entry.head.window_nanos.max(1);
            let has_ended = now_unix_nano / window > entry.emitted / window || all && now_unix_nano > entry.emitted;
            if has_ended {
                due.insert(*key, entry.emitted);
                entry.emitted = now_unix_nano;
            }
        }
        let mut told: Vec<Told<'_>> = Vec::new();
        let mut emptied: Vec<Key> = Vec::new();
        for (key, series) in &self.table.series {
            let Some(former) = due.get(&series.head) else { continue };
            let (Some(entry), Some(amount)) = (self.table.heads.get(&series.head), &series.amount) else { continue };
            self.counts.wide += u64::from(matches!(amount, Amount::Number(number) if number.is_wide()));
            let is_readings = matches!(amount, Amount::Readings(_));
            let is_delta = entry.head.temporality == Temporality::Delta && entry.head.kind.is_total();
            let start = if is_delta { series.start.max(*former) } else { series.start };
            told.push(Told { head_key: series.head, head: &entry.head, key: *key, series, start });
            if is_delta || is_readings {
                emptied.push(*key);
            }
        }
        let requests = requests(told, now_unix_nano, request_bytes_max);
        for key in emptied {
            self.table.empty(key);
        }
        requests
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.inputs_bytes
    }

    /// Series that it has.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.table.series.len()
    }

    /// Cumulative input series that it knows.
    #[must_use]
    pub fn inputs_count(&self) -> usize {
        self.inputs.len()
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> SumsCounts {
        self.counts
    }

    #[cfg(test)]
    pub(super) fn bytes_by_counting(&self) -> usize {
        self.table.bytes_by_counting() + self.inputs.values().map(Input::bytes).sum::<usize>()
    }
}

/// Cumulative input series for each series at most, on the average.
/// At the bound: those that have been idle longest are forgotten; counted in `inputs_forgotten`.
const INPUTS_PER_SERIES: usize = 16;
