//! Assembly from scripted chunks: cuts everywhere, limits, copies, memory held on an announcement.

use std::collections::VecDeque;
use std::future::ready;
use std::pin::pin;
use std::task::Waker;

use super::super::memory::{LargeLane, MemoryBounds, ReceiveMemory};
use super::*;

/// A body of scripted chunks; the end may be known with the last chunk or only after it.
struct Script {
    chunks: VecDeque<Bytes>,
    end_known: bool,
    withheld: usize,
    released: usize,
}

impl Script {
    fn new(chunks: impl IntoIterator<Item = Bytes>, end_known: bool) -> Self {
        Self { chunks: chunks.into_iter().collect(), end_known, withheld: 0, released: 0 }
    }
}

impl Source for Script {
    const HAS_WINDOW: bool = true;

    fn poll_chunk(&mut self, _context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.chunks.pop_front().map(Ok))
    }

    fn is_end(&self) -> bool {
        self.end_known && self.chunks.is_empty()
    }

    fn withhold(&mut self, bytes: usize) {
        self.withheld += bytes;
    }

    fn release(&mut self, bytes: usize) {
        self.released += bytes;
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn grpc(flag: u8, length: u32, payload: &[u8]) -> Bytes {
    [&[flag], &length.to_be_bytes()[..], payload].concat().into()
}

/// A core with this much for open requests and for bodies.
fn core(open_bytes_max: usize, body_bytes_max: usize) -> Rc<ReceiveMemory> {
    let bounds = MemoryBounds { open_bytes_max, body_bytes_max, inflated_bytes_max: 0, window_bytes_max: 0 };
    ReceiveMemory::new(bounds, LargeLane::new())
}

fn open(core: &Rc<ReceiveMemory>) -> RequestMemory {
    RequestMemory::open(core, &Rc::default()).unwrap()
}

fn terms(bytes_max: usize, memory: &RequestMemory) -> Terms<'_> {
    Terms { bytes_max, time: Duration::from_secs(30), memory }
}

fn message_of(chunks: impl IntoIterator<Item = Bytes>) -> Result<(bool, Bytes), BodyError> {
    let mut source = Script::new(chunks, true);
    let memory = open(&core(1 << 20, 1 << 20));
    now(message(&mut source, &terms(1000, &memory), ready(())))
}

fn plain_of(chunks: Vec<Bytes>, announced: Option<u64>, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut source = Script::new(chunks, false);
    let memory = open(&core(1 << 20, 1 << 20));
    now(plain(&mut source, announced, &terms(bytes_max, &memory), ready(())))
}

#[test]
fn a_message_is_the_same_wherever_it_is_cut() {
    let payload: Vec<u8> = (0..100).collect();
    let whole = grpc(1, 100, &payload);
    for size in 1..=whole.len() {
        for end_known in [true, false] {
            let chunks = (0..whole.len()).step_by(size).map(|start| whole.slice(start..whole.len().min(start + size)));
            let mut source = Script::new(chunks, end_known);
            let core = core(1 << 20, 1 << 20);
            let memory = open(&core);
            let empty = core.used();
            let outcome = now(message(&mut source, &terms(1000, &memory), ready(())));
            assert_eq!(outcome, Ok((true, Bytes::from(payload.clone()))), "cut every {size}");
            assert_eq!((source.released, core.used() - empty), (105, 105));
            drop(memory);
            assert_eq!(core.used(), 0);
        }
    }
}

#[test]
fn a_body_in_one_chunk_is_not_copied() {
    let whole = grpc(0, 3, b"abc");
    let (_, message) = message_of([whole.clone(), Bytes::new()]).unwrap();
    assert_eq!(message.as_ptr(), whole[5..].as_ptr());
    let chunk = Bytes::from(vec![7; 64]);
    let body = plain_of(vec![chunk.clone()], None, 64).unwrap();
    assert_eq!(body.as_ptr(), chunk.as_ptr());
}

#[test]
fn broken_framing_is_named() {
    let malformed = |chunks: Vec<Bytes>| match message_of(chunks) {
        Err(BodyError::Malformed(words)) => words,
        other => panic!("{other:?}"),
    };
    assert!(malformed(vec![]).contains("no message"));
    assert!(malformed(vec![Bytes::from_static(b"\0\0\0")]).contains("cut short"));
    assert!(malformed(vec![grpc(0, 9, b"abc")]).contains("cut short"));
    assert!(malformed(vec![grpc(2, 3, b"abc")]).contains("flag"));
    let twice = [grpc(0, 3, b"abc"), grpc(0, 1, b"d")].concat();
    assert!(malformed(vec![twice.into()]).contains("more than one"));
    assert!(malformed(vec![grpc(0, 3, b"abc"), grpc(0, 1, b"d")]).contains("more than one"));
    assert_eq!(message_of([grpc(0, 1001, b"")]), Err(BodyError::TooLarge));
    assert_eq!(message_of([grpc(0, 0, b"")]), Ok((false, Bytes::new())));
}

#[test]
fn a_plain_body_stops_at_its_limit_announced_or_not() {
    let five = || Bytes::from_static(b"12345");
    assert_eq!(plain_of(vec![], Some(11), 10), Err(BodyError::TooLarge));
    assert_eq!(plain_of(vec![five(), five(), Bytes::from_static(b"!")], None, 10), Err(BodyError::TooLarge));
    assert_eq!(plain_of(vec![five(), five()], Some(10), 10), Ok(Bytes::from_static(b"1234512345")));
    assert_eq!(plain_of(vec![], None, 10), Ok(Bytes::new()));
    // More steps than one.
    let chunks: Vec<_> = (0..40).map(|_| Bytes::from(vec![7; 10_000])).collect();
    assert_eq!(plain_of(chunks, None, 1 << 20).unwrap().len(), 400_000);
}

#[test]
fn a_buffer_grows_with_what_has_come() {
    let mut assembly = Assembly::new(64 << 20);
    assembly.push(Bytes::from(vec![0; 1000]));
    assert_eq!(assembly.joined.capacity(), 0);
    assembly.push(Bytes::from(vec![0; 1000]));
    assert!(assembly.joined.capacity() <= 4000, "before it is admitted its sender's word reserves nothing");
    assembly.is_admitted = true;
    assembly.push(Bytes::from(vec![0; 4000]));
    assert!(assembly.joined.capacity() <= BUFFER_STEP_BYTES + 6000);
    let mut honest = Assembly { is_admitted: true, ..Assembly::new(400_000) };
    for _ in 0..25 {
        honest.push(Bytes::from(vec![0; 16_000]));
    }
    assert_eq!((honest.len(), honest.joined.capacity()), (400_000, 400_000));
}

#[test]
fn a_body_that_waits_leaves_its_stream_shut_and_its_connection_open() {
    let core = core(1 << 20, 100);
    let other = open(&core);
    now(other.admit(50));
    now(other.grow(20));
    let memory = open(&core);
    let mut source = Script::new([grpc(0, 45, &[7; 20]), Bytes::from(vec![7; 25])], true);
    let terms = terms(100, &memory);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut reading = pin!(message(&mut source, &terms, ready(())));
        assert!(reading.as_mut().poll(&mut context).is_pending());
        drop(other);
        // Without `Waiting`'s wake the next poll would not come; without `open` nothing would be released.
        assert!(reading.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!((source.withheld, source.released), (50, 50));
    assert!(memory.has_waited());
}

#[test]
fn what_waits_is_bounded_and_what_is_beyond_is_refused_at_once() {
    let core = core(16 << 10, 100);
    let memory = open(&core);
    let mut source = Script::new([grpc(0, 90, &[7; 60_000])], true);
    assert_eq!(now(message(&mut source, &terms(1000, &memory), ready(()))), Err(BodyError::NoRoom));
    drop(memory);
    assert_eq!(core.used(), 0);
}
