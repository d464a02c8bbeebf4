//! TCP on both backends, against plain blocking sockets of the standard library.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::thread;

use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, start};
use tailwater_runtime::net::{SharedPort, TcpListener, TcpStream, exclusive_port_probe, resolve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Epoll];
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn run<F, T>(backend: Backend, make: impl FnOnce() -> F + Send + 'static) -> ExecutorHandle<T>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    start(ExecutorOptions { name: "test".to_owned(), core: None, backend }, make).unwrap()
}

/// A server that accepts one connection and hands it to `serve`; returns its address.
fn serve_one<F, T>(
    backend: Backend,
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, ExecutorHandle<T>)
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (address, bound) = async_channel::bounded(1);
    let handle = run(backend, move || async move {
        let listener = TcpListener::bind(ANY_PORT, SharedPort::Yes).unwrap();
        address.send(listener.local_addr()).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        assert_eq!(accepted.stream.peer_addr().unwrap(), accepted.peer);
        assert!(accepted.stream.nodelay().unwrap());
        serve(TcpStream::adopt(accepted.stream).unwrap()).await
    });
    (bound.recv_blocking().unwrap(), handle)
}

async fn echo(mut stream: TcpStream) -> u64 {
    let (mut total, mut buffer) = (0, Vec::with_capacity(100_000));
    loop {
        buffer.clear();
        let read = stream.read_buf(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        total += read as u64;
        stream.write_all(&buffer).await.unwrap();
    }
    // The peer has closed its side already; ENOTCONN must not be reported.
    stream.shutdown().await.unwrap();
    total
}

/// 3 MB that differ everywhere, so that a byte out of place shows.
fn pattern() -> Vec<u8> {
    (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn bytes_come_back_unchanged_through_an_echo() {
    for backend in BACKENDS {
        let (address, server) = serve_one(backend, echo);
        let mut client = StdTcpStream::connect(address).unwrap();
        let mut writing = client.try_clone().unwrap();
        let writer = thread::spawn(move || {
            writing.write_all(&pattern()).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        assert!(received == pattern(), "{backend}");
        assert_eq!(server.join().unwrap(), 3_000_000, "{backend}");
    }
}

#[test]
fn a_peer_that_has_gone_away_does_not_make_shutdown_fail() {
    for backend in BACKENDS {
        let (address, server) = serve_one(backend, |mut stream| async move {
            let mut byte = [0];
            stream.write_all(b"!").await.unwrap();
            let read = stream.read(&mut byte).await;
            (read.map_err(|error| error.kind()), stream.shutdown().await.map_err(|error| error.kind()))
        });
        let mut client = StdTcpStream::connect(address).unwrap();
        client.read_exact(&mut [0]).unwrap();
        // Linger of zero: the close sends RST, after which the socket is no longer connected.
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let (read, shutdown) = server.join().unwrap();
        assert_eq!(read, Err(std::io::ErrorKind::ConnectionReset), "{backend}");
        assert_eq!(shutdown, Ok(()), "{backend}");
    }
}

#[test]
fn gathered_writes_arrive_whole_and_in_order_when_the_peer_is_slow() {
    for backend in BACKENDS {
        let (address, server) = serve_one(backend, |mut stream| async move {
            let bytes = pattern();
            let mut sent = 0;
            while sent < bytes.len() {
                let rest = &bytes[sent..];
                let (head, tail) = rest.split_at(rest.len().min(9));
                let slices = [std::io::IoSlice::new(&[]), std::io::IoSlice::new(head), std::io::IoSlice::new(tail)];
                sent += stream.write_vectored(&slices).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        });
        let mut client = StdTcpStream::connect(address).unwrap();
        let (mut received, mut chunk) = (Vec::new(), [0; 700]);
        loop {
            match client.read(&mut chunk).unwrap() {
                0 => break,
                read => received.extend_from_slice(&chunk[..read]),
            }
        }
        server.join().unwrap();
        assert!(received == pattern(), "{backend}");
    }
}

#[test]
fn both_backends_connect_to_each_other() {
    for (server, client) in [(BACKENDS[0], BACKENDS[1]), (BACKENDS[1], BACKENDS[0])] {
        let (address, server) = serve_one(server, echo);
        let client = run(client, move || async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            stream.write_all(b"hello").await.unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).await.unwrap();
            stream.shutdown().await.unwrap();
            answer
        });
        assert_eq!(&client.join().unwrap(), b"hello");
        assert_eq!(server.join().unwrap(), 5);
    }
}

#[test]
fn a_refused_connection_is_an_error() {
    for backend in BACKENDS {
        let outcome = run(backend, || async {
            let free = TcpListener::bind(ANY_PORT, SharedPort::No).unwrap().local_addr();
            TcpStream::connect(free).await.map(|_| ()).map_err(|error| error.kind())
        });
        assert_eq!(outcome.join().unwrap(), Err(std::io::ErrorKind::ConnectionRefused), "{backend}");
    }
}

#[test]
fn a_port_is_shared_only_when_all_ask_and_the_probe_sees_that_it_is_taken() {
    for backend in BACKENDS {
        run(backend, || async {
            let first = TcpListener::bind(ANY_PORT, SharedPort::Yes).unwrap();
            let address = first.local_addr();
            let second = TcpListener::bind(address, SharedPort::Yes).unwrap();
            assert_eq!(second.local_addr(), address);
            let alone = TcpListener::bind(address, SharedPort::No).map(|_| ()).unwrap_err();
            assert_eq!(alone.kind(), std::io::ErrorKind::AddrInUse);
            let taken = exclusive_port_probe(address).unwrap_err();
            assert!(taken.to_string().contains(&address.to_string()), "{taken}");
            drop((first, second));
        })
        .join()
        .unwrap();
    }
    assert!(exclusive_port_probe(ANY_PORT).is_ok());
}

#[test]
fn names_and_addresses_are_resolved_on_any_executor() {
    for backend in BACKENDS {
        run(backend, || async {
            assert_eq!(resolve("[::1]", 5).await.unwrap(), ["[::1]:5".parse().unwrap()]);
            assert_eq!(resolve("192.0.2.7", 6).await.unwrap(), ["192.0.2.7:6".parse().unwrap()]);
            let local = resolve("localhost", 7).await.unwrap();
            assert!(local.iter().all(|address| address.ip().is_loopback() && address.port() == 7), "{local:?}");
            let unknown = resolve("no-such-name.invalid", 1).await.unwrap_err();
            assert!(unknown.to_string().contains("no-such-name.invalid"), "{unknown}");
        })
        .join()
        .unwrap();
    }
}
