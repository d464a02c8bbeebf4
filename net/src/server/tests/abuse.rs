//! Hostile HTTP/2 peers: floods end the connection, others are served meanwhile.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, head_block, opening, read_frame,
};
use super::harness::*;
use crate::server::Limits;

const ENHANCE_YOUR_CALM: u8 = 11;

/// A connection past the handshake.
fn open(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&opening(65_535)).unwrap();
    stream
}

/// Sends the same bytes until the server has had enough, reading what it answers; the error code of its GOAWAY.
fn flood(mut stream: TcpStream, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u8> {
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || read_to_end(&mut reading));
    for round in 0..200_000 {
        if stream.write_all(&next(round)).is_err() {
            break;
        }
        if reader.is_finished() {
            break;
        }
    }
    goaway_code(&reader.join().unwrap())
}

/// The error code of the last GOAWAY frame in what the server sent.
fn goaway_code(mut received: &[u8]) -> Option<u8> {
    let frames = std::iter::from_fn(|| read_frame(&mut received));
    let goaways = frames.filter(|(kind, _, payload)| *kind == GOAWAY && payload.len() >= 8);
    goaways.last().map(|(_, _, payload)| payload[7])
}

/// Floods a server; another client's call in the middle of it is answered.
fn check(words: &str, next: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static) {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let flooding = open(server.grpc);
        let next = next.clone();
        let flooder = std::thread::spawn(move || flood(flooding, next));
        client(async {
            let mut honest = Client::open(server.grpc).await;
            for _ in 0..20 {
                let answer = honest.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
                assert_eq!(answer.grpc_status(), Some("0"), "{backend} {words}");
            }
        });
        // The GOAWAY itself may be lost with the connection, for the peer never stopped sending.
        let code = flooder.join().unwrap();
        assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{backend} {words}: {code:?}");
        server.wait_for(words, |counts| counts.control_frame_floods + counts.protocol_errors == 1);
    }
}

#[test]
fn ping_flood() {
    check("ping", |_| frame(PING, 0, 0, b"12345678"));
}

#[test]
fn ping_answer_flood() {
    check("ping answer", |_| frame(PING, ACK, 0, b"12345678"));
}

#[test]
fn settings_flood() {
    check("settings", |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn priority_flood() {
    check("priority", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
}

#[test]
fn window_update_flood() {
    check("window update", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn unknown_frame_flood() {
    check("unknown", |_| frame(0xfa, 0, 0, b"?"));
}

#[test]
fn empty_data_flood() {
    check("empty data", |round| {
        if round == 0 { frame(HEADERS, END_HEADERS, 1, &head_block(UNARY, &[])) } else { frame(DATA, 0, 1, &[]) }
    });
}

#[test]
fn rapid_reset() {
    check("rapid reset", |round| {
        let stream = 2 * round + 1;
        [frame(HEADERS, END_HEADERS, stream, &head_block(UNARY, &[])), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
            .concat()
    });
}

#[test]
fn continuation_flood() {
    check("continuation", |round| {
        if round == 0 { frame(HEADERS, 0, 1, &head_block(UNARY, &[])) } else { frame(CONTINUATION, 0, 1, &[]) }
    });
}

#[test]
fn header_bomb() {
    // One long header goes into the compression table once and is then named 4000 times in one byte each.
    check("header bomb", |round| {
        let value = "x".repeat(3000);
        let mut block = head_block(UNARY, &[]);
        block.extend_from_slice(b"\x40\x01a\x7f");
        block.extend_from_slice(&[0x80 | ((3000 - 127) & 0x7f) as u8, ((3000 - 127) >> 7) as u8]);
        block.extend_from_slice(value.as_bytes());
        block.resize(block.len() + 4000, 0xbe);
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * round + 1, &block)
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_flood_of_them_ends() {
    check("streams", |round| frame(HEADERS, END_HEADERS, 2 * round + 1, &head_block(UNARY, &[])));
}

#[test]
fn a_flood_of_honest_looking_requests_is_served_not_punished() {
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits { control_frames_per_second_max: 5, ..Limits::default() });
        client(async {
            // One PING with each request, as clients that measure the path send: far beyond five a second.
            let mut stream = Client::open(server.grpc).await;
            for _ in 0..500 {
                let answer = stream.call(grpc_head(UNARY, &[]), vec![framed(0, b"x")]).await.unwrap();
                assert_eq!(answer.grpc_status(), Some("0"), "{backend}");
            }
        });
        assert_eq!(server.counts().control_frame_floods, 0);
    }
}

#[test]
fn a_pseudo_header_field_in_trailers_ends_the_connection() {
    const PROTOCOL_ERROR: u8 = 1;
    for backend in BACKENDS {
        let server = TestServer::start(backend, Limits::default());
        let mut stream = open(server.grpc);
        // Trailers as they may be, then a call whose trailers have `:method`. Without `note_headers` it would be answered.
        let honest = [
            frame(HEADERS, END_HEADERS, 1, &head_block(UNARY, &[])),
            frame(DATA, 0, 1, &[0; 5]),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x01a\x01b"),
        ]
        .concat();
        stream.write_all(&honest).unwrap();
        server.wait_for("the honest call", |counts| counts.request_body_bytes == 0 && counts.requests_grpc == 1);
        let wrong = [
            frame(HEADERS, END_HEADERS, 3, &head_block(UNARY, &[])),
            frame(DATA, 0, 3, &[0; 5]),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x83]),
        ]
        .concat();
        stream.write_all(&wrong).unwrap();
        assert_eq!(goaway_code(&read_to_end(&mut stream)), Some(PROTOCOL_ERROR), "{backend}");
        server.wait_for("its end", |counts| counts.protocol_errors == 1);
    }
}
