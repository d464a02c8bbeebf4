//! The admin endpoint: metrics and health, on the side thread.
//!
//! ```text
//! GET /metrics        every counter and gauge; Prometheus text, or OpenMetrics when the Accept header asks for it
//! GET /health/live    200 while every core answers; nothing else is looked at, so a failing next hop restarts nobody
//! GET /health/ready   200 while requests are accepted; 503 before that and from the beginning of a drain
//! GET /health         the same as /health/ready
//! GET /api/v1/status  the rules in force and what came of the last attempt to change them, and the members of the cluster;
//!                     JSON, as all below /api
//! GET /api/v1/cluster the members as this node sees them, and what it counts; 404 for a node by itself
//! GET /api/v1/traces/<id> why a trace was kept or dropped, or what a pending one has so far; 404 with a remedy. In a cluster
//!                     other nodes are asked, too
//! GET /api/v1/recall  traces from the log, by id, time and attribute, as OTLP/JSON; POST keeps them and sends them on
//! GET /api/v1/reduction how much of what came goes on as it was, and what summaries tell of the rest
//! GET /api/v1/control  signals, triggers, what is in force and until when, the last steps; POST sets something by hand for a
//!                     time, DELETE takes all of that back
//! POST /api/v1/reload reads the configuration again: 200 when it is in force, 422 with the problems when it is refused
//! ```

use crate::control::Cores;
use crate::dial::{Dialer, Query};
use crate::explain;
use crate::explain::asking::Asker;
use crate::gossip::{self, Shared};
use crate::metrics::{Exposition, Facts, PipelineFacts, counted, expose, reduction};
use crate::reach_back::Question;
use crate::reach_back::answer::not_in_log;
use crate::reach_back::asking::{Recaller, Refused};
use crate::reload::{Outcome, Reloader};
use crate::sockets;
use async_channel::{Sender, bounded};
use bytes::Bytes;
use futures_util::future::select;
use http::header::{ACCEPT, HOST, ORIGIN};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tailwater_config::Config;
use tailwater_net::server::{
    LargeLane, Limits, ListenerKind, MemoryBounds, Protocol, ReceiveMemory, Reply, Request, Server, Service, serve,
};
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{spawn, task_panics, timeout};
use tailwater_runtime::net::{SharedPort, TcpListener, TcpStream};

/// A core that has not answered for so long is stuck.
const LIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to the admin endpoint: scrapers, probes and a person or two.
const CONNECTIONS_MAX: usize = 64;
/// Nothing here has a body.
const REQUEST_BYTES_MAX: usize = 1024;
/// What the requests of all its connections may take: each a head.
const MEMORY_BYTES: usize = 16 << 20;
/// How long a connection may be silent before its first request, or over a head that it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const STATUS: &str = "/api/v1/status";
const CLUSTER: &str = "/api/v1/cluster";
const REDUCTION: &str = "/api/v1/reduction";
const RELOAD: &str = "/api/v1/reload";
const CONTROL: &str = "/api/v1/control";
const PATHS: &str = "no such path; there are /metrics, /health, /health/ready, /health/live, /api/v1/status, \
    /api/v1/traces/<id>, /api/v1/recall, /api/v1/cluster, /api/v1/reduction, /api/v1/control and /api/v1/reload\n";
const RECALL: &str = "/api/v1/recall";
const TRACES: &str = "/api/v1/traces/";

/// What the endpoint shows.
pub struct State {
    cores: Cores,
    reloader: Rc<Reloader>,
    backend: Backend,
    ready: Arc<AtomicBool>,
    started_unix_seconds: f64,
    /// Whether only this machine reaches the endpoint.
    is_loopback: bool,
    /// What the gossip thread does, where there is one.
    gossip: Option<Shared>,
    asker: Rc<Asker>,
    recaller: Recaller,
    dialer: Rc<Dialer>,
}

impl State {
    /// The state of a node that starts now.
    pub fn new(
        cores: Cores,
        reloader: Rc<Reloader>,
        backend: Backend,
        ready: Arc<AtomicBool>,
        (gossip, asker): (Option<Shared>, Rc<Asker>),
        dialer: Rc<Dialer>,
    ) -> Self {
        let started = Duration::from_nanos(tailwater_runtime::clock::unix_nanos());
        // A name is looked up only when it is listened on; localhost says by itself where it points.
        let is_loopback = reloader.state().config.admin.endpoint.as_ref().is_some_and(|endpoint| match endpoint.ip() {
            Some(ip) => ip.is_loopback(),
            None => endpoint.to_string().starts_with("localhost:"),
        });
        Self {
            recaller: Recaller::new(cores.clone(), reloader.clone()),
            cores,
            reloader,
            backend,
            ready,
            started_unix_seconds: started.as_secs_f64(),
            is_loopback,
            gossip,
            asker,
            dialer,
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Reply {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let exposition = Exposition::accepted(accept);
        let snapshots = self.cores.snapshots().await;
        let state = self.reloader.state();
        let pipelines = state.pipelines.iter().map(|pipeline| {
            let names = (0..).zip(pipeline.rules.policy_names());
            // What was never in force has nothing to count, and no name here.
            let shown = |number, name: &str| if pipeline.rules.is_named_only(number) { "" } else { name }.to_string();
            let policies =
                names.map(|(number, name)| (shown(number, name), pipeline.rules.is_shadow(number))).collect();
            PipelineFacts { name: pipeline.name.clone(), policies }
        });
        let pipelines: Vec<PipelineFacts> = pipelines.collect();
        let last = state.last.as_ref();
        let gossip = self.gossip.as_ref().map(Shared::get);
        let machine = self.dialer.machine();
        let facts = Facts {
            pipelines: &pipelines,
            reloads: std::array::from_fn(|number| (Outcome::ALL[number].label(), state.attempts[number])),
            generation: state.generation(),
            last_reload: last.map_or((true, self.started_unix_seconds), |attempt| {
                (attempt.outcome != Outcome::Refused, attempt.unix_seconds())
            }),
            runtime: &self.backend.to_string(),
            started_unix_seconds: self.started_unix_seconds,
            task_panics: task_panics(),
            ready: self.ready.load(Ordering::Relaxed),
            gossip: gossip.as_ref(),
            control: &machine,
        };
        Reply::http(StatusCode::OK, exposition.content_type(), expose(&snapshots, &facts, exposition).into())
    }

    /// What this node knows of a trace, and the others of the cluster.
    async fn explain(&self, id: &str) -> Reply {
        let Some(trace_id) = explain::trace_id(id) else {
            let said = json!({ "error": "no trace id", "remedy": "give 32 hexadecimal digits" });
            return answer(StatusCode::BAD_REQUEST, &said);
        };
        match self.asker.ask(id, trace_id).await {
            Ok(said) => answer(StatusCode::OK, &said),
            Err(unknown) => answer(StatusCode::NOT_FOUND, &unknown),
        }
    }

    /// Traces from the log; with POST they are kept and sent on.
    async fn recall(&self, request: &Request) -> Reply {
        let query = request.uri.query().unwrap_or_default();
        let question = match Question::of_query(query, tailwater_runtime::clock::unix_nanos()) {
            Ok(question) => question,
            Err(wrong) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": wrong })),
        };
        let refused = |refused: Refused| {
            let code = if refused == Refused::Busy { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::CONFLICT };
            answer(code, &refused.told())
        };
        if request.method != Method::POST {
            return match self.recaller.ask(&question).await {
                Ok(found) if found.traces.is_empty() && !question.ids.is_empty() => {
                    answer(StatusCode::NOT_FOUND, &not_in_log(&found, &question))
                }
                Ok(found) => Reply::http(StatusCode::OK, JSON, found.otlp_json(&question).into()),
                Err(why) => refused(why),
            };
        }
        if !self.ready.load(Ordering::Relaxed) {
            let said = json!({ "error": "the node is not ready", "remedy": "ask again when /health/ready says so" });
            return answer(StatusCode::SERVICE_UNAVAILABLE, &said);
        }
        match self.recaller.send(&question).await {
            Ok((found, _)) if found.traces.is_empty() && !question.ids.is_empty() => {
                answer(StatusCode::NOT_FOUND, &not_in_log(&found, &question))
            }
            Ok((_, said)) => answer(StatusCode::OK, &said),
            Err(why) => refused(why),
        }
    }

    /// The members as this node sees them, and what it counts.
    async fn cluster(&self) -> Reply {
        let Some(gossip) = &self.gossip else {
            let said = json!({ "error": "this node is in no cluster", "remedy": "set cluster.listen" });
            return answer(StatusCode::NOT_FOUND, &said);
        };
        let snapshots = self.cores.snapshots().await;
        let state = gossip.get();
        let mut said = gossip::told(&state);
        said["counts"] = counted(&snapshots, &state).into();
        answer(StatusCode::OK, &said)
    }

    /// When the node does less: shown, set, or taken back.
    async fn control(&self, request: &Request) -> Reply {
        let said = match request.method {
            Method::POST => match Query::read(request.uri.query().unwrap_or_default()) {
                Ok(query) => self.dialer.ask(query).await,
                Err(error) => Err(error),
            },
            Method::DELETE => Ok(self.dialer.clear().await),
            _ => Ok(self.dialer.told()),
        };
        match said {
            Ok(said) => answer(StatusCode::OK, &said),
            Err(error) => {
                let said = json!({ "error": error.to_string(), "remedy": error.remedy() });
                answer(StatusCode::BAD_REQUEST, &said)
            }
        }
    }

    /// How much of what came goes on.
    async fn reduction(&self) -> Reply {
        let snapshots = self.cores.snapshots().await;
        let state = self.reloader.state();
        let names: Vec<&str> = state.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        answer(StatusCode::OK, &reduction(&snapshots, &names))
    }

    fn readiness(&self) -> Reply {
        if self.ready.load(Ordering::Relaxed) {
            Reply::http(StatusCode::OK, TEXT, Bytes::from_static(b"ready\n"))
        } else {
            Reply::http(StatusCode::SERVICE_UNAVAILABLE, TEXT, Bytes::from_static(b"not ready\n"))
        }
    }

    async fn liveness(&self) -> Reply {
        let cores = self.cores.channels.len();
        match timeout(LIVE_TIMEOUT, self.cores.snapshots()).await {
            Ok(answers) if answers.len() == cores => Reply::http(StatusCode::OK, TEXT, Bytes::from_static(b"live\n")),
            Ok(answers) => not_live(answers.len(), cores),
            Err(_) => not_live(0, cores),
        }
    }
}

fn answer(code: StatusCode, value: &Value) -> Reply {
    Reply::http(code, JSON, format!("{value}\n").into())
}

fn not_live(answered: usize, cores: usize) -> Reply {
    let text = format!("{answered} of {cores} cores answered\n");
    Reply::http(StatusCode::SERVICE_UNAVAILABLE, TEXT, text.into())
}

impl Service for State {
    fn accept_head(
        &self,
        protocol: Protocol,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Box<Reply>> {
        let to_read = ["/metrics", "/health", "/health/ready", "/health/live", STATUS, CLUSTER, REDUCTION]
            .contains(&path)
            || path.starts_with(TRACES);
        let is_read = method == Method::GET || method == Method::HEAD;
        if protocol == Protocol::Grpc || !(to_read || [RELOAD, RECALL, CONTROL].contains(&path)) {
            return Err(Box::new(Reply::http(StatusCode::NOT_FOUND, TEXT, Bytes::from_static(PATHS.as_bytes()))));
        }
        let changes = path == RELOAD || (path == RECALL || path == CONTROL) && !is_read;
        if changes && let Some(reason) = foreign(headers, self.is_loopback) {
            let text = format!("{reason}\n");
            return Err(Box::new(Reply::http(StatusCode::FORBIDDEN, TEXT, text.into())));
        }
        if path == RELOAD && method != Method::POST {
            let text = Bytes::from_static(b"use POST\n");
            return Err(Box::new(Reply::http(StatusCode::METHOD_NOT_ALLOWED, TEXT, text)));
        }
        if path == CONTROL && !is_read && method != Method::POST && method != Method::DELETE {
            let text = Bytes::from_static(b"use GET, POST or DELETE\n");
            return Err(Box::new(Reply::http(StatusCode::METHOD_NOT_ALLOWED, TEXT, text)));
        }
        if (to_read || path == RECALL && method != Method::POST) && !is_read {
            let text = Bytes::from_static(b"use GET\n");
            return Err(Box::new(Reply::http(StatusCode::METHOD_NOT_ALLOWED, TEXT, text)));
        }
        Ok(())
    }

    async fn ready(&self) {}

    async fn call(&self, request: Request) -> Reply {
        match request.path() {
            "/metrics" => self.metrics(&request.headers).await,
            "/health/live" => self.liveness().await,
            path if path.starts_with(TRACES) => self.explain(&path[TRACES.len()..]).await,
            STATUS => {
                let mut said = self.reloader.status();
                if let Some(gossip) = &self.gossip {
                    said["cluster"] = gossip::told(&gossip.get());
                }
                answer(StatusCode::OK, &said)
            }
            RECALL => self.recall(&request).await,
            CLUSTER => self.cluster().await,
            REDUCTION => self.reduction().await,
            CONTROL => self.control(&request).await,
            RELOAD => {
                let said = self.reloader.ask().await;
                let is_refused = said["outcome"] == Outcome::Refused.label();
                answer(if is_refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &said)
            }
            _ => self.readiness(),
        }
    }
}

/// Why a request that changes something is refused, if a browser sent it for a page of somebody else: a page may send to
/// addresses that only its reader's machine reaches, and a name may be made to point there after the page was loaded.
fn foreign(headers: &HeaderMap, is_loopback: bool) -> Option<&'static str> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let host = text(HOST);
    let name =
        host.map(|host| host.rsplit_once(':').map_or(host, |(name, port)| if is_port(port) { name } else { host }));
    let is_address = |name: &str| name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_named = name.is_some_and(|name| !name.eq_ignore_ascii_case("localhost") && !is_address(name));
    // What is no browser says nothing of an origin, and may know a node of a network by its name.
    if is_named && (is_loopback || headers.contains_key(ORIGIN)) {
        return Some("the Host header is a name: what changes something is asked for by address, or as localhost");
    }
    let of_page = text(ORIGIN)?;
    let own = of_page.split_once("://").map(|(_, authority)| authority);
    (own != host).then_some("the Origin header is of another page")
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Opens the endpoint on this thread, if one is configured. Returns its address.
pub fn open(config: &Config, state: State) -> Result<Option<SocketAddr>, String> {
    let Some(endpoint) = &config.admin.endpoint else { return Ok(None) };
    let failed = |error: String| format!("admin.endpoint {endpoint}: {error}; choose another");
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in sockets::resolve(endpoint).map_err(failed)? {
        let port = listeners.first().map_or(address.port(), |first| first.local_addr().port());
        let address = SocketAddr::new(address.ip(), port);
        listeners.push(TcpListener::bind(address, SharedPort::No).map_err(|error| failed(error.to_string()))?);
    }
    let address = listeners.first().map(TcpListener::local_addr);
    let limits = Limits {
        connections_max: CONNECTIONS_MAX,
        request_bytes_max: REQUEST_BYTES_MAX,
        handshake_timeout: HEAD_TIMEOUT,
        first_request_timeout: HEAD_TIMEOUT,
        ..sockets::limits(&tailwater_config::Limits::default(), 1)
    };
    let memory = ReceiveMemory::new(MemoryBounds::divide(MEMORY_BYTES), LargeLane::new());
    let server = Server::new(state, limits, memory);
    for listener in listeners {
        spawn(accept(server.clone(), listener));
    }
    Ok(address)
}

/// Accepts. Where there are too many connections the oldest goes: whoever opens them and is silent must not keep out the
/// probes that decide whether this process lives.
async fn accept(server: Rc<Server<State>>, listener: TcpListener) {
    let mut open: VecDeque<Sender<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                open.retain(|connection| !connection.is_closed());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    tracing::warn!("too many connections to the admin endpoint; the oldest is closed");
                    oldest.close();
                }
                let Ok(stream) = TcpStream::adopt(accepted.stream) else { continue };
                let (connection, evicted) = bounded(1);
                open.push_back(connection);
                let server = server.clone();
                spawn(async move {
                    let serving = pin!(serve(server, stream, accepted.peer, ListenerKind::Http));
                    // Closing is the signal; nothing is ever sent. The end of this task closes the other side.
                    select(serving, pin!(evicted.recv())).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin endpoint can't accept a connection");
                tailwater_runtime::executor::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_is_not_for_pages_of_others() {
        let asked = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            foreign(&headers, true)
        };
        for host in ["127.0.0.1:8898", "localhost:8898", "localhost", "[::1]:8898", "10.0.0.7"] {
            assert_eq!(asked(host, None), None, "{host}");
        }
        assert_eq!(asked("localhost:8898", Some("http://localhost:8898")), None);
        for (host, origin) in [
            ("evil.example:8898", None),
            ("evil.example", Some("http://evil.example")),
            ("127.0.0.1:8898", Some("http://evil.example")),
            ("127.0.0.1:8898", Some("http://127.0.0.1:1")),
            ("127.0.0.1:8898", Some("null")),
        ] {
            assert!(asked(host, origin).is_some(), "{host} {origin:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "tailwater-0.tailwater:8898".parse().unwrap());
        assert_eq!(foreign(&headers, false), None, "a cluster knows its nodes by name");
    }
}
