//! Datagrams over the loopback device.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use tailwater_runtime::Backend;
use tailwater_runtime::executor::{ExecutorOptions, start, timeout};
use tailwater_runtime::net::{ReceivedDatagram, Sent, UdpSocket};

/// More than any machine takes to pass a datagram to itself.
const PATIENCE: Duration = Duration::from_secs(30);

fn run<F, T>(backend: Backend, make: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    start(ExecutorOptions { name: "test".to_owned(), core: None, backend }, make).unwrap().join().unwrap()
}

/// A free port of the loopback device.
fn any_port(host: &str) -> SocketAddr {
    format!("{host}:0").parse().unwrap()
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let received = timeout(PATIENCE, socket.receive_from(&mut buffer)).await.unwrap().unwrap();
    (buffer[..received.bytes].to_vec(), received.from)
}

#[test]
fn datagrams_go_both_ways_whole() {
    run(Backend::Epoll, || async {
        for host in ["127.0.0.1", "[::1]"] {
            let (one, other) = (UdpSocket::bind(any_port(host)).unwrap(), UdpSocket::bind(any_port(host)).unwrap());
            assert!(one.local_addr().port() != 0 && one.local_addr() != other.local_addr());
            assert!(one.receive_buffer_bytes() > 64 << 10);
            for length in [0, 1, 1340, 60_000] {
                let datagram = vec![7; length];
                assert!(matches!(one.send_to(&datagram, other.local_addr()).await, Sent::Whole));
                assert_eq!(receive(&other).await, (datagram.clone(), one.local_addr()), "{length} bytes over {host}");
                assert!(matches!(other.send_to(&datagram, one.local_addr()).await, Sent::Whole));
                assert_eq!(receive(&one).await, (datagram, other.local_addr()), "{length} bytes back over {host}");
            }
        }
    });
}

#[test]
fn no_datagram_ends_the_socket() {
    run(Backend::Epoll, || async {
        for host in ["127.0.0.1", "[::1]"] {
            let (one, other) = (UdpSocket::bind(any_port(host)).unwrap(), UdpSocket::bind(any_port(host)).unwrap());
            // More than UDP knows; over IPv6 also what the loopback device would take in fragments, were they not forbidden.
            let largest = if host == "[::1]" { 65_500 } else { 65_508 };
            assert!(matches!(one.send_to(&vec![1; largest], other.local_addr()).await, Sent::TooLarge), "{host}");
            // Nobody there: the answer to the first comes with a later one, if at all.
            let gone = UdpSocket::bind(any_port(host)).unwrap();
            let nobody = gone.local_addr();
            drop(gone);
            for _ in 0..3 {
                let sent = one.send_to(b"anyone?", nobody).await;
                assert!(matches!(sent, Sent::Whole | Sent::Unreachable(_)), "{sent:?}");
            }
            let foreign = if host == "[::1]" { "127.0.0.1:9" } else { "[::1]:9" };
            let sent = one.send_to(b"x", foreign.parse().unwrap()).await;
            assert!(!matches!(sent, Sent::Whole), "{sent:?}");
            assert!(matches!(one.send_to(b"after all", other.local_addr()).await, Sent::Whole));
            assert_eq!(receive(&other).await.0, b"after all");
            assert!(matches!(other.send_to(b"back", one.local_addr()).await, Sent::Whole));
            assert_eq!(receive(&one).await.0, b"back");
        }
    });
}

#[test]
fn what_does_not_fit_the_buffer_is_cut_and_seen_by_its_length() {
    run(Backend::Epoll, || async {
        let (one, other) =
            (UdpSocket::bind(any_port("127.0.0.1")).unwrap(), UdpSocket::bind(any_port("127.0.0.1")).unwrap());
        for datagram in [&b"12345"[..], b"678"] {
            assert!(matches!(one.send_to(datagram, other.local_addr()).await, Sent::Whole));
        }
        let mut buffer = [0; 4];
        let cut = timeout(PATIENCE, other.receive_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!((cut, &buffer), (ReceivedDatagram { bytes: 4, from: one.local_addr() }, b"1234"));
        assert_eq!(receive(&other).await.0, b"678");
    });
}

#[test]
fn a_port_is_had_by_one_socket_and_the_other_backend_has_none() {
    let address = run(Backend::Epoll, || async {
        let first = UdpSocket::bind(any_port("127.0.0.1")).unwrap();
        let second = UdpSocket::bind(first.local_addr()).map(|_| ()).unwrap_err();
        assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
        first.local_addr()
    });
    let other = run(Backend::Uring, move || async move { UdpSocket::bind(address).map(|_| ()).map_err(|e| e.kind()) });
    assert_eq!(other, Err(std::io::ErrorKind::Unsupported));
}
