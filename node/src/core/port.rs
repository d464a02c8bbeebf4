//! What the outside sees of the cores: the receivers' port into them, and what exporters need of one.

use super::admit::all_sent;
use super::log::Taken;
use super::{Core, PRESSURE_RECHECK};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::Ack;
use tailwater_connectors::delivery::Settlement;
use tailwater_connectors::otlp::exporter::Environment;
use tailwater_connectors::otlp::port::{Accepted, LeftOut, Port, PortError, Received};
use tailwater_engine::intake::Scanned;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::Origin;
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::{sleep, yield_now};
use tailwater_runtime::net::resolve;

/// How long senders are asked to stay away from a node that is going down: another one, or this one started again,
/// takes over within seconds.
const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long senders that were held back for long are asked to stay away.
const PRESSED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A receiver's port into the cores of one executor, one a pipeline. Each gets what comes, and judges it by itself.
pub struct CorePort {
    /// The cores of the pipelines that name the receiver.
    pub cores: Rc<[Rc<Core>]>,
    /// The core of the first pipeline of all, which takes metrics and logs, and stands for all where something is counted
    /// once.
    pub first: Option<Rc<Core>>,
    /// What has happened before a sender is answered.
    pub ack: Ack,
}

impl CorePort {
    fn is_logged(&self) -> bool {
        self.ack != Ack::Received && self.cores().all(|core| core.log.is_some())
    }

    fn first(&self) -> Option<&Rc<Core>> {
        self.first.as_ref()
    }

    /// All that something of this receiver may go to.
    fn cores(&self) -> impl Iterator<Item = &Rc<Core>> {
        self.first.iter().chain(&*self.cores)
    }

    /// Has pipelines take what each has scanned of a request, all or none, and returns when it is on its way. It is logged
    /// once for all.
    async fn accept(
        &self,
        received: &Received,
        scanned: impl Iterator<Item = (&Rc<Core>, Scanned)>,
    ) -> Result<(), PortError> {
        let mut taking = scanned.filter(|(_, scanned)| scanned.accepted > 0).peekable();
        let log = taking.peek().and_then(|(core, _)| core.log.clone()).filter(|_| self.ack != Ack::Received);
        if let Some(log) = log {
            let taken = taking
                .map(|(core, scanned)| Taken { pipeline: core.settings.pipeline, scanned, arrived: core.now() })
                .collect();
            return log.accept(received, taken, self.ack == Ack::Synced).await;
        }
        let on_their_way = taking.flat_map(|(core, scanned)| core.hand_on(scanned, Origin::NONE, core.now())).collect();
        all_sent(on_their_way).await;
        Ok(())
    }

    /// Has every pipeline take a request of traces. One that the log has no room for is not scanned.
    async fn accept_by_all(&self, received: &Received) -> Result<Accepted, PortError> {
        if self.is_logged() {
            let log = self.cores.first().and_then(|core| core.log.as_ref());
            log.and_then(|log| log.refusal(received.raw.len())).map_or(Ok(()), Err)?;
        }
        let scanned = {
            let summaries = self.first().and_then(|first| first.summaries.as_ref());
            let mut tally = summaries.and_then(|summaries| summaries.span_tally());
            let mut shards: Vec<_> = self.cores.iter().map(|core| core.shard.borrow_mut()).collect();
            Shard::scan_for_all(&mut shards, &received.body, tally.as_deref_mut())?
        };
        // What is refused is refused by all, only their policies differ.
        let told = scanned.first().map(|first| Accepted { refusals: first.refusals, fault: first.fault.clone() });
        self.accept(received, self.cores.iter().zip(scanned)).await?;
        Ok(told.unwrap_or_default())
    }

    /// Has all take a request that are to.
    async fn accept_request(&self, received: Received) -> Result<Accepted, PortError> {
        let core = match (received.signal, &*self.cores) {
            (Signal::Traces, [core]) => core,
            (Signal::Traces, _) => return self.accept_by_all(&received).await,
            (Signal::Metrics | Signal::Logs, _) => match self.first() {
                Some(first) => first,
                None => return Ok(Accepted::default()),
            },
        };
        let scanned = {
            let mut tally = core.summaries.as_ref().and_then(|summaries| summaries.span_tally());
            core.shard.borrow_mut().scan_request(received.signal, &received.body, tally.as_deref_mut())?
        };
        let accepted = Accepted { refusals: scanned.refusals, fault: scanned.fault.clone() };
        self.accept(&received, std::iter::once((core, scanned))).await?;
        Ok(accepted)
    }

    /// Whether senders have been held back for long.
    fn is_pressed_long(&self) -> bool {
        self.cores().any(|core| core.is_pressed_long())
    }

    fn is_pressed(&self) -> bool {
        let is_logged = self.is_logged();
        self.cores().any(|core| core.is_pressed(is_logged))
    }

    fn is_closed(&self) -> bool {
        // The receivers belong to the first, which is closed when they are.
        self.first().is_none_or(|core| core.receivers.is_closed())
    }
}

impl Port for CorePort {
    async fn take(&self, received: Received) -> Result<Accepted, PortError> {
        let (signal, bytes) = (received.signal, received.body.len());
        let accepted = self.accept_request(received).await?;
        if let Some(core) = self.first() {
            core.traffic.received(signal, bytes);
        }
        Ok(accepted)
    }

    fn refused(&self) {
        if let Some(core) = self.first() {
            core.shard.borrow_mut().refuse_request();
        }
    }

    fn left_out(&self, signal: Signal, left_out: &LeftOut) {
        if let Some(core) = self.first() {
            let LeftOut { refusals, ignored_names, repaired_texts } = left_out;
            core.shard.borrow_mut().note_left_out(signal, refusals, *ignored_names, *repaired_texts);
        }
    }

    fn weight(&self, signal: Signal, protobuf: &[u8]) -> usize {
        match signal {
            Signal::Traces => {
                let shards: Vec<_> = self.cores.iter().map(|core| core.shard.borrow()).collect();
                Shard::scanned_bytes_for_all(&shards, protobuf)
            }
            // The copy that goes on, and its units: see `Passing`.
            Signal::Metrics | Signal::Logs => 2 * protobuf.len(),
        }
    }

    async fn pause(&self) {
        yield_now().await;
    }

    async fn ready(&self) {
        while self.is_pressed() && !self.is_closed() && !self.is_pressed_long() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    fn closed(&self) -> Option<(&'static str, Duration)> {
        if self.is_closed() {
            return Some(("the node is stopping", CLOSED_RETRY_AFTER));
        }
        let is_stuck = self.is_pressed_long() && self.is_pressed();
        is_stuck.then_some(("the node has more than it can take", PRESSED_RETRY_AFTER))
    }
}

/// What exporters need of this core.
pub(super) struct CoreEnvironment(pub(super) Rc<Core>);

impl Environment for CoreEnvironment {
    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        resolve(host, port).await.map_err(|error| error.to_string())
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_nanos())
    }

    fn settled(&self, settlement: Settlement) {
        self.0.with_shard(|_, _, outbox| outbox.settle(settlement));
    }
}
