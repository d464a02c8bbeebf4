//! Metric points merged: of what a rule chooses, a series with fewer attributes comes out in each window, and nothing of it
//! goes on as it came.
//!
//! ```text
//! request --walk--> point --rule--> keep        passes
//!                                   drop        counted
//!                                   aggregate --delta--> added to its series    (tally)
//!                                             --cumulative--> noted             (tally) --> difference added (sums)
//! ```
//! What passes follows from the request and the rules alone, never from what came before: a request that is read from the
//! log again is split the same. So what cannot be merged is known by its look: summaries, points whose temporality is not
//! told, points whose counts do not add up. They pass and are counted.
//!
//! - Integers add up exactly, doubles lose little. Histograms of equal bounds are merged; others become points of their
//!   own. Exponential ones are merged at the coarser scale.
//! - A tally makes no differences of cumulative input ([`inputs`] says why): sums do, and sums alone know what has been
//!   counted. A tally has no memory beyond its last hand-over; after a restart sums take the partial that they told last.
//! - Readings of gauges are told by the time of the point; without one, by when it came.
//! - Exemplars, schema URLs, attributes of scopes and metadata of metrics are not in what is merged.
//! - Windows are of the time of the merging: what comes late counts when it comes.

mod amount;
mod inputs;
mod partial;
pub mod plan;
mod point;
mod series;
mod sums;
mod table;
mod write;

use crate::metrics::amount::{Amount, Number};
use crate::metrics::inputs::{Observation, Trail};
use crate::metrics::plan::{Action, Aggregate, Gauge, MetricsPlan, Temporality};
use crate::metrics::point::{Attribute, Point, Resource, each, each_point};
use crate::metrics::series::{Head, Key, Keys, Kind, Series, fields};
use crate::metrics::table::{ByKey, Placed, Table};
use hashbrown::hash_map::Entry;
pub use partial::{MetricsPartial, PartialError};
pub use sums::{MetricSums, SumsCounts};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::split::picked;
use tailwater_proto::otlp::wire::WireError;
pub use write::Emitted;

/// What of a request goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passing {
    /// All of it, as it is.
    All,
    /// Nothing.
    Nothing,
    /// This, which is a request.
    Some(Vec<u8>),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What goes on.
    pub passing: Passing,
    /// The numbers of the points that go on, where not all do.
    pub passing_positions: Vec<u32>,
    /// Points that were merged.
    pub merged: u32,
    /// Points that were dropped.
    pub dropped: u32,
}

/// What a tally has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TallyCounts {
    /// Points that went on.
    pub passed: u64,
    /// Of these, points that a rule would have merged, and that cannot be.
    pub unmergeable: u64,
    /// Points that were dropped.
    pub dropped: u64,
    /// Points that were merged.
    pub merged: u64,
    /// Of these, points that came for a series that there was no room for.
    pub overflowed: u64,
    /// Of these, points that there was no room for at all.
    pub lost: u64,
    /// Of these, points of cumulative series between which resets are not seen, for there were too many at once.
    pub crowded: u64,
}

/// What one core counts.
#[derive(Debug)]
pub struct Metrics {
    plan: MetricsPlan,
    keys: Keys,
    table: Table,
    trails: ByKey<Trail>,
    trails_bytes: usize,
    counts: TallyCounts,
}

/// How a request is split, as its points come by.
#[derive(Default)]
struct Split {
    position: u32,
    /// Whether a point goes on; empty while all do.
    passes: Vec<bool>,
    merged: u32,
    dropped: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Passes,
    Merged,
    Dropped,
}

impl Split {
    /// Notes what becomes of the next point. Never an error: it is called where there may be one.
    fn note(&mut self, fate: Fate) -> Result<(), WireError> {
        let passes = fate == Fate::Passes;
        if !passes && self.passes.is_empty() {
            self.passes = vec![true; self.position as usize];
        }
        if !passes || !self.passes.is_empty() {
            self.passes.push(passes);
        }
        self.position = self.position.saturating_add(1);
        self.merged += u32::from(fate == Fate::Merged);
        self.dropped += u32::from(fate == Fate::Dropped);
        Ok(())
    }

    fn taken(self, request: &[u8]) -> Taken {
        let Self { passes, merged, dropped, .. } = self;
        let numbers = (0..).zip(&passes).filter(|(_, passes)| **passes);
        let passing_positions: Vec<u32> = numbers.map(|(number, _)| number).collect();
        let passing = if passes.is_empty() {
            Passing::All
        } else if passing_positions.is_empty() {
            Passing::Nothing
        } else {
            let is_wanted = |item: u32| passes.get(item as usize).copied().unwrap_or(true);
            picked(Signal::Metrics, request, is_wanted).map_or(Passing::Nothing, |part| Passing::Some(part.body))
        };
        Taken { passing, passing_positions, merged, dropped }
    }
}

/// What encloses the points of a metric.
struct Enclosing<'a, 'b> {
    resource: &'b Resource<'a>,
    resource_key: Key,
    scope: [&'a [u8]; 2],
    arrived: u64,
    counts: bool,
}

impl Metrics {
    /// A tally that has counted nothing. All tallies whose partials meet have the same seed.
    #[must_use]
    pub fn new(plan: MetricsPlan, seed: u64) -> Self {
        let table = Table::new(plan.bounds);
        let (trails, counts) = (ByKey::default(), TallyCounts::default());
        Self { plan, keys: Keys::new(seed), table, trails, trails_bytes: 0, counts }
    }

    /// Takes a request: a sound `ExportMetricsServiceRequest`. Without `counts` nothing is counted, but what is said of it is
    /// the same.
    pub fn take(&mut self, request: &[u8], arrived_unix_nano: u64, counts: bool) -> Taken {
        let mut split = Split::default();
        let walk = each(request, 1, |message| {
            let resource = point::resource(message)?;
            let resource_key = self.keys.resource(&resource.attributes);
            each(message, 2, |scoped| {
                let scope = point::scope(scoped)?;
                let enclosing =
                    Enclosing { resource: &resource, resource_key, scope, arrived: arrived_unix_nano, counts };
                each(scoped, 2, |metric| self.metric(&enclosing, metric, &mut split))
            })
        });
        if counts {
            self.counts.passed += u64::from(split.position - split.merged - split.dropped);
            self.counts.merged += u64::from(split.merged);
            self.counts.dropped += u64::from(split.dropped);
        }
        // What is behind bytes that are no protobuf has no numbers: whoever checks the request refuses it.
        _ = walk;
        split.taken(request)
    }

    fn metric(&mut self, enclosing: &Enclosing<'_, '_>, message: &[u8], split: &mut Split) -> Result<(), WireError> {
        let metric = point::metric(message)?;
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let rule = self.plan.rule(text(metric.name), text(enclosing.resource.service));
        let (shape, number) = match (rule, metric.shape) {
            (None | Some((_, plan::Rule { action: Action::Keep, .. })), _) => {
                return each_point(message, |_| split.note(Fate::Passes));
            }
            (Some((_, plan::Rule { action: Action::Drop, .. })), _) => {
                return each_point(message, |_| split.note(Fate::Dropped));
            }
            (Some((number, _)), Some(shape)) if matches!(metric.temporality, 1 | 2) || shape == point::Shape::Gauge => {
                (shape, number)
            }
            _ => {
                return each_point(message, |_| {
                    self.counts.unmergeable += u64::from(enclosing.counts);
                    split.note(Fate::Passes)
                });
            }
        };
        // The plan is put aside, for what is counted changes the rest.
        let rules = std::mem::take(&mut self.plan.rules);
        let done = match rules.get(number).map(|rule| &rule.action) {
            Some(Action::Aggregate(how)) => self.aggregate(enclosing, message, &metric, shape, how, split),
            _ => Ok(()),
        };
        self.plan.rules = rules;
        done
    }

    fn aggregate<'a>(
        &mut self,
        enclosing: &Enclosing<'a, '_>,
        message: &'a [u8],
        metric: &point::Metric<'a>,
        shape: point::Shape,
        how: &Aggregate,
        split: &mut Split,
    ) -> Result<(), WireError> {
        let kind = Kind::of(shape, how.gauge);
        let resource = &enclosing.resource.attributes;
        let head_key = self.keys.head(resource, enclosing.scope, metric, kind, how);
        let is_cumulative = match kind {
            Kind::Gauge(gauge) => gauge == Gauge::Sum,
            _ => metric.temporality == Temporality::Cumulative as u64,
        };
        let mut attributes: Vec<Attribute<'a>> = Vec::new();
        each_point(message, |bytes| {
            let Some(point) = point::point(shape, bytes, self.plan.bounds.buckets_max, &mut attributes)? else {
                self.counts.unmergeable += u64::from(enclosing.counts);
                return split.note(Fate::Passes);
            };
            split.note(Fate::Merged)?;
            if !enclosing.counts {
                return Ok(());
            }
            let point = timed(point, kind, enclosing.arrived);
            let amount = point.amount.as_ref();
            let input = is_cumulative.then(|| self.keys.input(head_key, enclosing.resource_key, &attributes, amount));
            let head = || Head::new(resource, enclosing.scope, metric, kind, how);
            self.count(head_key, head, &attributes, how, point, input, enclosing.arrived);
            Ok(())
        })
    }

    /// Adds a point, or notes it where it is one of a cumulative series.
    #[expect(clippy::too_many_arguments, reason = "a point and what encloses it, which are read apart")]
    fn count(
        &mut self,
        head_key: Key,
        head: impl FnOnce() -> Head,
        attributes: &[Attribute<'_>],
        how: &Aggregate,
        point: Point,
        input: Option<Key>,
        arrived: u64,
    ) {
        let key = self.keys.series(head_key, attributes, how, point.amount.as_ref());
        let amount = point.amount.as_ref();
        if amount.is_none() && input.is_none() {
            // That a series of differences has ended says nothing.
            return;
        }
        let series = || {
            let attributes = fields(attributes, &how.attributes).into_boxed_slice();
            Series { head: head_key, attributes, seen: arrived, start: 0, amount: None }
        };
        let (placed, key) = self.table.place(key, head_key, amount, head, series);
        self.counts.overflowed += u64::from(placed == Placed::Overflow);
        let is_lost = match (placed, input, amount) {
            (Placed::Lost, ..) => true,
            (_, Some(input), _) => !self.note(input, key, point, arrived),
            (_, None, Some(amount)) => !self.table.add(key, amount, arrived),
            (_, None, None) => false,
        };
        self.counts.lost += u64::from(is_lost);
    }

    /// Notes a point of a cumulative series. Where there is no room it is left out: the next tells what it would have.
    fn note(&mut self, input: Key, series: Key, Point { start, time, amount }: Point, arrived: u64) -> bool {
        let observation = Observation { start, time, amount };
        let has_room = self.trails_bytes < self.plan.bounds.bytes_max;
        match self.trails.entry(input) {
            Entry::Occupied(mut entry) => {
                let before = entry.get().bytes();
                self.counts.crowded += u64::from(!entry.get_mut().push(observation, arrived));
                self.trails_bytes = self.trails_bytes - before + entry.get().bytes();
            }
            Entry::Vacant(entry) if has_room => {
                let trail = Trail { series, seen: arrived, observations: vec![observation] };
                self.trails_bytes += trail.bytes();
                entry.insert(trail);
            }
            Entry::Vacant(_) => return false,
        }
        true
    }

    /// What has been counted since it last gave it away; it is not given away.
    #[must_use]
    pub fn partial(&self) -> MetricsPartial {
        let (heads, series) = self.table.copy();
        let trails = self.trails.iter().map(|(key, trail)| (*key, trail.clone())).collect();
        MetricsPartial { heads, series, trails, ..MetricsPartial::default() }
    }

    /// Goes by other rules and bounds from now on. What has been counted stays.
    pub fn replan(&mut self, plan: MetricsPlan) {
        self.table.rebound(plan.bounds);
        self.plan = plan;
    }

    /// Gives away what has been counted since it last did.
    pub fn take_partial(&mut self) -> MetricsPartial {
        let (heads, series) = self.table.drain();
        self.trails_bytes = 0;
        MetricsPartial { heads, series, trails: self.trails.drain().collect(), ..MetricsPartial::default() }
    }

    /// Bytes of what waits to be given away.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.trails_bytes
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> TallyCounts {
        self.counts
    }
}

/// A point with a time, and its reading as a level where readings are summed.
fn timed(mut point: Point, kind: Kind, arrived: u64) -> Point {
    if point.time == 0 {
        point.time = arrived;
    }
    if let Some(Amount::Readings(readings)) = &mut point.amount {
        readings.last.0 = point.time;
        if kind == Kind::Gauge(Gauge::Sum) {
            point.amount = Some(Amount::Number(Number::from(readings.last.1)));
            // What a gauge began at is told by some senders and says nothing.
            point.start = 0;
        }
    }
    point
}

#[cfg(test)]
mod tests;
