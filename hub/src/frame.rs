//! The words on the wire. A datagram is frames, one behind the other:
//!
//! ```text
//! frame        = kind:1 length:2 content:length
//!
//! 1 hello      = lowest highest asks:1 leaving:1 shards address number length tags      a greeting
//! 2 swim       = a message of foca, with members as `Identity` in members.rs  membership
//! 3 acknowledge= epoch floor next mask mask mask mask                         what was heard of a link
//! 4 report     = stamp echo tags tags_heard since low next n position*n       what was heard of streams
//!   position   = node incarnation low next
//! 5 told       = epoch sequence (length:2 payload)*                           a bundle of a link, comes again
//! 6 said       = number since payload                                         of the sender's stream, best effort
//! 7 pull       = n (node incarnation from to)*n                               asks for said payloads
//! 8 pushed     = node incarnation number payload                              gives one of them, best effort
//! 9 leave      =                                                              the sender goes
//! 10 doubt     = incarnation                                                  of foca: the receiver is suspected
//! 11 probe     = number filling                                               asks for an echo, from anybody
//! 12 echo      = number unix_ms lowest highest filling                        answers it, in as many bytes
//! ```
//! Fields without a width are varints of LEB128; `length:2` is little-endian. `echo` is 0, or 1 and the stamp that was heard
//! last and for how long it was held, in microseconds. `address` is 0 and 4 bytes or 1 and 16 bytes, and the port. `to` and
//! `next` are the first number that is not meant. A reader passes over kinds that it does not know, and over what is behind
//! the fields that it knows in hello, acknowledge, report and pull.

use crate::hello::{Hello, VERSION_HIGHEST, VERSION_LOWEST};
use serde::{Deserialize, Serialize};
use tailwater_proto::otlp::wire::put_varint;

/// Bytes before the content of a frame.
pub const HEADER_BYTES: usize = 3;
/// Bytes before the payload in `pushed`, at most: three varints.
pub const PUSHED_BYTES_MAX: usize = 30;
/// Bytes before the payloads in `told`, at most.
pub const TOLD_BYTES_MAX: usize = 15;
/// Bytes before each payload in `told`.
pub const PAYLOAD_HEADER_BYTES: usize = 2;
/// Streams in a report, the own one apart: more would not fit beside it in a datagram.
/// At the bound: the others come in the next reports.
pub const POSITIONS_MAX: usize = 25;
/// Ranges that are asked for at once.
/// At the bound: the others are asked for in the next pulls; of a pull with more the rest is ignored.
pub const RANGES_MAX: usize = 16;

const HELLO: u8 = 1;
const SWIM: u8 = 2;
const ACKNOWLEDGE: u8 = 3;
const REPORT: u8 = 4;
const TOLD: u8 = 5;
const SAID: u8 = 6;
const PULL: u8 = 7;
const PUSHED: u8 = 8;
const LEAVE: u8 = 9;
const DOUBT: u8 = 10;
const PROBE: u8 = 11;
const ECHO: u8 = 12;

/// What was heard of the bundles of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Which link of the receiver of this.
    pub epoch: u32,
    /// All below were heard.
    pub floor: u64,
    /// None from here on was heard.
    pub next: u64,
    /// Bit `i` says that `next - 1 - i` was heard.
    pub mask: [u64; 4],
}

/// How far a stream is known to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whose stream.
    pub node: u64,
    /// In which run.
    pub incarnation: u64,
    /// The lowest number that is remembered.
    pub low: u64,
    /// One above the highest number.
    pub next: u64,
}

/// What a member tells from time to time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The sender's clock, to be given back.
    pub stamp: u64,
    /// The receiver's stamp that the sender heard last, and how long ago.
    pub echo: Option<(u64, u64)>,
    /// The number of the sender's tags.
    pub tags: u32,
    /// The number of the receiver's tags that the sender knows.
    pub tags_heard: u32,
    /// The first number of the sender's stream that is meant for the receiver.
    pub since: u64,
    /// The lowest number of its stream that the sender remembers.
    pub low: u64,
    /// The number that it will say next.
    pub next: u64,
    /// How far it knows other streams.
    pub positions: Vec<Position>,
}

/// Numbers of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Whose stream.
    pub node: u64,
    /// In which run.
    pub incarnation: u64,
    /// The first.
    pub from: u64,
    /// One above the last.
    pub to: u64,
}

/// Bytes of the frame of a probe at least: what its answer takes.
pub const PROBE_BYTES_MIN: usize = 64;

/// A probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Goes back with the answer.
    pub number: u64,
    /// Bytes of its frame.
    pub bytes: usize,
}

/// What a probe is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Of the probe.
    pub number: u64,
    /// The wall clock of who answers, milliseconds since 1970.
    pub unix_ms: u64,
    /// Oldest version of the wire that it understands.
    pub lowest: u16,
    /// Newest version that it speaks.
    pub highest: u16,
}

impl Echo {
    /// Whether there is a version of the wire that both speak.
    #[must_use]
    pub const fn is_understood(&self) -> bool {
        self.lowest <= VERSION_HIGHEST && VERSION_LOWEST <= self.highest
    }
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A greeting.
    Hello(Hello<'a>),
    /// Membership.
    Swim(&'a [u8]),
    /// What was heard of a link.
    Acknowledge(Acknowledge),
    /// What was heard of streams.
    Report(Report),
    /// Epoch and sequence of a bundle, and its payloads as [`payloads`] takes them apart.
    Told(u32, u64, &'a [u8]),
    /// Number, the first number that is meant for the receiver, payload.
    Said(u64, u64, &'a [u8]),
    /// Ranges that are asked for.
    Pull(Vec<Range>),
    /// Node, incarnation, number, payload.
    Pushed(u64, u64, u64, &'a [u8]),
    /// The sender goes.
    Leave,
    /// The sender suspects the receiver at this incarnation of foca's.
    Doubt(u16),
    /// Somebody asks for an echo.
    Probe(Probe),
    /// The answer.
    Echo(Echo),
}

/// Why a frame was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends before it should, or has values that cannot be.
    #[error("a frame is malformed")]
    Malformed,
    /// It is of a later version.
    #[error("a frame is of an unknown kind")]
    Unknown,
}

impl From<postcard::Error> for FrameError {
    fn from(_: postcard::Error) -> Self {
        Self::Malformed
    }
}

/// Reads frames one by one. A frame that cannot be read costs itself; one whose length is wrong all behind it.
pub struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// Of a datagram.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self.0.split_first_chunk::<HEADER_BYTES>().and_then(|([kind, low, high], rest)| {
            let (content, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
            Some((*kind, content, rest))
        });
        let Some((kind, content, rest)) = split else {
            self.0 = &[];
            return Some(Err(FrameError::Malformed));
        };
        self.0 = rest;
        Some(read(kind, content))
    }
}

fn read(kind: u8, content: &[u8]) -> Result<Frame<'_>, FrameError> {
    Ok(match kind {
        HELLO => Frame::Hello(postcard::take_from_bytes(content)?.0),
        SWIM => Frame::Swim(content),
        ACKNOWLEDGE => Frame::Acknowledge(postcard::take_from_bytes(content)?.0),
        REPORT => Frame::Report(postcard::take_from_bytes(content)?.0),
        TOLD => {
            let ((epoch, sequence), rest) = postcard::take_from_bytes(content)?;
            Frame::Told(epoch, sequence, rest)
        }
        SAID => {
            let ((number, since), rest) = postcard::take_from_bytes(content)?;
            Frame::Said(number, since, rest)
        }
        PULL => Frame::Pull(postcard::take_from_bytes(content)?.0),
        PUSHED => {
            let ((node, incarnation, number), rest) = postcard::take_from_bytes(content)?;
            Frame::Pushed(node, incarnation, number, rest)
        }
        LEAVE => Frame::Leave,
        DOUBT => Frame::Doubt(postcard::take_from_bytes(content)?.0),
        PROBE => {
            let (number, _) = postcard::take_from_bytes(content)?;
            Frame::Probe(Probe { number, bytes: HEADER_BYTES + content.len() })
        }
        ECHO => {
            let ((number, unix_ms, lowest, highest), _) = postcard::take_from_bytes(content)?;
            Frame::Echo(Echo { number, unix_ms, lowest, highest })
        }
        _ => return Err(FrameError::Unknown),
    })
}

/// The payloads of a bundle; `None` where they do not fill it exactly.
pub fn payloads(mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while let Some(([low, high], rest)) = bundle.split_first_chunk::<PAYLOAD_HEADER_BYTES>() {
        let (payload, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
        found.push(payload);
        bundle = rest;
    }
    bundle.is_empty().then_some(found)
}

/// Appends a payload to a bundle. One too long for its length is cut, which [`crate::HubPlan::payload_bytes_max`] excludes.
pub fn put_payload(bundle: &mut Vec<u8>, payload: &[u8]) {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_le_bytes());
    bundle.extend_from_slice(payload.get(..usize::from(length)).unwrap_or(payload));
}

fn put(out: &mut Vec<u8>, kind: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0]);
    content(out);
    // Whoever writes a frame keeps it within a datagram, which keeps it within 16 bits.
    let length = u16::try_from(out.len() - start - HEADER_BYTES).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start + 1..start + HEADER_BYTES) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn put_serialized(out: &mut Vec<u8>, kind: u8, content: &impl Serialize) {
    // Writing to memory fails for nothing that has its length beforehand.
    let content = postcard::to_allocvec(content).unwrap_or_default();
    put(out, kind, |out| out.extend_from_slice(&content));
}

/// Appends a greeting.
pub fn put_hello(out: &mut Vec<u8>, hello: &Hello<'_>) {
    put_serialized(out, HELLO, hello);
}

/// Appends a message of foca.
pub fn put_swim(out: &mut Vec<u8>, message: &[u8]) {
    put(out, SWIM, |out| out.extend_from_slice(message));
}

/// Appends what was heard of a link.
pub fn put_acknowledge(out: &mut Vec<u8>, acknowledge: &Acknowledge) {
    put_serialized(out, ACKNOWLEDGE, acknowledge);
}

/// Appends what was heard of streams.
pub fn put_report(out: &mut Vec<u8>, report: &Report) {
    put_serialized(out, REPORT, report);
}

/// Appends a bundle.
pub fn put_told(out: &mut Vec<u8>, epoch: u32, sequence: u64, bundle: &[u8]) {
    put(out, TOLD, |out| {
        put_varint(out, u64::from(epoch));
        put_varint(out, sequence);
        out.extend_from_slice(bundle);
    });
}

/// Appends a payload of the sender's stream.
pub fn put_said(out: &mut Vec<u8>, number: u64, since: u64, payload: &[u8]) {
    put(out, SAID, |out| {
        put_varint(out, number);
        put_varint(out, since);
        out.extend_from_slice(payload);
    });
}

/// Appends a pull.
pub fn put_pull(out: &mut Vec<u8>, ranges: &[Range]) {
    put_serialized(out, PULL, &ranges);
}

/// Appends a payload of a stream that was asked for.
pub fn put_pushed(out: &mut Vec<u8>, node: u64, incarnation: u64, number: u64, payload: &[u8]) {
    put(out, PUSHED, |out| {
        put_varint(out, node);
        put_varint(out, incarnation);
        put_varint(out, number);
        out.extend_from_slice(payload);
    });
}

/// Appends that the sender goes.
pub fn put_leave(out: &mut Vec<u8>) {
    put(out, LEAVE, |_| ());
}

/// Appends that the receiver is suspected.
pub fn put_doubt(out: &mut Vec<u8>, incarnation: u16) {
    put(out, DOUBT, |out| put_varint(out, u64::from(incarnation)));
}

/// Appends a probe that is filled up to so many bytes with its header.
pub fn put_probe(out: &mut Vec<u8>, number: u64, bytes: usize) {
    let end = out.len() + bytes;
    put(out, PROBE, |out| {
        put_varint(out, number);
        out.resize(end.max(out.len()), 0);
    });
}

/// Appends the answer to a probe, likewise.
pub fn put_echo(out: &mut Vec<u8>, echo: &Echo, bytes: usize) {
    let end = out.len() + bytes;
    put(out, ECHO, |out| {
        let Echo { number, unix_ms, lowest, highest } = *echo;
        [number, unix_ms, lowest.into(), highest.into()].into_iter().for_each(|field| put_varint(out, field));
        out.resize(end.max(out.len()), 0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> (Vec<u8>, Report, Acknowledge) {
        let report = Report { stamp: 300, echo: Some((5, 6)), next: 9, ..Report::default() };
        let acknowledge = Acknowledge { epoch: 3, floor: 1, next: 4, mask: [5, 0, 0, u64::MAX] };
        let mut out = Vec::new();
        put_swim(&mut out, b"swim");
        put_acknowledge(&mut out, &acknowledge);
        put_report(&mut out, &report);
        put_told(&mut out, 7, 300, b"\x01\x00a");
        put_said(&mut out, 300, 2, b"said");
        put_pull(&mut out, &[Range { node: 1, incarnation: 2, from: 3, to: 4 }]);
        put_pushed(&mut out, u64::MAX, 2, 3, b"pushed");
        put_leave(&mut out);
        put_doubt(&mut out, 300);
        put_probe(&mut out, 300, 64);
        put_echo(&mut out, &Echo { number: u64::MAX, unix_ms: u64::MAX, lowest: 1, highest: 2 }, 64);
        (out, report, acknowledge)
    }

    /// Breaks with the content of any `put_...`.
    #[test]
    fn what_is_written_is_read_back() {
        let (out, report, acknowledge) = all();
        let read: Vec<_> = Frames::new(&out).map(Result::unwrap).collect();
        let expected = vec![
            Frame::Swim(b"swim"),
            Frame::Acknowledge(acknowledge),
            Frame::Report(report),
            Frame::Told(7, 300, b"\x01\x00a"),
            Frame::Said(300, 2, b"said"),
            Frame::Pull(vec![Range { node: 1, incarnation: 2, from: 3, to: 4 }]),
            Frame::Pushed(u64::MAX, 2, 3, b"pushed"),
            Frame::Leave,
            Frame::Doubt(300),
            Frame::Probe(Probe { number: 300, bytes: 64 }),
            Frame::Echo(Echo { number: u64::MAX, unix_ms: u64::MAX, lowest: 1, highest: 2 }),
        ];
        assert_eq!(read, expected);
    }

    /// The bytes are what nodes of other versions read: breaks with any change of a kind, an order or a width.
    #[test]
    fn the_bytes_are_the_same_in_all_versions() {
        let mut out = Vec::new();
        put_said(&mut out, 300, 2, b"x");
        put_acknowledge(&mut out, &Acknowledge { epoch: 1, floor: 2, next: 3, mask: [1, 0, 0, 0] });
        put_hello(
            &mut out,
            &Hello {
                lowest: 1,
                highest: 1,
                asks: true,
                is_leaving: false,
                shards: 2,
                address: ([10, 0, 0, 1], 4319).into(),
                number: 1,
                tags: b"t",
            },
        );
        let expected: &[u8] = &[
            6, 4, 0, 0xac, 2, 2, b'x', 3, 7, 0, 1, 2, 3, 1, 0, 0, 0, 1, 15, 0, 1, 1, 1, 0, 2, 0, 10, 0, 0, 1, 0xdf,
            0x21, 1, 1, b't',
        ];
        assert_eq!(out, expected);
    }

    /// Without the return of the rest in `Frames::next` a later version's frame would cost those behind it.
    #[test]
    fn a_frame_of_a_later_version_costs_itself() {
        let mut out = vec![200, 2, 0, 1, 2];
        put_leave(&mut out);
        let read: Vec<_> = Frames::new(&out).collect();
        assert_eq!(read, [Err(FrameError::Unknown), Ok(Frame::Leave)]);
    }

    /// A later version may add fields at the end: breaks with `take_from_bytes` read as `from_bytes`.
    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let mut out = Vec::new();
        let mut content = postcard::to_allocvec(&Report::default()).unwrap();
        content.push(9);
        put(&mut out, REPORT, |out| out.extend_from_slice(&content));
        assert_eq!(Frames::new(&out).collect::<Vec<_>>(), [Ok(Frame::Report(Report::default()))]);
    }

    /// No cut of a datagram makes the reader panic or read past it, whichever check of `Frames::next` goes.
    #[test]
    fn a_cut_datagram_ends_malformed() {
        let (out, ..) = all();
        for end in 1..out.len() {
            let read: Vec<_> = Frames::new(&out[..end]).collect();
            assert!(read.len() <= 11 && read[..read.len() - 1].iter().all(Result::is_ok));
        }
    }

    #[test]
    fn payloads_fill_a_bundle_exactly() {
        let mut bundle = Vec::new();
        put_payload(&mut bundle, b"one");
        put_payload(&mut bundle, b"");
        assert_eq!(payloads(&bundle), Some(vec![&b"one"[..], b""]));
        assert_eq!(payloads(&bundle[..bundle.len() - 1]), None);
        bundle.extend_from_slice(&[5, 0, 1]);
        assert_eq!(payloads(&bundle), None);
    }
}
