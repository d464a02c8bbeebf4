//! What a core has of the receivers that feed it.

use super::CorePort;
use crate::control::ReceiverSnapshot;
use std::rc::Rc;
use tailwater_connectors::otlp::receiver::OtlpReceiver;
use tailwater_net::server::Server;

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
