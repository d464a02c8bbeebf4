//! Makes sure that an executor begins.
//!
//! glommio 0.9 loses its first round where the thread is descheduled for [`PREEMPT_INTERVAL`](super::PREEMPT_INTERVAL) at one
//! moment of it: the round's timer, set by `poll_io`, goes off before `run_one_task_queue` has looked at `need_preempt`; then
//! `run_task_queues` says that nothing ran, and `park` sleeps. It knows of no timer yet, and no task has been polled whose
//! waker another thread could have, so that it sleeps for ever. Later rounds have a [heartbeat](super::heartbeat).
//!
//! Nothing wakes such a thread. So what it was to run lies in a slot, the executor's first poll takes it out, and whoever
//! starts the executor waits until that has happened. Where it does not, another thread with a loop of its own tries, and
//! the first that gets there has it. A thread that was only slow finds the slot empty and ends.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads that may try. One in some hundred thousand starts needs a second one on a machine with three times more to run
/// than it has cores; this many can only mean that the machine runs nothing.
const ATTEMPTS_MAX: usize = 16;

/// An attempt's word to whoever waits: that it has begun, or, when dropped before, that it never will.
#[derive(Debug)]
pub(super) struct Beginning {
    number: usize,
    sender: Sender<(usize, bool)>,
    has_told: bool,
}

impl Beginning {
    /// The first poll happens now.
    pub(super) fn tell(mut self) {
        self.has_told = true;
        self.send(true);
    }

    fn send(&self, has_begun: bool) {
        // Nobody waits any more where another attempt was faster.
        _ = self.sender.send((self.number, has_begun));
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        if !self.has_told {
            self.send(false);
        }
    }
}

/// Starts attempts, each on a thread of its own, one more each time that none has begun within `patience`. Returns the one
/// that began, or, where all have ended without, the last: its outcome says why. `None` after [`ATTEMPTS_MAX`].
///
/// # Errors
/// The system's answer where it refuses the first thread.
pub(super) fn begin<R>(
    patience: Duration,
    mut attempt: impl FnMut(Beginning) -> io::Result<JoinHandle<R>>,
) -> io::Result<Option<JoinHandle<R>>> {
    let (sender, told) = mpsc::channel();
    let mut threads: Vec<Option<JoinHandle<R>>> = Vec::new();
    let mut ended = 0;
    while threads.len() < ATTEMPTS_MAX {
        let beginning = Beginning { number: threads.len(), sender: sender.clone(), has_told: false };
        match attempt(beginning) {
            Ok(thread) => threads.push(Some(thread)),
            Err(error) if threads.is_empty() => return Err(error),
            // Those that were started may still begin.
            Err(error) => tracing::warn!(%error, "cannot start another thread for an event loop that did not begin"),
        }
        // One of the senders is here, so that an error means that the patience is over.
        while let Ok((number, has_begun)) = told.recv_timeout(patience) {
            ended += usize::from(!has_begun);
            if has_begun || ended == threads.len() {
                return Ok(threads.get_mut(number).and_then(Option::take));
            }
        }
        tracing::warn!(attempts = threads.len(), "the event loop did not begin; another thread tries");
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Without another attempt after `patience` nobody would ever begin.
    #[test]
    fn an_attempt_that_never_begins_is_overtaken_by_another() {
        let (release, held) = mpsc::channel::<()>();
        let mut held = Some(held);
        let mut attempts = 0;
        let begun = begin(Duration::from_millis(20), |beginning| {
            attempts += 1;
            let (number, held) = (attempts, held.take());
            Ok(thread::spawn(move || {
                if let Some(held) = held {
                    // As a thread that is slept over: it goes on long after.
                    _ = held.recv();
                }
                beginning.tell();
                number
            }))
        });
        assert!(begun.unwrap().unwrap().join().unwrap() > 1);
        drop(release);
    }

    /// Without `Drop` of `Beginning` the caller would wait for its patience to end, and then try what cannot work.
    #[test]
    fn an_attempt_that_fails_is_told_at_once() {
        let mut attempts = 0;
        let ended = begin(Duration::from_secs(3600), |beginning| {
            attempts += 1;
            Ok(thread::spawn(move || drop(beginning)))
        });
        assert!(ended.unwrap().is_some());
        assert_eq!(attempts, 1);
    }

    #[test]
    fn a_refused_thread_is_an_error() {
        let refused: io::Result<Option<JoinHandle<()>>> =
            begin(Duration::from_secs(3600), |_beginning| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn attempts_have_an_end() {
        let (release, held) = async_channel::bounded::<()>(1);
        let none = begin(Duration::from_millis(1), |beginning| {
            let held = held.clone();
            Ok(thread::spawn(move || {
                _ = held.recv_blocking();
                drop(beginning);
            }))
        });
        assert!(none.unwrap().is_none());
        drop(release);
    }
}
