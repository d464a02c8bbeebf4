//! A change that many tasks of one core wait for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes every subscriber when something changes. Bounded by its subscribers: one slot each, used again when they go.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    version: Cell<u64>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Broadcast {
    /// Tells all subscribers.
    pub(crate) fn announce(&self) {
        self.version.set(self.version.get().wrapping_add(1));
        // Taken out first: a waker may run code that subscribes.
        let wakers: Vec<Waker> = self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A subscriber that sees the changes from now on.
    pub(crate) fn subscribe(self: &Rc<Self>) -> Subscription {
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        Subscription { broadcast: Rc::clone(self), slot, seen: self.version.get() }
    }
}

/// One task's view of a [`Broadcast`].
#[derive(Debug)]
pub(crate) struct Subscription {
    broadcast: Rc<Broadcast>,
    slot: usize,
    seen: u64,
}

impl Subscription {
    /// Ready once for any number of changes since the last time.
    pub(crate) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let version = self.broadcast.version.get();
        if version != self.seen {
            self.seen = version;
            return Poll::Ready(());
        }
        let mut wakers = self.broadcast.wakers.borrow_mut();
        match &mut wakers[self.slot] {
            Some(waker) if waker.will_wake(context.waker()) => {}
            slot => *slot = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for a change.
    pub(crate) async fn changed(&mut self) {
        poll_fn(|context| self.poll_changed(context)).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _waker = self.broadcast.wakers.borrow_mut()[self.slot].take();
        self.broadcast.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_sees_changes_after_it_came_and_slots_are_used_again() {
        let broadcast = Rc::new(Broadcast::default());
        let mut context = Context::from_waker(Waker::noop());
        broadcast.announce();
        let mut first = broadcast.subscribe();
        assert!(first.poll_changed(&mut context).is_pending());
        broadcast.announce();
        broadcast.announce();
        assert!(first.poll_changed(&mut context).is_ready());
        assert!(first.poll_changed(&mut context).is_pending());
        drop(first);
        drop(broadcast.subscribe());
        assert_eq!(broadcast.wakers.borrow().len(), 1);
    }
}
