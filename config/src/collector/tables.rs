//! What becomes of each key of the Collector's components, as tables.

/// A key whose value has another form here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Convert {
    /// `tcp` and nothing else.
    TransportTcp,
    /// A server's certificate, which is not supported; without one there is no TLS.
    ServerTls,
    /// Origins of browsers, which are not supported; without them nothing else there has an effect.
    Cors,
    /// A knob that has another value where zero is written there.
    ZeroIs(&'static str, &'static str),
    /// Streams of a connection, zero for no bound.
    Streams,
    /// Factor between waits, which may be below 1 there.
    Multiplier,
    /// A whole number of mebibytes.
    RequestMebibytes,
    /// A whole number of bytes, zero for the default.
    RequestBytes,
    /// The path that OTLP prescribes and no other.
    UrlPath(&'static str),
    /// `trace-complete` or `span-ingest`.
    SamplingStrategy,
    /// A whole number that is not too large there, and has no meaning here.
    Shards,
    /// false, or the remedy.
    NotTrue(&'static str),
    /// `host:port` of gRPC.
    GrpcEndpoint,
    /// A base URL.
    HttpEndpoint,
    /// A mapping, or a list of name and value.
    Headers,
    /// An algorithm's name.
    Compression,
    /// `proto` and nothing else matters.
    EncodingProto,
    /// The embedded exporter's file.
    FilePath,
    /// Whether the file is rotated at all.
    RotationEnabled,
    /// Mebibytes of a file before it is rotated; zero for the default.
    RotationMebibytes,
    /// Days that a backup is kept; zero for ever.
    RotationDays,
    /// Whether backups are named by local time.
    RotationLocalTime,
    /// `json` and nothing else.
    FormatJson,
    /// zap's levels.
    LogLevel,
    /// `console` or `json`.
    LogFormat,
    /// A key of the connector `spanmetrics`.
    SpanMetric(SpanMetric),
    /// A key of the connector `servicegraph`.
    Graph(GraphKey),
}

/// A key of the connector `servicegraph` whose value has another form here.
#[derive(Debug, Clone, Copy)]
pub(super) enum GraphKey {
    /// Buckets of an exponential histogram; with zero it is an explicit one.
    Buckets,
    /// The one attribute that names a database.
    Database,
    /// Zero and nothing else.
    Offset,
    /// The window, which the other connector may have written.
    Window,
}

/// A key of the connector `spanmetrics` whose value has another form here.
#[derive(Debug, Clone, Copy)]
pub(super) enum SpanMetric {
    /// Which of the histograms there is.
    HistogramKind,
    /// `ms` or `s`, in any case.
    Unit,
    /// A list of names, with or without a default.
    Dimensions,
    /// Attributes that tell resources apart; all where none is named.
    KeyAttributes,
    /// A name of OTLP.
    Temporality,
    /// Zero for the default.
    SeriesMax,
    /// Zero for never.
    Expiry,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// It is the knob at this path, below the section's own.
    Set(&'static str),
    /// It is a knob in another form.
    Convert(Convert),
    /// It has keys of its own.
    Section(&'static [Row]),
    /// Harmless to ignore, with the reason.
    Note(&'static str),
    /// Ignoring it would change what is received, kept or sent; with the remedy.
    Refuse(&'static str),
}

/// A key and what becomes of it.
pub(super) type Row = (&'static str, Act);

use Act::{Note, Refuse, Section, Set};

const TUNING: &str = "a matter of the Collector's own tuning, has no effect here";
pub(super) const SERVER_TLS: &str =
    "TLS on receivers is not there yet; remove it and put a TLS proxy in front, or keep to a private network";
const AUTH: &str = "authenticating senders is not supported; remove it";
const MIDDLEWARE: &str = "middleware is not supported; remove it";

/// Why a processor may be left out, when it may.
pub(super) fn harmless_processor(kind: &str) -> Option<&'static str> {
    match kind {
        "batch" => Some("batching is done by the exporters here, has no effect"),
        "memory_limiter" => Some("memory is bounded by memory.bytes_max here, has no effect"),
        "groupbytrace" => Some("traces are put together by the sampler here, has no effect"),
        _ => None,
    }
}

/// `receivers.otlp.protocols.grpc`.
pub(super) const RECEIVER_GRPC: &[Row] = &[
    ("endpoint", Set("endpoint")),
    ("transport", Act::Convert(Convert::TransportTcp)),
    ("tls", Act::Convert(Convert::ServerTls)),
    ("max_recv_msg_size_mib", Act::Convert(Convert::RequestMebibytes)),
    ("max_concurrent_streams", Act::Convert(Convert::Streams)),
    ("read_buffer_size", Note(TUNING)),
    ("write_buffer_size", Note(TUNING)),
    ("include_metadata", Note("request metadata is not passed on here, has no effect")),
    ("auth", Refuse(AUTH)),
    ("middlewares", Refuse(MIDDLEWARE)),
    ("keepalive", Section(KEEPALIVE)),
];

const KEEPALIVE: &[Row] = &[
    (
        "server_parameters",
        Section(&[
            ("max_connection_idle", Set("idle_timeout")),
            ("max_connection_age", Set("connection_age_max")),
            ("max_connection_age_grace", Act::Convert(Convert::ZeroIs("connection_age_grace", "720h"))),
            ("time", Act::Convert(Convert::ZeroIs("keepalive_interval", "2h"))),
            ("timeout", Act::Convert(Convert::ZeroIs("keepalive_timeout", "20s"))),
        ]),
    ),
    (
        "enforcement_policy",
        Section(&[
            ("min_time", Note("pings are bounded by otlp.grpc.control_frames_per_second_max here")),
            ("permit_without_stream", Note("pings are bounded by otlp.grpc.control_frames_per_second_max here")),
        ]),
    ),
];

/// `receivers.otlp.protocols.http`.
pub(super) const RECEIVER_HTTP: &[Row] = &[
    ("endpoint", Set("endpoint")),
    ("transport", Act::Convert(Convert::TransportTcp)),
    ("tls", Act::Convert(Convert::ServerTls)),
    ("cors", Act::Convert(Convert::Cors)),
    ("auth", Refuse(AUTH)),
    ("middlewares", Refuse(MIDDLEWARE)),
    ("max_request_body_size", Act::Convert(Convert::RequestBytes)),
    ("traces_url_path", Act::Convert(Convert::UrlPath("/v1/traces"))),
    ("metrics_url_path", Act::Convert(Convert::UrlPath("/v1/metrics"))),
    ("logs_url_path", Act::Convert(Convert::UrlPath("/v1/logs"))),
    ("include_metadata", Note("request metadata is not passed on here, has no effect")),
    ("response_headers", Note("responses have the headers OTLP asks for, has no effect")),
    ("compression_algorithms", Note("identity, gzip and zstd are taken, has no effect")),
    ("read_header_timeout", Set("first_request_timeout")),
    ("read_timeout", Set("request_timeout")),
    ("idle_timeout", Set("idle_timeout")),
    ("write_timeout", Note(TUNING)),
    ("keep_alives_enabled", Note(TUNING)),
];

/// `processors.tail_sampling`; the targets are below `sampling.`.
pub(super) const TAIL_SAMPLING: &[Row] = &[
    ("decision_wait", Set("decision_wait")),
    ("decision_wait_after_root_received", Set("decision_wait_after_root_received")),
    ("num_traces", Set("num_traces")),
    ("block_on_overflow", Set("block_on_overflow")),
    ("policies", Set("policies")),
    (
        "decision_cache",
        Section(&[
            ("sampled_cache_size", Set("decision_cache.sampled_cache_size")),
            ("non_sampled_cache_size", Set("decision_cache.non_sampled_cache_size")),
        ]),
    ),
    ("sample_on_first_match", Set("sample_on_first_match")),
    ("maximum_trace_size_bytes", Set("maximum_trace_size_bytes")),
    ("drop_pending_traces_on_shutdown", Set("drop_pending_traces_on_shutdown")),
    ("sampling_strategy", Act::Convert(Convert::SamplingStrategy)),
    ("expected_new_traces_per_sec", Note("tables grow as they need here, has no effect")),
    ("num_shards", Act::Convert(Convert::Shards)),
    ("mutates_data", Note(TUNING)),
    (
        "tail_storage",
        Refuse(
            "storage extensions are not supported; what is pending is in the log of data_directory here (see ack); remove it",
        ),
    ),
];

const RETRY: &[Row] = &[
    ("enabled", Set("retry.enabled")),
    ("initial_interval", Act::Convert(Convert::ZeroIs("retry.initial_interval", "1ms"))),
    ("max_interval", Act::Convert(Convert::ZeroIs("retry.max_interval", "1ms"))),
    ("multiplier", Act::Convert(Convert::Multiplier)),
    ("max_elapsed_time", Set("retry.max_elapsed_time")),
    ("randomization_factor", Note("the jitter is fixed here, has no effect")),
];

const QUEUE: &[Row] = &[
    ("enabled", Note("the queue of an exporter is always on here, has no effect")),
    ("num_consumers", Note("see connections_per_shard, has no effect")),
    ("queue_size", Note("the queue is bounded in bytes by queue_bytes_max here, has no effect")),
    ("sizer", Note("the queue is bounded in bytes by queue_bytes_max here, has no effect")),
    ("block_on_overflow", Note("the queue never blocks the sampler here, has no effect")),
    ("wait_for_result", Note(TUNING)),
    ("storage", Note("what waits is in the log of data_directory here (see ack), has no effect")),
    (
        "batch",
        Section(&[
            ("flush_timeout", Set("batch.flush_interval")),
            ("min_size", Note("requests are bounded by batch.spans_max and batch.bytes_max here, has no effect")),
            ("max_size", Note("requests are bounded by batch.spans_max and batch.bytes_max here, has no effect")),
            ("sizer", Note("requests are bounded by batch.spans_max and batch.bytes_max here, has no effect")),
            ("partition", Note("requests are not split by sender here, has no effect")),
        ]),
    ),
];

pub(super) const CLIENT_TLS: &[Row] = &[
    ("insecure", Set("tls.insecure")),
    ("insecure_skip_verify", Act::Convert(Convert::NotTrue("an unverified server is not supported; set tls.ca_file"))),
    ("ca_file", Set("tls.ca_file")),
    ("cert_file", Set("tls.cert_file")),
    ("key_file", Set("tls.key_file")),
    ("server_name_override", Set("tls.server_name")),
    ("ca_pem", Refuse("certificates in the configuration are not supported; write tls.ca_file")),
    ("cert_pem", Refuse("certificates in the configuration are not supported; write tls.cert_file")),
    ("key_pem", Refuse("keys in the configuration are not supported; write tls.key_file")),
    ("include_system_ca_certs_pool", Note("with ca_file only its certificates are trusted here, has no effect")),
    ("min_version", Note("TLS 1.2 and 1.3 are spoken, has no effect")),
    ("max_version", Note("TLS 1.2 and 1.3 are spoken, has no effect")),
    ("cipher_suites", Note("the cipher suites are those of rustls, has no effect")),
    ("curve_preferences", Note("the curves are those of rustls, has no effect")),
    ("reload_interval", Note("certificates are read at start, has no effect")),
    ("tpm", Refuse("keys in a TPM are not supported; remove it")),
];

/// `exporters.otlp` and `exporters.otlp_grpc`.
pub(super) const EXPORTER_GRPC: &[Row] = &[
    ("endpoint", Act::Convert(Convert::GrpcEndpoint)),
    ("tls", Section(CLIENT_TLS)),
    ("headers", Act::Convert(Convert::Headers)),
    ("compression", Act::Convert(Convert::Compression)),
    ("timeout", Set("timeout")),
    ("retry_on_failure", Section(RETRY)),
    ("sending_queue", Section(QUEUE)),
    ("auth", Refuse("authentication extensions are not supported; write the credentials under headers")),
    ("middlewares", Refuse(MIDDLEWARE)),
    ("balancer_name", Note("requests are spread over all addresses of the name here, as `round_robin` does")),
    ("keepalive", Note(TUNING)),
    ("read_buffer_size", Note(TUNING)),
    ("write_buffer_size", Note(TUNING)),
    ("wait_for_ready", Note(TUNING)),
    ("user_agent", Note("the user agent is tailwater's own, has no effect")),
    ("authority", Refuse("another authority than the endpoint's is not supported; remove it")),
    ("batcher", Note("requests are bounded by batch.spans_max and batch.bytes_max here, has no effect")),
];

/// `exporters.otlphttp` and `exporters.otlp_http`.
pub(super) const EXPORTER_HTTP: &[Row] = &[
    ("endpoint", Act::Convert(Convert::HttpEndpoint)),
    ("traces_endpoint", Set("traces_endpoint")),
    ("metrics_endpoint", Set("metrics_endpoint")),
    ("logs_endpoint", Set("logs_endpoint")),
    ("profiles_endpoint", Note("profiles are not sent, has no effect")),
    ("encoding", Act::Convert(Convert::EncodingProto)),
    ("tls", Section(CLIENT_TLS)),
    ("headers", Act::Convert(Convert::Headers)),
    ("compression", Act::Convert(Convert::Compression)),
    ("compression_params", Note(TUNING)),
    ("timeout", Set("timeout")),
    ("retry_on_failure", Section(RETRY)),
    ("sending_queue", Section(QUEUE)),
    ("auth", Refuse("authentication extensions are not supported; write the credentials under headers")),
    ("middlewares", Refuse(MIDDLEWARE)),
    ("proxy_url", Refuse("proxies are not supported; remove it")),
    ("read_buffer_size", Note(TUNING)),
    ("write_buffer_size", Note(TUNING)),
    ("max_idle_conns", Note(TUNING)),
    ("max_idle_conns_per_host", Note(TUNING)),
    ("max_conns_per_host", Note(TUNING)),
    ("idle_conn_timeout", Note(TUNING)),
    ("disable_keep_alives", Note(TUNING)),
    ("http2_read_idle_timeout", Note(TUNING)),
    ("http2_ping_timeout", Note(TUNING)),
    ("force_attempt_http2", Note(TUNING)),
    ("cookies", Note(TUNING)),
    ("batcher", Note("requests are bounded by batch.spans_max and batch.bytes_max here, has no effect")),
];

/// `exporters.file`.
pub(super) const EXPORTER_FILE: &[Row] = &[
    ("path", Act::Convert(Convert::FilePath)),
    ("format", Act::Convert(Convert::FormatJson)),
    ("compression", Refuse("the file is written as plain JSON lines; remove it")),
    ("append", Note("the file is always appended to here, has no effect")),
    (
        "rotation",
        Section(&[
            ("enabled", Act::Convert(Convert::RotationEnabled)),
            ("max_megabytes", Act::Convert(Convert::RotationMebibytes)),
            ("max_days", Act::Convert(Convert::RotationDays)),
            ("max_backups", Set("exporters.file.backups_max")),
            ("localtime", Act::Convert(Convert::RotationLocalTime)),
        ]),
    ),
    ("flush_interval", Note(TUNING)),
    ("encoding", Refuse("encoding extensions are not supported; remove it")),
    ("group_by", Note("one file is written here, has no effect")),
    ("create_directory", Note("the directory must exist here, has no effect")),
    ("directory_permissions", Note("the directory must exist here, has no effect")),
];

/// `exporters.debug`.
pub(super) const EXPORTER_DEBUG: &[Row] = &[
    ("verbosity", Set("exporters.debug.verbosity")),
    ("sampling_initial", Note("100 lines of a request are printed here, has no effect")),
    ("sampling_thereafter", Note("100 lines of a request are printed here, has no effect")),
    ("use_internal_logger", Note("it prints to the log here, has no effect")),
    ("output_paths", Note("it prints to the log here, has no effect")),
    ("sending_queue", Note("it prints at once here, has no effect")),
];

const NO_DIMENSIONS: &str = "calls and duration have the same dimensions here; write them under dimensions";

/// `connectors.spanmetrics`.
pub(super) const SPAN_METRICS: &[Row] = &[
    ("namespace", Set("summaries.span_metrics.namespace")),
    (
        "histogram",
        Section(&[
            ("disable", Act::Convert(Convert::SpanMetric(SpanMetric::HistogramKind))),
            ("unit", Act::Convert(Convert::SpanMetric(SpanMetric::Unit))),
            (
                "explicit",
                Section(&[
                    ("enabled", Act::Convert(Convert::SpanMetric(SpanMetric::HistogramKind))),
                    ("buckets", Set("summaries.span_metrics.buckets")),
                ]),
            ),
            (
                "exponential",
                Section(&[
                    ("enabled", Act::Convert(Convert::SpanMetric(SpanMetric::HistogramKind))),
                    ("max_size", Act::Convert(Convert::ZeroIs("summaries.span_metrics.buckets_max", "160"))),
                ]),
            ),
            ("dimensions", Refuse(NO_DIMENSIONS)),
        ]),
    ),
    ("dimensions", Act::Convert(Convert::SpanMetric(SpanMetric::Dimensions))),
    ("calls_dimensions", Refuse(NO_DIMENSIONS)),
    ("exclude_dimensions", Set("summaries.span_metrics.exclude_dimensions")),
    ("resource_metrics_key_attributes", Act::Convert(Convert::SpanMetric(SpanMetric::KeyAttributes))),
    ("aggregation_temporality", Act::Convert(Convert::SpanMetric(SpanMetric::Temporality))),
    ("metrics_flush_interval", Set("summaries.window")),
    ("metrics_expiration", Act::Convert(Convert::SpanMetric(SpanMetric::Expiry))),
    ("series_expiration", Act::Convert(Convert::SpanMetric(SpanMetric::Expiry))),
    ("aggregation_cardinality_limit", Act::Convert(Convert::SpanMetric(SpanMetric::SeriesMax))),
    ("dimensions_cache_size", Note("series are bounded by summaries.span_metrics.series_max here, has no effect")),
    (
        "resource_metrics_cache_size",
        Note("series are bounded by summaries.span_metrics.series_max here, has no effect"),
    ),
    ("metric_timestamp_cache_size", Note(TUNING)),
    (
        "exemplars",
        Section(&[
            ("enabled", Set("summaries.span_metrics.exemplars")),
            ("max_per_data_point", Set("summaries.span_metrics.exemplars_max")),
        ]),
    ),
    (
        "events",
        Section(&[
            ("enabled", Act::Convert(Convert::NotTrue("events of spans are not counted; write false"))),
            ("dimensions", Note("events of spans are not counted here, has no effect")),
        ]),
    ),
    ("include_instrumentation_scope", Refuse("the scope of spans is no dimension here; remove it")),
    ("add_resource_attributes", Note("attributes of resources are told here, has no effect")),
    (
        "enable_metrics_sampling_method",
        Act::Convert(Convert::NotTrue("the attribute sampling.method is not supported; write false")),
    ),
];

/// `connectors.servicegraph`.
pub(super) const SERVICE_GRAPH: &[Row] = &[
    (
        "metrics_exporter",
        Note("the exporters of its metrics pipelines have them, has no effect in the Collector either"),
    ),
    ("latency_histogram_buckets", Set("summaries.service_graph.buckets")),
    ("exponential_histogram_max_size", Act::Convert(Convert::Graph(GraphKey::Buckets))),
    ("dimensions", Set("summaries.service_graph.dimensions")),
    (
        "store",
        Section(&[
            ("ttl", Set("summaries.service_graph.wait")),
            ("max_items", Set("summaries.service_graph.waiting_max")),
        ]),
    ),
    ("cache_loop", Note(TUNING)),
    ("store_expiration_loop", Note(TUNING)),
    ("virtual_node_peer_attributes", Set("summaries.service_graph.virtual_node_attributes")),
    ("virtual_node_extra_label", Set("summaries.service_graph.virtual_node_label")),
    ("metrics_flush_interval", Act::Convert(Convert::Graph(GraphKey::Window))),
    ("metrics_timestamp_offset", Act::Convert(Convert::Graph(GraphKey::Offset))),
    ("database_name_attribute", Act::Convert(Convert::Graph(GraphKey::Database))),
    ("database_name_attributes", Set("summaries.service_graph.database_attributes")),
];

/// `service.telemetry`.
pub(super) const TELEMETRY: &[Row] = &[
    (
        "logs",
        Section(&[
            ("level", Act::Convert(Convert::LogLevel)),
            ("encoding", Act::Convert(Convert::LogFormat)),
            ("development", Note(TUNING)),
            ("sampling", Note(TUNING)),
            ("disable_caller", Note(TUNING)),
            ("disable_stacktrace", Note(TUNING)),
            ("output_paths", Note("logs are written to standard error, has no effect")),
            ("error_output_paths", Note("logs are written to standard error, has no effect")),
            ("initial_fields", Note(TUNING)),
            ("processors", Note("tailwater does not export its own logs, has no effect")),
        ]),
    ),
    ("metrics", Note("tailwater's metrics are at admin.endpoint, has no effect")),
    ("traces", Note("tailwater does not trace itself, has no effect")),
    ("resource", Note("tailwater's metrics are at admin.endpoint, has no effect")),
];
