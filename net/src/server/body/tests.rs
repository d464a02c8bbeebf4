//! Assembly from scripted chunks: cuts everywhere, limits, copies, memory held on an announcement.

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::Waker;

use super::super::budget::BodyBudget;
use super::*;

/// A body of scripted chunks; the end may be known with the last chunk or only after it.
struct Script {
    chunks: VecDeque<Bytes>,
    end_known: bool,
    released: usize,
}

impl Script {
    fn new(chunks: impl IntoIterator<Item = Bytes>, end_known: bool) -> Self {
        Self { chunks: chunks.into_iter().collect(), end_known, released: 0 }
    }
}

impl Source for Script {
    fn poll_chunk(&mut self, _context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        Poll::Ready(self.chunks.pop_front().map(Ok))
    }

    fn is_end(&self) -> bool {
        self.end_known && self.chunks.is_empty()
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

fn message_of(chunks: impl IntoIterator<Item = Bytes>) -> Result<(bool, Bytes), BodyError> {
    let mut source = Script::new(chunks, true);
    now(message(&mut source, 1000, &mut BodyBudget::new(1 << 20).reserve()))
}

#[test]
fn a_message_is_the_same_wherever_it_is_cut() {
    let payload: Vec<u8> = (0..100).collect();
    let whole = grpc(1, 100, &payload);
    for size in 1..=whole.len() {
        for end_known in [true, false] {
            let chunks = (0..whole.len()).step_by(size).map(|start| whole.slice(start..whole.len().min(start + size)));
            let mut source = Script::new(chunks, end_known);
            let budget = BodyBudget::new(1 << 20);
            let mut reservation = budget.reserve();
            let outcome = now(message(&mut source, 1000, &mut reservation));
            assert_eq!(outcome, Ok((true, Bytes::from(payload.clone()))), "cut every {size}");
            assert_eq!((source.released, budget.used()), (105, 105));
            drop(reservation);
            assert_eq!(budget.used(), 0);
        }
    }
}

#[test]
fn a_body_in_one_chunk_is_not_copied() {
    let whole = grpc(0, 3, b"abc");
    let (_, message) = message_of([whole.clone(), Bytes::new()]).unwrap();
    assert_eq!(message.as_ptr(), whole[5..].as_ptr());
    let chunk = Bytes::from(vec![7; 64]);
    let mut source = Script::new([chunk.clone()], false);
    let body = now(plain(&mut source, None, 64, &mut BodyBudget::new(64).reserve())).unwrap();
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
    let run = |announced, chunks: Vec<Bytes>| {
        let mut source = Script::new(chunks, false);
        now(plain(&mut source, announced, 10, &mut BodyBudget::new(1 << 20).reserve()))
    };
    let five = || Bytes::from_static(b"12345");
    assert_eq!(run(Some(11), vec![]), Err(BodyError::TooLarge));
    assert_eq!(run(None, vec![five(), five(), Bytes::from_static(b"!")]), Err(BodyError::TooLarge));
    assert_eq!(run(Some(1), vec![five(), five()]), Ok(Bytes::from_static(b"1234512345")));
    assert_eq!(run(None, vec![]), Ok(Bytes::new()));
}

#[test]
fn an_announcement_alone_reserves_little() {
    let mut assembly = Assembly::new(64 << 20);
    assembly.push(Bytes::from(vec![0; 1000]));
    assert_eq!(assembly.joined.capacity(), 0);
    assembly.push(Bytes::from(vec![0; 1000]));
    assert!(assembly.joined.capacity() <= TRUSTED_BYTES_MAX + 2000);
    let mut honest = Assembly::new(400_000);
    for _ in 0..25 {
        honest.push(Bytes::from(vec![0; 16_000]));
    }
    assert_eq!((honest.len(), honest.joined.capacity()), (400_000, 400_000));
}

#[test]
fn a_body_waits_for_the_budget_before_its_window_is_opened() {
    let budget = BodyBudget::new(100);
    let mut busy = budget.reserve();
    let mut favoured = budget.reserve();
    assert!(busy.try_grow(90));
    now(favoured.grow(20));
    let mut source = Script::new([Bytes::from(vec![0; 50])], true);
    let mut reservation = budget.reserve();
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut reading = pin!(plain(&mut source, None, 100, &mut reservation));
        assert!(reading.as_mut().poll(&mut context).is_pending());
        drop(favoured);
        drop(busy);
        assert!(reading.as_mut().poll(&mut context).is_ready());
    }
    assert_eq!(source.released, 50);
    assert!(Rc::strong_count(&budget) == 2);
}
