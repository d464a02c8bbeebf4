//! Deadlines, draining, age, hand-over between cores.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use tailwater_runtime::Backend;

use super::harness::*;
use crate::server::Limits;

const SHORT: Duration = Duration::from_millis(40);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn short() -> Limits {
    Limits {
        handshake_timeout: SHORT,
        first_request_timeout: SHORT,
        idle_timeout: SHORT,
        connection_age_grace: SHORT,
        ..Limits::default()
    }
}

#[test]
fn half_open_connections_are_closed_at_every_stage() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, short());
        let whole = [PREFACE, SETTINGS].concat();
        let half_request = b"POST /echo HTTP/1.1\r\nhost: te";
        let stages: [(_, &[u8]); 7] = [
            (server.grpc, b""),
            (server.grpc, &PREFACE[..10]),
            (server.grpc, &whole),
            (server.http, b""),
            (server.http, &PREFACE[..10]),
            (server.http, &whole),
            (server.http, half_request),
        ];
        let mut streams: Vec<_> = stages
            .iter()
            .map(|(address, bytes)| {
                let mut stream = connect(*address);
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
        for stream in &mut streams {
            read_to_end(stream);
        }
        server.wait_for("all are closed", |counts| counts.open == 0);
        let counts = server.counts();
        assert_eq!((counts.handshake_timeouts, counts.first_request_timeouts), (4, 3), "{backend}: {counts:?}");
        // The two that had spoken HTTP/2 were asked to go first and did not answer.
        assert_eq!(counts.cut_off, 2, "{backend}");
    }
}

#[test]
fn idle_connections_are_closed_after_their_last_reply() {
    for backend in BACKENDS {
        let limits = Limits { first_request_timeout: PATIENCE, ..short() };
        let server = TestServer::start(backend, limits);
        client(async {
            let mut client = Client::open(server.grpc).await;
            client.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
            // GOAWAY without an error, then the end.
            client.ended.await.unwrap().unwrap();
        });
        let mut stream = connect(server.http);
        let request = "POST /echo HTTP/1.1\r\nhost: t\r\ncontent-type: x\r\ncontent-length: 2\r\n\r\nhi";
        stream.write_all(request.as_bytes()).unwrap();
        assert!(read_to_end(&mut stream).ends_with(b"identity:hi"));
        assert_eq!(server.counts().idle_timeouts, 2, "{backend}");
    }
}

#[test]
fn a_request_under_way_is_not_idle() {
    for backend in BACKENDS {
        let limits = Limits { first_request_timeout: PATIENCE, ..short() };
        let server = TestServer::start(backend, limits);
        client(async {
            let mut client = Client::open(server.grpc).await;
            let slow = client.call(grpc_head(UNARY, &[("x-do", "wait")]), vec![framed(0, b"slow")]);
            let meanwhile = async {
                server.waiting.recv().await.unwrap();
                // A connection that has come later and is idle has been closed for it, three times over.
                for _ in 0..3 {
                    let mut idle = Client::open(server.grpc).await;
                    idle.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
                    idle.ended.await.unwrap().unwrap();
                }
                server.release();
            };
            let (answer, ()) = futures_util::future::join(slow, meanwhile).await;
            assert_eq!(answer.unwrap().grpc_status(), Some("0"), "{backend}");
        });
    }
}

#[test]
fn a_dead_peer_is_found_out() {
    for backend in BACKENDS {
        let limits = Limits { keepalive_interval: Some(SHORT), keepalive_timeout: SHORT, ..Limits::default() };
        let server = TestServer::start(backend, limits);
        // A live one, which was there before, answers and stays.
        client(async {
            let mut client = Client::open(server.grpc).await;
            for _ in 0..2 {
                let mut dead = connect(server.grpc);
                dead.write_all(&[PREFACE, SETTINGS].concat()).unwrap();
                let (tell, ended) = async_channel::bounded(1);
                let reader = std::thread::spawn(move || {
                    read_to_end(&mut dead);
                    tell.try_send(()).unwrap();
                });
                ended.recv().await.unwrap();
                reader.join().unwrap();
            }
            let answer = client.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("0"), "{backend}");
        });
        server.wait_for("they are counted", |counts| counts.keepalive_timeouts == 2);
    }
}

#[test]
fn an_old_connection_is_asked_to_go_and_its_request_finished() {
    for backend in BACKENDS {
        let limits = Limits { connection_age_max: Some(SHORT), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        client(async {
            let mut client = Client::open(server.grpc).await;
            let slow = client.call(grpc_head(UNARY, &[("x-do", "wait")]), vec![framed(0, b"slow")]);
            let meanwhile = async {
                server.waiting.recv().await.unwrap();
                server.wait_for("its age is seen", |counts| counts.age_closes == 1);
                server.release();
            };
            let (answer, ()) = futures_util::future::join(slow, meanwhile).await;
            assert_eq!(answer.unwrap().grpc_status(), Some("0"), "{backend}");
            client.ended.await.unwrap().unwrap();
        });
        server.wait_for("it is closed", |counts| counts.open == 0);
        assert_eq!(server.counts().cut_off, 0);
    }
}

#[test]
fn a_drain_finishes_what_is_under_way_and_closes_the_rest() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let mut idle_http1 = connect(server.http);
        idle_http1
            .write_all(b"POST /echo HTTP/1.1\r\nhost: t\r\ncontent-type: x\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        server.wait_for("the request is in", |counts| counts.requests_http == 1);
        client(async {
            let mut client = Client::open(server.grpc).await;
            let slow = client.call(grpc_head(UNARY, &[("x-do", "wait")]), vec![framed(0, b"slow")]);
            let meanwhile = async {
                server.waiting.recv().await.unwrap();
                server.with(|server| server.drain());
                server.wait_for("the idle one is closed", |counts| counts.open == 1);
                server.release();
            };
            let (answer, ()) = futures_util::future::join(slow, meanwhile).await;
            assert_eq!(&answer.unwrap().body[5..], b"identity:slow", "{backend}");
            client.ended.await.unwrap().unwrap();
        });
        server.wait_for("all are closed", |counts| counts.open == 0);
        assert!(read_to_end(&mut idle_http1).ends_with(b"identity:"));
        // Nobody listens any more.
        assert!(std::net::TcpStream::connect(server.grpc).is_err());
    }
}

#[test]
fn a_drain_cuts_off_what_does_not_end() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { connection_age_grace: SHORT, ..Limits::default() });
        client(async {
            let mut client = Client::open(server.grpc).await;
            let stuck = client.call(grpc_head(UNARY, &[("x-do", "wait")]), vec![framed(0, b"x")]);
            let meanwhile = async {
                server.waiting.recv().await.unwrap();
                server.with(|server| server.drain());
            };
            let (answer, ()) = futures_util::future::join(stuck, meanwhile).await;
            answer.unwrap_err();
        });
        server.wait_for("it is cut off", |counts| (counts.open, counts.cut_off) == (0, 1));
    }
}

#[test]
fn connections_are_spread_over_the_cores_and_capped() {
    for backends in [[Backend::Uring, Backend::Uring], [Backend::Epoll, Backend::Uring]] {
        let cores = TestServer::start_cores(&backends, Limits { connections_max: 2, ..Limits::default() });
        client(async {
            let mut clients = Vec::new();
            for _ in 0..4 {
                let mut client = Client::open(cores[0].grpc).await;
                let answer = client.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
                assert_eq!(answer.grpc_status(), Some("0"));
                clients.push(client);
            }
            let open: Vec<u64> = cores.iter().map(|core| core.counts().open).collect();
            assert_eq!(open, [2, 2], "{backends:?}");
            // Both cores are full: the next one is closed at once.
            let mut refused = connect(cores[0].grpc);
            assert!(read_to_end(&mut refused).is_empty());
            let counts = cores.iter().map(TestServer::counts);
            let (accepted, refused) = counts.fold((0, 0), |(accepted, refused), counts| {
                (accepted + counts.accepted, refused + counts.refused_at_connections_max)
            });
            assert_eq!((accepted, refused), (5, 1));
            drop(clients);
        });
        for core in &cores {
            core.wait_for("the clients are gone", |counts| counts.open == 0);
        }
        // Their places are free again.
        client(async {
            let mut client = Client::open(cores[0].grpc).await;
            client.call(grpc_head(UNARY, &[]), vec![Bytes::from_static(b"\0\0\0\0\0")]).await.unwrap();
        });
    }
}
