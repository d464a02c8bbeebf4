//! One part of a core's memory: lent to the connection that has least of it, by turns. Taking is of one
//! core; giving back is not, for what a request became may end on another.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use async_channel::{Receiver, Sender, bounded};
use futures_util::task::AtomicWaker;

/// Of each part so much is left to connections that hold nothing of it.
const RESERVED_PART: usize = 4;

/// What is larger than this part of a pool takes the lane: in the pool it would wait until nearly all is given back, and
/// everybody behind it.
const LARGE_PART: usize = 2;

/// What one connection holds of one part, and when it was last served.
#[derive(Clone, Debug, Default)]
pub(super) struct Share(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    held: AtomicUsize,
    /// The number of its last loan, or where the count was when it first came; 0 before that. Only the core writes it.
    turn: AtomicU64,
}

impl Share {
    fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    fn turn(&self) -> u64 {
        self.0.turn.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    used: AtomicUsize,
    /// Of the first in line.
    waker: AtomicWaker,
}

/// A part of the memory.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// Who waits. Bounded by the open requests, which the first part bounds.
    line: RefCell<Vec<Place>>,
    next_number: Cell<u64>,
    /// Loans so far, from 1 on.
    turns: Cell<u64>,
}

/// A place in the line.
#[derive(Debug)]
struct Place {
    number: u64,
    share: Share,
    waker: Option<Waker>,
}

/// Memory lent.
#[derive(Debug)]
pub(super) struct Charge {
    shared: Arc<Shared>,
    share: Share,
    bytes: usize,
}

impl Charge {
    /// Gives back all but `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.give_back(surplus);
        }
    }

    /// Adds another charge of the same connection and part.
    pub(super) fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.shared, &other.shared) && Arc::ptr_eq(&self.share.0, &other.share.0));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    fn give_back(&self, bytes: usize) {
        self.share.0.held.fetch_sub(bytes, Ordering::Relaxed);
        let before = self.shared.used.fetch_sub(bytes, Ordering::AcqRel);
        assert!(before >= bytes, "no more is given back than was lent");
        self.shared.waker.wake();
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// A place in the line that is left however the wait ends.
struct Waiting<'pool> {
    pool: &'pool Pool,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.line.borrow_mut().retain(|place| place.number != self.number);
        // There may be room for the next one too, and its waker is to be the one that is told.
        self.pool.wake_first();
    }
}

impl Pool {
    pub(super) fn new(bytes_max: usize) -> Self {
        let shared = Shared { bytes_max, used: AtomicUsize::new(0), waker: AtomicWaker::new() };
        Self { shared: Arc::new(shared), line: RefCell::default(), next_number: Cell::new(0), turns: Cell::new(1) }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }

    /// Bytes lent now.
    pub(super) fn used(&self) -> usize {
        self.shared.used.load(Ordering::Acquire)
    }

    /// Whether somebody waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.line.borrow().is_empty()
    }

    /// Whether so many bytes are for the lane.
    pub(super) fn is_large(&self, bytes: usize) -> bool {
        bytes > self.shared.bytes_max / LARGE_PART
    }

    fn fits(&self, share: &Share, bytes: usize) -> bool {
        let reserved = if share.held() > 0 { self.shared.bytes_max / RESERVED_PART } else { 0 };
        self.used().saturating_add(bytes) <= self.shared.bytes_max - reserved
    }

    /// Lends, whether there is room or not.
    pub(super) fn force(&self, share: &Share, bytes: usize) -> Charge {
        self.turns.set(self.turns.get() + 1);
        share.0.turn.store(self.turns.get(), Ordering::Relaxed);
        share.0.held.fetch_add(bytes, Ordering::Relaxed);
        self.shared.used.fetch_add(bytes, Ordering::AcqRel);
        Charge { shared: Arc::clone(&self.shared), share: share.clone(), bytes }
    }

    /// Lends if there is room and nobody waits.
    pub(super) fn try_take(&self, share: &Share, bytes: usize) -> Option<Charge> {
        (!self.is_awaited() && self.fits(share, bytes)).then(|| self.force(share, bytes))
    }

    /// Lends as soon as there is room and it is this connection's turn.
    pub(super) async fn take(&self, share: &Share, bytes: usize) -> Charge {
        if let Some(charge) = self.try_take(share, bytes) {
            return charge;
        }
        if share.turn() == 0 {
            share.0.turn.store(self.turns.get(), Ordering::Relaxed);
        }
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        self.line.borrow_mut().push(Place { number, share: share.clone(), waker: None });
        let waiting = Waiting { pool: self, number };
        let charge = poll_fn(|context| {
            if let Some(place) = self.line.borrow_mut().iter_mut().find(|place| place.number == number) {
                place.waker = Some(context.waker().clone());
            }
            // First the waker, then the look: what is given back between the two is not missed.
            self.register_first();
            if self.first() != Some(number) {
                // What a connection holds decides the order, and changes: whoever is woken passes it on.
                self.wake_first();
            } else if self.fits(share, bytes) {
                return Poll::Ready(self.force(share, bytes));
            }
            Poll::Pending
        })
        .await;
        drop(waiting);
        charge
    }

    /// Whose turn it is: of those who hold least, whose connection was served longest ago, then who came first. So
    /// connections take turns, however many requests each has in the line: one that lets its room lie comes again only
    /// after all that waited meanwhile. Nobody is passed by for ever: who is new comes after those that wait already, and a
    /// connection that holds something is being served.
    fn first(&self) -> Option<u64> {
        let line = self.line.borrow();
        line.iter().min_by_key(|place| (place.share.held(), place.share.turn(), place.number)).map(|place| place.number)
    }

    fn first_waker(&self) -> Option<Waker> {
        let first = self.first()?;
        let line = self.line.borrow();
        line.iter().find(|place| place.number == first).and_then(|place| place.waker.clone())
    }

    /// Has the first in line told of what is given back.
    fn register_first(&self) {
        if let Some(waker) = self.first_waker() {
            self.shared.waker.register(&waker);
        }
    }

    fn wake_first(&self) {
        if let Some(waker) = self.first_waker() {
            waker.wake();
        }
    }
}

/// Lets one request of the node at a time, too large for its core's memory, pass beside it.
#[derive(Clone, Debug)]
pub struct LargeLane {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for LargeLane {
    fn default() -> Self {
        Self::new()
    }
}

impl LargeLane {
    /// The lane of a node; clone it for each core.
    #[must_use]
    pub fn new() -> Self {
        let (sender, receiver) = bounded(1);
        // There is room: nothing has been sent.
        _ = sender.try_send(());
        Self { sender, receiver }
    }

    pub(super) fn is_free(&self) -> bool {
        !self.receiver.is_empty()
    }

    /// Waits for the lane.
    pub(super) async fn take(&self) -> Pass {
        // Never closed: this is one of its senders.
        _ = self.receiver.recv().await;
        Pass(self.sender.clone())
    }
}

/// The right to the lane, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Sender<()>);

impl Drop for Pass {
    fn drop(&mut self) {
        // There is room: it was taken.
        _ = self.0.try_send(());
    }
}
