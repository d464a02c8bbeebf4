//! Walks a component by its table and puts each key where it belongs.

use super::home::{Home, set, set_text};
use super::tables::{self, Act, Convert, GraphKey, Row, SpanMetric};
use super::{Importer, service_graph, span_metrics};
use crate::draft::Which;
use crate::problem::{Fault, shown};
use crate::sampling::Strategy;
use crate::settings::Compression;
use crate::value::MIB;
use crate::yaml::{Entry, Node, Resolved, Scalar, Style, Value};
use tailwater_ottl::suggest;

/// `receivers.otlp`, the receiver of that number.
pub(super) fn receiver(importer: &mut Importer<'_>, key: &str, number: usize, entry: &Entry) {
    let protocols = entry.node.get("protocols");
    if let Value::Map(entries) = &entry.node.value {
        for other in entries.iter().filter(|other| other.key != "protocols") {
            importer.refuse(other.line, &format!("{key}.{}", other.key), "unknown key", "the key here is protocols");
        }
    }
    let Some(Value::Map(protocols)) = protocols.map(|entry| &entry.node.value) else {
        importer.refuse(entry.line, key, "must specify at least one protocol", "write `protocols: {grpc:, http:}`");
        return;
    };
    for protocol in protocols {
        let key = format!("{key}.protocols.{}", protocol.key);
        let (which, table) = match protocol.key.as_str() {
            "grpc" => (Which::Grpc, tables::RECEIVER_GRPC),
            "http" => (Which::Http, tables::RECEIVER_HTTP),
            _ => {
                importer.refuse(protocol.line, &key, "unknown protocol", "the protocols here are grpc, http");
                continue;
            }
        };
        let draft = &mut importer.layers.draft;
        let (home, listener) = match (number.checked_sub(1), which) {
            (None, _) => (Home::Receiver(which), draft.receiver_mut(which)),
            (Some(further), Which::Grpc) => (Home::Further(further, which), &mut draft.further_mut(further).grpc),
            (Some(further), Which::Http) => (Home::Further(further, which), &mut draft.further_mut(further).http),
        };
        listener.enabled = true;
        let source = importer.source(protocol.line);
        importer.layers.sources.insert(home.path("enabled"), source.clone());
        let path = home.path("");
        let path = path.trim_end_matches('.');
        importer.layers.sources.insert(path.to_string(), source);
        importer.layers.written.insert(path.to_string(), key.clone());
        section(importer, home, &key, &protocol.node, table);
    }
}

/// `processors.tail_sampling`, of the pipeline of that name where there are several.
pub(super) fn tail_sampling(importer: &mut Importer<'_>, key: &str, pipeline: Option<&str>, entry: &Entry) {
    let source = importer.source(entry.line);
    let home = pipeline.map_or_else(|| "sampling".to_string(), |name| format!("pipelines.{name}"));
    importer.layers.written.insert(home.clone(), key.to_string());
    importer.layers.sources.insert(home, source);
    section(importer, Home::Sampling(pipeline), key, &entry.node, tables::TAIL_SAMPLING);
}

/// An OTLP exporter of the draft.
pub(super) fn exporter(importer: &mut Importer<'_>, key: &str, name: &str, entry: &Entry, table: &'static [Row]) {
    let mut node = entry.node.clone();
    if let Some(why) = plain_text(&node) {
        without_tls(importer, key, &mut node, why);
    }
    section(importer, Home::Exporter(name), key, &node, table);
}

/// Why an exporter speaks plain text, where it does.
fn plain_text(node: &Node) -> Option<&'static str> {
    let endpoints = ["endpoint", "traces_endpoint", "metrics_endpoint", "logs_endpoint"];
    let mut written =
        endpoints.iter().filter_map(|name| node.get(name)).filter_map(|entry| entry.node.text()).peekable();
    let insecure = node.get("tls").and_then(|tls| tls.node.get("insecure"));
    let is_insecure = insecure
        .is_some_and(|entry| matches!(&entry.node.value, Value::Scalar(scalar) if scalar.boolean() == Some(true)));
    let is_http = written.peek().is_some() && written.all(|url| url.starts_with("http://"));
    match (is_insecure, is_http) {
        (_, true) => Some("has no effect: an endpoint with http:// is plain text"),
        (true, false) => {
            let mut urls = endpoints.iter().filter_map(|name| node.get(name)).filter_map(|entry| entry.node.text());
            // The scheme decides here, so that an endpoint with https:// uses the rest.
            (!urls.any(|url| url.starts_with("https://"))).then_some("has no effect beside insecure: true")
        }
        _ => None,
    }
}

/// Takes all keys of TLS but `insecure` out, and says so.
fn without_tls(importer: &mut Importer<'_>, key: &str, node: &mut Node, why: &str) {
    let Value::Map(entries) = &mut node.value else { return };
    let Some(tls) = entries.iter_mut().find(|entry| entry.key == "tls") else { return };
    let Value::Map(keys) = &mut tls.node.value else { return };
    let is_known = |name: &str| tables::CLIENT_TLS.iter().any(|(known, _)| *known == name);
    keys.retain(|entry| {
        let is_idle = entry.key != "insecure" && is_known(&entry.key);
        if is_idle && !entry.node.is_null() {
            importer.note(entry.line, &format!("{key}.tls.{}", entry.key), why);
        }
        !is_idle
    });
}

/// `exporters.file`.
pub(super) fn file_exporter(importer: &mut Importer<'_>, key: &str, entry: &Entry) {
    if importer.layers.draft.file_path.is_some() {
        importer.refuse(entry.line, key, "a second file exporter", "use one");
        return;
    }
    // The file is rotated where that is written, past 100 MB where no number is.
    let is_rotated = entry.node.get("rotation").is_some_and(|rotation| !rotation.node.is_null());
    let bytes_max = if is_rotated { ROTATION_BYTES_MAX } else { 0 };
    set_text(importer, Home::Node, "exporters.file.bytes_max", key, entry.line, &bytes_max.to_string());
    section(importer, Home::Node, key, &entry.node, tables::EXPORTER_FILE);
    if importer.layers.draft.file_path.is_none() {
        importer.refuse(entry.line, key, "a file exporter without a path", "write `path:`");
    }
}

/// `exporters.debug`: prints, and keeps nothing.
pub(super) fn debug_exporter(importer: &mut Importer<'_>, key: &str, entry: &Entry) {
    set_text(importer, Home::Node, "exporters.debug.verbosity", key, entry.line, "basic");
    section(importer, Home::Node, key, &entry.node, tables::EXPORTER_DEBUG);
}

/// Where the Collector's file exporter rotates when no size is written.
const ROTATION_BYTES_MAX: u64 = 100 * MIB;

/// `service.telemetry`.
pub(super) fn telemetry(importer: &mut Importer<'_>, key: &str, entry: &Entry) {
    section(importer, Home::Node, key, &entry.node, tables::TELEMETRY);
}

/// One level of a component; the tables bound the depth.
pub(super) fn section(importer: &mut Importer<'_>, home: Home<'_>, key: &str, node: &Node, table: &'static [Row]) {
    let entries = match &node.value {
        Value::Map(entries) => entries,
        _ if node.is_null() => return,
        _ => {
            importer.refuse(node.line, key, format!("{} where a mapping is needed", node.kind()), "write a mapping");
            return;
        }
    };
    for entry in entries {
        let key = format!("{key}.{}", entry.key);
        let Some((_, act)) = table.iter().find(|(name, _)| *name == entry.key) else {
            let known = table.iter().map(|(name, _)| *name);
            let remedy = suggest::nearest(&entry.key, known)
                .map_or_else(|| "remove it".to_string(), |near| format!("did you mean `{near}`?"));
            importer.refuse(entry.line, &key, "unknown key", remedy);
            continue;
        };
        // `key:` with nothing is the default, whatever the key.
        if entry.node.is_null() {
            if !matches!(act, Act::Set(_)) {
                importer.note(entry.line, &key, "nothing is written here, has no effect");
            }
            continue;
        }
        match act {
            Act::Section(table) => section(importer, home, &key, &entry.node, table),
            Act::Note(text) => importer.note_all(entry.line, &key, &entry.node, text),
            Act::Refuse(remedy) => refuse_unless_empty(importer, &key, entry, remedy),
            Act::Set(path) => set(importer, home, path, &key, entry.line, &entry.node),
            Act::Convert(how) => convert(importer, home, *how, &key, entry),
        }
    }
}

fn refuse_unless_empty(importer: &mut Importer<'_>, key: &str, entry: &Entry, remedy: &str) {
    if is_empty(&entry.node) {
        importer.note(entry.line, key, "nothing is written here, has no effect");
    } else {
        importer.refuse(entry.line, key, "not supported", remedy);
    }
}

/// Whether nothing is written below a node, on any level. The YAML reader bounds the depth.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().all(|entry| is_empty(&entry.node)),
        Value::List(items) => items.is_empty(),
        Value::Scalar(scalar) => node.is_null() || scalar.text.is_empty(),
    }
}

/// A section that is not supported where one of `telling` is written, and has no effect where none is.
fn refuse_with_any(importer: &mut Importer<'_>, key: &str, entry: &Entry, telling: &[&str], remedy: &str) {
    let is_told = |name: &&str| entry.node.get(name).is_some_and(|inner| !is_empty(&inner.node));
    if let Some(name) = telling.iter().find(|name| is_told(name)) {
        let line = entry.node.get(name).map_or(entry.line, |inner| inner.line);
        importer.refuse(line, &format!("{key}.{name}"), "not supported", remedy);
    } else {
        let text = format!("has no effect without {}", telling.join(" or "));
        importer.note_all(entry.line, key, &entry.node, &text);
    }
}

fn convert(importer: &mut Importer<'_>, home: Home<'_>, how: Convert, key: &str, entry: &Entry) {
    match how {
        Convert::Headers => return headers(importer, home, key, entry),
        Convert::SpanMetric(what) => return span_metrics::convert(importer, what, key, entry),
        Convert::Graph(what) => return service_graph::convert(importer, what, key, entry),
        Convert::ServerTls => {
            let telling = ["cert_file", "key_file", "cert_pem", "key_pem", "client_ca_file"];
            return refuse_with_any(importer, key, entry, &telling, tables::SERVER_TLS);
        }
        Convert::Cors => {
            let remedy = "cross-origin requests of browsers are not supported; remove it, or put a proxy in front";
            return refuse_with_any(importer, key, entry, &["allowed_origins"], remedy);
        }
        Convert::ZeroIs(path, value) => return zero_is(importer, home, path, value, key, entry),
        Convert::Streams => return streams(importer, home, key, entry),
        Convert::Multiplier => return multiplier(importer, home, key, entry),
        _ => {}
    }
    // Some of these keys take text and others a number, which is looked at where it is.
    let text = entry.node.written();
    let (Some(text), line) = (text, entry.line) else {
        importer.refuse(entry.line, key, format!("{} does not fit here", entry.node.kind()), "write one value");
        return;
    };
    let unquoted = Scalar { text: text.to_string(), style: Style::Plain };
    let scalar = if let Value::Scalar(scalar) = &entry.node.value { scalar } else { &unquoted };
    match how {
        Convert::TransportTcp => only(importer, entry, key, text, &["tcp", "tcp4", "tcp6"]),
        Convert::UrlPath(path) => only(importer, entry, key, text, &[path]),
        Convert::FormatJson => only(importer, entry, key, text, &["json"]),
        Convert::RequestMebibytes | Convert::RequestBytes => request_bytes(importer, home, how, key, line, scalar),
        Convert::SamplingStrategy => strategy(importer, home, key, line, text),
        Convert::Shards => shards(importer, key, line, scalar),
        Convert::NotTrue(remedy) if text == "true" => importer.refuse(line, key, "not supported", remedy),
        Convert::GrpcEndpoint => grpc_endpoint(importer, home, key, line, text),
        Convert::HttpEndpoint => set_text(importer, home, "endpoints", key, line, text),
        Convert::Compression => compression(importer, home, key, line, text),
        Convert::EncodingProto if text != "proto" => importer.note(line, key, "protobuf is sent, has no effect"),
        Convert::RotationEnabled if text == "false" => {
            set_text(importer, home, "exporters.file.bytes_max", key, line, "0");
        }
        Convert::RotationMebibytes => match whole(scalar).and_then(|number| number.checked_mul(MIB)) {
            Some(0) => {}
            Some(bytes) => set_text(importer, home, "exporters.file.bytes_max", key, line, &bytes.to_string()),
            None => importer.refuse(line, key, "not a whole number", "write a whole number without a unit"),
        },
        Convert::RotationDays => match whole(scalar).and_then(|days| days.checked_mul(24)) {
            Some(hours) => set_text(importer, home, "exporters.file.backup_age_max", key, line, &format!("{hours}h")),
            None => importer.refuse(line, key, "not a whole number", "write a whole number of days"),
        },
        Convert::RotationLocalTime if text == "true" => {
            importer.note(line, key, "backups are named by universal time here, has no effect");
        }
        Convert::FilePath => set_text(importer, home, "exporters.file.path", key, line, text),
        Convert::LogLevel => {
            let level = text.to_ascii_lowercase();
            // zap has levels above error, which end the process; there are none here.
            let level = if matches!(level.as_str(), "dpanic" | "panic" | "fatal") { "error" } else { &level };
            set_text(importer, home, "log.level", key, line, level);
        }
        Convert::LogFormat => {
            set_text(importer, home, "log.format", key, line, if text == "console" { "text" } else { text });
        }
        // What has been dealt with.
        _ => {}
    }
}

fn number_of(node: &Node) -> Option<f64> {
    let Value::Scalar(scalar) = &node.value else { return None };
    match scalar.resolve() {
        Resolved::Integer(number) => number.to_string().parse().ok(),
        Resolved::Float(number) => Some(number),
        _ => None,
    }
}

fn is_zero(node: &Node) -> bool {
    let is_zero = |text: &str| crate::value::duration(text).is_ok_and(|duration| duration.is_zero());
    number_of(node) == Some(0.0) || node.written().is_some_and(is_zero)
}

/// A duration whose zero stands for something else there.
fn zero_is(importer: &mut Importer<'_>, home: Home<'_>, path: &str, value: &str, key: &str, entry: &Entry) {
    if is_zero(&entry.node) {
        set_text(importer, home, path, key, entry.line, value);
        importer.note(entry.line, key, format!("zero is {value} here"));
    } else {
        set(importer, home, path, key, entry.line, &entry.node);
    }
}

/// Most streams of a connection here; the Collector has a larger number, or none.
const STREAMS_MAX: u32 = 65_536;

fn streams(importer: &mut Importer<'_>, home: Home<'_>, key: &str, entry: &Entry) {
    let path = "streams_per_connection_max";
    let is_beyond = |number: f64| number == 0.0 || (number > f64::from(STREAMS_MAX) && number <= f64::from(u32::MAX));
    if number_of(&entry.node).is_some_and(is_beyond) {
        set_text(importer, home, path, key, entry.line, &STREAMS_MAX.to_string());
        importer.note(entry.line, key, format!("counts as {STREAMS_MAX}, the most that a connection may have here"));
    } else {
        set(importer, home, path, key, entry.line, &entry.node);
    }
}

fn multiplier(importer: &mut Importer<'_>, home: Home<'_>, key: &str, entry: &Entry) {
    if number_of(&entry.node).is_some_and(|number| (0.0..1.0).contains(&number)) {
        set_text(importer, home, "retry.multiplier", key, entry.line, "1");
        importer.note(entry.line, key, "counts as 1: waits do not become shorter here");
    } else {
        set(importer, home, "retry.multiplier", key, entry.line, &entry.node);
    }
}

fn only(importer: &mut Importer<'_>, entry: &Entry, key: &str, text: &str, accepted: &[&str]) {
    if text.is_empty() {
        importer.note(entry.line, key, "nothing is written here, has no effect");
    } else if !accepted.contains(&text) {
        let remedy = format!("write {} or leave it out", accepted.join(" or "));
        importer.refuse(entry.line, key, format!("`{}` is not supported", shown(text)), remedy);
    }
}

fn whole(scalar: &Scalar) -> Option<u64> {
    if scalar.style == Style::Quoted { None } else { crate::value::count(&scalar.text).ok() }
}

fn request_bytes(importer: &mut Importer<'_>, home: Home<'_>, how: Convert, key: &str, line: u32, scalar: &Scalar) {
    let unit = if matches!(how, Convert::RequestMebibytes) { MIB } else { 1 };
    let number = whole(scalar);
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(0) => {}
        Some(bytes) => set_text(importer, home, "request_bytes_max", key, line, &bytes.to_string()),
        None => importer.refuse(line, key, "not a whole number", "write a whole number without a unit"),
    }
}

fn strategy(importer: &mut Importer<'_>, home: Home<'_>, key: &str, line: u32, text: &str) {
    if Strategy::from_text(text).is_some() {
        set_text(importer, home, "strategy", key, line, text);
    } else {
        let cause = format!(
            "invalid sampling_strategy \"{}\", expected one of \"trace-complete\" or \"span-ingest\"",
            shown(text)
        );
        importer.refuse(line, key, cause, "write trace-complete");
    }
}

/// Most event loops that the Collector lets a processor have.
const SHARDS_MAX: u64 = 256;

fn shards(importer: &mut Importer<'_>, key: &str, line: u32, scalar: &Scalar) {
    let number = whole(scalar);
    match number {
        Some(number) if number > SHARDS_MAX => {
            let cause = format!("num_shards ({number}) must not exceed {SHARDS_MAX}");
            importer.refuse(line, key, cause, "lower it, or remove it: it has no effect here");
        }
        Some(_) => {
            let text = "traces are spread over all cores here (see shards), and limits are not divided; has no effect";
            importer.note(line, key, text);
        }
        None => importer.refuse(line, key, "not a whole number", "write a whole number, or remove it"),
    }
}

/// gRPC targets of the Collector: `host:port`, `dns:///host:port`, or a URL.
fn grpc_endpoint(importer: &mut Importer<'_>, home: Home<'_>, key: &str, line: u32, text: &str) {
    let name = text.strip_prefix("dns:///").or_else(|| text.strip_prefix("passthrough:///")).unwrap_or(text);
    set_text(importer, home, "endpoints", key, line, name);
}

fn compression(importer: &mut Importer<'_>, home: Home<'_>, key: &str, line: u32, text: &str) {
    match text {
        "" | "none" => set_text(importer, home, "compression", key, line, "none"),
        "snappy" | "zlib" | "deflate" | "lz4" | "x-snappy-framed" => {
            set_text(importer, home, "compression", key, line, Compression::Gzip.as_str());
            importer.note(line, key, format!("`{text}` is not spoken here, gzip is used"));
        }
        _ => set_text(importer, home, "compression", key, line, text),
    }
}

/// Headers as a mapping, or as a list of `{name, value}` as newer Collectors write them.
fn headers(importer: &mut Importer<'_>, home: Home<'_>, key: &str, entry: &Entry) {
    let Value::List(items) = &entry.node.value else {
        set(importer, home, "headers", key, entry.line, &entry.node);
        return;
    };
    let mut entries = Vec::with_capacity(items.len());
    for item in items {
        let (Some(name), Some(value)) = (item.get("name"), item.get("value")) else {
            importer.refuse(item.line, key, "a header without name and value", "write {name: N, value: V}");
            return;
        };
        if let Some(text) = name.node.text() {
            entries.push(Entry { key: text.to_string(), line: item.line, node: value.node.clone() });
        }
    }
    let node = Node::new(entry.line, Value::Map(entries));
    set(importer, home, "headers", key, entry.line, &node);
}

/// The scheme of an exporter's endpoint against its `tls.insecure`: the Collector uses TLS for gRPC unless told not to,
/// whatever the scheme says, and this program goes by the scheme.
pub(super) fn check_grpc_scheme(importer: &mut Importer<'_>, key: &str, name: &str, line: u32) {
    let exporter = importer.layers.draft.exporter_mut(name);
    let plain = exporter.endpoints.iter().any(|endpoint| endpoint.starts_with("http://"));
    let insecure = exporter.tls.insecure;
    if plain && !insecure {
        let source = importer.source(line);
        let fault = Fault::new(
            "the scheme is http but tls.insecure is not set, so the Collector would use TLS",
            "write tls.insecure: true for plain text, or https:// for TLS",
        );
        importer.layers.findings.problem(source, &format!("{key}.endpoint"), None, fault);
    }
}

/// The keys of a table with what becomes of each; tables bound the depth.
pub(super) fn reference_rows(key: &str, home: &str, table: &[Row], rows: &mut Vec<(String, String)>) {
    for (name, act) in table {
        let key = format!("{key}.{name}");
        let becomes = match act {
            Act::Section(inner) => {
                reference_rows(&key, home, inner, rows);
                continue;
            }
            Act::Set(path) => format!("`{home}{path}`"),
            Act::Note(text) => format!("a note: {text}"),
            Act::Refuse(remedy) => format!("refused: {remedy}"),
            Act::Convert(how) => match how {
                Convert::TransportTcp => "`tcp`; others are refused".to_string(),
                Convert::ServerTls => format!("refused with a certificate: {}", tables::SERVER_TLS),
                Convert::Cors => "refused with `allowed_origins`: cross-origin requests are not supported".to_string(),
                Convert::ZeroIs(path, value) => format!("`{home}{path}`; zero is {value}"),
                Convert::Streams => format!("`{home}streams_per_connection_max`; zero is {STREAMS_MAX}"),
                Convert::Multiplier => format!("`{home}retry.multiplier`; 1 where it is less"),
                Convert::RequestMebibytes => format!("`{home}request_bytes_max`, from mebibytes"),
                Convert::RequestBytes => format!("`{home}request_bytes_max`"),
                Convert::UrlPath(path) => format!("`{path}`; others are refused"),
                Convert::SamplingStrategy => format!("`{home}strategy`"),
                Convert::Shards => "a note: traces are spread over all cores here (see shards)".to_string(),
                Convert::NotTrue(remedy) => format!("`false`; `true` is refused: {remedy}"),
                Convert::GrpcEndpoint | Convert::HttpEndpoint => format!("`{home}endpoints`"),
                Convert::Headers => format!("`{home}headers`"),
                Convert::Compression => format!("`{home}compression`; `gzip` in place of one that is not spoken"),
                Convert::EncodingProto => "a note where it is not `proto`: protobuf is sent".to_string(),
                Convert::FilePath => "`exporters.file.path`".to_string(),
                Convert::RotationEnabled => "`exporters.file.bytes_max`; `false` is no limit".to_string(),
                Convert::RotationMebibytes => "`exporters.file.bytes_max`, from mebibytes".to_string(),
                Convert::RotationDays => "`exporters.file.backup_age_max`, from days".to_string(),
                Convert::RotationLocalTime => "a note where it is `true`: universal time is used".to_string(),
                Convert::FormatJson => "`json`; others are refused".to_string(),
                Convert::LogLevel => "`log.level`".to_string(),
                Convert::LogFormat => "`log.format`".to_string(),
                Convert::SpanMetric(what) => span_metric(*what).to_string(),
                Convert::Graph(what) => graph_key(*what).to_string(),
            },
        };
        rows.push((key, becomes));
    }
}

fn graph_key(what: GraphKey) -> &'static str {
    match what {
        GraphKey::Buckets => {
            "`summaries.service_graph.buckets_max` of an exponential `histogram`; zero is an explicit one"
        }
        GraphKey::Database => "`summaries.service_graph.database_attributes`, with this one",
        GraphKey::Offset => "`0s`; others are refused: metrics have the time at which they leave",
        GraphKey::Window => "`summaries.window`, the shorter of two",
    }
}

fn span_metric(what: SpanMetric) -> &'static str {
    match what {
        SpanMetric::HistogramKind => "`summaries.span_metrics.histogram`",
        SpanMetric::Unit => "`summaries.span_metrics.unit`",
        SpanMetric::Dimensions => "`summaries.span_metrics.dimensions`; `glob` is refused",
        SpanMetric::KeyAttributes => "`summaries.span_metrics.resource_attributes`; all where none is named",
        SpanMetric::Temporality => "`summaries.span_metrics.temporality`",
        SpanMetric::SeriesMax => "`summaries.span_metrics.series_max`; zero is the default",
        SpanMetric::Expiry => "`summaries.span_metrics.expiry`, the shorter of the two",
    }
}
