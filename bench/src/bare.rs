//! `tailwater-load bare`: the least that any OTLP/gRPC server must do, as a yardstick. It collects each body, walks to each
//! span's trace id, counts it in a hash map and answers. What a sampler costs beyond this is the sampling.

use crate::arguments::{self, BackendChoice};
use crate::output::{Line, Output};
use crate::process;
use crate::walk;
use ahash::RandomState;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tailwater_net::compression::{Encoding, Inflater};
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::net::TcpStream;
use tailwater_runtime::probe;

const FRAME_BYTES_MAX: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Same limit as OTLP recommends.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Traces counted before the map starts anew. It is made this large at once, so that growing it stalls no request.
const TRACES_MAX: usize = 1 << 20;
/// Length of gRPC's frame header.
const PREFIX_BYTES: usize = 5;
/// How often the end of the run is looked for.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Options of `tailwater-load bare`.
#[derive(Clone, Debug, clap::Args)]
pub struct BareOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub listen: SocketAddr,
    /// Core to pin to
    #[arg(long)]
    pub core: Option<usize>,
    /// Event loop
    #[arg(long, value_enum, default_value = "auto")]
    pub runtime: BackendChoice,
    /// Stop after this long; without it, at SIGTERM or SIGINT
    #[arg(long, value_parser = arguments::duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

struct State {
    traces: RefCell<HashMap<u128, u32, RandomState>>,
    inflater: RefCell<Inflater>,
    spans: Cell<u64>,
    requests: Cell<u64>,
    malformed: Cell<u64>,
    traces_forgotten: Cell<u64>,
}

/// Serves until told to stop; the summary is returned.
///
/// # Errors
/// A text, if the port cannot be had or the event loop not be made.
pub fn run(options: &BareOptions, output: &Output) -> Result<Line, String> {
    let (backend, why) = probe::choose(options.runtime.into()).map_err(|error| error.to_string())?;
    let stop = Arc::new(AtomicBool::new(false));
    crate::interrupt::watch(Arc::clone(&stop));
    let listen = options.listen;
    let end = options.duration.and_then(|duration| Instant::now().checked_add(duration));
    let output = *output;
    let executor_options = ExecutorOptions { name: "bare".to_owned(), core: options.core, backend };
    let handle = executor::start(executor_options, move || async move {
        let listener = crate::listen::bind(listen).await?;
        let address = listener.local_addr().to_string();
        let text = format!("listening on {address} ({why})");
        output.progress(&Line { text, json: json!({ "listening": address }) });
        let state = Rc::new(State {
            // The ids are our own generator's: no key is needed to defend the table.
            traces: RefCell::new(HashMap::with_capacity_and_hasher(TRACES_MAX, RandomState::with_seeds(1, 2, 3, 4))),
            inflater: RefCell::new(Inflater::new()),
            spans: Cell::new(0),
            requests: Cell::new(0),
            malformed: Cell::new(0),
            traces_forgotten: Cell::new(0),
        });
        let accepting = Rc::clone(&state);
        executor::spawn(async move {
            while let Ok(accepted) = listener.accept().await {
                if let Ok(stream) = TcpStream::adopt(accepted.stream) {
                    executor::spawn(serve(stream, Rc::clone(&accepting)));
                }
            }
        });
        while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
            executor::sleep(STOP_CHECK).await;
        }
        Ok(state.summary())
    });
    handle.map_err(|error| error.to_string())?.join().map_err(|error| error.to_string())?
}

async fn serve(stream: TcpStream, state: Rc<State>) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let state = Rc::clone(&state);
        executor::spawn(async move {
            // A stream that breaks is the client's business.
            let _ = answer(request, respond, &state).await;
        });
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    state: &State,
) -> Result<(), h2::Error> {
    let (head, stream) = request.into_parts();
    let body = collect(stream).await?;
    let encoding = head.headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    let status = state.count(body, encoding.and_then(Encoding::from_token).unwrap_or_default());
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(&[0; PREFIX_BYTES]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    stream.send_trailers(trailers)
}

/// The whole body; a single frame is not copied.
async fn collect(mut stream: h2::RecvStream) -> Result<Bytes, h2::Error> {
    let Some(first) = stream.data().await.transpose()? else { return Ok(Bytes::new()) };
    stream.flow_control().release_capacity(first.len())?;
    let declared = first.get(1..PREFIX_BYTES).and_then(|length| length.try_into().ok()).map_or(0, u32::from_be_bytes);
    let expected = usize::try_from(declared).unwrap_or(0).saturating_add(PREFIX_BYTES);
    if first.len() >= expected {
        return Ok(first);
    }
    let mut joined = BytesMut::with_capacity(expected.min(BODY_BYTES_MAX));
    joined.extend_from_slice(&first);
    while let Some(part) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(part.len())?;
        if joined.len() + part.len() > BODY_BYTES_MAX {
            break;
        }
        joined.extend_from_slice(&part);
    }
    Ok(joined.freeze())
}

impl State {
    /// Counts the spans of a framed message; the gRPC status is returned.
    fn count(&self, mut body: Bytes, encoding: Encoding) -> &'static str {
        self.requests.set(self.requests.get() + 1);
        let counted = if body.len() < PREFIX_BYTES {
            None
        } else {
            let compressed = body.first() == Some(&1);
            body.advance(PREFIX_BYTES);
            self.count_message(&body, if compressed { encoding } else { Encoding::Identity })
        };
        match counted {
            Some(spans) => {
                self.spans.set(self.spans.get() + spans);
                "0"
            }
            None => {
                self.malformed.set(self.malformed.get() + 1);
                "3"
            }
        }
    }

    fn count_message(&self, body: &Bytes, encoding: Encoding) -> Option<u64> {
        let message = self.inflater.borrow_mut().inflate(encoding, body, BODY_BYTES_MAX).ok()?;
        let mut traces = self.traces.borrow_mut();
        if traces.len() >= TRACES_MAX {
            self.traces_forgotten.set(self.traces_forgotten.get() + traces.len() as u64);
            traces.clear();
        }
        let counted = walk::spans(&message, |span| {
            *traces.entry(walk::trace_id(span)?).or_insert(0) += 1;
            Ok(())
        });
        counted.ok()
    }

    fn summary(&self) -> Line {
        let (spans, requests, malformed) = (self.spans.get(), self.requests.get(), self.malformed.get());
        let traces = self.traces.borrow().len() as u64 + self.traces_forgotten.get();
        let cpu_seconds = process::cpu_seconds();
        #[expect(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
        let per_million = cpu_seconds * 1e6 / spans.max(1) as f64;
        Line {
            text: format!(
                "{spans} spans of {traces} traces in {requests} requests ({malformed} malformed), {cpu_seconds:.2} CPU \
                 s, {per_million:.3} CPU s per million spans"
            ),
            json: json!({
                "summary": "bare", "spans": spans, "traces": traces, "requests": requests, "malformed": malformed,
                "cpu_seconds": cpu_seconds, "cpu_seconds_per_million": per_million,
            }),
        }
    }
}
