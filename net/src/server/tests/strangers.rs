//! Senders that speak something else than the listener is for.

use std::io::Write;

use super::harness::*;
use crate::server::Limits;

const ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];

/// The start of a client's hello; what follows is random to us.
fn hello() -> Vec<u8> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.resize(517, 0xa5);
    hello
}

#[test]
fn tls_on_a_plain_port_is_answered_in_its_own_language() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        for address in [server.grpc, server.http] {
            for pieces in [vec![hello()], vec![hello()[..1].to_vec(), hello()[1..].to_vec()]] {
                let mut stream = connect(address);
                for piece in pieces {
                    stream.write_all(&piece).unwrap();
                }
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&mut stream), ALERT, "{backend}");
            }
        }
        server.wait_for("all are closed", |counts| counts.open == 0 && counts.protocol_errors == 4);
    }
}

#[test]
fn http1_on_the_grpc_port_is_told_so() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let mut stream = connect(server.grpc);
        stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-length: 3\r\n\r\nabc").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = String::from_utf8(read_to_end(&mut stream)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with("gRPC only here"), "{answer}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
}

/// RFC 9113, 3.4.
#[test]
fn what_is_no_http_is_closed_without_an_answer() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let strangers: [&[u8]; 4] = [
            b"INVALID CONNECTION PREFACE\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"\r\nSSH-2.0-OpenSSH_9.6\r\n",
            b"\x05\x01\x00\n",
        ];
        for address in [server.grpc, server.http] {
            for bytes in strangers {
                let mut stream = connect(address);
                stream.write_all(bytes).unwrap();
                assert_eq!(read_to_end(&mut stream), b"", "{backend}: {}", String::from_utf8_lossy(bytes));
            }
        }
    }
}

#[test]
fn requests_in_pieces_and_behind_an_empty_line_are_served() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let request = b"\r\nPOST /echo HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 3\r\n\
            content-type: application/x-protobuf\r\n\r\nabc";
        let mut stream = connect(server.http);
        for piece in request.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        let answer = String::from_utf8_lossy(&read_to_end(&mut stream)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}
