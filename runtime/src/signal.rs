//! Termination signals as a stream, for the side thread.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal that the program acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: drain and end; a second one ends at once.
    Terminate,
    /// SIGINT: as SIGTERM, from a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP, from the moment this is made; the default actions no longer happen.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    reload: Stream,
}

impl Signals {
    /// Takes the signals over. Must be called on an executor of the epoll backend, which the side thread is.
    ///
    /// # Errors
    /// If the system refuses a handler.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Several of one kind that arrive before they are asked for count as one.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let streams = [
                (&mut self.terminate, Signal::Terminate),
                (&mut self.interrupt, Signal::Interrupt),
                (&mut self.reload, Signal::Reload),
            ];
            for (stream, signal) in streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
