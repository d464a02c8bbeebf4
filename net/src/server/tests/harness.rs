//! A server on an executor of its own, an echoing service, and blocking clients.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::{HeaderMap, Method, Request as HttpRequest, StatusCode};
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, start};
use tailwater_runtime::net::{SharedPort, TcpListener};

use crate::acceptor::Acceptor;
use crate::server::{
    ConnectionCounts, LargeLane, Limits, ListenerKind, MemoryBounds, Protocol, ReceiveMemory, Reply, Request, Server,
    Service,
};
use crate::status::{Code, GrpcStatus};

pub(super) const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Epoll];

/// So long no test waits unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What a server's requests share.
const MEMORY_BYTES: usize = 256 << 20;

pub(super) const UNARY: &str = "/test.Echo/Unary";
const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Echoes bodies. What a request asks for in the header `x-do`:
/// `wait` answers when [`TestServer::release`] is called, `panic` panics, `status` fails with details.
pub(super) struct Echo {
    released: async_channel::Receiver<()>,
    /// Told when a request waits.
    waiting: async_channel::Sender<()>,
    /// Holds one thing while the service is ready; see `TestServer::shut`.
    open: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

impl Service for Echo {
    fn accept_head(
        &self,
        protocol: Protocol,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Box<Reply>> {
        let refuse = |code| {
            let status = GrpcStatus::new(Code::Unimplemented, "refused by its head");
            Err(Box::new(status.to_http_reply_with(code, headers)))
        };
        match protocol {
            Protocol::Grpc if path == UNARY => Ok(()),
            Protocol::Grpc => Err(Box::new(Reply::Grpc(Err(GrpcStatus::new(Code::Unimplemented, "no such method"))))),
            Protocol::Http if path != "/echo" => refuse(StatusCode::NOT_FOUND),
            Protocol::Http if method != Method::POST => refuse(StatusCode::METHOD_NOT_ALLOWED),
            Protocol::Http if !headers.contains_key("content-type") => refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Protocol::Http => Ok(()),
        }
    }

    async fn ready(&self) {
        let (back, open) = &self.open;
        // Passed on at once to whoever waits next. Closed when the test is over.
        if open.recv().await.is_ok() {
            let _closed = back.try_send(());
        }
    }

    async fn call(&self, request: Request) -> Reply {
        match request.headers.get("x-do").map(|value| value.as_bytes()) {
            Some(b"wait") => {
                let _told = self.waiting.send(()).await;
                let _released = self.released.recv().await;
            }
            Some(b"panic") => panic!("on purpose"),
            Some(b"status") => {
                return Reply::Grpc(Err(GrpcStatus::overloaded("busy: 100 %", Duration::from_millis(1500))));
            }
            _ => {}
        }
        let mut body = BytesMut::from(request.encoding.token().as_bytes());
        body.put_u8(b':');
        body.extend_from_slice(&request.body);
        match request.protocol {
            Protocol::Grpc => Reply::Grpc(Ok(body.freeze())),
            Protocol::Http => Reply::http(StatusCode::OK, "application/x-protobuf", body.freeze()),
        }
    }
}

type Command = Box<dyn FnOnce(&Rc<Server<Echo>>) + Send>;

/// One core's server. Dropping it stops the executor.
pub(super) struct TestServer {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    commands: Option<async_channel::Sender<Command>>,
    release: async_channel::Sender<()>,
    /// A request that was asked to wait does so.
    pub(super) waiting: async_channel::Receiver<()>,
    open: (async_channel::Sender<()>, async_channel::Receiver<()>),
    executor: Option<ExecutorHandle<()>>,
}

impl TestServer {
    pub(super) fn start(backend: Backend, limits: Limits) -> Self {
        Self::start_cores(&[backend], limits).remove(0)
    }

    /// One server per backend given, sharing ports and handing connections over.
    pub(super) fn start_cores(backends: &[Backend], limits: Limits) -> Vec<Self> {
        let mut addresses = [LOCALHOST; 2];
        let mut servers: Vec<Self> = Vec::new();
        for (backend, acceptor) in backends.iter().zip(Acceptor::for_cores(backends.len())) {
            let (commands, received) = async_channel::unbounded::<Command>();
            let (release, released) = async_channel::unbounded();
            let (tell, waiting) = async_channel::unbounded();
            let open = async_channel::bounded(1);
            open.0.try_send(()).unwrap();
            let (bound, addresses_bound) = async_channel::bounded(1);
            let limits = limits.clone();
            let service = Echo { released, waiting: tell, open: open.clone() };
            let options = ExecutorOptions { name: "server".to_owned(), core: None, backend: *backend };
            let executor = start(options, move || async move {
                let listeners = addresses.map(|address| TcpListener::bind(address, SharedPort::Yes).unwrap());
                bound.send([listeners[0].local_addr(), listeners[1].local_addr()]).await.unwrap();
                let [grpc, http] = listeners;
                let listeners = vec![(grpc, ListenerKind::Grpc), (http, ListenerKind::Http)];
                let memory = ReceiveMemory::new(MemoryBounds::divide(MEMORY_BYTES), LargeLane::new());
                let server = Server::new(service, limits, memory);
                let accepting = async {
                    acceptor.run(listeners, Rc::clone(&server)).await;
                    std::future::pending::<()>().await;
                };
                let commanding = async {
                    while let Ok(command) = received.recv().await {
                        command(&server);
                    }
                };
                select(pin!(accepting), pin!(commanding)).await;
            })
            .unwrap();
            addresses = addresses_bound.recv_blocking().unwrap();
            servers.push(Self {
                grpc: addresses[0],
                http: addresses[1],
                commands: Some(commands),
                release,
                waiting,
                open,
                executor: Some(executor),
            });
        }
        servers
    }

    /// Runs something on the server's executor.
    pub(super) fn with<T: Send + 'static>(&self, run: impl FnOnce(&Rc<Server<Echo>>) -> T + Send + 'static) -> T {
        let (answer, answered) = async_channel::bounded(1);
        let command: Command = Box::new(move |server| answer.try_send(run(server)).unwrap());
        self.commands.as_ref().unwrap().send_blocking(command).unwrap();
        answered.recv_blocking().unwrap()
    }

    pub(super) fn counts(&self) -> ConnectionCounts {
        self.with(|server| server.stats().counts())
    }

    /// Waits until the counters say so, which they do soon after what they count.
    pub(super) fn wait_for(&self, words: &str, met: impl Fn(&ConnectionCounts) -> bool) {
        let begun = std::time::Instant::now();
        loop {
            let counts = self.counts();
            if met(&counts) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{words}: {counts:?}");
            std::thread::yield_now();
        }
    }

    /// Lets one waiting request go on.
    pub(super) fn release(&self) {
        self.release.send_blocking(()).unwrap();
    }

    /// Makes the service not ready, or ready again.
    pub(super) fn shut(&self, shut: bool) {
        if shut {
            self.open.1.recv_blocking().unwrap();
        } else {
            self.open.0.try_send(()).unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.commands = None;
        self.release.close();
        self.open.0.close();
        if let Some(executor) = self.executor.take() {
            let ended = executor.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// A blocking connection that gives up after [`PATIENCE`].
pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the server closes. A reset counts as closing: it happens when the server closes with input unread.
pub(super) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => received,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => received,
        Err(error) => panic!("the server has not closed the connection: {error}"),
    }
}

/// Sends a request text and reads until the server closes.
pub(super) fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned()
}

/// The answer to an HTTP/2 request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Answer {
    /// `grpc-status`, wherever it stands.
    pub(super) fn grpc_status(&self) -> Option<&str> {
        self.headers.get("grpc-status").or_else(|| self.trailers.get("grpc-status"))?.to_str().ok()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Runs a client on a tokio runtime of the test's own thread.
pub(super) fn client<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

/// An h2 client's handle; the connection runs as a task and its outcome can be awaited.
pub(super) struct Client {
    pub(super) send: h2::client::SendRequest<Bytes>,
    pub(super) ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    pub(super) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &h2::client::Builder::new()).await
    }

    pub(super) async fn open_with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, ended: tokio::task::spawn_local(connection) }
    }

    /// Sends a request with its body in these chunks and reads the answer.
    pub(super) async fn call(&mut self, request: HttpRequest<()>, chunks: Vec<Bytes>) -> Result<Answer, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(request, chunks.is_empty())?;
        let sending = async {
            let last = chunks.len().saturating_sub(1);
            for (index, mut chunk) in chunks.into_iter().enumerate() {
                while !chunk.is_empty() {
                    stream.reserve_capacity(chunk.len());
                    let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    let Some(Ok(room)) = room else { return };
                    let part = chunk.split_to(room.min(chunk.len()));
                    let end = index == last && chunk.is_empty();
                    if stream.send_data(part, end).is_err() {
                        return;
                    }
                }
                if index == last {
                    let _already_ended = stream.send_data(Bytes::new(), true);
                }
            }
            std::future::pending::<()>().await;
        };
        let answering = pin!(read_answer(response));
        match select(answering, pin!(sending)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), answering)) => answering.await,
        }
    }
}

async fn read_answer(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Answer { code: head.status, headers: head.headers, body: body.freeze(), trailers })
}

/// A POST request's head.
pub(super) fn post(path: &str, headers: &[(&str, &str)]) -> HttpRequest<()> {
    let mut request = HttpRequest::builder().method("POST").uri(format!("http://test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A gRPC call's head.
pub(super) fn grpc_head(path: &str, headers: &[(&str, &str)]) -> HttpRequest<()> {
    post(path, &[&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat())
}

/// A gRPC message with its prefix.
pub(super) fn framed(flag: u8, payload: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(payload.len() + 5);
    framed.put_u8(flag);
    framed.put_u32(u32::try_from(payload.len()).unwrap());
    framed.put_slice(payload);
    framed.freeze()
}
