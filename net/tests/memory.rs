//! Memory under attack, in a process of its own so that its size means something: peers that announce much and send
//! little, open streams and take no replies, fill every window, or just stay.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../src/server/tests/frames.rs"]
mod frames;

use frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame, head_block, opening};
use std::future::pending;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as Client};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tailwater_net::acceptor::Acceptor;
use tailwater_net::server::{
    ConnectionCounts, LargeLane, Limits, ListenerKind, MemoryBounds, Protocol, ReceiveMemory, Reply, Request, Server,
    Service,
};
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, spawn, start};
use tailwater_runtime::net::{SharedPort, TcpListener};

/// What any one attack may add to the process.
const GROWTH_BYTES_MAX: usize = 64 << 20;

/// What the requests of a server share.
const MEMORY_BYTES: usize = 48 << 20;

/// Takes everything; path `/never` is never ready.
struct Sink {
    ready: bool,
}

impl Service for Sink {
    fn accept_head(&self, _: Protocol, _: &Method, _: &str, _: &HeaderMap) -> Result<(), Box<Reply>> {
        Ok(())
    }

    async fn ready(&self) {
        if !self.ready {
            pending::<()>().await;
        }
    }

    async fn call(&self, _request: Request) -> Reply {
        Reply::Grpc(Ok(Bytes::from(vec![0; 10_000])))
    }
}

type Ask = async_channel::Sender<ConnectionCounts>;

struct Running {
    address: SocketAddr,
    asks: Option<async_channel::Sender<Ask>>,
    executor: Option<ExecutorHandle<()>>,
}

impl Running {
    fn start(backend: Backend, ready: bool, limits: Limits) -> Self {
        let (bound, address) = async_channel::bounded(1);
        let (asks, asked) = async_channel::unbounded::<Ask>();
        let options = ExecutorOptions { name: "server".to_owned(), core: None, backend };
        let executor = start(options, move || async move {
            let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), SharedPort::Yes).unwrap();
            bound.send(listener.local_addr()).await.unwrap();
            let memory = ReceiveMemory::new(MemoryBounds::divide(MEMORY_BYTES), LargeLane::new());
            let server = Server::new(Sink { ready }, limits, memory);
            let acceptor = Acceptor::for_cores(1).remove(0);
            spawn(acceptor.run(vec![(listener, ListenerKind::Grpc)], Rc::clone(&server)));
            while let Ok(ask) = asked.recv().await {
                ask.send(server.stats().counts()).await.unwrap();
            }
        })
        .unwrap();
        Self { address: address.recv_blocking().unwrap(), asks: Some(asks), executor: Some(executor) }
    }

    fn counts(&self) -> ConnectionCounts {
        let (ask, answer) = async_channel::bounded(1);
        self.asks.as_ref().unwrap().send_blocking(ask).unwrap();
        answer.recv_blocking().unwrap()
    }

    fn wait_for(&self, words: &str, met: impl Fn(&ConnectionCounts) -> bool) {
        let begun = Instant::now();
        while !met(&self.counts()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{words}: {:?}", self.counts());
            std::thread::yield_now();
        }
    }

    /// A connection past the handshake whose peer has this window for replies.
    fn open(&self, reply_window_bytes: u32) -> Client {
        let mut client = Client::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        client.write_all(&opening(reply_window_bytes)).unwrap();
        client
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(executor) = self.executor.take() {
            executor.join().unwrap();
        }
    }
}

/// The head of a gRPC call.
fn head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head_block("/test", &[]))
}

/// Resident memory of this process in bytes.
fn resident_bytes() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn attack(words: &str, ready: bool, limits: &Limits, run: impl Fn(&Running)) {
    for backend in [Backend::Uring, Backend::Epoll] {
        let server = Running::start(backend, ready, limits.clone());
        let before = resident_bytes();
        run(&server);
        let growth = resident_bytes().saturating_sub(before);
        assert!(growth < GROWTH_BYTES_MAX, "{backend} {words}: {growth} bytes");
    }
}

#[test]
fn no_attack_makes_the_process_grow_much() {
    let limits = Limits::default();

    attack("500 idle connections", true, &limits, |server| {
        let idle: Vec<_> = (0..500).map(|_| server.open(65_535)).collect();
        server.wait_for("all are open", |counts| counts.open == 500);
        drop(idle);
    });

    attack("64 MB announced on each of 6400 streams", true, &limits, |server| {
        let mut clients: Vec<_> = (0..50).map(|_| server.open(65_535)).collect();
        for client in &mut clients {
            for stream in 0..128 {
                let id = 2 * stream + 1;
                client.write_all(&[head(id), frame(DATA, 0, id, &[0, 3, 0, 0, 0, 1])].concat()).unwrap();
            }
        }
        // Those for which there is no room are refused at once.
        server.wait_for("all have begun", |counts| counts.requests_grpc + counts.requests_without_room >= 6400);
    });

    attack("every window filled and nothing read", false, &limits, |server| {
        let mut clients: Vec<_> = (0..100).map(|_| server.open(65_535)).collect();
        for client in &mut clients {
            client.write_all(&head(1)).unwrap();
            client.write_all(&frame(DATA, 0, 1, b"\0\x03\0\0\0")).unwrap();
            // As much as any window was opened to; a server that has closed the connection has defended itself too.
            for _ in 0..(65_535 - 5) / 16_384 {
                let _sent = client.write_all(&frame(DATA, 0, 1, &[7; 16_384]));
            }
        }
        server.wait_for("all have begun", |counts| counts.requests_grpc == 100);
    });

    attack("streams opened and cancelled by a peer that takes no replies", true, &limits, |server| {
        let mut client = server.open(0);
        for stream in 0..100_000u32 {
            let id = 2 * stream + 1;
            let call = [head(id), frame(DATA, END_STREAM, id, &[0; 5]), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])];
            if client.write_all(&call.concat()).is_err() {
                break;
            }
        }
        server.wait_for("it is closed", |counts| counts.open == 0);
    });

    attack("a peer that sends and never reads", true, &limits, |server| {
        let mut client = server.open(1 << 30);
        for stream in 0..100_000u32 {
            let id = 2 * stream + 1;
            if client.write_all(&[head(id), frame(DATA, END_STREAM, id, &[0; 5])].concat()).is_err() {
                break;
            }
        }
        drop(client);
        server.wait_for("it is closed", |counts| counts.open == 0);
    });

    // After all of it a new connection is served.
    let server = Running::start(Backend::Uring, true, limits);
    let mut client = server.open(1 << 20);
    client.write_all(&[head(1), frame(DATA, END_STREAM, 1, &[0; 5])].concat()).unwrap();
    let mut received = Vec::new();
    while received.len() < 10_000 {
        let mut part = [0; 4096];
        let read = client.read(&mut part).unwrap();
        assert!(read > 0);
        received.extend_from_slice(&part[..read]);
    }
}
