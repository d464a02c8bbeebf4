//! A next hop that fails on demand, and an exporter with its workers to send there, over real sockets.

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tailwater_config::{Batch, Breaker, ExportProtocol, OtlpExporter, Retry};
use tailwater_connectors::delivery::{Delivery, Settlement};
use tailwater_connectors::otlp::exporter::{Endpoints, Environment, Exporter};
use tailwater_engine::host::ExportRequest;
use tailwater_engine::vocabulary::{Destinations, KeptUnit, SegmentHandle, Unit};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::{Backend, clock, probe};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes of a request's body: too few to be compressed.
const BODY_BYTES: usize = 512;
/// The exporter's number among a node's.
pub const NUMBER: usize = 3;
/// No wait lasts longer on a busy machine, seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a server does with every request.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    /// Closes the connection without a word.
    Down,
    /// Answers with that status, and asks to be left alone for so many seconds.
    Answers(u16, Option<u64>),
    /// Takes everything, so much later.
    Slow(Duration),
    /// Takes what has at most so many bytes; what is larger is answered with 413.
    UpTo(usize),
    /// Answers 200 with that content type and body.
    Says(&'static str, &'static str),
}

/// Takes everything.
pub const GOOD: Mood = Mood::Answers(200, None);

/// Paths and bodies of requests.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An HTTP/1.1 server on threads of its own.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    /// When each request, or connection while down, came.
    came: Arc<Mutex<Vec<Instant>>>,
    /// The paths and bodies of the requests that were taken, where they are wanted.
    taken: Option<Taken>,
}

impl Server {
    /// Serves until the process ends.
    #[must_use]
    pub fn start(mood: Mood) -> Self {
        Self::serving(mood, None)
    }

    /// As `start`; takes everything and keeps it for `take_requests`.
    #[must_use]
    pub fn collecting() -> Self {
        Self::serving(GOOD, Some(Arc::default()))
    }

    fn serving(mood: Mood, taken: Option<Taken>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, mood: Arc::new(Mutex::new(mood)), came: Arc::default(), taken };
        let serving = server.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let serving = serving.clone();
                // A peer that goes away in the middle ends its thread only.
                std::thread::spawn(move || _ = serving.serve(&stream));
            }
        });
        server
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            if let Mood::Down = *self.mood.lock().unwrap() {
                self.came.lock().unwrap().push(Instant::now());
                return Ok(());
            }
            let mut length = 0;
            let (mut line, mut path) = (String::new(), None);
            loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                path.get_or_insert_with(|| line.split(' ').nth(1).unwrap_or_default().to_string());
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            self.came.lock().unwrap().push(Instant::now());
            let mood = *self.mood.lock().unwrap();
            let (status, more, said) = match mood {
                Mood::Down => return Ok(()),
                Mood::Answers(status, asked) => {
                    (status, asked.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default(), "")
                }
                Mood::Slow(duration) => {
                    // Nobody sends: the wait is all there is to it.
                    let (_sender, never) = std::sync::mpsc::channel::<()>();
                    _ = never.recv_timeout(duration);
                    (200, String::new(), "")
                }
                Mood::UpTo(bytes_max) => (if body.len() > bytes_max { 413 } else { 200 }, String::new(), ""),
                Mood::Says(kind, said) => (200, format!("content-type: {kind}\r\n"), said),
            };
            if let Some(taken) = self.taken.as_ref().filter(|_| status == 200) {
                taken.lock().unwrap().push((path.unwrap_or_default(), body));
            }
            let length = said.len();
            let answer = format!("HTTP/1.1 {status} word\r\ncontent-length: {length}\r\n{more}\r\n{said}");
            (&*stream).write_all(answer.as_bytes())?;
        }
    }

    /// From now on it does that.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The bodies that have come since the last call.
    #[must_use]
    pub fn take_bodies(&self) -> Vec<Vec<u8>> {
        self.take_requests().into_iter().map(|(_, body)| body).collect()
    }

    /// The same with the path of each.
    #[must_use]
    pub fn take_requests(&self) -> Vec<(String, Vec<u8>)> {
        self.taken.as_ref().map(|taken| std::mem::take(&mut *taken.lock().unwrap())).unwrap_or_default()
    }

    /// When requests have come so far.
    #[must_use]
    pub fn came(&self) -> Vec<Instant> {
        self.came.lock().unwrap().clone()
    }
}

/// What an exporter tells and asks.
pub struct Host {
    told: UnboundedSender<Settlement>,
    /// Told when a worker begins to wait: what it has done before can be seen then.
    waits: Notify,
    /// The addresses of every name.
    addresses: RefCell<Vec<SocketAddr>>,
    /// Lookups so far.
    looked_up: Cell<usize>,
}

impl Environment for Host {
    async fn sleep(&self, duration: Duration) {
        self.waits.notify_waiters();
        executor::sleep(duration).await;
    }

    async fn resolve(&self, host: &str, _: u16) -> Result<Vec<SocketAddr>, String> {
        self.looked_up.set(self.looked_up.get() + 1);
        let addresses = self.addresses.borrow().clone();
        if addresses.is_empty() { Err(format!("{host} is not known")) } else { Ok(addresses) }
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(clock::monotonic_nanos())
    }

    fn settled(&self, settlement: Settlement) {
        self.told.send(settlement).unwrap();
    }
}

/// An exporter with its workers.
pub struct Bench {
    /// The exporter.
    pub exporter: Rc<Exporter>,
    /// What it tells and asks.
    pub host: Rc<Host>,
    settled: RefCell<Option<UnboundedReceiver<Settlement>>>,
}

impl Bench {
    /// An exporter of these settings, alone on its node.
    #[must_use]
    pub fn new(settings: &OtlpExporter, has_workers: bool) -> Self {
        let (sender, receiver) = unbounded_channel();
        let host = Rc::new(Host {
            told: sender,
            waits: Notify::new(),
            addresses: RefCell::default(),
            looked_up: Cell::new(0),
        });
        let exporter = Rc::new(Exporter::new(settings, Endpoints::new(settings).unwrap(), 1));
        if has_workers {
            for worker in 0..exporter.workers() {
                executor::spawn(exporter.clone().work(worker, host.clone()));
            }
        }
        Self { exporter, host, settled: RefCell::new(Some(receiver)) }
    }

    /// From now on these are the addresses of every name.
    pub fn set_addresses(&self, servers: &[&Server]) {
        self.host.addresses.replace(servers.iter().map(|server| server.address).collect());
    }

    /// Lookups so far.
    #[must_use]
    pub fn looked_up(&self) -> usize {
        self.host.looked_up.get()
    }

    /// Has names looked up from now on.
    pub fn look_up(&self) {
        executor::spawn(self.exporter.clone().look_up(self.host.clone()));
    }

    /// The exporter's time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.host.now()
    }

    /// Offers a request; its settlement comes back if it is known at once.
    pub fn offer(&self, request: &mut ExportRequest) -> Option<Settlement> {
        let delivery = Rc::new(Delivery::new(request, 1));
        self.exporter.offer(request, &delivery, NUMBER)
    }

    /// What becomes of the next request.
    pub async fn next(&self) -> Settlement {
        let mut settled = self.settled.take().expect("one wait at a time");
        let next = executor::timeout(PATIENCE, settled.recv()).await;
        self.settled.replace(Some(settled));
        next.unwrap().unwrap()
    }

    /// Looks whenever a worker has done something and begins to wait, until it is so.
    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            // Asked for before looking, so that nothing that happens in between is missed.
            let changed = self.host.waits.notified();
            if is_so() {
                return;
            }
            let is_in_time = executor::timeout(end.saturating_duration_since(Instant::now()), changed).await;
            assert!(is_in_time.is_ok(), "never {what}: {:?}", self.exporter.counters);
        }
    }
}

/// A request for traces with one span, which is in the log or not.
#[must_use]
pub fn request(is_logged: bool) -> ExportRequest {
    let units = if is_logged {
        vec![KeptUnit::plain(Unit { segment: SegmentHandle::new(0, 1), number: 5 })]
    } else {
        Vec::new()
    };
    let body = Bytes::from(vec![0; BODY_BYTES]);
    ExportRequest { signal: Signal::Traces, body, items: 1, units, destinations: Destinations::ALL, is_summary: false }
}

/// An exporter to these servers that waits for milliseconds where others wait for seconds. Its queue holds four requests;
/// each is sent alone.
#[must_use]
pub fn settings(servers: &[&Server]) -> OtlpExporter {
    let millis = Duration::from_millis;
    OtlpExporter {
        protocol: ExportProtocol::HttpProtobuf,
        endpoints: servers.iter().map(|server| format!("http://{}", server.address)).collect(),
        retry: Retry {
            initial_interval: millis(1),
            max_interval: millis(5),
            max_elapsed_time: Duration::from_secs(600),
            ..Retry::default()
        },
        breaker: Breaker { failures_max: 3, open_interval: millis(5), open_interval_max: millis(20) },
        batch: Batch { spans_max: 1, ..Batch::default() },
        queue_bytes_max: 4 * BODY_BYTES as u64,
        ..OtlpExporter::named("otlp")
    }
}

/// Runs a test on each backend that this machine has.
pub fn on_both_backends<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    for backend in [Backend::Epoll, Backend::Uring] {
        if backend == Backend::Uring && probe::uring().is_err() {
            continue;
        }
        let options = ExecutorOptions { name: "test".into(), core: None, backend };
        executor::start(options, test).unwrap().join().unwrap();
    }
}
