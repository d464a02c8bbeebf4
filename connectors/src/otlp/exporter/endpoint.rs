//! Where requests go: the servers of an exporter, parsed once, each with its breaker, and the connections a worker uses
//! to reach them.

use super::breaker::{Admission, Breaker, BreakerState, Change};
use super::counters::{Counters, count};
use super::failure::{Failure, line};
use crate::otlp::response::{NoResponse, PartialSuccess};
use crate::otlp::{SIGNALS, grpc_path};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
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
    routes: [Vec<Route>; SIGNALS.len()],
    servers: Vec<Server>,
    headers: HeaderMap,
    options: ClientOptions,
    probe_interval_max: Duration,
    /// gRPC connections, shared by the workers of each; in each one a server.
    shared: Vec<Rc<RefCell<Vec<Option<GrpcConnection>>>>>,
}

/// A URL and the server it is at.
#[derive(Debug)]
struct Route {
    target: Target,
    /// Index in `servers`.
    server: usize,
}

/// A host and port. Signals that go to the same one share its breaker.
#[derive(Debug)]
struct Server {
    authority: String,
    breaker: RefCell<Breaker>,
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
        let uses_tls = targets.iter().flatten().any(|target| target.scheme == Scheme::Https);
        let (routes, servers) = routed(settings, targets);
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let bad = |_| fail("headers", format!("{name:?} is no header name or its value is not printable"));
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad(()))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad(()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let tls = if uses_tls { Some(tls(settings, &fail)?) } else { None };
        let connections = usize::try_from(settings.connections_per_shard).unwrap_or(1).max(1);
        Ok(Self {
            is_grpc: settings.protocol == ExportProtocol::Grpc,
            shared: (0..connections).map(|_| Rc::new(RefCell::new(vec![None; servers.len()]))).collect(),
            routes,
            servers,
            headers,
            options: ClientOptions { tls, connect_timeout: connect_timeout(settings), ..ClientOptions::default() },
            probe_interval_max: settings.breaker.open_interval_max,
        })
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    pub(super) fn takes(&self, signal: Signal) -> bool {
        !self.routes(signal).is_empty()
    }

    fn routes(&self, signal: Signal) -> &[Route] {
        &self.routes[SIGNALS.iter().position(|known| *known == signal).unwrap_or_default()]
    }

    /// The worst state of any server's breaker.
    pub(super) fn worst_state(&self) -> BreakerState {
        let states = self.servers.iter().map(|server| server.breaker.borrow().state());
        states.max().unwrap_or(BreakerState::Closed)
    }

    /// The best state of any server's breaker.
    pub(super) fn best_state(&self) -> BreakerState {
        let states = self.servers.iter().map(|server| server.breaker.borrow().state());
        states.min().unwrap_or(BreakerState::Closed)
    }

    /// Whether a request of that signal could be sent at `now`: to the best of its servers.
    pub(super) fn outlook(&self, signal: Signal, now: Duration) -> Admission {
        let mut outlook = Admission::Wait(Duration::MAX);
        for route in self.routes(signal) {
            outlook = match (outlook, self.servers[route.server].breaker.borrow().outlook(now)) {
                (_, Admission::Attempt) => return Admission::Attempt,
                (Admission::Wait(earliest), Admission::Wait(until)) => Admission::Wait(earliest.min(until)),
                _ => Admission::Probe,
            };
        }
        outlook
    }

    /// Servers that take that signal.
    pub(super) fn servers(&self, signal: Signal) -> usize {
        self.routes(signal).len()
    }

    /// Longest pause before a server that does not answer is asked again.
    pub(super) fn probe_interval_max(&self) -> Duration {
        self.probe_interval_max
    }

    /// Whether a request is on its way that shows whether one of the servers of that signal is back.
    pub(super) fn is_probed(&self, signal: Signal) -> bool {
        let state = |route: &Route| self.servers[route.server].breaker.borrow().state();
        self.routes(signal).iter().any(|route| state(route) == BreakerState::HalfOpen)
    }

    /// Has every server that was left alone asked at once whether it is back.
    pub(super) fn ask_again(&self) {
        self.servers.iter().for_each(|server| server.breaker.borrow_mut().end_pause());
    }

    /// Books the outcome of an attempt with the server's breaker and says what that changed.
    pub(super) fn book(&self, attempt: Attempt, now: Duration, error: Option<(&CallError, Failure)>) -> Change {
        let mut breaker = self.servers[attempt.server].breaker.borrow_mut();
        match error {
            // Whoever refuses a request is there to do so.
            Some((error, failure)) if failure.is_of_server() => {
                breaker.failed(now, error.retry_after(), attempt.is_probe)
            }
            _ => breaker.answered(attempt.is_probe),
        }
    }

    /// Host and port of the server of an attempt.
    pub(super) fn authority(&self, attempt: &Attempt) -> &str {
        &self.servers[attempt.server].authority
    }

    /// The line of one worker: which connection it shares and which server it begins with.
    pub(super) fn line(&self, connection: usize, worker: usize) -> Line {
        let shared = self.shared[connection % self.shared.len()].clone();
        Line { shared, own: None, turn: worker }
    }
}

/// The targets with their servers, each of which is there once.
fn routed(
    settings: &OtlpExporter,
    targets: [Vec<Target>; SIGNALS.len()],
) -> ([Vec<Route>; SIGNALS.len()], Vec<Server>) {
    let mut servers: Vec<Server> = Vec::new();
    let answer = if settings.timeout.is_zero() { ANSWER_DURATION_MAX } else { settings.timeout };
    let attempt_duration_max = answer.saturating_add(connect_timeout(settings));
    let mut route = |target: Target| {
        let authority = target.authority();
        let known = servers.iter().position(|server| server.authority == authority);
        let server = known.unwrap_or_else(|| {
            let breaker = RefCell::new(Breaker::new(&settings.breaker, attempt_duration_max));
            servers.push(Server { authority, breaker });
            servers.len() - 1
        });
        Route { target, server }
    };
    let routes = targets.map(|targets| targets.into_iter().map(&mut route).collect());
    (routes, servers)
}

/// Longest time for a connection.
fn connect_timeout(settings: &OtlpExporter) -> Duration {
    if settings.timeout.is_zero() { CONNECT_DURATION_MAX } else { settings.timeout.min(CONNECT_DURATION_MAX) }
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

/// One attempt: which server, and whether it is the probe of that server's breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    server: usize,
    is_probe: bool,
}

/// One worker's way to the servers.
#[derive(Debug)]
pub(super) struct Line {
    shared: Rc<RefCell<Vec<Option<GrpcConnection>>>>,
    own: Option<(usize, HttpConnection)>,
    /// Which of the servers is next, modulo their number.
    turn: usize,
}

/// What every request of an attempt carries.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// Which service it is for.
    pub(super) signal: Signal,
    /// Compression of `body`.
    pub(super) encoding: Encoding,
    /// The message.
    pub(super) body: Bytes,
}

impl Line {
    /// The next server that may be sent to at `now`, in turn; else when one may be.
    pub(super) fn admit(&mut self, endpoints: &Endpoints, signal: Signal, now: Duration) -> Result<Attempt, Duration> {
        let routes = endpoints.routes(signal);
        let mut earliest = Duration::MAX;
        for step in 0..routes.len() {
            let turn = (self.turn % routes.len() + step) % routes.len();
            let server = routes[turn].server;
            match endpoints.servers[server].breaker.borrow_mut().admit(now) {
                Admission::Wait(until) => earliest = earliest.min(until),
                admitted => {
                    self.turn = turn;
                    return Ok(Attempt { server, is_probe: admitted == Admission::Probe });
                }
            }
        }
        Err(earliest)
    }

    /// The server whose turn it is, whatever its breaker says: for a node that ends.
    pub(super) fn force(&self, endpoints: &Endpoints, signal: Signal) -> Attempt {
        let routes = endpoints.routes(signal);
        Attempt { server: routes[self.turn % routes.len()].server, is_probe: false }
    }

    /// Makes one attempt, at the server whose turn it is.
    pub(super) async fn call(
        &mut self,
        endpoints: &Endpoints,
        request: &Outgoing,
        timeout: Duration,
        counters: &Counters,
    ) -> Result<Option<PartialSuccess>, CallError> {
        let Outgoing { signal, encoding, body } = request.clone();
        let routes = endpoints.routes(signal);
        let Some(route) = routes.get(self.turn % routes.len().max(1)) else {
            return Err(CallError::Connect("no endpoint takes this signal".into()));
        };
        let headers = &endpoints.headers;
        if endpoints.is_grpc {
            let connection = self.grpc(route, endpoints, counters).await?;
            let answer = connection.unary(grpc_path(signal), headers, encoding, body, timeout).await?;
            return PartialSuccess::read(&answer).map_err(|NoResponse| CallError::Garbage(NO_RESPONSE.to_string()));
        }
        let connection = self.http(route, endpoints, counters).await?;
        let reply = connection.post(&route.target.path, PROTOBUF, headers, encoding, body, timeout).await?;
        let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        PartialSuccess::read_http(kind, signal, &reply.body).map_err(|NoResponse| {
            let kind = if kind.is_empty() { "no content type" } else { kind };
            CallError::Garbage(format!("{NO_RESPONSE} (it came with {})", line(kind)))
        })
    }

    /// After a failure that another server may not have, the next one is tried.
    pub(super) fn turn(&mut self, error: &CallError) {
        self.turn = self.turn.wrapping_add(1);
        if matches!(error, CallError::Transport(_) | CallError::Garbage(_) | CallError::Deadline) {
            self.own = None;
        }
    }

    async fn grpc(
        &self,
        route: &Route,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<GrpcConnection, CallError> {
        if let Some(connection) = &self.shared.borrow()[route.server]
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let connection = GrpcConnection::open(&route.target, &endpoints.options).await?;
        count(&counters.connections, 1);
        self.shared.borrow_mut()[route.server] = Some(connection.clone());
        Ok(connection)
    }

    async fn http(
        &mut self,
        route: &Route,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<&mut HttpConnection, CallError> {
        let usable = self.own.take().filter(|(known, connection)| *known == route.server && !connection.is_closed());
        let (_, connection) = match usable {
            Some(usable) => self.own.insert(usable),
            None => {
                let connection = HttpConnection::open(&route.target, &endpoints.options).await?;
                count(&counters.connections, 1);
                self.own.insert((route.server, connection))
            }
        };
        Ok(connection)
    }
}

/// A server that has not taken a connection by then is not there.
const CONNECT_DURATION_MAX: Duration = Duration::from_secs(5);
/// Where requests have no deadline, a probe without an outcome by then is followed by another.
const ANSWER_DURATION_MAX: Duration = Duration::from_secs(60);
/// What is said of an answer that is none.
const NO_RESPONSE: &str = "the answer says that all is well but is none of an OTLP server: check what listens there";
/// The content type of OTLP/HTTP with protobuf bodies.
const PROTOBUF: &str = "application/x-protobuf";
