//! Where requests go: the endpoints of an exporter, parsed once, the servers behind them, and the connections a worker uses
//! to reach them.

use super::breaker::{Admission, BreakerState, Change};
use super::counters::{Counters, count};
use super::failure::{Failure, line};
use super::names::{Name, Server};
use crate::otlp::response::{NoResponse, PartialSuccess};
use crate::otlp::{SIGNALS, grpc_path};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::cell::Cell;
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

impl EndpointError {
    /// The dotted path of the key that is wrong.
    #[must_use]
    pub fn key(&self) -> String {
        format!("exporters.{}.{}", self.exporter, self.key)
    }

    /// What is wrong with it.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }
}

/// The servers of one exporter, by signal, with what every request carries.
#[derive(Debug)]
pub struct Endpoints {
    is_grpc: bool,
    /// By signal, in the order of `SIGNALS`; an empty list means that the signal is not sent.
    routes: [Vec<Route>; SIGNALS.len()],
    names: Vec<Name>,
    headers: HeaderMap,
    options: ClientOptions,
    probe_interval_max: Duration,
    /// Counts requests: each begins with the next server.
    turn: Cell<usize>,
}

/// A URL and the name of the servers it is at.
#[derive(Debug)]
struct Route {
    target: Target,
    /// Index in `names`.
    name: usize,
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
        let (routes, names) = routed(settings, targets);
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let bad = |_| fail("headers", format!("{name:?} is no header name or its value is not printable"));
            let name = HeaderName::try_from(name.as_str()).map_err(|_| bad(()))?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| bad(()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let tls = if uses_tls { Some(tls(settings, &fail)?) } else { None };
        Ok(Self {
            is_grpc: settings.protocol == ExportProtocol::Grpc,
            routes,
            names,
            headers,
            options: ClientOptions {
                tls,
                server_name: settings.tls.server_name.clone(),
                connect_timeout: connect_timeout(settings),
                ..ClientOptions::default()
            },
            probe_interval_max: match settings.breaker.failures_max {
                0 => Duration::MAX,
                _ => settings.breaker.open_interval_max,
            },
            turn: Cell::new(0),
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

    /// The names that addresses are to be asked for.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// All servers.
    fn all(&self) -> impl Iterator<Item = Rc<Server>> {
        self.names.iter().flat_map(|name| name.servers())
    }

    /// The servers that take that signal, with their routes.
    fn candidates(&self, signal: Signal) -> Vec<(usize, Rc<Server>)> {
        let routes = self.routes(signal).iter().enumerate();
        routes
            .flat_map(|(number, route)| {
                self.names[route.name].servers().into_iter().map(move |server| (number, server))
            })
            .collect()
    }

    /// The worst state of any server's breaker.
    pub(super) fn worst_state(&self) -> BreakerState {
        self.all().map(|server| server.breaker.borrow().state()).max().unwrap_or(BreakerState::Closed)
    }

    /// The best state of any server's breaker.
    pub(super) fn best_state(&self) -> BreakerState {
        self.all().map(|server| server.breaker.borrow().state()).min().unwrap_or(BreakerState::Closed)
    }

    /// Whether a request of that signal could be sent at `now`: to the best of its servers.
    pub(super) fn outlook(&self, signal: Signal, now: Duration) -> Admission {
        let mut outlook = Admission::Wait(Duration::MAX);
        for (_, server) in self.candidates(signal) {
            outlook = match (outlook, server.breaker.borrow().outlook(now)) {
                (_, Admission::Attempt) => return Admission::Attempt,
                (Admission::Wait(earliest), Admission::Wait(until)) => Admission::Wait(earliest.min(until)),
                _ => Admission::Probe,
            };
        }
        outlook
    }

    /// Servers that take that signal.
    pub(super) fn servers(&self, signal: Signal) -> usize {
        self.routes(signal).iter().map(|route| self.names[route.name].count()).sum()
    }

    /// Longest pause before a server that fails is asked again, if it does not ask for more.
    pub(super) fn probe_interval_max(&self) -> Duration {
        self.probe_interval_max
    }

    /// Whether a request is on its way that shows whether one of the servers of that signal is back.
    pub(super) fn is_probed(&self, signal: Signal) -> bool {
        let mut candidates = self.candidates(signal).into_iter();
        candidates.any(|(_, server)| server.breaker.borrow().state() == BreakerState::HalfOpen)
    }

    /// Whether one of the servers of that signal is to be asked whether it is back, after `ask_again`.
    pub(super) fn is_to_be_asked(&self, signal: Signal) -> bool {
        self.candidates(signal).iter().any(|(_, server)| server.breaker.borrow().is_to_be_asked())
    }

    /// Has every server that was left alone asked at once whether it is back.
    pub(super) fn ask_again(&self) {
        self.all().for_each(|server| server.breaker.borrow_mut().end_pause());
    }

    /// Books the outcome of an attempt with the server's breaker and says what that changed.
    pub(super) fn book(&self, attempt: &Attempt, now: Duration, error: Option<(&CallError, Failure)>) -> Change {
        let mut breaker = attempt.server.breaker.borrow_mut();
        match error {
            // Whoever refuses a request is there to do so.
            Some((error, failure)) if failure.is_of_server() => {
                breaker.failed(now, error.retry_after(), attempt.is_probe)
            }
            _ => breaker.answered(attempt.is_probe),
        }
    }

    /// The line of one worker: which connection of a server it shares.
    pub(super) fn line(&self, connection: usize) -> Line {
        Line { connection, own: Vec::new(), turn: 0 }
    }
}

/// The targets with their names, each of which is there once.
fn routed(settings: &OtlpExporter, targets: [Vec<Target>; SIGNALS.len()]) -> ([Vec<Route>; SIGNALS.len()], Vec<Name>) {
    let mut names: Vec<Name> = Vec::new();
    let answer = if settings.timeout.is_zero() { ANSWER_DURATION_MAX } else { settings.timeout };
    let attempt_duration_max = answer.saturating_add(connect_timeout(settings));
    let connections = usize::try_from(settings.connections_per_shard).unwrap_or(1).max(1);
    let mut route = |target: Target| {
        let known = names.iter().position(|name| name.is_of(&target));
        let name = known.unwrap_or_else(|| {
            names.push(Name::of(&target, &settings.breaker, attempt_duration_max, connections));
            names.len() - 1
        });
        Route { target, name }
    };
    let routes = targets.map(|targets| targets.into_iter().map(&mut route).collect());
    (routes, names)
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
#[derive(Debug)]
pub(super) struct Attempt {
    /// Index of the route among the signal's.
    route: usize,
    server: Rc<Server>,
    is_probe: bool,
}

impl Attempt {
    /// Who it is made at.
    pub(super) fn server(&self) -> &str {
        &self.server.label
    }
}

/// One worker's way to the servers.
#[derive(Debug)]
pub(super) struct Line {
    /// Which of a server's gRPC connections it shares.
    connection: usize,
    /// Its own HTTP connections, at most one a server.
    own: Vec<(Rc<Server>, HttpConnection)>,
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
    /// A new request begins: with the next of all servers, so that each gets its part.
    pub(super) fn begin(&mut self, endpoints: &Endpoints) {
        self.turn = endpoints.turn.get();
        endpoints.turn.set(self.turn.wrapping_add(1));
    }

    /// The next server that may be sent to at `now`, in turn; else when one may be.
    pub(super) fn admit(&mut self, endpoints: &Endpoints, signal: Signal, now: Duration) -> Result<Attempt, Duration> {
        let candidates = endpoints.candidates(signal);
        let count = candidates.len();
        let mut earliest = Duration::MAX;
        for step in 0..count {
            let turn = (self.turn % count + step) % count;
            let Some((route, server)) = candidates.get(turn) else { continue };
            let admitted = server.breaker.borrow_mut().admit(now);
            match admitted {
                Admission::Wait(until) => earliest = earliest.min(until),
                admitted => {
                    self.turn = turn;
                    let is_probe = admitted == Admission::Probe;
                    return Ok(Attempt { route: *route, server: server.clone(), is_probe });
                }
            }
        }
        Err(earliest)
    }

    /// The server whose turn it is, whatever its breaker says: for a node that ends.
    pub(super) fn force(&self, endpoints: &Endpoints, signal: Signal) -> Option<Attempt> {
        let candidates = endpoints.candidates(signal);
        let (route, server) = candidates.get(self.turn % candidates.len().max(1))?;
        Some(Attempt { route: *route, server: server.clone(), is_probe: false })
    }

    /// Makes one attempt.
    pub(super) async fn call(
        &mut self,
        endpoints: &Endpoints,
        attempt: &Attempt,
        request: &Outgoing,
        timeout: Duration,
        counters: &Counters,
    ) -> Result<Option<PartialSuccess>, CallError> {
        let Outgoing { signal, encoding, body } = request.clone();
        let Some(route) = endpoints.routes(signal).get(attempt.route) else {
            return Err(CallError::Connect("no endpoint takes this signal".into()));
        };
        let headers = &endpoints.headers;
        if endpoints.is_grpc {
            let connection = self.grpc(route, attempt, endpoints, counters).await?;
            let answer = connection.unary(grpc_path(signal), headers, encoding, body, timeout).await?;
            return PartialSuccess::read(&answer).map_err(|NoResponse| CallError::Garbage(NO_RESPONSE.to_string()));
        }
        let connection = self.http(route, attempt, endpoints, counters).await?;
        let reply = connection.post(&route.target.path, PROTOBUF, headers, encoding, body, timeout).await?;
        let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        PartialSuccess::read_http(kind, signal, &reply.body).map_err(|NoResponse| {
            let kind = if kind.is_empty() { "no content type" } else { kind };
            CallError::Garbage(format!("{NO_RESPONSE} (it came with {})", line(kind)))
        })
    }

    /// After a failure that another server may not have, the next one is tried.
    pub(super) fn turn(&mut self, attempt: &Attempt, error: &CallError) {
        self.turn = self.turn.wrapping_add(1);
        if matches!(error, CallError::Transport(_) | CallError::Garbage(_) | CallError::Deadline) {
            self.own.retain(|(server, _)| !Rc::ptr_eq(server, &attempt.server));
        }
    }

    async fn grpc(
        &self,
        route: &Route,
        attempt: &Attempt,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<GrpcConnection, CallError> {
        let server = &attempt.server;
        if let Some(connection) = server.connection(self.connection) {
            return Ok(connection);
        }
        let connection = GrpcConnection::open(&server.target(&route.target), &endpoints.options).await?;
        count(&counters.connections, 1);
        server.share(self.connection, &connection);
        Ok(connection)
    }

    async fn http(
        &mut self,
        route: &Route,
        attempt: &Attempt,
        endpoints: &Endpoints,
        counters: &Counters,
    ) -> Result<&mut HttpConnection, CallError> {
        let server = &attempt.server;
        self.own.retain(|(server, connection)| !connection.is_closed() && !server.is_gone());
        let known = self.own.iter().position(|(known, _)| Rc::ptr_eq(known, server));
        let known = match known {
            Some(known) => known,
            None => {
                let connection = HttpConnection::open(&server.target(&route.target), &endpoints.options).await?;
                count(&counters.connections, 1);
                self.own.push((server.clone(), connection));
                self.own.len() - 1
            }
        };
        let own = self.own.get_mut(known).map(|(_, connection)| connection);
        own.ok_or_else(|| CallError::Connect("the connection is gone".into()))
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
