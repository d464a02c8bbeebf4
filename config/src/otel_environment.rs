//! `OTEL_EXPORTER_OTLP_*`, the variables every OpenTelemetry SDK knows: an exporter when no other is configured.
//!
//! The rules are those of the OTLP exporter specification: a variable with `TRACES`, `METRICS` or `LOGS` in its name
//! stands before the general one; the general HTTP endpoint is a base that paths are appended to, a signal's own one is
//! used as it is; headers are percent-decoded; an empty variable counts as not set.

use std::path::PathBuf;
use std::time::Duration;

use crate::assign::check_header;
use crate::layers::Layers;
use crate::problem::{Fault, Source, shown};
use crate::settings::{ClientTls, Compression, ExportProtocol, OtlpExporter, Signals};

/// Signals with the word in their variables' names.
const SIGNALS: [(&str, Signals); 3] = [
    ("TRACES", Signals { traces: true, ..Signals::NONE }),
    ("METRICS", Signals { metrics: true, ..Signals::NONE }),
    ("LOGS", Signals { logs: true, ..Signals::NONE }),
];

/// The variables of one signal.
struct Variables<'a> {
    environment: &'a [(String, String)],
    signal: &'static str,
}

/// A variable that is set.
struct Found<'a> {
    name: &'a str,
    value: &'a str,
    /// It names the signal.
    own: bool,
}

impl<'a> Variables<'a> {
    fn find(&self, what: &str) -> Option<Found<'a>> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", self.signal);
        let general = format!("OTEL_EXPORTER_OTLP_{what}");
        let get = |name: &str| self.environment.iter().find(|(known, value)| known == name && !value.trim().is_empty());
        let found = get(&own).or_else(|| get(&general))?;
        Some(Found { name: &found.0, value: found.1.trim(), own: found.0 == own })
    }
}

/// Adds the exporters that the variables describe: one for all signals that are sent alike.
pub(crate) fn apply(layers: &mut Layers, environment: &[(String, String)]) {
    let mut exporters: Vec<OtlpExporter> = Vec::new();
    for (word, signals) in SIGNALS {
        let variables = Variables { environment, signal: word };
        let Some(endpoint) = variables.find("ENDPOINT") else { continue };
        let mut exporter = OtlpExporter { signals, ..OtlpExporter::named("otlp") };
        if let Err((name, fault)) = fill(&mut exporter, &variables, &endpoint, layers) {
            layers.findings.problem(Source::Environment(name.clone()), &name, None, fault);
            continue;
        }
        match exporters.iter_mut().find(|known| sent_alike(known, &exporter)) {
            Some(known) => join(known, exporter),
            None => exporters.push(exporter),
        }
        let source = Source::Environment(endpoint.name.to_string());
        layers.sources.insert("exporters".to_string(), source);
    }
    if exporters.len() > 1 {
        for exporter in &mut exporters {
            let first = SIGNALS.iter().find(|(_, signals)| {
                (signals.traces && exporter.signals.traces)
                    || (signals.metrics && exporter.signals.metrics)
                    || (signals.logs && exporter.signals.logs)
            });
            if let Some((word, _)) = first {
                exporter.name = format!("otlp/{}", word.to_lowercase());
            }
        }
    }
    layers.draft.exporters = exporters;
}

/// Whether the two differ in nothing but their signals and the URLs of those.
fn sent_alike(one: &OtlpExporter, other: &OtlpExporter) -> bool {
    let plain = |exporter: &OtlpExporter| OtlpExporter {
        signals: Signals::NONE,
        traces_endpoint: None,
        metrics_endpoint: None,
        logs_endpoint: None,
        ..exporter.clone()
    };
    plain(one) == plain(other)
}

fn join(known: &mut OtlpExporter, other: OtlpExporter) {
    known.signals.traces |= other.signals.traces;
    known.signals.metrics |= other.signals.metrics;
    known.signals.logs |= other.signals.logs;
    known.traces_endpoint = known.traces_endpoint.take().or(other.traces_endpoint);
    known.metrics_endpoint = known.metrics_endpoint.take().or(other.metrics_endpoint);
    known.logs_endpoint = known.logs_endpoint.take().or(other.logs_endpoint);
}

type Refusal = (String, Fault);

fn fill(
    exporter: &mut OtlpExporter,
    variables: &Variables<'_>,
    endpoint: &Found<'_>,
    layers: &mut Layers,
) -> Result<(), Refusal> {
    exporter.protocol = protocol(variables, layers)?;
    exporter.compression = compression(variables)?;
    exporter.headers = headers(variables)?;
    if let Some(found) = variables.find("TIMEOUT") {
        let milliseconds: u64 = found.value.parse().map_err(|_| refusal(&found, "not a time", "write milliseconds"))?;
        exporter.timeout = Duration::from_millis(milliseconds.max(1));
    }
    let path = |what: &str| variables.find(what).map(|found| PathBuf::from(found.value));
    exporter.tls = ClientTls {
        insecure: variables.find("INSECURE").is_some_and(|found| found.value.eq_ignore_ascii_case("true")),
        ca_file: path("CERTIFICATE"),
        cert_file: path("CLIENT_CERTIFICATE"),
        key_file: path("CLIENT_KEY"),
        server_name: None,
    };
    match exporter.protocol {
        ExportProtocol::HttpProtobuf if endpoint.own => {
            let url = Some(endpoint.value.to_string());
            match variables.signal {
                "TRACES" => exporter.traces_endpoint = url,
                "METRICS" => exporter.metrics_endpoint = url,
                _ => exporter.logs_endpoint = url,
            }
        }
        ExportProtocol::HttpProtobuf => exporter.endpoints = vec![endpoint.value.to_string()],
        // A path has no meaning for gRPC.
        ExportProtocol::Grpc => exporter.endpoints = vec![without_path(endpoint.value)],
    }
    Ok(())
}

fn without_path(endpoint: &str) -> String {
    let start = endpoint.find("://").map_or(0, |scheme| scheme + 3);
    let end = endpoint[start..].find('/').map_or(endpoint.len(), |slash| start + slash);
    endpoint[..end].to_string()
}

fn refusal(found: &Found<'_>, cause: &str, remedy: &str) -> Refusal {
    (found.name.to_string(), Fault::new(format!("{cause}: `{}`", shown(found.value)), remedy))
}

fn protocol(variables: &Variables<'_>, layers: &mut Layers) -> Result<ExportProtocol, Refusal> {
    // The specification's default, also where the endpoint has the port of gRPC.
    let Some(found) = variables.find("PROTOCOL") else { return Ok(ExportProtocol::HttpProtobuf) };
    match found.value {
        "grpc" => Ok(ExportProtocol::Grpc),
        "http/protobuf" => Ok(ExportProtocol::HttpProtobuf),
        "http/json" => {
            let source = Source::Environment(found.name.to_string());
            layers.findings.note(source, found.name, "protobuf is sent in place of JSON");
            Ok(ExportProtocol::HttpProtobuf)
        }
        _ => Err(refusal(&found, "not a protocol", "write grpc or http/protobuf")),
    }
}

fn compression(variables: &Variables<'_>) -> Result<Compression, Refusal> {
    let Some(found) = variables.find("COMPRESSION") else { return Ok(Compression::None) };
    Compression::from_text(found.value).ok_or_else(|| refusal(&found, "not a compression", "write gzip, zstd or none"))
}

fn headers(variables: &Variables<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let Some(found) = variables.find("HEADERS") else { return Ok(Vec::new()) };
    let refuse = |fault: Fault| (found.name.to_string(), fault);
    let mut headers = Vec::new();
    for part in found.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let malformed = || Fault::new("a header without a value", "write name=value, separated by commas");
        let (name, value) = part.split_once('=').ok_or_else(|| refuse(malformed()))?;
        let name = percent_decoded(name.trim()).ok_or_else(|| refuse(malformed()))?;
        let value = percent_decoded(value.trim()).ok_or_else(|| {
            refuse(Fault::new("percent signs that decode to no text", "write %25 for a percent sign"))
        })?;
        check_header(&name, &value).map_err(refuse)?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// Text with `%XX` decoded; `None` when that is not UTF-8 or a percent sign stands alone.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (char::from(bytes.next()?).to_digit(16)?, char::from(bytes.next()?).to_digit(16)?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
