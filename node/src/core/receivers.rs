//! What a core has of the receivers that feed it, and whether anything comes in through them.

use super::{CorePort, PRESSURE_RECHECK};
use crate::control::ReceiverSnapshot;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::otlp::receiver::OtlpReceiver;
use tailwater_net::server::Server;
use tailwater_runtime::executor::{sleep, timeout};

/// One receiver of one core.
pub struct OpenReceiver {
    /// `grpc` or `http`.
    pub protocol: &'static str,
    /// It serves all pipelines of the executor.
    pub server: Rc<Server<OtlpReceiver<CorePort>>>,
}

impl OpenReceiver {
    /// Asks all connections to go away; no new ones are accepted.
    pub fn drain(&self) {
        self.server.drain();
    }

    /// Waits until no connection is open.
    pub async fn drained(&self) {
        self.server.drained().await;
    }

    /// Its connections and counters.
    pub fn snapshot(&self) -> ReceiverSnapshot {
        let counts = self.server.stats().counts();
        let counters = counts.named().into_iter().filter(|(name, _)| *name != "open");
        ReceiverSnapshot { protocol: self.protocol, connections: counts.open, counters: counters.collect() }
    }
}

/// The receivers that feed a core, to be drained with it.
#[derive(Default)]
pub(super) struct Receivers {
    all: RefCell<Vec<OpenReceiver>>,
    /// Set once senders can connect.
    is_open: Cell<bool>,
    /// Set once nothing more is accepted.
    is_closed: Cell<bool>,
}

impl Receivers {
    /// Senders can connect.
    pub(super) fn open(&self, receivers: Vec<OpenReceiver>) {
        if self.is_closed.get() {
            // The node was told to stop while it read the log of the last run.
            receivers.iter().for_each(OpenReceiver::drain);
        }
        self.is_open.set(true);
        self.all.replace(receivers);
    }

    /// Waits until senders can connect.
    pub(super) async fn opened(&self) {
        while !self.is_open.get() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    /// Lets senders finish what they have begun; from then on nothing is accepted. False when some have kept their
    /// connections for all that time.
    pub(super) async fn close(&self, patience: Duration) -> bool {
        let receivers = self.all.take();
        for receiver in &receivers {
            receiver.drain();
        }
        let all = async {
            for receiver in &receivers {
                receiver.drained().await;
            }
        };
        let all_are_gone = timeout(patience, all).await.is_ok();
        self.is_closed.set(true);
        self.all.replace(receivers);
        all_are_gone
    }

    /// Whether nothing more is accepted.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Their connections and counters.
    pub(super) fn snapshots(&self) -> Vec<ReceiverSnapshot> {
        self.all.borrow().iter().map(OpenReceiver::snapshot).collect()
    }
}
