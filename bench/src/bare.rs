//! `tailwater-load bare`: the least that any OTLP/gRPC server must do, as a yardstick. It collects each body, walks to each
//! span's trace id, counts it in a hash map and answers. What a sampler costs beyond this is the sampling.

use crate::arguments::{self, BackendChoice};
use crate::output::{Line, Output};
use crate::process;
use crate::receiver::{self, BODY_BYTES_MAX, Format, Outcome, Receiver, Transport};
use crate::walk;
use ahash::RandomState;
use bytes::Bytes;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tailwater_net::compression::{Encoding, Inflater};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::probe;

/// Traces counted before the map starts anew. It is made this large at once, so that growing it stalls no request.
const TRACES_MAX: usize = 1 << 20;
/// How often the end of the run is looked for.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Options of `tailwater-load bare`.
#[derive(Clone, Debug, clap::Args)]
pub struct BareOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub listen: SocketAddr,
    /// HTTP/2 frames of 16 KiB and windows of 64 KiB instead of ones that take a whole request
    #[arg(long)]
    pub default_windows: bool,
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
    let transport = if options.default_windows { Transport::GrpcDefaultWindows } else { Transport::Grpc };
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
        executor::spawn(receiver::accept(listener, transport, Rc::clone(&state)));
        while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
            executor::sleep(STOP_CHECK).await;
        }
        Ok(state.summary())
    });
    handle.map_err(|error| error.to_string())?.join().map_err(|error| error.to_string())?
}

impl Receiver for State {
    async fn receive(&self, _signal: Signal, _format: Format, encoding: Encoding, body: Bytes) -> Outcome {
        self.requests.set(self.requests.get() + 1);
        match self.count(&body, encoding) {
            Some(spans) => {
                self.spans.set(self.spans.get() + spans);
                Outcome::Accepted
            }
            None => {
                self.malformed.set(self.malformed.get() + 1);
                Outcome::Malformed
            }
        }
    }
}

impl State {
    /// Counts the spans of a message.
    fn count(&self, body: &Bytes, encoding: Encoding) -> Option<u64> {
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
