//! The next hop of a node: it looks at the shape of what it is given.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::BTreeSet;
use tailwater_engine::host::ExportRequest;

/// The spans of a request as the next hop reads it: each resource stands in it once, what was around a span still is, and
/// there are as many spans as the node says.
#[must_use]
pub fn read(request: &ExportRequest) -> Vec<Span> {
    let decoded = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
    let mut spans = Vec::new();
    let mut resources = BTreeSet::new();
    for resource_spans in decoded.resource_spans {
        let resource = resource_spans.resource.unwrap_or_default().encode_to_vec();
        assert!(resources.insert(resource), "one ResourceSpans a resource");
        assert_eq!(resource_spans.schema_url, "resource schema");
        for scope_spans in resource_spans.scope_spans {
            assert_eq!(scope_spans.schema_url, "schema");
            spans.extend(scope_spans.spans);
        }
    }
    assert_eq!(spans.len(), request.items as usize);
    spans
}
