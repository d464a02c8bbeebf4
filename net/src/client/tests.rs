//! Calls against small servers, on both backends.

use super::*;
use crate::compression::{Encoding, deflate};
use crate::status::Code;
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::future::Future;
use std::net::SocketAddr;
use tailwater_runtime::Backend;
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::net::{SharedPort, TcpListener, TcpStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Any authority: what is no TLS is not compared with it.
const CERTIFICATE: &[u8] = b"\
-----BEGIN CERTIFICATE-----\n\
MIIBlTCCATugAwIBAgIUfeCBXkQW3QfT/J7JP5V078X8E64wCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEzMDAyMzU1NFoYDzIxMjYxMTA2\n\
MDIzNTU0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAATQVgfNWJ8kjDxPuVo9mvTKCDE6FRdmUDyWlEetxyTfmB+/eB9a3GfT\n\
vVoxfYSbKXmAfzWxI3vPZheJHmhY7Ufdo2kwZzAdBgNVHQ4EFgQUqeM4KH7eAZ/y\n\
Dfv+LKzoNBcYj0AwHwYDVR0jBBgwFoAUqeM4KH7eAZ/yDfv+LKzoNBcYj0AwDwYD\n\
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID\n\
SAAwRQIgEiWSmtf/bIPVVMp2SR7PE7EyS5mjYctmZjc/puY3OPMCIQCcx+gMMRkO\n\
P0owLoCx2QJyq96h/+JtjFH12VjkxtRFrA==\n\
-----END CERTIFICATE-----\n";

const DEADLINE: Duration = Duration::from_secs(20);

fn on_both_backends<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    for backend in [Backend::Epoll, Backend::Uring] {
        if backend == Backend::Uring && tailwater_runtime::probe::uring().is_err() {
            continue;
        }
        let options = ExecutorOptions { name: "test".into(), core: None, backend };
        executor::start(options, test).unwrap().join().unwrap();
    }
}

fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), SharedPort::No).unwrap();
    let target = Target::parse(&format!("http://{}", listener.local_addr())).unwrap();
    (listener, target)
}

/// Answers every HTTP/2 request with what `answer` makes of its head and body.
fn serve_http2(
    listener: TcpListener,
    answer: impl Fn(http::request::Parts, Bytes) -> (Response<()>, Bytes, Option<HeaderMap>) + Clone + 'static,
) {
    executor::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let answer = answer.clone();
            executor::spawn(async move {
                let stream = TcpStream::adopt(accepted.stream).unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let answer = answer.clone();
                    executor::spawn(async move {
                        let (head, mut body) = request.into_parts();
                        let mut whole = Vec::new();
                        while let Some(Ok(part)) = body.data().await {
                            body.flow_control().release_capacity(part.len()).unwrap();
                            whole.extend_from_slice(&part);
                        }
                        let (response, body, trailers) = answer(head, whole.into());
                        let end = body.is_empty() && trailers.is_none();
                        let mut stream = respond.send_response(response, end).unwrap();
                        if !body.is_empty() {
                            stream.send_data(body, trailers.is_none()).unwrap();
                        }
                        if let Some(trailers) = trailers {
                            stream.send_trailers(trailers).unwrap();
                        }
                    });
                }
            });
        }
    });
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, http::HeaderValue::from_static(value));
    }
    headers
}

fn framed(flag: u8, message: &[u8]) -> Bytes {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat().into()
}

#[test]
fn a_unary_call_carries_message_metadata_and_deadline_and_returns_the_answer() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        serve_http2(listener, |head, body| {
            assert_eq!(head.uri.path(), "/a.B/C");
            assert_eq!(head.headers["te"], "trailers");
            assert_eq!(head.headers["content-type"], "application/grpc");
            assert_eq!(head.headers["grpc-timeout"], "20000m");
            assert_eq!(head.headers["x-key"], "value");
            let compressed = head.headers.contains_key("grpc-encoding");
            let echo = framed(u8::from(compressed), &body[5..]);
            assert_eq!(echo, body);
            let mut response = Response::new(());
            if compressed {
                response.headers_mut().insert("grpc-encoding", head.headers["grpc-encoding"].clone());
            }
            (response, echo, Some(headers(&[("grpc-status", "0")])))
        });
        let connection = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap();
        let metadata = headers(&[("x-key", "value")]);
        // Larger than a frame and than the windows of the other side.
        let large = Bytes::from(vec![7; 3 << 20]);
        let call = |encoding, message| connection.unary("/a.B/C", &metadata, encoding, message, DEADLINE);
        let (first, second) = futures_util::join!(
            call(Encoding::Identity, large.clone()),
            call(Encoding::Gzip, deflate(Encoding::Gzip, &large, 1).unwrap())
        );
        assert_eq!(first.unwrap(), large);
        assert_eq!(second.unwrap(), large);
        assert!(!connection.is_closed());
    });
}

#[test]
fn refusals_come_back_with_their_code_and_delay() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        serve_http2(listener, |head, _body| match head.uri.path() {
            "/trailers-only" => {
                let mut response = Response::new(());
                *response.headers_mut() = headers(&[
                    ("grpc-status", "14"),
                    ("grpc-message", "too%20busy"),
                    ("grpc-retry-pushback-ms", "250"),
                ]);
                (response, Bytes::new(), None)
            }
            "/exhausted" => (Response::new(()), Bytes::new(), Some(headers(&[("grpc-status", "8")]))),
            "/proxy" => {
                let mut response = Response::new(());
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert("retry-after", "3".parse().unwrap());
                (response, Bytes::new(), None)
            }
            _ => (Response::new(()), framed(0, b"cut").slice(..7), Some(headers(&[("grpc-status", "0")]))),
        });
        let connection = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap();
        let none = HeaderMap::new();
        let call = |path| connection.unary(path, &none, Encoding::Identity, Bytes::new(), DEADLINE);
        let error = call("/trailers-only").await.unwrap_err();
        assert!(matches!(&error, CallError::Status(status) if status.message == "too busy"), "{error}");
        assert!(error.is_retryable());
        assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
        let error = call("/exhausted").await.unwrap_err();
        assert!(!error.is_retryable(), "without RetryInfo it is too large for ever");
        let error = call("/proxy").await.unwrap_err();
        assert!(matches!(&error, CallError::Status(status) if status.code == Code::Unavailable));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert!(matches!(call("/cut").await, Err(CallError::Transport(_))));
    });
}

#[test]
fn a_silent_server_costs_the_deadline_and_closes_the_connection() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        executor::spawn(async move {
            let stream = TcpStream::adopt(listener.accept().await.unwrap().stream).unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut held = Vec::new();
            while let Some(request) = connection.accept().await {
                held.push(request);
            }
        });
        let connection = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap();
        let none = HeaderMap::new();
        let call = connection.unary("/a", &none, Encoding::Identity, Bytes::new(), Duration::from_millis(20));
        assert!(matches!(call.await, Err(CallError::Deadline)));
        assert!(connection.is_closed());
    });
}

#[test]
fn nobody_listening_and_a_peer_that_hangs_up_are_told_apart() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        let options = ClientOptions::default();
        executor::spawn(async move {
            // Closes in the middle of the exchange, then stops listening.
            let mut stream = TcpStream::adopt(listener.accept().await.unwrap().stream).unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
        });
        let connection = GrpcConnection::open(&target, &options).await.unwrap();
        let none = HeaderMap::new();
        let call = connection.unary("/a", &none, Encoding::Identity, Bytes::new(), DEADLINE);
        let error = call.await.unwrap_err();
        assert!(matches!(error, CallError::Transport(_)) && error.is_retryable(), "{error:?}");
        assert!(connection.is_closed());
        let error = GrpcConnection::open(&target, &options).await.unwrap_err();
        assert!(matches!(error, CallError::Connect(_)), "{error:?}");
    });
}

#[test]
fn posts_over_http_1_keep_the_connection_and_report_refusals() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        executor::spawn(async move {
            let mut stream = TcpStream::adopt(listener.accept().await.unwrap().stream).unwrap();
            for answer in [
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
            ] {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\nbody") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                assert!(
                    head.contains("content-encoding: zstd\r\n") && head.contains("content-length: 4\r\n"),
                    "{head}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            // The third request is never answered.
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        });
        let mut connection = HttpConnection::open(&target, &ClientOptions::default()).await.unwrap();
        let none = HeaderMap::new();
        let mut post = async |deadline| {
            let body = Bytes::from_static(b"body");
            connection.post("/v1/traces", "application/x-protobuf", &none, Encoding::Zstd, body, deadline).await
        };
        let reply = post(DEADLINE).await.unwrap();
        assert_eq!((reply.code, &reply.body[..]), (200, &b"ok"[..]));
        let error = post(DEADLINE).await.unwrap_err();
        assert!(matches!(error, CallError::Http { code: 429, .. }) && error.is_retryable());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(matches!(post(Duration::from_millis(20)).await, Err(CallError::Deadline)));
        assert!(connection.is_closed());
    });
}

#[test]
fn posts_over_http_2_are_the_same_posts() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        serve_http2(listener, |head, body| {
            assert_eq!((head.method.as_str(), head.uri.path(), &body[..]), ("POST", "/v1/traces", &b"body"[..]));
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            (response, Bytes::from_static(b"why"), None)
        });
        let options = ClientOptions { http_version: HttpVersion::Http2, ..ClientOptions::default() };
        let mut connection = HttpConnection::open(&target, &options).await.unwrap();
        let none = HeaderMap::new();
        let body = Bytes::from_static(b"body");
        let error = connection.post("/v1/traces", "application/json", &none, Encoding::Identity, body, DEADLINE).await;
        let error = error.unwrap_err();
        assert!(!error.is_retryable());
        assert!(matches!(error, CallError::Http { code: 400, body, .. } if body == "why"));
    });
}

#[test]
fn https_without_tls_settings_is_an_error_not_clear_text() {
    on_both_backends(|| async {
        let (_listener, mut target) = listen();
        target.scheme = Scheme::Https;
        let error = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap_err();
        assert!(matches!(&error, CallError::Connect(text) if text.contains("TLS")), "{error}");
    });
}

/// Says `words` to whoever connects, and ends.
fn greet(listener: TcpListener, words: &'static [u8]) {
    executor::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut stream = TcpStream::adopt(accepted.stream).unwrap();
            // What is not read resets the connection, which may come before the words.
            _ = stream.read(&mut vec![0; 65_536]).await;
            _ = stream.write_all(words).await;
            _ = stream.flush().await;
            _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
}

#[test]
fn who_speaks_something_else_is_told_in_words() {
    const ALERT: &[u8] = &[0x15, 3, 1, 0, 2, 2, 10];
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    on_both_backends(|| async {
        let none = HeaderMap::new();
        for (words, told) in [
            (&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..], "http/protobuf"),
            (ALERT, "https://"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP"),
        ] {
            let (listener, target) = listen();
            greet(listener, words);
            let connection = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap();
            let body = Bytes::from_static(b"x");
            let error = connection.unary("/a.B/C", &none, Encoding::Identity, body, DEADLINE).await.unwrap_err();
            assert!(matches!(&error, CallError::Connect(text) if text.contains(told)), "{error}");
        }
        for (words, told) in [
            (ALERT, "https://"),
            (SETTINGS, "protocol grpc"),
            (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "https://"),
        ] {
            let (listener, target) = listen();
            executor::spawn(async move {
                let accepted = listener.accept().await.unwrap();
                let mut stream = TcpStream::adopt(accepted.stream).unwrap();
                _ = stream.read(&mut vec![0; 65_536]).await;
                _ = stream.write_all(words).await;
            });
            let mut connection = HttpConnection::open(&target, &ClientOptions::default()).await.unwrap();
            let body = Bytes::from_static(b"x");
            let error =
                connection.post("/v1/traces", "a/b", &none, Encoding::Identity, body, DEADLINE).await.unwrap_err();
            assert!(matches!(&error, CallError::Connect(text) if text.contains(told)), "{error}");
        }
        // TLS to a server without.
        let (listener, mut target) = listen();
        greet(listener, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        target.scheme = Scheme::Https;
        let tls = TlsConfig::new(Some(CERTIFICATE), None).unwrap();
        let options = ClientOptions { tls: Some(tls), ..ClientOptions::default() };
        let error = GrpcConnection::open(&target, &options).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Connect(text) if text.contains("no TLS") && text.contains("http://")),
            "{error}"
        );
        // Nobody there, and a name that is none.
        let (listener, target) = listen();
        drop(listener);
        let error = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap_err();
        assert!(error.to_string().contains("nothing listens there"), "{error}");
        let target = Target::parse("http://no-such-name.invalid:4317").unwrap();
        let error = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap_err();
        assert!(error.to_string().contains("no-such-name.invalid") && error.to_string().contains("DNS"), "{error}");
    });
}

#[test]
fn without_a_deadline_a_slow_answer_is_waited_for_and_none_is_told() {
    on_both_backends(|| async {
        let (listener, target) = listen();
        serve_http2(listener, |head, _| {
            assert!(!head.headers.contains_key("grpc-timeout"));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            (Response::new(()), Bytes::from_static(&[0; 5]), Some(trailers))
        });
        let connection = GrpcConnection::open(&target, &ClientOptions::default()).await.unwrap();
        let none = HeaderMap::new();
        let body = Bytes::from_static(b"x");
        let answer = connection.unary("/a.B/C", &none, Encoding::Identity, body, Duration::ZERO).await;
        assert_eq!(answer.unwrap(), Bytes::new());
    });
}
