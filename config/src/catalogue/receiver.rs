//! The knobs of a receiver, the same for gRPC and HTTP.

use std::time::Duration;

use super::node::BUFFER_BYTES_MAX;
use super::{Key, Kind, Slot};
use crate::draft::ReceiverDraft;
use crate::settings::Ack;
use crate::value::KIB;

/// HTTP/2 windows are 31-bit numbers (RFC 9113, 6.9.1).
const WINDOW_BYTES_MAX: u64 = (1 << 31) - 1;
/// HTTP/2 frames are 24-bit numbers from 16 KiB on (RFC 9113, 4.2).
const FRAME_BYTES_MAX: u64 = (1 << 24) - 1;

const HOUR: Duration = Duration::from_secs(3600);

/// A deadline that zero switches off.
const DEADLINE: Kind = Kind::Duration { min: Duration::ZERO, max: HOUR };
/// An interval that zero switches off.
const INTERVAL: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(30 * 24 * 3600) };

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<ReceiverDraft>] = &[
    Key::new("enabled", Kind::Bool, |r| Slot::Bool(&mut r.enabled), "Whether this receiver listens."),
    Key::new(
        "endpoint",
        Kind::Address,
        |r| Slot::Address(&mut r.receiver.endpoint),
        "Listening address. The default is reached from this machine only; write `0.0.0.0:PORT` or `[::]:PORT` to be reached from others.",
    ),
    Key::new(
        "ack",
        Kind::Choice(Ack::CHOICES),
        |r: &mut ReceiverDraft| Slot::Choice(&mut r.ack),
        "What has happened before a sender is answered here, in place of the node's `ack`. With `received` nothing that comes in here is logged.",
    )
    .default("that of ack"),
    Key::new(
        "request_bytes_max",
        Kind::Bytes { min: 1, max: BUFFER_BYTES_MAX },
        |r| Slot::Count(&mut r.receiver.limits.request_bytes_max),
        "Largest request, before and after decompression. Beyond it the sender is told RESOURCE_EXHAUSTED or 413 and does not retry; counted in `tailwater_receiver_requests_too_large_total` and `tailwater_refused_total{what=\"requests\"}`.",
    ),
    Key::new(
        "connections_max",
        Kind::Count { min: 1, max: 1_000_000 },
        |r| Slot::Count(&mut r.receiver.limits.connections_max),
        "Most open connections. One more is closed at once; counted in `tailwater_receiver_refused_at_connections_max_total`.",
    ),
    Key::new(
        "streams_per_connection_max",
        Kind::Count { min: 1, max: 65_536 },
        |r| Slot::Count(&mut r.receiver.limits.streams_per_connection_max),
        "HTTP/2: most requests at once on a connection. One more is refused unprocessed, and clients try again.",
    ),
    Key::new(
        "connection_window_bytes",
        Kind::Bytes { min: 65_535, max: WINDOW_BYTES_MAX },
        |r| Slot::Count(&mut r.receiver.limits.connection_window_bytes),
        "HTTP/2: bytes a connection may send ahead. Bounds what an unread connection holds. Past a quarter of `memory.receive_bytes_max` in sum a new connection gets the least that HTTP/2 knows.",
    ),
    Key::new(
        "stream_window_bytes",
        Kind::Bytes { min: 65_535, max: WINDOW_BYTES_MAX },
        |r| Slot::Count(&mut r.receiver.limits.stream_window_bytes),
        "HTTP/2: most bytes a request may send before there is room for all of it, and ahead of what is read after that; less where `memory.receive_bytes_max` is small. A sender far away sends one request no faster than this in each round trip.",
    ),
    Key::new(
        "frame_bytes_max",
        Kind::Bytes { min: 16 * KIB, max: FRAME_BYTES_MAX },
        |r| Slot::Count(&mut r.receiver.limits.frame_bytes_max),
        "HTTP/2: largest frame. Larger frames cost less for each byte.",
    ),
    Key::new(
        "header_list_bytes_max",
        Kind::Bytes { min: KIB, max: 16 * 1024 * KIB },
        |r| Slot::Count(&mut r.receiver.limits.header_list_bytes_max),
        "Largest list of headers of a request.",
    ),
    Key::new(
        "handshake_timeout",
        DEADLINE,
        |r| Slot::Duration(&mut r.receiver.limits.handshake_timeout),
        "Longest time from the accepted connection to the end of its handshake; counted in `tailwater_receiver_handshake_timeouts_total`. `0s` for no limit.",
    ),
    Key::new(
        "first_request_timeout",
        DEADLINE,
        |r| Slot::Duration(&mut r.receiver.limits.first_request_timeout),
        "Longest time from the handshake to the first request; counted in `tailwater_receiver_first_request_timeouts_total`. `0s` for no limit.",
    ),
    Key::new(
        "idle_timeout",
        INTERVAL,
        |r| Slot::Duration(&mut r.receiver.limits.idle_timeout),
        "Longest time without a request before the connection is closed; counted in `tailwater_receiver_idle_timeouts_total`. `0s` for no limit.",
    ),
    Key::new(
        "request_timeout",
        DEADLINE,
        |r| Slot::Duration(&mut r.receiver.limits.request_timeout),
        "Longest time from a request's head to the end of its body; counted in `tailwater_receiver_request_timeouts_total`. `0s` for no limit.",
    ),
    Key::new(
        "connection_age_max",
        INTERVAL,
        |r| Slot::Duration(&mut r.receiver.limits.connection_age_max),
        "Age at which a connection is asked to close, so that senders spread over new nodes; counted in `tailwater_receiver_age_closes_total`. `0s` for never.",
    ),
    Key::new(
        "connection_age_grace",
        INTERVAL,
        |r| Slot::Duration(&mut r.receiver.limits.connection_age_grace),
        "Time for open requests after that.",
    ),
    Key::new(
        "control_frames_per_second_max",
        Kind::Count { min: 10, max: 1_000_000 },
        |r| Slot::Count(&mut r.receiver.limits.control_frames_per_second_max),
        "HTTP/2: most PING, SETTINGS, RST_STREAM, PRIORITY, CONTINUATION and empty DATA frames a second; beyond it the connection is closed; counted in `tailwater_receiver_control_frame_floods_total`.",
    ),
    Key::new(
        "keepalive_interval",
        INTERVAL,
        |r| Slot::Duration(&mut r.receiver.limits.keepalive_interval),
        "HTTP/2: idle time after which the server pings. `0s` for never.",
    ),
    Key::new(
        "keepalive_timeout",
        DEADLINE,
        |r| Slot::Duration(&mut r.receiver.limits.keepalive_timeout),
        "HTTP/2: longest wait for the answer to that ping; counted in `tailwater_receiver_keepalive_timeouts_total`. `0s` for no limit.",
    ),
];
