//! One connection of the generator: opened when first used, opened again after it broke.

use super::options::Settings;
use crate::arguments::ProtocolChoice;
use crate::corpus::BodyEncoding;
use bytes::Bytes;
use http::HeaderMap;
use std::cell::RefCell;
use std::time::Duration;
use tailwater_net::client::{CallError, ClientOptions, GrpcConnection, HttpConnection, HttpVersion, Target, TlsConfig};
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::Signal;

/// The method of the OTLP service of a signal.
const fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// Path of OTLP/HTTP traces where the target names none.
const HTTP_PATH: &str = "/v1/traces";

/// A connection to one target.
pub struct Lane {
    target: Target,
    options: ClientOptions,
    encoding: Encoding,
    content_type: &'static str,
    protocol: ProtocolChoice,
    grpc_path: &'static str,
    http_path: String,
    deadline: Duration,
    headers: HeaderMap,
    grpc: RefCell<Option<GrpcConnection>>,
    http: RefCell<Option<HttpConnection>>,
    /// Held while opening, and on HTTP during the whole call: such a connection carries one request at a time.
    turn: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl Lane {
    /// A lane to `target`, not connected yet.
    ///
    /// # Errors
    /// If the target is `https` and the machine's trust store cannot be used.
    pub fn new(settings: &Settings, target: &Target) -> Result<Self, String> {
        Self::of(Signal::Traces, settings, target)
    }

    /// A lane for a signal. Logs and metrics go as plain protobuf.
    ///
    /// # Errors
    /// As `new`.
    pub fn of(signal: Signal, settings: &Settings, target: &Target) -> Result<Self, String> {
        let is_traces = signal == Signal::Traces;
        let http_path = if target.path == "/" { HTTP_PATH } else { &target.path };
        let http_path = if is_traces {
            http_path.to_owned()
        } else {
            http_path.replace(HTTP_PATH, &format!("/v1/{}", signal.name()))
        };
        let tls = match target.scheme {
            tailwater_net::client::Scheme::Http => None,
            tailwater_net::client::Scheme::Https => {
                Some(TlsConfig::new(None, None).map_err(|error| error.to_string())?)
            }
        };
        let http_version =
            if settings.protocol == ProtocolChoice::H2c { HttpVersion::Http2 } else { HttpVersion::Http1 };
        let (give, take) = async_channel::bounded(1);
        let lane = Self {
            target: target.clone(),
            options: ClientOptions { tls, http_version, ..ClientOptions::default() },
            encoding: if is_traces { settings.compression } else { Encoding::Identity },
            content_type: match settings.corpus.encoding {
                BodyEncoding::Json if is_traces => "application/json",
                BodyEncoding::Json | BodyEncoding::Protobuf => "application/x-protobuf",
            },
            grpc_path: grpc_path(signal),
            http_path,
            protocol: settings.protocol,
            deadline: settings.timeout,
            headers: HeaderMap::new(),
            grpc: RefCell::new(None),
            http: RefCell::new(None),
            turn: (give, take),
        };
        lane.end_turn();
        Ok(lane)
    }

    /// Opens the connection if it is not open.
    ///
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn connect(&self) -> Result<(), CallError> {
        if self.protocol == ProtocolChoice::Grpc {
            return self.grpc().await.map(|_connection| ());
        }
        self.begin_turn().await;
        let opened = self.take_http().await.map(|connection| *self.http.borrow_mut() = Some(connection));
        self.end_turn();
        opened
    }

    /// Sends one request and returns the answer's message.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(&self, body: Bytes) -> Result<Bytes, CallError> {
        if self.protocol == ProtocolChoice::Grpc {
            let connection = self.grpc().await?;
            return connection.unary(self.grpc_path, &self.headers, self.encoding, body, self.deadline).await;
        }
        self.begin_turn().await;
        let answer = self.post(body).await;
        self.end_turn();
        answer
    }

    async fn post(&self, body: Bytes) -> Result<Bytes, CallError> {
        let mut connection = self.take_http().await?;
        let path = &self.http_path;
        let answer = connection.post(path, self.content_type, &self.headers, self.encoding, body, self.deadline).await;
        if !connection.is_closed() {
            *self.http.borrow_mut() = Some(connection);
        }
        answer.map(|reply| reply.body)
    }

    async fn take_http(&self) -> Result<HttpConnection, CallError> {
        let idle = self.http.borrow_mut().take().filter(|connection| !connection.is_closed());
        match idle {
            Some(connection) => Ok(connection),
            None => HttpConnection::open(&self.target, &self.options).await,
        }
    }

    async fn grpc(&self) -> Result<GrpcConnection, CallError> {
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        self.begin_turn().await;
        // Another task may have opened it while this one waited.
        let opened = match self.usable() {
            Some(connection) => Ok(connection),
            None => GrpcConnection::open(&self.target, &self.options).await,
        };
        if let Ok(connection) = &opened {
            *self.grpc.borrow_mut() = Some(connection.clone());
        }
        self.end_turn();
        opened
    }

    fn usable(&self) -> Option<GrpcConnection> {
        self.grpc.borrow().as_ref().filter(|connection| !connection.is_closed()).cloned()
    }

    async fn begin_turn(&self) {
        // The channel never closes: this lane owns both ends.
        let _ = self.turn.1.recv().await;
    }

    fn end_turn(&self) {
        // There is room: the token was taken out by the turn that ends.
        let _ = self.turn.0.try_send(());
    }
}
