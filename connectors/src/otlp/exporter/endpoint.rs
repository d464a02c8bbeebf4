//! Where requests go: the servers of an exporter, parsed once, and the connections a worker uses to reach them.

use super::{Counters, count};
use crate::otlp::{SIGNALS, grpc_path};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::{ExportProtocol, OtlpExporter, Signals};
use tailwater_net::client::{CallError, ClientOptions, GrpcConnection, HttpConnection, Scheme, Target, TlsConfig};
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::Signal;
use thiserror::Error;

/// An exporter that can't be set up. Nothing was opened; the configuration is to be corrected.
#[derive(Debug, Error)]
#[error("exporter {exporter}: {key}: {cause}")]
pub struct EndpointError {
    exporter: String,
    key: &'static str,
    cause: String,
}

/// The servers of one exporter, by signal, with what every request carries.
#[derive(Debug)]
pub struct Endpoints {
    is_grpc: bool,
    /// By signal, in the order of `SIGNALS`; an empty list means that the signal is not sent.
    targets: [Vec<Target>; SIGNALS.len()],
    headers: HeaderMap,
    options: ClientOptions,
    /// gRPC connections, shared by the workers of each.
    shared: Vec<Rc<RefCell<Option<Shared>>>>,
}

#[derive(Debug, Clone)]
struct Shared {
    authority: String,
    connection: GrpcConnection,
}

impl Endpoints {
    /// Parses the endpoints, headers and TLS files of `settings`.
    ///
    /// # Errors
    /// `EndpointError`, naming the key.
    pub fn new(settings: &OtlpExporter) -> Result<Self, EndpointError> {
        let fail = |key, cause: String| EndpointError { exporter: settings.name.clone(), key, cause };
        let parse = |takes: bool, urls: Vec<String>| -> Result<Vec<Target>, EndpointError> {
            let urls = if takes { urls } else { Vec::new() };
            let parsed = urls.iter().map(|url| Target::parse(url).map_err(|error| fail("endpoint", error.to_string())));
            parsed.collect()
        };
        let Signals { traces, metrics, logs } = settings.signals;
        let targets = [
            parse(traces, settings.traces_urls())?,
            parse(metrics, settings.metrics_urls())?,
            parse(logs, settings.logs_urls())?,
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let bad = |_| fail("headers", format!("{name:?} is no header name or its value is not printable"));
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad(()))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad(()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let uses_tls = targets.iter().flatten().any(|target| target.scheme == Scheme::Https);
        let tls = if uses_tls { Some(tls(settings, &fail)?) } else { None };
        let connections = usize::try_from(settings.connections_per_shard).unwrap_or(1).max(1);
        Ok(Self {
            is_grpc: settings.protocol == ExportProtocol::Grpc,
            targets,
            headers,
            options: ClientOptions { tls, connect_timeout: settings.timeout, ..ClientOptions::default() },
            shared: (0..connections).map(|_| Rc::default()).collect(),
        })
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    pub(super) fn takes(&self, signal: Signal) -> bool {
        !self.targets(signal).is_empty()
    }

    fn targets(&self, signal: Signal) -> &[Target] {
        &self.targets[SIGNALS.iter().position(|known| *known == signal).unwrap_or_default()]
    }

    /// The line of one worker: which connection it shares and which server it begins with.
    pub(super) fn line(&self, connection: usize, worker: usize) -> Line {
        let shared = self.shared[connection % self.shared.len()].clone();
        Line { shared, own: None, turn: worker }
    }
}

fn tls(
    settings: &OtlpExporter,
    fail: &impl Fn(&'static str, String) -> EndpointError,
) -> Result<TlsConfig, EndpointError> {
    let read = |key, path: &Option<std::path::PathBuf>| {
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|error| fail(key, format!("cannot read {}: {error}", path.display())))
        };
        path.as_ref().map(read).transpose()
    };
    let authorities = read("tls.ca_file", &settings.tls.ca_file)?;
    let certificate = read("tls.cert_file", &settings.tls.cert_file)?;
    let key = read("tls.key_file", &settings.tls.key_file)?;
    let identity = certificate.as_deref().zip(key.as_deref());
    TlsConfig::new(authorities.as_deref(), identity).map_err(|error| fail("tls", error.to_string()))
}

/// One worker's way to the servers.
#[derive(Debug)]
pub(super) struct Line {
    shared: Rc<RefCell<Option<Shared>>>,
    own: Option<(String, HttpConnection)>,
    /// Which of the servers is next, modulo their number.
    turn: usize,
}

impl Line {
    /// Makes one attempt.
    pub(super) async fn call(
        &mut self,
        endpoints: &Endpoints,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
        timeout: Duration,
        counters: &Counters,
    ) -> Result<Bytes, CallError> {
        let targets = endpoints.targets(signal);
        let Some(target) = targets.get(self.turn % targets.len().max(1)) else {
            return Err(CallError::Connect("no endpoint takes this signal".into()));
        };
        if endpoints.is_grpc {
            let connection = self.grpc(target, endpoints, counters).await?;
            return connection.unary(grpc_path(signal), &endpoints.headers, encoding, body, timeout).await;
        }
        let headers = &endpoints.headers;
        let connection = self.http(target, endpoints, counters).await?;
        let reply = connection.post(&target.path, PROTOBUF, headers, encoding, body, timeout).await?;
        Ok(reply.body)
    }

    /// After a failure that another server may not have, the next one is tried.
    pub(super) fn turn(&mut self, error: &CallError) {
        self.turn = self.turn.wrapping_add(1);
        if matches!(error, CallError::Transport(_) | CallError::Deadline) {
            self.own = None;
        }
    }

    async fn grpc(
        &self,
        target: &Target,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<GrpcConnection, CallError> {
        let authority = target.authority();
        if let Some(shared) = &*self.shared.borrow()
            && shared.authority == authority
            && !shared.connection.is_closed()
        {
            return Ok(shared.connection.clone());
        }
        let connection = GrpcConnection::open(target, &endpoints.options).await?;
        count(&counters.connections, 1);
        *self.shared.borrow_mut() = Some(Shared { authority, connection: connection.clone() });
        Ok(connection)
    }

    async fn http(
        &mut self,
        target: &Target,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<&mut HttpConnection, CallError> {
        let authority = target.authority();
        let usable = self.own.take().filter(|(known, connection)| *known == authority && !connection.is_closed());
        let (_, connection) = match usable {
            Some(usable) => self.own.insert(usable),
            None => {
                let connection = HttpConnection::open(target, &endpoints.options).await?;
                count(&counters.connections, 1);
                self.own.insert((authority, connection))
            }
        };
        Ok(connection)
    }
}

/// The content type of OTLP/HTTP with protobuf bodies.
const PROTOBUF: &str = "application/x-protobuf";
