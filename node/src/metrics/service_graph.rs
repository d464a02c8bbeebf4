//! The service graph in the exposition: edges, and what became of spans that have another end.

use super::summaries::Family;
use super::{Books, Page, Type, number};
use crate::control::GraphSnapshot;

const FAMILIES: [Family<GraphSnapshot>; 6] = [
    ("tailwater_service_graph_series", Type::Gauge, "Edges of the service graph that are told.", |s| s.series),
    (
        "tailwater_service_graph_requests_total",
        Type::Counter,
        "Requests between services that were counted, those from or to virtual nodes among them.",
        |s| s.counts.requests,
    ),
    (
        "tailwater_service_graph_waiting_spans",
        Type::Gauge,
        "Spans that wait for the other end of their request.",
        |s| s.counts.waiting,
    ),
    (
        "tailwater_service_graph_unpaired_spans_total",
        Type::Counter,
        "Spans whose other end did not come within summaries.service_graph.wait, and that are in no edge.",
        |s| s.counts.unpaired,
    ),
    (
        "tailwater_service_graph_dropped_spans_total",
        Type::Counter,
        "Spans that could not wait for their other end: summaries.service_graph.waiting_max do.",
        |s| s.counts.dropped,
    ),
    (
        "tailwater_service_graph_overflowed_total",
        Type::Counter,
        "Requests and spans that count for otel.metric.overflow: there are more edges than summaries.service_graph.series_max.",
        |s| s.counts.overflowed,
    ),
];

/// The families of the service graph, where there is one.
pub(super) fn service_graph(page: &mut Page, books: &[Books<'_>]) {
    let snapshots = books.iter().flat_map(|books| &books.snapshots);
    let parts: Vec<GraphSnapshot> =
        snapshots.filter_map(|snapshot| snapshot.summary.as_ref().and_then(|summary| summary.graph)).collect();
    if parts.is_empty() {
        return;
    }
    for (name, kind, help, read) in FAMILIES {
        page.single(name, kind, help, number(parts.iter().map(read).sum::<u64>()));
    }
}
