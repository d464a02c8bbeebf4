//! `tailwater-load sink`: receives what a sampler lets out, over OTLP/gRPC and OTLP/HTTP, and checks that every trace came
//! whole and nothing twice. The spans carry what is needed for that; with the generator's list it also finds what is missing.

use crate::arguments::{self, BackendChoice};
use crate::ledger::{Beside, Expectation, Judgement, Ledger, record_json, write_seen};
use crate::output::{Line, Output};
use crate::receiver::{self, BODY_BYTES_MAX, Format, Outcome, Receiver, Transport};
use crate::visible::{self, Visible};
use crate::walk;
use bytes::Bytes;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use tailwater_net::compression::{Encoding, Inflater};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor::{self, ExecutorHandle, ExecutorOptions};
use tailwater_runtime::probe;

/// How often the end of the run is looked for.
const STOP_CHECK: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

/// Options of `tailwater-load sink`.
#[derive(Clone, Debug, clap::Args)]
pub struct SinkOptions {
    /// Address for OTLP/gRPC
    #[arg(long, default_value = "127.0.0.1:4317")]
    pub listen: SocketAddr,
    /// Address for OTLP/HTTP (HTTP/1.1) [default: none]
    #[arg(long)]
    pub listen_http: Option<SocketAddr>,
    /// File written by `generate --expect-out`, read at the end; may be given several times
    #[arg(long, value_name = "FILE")]
    pub expect: Vec<PathBuf>,
    /// Write what came to this file, for `verify --seen`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Find out what can be told apart in all that comes, and fail if something of the files of
    /// `--expect` cannot; costs CPU, reads protobuf only
    #[arg(long, requires = "expect")]
    pub visible: bool,
    /// Spans that came twice are counted but no fault (delivery is at least once)
    #[arg(long)]
    pub allow_duplicates: bool,
    /// Stop after this long; without it, at SIGTERM or SIGINT
    #[arg(long, value_parser = arguments::duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// Stop when, after the first span, none has come for this long
    #[arg(long, value_parser = arguments::duration, value_name = "TIME")]
    pub idle_exit: Option<Duration>,
    /// Wait this long before each answer
    #[arg(long, default_value = "0", value_parser = arguments::duration, value_name = "TIME")]
    pub delay: Duration,
    /// Refuse every so many-th request as unavailable, untouched
    #[arg(long, value_name = "COUNT")]
    pub refuse_every: Option<u64>,
    /// When refused requests may come again
    #[arg(long, default_value = "100ms", value_parser = arguments::duration, value_name = "TIME")]
    pub retry_after: Duration,
    /// Core to pin to
    #[arg(long)]
    pub core: Option<usize>,
    /// Event loop
    #[arg(long, value_enum, default_value = "auto")]
    pub runtime: BackendChoice,
    /// Print progress and outcome as JSON lines
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
}

struct Sink {
    ledger: RefCell<Ledger>,
    beside: RefCell<Beside>,
    /// where it is asked for
    visible: Option<RefCell<Visible>>,
    inflater: RefCell<Inflater>,
    requests: Cell<u64>,
    trace_bytes: Cell<u64>,
    malformed: Cell<u64>,
    refused: Cell<u64>,
    delay: Duration,
    refuse_every: Option<u64>,
    retry_after: Duration,
}

impl Receiver for Sink {
    async fn receive(&self, signal: Signal, format: Format, encoding: Encoding, body: Bytes) -> Outcome {
        self.requests.set(self.requests.get() + 1);
        if !self.delay.is_zero() {
            executor::sleep(self.delay).await;
        }
        if self.refuse_every.is_some_and(|every| self.requests.get().is_multiple_of(every.max(1))) {
            self.refused.set(self.refused.get() + 1);
            return Outcome::Unavailable(self.retry_after);
        }
        if self.record(signal, format, encoding, &body).is_none() {
            self.malformed.set(self.malformed.get() + 1);
            return Outcome::Malformed;
        }
        Outcome::Accepted
    }
}

impl Sink {
    fn new(options: &SinkOptions) -> Self {
        Self {
            ledger: RefCell::default(),
            beside: RefCell::default(),
            visible: options.visible.then(RefCell::default),
            inflater: RefCell::new(Inflater::new()),
            requests: Cell::new(0),
            trace_bytes: Cell::new(0),
            malformed: Cell::new(0),
            refused: Cell::new(0),
            delay: options.delay,
            refuse_every: options.refuse_every,
            retry_after: options.retry_after,
        }
    }

    fn record(&self, signal: Signal, format: Format, encoding: Encoding, body: &Bytes) -> Option<u64> {
        let message = self.inflater.borrow_mut().inflate(encoding, body, BODY_BYTES_MAX).ok()?;
        if let Some(visible) = self.visible.as_ref().filter(|_| format == Format::Protobuf) {
            visible.borrow_mut().record(signal, &message)?;
        }
        if signal != Signal::Traces {
            // Exporters of these send protobuf.
            return self
                .beside
                .borrow_mut()
                .record(signal, &message)
                .map(|()| 0)
                .filter(|_| format == Format::Protobuf);
        }
        self.trace_bytes.set(self.trace_bytes.get() + message.len() as u64);
        let mut ledger = self.ledger.borrow_mut();
        match format {
            Format::Json => record_json(&message, &mut ledger).ok(),
            Format::Protobuf => walk::spans(&message, |span| {
                ledger.record(&walk::facts(span)?);
                Ok(())
            })
            .ok(),
        }
    }

    fn progress(&self, elapsed: Duration, spans_second: u64) -> Line {
        let ledger = self.ledger.borrow();
        let (spans, traces) = (ledger.spans(), ledger.traces());
        let (requests, malformed, refused) = (self.requests.get(), self.malformed.get(), self.refused.get());
        Line {
            text: format!(
                "{:6.1} s  {spans_second:>9} spans/s received  {spans} spans of {traces} traces in {requests} \
                 requests  {malformed} malformed  {refused} refused",
                elapsed.as_secs_f64()
            ),
            json: json!({
                "seconds": elapsed.as_secs_f64(), "spans": spans, "spans_second": spans_second, "traces": traces,
                "requests": requests, "malformed": malformed, "refused": refused,
            }),
        }
    }
}

/// What the receiving thread hands over at its end.
struct Received {
    ledger: Ledger,
    beside: Beside,
    visible: Option<Visible>,
    trace_bytes: u64,
    malformed: u64,
}

/// How what came compares with what had to.
pub struct Outcomes {
    /// trace by trace
    pub traces: Judgement,
    /// of logs and metrics
    pub beside: Beside,
    /// what had to be visible; where that is asked for
    pub visible: Option<visible::Judgement>,
    /// bytes of messages of traces, before compression
    pub trace_bytes: u64,
    /// malformed requests
    pub malformed: u64,
}

/// A sink that receives on its own thread.
pub struct RunningSink {
    options: SinkOptions,
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    thread: ExecutorHandle<Result<Received, String>>,
}

impl RunningSink {
    /// Starts to receive.
    ///
    /// # Errors
    /// A text: the event loop cannot be made or a port not be had.
    pub fn start(options: &SinkOptions, output: Output) -> Result<Self, String> {
        let (backend, _why) = probe::choose(options.runtime.into()).map_err(|error| error.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let executor_options = ExecutorOptions { name: "sink".to_owned(), core: options.core, backend };
        let (bound, addresses) = std::sync::mpsc::channel();
        let (receiving, stopping) = (options.clone(), Arc::clone(&stop));
        let thread = executor::start(executor_options, move || receive(receiving, output, stopping, bound))
            .map_err(|error| error.to_string())?;
        let count = 1 + usize::from(options.listen_http.is_some());
        let addresses: Vec<_> = addresses.iter().take(count).collect();
        if addresses.len() < count {
            let failure = thread.join().map_err(|error| error.to_string())?.err();
            return Err(failure.unwrap_or_else(|| "the sink ended at once".to_owned()));
        }
        Ok(Self { options: options.clone(), addresses, stop, thread })
    }

    /// Where it listens: for gRPC, then, if asked for, for HTTP.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Set it to end the receiving.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Waits until the receiving has ended, writes the file asked for, and judges. The number of malformed requests is
    /// returned too.
    ///
    /// # Errors
    /// A text: a file that cannot be read or written.
    pub fn judge(self) -> Result<(Judgement, u64), String> {
        self.judge_all().map(|outcomes| (outcomes.traces, outcomes.malformed))
    }

    /// The same with what came of logs and metrics, and what can be told apart.
    ///
    /// # Errors
    /// As `judge`.
    pub fn judge_all(self) -> Result<Outcomes, String> {
        let received = self.thread.join().map_err(|error| error.to_string())??;
        if let Some(path) = &self.options.out {
            write_seen(path, &received.ledger).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        let expect = &self.options.expect;
        let expectation =
            if expect.is_empty() { None } else { Some(Expectation::read(expect).map_err(|error| error.to_string())?) };
        let wanted = expectation.as_ref().map(|expectation| &expectation.visible);
        Ok(Outcomes {
            traces: received.ledger.judge(expectation.as_ref()),
            beside: received.beside,
            visible: received.visible.zip(wanted).map(|(seen, wanted)| seen.judge(wanted)),
            trace_bytes: received.trace_bytes,
            malformed: received.malformed,
        })
    }
}

/// Receives until told to stop, then judges; true if everything came as it should.
///
/// # Errors
/// A text: a port that cannot be had, or a file that cannot be read or written.
pub fn run(options: &SinkOptions, output: Output) -> Result<bool, String> {
    let sink = RunningSink::start(options, output)?;
    crate::interrupt::watch(sink.stop());
    let Outcomes { traces, beside, visible, trace_bytes, malformed } = sink.judge_all()?;
    let mut line = traces.line("sink");
    if !beside.is_empty() {
        let more = beside.line();
        line.text.push_str(&format!("\n{}", more.text));
        line.json["beside"] = more.json;
    }
    let all = trace_bytes + beside.bytes().iter().sum::<u64>();
    line.text.push_str(&format!("\nbytes    {all} of messages before compression, {trace_bytes} of them of traces"));
    (line.json["bytes"], line.json["trace_bytes"]) = (json!(all), json!(trace_bytes));
    if let Some(visible) = &visible {
        let more = visible.line();
        line.text.push_str(&format!("\n{}", more.text));
        line.json["visible"] = more.json;
    }
    line.json["malformed"] = json!(malformed);
    if malformed > 0 {
        line.text.push_str(&format!("\nmalformed {malformed} requests"));
    }
    output.result(&line);
    let is_visible = visible.is_none_or(|visible| visible.is_clean());
    Ok(traces.is_clean(options.allow_duplicates) && is_visible && malformed == 0)
}

async fn receive(
    options: SinkOptions,
    output: Output,
    stop: Arc<AtomicBool>,
    bound: Sender<SocketAddr>,
) -> Result<Received, String> {
    let sink = Rc::new(Sink::new(&options));
    let mut listeners = vec![(options.listen, Transport::Grpc)];
    listeners.extend(options.listen_http.map(|address| (address, Transport::Http)));
    for (address, transport) in listeners {
        let listener = crate::listen::bind(address).await?;
        // Whoever started the sink waits for this; it cannot be gone.
        let _ = bound.send(listener.local_addr());
        let address = listener.local_addr().to_string();
        output.progress(&Line { text: format!("listening on {address}"), json: json!({ "listening": address }) });
        executor::spawn(receiver::accept(listener, transport, Rc::clone(&sink)));
    }
    let begin = Instant::now();
    let (mut shown, mut spans_shown) = (begin, 0);
    let (mut changed, mut spans_changed) = (begin, 0);
    while !stop.load(Ordering::Relaxed) && options.duration.is_none_or(|limit| begin.elapsed() < limit) {
        executor::sleep(STOP_CHECK).await;
        let spans = sink.ledger.borrow().spans();
        if spans != spans_changed {
            (changed, spans_changed) = (Instant::now(), spans);
        }
        if spans > 0 && options.idle_exit.is_some_and(|idle| changed.elapsed() > idle) {
            break;
        }
        if shown.elapsed() >= SECOND {
            output.progress(&sink.progress(begin.elapsed(), spans - spans_shown));
            (shown, spans_shown) = (shown + SECOND, spans);
        }
    }
    Ok(Received {
        ledger: sink.ledger.take(),
        beside: sink.beside.take(),
        visible: sink.visible.as_ref().map(RefCell::take),
        trace_bytes: sink.trace_bytes.get(),
        malformed: sink.malformed.get(),
    })
}
