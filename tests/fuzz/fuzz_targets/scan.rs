//! The scan against prost: whatever prost decodes the scan reads with the same spans; nothing makes it panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};

#[derive(Default)]
struct Seen {
    spans: Vec<([u8; 16], u64, u64, u64, usize)>,
    attributes: usize,
    refused: usize,
}

impl TraceVisitor for Seen {
    fn resource_begin(&mut self) {}
    fn resource(&mut self, _: &[u8]) {}
    fn resource_attribute(&mut self, _: KeyValue<'_>) {}
    fn scope_begin(&mut self) {}
    fn scope_end(&mut self, _: &[u8]) {}
    fn span_begin(&mut self) {
        self.attributes = 0;
    }
    fn span_attribute(&mut self, _: KeyValue<'_>) {
        self.attributes += 1;
    }
    fn span(&mut self, facts: &SpanFacts<'_>) {
        let times = (facts.start_unix_nano, facts.end_unix_nano);
        self.spans.push((facts.trace_id, times.0, times.1, facts.status_code, self.attributes));
    }
    fn span_refused(&mut self, _: SpanFault) {
        self.refused += 1;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut seen = Seen::default();
    let scanned = traces(bytes, 1 << 20, &mut seen);
    let Ok(decoded) = ExportTraceServiceRequest::decode(bytes) else { return };
    // A value nested deeper than the scan accepts is refused as a span's fault, or in a resource as the request's.
    if scanned.is_err() {
        return;
    }
    let spans = decoded.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    let all: Vec<_> = spans.collect();
    assert_eq!(seen.spans.len() + seen.refused, all.len());
    if seen.refused > 0 {
        return;
    }
    for (mine, reference) in seen.spans.iter().zip(all) {
        let code = i64::from(reference.status.as_ref().map_or(0, |status| status.code)).cast_unsigned();
        assert_eq!(mine.0, reference.trace_id[..]);
        assert_eq!((mine.1, mine.2), (reference.start_time_unix_nano, reference.end_time_unix_nano));
        assert_eq!((mine.3 as u32, mine.4), (code as u32, reference.attributes.len()));
    }
});
