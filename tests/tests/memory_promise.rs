//! `memory.bytes_max` is a promise: whatever peers send, the resident memory of the real program stays below it, give or take
//! a quarter, on both runtimes; and others are served meanwhile.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

#[path = "../../net/src/server/tests/frames.rs"]
mod frames;

use bytes::Bytes;
use frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, frame, head_block, literal, opening, read_frame,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tailwater_net::compression::{Encoding, deflate};
use tailwater_tests::grpc::call;
use tailwater_tests::process::{PATIENCE, Tailwater, post};

/// What the nodes here promise.
const PROMISED_MIB: usize = 400;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");
const NOTHING: &str = "[{name: none, type: probabilistic, probabilistic: {sampling_percentage: 0}}]";

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn arguments(backend: &str) -> Vec<String> {
    let promised = format!("{PROMISED_MIB}MiB");
    let pairs = [
        ("--runtime", backend),
        ("--memory-bytes-max", promised.as_str()),
        ("--sampling-policies", NOTHING),
        ("--sampling-decision-wait", "10m"),
    ];
    pairs.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()]).collect()
}

fn start(backend: &str) -> Tailwater {
    let arguments = arguments(backend);
    Tailwater::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The most that the process has had resident.
fn peak_mib(node: &Tailwater) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() / 1024
}

/// Whatever was sent, the promise holds and others are served.
fn check(node: &Tailwater, words: &str) {
    let (status, _) = post(node.http, "/v1/traces", &[PROTOBUF], &request(&[], 1, 10));
    assert_eq!(status, 200, "{words}: another sender is not served");
    let peak = peak_mib(node);
    assert!(peak <= PROMISED_MIB / 4 * 5, "{words}: {peak} MiB");
}

fn on_both(words: &str, attack: impl Fn(&Tailwater)) {
    for backend in ["uring", "epoll"] {
        let node = start(backend);
        attack(&node);
        check(&node, &format!("{words} on {backend}"));
    }
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut encoded);
    encoded.extend_from_slice(content);
    encoded
}

fn attribute(key: &str, length: usize) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, &vec![b'a'; length]))].concat()
}

/// A request with this resource and so many spans of about so many bytes, each of a trace of its own.
fn request(resource: &[u8], spans: u32, span_bytes: usize) -> Vec<u8> {
    let traces: Vec<[u8; 16]> = (0..spans).map(|_| std::array::from_fn(|_| fastrand::u8(1..))).collect();
    request_of(resource, &traces, span_bytes)
}

/// A request with one span of each of these traces.
fn request_of(resource: &[u8], traces: &[[u8; 16]], span_bytes: usize) -> Vec<u8> {
    let spans: Vec<u8> = (0_u32..)
        .zip(traces)
        .flat_map(|(number, trace)| {
            let id = [[1; 4], number.to_be_bytes()].concat();
            let parts = [field(1, trace), field(2, &id), field(5, b"big"), field(9, &attribute("k", span_bytes))];
            field(2, &parts.concat())
        })
        .collect();
    field(1, &[field(1, resource), field(2, &spans)].concat())
}

fn zstd(body: &[u8]) -> Bytes {
    deflate(Encoding::Zstd, body, 1).unwrap()
}

/// The head of an export over gRPC.
fn head() -> Vec<u8> {
    head_block(EXPORT, &[])
}

/// A connection past the handshake whose peer has this window for replies.
fn open(address: SocketAddr, reply_window_bytes: u32) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    client.write_all(&opening(reply_window_bytes)).unwrap();
    client
}

/// Reads until so many streams have come to their end, by an answer or a reset.
fn read_ends(client: &mut TcpStream, streams: usize) {
    let mut ended = 0;
    while ended < streams {
        let (kind, flags, _) = read_frame(client).unwrap();
        ended += usize::from(kind == RST_STREAM || (matches!(kind, DATA | HEADERS) && flags & END_STREAM > 0));
    }
}

/// Reads until the server has opened the connection's window.
fn read_window_update(client: &mut TcpStream) {
    while read_frame(client).unwrap().0 != WINDOW_UPDATE {}
}

/// All of it on one connection, as many streams as there are bodies.
fn export_all(node: &Tailwater, bodies: &[Bytes]) {
    let mut client = open(node.grpc, 1 << 20);
    read_window_update(&mut client);
    let block = head_block(EXPORT, &literal(b"grpc-encoding", b"zstd"));
    for (number, body) in (0..).zip(bodies) {
        let stream = 2 * number + 1;
        let message = [&[1][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
        client.write_all(&frame(HEADERS, END_HEADERS, stream, &block)).unwrap();
        for (part, rest) in message.chunks(16_384).zip((0..message.len()).step_by(16_384)) {
            let is_last = rest + part.len() == message.len();
            client.write_all(&frame(DATA, if is_last { END_STREAM } else { 0 }, stream, part)).unwrap();
        }
    }
    read_ends(&mut client, bodies.len());
}

fn bombs(count: usize) -> Vec<Bytes> {
    (0..count).map(|_| zstd(&request(&[], 200, 200_000))).collect()
}

/// Without `Room::hold` in `admission.rs` every one of them is in memory at once, inflated, until the disk has synced.
#[test]
fn bodies_that_inflate() {
    on_both("inflated bodies", |node| export_all(node, &bombs(16)));
}

/// Without `logged_body` all of the log would be inflated in the queues between cores.
#[test]
fn the_log_of_a_former_run() {
    for backend in ["uring", "epoll"] {
        let node = start(backend);
        export_all(&node, &bombs(16));
        let directory = node.crash();
        let arguments = arguments(backend);
        let node = Tailwater::start_in(directory, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        check(&node, &format!("a replay on {backend}"));
    }
}

/// Without the bound in `Arena::append` each of them would be kept as long as its trace waits.
#[test]
fn ever_new_resources() {
    on_both("resources", |node| {
        for number in 0..14 {
            let resource = field(1, &attribute(&format!("r{number}"), 40_000_000));
            let (status, _) = post(node.http, "/v1/traces", &[PROTOBUF, ZSTD], &zstd(&request(&resource, 1, 10)));
            assert!(matches!(status, 200 | 400 | 413 | 503), "{status}");
        }
    });
}

/// Without `is_admitted` in `Assembly` each of them would reserve a megabyte.
#[test]
fn lengths_that_are_announced_and_not_sent() {
    on_both("announced lengths", |node| {
        let mut clients: Vec<_> = (0..40).map(|_| open(node.grpc, 65_535)).collect();
        for client in &mut clients {
            for number in 0..128 {
                let stream = 2 * number + 1;
                let announced = [&b"\0\x03\xff\xff\xff"[..], &[b'x'; 100]].concat();
                let parts = [
                    frame(HEADERS, END_HEADERS, stream, &head()),
                    frame(DATA, 0, stream, &announced),
                    frame(DATA, 0, stream, &[b'y'; 100]),
                ];
                _ = client.write_all(&parts.concat());
            }
        }
        node.until(|metrics| {
            let of =
                |name: &str| metrics.get(&format!("tailwater_receiver_{name}_total{{protocol=\"grpc\"}}")).copied();
            let told = of("requests_grpc").unwrap_or(0.0) + of("requests_without_room").unwrap_or(0.0);
            // So many small frames are an attack by themselves; a connection that is closed for them has defended itself too.
            told + 128.0 * of("protocol_errors").unwrap_or(0.0) >= 40.0 * 128.0
        });
    });
}

/// Without `RequestMemory::open` and `head::strip` each of them would take some ten kilobytes.
#[test]
fn heads_of_requests_without_bodies() {
    let fields: Vec<u8> = (0..430_u32)
        .flat_map(|number| {
            let letter = |number: u32| b'a' + u8::try_from(number % 26).unwrap();
            literal(&[letter(number / 26), letter(number)], b"")
        })
        .collect();
    let block = head_block(EXPORT, &fields);
    on_both("heads", |node| {
        let mut clients: Vec<_> = (0..100).map(|_| open(node.grpc, 65_535)).collect();
        for client in &mut clients {
            for number in 0..128 {
                client.write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &block)).unwrap();
            }
        }
    });
}

/// Lists of the smallest values that JSON has, each of which becomes a value of its own.
#[test]
fn dense_json() {
    let around = |values: &str| {
        format!(
            "{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"000000000000000000000000000000a1\",\
             \"spanId\":\"00000000000000b1\",\"attributes\":[{{\"key\":\"k\",\"value\":{{\"arrayValue\":{{\"values\":[\
             {values}]}}}}}}]}}]}}]}}]}}"
        )
    };
    let bodies: Vec<Bytes> = ["{}", "{\"intValue\":1}", "[]", "null"]
        .iter()
        .map(|value| zstd(around(&[*value].repeat(20_000_000 / (value.len() + 1)).join(",")).as_bytes()))
        .collect();
    on_both("dense JSON", |node| {
        let http = node.http;
        std::thread::scope(|scope| {
            for body in bodies.iter().chain(&bodies) {
                let json = ("content-type", "application/json");
                scope.spawn(move || post(http, "/v1/traces", &[json, ZSTD], body));
            }
        });
    });
}

/// A peer that lets no answer through holds its requests, and no more.
#[test]
fn peers_that_read_nothing() {
    on_both("zero windows", |node| {
        let mut clients: Vec<_> = (0..60).map(|_| open(node.grpc, 0)).collect();
        for client in &mut clients {
            for number in 0..128 {
                let stream = 2 * number + 1;
                let call = [frame(HEADERS, END_HEADERS, stream, &head()), frame(DATA, END_STREAM, stream, &[0; 5])];
                client.write_all(&call.concat()).unwrap();
            }
        }
    });
}

/// A frame of some bytes that asks for the largest window there is.
#[test]
fn windows_of_decoders() {
    let block = |is_last: u32, bytes: u32| (bytes << 3 | 1 << 1 | is_last).to_le_bytes()[..3].to_vec();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3];
    for number in 0..480 {
        frame.extend([block(u32::from(number == 479), 128 << 10), vec![0]].concat());
    }
    on_both("zstd windows", |node| {
        for _ in 0..2 {
            _ = post(node.http, "/v1/traces", &[PROTOBUF, ZSTD], &frame);
        }
    });
}

/// A next hop that takes connections and answers nothing, and no log: late spans of kept traces pass the queue's bound, but no
/// more of them are let in meanwhile. Without the outbox in `Core::is_pressed` they would be: 1.5 GB of 400 MiB.
#[test]
fn late_spans_while_the_next_hop_hangs() {
    let hop = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hop.local_addr().unwrap());
    for backend in ["uring", "epoll"] {
        let promised = format!("{PROMISED_MIB}MiB");
        let node = Tailwater::start(
            &[
                ("--runtime", backend),
                ("--memory-bytes-max", promised.as_str()),
                ("--otlp-grpc-ack", "received"),
                ("--otlp-http-ack", "received"),
                ("--exporters-otlp-endpoints", endpoint.as_str()),
                ("--exporters-otlp-queue-bytes-max", "8MiB"),
                ("--sampling-policies", "[{name: all, type: always_sample}]"),
                ("--sampling-decision-wait", "100ms"),
            ]
            .map(|(flag, value)| [flag, value])
            .concat(),
        );
        let traces: Vec<[u8; 16]> = (1..=20).map(|number| [number; 16]).collect();
        assert_eq!(post(node.http, "/v1/traces", &[PROTOBUF], &request_of(&[], &traces, 100)).0, 200);
        node.until(|metrics| metrics["tailwater_traces_kept_total"] >= 20.0);
        let (body, http) = (zstd(&request_of(&[], &traces, 2_000_000)), node.http);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let body = &body;
                scope.spawn(move || {
                    for _ in 0..4 {
                        let (status, _) = post(http, "/v1/traces", &[PROTOBUF, ZSTD], body);
                        assert!(matches!(status, 200 | 429 | 503), "{status}");
                    }
                });
            }
        });
        let peak = peak_mib(&node);
        assert!(peak <= PROMISED_MIB / 4 * 5, "late spans on {backend}: {peak} MiB");
    }
}

/// Bodies that are begun and not finished hold their room for some seconds at most, and none of another connection's: each
/// honest call beside them is answered. Without `Pace` they would hold it for as long as a request may take; without
/// `Credit` those that wait would hold the window of the one that has room.
#[test]
fn bodies_that_are_begun_and_not_finished() {
    for backend in ["uring", "epoll"] {
        let arguments = [
            "--runtime",
            backend,
            "--memory-receive-bytes-max",
            "16MiB",
            "--otlp-grpc-request-bytes-max",
            "4MiB",
            "--sampling-policies",
            NOTHING,
        ];
        let node = Tailwater::start(&arguments);
        let mut clients: Vec<_> = (0..4).map(|_| open(node.grpc, 65_535)).collect();
        for client in &mut clients {
            for number in 0..16 {
                let stream = 2 * number + 1;
                let begun = [&[0][..], &900_000_u32.to_be_bytes(), &[b'x'; 3000]].concat();
                let parts = [frame(HEADERS, END_HEADERS, stream, &head()), frame(DATA, 0, stream, &begun)].concat();
                client.write_all(&parts).unwrap();
            }
        }
        let (body, address) = (request(&[], 90, 10_000), node.grpc);
        let answers: Vec<String> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4)
                .map(|_| {
                    let body = &body;
                    scope.spawn(move || (0..4).map(|_| call(address, EXPORT, body).status).collect::<Vec<_>>())
                })
                .collect();
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
        });
        // 14: no room now, come back. Most find some.
        assert!(answers.iter().all(|status| status == "0" || status == "14"), "{backend}: {answers:?}");
        assert!(answers.iter().filter(|status| *status == "0").count() >= 8, "{backend}: {answers:?}");
    }
}
