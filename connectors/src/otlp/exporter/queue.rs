//! The requests that wait for a worker, in the order in which they came. Several small ones leave together: while the queue
//! is backed up, each would cost a round trip of its own.

use super::{Job, Merged};
use async_channel::{Receiver, Sender, bounded};
use std::cell::RefCell;
use std::collections::VecDeque;

/// A queue with many workers at its end, all on one core.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: RefCell<VecDeque<Job>>,
    /// One for each job: who has it takes the oldest job.
    tickets: (Sender<()>, Receiver<()>),
}

impl Queue {
    /// A queue for so many requests.
    pub(super) fn new(length_max: usize) -> Self {
        Self { jobs: RefCell::default(), tickets: bounded(length_max) }
    }

    /// Adds a request; false when there is no room.
    pub(super) fn push(&self, job: Job) -> bool {
        let has_room = self.tickets.0.try_send(()).is_ok();
        if has_room {
            self.jobs.borrow_mut().push_back(job);
        }
        has_room
    }

    /// Requests that wait.
    pub(super) fn length(&self) -> usize {
        self.jobs.borrow().len()
    }

    /// The oldest request, if any waits.
    pub(super) fn try_pop(&self) -> Option<Job> {
        self.tickets.1.try_recv().ok()?;
        self.jobs.borrow_mut().pop_front()
    }

    /// The oldest request, as soon as there is one, with those behind it that may leave together with it.
    pub(super) async fn pop(&self, merged: Merged) -> Option<Vec<Job>> {
        self.tickets.1.recv().await.ok()?;
        let mut jobs = vec![self.jobs.borrow_mut().pop_front()?];
        let (mut items, mut bytes) =
            jobs.first().map_or((0, 0), |job| (u64::from(job.delivery.items()), job.body.len()));
        while let Some(job) = self.next_like(&jobs, items, bytes, merged) {
            items += u64::from(job.delivery.items());
            bytes += job.body.len();
            jobs.push(job);
        }
        Some(jobs)
    }

    /// The oldest request, if it may leave with these.
    fn next_like(&self, jobs: &[Job], items: u64, bytes: usize, merged: Merged) -> Option<Job> {
        let first = jobs.first()?;
        let may = self.jobs.borrow().front().is_some_and(|next| {
            next.signal == first.signal
                && next.delivery.is_recoverable() == first.delivery.is_recoverable()
                && items + u64::from(next.delivery.items()) <= merged.items_max
                && bytes + next.body.len() <= merged.bytes_max
        });
        if may { self.try_pop() } else { None }
    }
}
