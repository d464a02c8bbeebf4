//! gRPC: calls, framing, statuses, deadlines, health.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use super::harness::*;
use crate::server::Limits;

#[test]
fn a_call_is_echoed_whatever_its_size_and_cut() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        client(async {
            let mut client = Client::open(server.grpc).await;
            for size in [0, 1, 1000, 100_000, 6_000_000] {
                let payload: Vec<u8> = (0..size).map(|index: u32| index.wrapping_mul(31) as u8).collect();
                let whole = framed(0, &payload);
                let chunks = vec![whole.slice(..3), whole.slice(3..5), whole.slice(5..)];
                for chunks in [vec![whole.clone()], chunks] {
                    let answer = client.call(grpc_head(UNARY, &[]), chunks).await.unwrap();
                    assert_eq!(answer.code, 200);
                    assert_eq!(answer.header("content-type"), "application/grpc");
                    assert_eq!(answer.grpc_status(), Some("0"), "{answer:?}");
                    assert!(answer.body[5..].strip_prefix(b"identity:") == Some(&payload[..]), "{backend} {size}");
                    assert_eq!(answer.body.len() - 5, payload.len() + 9);
                }
            }
        });
        let counts = server.counts();
        assert_eq!((counts.requests_grpc, counts.replies_undelivered), (10, 0));
        assert_eq!(counts.request_body_bytes, 2 * (1 + 1000 + 100_000 + 6_000_000));
    }
}

#[test]
fn a_compressed_message_is_handed_over_with_the_name_of_its_coding() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        client(async {
            let mut client = Client::open(server.grpc).await;
            let gzip = [("grpc-encoding", "gzip")];
            let answer = client.call(grpc_head(UNARY, &gzip), vec![framed(1, b"zzz")]).await.unwrap();
            assert_eq!(&answer.body[5..], b"gzip:zzz");
            // The flag decides for each message, the header only names the coding.
            let answer = client.call(grpc_head(UNARY, &gzip), vec![framed(0, b"abc")]).await.unwrap();
            assert_eq!(&answer.body[5..], b"identity:abc");
            let answer = client.call(grpc_head(UNARY, &[]), vec![framed(1, b"zzz")]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("13"));
        });
    }
}

#[test]
fn what_cannot_be_served_gets_its_status() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { request_bytes_max: 1000, ..Limits::default() });
        client(async {
            let mut client = Client::open(server.grpc).await;
            let whole = framed(0, b"abc");
            let twice = Bytes::from([&whole[..], &whole[..]].concat());
            let unary = || grpc_head(UNARY, &[]);
            let cases = [
                ("unknown path", "12", grpc_head("/test.Echo/None", &[]), vec![whole.clone()]),
                ("unknown encoding", "12", grpc_head(UNARY, &[("grpc-encoding", "snappy")]), vec![whole.clone()]),
                ("too large", "8", unary(), vec![framed(0, &[0; 1001])]),
                ("cut short", "3", unary(), vec![whole.slice(..7)]),
                ("prefix cut short", "3", unary(), vec![whole.slice(..4)]),
                ("no message", "3", unary(), vec![]),
                ("two messages", "3", unary(), vec![twice]),
                ("two messages in two frames", "3", unary(), vec![whole.clone(), whole.clone()]),
                ("busy", "14", grpc_head(UNARY, &[("x-do", "status")]), vec![whole.clone()]),
            ];
            for (words, status, head, chunks) in cases {
                let answer = client.call(head, chunks).await.unwrap();
                assert_eq!((answer.code.as_u16(), answer.grpc_status()), (200, Some(status)), "{backend} {words}");
                match words {
                    "unknown encoding" => assert_eq!(answer.header("grpc-accept-encoding"), "identity,gzip,zstd"),
                    "too large" => assert_eq!(answer.header("grpc-status-details-bin"), ""),
                    "busy" => {
                        assert_eq!(answer.header("grpc-message"), "busy: 100 %25");
                        // RetryInfo of 1.5 s.
                        assert!(answer.header("grpc-status-details-bin").contains("Z29vZ2xlLnJwYy5SZXRyeUluZm8"));
                    }
                    _ => {}
                }
            }
            // The connection has survived all of it.
            let answer = client.call(unary(), vec![whole]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("0"));
        });
        let counts = server.counts();
        assert_eq!((counts.requests_malformed, counts.requests_too_large), (5, 1));
        assert_eq!((counts.requests_unknown_encoding, counts.requests_refused_by_head), (1, 1));
        assert_eq!(counts.protocol_errors, 0);
    }
}

#[test]
fn the_length_prefix_alone_is_enough_to_refuse() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { request_bytes_max: 1000, ..Limits::default() });
        client(async {
            let client = Client::open(server.grpc).await;
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(grpc_head(UNARY, &[]), false).unwrap();
            // A prefix that announces 4 GB, and then nothing.
            stream.send_data(Bytes::from_static(b"\0\xff\xff\xff\xff"), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "8");
        });
    }
}

#[test]
fn a_panicking_service_costs_one_call() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let panics = tailwater_runtime::executor::task_panics();
        client(async {
            let mut client = Client::open(server.grpc).await;
            let broken = client.call(grpc_head(UNARY, &[("x-do", "panic")]), vec![framed(0, b"x")]).await;
            assert!(broken.unwrap_err().is_reset());
            let answer = client.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("0"));
        });
        assert!(tailwater_runtime::executor::task_panics() > panics);
    }
}

#[test]
fn the_callers_deadline_and_ours_end_a_call() {
    for backend in BACKENDS {
        let limits = Limits { request_timeout: Duration::from_millis(50), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        client(async {
            let mut client = Client::open(server.grpc).await;
            // The service would wait for ever; the caller would not.
            let head = grpc_head(UNARY, &[("grpc-timeout", "30m"), ("x-do", "wait")]);
            let answer = client.call(head, vec![framed(0, b"x")]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("4"));
            // A body that never ends.
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(grpc_head(UNARY, &[]), false).unwrap();
            stream.send_data(framed(0, &[1; 100]).slice(..50), false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "4");
        });
        assert_eq!(server.counts().request_timeouts, 1);
    }
}

#[test]
fn a_service_that_is_not_ready_holds_the_sender_back_and_then_refuses() {
    for backend in BACKENDS {
        let window = 65_536;
        let limits =
            Limits { request_timeout: Duration::from_millis(200), stream_window_bytes: window, ..Limits::default() };
        let server = TestServer::start(backend, limits);
        server.shut(true);
        client(async {
            let client = Client::open(server.grpc).await;
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(grpc_head(UNARY, &[]), false).unwrap();
            let mut payload = framed(0, &vec![1; 1 << 20]);
            let sending = async {
                let mut sent = 0;
                while !payload.is_empty() {
                    stream.reserve_capacity(payload.len());
                    let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else {
                        break;
                    };
                    sent += room;
                    stream.send_data(payload.split_to(room), false).unwrap();
                }
                sent
            };
            let (sent, response) = futures_util::future::join(sending, response).await;
            assert_eq!(sent, window as usize, "{backend}: no more than the window was let through");
            let response = response.unwrap();
            assert_eq!(response.headers()["grpc-status"], "14");
            assert!(response.headers().contains_key("grpc-status-details-bin"));
        });
        server.shut(false);
        client(async {
            let mut client = Client::open(server.grpc).await;
            let answer = client.call(grpc_head(UNARY, &[]), vec![framed(0, &vec![1; 1 << 20])]).await.unwrap();
            assert_eq!(answer.grpc_status(), Some("0"));
        });
    }
}

#[test]
fn the_health_service_answers_check_and_watch() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    const WATCH: &str = "/grpc.health.v1.Health/Watch";
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        server.with(|server| server.health().set_services(["test.Echo"]));
        client(async {
            let mut client = Client::open(server.grpc).await;
            let mut check = async |message: &'static [u8]| {
                let answer = client.call(grpc_head(CHECK, &[]), vec![framed(0, message)]).await.unwrap();
                (answer.grpc_status().unwrap().to_owned(), answer.body)
            };
            assert_eq!(check(b"").await, ("0".to_owned(), framed(0, b"\x08\x02")));
            server.with(|server| server.health().set_serving(true));
            assert_eq!(check(b"\x0a\x09test.Echo").await, ("0".to_owned(), framed(0, b"\x08\x01")));
            assert_eq!(check(b"\x0a\x01x").await.0, "5");
            assert_eq!(check(b"\xff").await.0, "3");

            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(grpc_head(WATCH, &[]), false).unwrap();
            stream.send_data(framed(0, b""), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), framed(0, b"\x08\x01"));
            server.with(|server| server.health().set_serving(false));
            assert_eq!(body.data().await.unwrap().unwrap(), framed(0, b"\x08\x02"));
            server.with(|server| {
                server.health().set_serving(true);
                server.drain();
            });
            // The drain ends the watch, so that it does not hold the connection.
            assert!(body.data().await.is_none());
            assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "14");
        });
        assert_eq!(server.counts().health_checks, 5);
        server.wait_for("the connection closes", |counts| counts.open == 0);
    }
}

#[test]
fn a_reply_that_the_peer_does_not_take_is_given_up() {
    for backend in BACKENDS {
        let limits = Limits { request_timeout: Duration::from_millis(50), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        client(async {
            // A client with no window at all for replies.
            let client = Client::open_with(server.grpc, h2::client::Builder::new().initial_window_size(0)).await;
            let mut send = client.send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(grpc_head(UNARY, &[]), false).unwrap();
            stream.send_data(framed(0, b"x"), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let reset = body.data().await.unwrap().unwrap_err();
            assert_eq!(reset.reason(), Some(Reason::CANCEL));
        });
        server.wait_for("it is counted", |counts| counts.replies_undelivered == 1);
    }
}
