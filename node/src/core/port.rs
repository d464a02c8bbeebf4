//! What the outside sees of a core: the receivers' port into it, and what exporters need of it.

use super::log::Payload;
use super::{Core, PRESSURE_RECHECK};
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::Ack;
use tailwater_connectors::delivery::Settlement;
use tailwater_connectors::otlp::exporter::Environment;
use tailwater_connectors::otlp::receiver::{Accepted, Port, PortError, Received};
use tailwater_engine::vocabulary::{Nanos, Origin};
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::sleep;

/// How long senders are asked to stay away from a node that is going down: another one, or this one started again,
/// takes over within seconds.
const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long senders are held back by flow control alone; then they are told, so that they don't wait for their own
/// deadline in vain.
const PRESSED_MAX: Nanos = Nanos::from_millis(4000);
/// How long they are then asked to stay away.
const PRESSED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The receiver's port into a core.
pub struct CorePort {
    /// The core.
    pub core: Rc<Core>,
    /// What has happened before a sender is answered.
    pub ack: Ack,
}

impl CorePort {
    fn is_logged(&self) -> bool {
        self.ack != Ack::Received && self.core.log.is_some()
    }

    async fn accept(&self, received: &Received, units: u32, payload: Payload) -> Result<(), PortError> {
        let arrived = self.core.now();
        if let Some(log) = self.core.log.as_ref().filter(|_| self.ack != Ack::Received) {
            return log.accept(received, units, payload, arrived, self.ack == Ack::Synced).await;
        }
        let waiting = match payload {
            Payload::Traces(scanned) => self.core.admit_spans(scanned, Origin::NONE, arrived),
            forward @ Payload::Forward(..) => {
                self.core.admit(forward, Origin::NONE, arrived, None);
                Vec::new()
            }
        };
        for sent in waiting {
            // Closing is the signal; nothing is ever sent.
            _ = sent.recv().await;
        }
        Ok(())
    }

    /// How long senders have been held back.
    fn is_pressed_long(&self) -> bool {
        let since = self.core.pressed_since.get();
        since.is_some_and(|since| self.core.now() > since.plus(PRESSED_MAX))
    }
}

impl Port for CorePort {
    async fn traces(&self, received: Received) -> Result<Accepted, PortError> {
        let scanned = self.core.shard.borrow_mut().scan(&received.body)?;
        let accepted = Accepted { refused: scanned.refused, fault: scanned.fault };
        if scanned.accepted > 0 {
            self.accept(&received, scanned.units(), Payload::Traces(scanned)).await?;
        }
        Ok(accepted)
    }

    async fn forward(&self, received: Received, items: u32) -> Result<(), PortError> {
        let payload = Payload::Forward(received.signal, received.body.clone(), items);
        self.accept(&received, 1, payload).await
    }

    fn refused(&self) {
        self.core.shard.borrow_mut().refuse_request();
    }

    async fn ready(&self) {
        let core = &self.core;
        while core.is_pressed(self.is_logged()) && !core.is_closed.get() && !self.is_pressed_long() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    fn closed(&self) -> Option<(&'static str, Duration)> {
        if self.core.is_closed.get() {
            return Some(("the node is stopping", CLOSED_RETRY_AFTER));
        }
        let is_stuck = self.is_pressed_long() && self.core.is_pressed(self.is_logged());
        is_stuck.then_some(("the node has more than it can take", PRESSED_RETRY_AFTER))
    }
}

/// What exporters need of this core.
pub(super) struct CoreEnvironment(pub(super) Rc<Core>);

impl Environment for CoreEnvironment {
    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_nanos())
    }

    fn settled(&self, settlement: Settlement) {
        self.0.with_shard(|_, _, outbox| outbox.settle(settlement));
    }
}
