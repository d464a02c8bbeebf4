//! From the configuration to what is counted of requests between services.

use std::time::Duration;
use tailwater_config::{DurationHistogram, ServiceGraph, Temporality, WAITING_SPAN_BYTES};
use tailwater_rollup::service_graph::{Plan, WAITING_BYTES};
use tailwater_rollup::span_metrics::Durations;

const _: () = assert!(WAITING_BYTES as u64 <= WAITING_SPAN_BYTES, "the memory plan counts no less");

/// On each of so many shards.
pub(super) fn plan(graph: &ServiceGraph, window: Duration, shards: usize) -> Plan {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let durations = match graph.histogram {
        DurationHistogram::None => Durations::None,
        DurationHistogram::Explicit => Durations::Explicit(graph.bounds().iter().map(Duration::as_secs_f64).collect()),
        DurationHistogram::Exponential => Durations::Exponential(u16::try_from(graph.buckets_max).unwrap_or(u16::MAX)),
    };
    let expires_after = graph.expiry.as_nanos().div_ceil(window.as_nanos().max(1));
    Plan {
        durations,
        dimensions: graph.dimensions.clone(),
        database_attributes: graph.database_attributes.clone(),
        virtual_node_attributes: graph.virtual_node_attributes.clone(),
        has_virtual_node_label: graph.virtual_node_label,
        wait_nanos: u64::try_from(graph.wait.as_nanos()).unwrap_or(u64::MAX),
        waiting_max: size(graph.waiting_max).div_ceil(shards.max(1)),
        series_max: size(graph.series_max),
        instance_id: graph.instance_id.clone(),
        is_delta: graph.temporality == Temporality::Delta,
        expires_after_windows: u32::try_from(expires_after).unwrap_or(u32::MAX),
    }
}
