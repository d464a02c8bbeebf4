//! HTTP/2 as bytes, for peers that no client library would be. `net/tests/memory.rs` and `tests/tests/memory_promise.rs`
//! compile this file into themselves.

#![allow(dead_code, reason = "none of them uses all of it")]

use std::io::Read;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of any kind.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What a connection begins with, for a peer that has this window for replies on each stream.
pub(crate) fn opening(reply_window_bytes: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &reply_window_bytes.to_be_bytes()].concat();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// HPACK of a field with a name of its own.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// HPACK of a gRPC call's head from the static table: POST, http, the path, an authority, the content type; then more
/// fields.
pub(crate) fn head_block(path: &str, more: &[u8]) -> Vec<u8> {
    [&[0x83, 0x86, 0x04][..], &text(path.as_bytes()), b"\x01\x01t\x0f\x10\x10application/grpc", more].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// The next frame: its kind, its flags and its payload. Nothing where the other side has ended, or in the middle of a frame.
pub(crate) fn read_frame(from: &mut impl Read) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head).ok()?;
    let [high, middle, low, kind, flags, ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap()];
    from.read_exact(&mut payload).ok()?;
    Some((kind, flags, payload))
}
