//! A walk over spans that are kept, which were counted before: each is an example of its series.

use super::exemplars::{Exemplar, Exemplars};
use super::tally::{Gathering, Tally};
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};

struct Walk<'a> {
    gathering: Gathering<'a>,
    exemplars: &'a mut Exemplars,
    each_max: usize,
}

impl Tally {
    /// Notes the spans of a request that goes on, in the window that is open.
    pub fn note_kept(&mut self, request: &[u8]) {
        let (each_max, overflowed) = (self.plan().exemplars_max, self.overflowed());
        if each_max == 0 {
            return;
        }
        let mut exemplars = std::mem::take(self.exemplars());
        let mut walk = Walk { gathering: self.gather(), exemplars: &mut exemplars, each_max };
        // What is kept was sound when it came.
        _ = traces(request, u32::MAX, &mut walk);
        let spans = walk.gathering.finish();
        self.recycle(spans, overflowed);
        *self.exemplars() = exemplars;
    }

    /// What was noted since the last call.
    pub fn take_exemplars(&mut self) -> Exemplars {
        std::mem::take(self.exemplars())
    }
}

impl TraceVisitor for Walk<'_> {
    fn resource_begin(&mut self) {
        self.gathering.resource_begin();
    }

    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        self.gathering.resource_attribute(&attribute);
    }

    fn resource(&mut self, _: &[u8]) {
        self.gathering.resource_end();
    }

    fn scope_begin(&mut self) {}
    fn scope_end(&mut self, _: &[u8]) {}

    fn span_begin(&mut self) {
        self.gathering.span_begin();
    }

    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        self.gathering.span_attribute(&attribute);
    }

    fn span(&mut self, facts: &SpanFacts<'_>) {
        self.gathering.span(facts, None);
        let SpanFacts { trace_id, span_id, start_unix_nano, end_unix_nano, .. } = *facts;
        let nanos = end_unix_nano.saturating_sub(start_unix_nano);
        let exemplar = Exemplar { trace_id, span_id, end_unix_nano, nanos };
        if let Some(name) = self.gathering.last_series() {
            self.exemplars.note(name, exemplar, self.each_max);
        }
    }

    fn span_refused(&mut self, _: SpanFault) {}
}
