//! The last step: what is worked out from other values, and the checks that look at more than one key.

mod cluster;
mod control;
mod sampling;
mod service_graph;
mod summaries;

use std::collections::BTreeMap;

use crate::draft::{Draft, ReceiverDraft};
use crate::problem::{Fault, Findings, Source, shown};
use crate::provenance;
use crate::settings::{Ack, Config, FILE_EXPORTER, NO_EXPORTER, OtlpExporter, Wal};
use crate::value::MIB;
use tailwater_ottl::suggest;

/// Share of the machine's memory taken when nothing is written, percent. The rest is the kernel's, for sockets and the
/// page cache under the log.
const MEMORY_PERCENT: u64 = 60;
/// Part of the memory for request bodies in flight when nothing is written.
const RECEIVE_SHARE: u64 = 8;
/// As much at least.
const RECEIVE_BYTES_DEFAULT_MIN: u64 = 16 * MIB;
/// Of the memory: the queue of the file of kept items, where nothing is written. It has room for a request at least; the
/// smallest machines have no more to spare.
const FILE_QUEUE_SHARE: u64 = 16;
const FILE_QUEUE_LESS: u64 = 16 * MIB;
const FILE_QUEUE_MIN: u64 = 4 * MIB;
/// The queue of the file of kept items where nothing is written, at most.
const FILE_QUEUE_MAX: u64 = 64 * MIB;
/// Part of the memory for the log's buffers when nothing is written.
const WAL_BUFFER_SHARE: u64 = 16;
/// Taken when the caller cannot tell the machine's memory.
const MEMORY_BYTES_UNKNOWN: u64 = 1024 * MIB;

/// Ways of traces through a node. Each judges all that comes, so that a node with more does little else.
/// At the bound: the configuration is refused.
const PIPELINES_MAX: usize = 64;

/// What the checks need.
struct Checks<'a> {
    sources: &'a BTreeMap<String, Source>,
    written: &'a BTreeMap<String, String>,
    findings: &'a mut Findings,
}

impl Checks<'_> {
    /// Where the key was written, or else the nearest section around it.
    fn source(&self, key: &str) -> Source {
        provenance::source(self.sources, key)
    }

    /// The key as its file has it.
    fn written(&self, key: &str) -> String {
        provenance::written(self.written, key)
    }

    fn note(&mut self, key: &str, text: impl Into<String>) {
        self.findings.note(self.source(key), &self.written(key), text);
    }

    fn refuse(&mut self, key: &str, value: Option<String>, cause: impl Into<String>, remedy: impl Into<String>) {
        let source = self.source(key);
        // What does not fit because it could not be read is no news.
        if !self.findings.is_refused(&source) {
            self.findings.problem(source, &self.written(key), value, Fault::new(cause, remedy));
        }
    }
}

/// The finished configuration, or `None` when `findings` has a problem.
pub(crate) fn finish(
    mut draft: Draft,
    sources: &BTreeMap<String, Source>,
    written: &BTreeMap<String, String>,
    machine_memory_bytes: u64,
    findings: &mut Findings,
) -> Option<Config> {
    let mut checks = Checks { sources, written, findings };
    memory(&mut draft, machine_memory_bytes, &mut checks);
    addresses(&draft, &mut checks);
    // Where something else is wrong, that is why.
    if checks.findings.problems.is_empty() && !draft.listeners().any(|listener| listener.enabled) {
        let remedy = "enable otlp.grpc or otlp.http; in a Collector file use the otlp receiver in a pipeline";
        checks.refuse("otlp", None, "no receiver is enabled, so nothing could arrive", remedy);
    }
    wal(&mut draft, &mut checks);
    samplings(&mut draft, &mut checks);
    cluster::cluster(&mut draft, &mut checks);
    summaries::summaries(&mut draft, &mut checks);
    service_graph::service_graph(&draft, &mut checks);
    control::control(&mut draft, &mut checks);
    pipeline_exporters(&draft, &mut checks);
    for exporter in &mut draft.exporters {
        finish_exporter(exporter, &mut checks);
    }
    findings.problems.is_empty().then(|| draft.into_config())
}

use sampling::{prefix, samplings};

fn memory(draft: &mut Draft, machine: u64, checks: &mut Checks<'_>) {
    let machine = if machine == 0 { MEMORY_BYTES_UNKNOWN } else { machine };
    let enabled = draft.listeners().filter(|listener| listener.enabled);
    let largest = enabled.map(|draft| draft.receiver.limits.request_bytes_max).max().unwrap_or(0);
    let memory = &mut draft.config.memory;
    if memory.bytes_max == 0 {
        memory.bytes_max = machine / 100 * MEMORY_PERCENT;
    } else if memory.bytes_max > machine {
        checks.note("memory.bytes_max", "is more than the machine or its control group has");
    }
    if draft.file.queue_bytes_max == 0 {
        let share = (memory.bytes_max / FILE_QUEUE_SHARE).saturating_sub(FILE_QUEUE_LESS);
        draft.file.queue_bytes_max = share.clamp(FILE_QUEUE_MIN, FILE_QUEUE_MAX);
    }
    if memory.receive_bytes_max == 0 {
        memory.receive_bytes_max = (memory.bytes_max / RECEIVE_SHARE).max(RECEIVE_BYTES_DEFAULT_MIN);
    }
    if memory.span_bytes_max == 0 {
        memory.span_bytes_max = largest;
    }
}

fn wal(draft: &mut Draft, checks: &mut Checks<'_>) {
    let level = draft.config.ack;
    let is_open = |listener: &ReceiverDraft| listener.enabled && listener.ack.unwrap_or(level) != Ack::Received;
    let is_logged = draft.listeners().any(is_open);
    let config = &mut draft.config;
    if config.wal.buffer_bytes_max == 0 {
        config.wal.buffer_bytes_max = Wal::BUFFER_BYTES_DEFAULT.min(config.memory.bytes_max / WAL_BUFFER_SHARE);
    }
    let key = "wal.keep_pending_at_shutdown";
    let value = Some("true".to_string());
    if config.wal.keep_pending_at_shutdown && !is_logged {
        let cause = "there is no log to keep pending traces in: every receiver answers with `received`";
        checks.refuse(key, value.clone(), cause, "remove it, or set ack to written or synced");
    }
    let keeps = config.wal.keep_pending_at_shutdown && is_logged;
    for (name, sampling) in config.samplings() {
        let prefix = prefix(name);
        if keeps && sampling.drop_pending_traces_on_shutdown {
            let cause = format!("contradicts {prefix}.drop_pending_traces_on_shutdown");
            checks.refuse(key, value.clone(), cause, "write one of them");
        }
        if !sampling.cold_after.is_zero() && !is_logged {
            let key = format!("{prefix}.cold_after");
            let text = "has no effect without the log: every receiver answers with `received`";
            checks.note(&key, text);
        }
    }
}

/// Each pipeline's exporters are there.
fn pipeline_exporters(draft: &Draft, checks: &mut Checks<'_>) {
    let pipelines = &draft.config.pipelines;
    if pipelines.len() > PIPELINES_MAX {
        let value = Some(pipelines.len().to_string());
        let remedy = format!("give several the same sampler, or run several instances; {PIPELINES_MAX} are the most");
        checks.refuse("pipelines", value, "more ways for traces than a node can have", remedy);
    }
    let mut known: Vec<&str> = draft.exporters.iter().map(|exporter| exporter.name.as_str()).collect();
    if known.is_empty() || draft.file_path.is_some() {
        known.push(FILE_EXPORTER);
    }
    known.push(NO_EXPORTER);
    for pipeline in pipelines {
        let key = format!("{}.exporters", prefix(&pipeline.name));
        for name in pipeline.exporters.iter().filter(|name| !known.contains(&name.as_str())) {
            let near = suggest::nearest(name, known.iter().copied());
            let remedy = near.map_or_else(
                || format!("the exporters here are {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            checks.refuse(&key, Some(shown(name)), "there is no exporter of this name", remedy);
        }
        if pipeline.exporters.len() > 1 && pipeline.exporters.iter().any(|name| name == NO_EXPORTER) {
            checks.refuse(&key, None, "has exporters and `none`", "write one or the other");
        }
    }
    idle_exporters(draft, checks);
}

/// Says of exporters that take traces when no pipeline sends them any: a flag may have added one that no list names.
fn idle_exporters(draft: &Draft, checks: &mut Checks<'_>) {
    let pipelines = &draft.config.pipelines;
    if pipelines.is_empty() || pipelines.iter().any(|pipeline| pipeline.exporters.is_empty()) {
        return;
    }
    let takers =
        draft.exporters.iter().filter(|exporter| exporter.signals.traces).map(|exporter| exporter.name.as_str());
    let file = (draft.file_path.is_some() && draft.file.signals.traces).then_some(FILE_EXPORTER);
    for name in takers.chain(file) {
        if !pipelines.iter().any(|pipeline| pipeline.exporters.iter().any(|other| other == name)) {
            let key = format!("exporters.{name}");
            checks.note(&key, "gets no traces: no pipeline names it among its exporters");
        }
    }
}

/// The section of the receiver of that number beside the first, as it stands in `Loaded::sources`.
#[must_use]
pub fn further_section(number: usize) -> String {
    format!("receivers.{number}")
}

/// No two listeners on one address; port 0 lets the kernel choose and clashes with nothing.
fn addresses(draft: &Draft, checks: &mut Checks<'_>) {
    let sections = std::iter::once("otlp".to_string()).chain((0..draft.further.len()).map(further_section));
    let keys = sections.flat_map(|section| [format!("{section}.grpc.endpoint"), format!("{section}.http.endpoint")]);
    let open = keys.zip(draft.listeners()).filter(|(_, listener)| listener.enabled);
    let admin = draft.config.admin.endpoint.as_ref().map(|endpoint| ("admin.endpoint".to_string(), endpoint));
    let all: Vec<_> = open.map(|(key, listener)| (key, &listener.receiver.endpoint)).chain(admin).collect();
    for (index, (key, address)) in all.iter().enumerate() {
        for (earlier, other) in &all[..index] {
            if address.clashes_with(other) {
                let cause = format!("takes the same port as {}", checks.written(earlier));
                checks.refuse(key, Some(address.to_string()), cause, "give each its own port");
            }
        }
    }
}

fn finish_exporter(exporter: &mut OtlpExporter, checks: &mut Checks<'_>) {
    let key = |rest: &str| format!("exporters.{}.{rest}", exporter.name);
    let urls = [
        ("traces_endpoint", exporter.traces_endpoint.as_ref()),
        ("metrics_endpoint", exporter.metrics_endpoint.as_ref()),
        ("logs_endpoint", exporter.logs_endpoint.as_ref()),
    ];
    for (name, url) in urls {
        let Some(url) = url else { continue };
        if let Err(fault) = check_url(url) {
            checks.refuse(&key(name), Some(url.clone()), fault.cause, fault.remedy);
        }
    }
    let verbatim = urls.iter().any(|(_, url)| url.is_some());
    // Where a key of it could not be read, the address may have been in that.
    let is_misread = checks.findings.is_refused_within(&key(""));
    if exporter.endpoints.is_empty() && !verbatim && !is_misread {
        let remedy = "write the server's URL, such as http://localhost:4317";
        checks.refuse(&key("endpoints"), None, "an exporter without an endpoint", remedy);
    }
    if exporter.endpoints.is_empty() {
        // Without a base URL only the signals with one of their own can be sent.
        exporter.signals.traces &= urls[0].1.is_some();
        exporter.signals.metrics &= urls[1].1.is_some();
        exporter.signals.logs &= urls[2].1.is_some();
    }
    // Where nothing is encrypted it does not matter what is written for that.
    let is_plain = |url: &String| url.starts_with("http://") || (exporter.tls.insecure && !url.contains("://"));
    let encrypts = !exporter.endpoints.iter().chain(urls.iter().filter_map(|(_, url)| *url)).all(is_plain);
    if encrypts && exporter.tls.cert_file.is_some() != exporter.tls.key_file.is_some() {
        checks.refuse(
            &key("tls.cert_file"),
            None,
            "a certificate needs its key and a key its certificate",
            "write both",
        );
    }
    if exporter.retry.enabled && exporter.retry.initial_interval > exporter.retry.max_interval {
        let key = key("retry.initial_interval");
        let text = "is longer than retry.max_interval, which bounds every wait but the first";
        checks.note(&key, text);
    }
    if !checks.sources.contains_key(&key("breaker.open_interval_max")) {
        // Who wrote the first pause only wants no shorter one.
        exporter.breaker.open_interval_max = exporter.breaker.open_interval_max.max(exporter.breaker.open_interval);
    }
    if exporter.breaker.open_interval > exporter.breaker.open_interval_max {
        let remedy = "lower it, or raise breaker.open_interval_max";
        checks.refuse(&key("breaker.open_interval"), None, "is longer than breaker.open_interval_max", remedy);
    }
    if exporter.batch.bytes_max > exporter.queue_bytes_max {
        let remedy = "lower it, or raise queue_bytes_max";
        checks.refuse(&key("batch.bytes_max"), None, "one full request would not fit the queue", remedy);
    }
    let name = key("endpoints");
    let is_open = exporter.endpoints.iter().any(|endpoint| !endpoint.contains("://"));
    if is_open && !exporter.tls.insecure {
        checks.note(&name, "has no scheme, so that TLS is used; for plain text write http:// or set tls.insecure");
    }
    for endpoint in &mut exporter.endpoints {
        match with_scheme(endpoint, exporter.tls.insecure) {
            Ok(url) => *endpoint = url,
            Err(fault) => checks.refuse(&name, Some(endpoint.clone()), fault.cause, fault.remedy),
        }
    }
}

/// The endpoint as a URL.
fn with_scheme(endpoint: &str, insecure: bool) -> Result<String, Fault> {
    // As gRPC writes a name whose addresses are all meant: as every name is here.
    let endpoint =
        endpoint.strip_prefix("dns:///").or_else(|| endpoint.strip_prefix("passthrough:///")).unwrap_or(endpoint);
    let url = match endpoint.split_once("://") {
        Some(_) => endpoint.to_string(),
        None => format!("{}://{endpoint}", if insecure { "http" } else { "https" }),
    };
    check_url(&url)?;
    Ok(url)
}

/// Checks a URL as far as a connection needs it: scheme, host, port.
fn check_url(url: &str) -> Result<(), Fault> {
    let fault =
        |cause: &str| Fault::new(cause, "write a URL such as http://localhost:4317 or https://example.com:4317");
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return Err(fault("not a URL with http:// or https://")) };
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(fault("a URL with white space"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(fault("a URL with a user name, which is not sent; use headers"));
    }
    // An IPv6 address holds colons within its brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(fault("a URL without a host"));
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_) | Ok(0)) => Err(fault("a URL with a port that is none")),
        _ => Ok(()),
    }
}
