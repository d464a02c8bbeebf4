//! Waiting for something on the same core to change, without looking again and again.

use async_channel::{Receiver, Sender, bounded};
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Wakes all who wait, as often as something changes.
#[derive(Debug)]
pub(super) struct Changes {
    /// Closing is the signal; nothing is ever sent.
    next: RefCell<(Sender<()>, Receiver<()>)>,
}

impl Changes {
    /// Nothing has changed yet.
    pub(super) fn new() -> Self {
        Self { next: RefCell::new(bounded(1)) }
    }

    /// Ends every wait that was begun before.
    pub(super) fn notify(&self) {
        // Besides our own end only those who wait have one.
        let is_awaited = self.next.borrow().1.receiver_count() > 1;
        if is_awaited {
            self.next.replace(bounded(1));
        }
    }

    /// Ends with the next change after this call, not after the first poll: what is looked at before the await and after
    /// this call is not missed.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + use<> {
        let waiting = self.next.borrow().1.clone();
        async move { _ = waiting.recv().await }
    }
}

/// Ends with the first of the two.
pub(super) async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
