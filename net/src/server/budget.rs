//! What a core lends to its connections: memory for bodies, and flow-control window.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The bytes of bodies that are being assembled or served on this core.
///
/// A body that does not fit waits, and with it its flow-control window. If every body waited for the others to end, none
/// would: so the first in line may go beyond the limit, one at a time. The sum never exceeds the limit by more than one
/// body.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    bytes_max: usize,
    used: Cell<usize>,
    /// The reservation that may go beyond the limit.
    favoured: Cell<Option<u64>>,
    next_id: Cell<u64>,
    /// Who waits, in order of arrival. Bounded by the open streams of the core.
    line: RefCell<VecDeque<(u64, Option<Waker>)>>,
    waits: Cell<u64>,
}

impl BodyBudget {
    pub(crate) fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            bytes_max,
            used: Cell::new(0),
            favoured: Cell::new(None),
            next_id: Cell::new(0),
            line: RefCell::default(),
            waits: Cell::new(0),
        })
    }

    /// An empty reservation.
    pub(crate) fn reserve(self: &Rc<Self>) -> Reservation {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        Reservation { budget: Rc::clone(self), id, bytes: 0 }
    }

    /// Bytes lent now.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// How often a body had to wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.get()
    }

    fn wake_first(&self) {
        let first = self.line.borrow().front().and_then(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    fn leave_line(&self, id: u64) {
        let mut line = self.line.borrow_mut();
        if let Some(place) = line.iter().position(|(other, _)| *other == id) {
            line.remove(place);
        }
    }
}

/// A body's share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Rc<BodyBudget>,
    id: u64,
    bytes: usize,
}

impl Reservation {
    /// Takes more, if there is room and nobody waits.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let budget = &self.budget;
        let fits = budget.used.get().saturating_add(bytes) <= budget.bytes_max && budget.line.borrow().is_empty();
        let granted = fits || budget.favoured.get() == Some(self.id);
        if granted {
            self.take(bytes);
        }
        granted
    }

    /// Takes more, waiting for room if there is none.
    pub(crate) fn grow(&mut self, bytes: usize) -> impl Future<Output = ()> + '_ {
        let mut waiting = false;
        poll_fn(move |context| self.poll_grow(bytes, &mut waiting, context))
    }

    fn poll_grow(&mut self, bytes: usize, waiting: &mut bool, context: &mut Context<'_>) -> Poll<()> {
        if !*waiting {
            if self.try_grow(bytes) {
                return Poll::Ready(());
            }
            *waiting = true;
            // An earlier wait that was given up may have left a place behind.
            self.budget.leave_line(self.id);
            self.budget.waits.set(self.budget.waits.get().wrapping_add(1));
            self.budget.line.borrow_mut().push_back((self.id, None));
        }
        let budget = Rc::clone(&self.budget);
        let first = budget.line.borrow().front().is_some_and(|(id, _)| *id == self.id);
        let fits = budget.used.get().saturating_add(bytes) <= budget.bytes_max;
        if first && (fits || budget.favoured.get().is_none()) {
            budget.leave_line(self.id);
            if !fits {
                budget.favoured.set(Some(self.id));
            }
            self.take(bytes);
            // There may be room for the next one too.
            budget.wake_first();
            return Poll::Ready(());
        }
        if let Some((_, waker)) = budget.line.borrow_mut().iter_mut().find(|(id, _)| *id == self.id) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn take(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.used.set(self.budget.used.get() + bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.used.set(budget.used.get().saturating_sub(self.bytes));
        if budget.favoured.get() == Some(self.id) {
            budget.favoured.set(None);
        }
        budget.leave_line(self.id);
        budget.wake_first();
    }
}

/// The flow-control window that a core's connections may be given beyond the least that HTTP/2 knows.
#[derive(Debug)]
pub(crate) struct WindowBudget {
    left: Cell<usize>,
}

impl WindowBudget {
    pub(crate) fn new(bytes_max: usize) -> Rc<Self> {
        Rc::new(Self { left: Cell::new(bytes_max) })
    }

    /// A large window if there is enough left for it, until the loan is dropped.
    pub(crate) fn take(self: &Rc<Self>, bytes: u32) -> Option<WindowLoan> {
        let bytes = usize::try_from(bytes).ok()?;
        let left = self.left.get().checked_sub(bytes)?;
        self.left.set(left);
        Some(WindowLoan { budget: Rc::clone(self), bytes })
    }
}

/// A connection's window.
#[derive(Debug)]
pub(crate) struct WindowLoan {
    budget: Rc<WindowBudget>,
    bytes: usize,
}

impl Drop for WindowLoan {
    fn drop(&mut self) {
        self.budget.left.set(self.budget.left.get() + self.bytes);
    }
}

#[cfg(test)]
mod tests;
