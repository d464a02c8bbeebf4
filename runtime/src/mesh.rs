//! The mesh between threads: a bounded single-producer single-consumer ring for every ordered pair.
//!
//! Each participant holds one [`MeshPort`]: the sending ends of its rings to every port (its own included) and the receiving
//! ends of every port's ring to it. Nothing is locked and nothing allocates after the start. A full ring makes `send`
//! wait, which stops the reading of sockets on that core; it never blocks the thread.
//!
//! A port is no core: what stands behind a [`PortNumber`] only the one knows who made the mesh and gave its ports away.
//!
//! ```text
//!            to 0    to 1    to 2
//! from 0    ring    ring    ring      a row is a port's sending side,
//! from 1    ring    ring    ring      a column its receiving side
//! from 2    ring    ring    ring
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use atomic_waker::AtomicWaker;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

/// The number of a port of one mesh, counted from 0 in the order in which [`Mesh::new`] returns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortNumber(pub usize);

/// Makes meshes.
#[derive(Debug)]
pub struct Mesh<T> {
    nothing: PhantomData<T>,
}

/// What both ends of one ring share besides the ring.
#[derive(Debug, Default)]
struct Pair {
    /// The producer's core, waiting for room.
    room: AtomicWaker,
}

/// What all senders to one core share.
#[derive(Debug, Default)]
struct Inbox {
    /// The consumer's core, waiting for a message.
    message: AtomicWaker,
}

/// The sending end of one ring. Several tasks of the core may wait for room, but the shared [`Pair`] has one slot: they
/// stand in line, the first one is registered in the slot, and whoever leaves the head of the line wakes the next.
///
/// The line is bounded by the number of tasks that send, which is bounded by the connections of the core.
struct Outlet<T> {
    ring: RefCell<Producer<T>>,
    pair: Arc<Pair>,
    inbox: Arc<Inbox>,
    line: RefCell<VecDeque<(u64, Waker)>>,
    next_ticket: Cell<u64>,
    capacity: usize,
}

/// The receiving end of one ring.
struct Intake<T> {
    ring: RefCell<Consumer<T>>,
    pair: Arc<Pair>,
}

/// One participant's end of the mesh. It is made on any thread and moved to the one that will use it.
pub struct MeshPort<T> {
    number: PortNumber,
    outlets: Vec<Outlet<T>>,
    intakes: Vec<Intake<T>>,
    inbox: Arc<Inbox>,
    /// Where the next search for a message begins, so that no peer is preferred.
    next_intake: Cell<usize>,
}

impl<T> Mesh<T> {
    /// A mesh of `ports` ports. Every ring holds `capacity` messages (at least 1); memory is
    /// `ports * ports * capacity * size_of::<T>()` bytes, taken now.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the ports are the mesh; there is nothing else to hold")]
    pub fn new(ports: usize, capacity: usize) -> Vec<MeshPort<T>> {
        let capacity = capacity.max(1);
        let inboxes: Vec<Arc<Inbox>> = (0..ports).map(|_| Arc::default()).collect();
        let mut mesh: Vec<MeshPort<T>> =
            (0..ports).zip(&inboxes).map(|(number, inbox)| MeshPort::empty(PortNumber(number), inbox)).collect();
        for source in 0..ports {
            for (target, inbox) in inboxes.iter().enumerate() {
                let (producer, consumer) = RingBuffer::new(capacity);
                let pair = Arc::<Pair>::default();
                mesh[source].outlets.push(Outlet::new(producer, &pair, inbox, capacity));
                mesh[target].intakes.push(Intake { ring: RefCell::new(consumer), pair });
            }
        }
        mesh
    }
}

impl<T> Outlet<T> {
    fn new(ring: Producer<T>, pair: &Arc<Pair>, inbox: &Arc<Inbox>, capacity: usize) -> Self {
        Self {
            ring: RefCell::new(ring),
            pair: Arc::clone(pair),
            inbox: Arc::clone(inbox),
            line: RefCell::default(),
            next_ticket: Cell::new(0),
            capacity,
        }
    }

    fn try_send(&self, message: T) -> Result<(), T> {
        match self.ring.borrow_mut().push(message) {
            Ok(()) => {
                self.inbox.message.wake();
                Ok(())
            }
            Err(PushError::Full(message)) => Err(message),
        }
    }

    /// Whether the holder of this ticket may try to send: it is first in line, or there is no line.
    fn is_next(&self, ticket: Option<u64>) -> bool {
        self.line.borrow().front().is_none_or(|(first, _)| Some(*first) == ticket)
    }

    /// Takes a place at the end of the line, or keeps the place and renews its waker.
    fn wait(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let mut line = self.line.borrow_mut();
        if let Some(ticket) = ticket {
            if let Some((_, stored)) = line.iter_mut().find(|(other, _)| *other == ticket) {
                stored.clone_from(waker);
            }
            return ticket;
        }
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket.wrapping_add(1));
        line.push_back((ticket, waker.clone()));
        ticket
    }

    /// Leaves the line, sent or given up. A wake-up that the first may have been given passes to the next.
    fn leave(&self, ticket: u64) {
        let next = {
            let mut line = self.line.borrow_mut();
            let Some(place) = line.iter().position(|(other, _)| *other == ticket) else { return };
            line.remove(place);
            if place == 0 { line.front().map(|(_, waker)| waker.clone()) } else { None }
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl<T> MeshPort<T> {
    fn empty(number: PortNumber, inbox: &Arc<Inbox>) -> Self {
        Self { number, outlets: Vec::new(), intakes: Vec::new(), inbox: Arc::clone(inbox), next_intake: Cell::new(0) }
    }

    /// This port's number, which is what others pass as `to`.
    #[must_use]
    pub fn number(&self) -> PortNumber {
        self.number
    }

    /// All ports of the mesh, whoever is behind them.
    pub fn ports(&self) -> impl ExactSizeIterator<Item = PortNumber> + use<T> {
        (0..self.outlets.len()).map(PortNumber)
    }

    /// Puts a message into the ring to `to`, which may be this port itself.
    ///
    /// # Errors
    /// The message itself, if the ring is full or there is no such port.
    pub fn try_send(&self, to: PortNumber, message: T) -> Result<(), T> {
        match self.outlets.get(to.0) {
            Some(outlet) => outlet.try_send(message),
            None => Err(message),
        }
    }

    /// Puts a message into the ring to `to`, waiting for room as long as it takes. Messages of one task to one port
    /// arrive in the order they were sent. Dropping the future drops the message unsent.
    ///
    /// A message to a port that does not exist is dropped: a mistake of the program.
    pub fn send(&self, to: PortNumber, message: T) -> impl Future<Output = ()> + '_ {
        debug_assert!(to.0 < self.outlets.len(), "no such port");
        Send { outlet: self.outlets.get(to.0), message: Some(message), ticket: None }
    }

    /// Takes the next message from any peer, if there is one. Peers take turns.
    pub fn try_receive(&self) -> Option<T> {
        let ports = self.intakes.len();
        for offset in 0..ports {
            let index = (self.next_intake.get() + offset) % ports;
            let intake = &self.intakes[index];
            if let Ok(message) = intake.ring.borrow_mut().pop() {
                intake.pair.room.wake();
                self.next_intake.set((index + 1) % ports);
                return Some(message);
            }
        }
        None
    }

    /// Waits for the next message from any peer. Peers take turns. One task at a time may wait.
    pub async fn receive(&self) -> T {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// [`receive`](Self::receive) as a poll, for a loop that waits for several things.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<T> {
        if let Some(message) = self.try_receive() {
            return Poll::Ready(message);
        }
        self.inbox.message.register(context.waker());
        // A message may have come between the look and the registration.
        self.try_receive().map_or(Poll::Pending, Poll::Ready)
    }

    /// Messages in the ring to `to` that were not taken yet; 0 if there is no such port.
    #[must_use]
    pub fn len_to(&self, to: PortNumber) -> usize {
        self.outlets.get(to.0).map_or(0, |outlet| outlet.capacity.saturating_sub(outlet.ring.borrow().slots()))
    }
}

impl<T> std::fmt::Debug for MeshPort<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MeshPort").field("number", &self.number).field("ports", &self.outlets.len()).finish()
    }
}

/// The future of [`MeshPort::send`].
struct Send<'port, T> {
    outlet: Option<&'port Outlet<T>>,
    /// Taken when sent.
    message: Option<T>,
    /// This future's place in the outlet's line, once it has one.
    ticket: Option<u64>,
}

impl<T> Unpin for Send<'_, T> {}

impl<T> Future for Send<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(outlet) = self.outlet else { return Poll::Ready(()) };
        let Some(mut message) = self.message.take() else { return Poll::Ready(()) };
        let ticket = self.ticket;
        if outlet.is_next(ticket) {
            match outlet.try_send(message) {
                Ok(()) => return Poll::Ready(()),
                Err(refused) => message = refused,
            }
        }
        self.ticket = Some(outlet.wait(ticket, context.waker()));
        if outlet.is_next(self.ticket) {
            outlet.pair.room.register(context.waker());
            // Room may have come between the try and the registration.
            match outlet.try_send(message) {
                Ok(()) => return Poll::Ready(()),
                Err(refused) => message = refused,
            }
        }
        self.message = Some(message);
        Poll::Pending
    }
}

impl<T> Drop for Send<'_, T> {
    fn drop(&mut self) {
        if let (Some(outlet), Some(ticket)) = (self.outlet, self.ticket) {
            outlet.leave(ticket);
        }
    }
}

#[cfg(test)]
mod tests;
