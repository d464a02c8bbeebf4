//! Every bound of the server in one place. All of them hold per core or per connection, so that no core asks another.

use std::time::Duration;

/// What one connection, and one core's connections together, may cost.
///
/// The memory that peers can make a core hold is at most: the bounds of its `ReceiveMemory` + `connections_max` * 64 KiB
/// (bytes received and not yet read) + `connections_max` * (`header_list_bytes_max` + about 80 KiB of buffers) + 16 MiB
/// (large reads); and once a node, in the `LargeLane`, what one request of `request_bytes_max` takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections per core. Beyond it a new connection is closed at once.
    pub connections_max: usize,
    /// Connections whose file descriptor has this number, or a higher one, are closed at once: the numbers above are for the
    /// process's own files. The system gives the lowest that is free.
    pub descriptors_max: i32,
    /// Requests under way on one HTTP/2 connection; further ones are refused unprocessed, which clients retry.
    pub streams_per_connection_max: u32,
    /// Received and unread bytes of one HTTP/2 connection, as far as the core's memory for windows is not used up: then
    /// 65,535, the least the protocol knows.
    pub connection_window_bytes: u32,
    /// What a stream may send before there is room for its body, less where the core has little memory for those that wait; then each half of it opens again as it is taken.
    pub stream_window_bytes: u32,
    /// The largest HTTP/2 frame that peers may send, 16,384 to 16,777,215. Large frames make large reads.
    pub frame_bytes_max: u32,
    /// The decoded headers of one request, each field counted with 32 bytes more (RFC 9113, 10.5.1).
    pub header_list_bytes_max: u32,
    /// One request's body as received, still compressed.
    pub request_bytes_max: usize,
    /// From accepting to the end of the TLS and HTTP/2 handshakes, or to the first bytes of HTTP/1.1.
    pub handshake_timeout: Duration,
    /// From the handshake to the first complete request head.
    pub first_request_timeout: Duration,
    /// From the last reply to the next complete request head; then the connection is closed.
    pub idle_timeout: Duration,
    /// From a request's head to the end of its body, including the wait until the service is ready.
    pub request_timeout: Duration,
    /// The age at which a connection is asked to go away, give or take 10 % so that connections opened together do not
    /// come back together. `None`: never.
    pub connection_age_max: Option<Duration>,
    /// From asking a connection to go away to closing it.
    pub connection_age_grace: Duration,
    /// HTTP/2 frames that cost the server and carry nothing (PING, SETTINGS, RST_STREAM, empty DATA, PRIORITY,
    /// CONTINUATION, WINDOW_UPDATE and unknown ones) that a connection may send per second beyond what its requests earn
    /// it; as many again may come at once.
    pub control_frames_per_second_max: u32,
    /// After so long without a byte from an HTTP/2 peer it is asked for a sign of life. `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// The time a peer has to answer that; then the connection is closed.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            descriptors_max: i32::MAX,
            streams_per_connection_max: 128,
            connection_window_bytes: 1 << 20,
            stream_window_bytes: 256 << 10,
            frame_bytes_max: 1 << 20,
            header_list_bytes_max: 16 << 10,
            request_bytes_max: 64 << 20,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(5),
            request_timeout: Duration::from_secs(30),
            connection_age_max: None,
            connection_age_grace: Duration::from_secs(10),
            control_frames_per_second_max: 500,
            keepalive_interval: Some(Duration::from_mins(1)),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The same limits with what HTTP/2 itself bounds brought into its range, so that the protocol library, which
    /// panics on such values, never sees others.
    #[must_use]
    pub(crate) fn within_protocol(mut self) -> Self {
        /// RFC 9113, 6.9.1.
        const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
        /// RFC 9113, 6.5.2.
        const FRAME_BYTES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;
        self.frame_bytes_max = self.frame_bytes_max.clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end());
        self.connection_window_bytes = self.connection_window_bytes.min(WINDOW_BYTES_MAX);
        self.stream_window_bytes = self.stream_window_bytes.min(WINDOW_BYTES_MAX);
        self
    }
}
