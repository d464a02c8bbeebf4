//! The connector `servicegraph` of the Collector's file, and the keys that it becomes.

use std::time::Duration;

use crate::support::{again, loaded, problems, refused_with};
use tailwater_config::{DurationHistogram, Loaded, ServiceGraph, Temporality, effective};

/// A file around the connectors, which are on line 4; the pipelines are on line 5.
fn file_of(connectors: &str, pipelines: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}, otlp/b: {{protocols: {{http: }}}}}}\nprocessors: {{tail_sampling: {{policies: [{{name: a, type: always_sample}}]}}}}\nexporters: {{otlp/t: {{endpoint: 'https://t'}}, otlp/m: {{endpoint: 'https://m'}}}}\nconnectors: {{{connectors}}}\nservice: {{pipelines: {{{pipelines}}}}}\n"
    )
}

fn with_keys(keys: &str) -> String {
    let pipelines = "traces: {receivers: [otlp], exporters: [servicegraph, otlp/t]}, metrics: {receivers: [servicegraph], exporters: [otlp/m]}";
    file_of(&format!("servicegraph: {{{keys}}}"), pipelines)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn is_told(loaded: &Loaded, text: &str) -> bool {
    loaded.notes.iter().any(|note| note.text.contains(text))
}

#[test]
fn a_connector_is_taken_as_written() {
    let keys = "latency_histogram_buckets: [100us, 1ms, 2ms], dimensions: [tier, zone], store: {ttl: 5s, max_items: 20000}, \
                cache_loop: 2m, store_expiration_loop: 2s, virtual_node_peer_attributes: [db.name, rpc.service], \
                virtual_node_extra_label: true, metrics_flush_interval: 15s, database_name_attributes: [db.name, db], \
                metrics_timestamp_offset: 0s";
    let read = loaded(&with_keys(keys), &[], &[]);
    let summaries = &read.config.summaries;
    let expected = ServiceGraph {
        enabled: true,
        buckets: texts(&["100us", "1ms", "2ms"]),
        dimensions: texts(&["tier", "zone"]),
        database_attributes: texts(&["db.name", "db"]),
        virtual_node_attributes: texts(&["db.name", "rpc.service"]),
        virtual_node_label: true,
        wait: Duration::from_secs(5),
        waiting_max: 20_000,
        ..ServiceGraph::default()
    };
    assert_eq!(summaries.service_graph, expected);
    assert_eq!(summaries.window, Duration::from_secs(15));
    assert_eq!(again(&read.config, &effective(&read), &[]).summaries, *summaries);
    assert!(read.notes.iter().any(|note| note.key == "connectors.servicegraph.cache_loop"), "{:?}", read.notes);
    assert!(read.config.pipelines.is_empty());
}

#[test]
fn an_empty_connector_has_the_collectors_defaults_and_forms() {
    let of = |keys: &str| loaded(&with_keys(keys), &[], &[]).config.summaries.service_graph;
    let expected = ServiceGraph {
        enabled: true,
        database_attributes: texts(&["db.name"]),
        virtual_node_attributes: texts(&["peer.service", "db.name", "db.system"]),
        ..ServiceGraph::default()
    };
    assert_eq!(of(""), expected);
    assert_eq!(of("exponential_histogram_max_size: 0"), expected);
    let exponential = of("exponential_histogram_max_size: 40");
    assert_eq!((exponential.histogram, exponential.buckets_max), (DurationHistogram::Exponential, 40));
    assert_eq!(of("database_name_attribute: db").database_attributes, texts(&["db"]));
    assert_eq!(of("virtual_node_peer_attributes: []").virtual_node_attributes, texts(&[]));
    assert!(is_told(&loaded(&with_keys("metrics_exporter: otlp/m"), &[], &[]), "no effect in the Collector either"));
    // Its newer name, and the other connector beside it: of two windows the shorter holds.
    let pipelines = "traces: {receivers: [otlp], exporters: [service_graph, spanmetrics, otlp/t]}, metrics: {receivers: [service_graph, spanmetrics], exporters: [otlp/m]}";
    let two = |span_metrics: &str, graph: &str| {
        let flush = |interval: &str| format!("{{metrics_flush_interval: {interval}}}");
        let connectors = format!("spanmetrics: {}, service_graph: {}", flush(span_metrics), flush(graph));
        loaded(&file_of(&connectors, pipelines), &[], &[])
    };
    for (span_metrics, graph, is_noted) in [("15s", "60s", true), ("60s", "15s", false), ("15s", "15s", false)] {
        let both = two(span_metrics, graph);
        assert!(both.config.summaries.service_graph.enabled && both.config.summaries.span_metrics.enabled);
        assert_eq!(both.config.summaries.window, Duration::from_secs(15));
        assert_eq!(is_told(&both, "all summaries are sent every 15s here"), is_noted);
    }
}

#[test]
fn what_a_connector_cannot_have_is_refused() {
    for (keys, cause) in [
        (
            "latency_histogram_buckets: [1ms], exponential_histogram_max_size: 5",
            "use either `latency_histogram_buckets` or",
        ),
        ("latency_histogram_buckets: [2ms, 1ms]", "the bounds do not rise"),
        ("latency_histogram_buckets: [1]", "an integer"),
        ("latency_histogram_buckets: []", "an explicit histogram needs bounds"),
        ("exponential_histogram_max_size: -1", "not a whole number"),
        ("exponential_histogram_max_size: 2", "out of bounds"),
        ("metrics_timestamp_offset: 5s", "metrics have the time at which they leave"),
        ("metrics_flush_interval: 0s", "out of bounds"),
        ("store: {ttl: 10ms}", "out of bounds"),
        ("store: {max_items: 0}", "out of bounds"),
        ("store: {maxitems: 5}", "did you mean `max_items`?"),
        ("dimensions: [a, a]", "is there already"),
        ("dimensions: {a: b}", "a mapping"),
        ("virtual_node_peer_attribute: [a]", "did you mean `virtual_node_peer_attributes`?"),
    ] {
        refused_with(&with_keys(keys), 4, cause);
    }
    let metrics = "metrics: {receivers: [servicegraph], exporters: [otlp/m]}";
    for (pipelines, cause) in [
        (format!("traces: {{receivers: [otlp], exporters: [otlp/t]}}, {metrics}"), "is exporter of no traces pipeline"),
        (
            format!(
                "traces: {{receivers: [otlp], exporters: [servicegraph, otlp/t]}}, traces/b: {{receivers: [otlp/b], exporters: [otlp/t]}}, {metrics}"
            ),
            "the traces of `otlp/b` do not go to the connector `servicegraph`",
        ),
        (
            format!("traces: {{receivers: [otlp], exporters: [servicegraph, servicegraph/b, otlp/t]}}, {metrics}"),
            "a second servicegraph connector, `servicegraph/b`",
        ),
    ] {
        let file = file_of("servicegraph: , servicegraph/b: ", &pipelines);
        refused_with(&file, 5, cause);
        assert_eq!(problems(&file, &[], &[]).len(), 1, "{:?}", problems(&file, &[], &[]));
    }
}

#[test]
fn the_flag_and_the_native_keys_are_taken() {
    let file = "summaries: {service_graph: {wait: 3s, histogram: exponential, temporality: delta, series_max: 50}}";
    let graph = loaded(file, &[], &[("summaries.service_graph.enabled", "true")]).config.summaries.service_graph;
    assert!(graph.enabled);
    assert_eq!((graph.wait, graph.series_max), (Duration::from_secs(3), 50));
    assert_eq!((graph.histogram, graph.temporality), (DurationHistogram::Exponential, Temporality::Delta));
}
