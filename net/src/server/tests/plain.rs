//! Plain HTTP over HTTP/1.1 and HTTP/2: bodies, refusals, keep-alive.

use std::io::{Read, Write};
use std::time::Duration;

use super::harness::*;
use crate::server::Limits;

fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{head}\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const POST: &str = "POST /echo HTTP/1.1\r\ncontent-type: application/x-protobuf\r\nconnection: close";

#[test]
fn http1_echoes_announced_and_chunked_bodies() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let answer = exchange(server.http, &request(POST, b"hello"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/x-protobuf\r\n") && answer.ends_with("identity:hello"));
        let gzip = format!("{POST}\r\ncontent-encoding: gzip");
        assert!(exchange(server.http, &request(&gzip, b"zz")).ends_with("gzip:zz"));
        let chunked =
            format!("{POST}\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert!(exchange(server.http, chunked.as_bytes()).ends_with("identity:abcde"));
        let large = vec![b'x'; 5_000_000];
        let answer = exchange(server.http, &request(POST, &large));
        assert!(answer.as_bytes().ends_with(&large), "{backend}: {}", answer.len());
        let counts = server.counts();
        assert_eq!((counts.requests_http, counts.request_body_bytes), (4, 5_000_012));
    }
}

#[test]
fn http1_keeps_connections_and_takes_pipelined_requests() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let keep = "POST /echo HTTP/1.1\r\ncontent-type: application/x-protobuf";
        let both = [request(keep, b"one"), request(POST, b"two")].concat();
        let answer = exchange(server.http, &both);
        assert!(answer.contains("identity:one") && answer.ends_with("identity:two"), "{answer}");
        assert_eq!(server.counts().accepted, 1);
    }
}

#[test]
fn refusals_have_their_code_and_a_status_in_the_requests_encoding() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { request_bytes_max: 1000, ..Limits::default() });
        let json = "content-type: application/json\r\nconnection: close";
        let unknown_coding = format!("{POST}\r\ncontent-encoding: br");
        let cases = [
            (request(&format!("POST /nope HTTP/1.1\r\n{json}"), b"{}"), "404", r#"{"code":12,"#),
            (request(&format!("GET /echo HTTP/1.1\r\n{json}"), b""), "405", r#"{"code":12,"#),
            (request("POST /echo HTTP/1.1\r\nconnection: close", b"x"), "415", "\u{8}\u{c}\u{12}"),
            (request(&unknown_coding, b"x"), "415", "accept-encoding: identity,gzip,zstd"),
            (request(&format!("POST /echo HTTP/1.1\r\n{json}"), &[b'x'; 1001]), "413", r#"{"code":8,"#),
            (request(&format!("POST /echo HTTP/1.1\r\n{json}\r\nx-do: status"), b"{}"), "503", "retry-after: 2"),
            (request(&format!("{POST}\r\nx-do: panic"), b""), "500", ""),
        ];
        for (request, code, part) in cases {
            let answer = exchange(server.http, &request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{backend} {code}: {answer}");
            assert!(answer.contains(part), "{backend} {code}: {answer}");
        }
        let counts = server.counts();
        assert_eq!((counts.requests_refused_by_head, counts.requests_too_large), (3, 1));
    }
}

#[test]
fn a_chunked_body_is_refused_when_it_grows_over_the_limit() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { request_bytes_max: 1000, ..Limits::default() });
        let mut stream = connect(server.http);
        let head = format!("{POST}\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        for _ in 0..11 {
            stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).unwrap();
        }
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

#[test]
fn a_slow_body_is_answered_with_408_and_the_connection_closed() {
    for backend in BACKENDS {
        let limits = Limits { request_timeout: Duration::from_millis(50), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        let mut stream = connect(server.http);
        // Keep-alive is asked for; the server closes all the same, for the rest of the body may come any time.
        let head = "POST /echo HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
        stream.write_all(head.as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#"{"code":4,"#), "{backend}: {answer}");
        assert_eq!(server.counts().request_timeouts, 1);
    }
}

#[test]
fn what_is_not_http_is_refused() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let answer = exchange(server.http, b"G\xc3\xa9T / HTTP/1.1\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let headers = "x: y\r\n".repeat(101);
        let answer = exchange(server.http, format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let long = format!("GET /{} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n", "x".repeat(20_000));
        assert!(exchange(server.http, long.as_bytes()).starts_with("HTTP/1.1 431 "));
        let answer = exchange(server.http, format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        server.wait_for("they are counted", |counts| counts.protocol_errors == 3);
    }
}

#[test]
fn http2_serves_plain_requests_and_grpc_on_either_port() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        client(async {
            for address in [server.grpc, server.http] {
                let mut client = Client::open(address).await;
                let head = post("/echo", &[("content-type", "application/x-protobuf")]);
                let answer = client.call(head, vec![b"hello".to_vec().into()]).await.unwrap();
                assert_eq!((answer.code.as_u16(), &answer.body[..]), (200, &b"identity:hello"[..]));
                let answer = client.call(post("/nope", &[("content-type", "application/json")]), vec![]).await.unwrap();
                assert_eq!(answer.code, 404);
                assert_eq!(answer.header("content-type"), "application/json");
                assert!(answer.body.starts_with(br#"{"code":12,"#));
                let answer = client.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
                assert_eq!(answer.grpc_status(), Some("0"));
            }
        });
        let counts = server.counts();
        assert_eq!((counts.requests_http, counts.requests_grpc), (4, 2));
    }
}

#[test]
fn what_http1_does_not_allow_has_its_answer() {
    for backend in BACKENDS {
        let limits = Limits { first_request_timeout: Duration::from_millis(300), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        let ask = |head: &str, rest: &str| exchange(server.http, format!("{POST}{head}\r\n\r\n{rest}").as_bytes());
        for (head, rest, code) in [
            ("", "", "400"),
            ("\r\nhost: a\r\nhost: b", "", "400"),
            ("\r\nhost: a\r\ntransfer-encoding: gzip, chunked", "0\r\n\r\n", "501"),
            ("\r\nhost: a\r\ntransfer-encoding: chunked", "zz\r\nabc\r\n0\r\n\r\n", "400"),
            ("\r\nhost: a\r\ntransfer-encoding: chunked", "3\r\nabcdef\r\n0\r\n\r\n", "400"),
        ] {
            let answer = ask(head, rest);
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{backend} {head} {rest:?}: {answer}");
        }
    }
}

#[test]
fn a_second_head_has_no_longer_than_the_first() {
    for backend in BACKENDS {
        let limits = Limits { first_request_timeout: Duration::from_millis(300), ..Limits::default() };
        let server = TestServer::start(backend, limits);
        let mut stream = connect(server.http);
        let keep = "POST /echo HTTP/1.1\r\ncontent-type: application/x-protobuf";
        stream.write_all(&request(keep, b"one")).unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"identity:one") {
            let mut part = [0; 1];
            stream.read_exact(&mut part).unwrap();
            received.extend_from_slice(&part);
        }
        stream.write_all(b"P").unwrap();
        // Without `note_head` this would take as long as an idle connection may be open, minutes.
        assert_eq!(read_to_end(&mut stream), b"");
        server.wait_for("the slow head", |counts| counts.first_request_timeouts == 1);
    }
}
