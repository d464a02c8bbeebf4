//! What a core counts of spans. A walk gathers the series, the weight and the duration of each span while its bytes are hot;
//! they are counted when the request is accepted, in the order in which requests are.

use super::exemplars::Exemplars;
use super::series::{self, ResourceName};
use super::sums::{Row, Sums};
use super::{Plan, Standard};
use crate::weight::weight;
use hashbrown::HashTable;
use std::sync::Arc;
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::scan::SpanFacts;
use twox_hash::XxHash3_64;

/// Where no span has a service: as SDKs call it.
const UNKNOWN_SERVICE: &[u8] = b"unknown_service";
/// A list that one huge request has made longer than this is given back to the allocator.
const KEPT_SPANS_MAX: usize = 1 << 16;
/// Resources whose names are remembered: most requests have one of those before.
/// At the bound: spans of further ones count for `otel.metric.overflow` until the next window; counted in
/// `tailwater_summaries_overflowed_spans_total`.
const RESOURCES_MAX: usize = 4096;
/// Number of a resource beyond the bound.
const NO_RESOURCE: u32 = u32::MAX;
/// Series that are found without a hash: a power of two.
const RECENT: usize = 256;

/// A span to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CountedSpan {
    series: u32,
    /// How many spans it stands for.
    weight: u64,
    nanos: u64,
}

/// The spans of a request, to be counted when it is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    spans: Vec<CountedSpan>,
    /// Of the numbers of series.
    epoch: u32,
}

impl Counted {
    /// Whether nothing is to be counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// A resource as names of series have it, and its service.
type NamedResource = (Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct Series {
    /// What tells it apart here.
    key: Box<[u8]>,
    hash: u64,
    /// In full.
    name: Box<[u8]>,
    row: Row,
    /// Of the durations that the row counts: integers are added faster than doubles, and exactly.
    nanos: NanosCounted,
    is_touched: bool,
}

#[derive(Debug, Clone, Copy)]
struct NanosCounted {
    sum: u128,
    min: u64,
    max: u64,
}

impl NanosCounted {
    const NONE: Self = Self { sum: 0, min: u64::MAX, max: 0 };
}

/// What one core has counted since it was last taken.
#[derive(Debug)]
pub struct Tally {
    /// As configured, and as it is for now.
    whole: Arc<Plan>,
    plan: Arc<Plan>,
    /// What the plan is without for now.
    left_out: Vec<String>,
    shape: [u8; 9],
    seed: u64,
    /// Numbers of `series`, by the hash of their keys.
    table: HashTable<u32>,
    series: Vec<Series>,
    touched: Vec<u32>,
    /// Changes when numbers of series mean something else.
    epoch: u32,
    /// Numbers of `resource_names` by their hash.
    resources: HashTable<(u64, u32)>,
    resource_names: Vec<NamedResource>,
    spare: Vec<CountedSpan>,
    /// Numbers of series that were found last, each where `recent_place` says.
    recent: [u32; RECENT],
    scratch: Scratch,
    /// Spans that were counted for the series of what is past the bound.
    overflowed: u64,
    /// Of what is kept, in the window: no more series have some than have numbers.
    exemplars: Exemplars,
}

/// What is known of the span under way and what is around it.
#[derive(Debug, Default)]
struct Scratch {
    resource: ResourceName,
    resource_number: u32,
    /// By dimension: the attribute as a name has it, of the resource and of the span.
    of_resource: Vec<Vec<u8>>,
    of_span: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Tally {
    /// Nothing counted.
    #[must_use]
    pub fn new(plan: Arc<Plan>, seed: u64) -> Self {
        let dimensions = || vec![Vec::new(); plan.dimensions.len()];
        Self {
            shape: series::shape(&plan.durations),
            seed,
            table: HashTable::new(),
            series: Vec::new(),
            touched: Vec::new(),
            epoch: 0,
            resources: HashTable::new(),
            resource_names: Vec::new(),
            spare: Vec::new(),
            recent: [u32::MAX; RECENT],
            scratch: Scratch { of_resource: dimensions(), of_span: dimensions(), ..Scratch::default() },
            overflowed: 0,
            exemplars: Exemplars::default(),
            left_out: Vec::new(),
            whole: plan.clone(),
            plan,
        }
    }

    /// Series are without these attributes from now on; `*` is all further dimensions. What was counted before goes to `sums`.
    /// Numbers of series mean something else then: what was gathered and is not counted yet is to be walked again.
    pub fn leave_out(&mut self, names: &[String], sums: &mut Sums) {
        if names == self.left_out {
            return;
        }
        self.take_into(sums);
        self.plan = if names.is_empty() { self.whole.clone() } else { Arc::new(self.whole.without(names)) };
        self.left_out = names.to_vec();
        let dimensions = || vec![Vec::new(); self.plan.dimensions.len()];
        self.scratch = Scratch { of_resource: dimensions(), of_span: dimensions(), ..Scratch::default() };
        self.forget_series();
    }

    /// Begins a walk over a request.
    pub fn gather(&mut self) -> Gathering<'_> {
        let mut spans = std::mem::take(&mut self.spare);
        spans.clear();
        Gathering { spans, scope_begins: 0, tally: self }
    }

    /// Counts the spans of a request that was accepted. False where their series are not known any more: nothing is counted,
    /// and the request is to be walked again.
    #[must_use]
    pub fn count(&mut self, counted: Counted, arrived_unix_nano: u64) -> bool {
        if counted.epoch != self.epoch {
            return false;
        }
        for span in &counted.spans {
            let Some(series) = self.series.get_mut(span.series as usize) else { continue };
            if !series.is_touched {
                series.is_touched = true;
                self.touched.push(span.series);
            }
            series.row.count(span.weight, self.plan.unit.of_nanos(span.nanos), arrived_unix_nano);
            let nanos = &mut series.nanos;
            nanos.sum = nanos.sum.wrapping_add(u128::from(span.nanos) * u128::from(span.weight));
            (nanos.min, nanos.max) = (nanos.min.min(span.nanos), nanos.max.max(span.nanos));
        }
        if counted.spans.capacity() > self.spare.capacity() && counted.spans.capacity() <= KEPT_SPANS_MAX {
            self.spare = counted.spans;
        }
        true
    }

    /// Adds what was counted since the last call to `sums`.
    pub fn take_into(&mut self, sums: &mut Sums) {
        for number in self.touched.drain(..) {
            let series = &mut self.series[number as usize];
            series.is_touched = false;
            let NanosCounted { sum, min, max } = std::mem::replace(&mut series.nanos, NanosCounted::NONE);
            let unit = self.plan.unit;
            let row = series.row.take(unit.of_sum(sum), (unit.of_nanos(min), unit.of_nanos(max)));
            sums.add(&series.name, row);
        }
    }

    /// A window is over, and all was taken: histograms begin with their finest scale again.
    pub fn begin_window(&mut self) {
        if self.series.len() >= self.plan.series_max || self.resource_names.len() >= RESOURCES_MAX {
            // Numbers of series that nobody uses any more are given to others: all begin anew. Not before: a window would have
            // more series than the bound.
            self.forget_series();
        }
        let plan = &self.plan;
        self.series.iter_mut().for_each(|series| series.row = Row::new(&plan.durations));
    }

    fn forget_series(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.table.clear();
        self.recent.fill(u32::MAX);
        self.series.clear();
        self.resources.clear();
        self.resource_names.clear();
    }

    /// Spans that count for no series of their own: there are more than the bound allows.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Series that have numbers.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series.len()
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn exemplars(&mut self) -> &mut Exemplars {
        &mut self.exemplars
    }

    /// Takes the list of spans that were walked over and are not to be counted, and what had overflowed before.
    pub(super) fn recycle(&mut self, counted: Counted, overflowed: u64) {
        self.overflowed = overflowed;
        if counted.spans.capacity() > self.spare.capacity() && counted.spans.capacity() <= KEPT_SPANS_MAX {
            self.spare = counted.spans;
        }
    }

    fn name_resource(&mut self) -> u32 {
        let name = self.scratch.resource.finish();
        let service = &self.scratch.resource.service;
        let hash = XxHash3_64::oneshot_with_seed(self.seed, &name) ^ XxHash3_64::oneshot_with_seed(!self.seed, service);
        let names = &self.resource_names;
        let is_same = |(known, number): &(u64, u32)| {
            let (known_name, known_service) = &names[*number as usize];
            *known == hash && **known_name == *name && **known_service == **service
        };
        if let Some((_, number)) = self.resources.find(hash, is_same) {
            return *number;
        }
        if self.resource_names.len() >= RESOURCES_MAX {
            return NO_RESOURCE;
        }
        let number = u32::try_from(self.resource_names.len()).unwrap_or(u32::MAX);
        self.resource_names.push((name.into(), service.clone().into()));
        self.resources.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number
    }

    /// The number of the series whose key is in the scratch. Most spans have one of few series: those that came last are
    /// found without a hash.
    #[inline]
    fn series_of(&mut self, facts: &SpanFacts<'_>) -> u32 {
        let place = recent_place(&self.scratch.key);
        let number = self.recent[place];
        if self.series.get(number as usize).is_some_and(|series| *series.key == *self.scratch.key) {
            return number;
        }
        let number = self.find_series(facts);
        self.recent[place] = number;
        number
    }

    fn find_series(&mut self, facts: &SpanFacts<'_>) -> u32 {
        let hash = XxHash3_64::oneshot_with_seed(self.seed, &self.scratch.key);
        let is_same = |number: &u32| {
            let series = &self.series[*number as usize];
            series.hash == hash && *series.key == *self.scratch.key
        };
        match self.table.find(hash, is_same) {
            Some(number) => *number,
            None => self.new_series(facts, hash),
        }
    }

    #[cold]
    fn new_series(&mut self, facts: &SpanFacts<'_>, hash: u64) -> u32 {
        let has_room = self.series.len() + 1 < self.plan.series_max && self.scratch.resource_number != NO_RESOURCE;
        let (key, name) = if has_room {
            (self.scratch.key.as_slice(), self.name(facts))
        } else {
            self.overflowed += 1;
            (&b"overflow"[..], series::overflow(self.shape))
        };
        let hash = if key == self.scratch.key { hash } else { XxHash3_64::oneshot_with_seed(self.seed, key) };
        let known = self.table.find(hash, |number| *self.series[*number as usize].key == *key);
        if let Some(number) = known {
            return *number;
        }
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let row = Row::new(&self.plan.durations);
        self.series.push(Series { key: key.into(), hash, name, row, nanos: NanosCounted::NONE, is_touched: false });
        let series = &self.series;
        self.table.insert_unique(hash, number, |number| series[*number as usize].hash);
        number
    }

    fn name(&self, facts: &SpanFacts<'_>) -> Box<[u8]> {
        let Plan { standard, instance_id, .. } = &*self.plan;
        let (resource, service) = &self.resource_names[self.scratch.resource_number as usize];
        let service = if service.is_empty() { UNKNOWN_SERVICE } else { &**service };
        let mut point = Vec::new();
        if standard.service {
            series::put_text(&mut point, "service.name", service);
        }
        if standard.name {
            series::put_text(&mut point, "span.name", facts.name);
        }
        if standard.kind {
            series::put_text(&mut point, "span.kind", series::kind(facts.kind).as_bytes());
        }
        if standard.status {
            series::put_text(&mut point, "status.code", series::status(facts.status_code).as_bytes());
        }
        if let Some(id) = instance_id {
            series::put_text(&mut point, "collector.instance.id", id.as_bytes());
        }
        for (dimension, (of_span, of_resource)) in
            self.plan.dimensions.iter().zip(self.scratch.of_span.iter().zip(&self.scratch.of_resource))
        {
            let found = if of_span.is_empty() { of_resource } else { of_span };
            match &dimension.default {
                Some(default) if found.is_empty() => {
                    series::put_text(&mut point, &dimension.name, default.as_bytes());
                }
                _ => point.extend_from_slice(found),
            }
        }
        series::name(self.shape, resource, &point)
    }
}

/// A walk over one request.
#[derive(Debug)]
pub struct Gathering<'a> {
    tally: &'a mut Tally,
    spans: Vec<CountedSpan>,
    /// Where the spans of the scope under way begin.
    scope_begins: usize,
}

impl Gathering<'_> {
    /// A resource begins.
    pub fn resource_begin(&mut self) {
        let scratch = &mut self.tally.scratch;
        scratch.resource.clear();
        scratch.of_resource.iter_mut().for_each(Vec::clear);
    }

    /// An attribute of it.
    pub fn resource_attribute(&mut self, attribute: &KeyValue<'_>) {
        let Tally { plan, scratch, .. } = &mut *self.tally;
        scratch.resource.take(attribute, plan);
        note(plan, &mut scratch.of_resource, attribute);
    }

    /// All attributes of the resource are known.
    pub fn resource_end(&mut self) {
        self.tally.scratch.resource_number = self.tally.name_resource();
    }

    /// A scope begins.
    pub fn scope_begin(&mut self) {
        self.scope_begins = self.spans.len();
    }

    /// The spans of the scope under way are refused after all.
    pub fn scope_refused(&mut self) {
        self.spans.truncate(self.scope_begins);
    }

    /// A span begins.
    #[inline(always)]
    pub fn span_begin(&mut self) {
        self.tally.scratch.of_span.iter_mut().for_each(Vec::clear);
    }

    /// An attribute of it.
    #[inline(always)]
    pub fn span_attribute(&mut self, attribute: &KeyValue<'_>) {
        let Tally { plan, scratch, .. } = &mut *self.tally;
        if !plan.dimensions.is_empty() {
            note(plan, &mut scratch.of_span, attribute);
        }
    }

    /// The span is sound; `threshold` is what its tracestate says.
    #[inline(always)]
    pub fn span(&mut self, facts: &SpanFacts<'_>, threshold: Option<u64>) {
        let Tally { plan, scratch, .. } = &mut *self.tally;
        let Standard { name, kind, status, .. } = plan.standard;
        scratch.key.clear();
        scratch.key.extend_from_slice(&scratch.resource_number.to_le_bytes());
        let kind = if kind { facts.kind.min(6) } else { 0 };
        let status = if status { facts.status_code.min(3) } else { 0 };
        scratch.key.push(u8::try_from(kind * 4 + status).unwrap_or(0));
        if name {
            scratch.key.extend_from_slice(facts.name);
        }
        if !plan.dimensions.is_empty() {
            put_dimensions(scratch);
        }
        let series = self.tally.series_of(facts);
        let weight = threshold.map_or(1, |threshold| weight(threshold, &facts.span_id));
        let nanos = facts.end_unix_nano.saturating_sub(facts.start_unix_nano);
        self.spans.push(CountedSpan { series, weight, nanos });
    }

    /// The name of the series of the last span.
    pub(super) fn last_series(&self) -> Option<&[u8]> {
        let series = self.spans.last().and_then(|span| self.tally.series.get(span.series as usize));
        series.map(|series| &*series.name)
    }

    /// What is to be counted when the request is accepted.
    #[must_use]
    pub fn finish(self) -> Counted {
        Counted { spans: self.spans, epoch: self.tally.epoch }
    }
}

/// Where a series is among those that were found last, from the beginning and the end of its key.
#[inline(always)]
fn recent_place(key: &[u8]) -> usize {
    let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) else { return 0 };
    let mixed = u64::from_le_bytes(*first).rotate_left(29) ^ u64::from_le_bytes(*last) ^ key.len() as u64;
    // The constant is that of Fibonacci hashing: 2^64 over the golden ratio.
    usize::try_from(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).unwrap_or(0)
}

/// Where a name ends there is a byte that no text has: two names and their dimensions can't be taken for each other.
fn put_dimensions(scratch: &mut Scratch) {
    for (of_span, of_resource) in scratch.of_span.iter().zip(&scratch.of_resource) {
        let found = if of_span.is_empty() { of_resource } else { of_span };
        scratch.key.push(0xff);
        scratch.key.extend_from_slice(found);
    }
}

/// Notes the attribute if it is a dimension. Of several of one name the first counts, as in the Collector.
fn note(plan: &Plan, dimensions: &mut [Vec<u8>], attribute: &KeyValue<'_>) {
    for (dimension, noted) in plan.dimensions.iter().zip(dimensions) {
        if noted.is_empty() && dimension.name.as_bytes() == attribute.key {
            series::put_attribute(noted, attribute.key, &attribute.value);
        }
    }
}
