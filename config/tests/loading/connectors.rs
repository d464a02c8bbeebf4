//! The connector `spanmetrics` of the Collector's file: what is taken, what is refused.

use std::time::Duration;

use crate::support::{again, loaded, problems, refused_with};
use tailwater_config::{DurationHistogram, DurationUnit, Loaded, Signals, SpanMetrics, Temporality, effective};

const FIXTURE: &str = include_str!("fixtures/spanmetrics.yaml");

/// A file around one connector and its pipelines; the connector is on line 4, the pipelines on line 5.
fn file_of(connector: &str, pipelines: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}, otlp/b: {{protocols: {{http: }}}}}}\nprocessors: {{tail_sampling: {{policies: [{{name: a, type: always_sample}}]}}, filter: {{x: y}}, batch: }}\nexporters: {{nop: , otlp/t: {{endpoint: 'https://t'}}, otlp/m: {{endpoint: 'https://m'}}}}\nconnectors: {{{connector}}}\nservice: {{pipelines: {{{pipelines}}}}}\n"
    )
}

const PIPELINES: &str = "traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}";

fn with_keys(keys: &str) -> String {
    file_of(&format!("spanmetrics: {{{keys}}}"), PIPELINES)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn is_told(loaded: &Loaded, text: &str) -> bool {
    loaded.notes.iter().any(|note| note.text.contains(text))
}

#[test]
fn a_connector_is_taken_as_written() {
    let loaded = loaded(FIXTURE, &[], &[]);
    let summaries = &loaded.config.summaries;
    assert_eq!(summaries.window, Duration::from_secs(15));
    let expected = SpanMetrics {
        enabled: true,
        namespace: Some("span.metrics".to_string()),
        unit: DurationUnit::Seconds,
        histogram: DurationHistogram::Explicit,
        buckets: texts(&["100us", "1ms", "2ms", "6ms", "10ms", "100ms", "250ms"]),
        dimensions: texts(&["http.request.method=GET", "http.response.status_code", "tier"]),
        exclude_dimensions: texts(&["status.code", "collector.instance.id"]),
        resource_attributes: texts(&["service.name", "service.namespace"]),
        temporality: Temporality::Delta,
        series_max: 5000,
        expiry: Duration::from_secs(180),
        ..SpanMetrics::default()
    };
    assert_eq!(summaries.span_metrics, expected);
    // The pipeline that only counts keeps nothing: one way is left, and it needs no name.
    assert!(loaded.config.pipelines.is_empty());
    assert_eq!(loaded.config.sampling.policies.len(), 2);
    let [traces, metrics] = loaded.config.exporters.otlp.as_slice() else { panic!("two exporters") };
    assert_eq!(traces.signals, Signals { traces: true, ..Signals::NONE });
    assert_eq!(metrics.signals, Signals { metrics: true, ..Signals::NONE });
    assert_eq!(loaded.config.receivers.signals, Signals { logs: false, ..Signals::ALL });
    for key in ["connectors.spanmetrics/red.dimensions_cache_size", "connectors.spanmetrics/red.metrics_expiration"] {
        let told = loaded.notes.iter().any(|note| note.key == key);
        assert_eq!(told, key.ends_with("size"), "{key}: {:?}", loaded.notes);
    }
    assert_eq!(again(&loaded.config, &effective(&loaded), &[]).summaries, *summaries);
}

#[test]
fn an_empty_connector_has_the_collectors_defaults() {
    for keys in
        ["", "histogram: ", "histogram: {explicit: , exponential: }", "histogram: {exponential: {enabled: false}}"]
    {
        let loaded = loaded(&with_keys(keys), &[], &[]);
        let expected = SpanMetrics {
            enabled: true,
            histogram: DurationHistogram::Explicit,
            resource_attributes: texts(&["*"]),
            expiry: Duration::ZERO,
            ..SpanMetrics::default()
        };
        assert_eq!(loaded.config.summaries.span_metrics, expected, "{keys}");
        assert_eq!(loaded.config.summaries.window, Duration::from_secs(60));
        assert_eq!(loaded.config.receivers.signals, Signals { traces: true, ..Signals::NONE });
    }
}

#[test]
fn forms_of_values_are_the_collectors() {
    let of = |keys: &str| loaded(&with_keys(keys), &[], &[]).config.summaries.span_metrics;
    let exponential = of("histogram: {exponential: {}, unit: MS}");
    assert_eq!((exponential.histogram, exponential.buckets_max), (DurationHistogram::Exponential, 160));
    assert_eq!(of("histogram: {exponential: {max_size: 0}}").buckets_max, 160);
    assert_eq!(of("histogram: {exponential: {max_size: 40}}").buckets_max, 40);
    assert_eq!(of("histogram: {disable: true, exponential: {}}").histogram, DurationHistogram::None);
    assert_eq!(of("histogram: {disable: false}").histogram, DurationHistogram::Explicit);
    assert_eq!(of("namespace: ''").namespace, None);
    assert_eq!(of("dimensions: [{name: a, default: ''}, {name: b, default: 5}]").dimensions, texts(&["a=", "b=5"]));
    assert_eq!(of("series_expiration: 0s, metrics_expiration: 1h").expiry, Duration::from_secs(3600));
    assert_eq!(of("series_expiration: 1m, metrics_expiration: 1h").expiry, Duration::from_secs(60));
    assert_eq!(of("resource_metrics_key_attributes: []").resource_attributes, texts(&["*"]));
    assert_eq!(of("exemplars: {max_per_data_point: 3}"), SpanMetrics { exemplars_max: 3, ..of("") });
    assert_eq!(of("exemplars: {enabled: true}"), SpanMetrics { exemplars: true, ..of("") });
    for (keys, text) in [
        ("aggregation_temporality: delta", "counts as cumulative"),
        ("aggregation_cardinality_limit: 0", "at most 10000 series"),
        ("resource_metrics_key_attributes: [service.name]", "other attributes of the resource are not told"),
        ("add_resource_attributes: true", "attributes of resources are told here"),
        ("calls_dimensions: []", "nothing is written here"),
    ] {
        assert!(is_told(&loaded(&with_keys(keys), &[], &[]), text), "{keys}");
    }
}

#[test]
fn what_a_connector_cannot_have_is_refused() {
    for (keys, cause) in [
        (
            "histogram: {explicit: {buckets: [1ms]}, exponential: {max_size: 5}}",
            "use either `explicit` or `exponential`",
        ),
        ("histogram: {explicit: {}}", "an explicit histogram without bounds"),
        ("histogram: {explicit: {buckets: [2ms, 1ms]}}", "the bounds do not rise"),
        ("histogram: {explicit: {buckets: [1]}}", "an integer"),
        ("histogram: {dimensions: [{name: a}]}", "calls and duration have the same dimensions here"),
        ("histogram: {unit: us}", "not one of the words this key takes"),
        ("histogram: {exponential: {max_size: 2}}", "out of bounds"),
        ("calls_dimensions: [{name: a}]", "calls and duration have the same dimensions here"),
        ("dimensions: [{glob: 'k8s.*'}]", "a dimension by `glob` is not supported"),
        ("dimensions: [{default: a}]", "a dimension without a name"),
        ("dimensions: [{nam: a}]", "unknown key; the keys here are name, default"),
        ("dimensions: [a]", "not a dimension"),
        ("dimensions: {name: a}", "a mapping where a list is needed"),
        ("dimensions: [{name: span.name}]", "is a dimension already"),
        ("exclude_dimensions: [status.kode]", "did you mean `status.code`?"),
        ("metrics_flush_interval: 100ms", "out of bounds"),
        ("metrics_expiration: -1s", "negative duration"),
        ("aggregation_cardinality_limit: -1", "not a whole number"),
        ("exemplars: {enabled: true, max_per_data_point: 100}", "out of bounds"),
        ("events: {enabled: true, dimensions: [{name: a}]}", "events of spans are not counted"),
        ("include_instrumentation_scope: [a]", "the scope of spans is no dimension here"),
        ("enable_metrics_sampling_method: true", "sampling.method is not supported"),
        ("name_space: a", "did you mean `namespace`?"),
    ] {
        refused_with(&with_keys(keys), 4, cause);
    }
}

#[test]
fn a_sampler_before_the_connector_is_worth_a_note() {
    let pipelines = "traces: {receivers: [otlp], processors: [tail_sampling], exporters: [span_metrics/x, otlp/t]}, metrics: {receivers: [span_metrics/x], exporters: [otlp/m]}";
    let sampled = loaded(&file_of("span_metrics/x: ", pipelines), &[], &[]);
    assert!(sampled.config.summaries.span_metrics.enabled);
    let note = sampled.notes.iter().find(|note| note.text.contains("all spans are counted here")).unwrap();
    assert_eq!(note.key, "service.pipelines.traces.exporters[0]");
    assert!(!is_told(&sampled, "counted once here"));
    assert!(!is_told(&loaded(&with_keys(""), &[], &[]), "all spans are counted here"));
    let twice = format!("traces/b: {{receivers: [otlp], exporters: [span_metrics/x]}}, {pipelines}");
    assert!(is_told(&loaded(&file_of("span_metrics/x: ", &twice), &[], &[]), "counted once here"));
}

#[test]
fn the_ends_of_a_connector_are_checked() {
    let metrics = "metrics: {receivers: [spanmetrics], exporters: [otlp/m]}";
    for (pipelines, cause) in [
        ("traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}", "is receiver of no metrics pipeline"),
        (
            "traces: {receivers: [otlp], exporters: [otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "is exporter of no traces pipeline",
        ),
        (
            "traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}, traces/b: {receivers: [otlp/b], exporters: [otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "the traces of `otlp/b` do not go to the connector `spanmetrics`",
        ),
        (
            "traces: {receivers: [otlp], exporters: [spanmetrics]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "the traces of `otlp` are counted and go nowhere; name a further exporter",
        ),
        (
            "traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}, logs: {receivers: [otlp], exporters: [spanmetrics]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "takes traces only",
        ),
        (
            "traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}, logs: {receivers: [spanmetrics], exporters: [otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "gives metrics only",
        ),
        (
            "traces: {receivers: [otlp], exporters: [spanmetrics, otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}, metrics/b: {receivers: [otlp], exporters: [otlp/t]}",
            "metrics that go to other exporters by their receiver are not supported",
        ),
        (
            "traces/n: {receivers: [otlp], processors: [filter], exporters: [spanmetrics]}, traces: {receivers: [otlp], exporters: [otlp/t]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}",
            "the processor `filter` is not supported",
        ),
    ] {
        let file = file_of("spanmetrics: ", pipelines);
        refused_with(&file, 5, cause);
        assert_eq!(problems(&file, &[], &[]).len(), 1, "{:?}", problems(&file, &[], &[]));
    }
    let two = format!("traces: {{receivers: [otlp], exporters: [spanmetrics, spanmetrics/b, otlp/t]}}, {metrics}");
    refused_with(
        &file_of("spanmetrics: , spanmetrics/b: ", &two),
        5,
        "a second spanmetrics connector, `spanmetrics/b`",
    );
    refused_with(
        &file_of("count: ", &two.replace("spanmetrics/b", "count")),
        5,
        "the connector `count` is not supported",
    );
    refused_with(&file_of("count: ", PIPELINES), 5, "`spanmetrics` is not defined under");
}

#[test]
fn pipelines_that_only_count_are_no_ways() {
    let pipelines = "traces/n: {receivers: [otlp, otlp/b], exporters: [spanmetrics]}, traces/a: {receivers: [otlp], processors: [tail_sampling], exporters: [otlp/t]}, traces/b: {receivers: [otlp/b], exporters: [nop]}, metrics: {receivers: [spanmetrics], exporters: [otlp/m]}";
    let config = loaded(&file_of("spanmetrics: ", pipelines), &[], &[]).config;
    let names: Vec<&str> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["traces/a", "traces/b"]);
    assert_eq!(config.receivers.pipelines, ["traces/a"]);
}
