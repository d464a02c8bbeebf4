//! What a walk over a request gathers besides span records: what is counted of spans. Each kind of gathering is a walk of its
//! own to the compiler, so that what is not asked for takes no time.

use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::scan::SpanFacts;
use tailwater_rollup::service_graph;
use tailwater_rollup::span_metrics::{self, Tally};
use tailwater_rollup::spans::{Counted, SpanTally};

/// What counts requests, or nothing.
pub(super) trait Counter {
    type Gathering<'g>: Gather
    where
        Self: 'g;

    fn gather(&mut self) -> Self::Gathering<'_>;
}

impl Counter for () {
    type Gathering<'g> = ();

    fn gather(&mut self) {}
}

impl Counter for Tally {
    type Gathering<'g> = span_metrics::Gathering<'g>;

    fn gather(&mut self) -> span_metrics::Gathering<'_> {
        Tally::gather(self)
    }
}

impl Counter for SpanTally {
    type Gathering<'g> = All<'g>;

    fn gather(&mut self) -> All<'_> {
        let Self { metrics, graph } = self;
        All { metrics: metrics.as_mut().map(Tally::gather), graph: graph.as_mut().map(service_graph::Gatherer::gather) }
    }
}

/// What gathers what is to be counted of a request. Where nothing is counted it is nothing, and takes no time.
pub(super) trait Gather {
    fn resource_begin(&mut self) {}
    fn resource_attribute(&mut self, _: &KeyValue<'_>) {}
    fn resource_end(&mut self) {}
    fn scope_begin(&mut self) {}
    fn scope_refused(&mut self) {}
    fn span_begin(&mut self) {}
    fn span_attribute(&mut self, _: &KeyValue<'_>) {}
    fn span_link(&mut self, _: &[u8], _: impl FnOnce(&[u8; 16]) -> u16) {}
    /// A sound span, the threshold that its tracestate says, and the shard of its trace.
    fn span(&mut self, _: &SpanFacts<'_>, _: Option<u64>, _: u16) {}
    fn finish(self) -> Counted;
}

impl Gather for () {
    fn finish(self) -> Counted {
        Counted::default()
    }
}

impl Gather for span_metrics::Gathering<'_> {
    fn resource_begin(&mut self) {
        Self::resource_begin(self);
    }

    fn resource_attribute(&mut self, attribute: &KeyValue<'_>) {
        Self::resource_attribute(self, attribute);
    }

    fn resource_end(&mut self) {
        Self::resource_end(self);
    }

    fn scope_begin(&mut self) {
        Self::scope_begin(self);
    }

    fn scope_refused(&mut self) {
        Self::scope_refused(self);
    }

    #[inline(always)]
    fn span_begin(&mut self) {
        Self::span_begin(self);
    }

    #[inline(always)]
    fn span_attribute(&mut self, attribute: &KeyValue<'_>) {
        Self::span_attribute(self, attribute);
    }

    #[inline(always)]
    fn span(&mut self, facts: &SpanFacts<'_>, threshold: Option<u64>, _: u16) {
        Self::span(self, facts, threshold);
    }

    fn finish(self) -> Counted {
        Counted { metrics: Self::finish(self), ..Counted::default() }
    }
}

/// Where the service graph is gathered, with span metrics or without.
pub(super) struct All<'g> {
    metrics: Option<span_metrics::Gathering<'g>>,
    graph: Option<service_graph::Gathering<'g>>,
}

impl Gather for All<'_> {
    fn resource_begin(&mut self) {
        self.metrics.iter_mut().for_each(span_metrics::Gathering::resource_begin);
        self.graph.iter_mut().for_each(service_graph::Gathering::resource_begin);
    }

    fn resource_attribute(&mut self, attribute: &KeyValue<'_>) {
        self.metrics.iter_mut().for_each(|metrics| metrics.resource_attribute(attribute));
        self.graph.iter_mut().for_each(|graph| graph.resource_attribute(attribute));
    }

    fn resource_end(&mut self) {
        self.metrics.iter_mut().for_each(span_metrics::Gathering::resource_end);
    }

    fn scope_begin(&mut self) {
        self.metrics.iter_mut().for_each(span_metrics::Gathering::scope_begin);
        self.graph.iter_mut().for_each(service_graph::Gathering::scope_begin);
    }

    fn scope_refused(&mut self) {
        self.metrics.iter_mut().for_each(span_metrics::Gathering::scope_refused);
        self.graph.iter_mut().for_each(service_graph::Gathering::scope_refused);
    }

    #[inline(always)]
    fn span_begin(&mut self) {
        self.metrics.iter_mut().for_each(span_metrics::Gathering::span_begin);
        self.graph.iter_mut().for_each(service_graph::Gathering::span_begin);
    }

    #[inline(always)]
    fn span_attribute(&mut self, attribute: &KeyValue<'_>) {
        self.metrics.iter_mut().for_each(|metrics| metrics.span_attribute(attribute));
        self.graph.iter_mut().for_each(|graph| graph.span_attribute(attribute));
    }

    fn span_link(&mut self, link: &[u8], shard: impl FnOnce(&[u8; 16]) -> u16) {
        if let Some(graph) = &mut self.graph {
            graph.span_link(link, shard);
        }
    }

    #[inline(always)]
    fn span(&mut self, facts: &SpanFacts<'_>, threshold: Option<u64>, shard: u16) {
        self.metrics.iter_mut().for_each(|metrics| metrics.span(facts, threshold));
        self.graph.iter_mut().for_each(|graph| graph.span(facts, threshold, shard));
    }

    fn finish(self) -> Counted {
        Counted {
            metrics: self.metrics.map(span_metrics::Gathering::finish).unwrap_or_default(),
            ends: self.graph.map(service_graph::Gathering::finish).unwrap_or_default(),
        }
    }
}
