//! One core: its shard, its way to the other cores, its exporters, and the loops that drive them. Everything here
//! runs on one executor; borrows never cross an await.

use crate::control::{Control, ExporterSnapshot, Snapshot};
use crate::outbox::Outbox;
use crate::sockets::OpenReceiver;
use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::delivery::Settlement;
use tailwater_connectors::otlp::exporter::Environment;
use tailwater_connectors::otlp::receiver::{Accepted, Port};
use tailwater_engine::host::ExportFate;
use tailwater_engine::intake::IntakeError;
use tailwater_engine::shard::{Shard, TICK};
use tailwater_engine::vocabulary::{Nanos, ShardIndex, SpanBatch};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::{sleep, spawn, timeout, yield_now};
use tailwater_runtime::mesh::MeshPort;

/// How often a held-back sender looks again.
const PRESSURE_RECHECK: Duration = Duration::from_millis(5);
/// Messages from other cores taken in one go before other tasks run.
const TAKE_IN_A_ROW_MAX: usize = 16;

/// One core's state.
pub struct Core {
    index: usize,
    shard: RefCell<Shard>,
    outbox: RefCell<Outbox>,
    receivers: RefCell<Vec<OpenReceiver>>,
    mesh: MeshPort<SpanBatch>,
    /// Origin of the engine's time, monotonic nanoseconds; the same for all cores.
    origin: u64,
    /// Set once nothing more is accepted.
    is_closed: Cell<bool>,
    /// Whether a full buffer holds back senders, instead of deciding early.
    blocks_on_overflow: bool,
}

impl Core {
    /// The core that runs `shard`.
    pub fn new(
        index: usize,
        shard: Shard,
        outbox: Outbox,
        mesh: MeshPort<SpanBatch>,
        origin: u64,
        blocks_on_overflow: bool,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            shard: RefCell::new(shard),
            outbox: RefCell::new(outbox),
            receivers: RefCell::default(),
            mesh,
            origin,
            is_closed: Cell::new(false),
            blocks_on_overflow,
        })
    }

    /// The receivers that feed this core, to be drained with it.
    pub fn set_receivers(&self, receivers: Vec<OpenReceiver>) {
        self.receivers.replace(receivers);
    }

    /// The engine's time.
    fn now(&self) -> Nanos {
        Nanos(monotonic_nanos().saturating_sub(self.origin))
    }

    /// Calls into the shard, then books the fates that were known at once.
    fn with_shard<T>(&self, call: impl FnOnce(&mut Shard, Nanos, &mut Outbox) -> T) -> T {
        let mut shard = self.shard.borrow_mut();
        let mut outbox = self.outbox.borrow_mut();
        let result = call(&mut shard, self.now(), &mut outbox);
        for (signal, items, fate) in outbox.take_settled() {
            shard.settle(signal, items, fate);
        }
        result
    }

    /// Takes a batch, then judges what is due: verdicts keep pace with arrivals however busy the core is. The timer alone
    /// would get its turn once for many requests.
    fn take(&self, batch: SpanBatch) {
        self.with_shard(|shard, now, outbox| {
            shard.take(now, batch, outbox);
            shard.tick(now, outbox)
        });
    }

    fn is_pressed(&self) -> bool {
        (self.blocks_on_overflow && self.shard.borrow().is_pressed()) || self.outbox.borrow().is_pressed()
    }

    /// Gives a batch to the shard that owns it. When that shard's queue is full, returns what to wait for: the spans are
    /// accepted, so a sender that hangs up must not take them along, and a task of its own waits for room.
    fn hand_over(self: &Rc<Self>, target: ShardIndex, batch: SpanBatch) -> Option<Receiver<()>> {
        let target = usize::from(target.0);
        if target == self.index {
            self.take(batch);
            return None;
        }
        let batch = self.mesh.try_send(target, batch).err()?;
        let (done, waiting) = bounded(1);
        let core = self.clone();
        spawn(async move {
            core.mesh.send(target, batch).await;
            drop(done);
        });
        Some(waiting)
    }

    /// Starts the loops of this core.
    pub fn start(self: &Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        let exporters = self.outbox.borrow().exporters().to_vec();
        for exporter in exporters {
            for worker in 0..exporter.workers() {
                spawn(
                    exporter
                        .clone()
                        .work(self.index * exporter.workers() + worker, Rc::new(CoreEnvironment(self.clone()))),
                );
            }
        }
        spawn(self.clone().receive_from_cores());
        spawn(self.clone().tick());
        spawn(self.clone().obey(control, ended));
    }

    async fn receive_from_cores(self: Rc<Self>) {
        loop {
            let batch = self.mesh.receive().await;
            self.take(batch);
            for _ in 1..TAKE_IN_A_ROW_MAX {
                match self.mesh.try_receive() {
                    Some(batch) => self.take(batch),
                    None => break,
                }
            }
            yield_now().await;
        }
    }

    async fn tick(self: Rc<Self>) {
        loop {
            sleep(Duration::from_nanos(TICK.0)).await;
            while self.with_shard(|shard, now, outbox| shard.tick(now, outbox)) {
                yield_now().await;
            }
        }
    }

    async fn obey(self: Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        while let Ok(request) = control.recv().await {
            match request {
                // An answer that nobody waits for any more is no failure.
                Control::Snapshot(answer) => _ = answer.try_send(self.snapshot()),
                Control::Written(ticket, fate) => self.with_shard(|_, _, outbox| outbox.written(ticket, fate)),
                Control::StopIntake(patience, answer) => spawn(self.clone().stop_intake(patience, answer)),
                Control::Decide(answer) => {
                    self.decide_all().await;
                    _ = answer.try_send(());
                }
                Control::Flush(answer) => {
                    let core = self.clone();
                    spawn(async move {
                        while core.shard.borrow().ledger().has_exporting() {
                            sleep(PRESSURE_RECHECK).await;
                        }
                        _ = answer.try_send(());
                    });
                }
                Control::End(answer) => {
                    let exporters = self.outbox.borrow().exporters().to_vec();
                    for exporter in exporters {
                        exporter.abandon(&CoreEnvironment(self.clone()));
                    }
                    _ = answer.try_send(self.snapshot());
                    break;
                }
            }
        }
        drop(ended);
    }

    /// Lets senders finish what they have begun, then closes the door.
    async fn stop_intake(self: Rc<Self>, patience: Duration, answer: Sender<()>) {
        let receivers = self.receivers.take();
        for receiver in &receivers {
            receiver.drain();
        }
        let all = async {
            for receiver in &receivers {
                receiver.drained().await;
            }
        };
        if timeout(patience, all).await.is_err() {
            tracing::warn!(core = self.index, "some senders keep their connections; going on without them");
        }
        self.is_closed.set(true);
        self.receivers.replace(receivers);
        _ = answer.try_send(());
    }

    /// Judges everything, in steps that let other tasks run.
    async fn decide_all(&self) {
        while let Some(batch) = self.mesh.try_receive() {
            self.take(batch);
        }
        while self.with_shard(|shard, now, outbox| shard.drain(now, outbox)) {
            yield_now().await;
        }
    }

    fn snapshot(&self) -> Snapshot {
        let shard = self.shard.borrow();
        let outbox = self.outbox.borrow();
        let exporters = outbox.exporters().iter().map(|exporter| ExporterSnapshot {
            name: exporter.name().to_string(),
            queue_bytes: exporter.queue_bytes() as u64,
            breaker: exporter.breaker_state().number(),
            counters: exporter.counters.list(),
        });
        Snapshot {
            ledger: shard.ledger().clone(),
            buffer_bytes: shard.buffer_bytes() as u64,
            buffer_bytes_max: shard.buffer_bytes_max() as u64,
            exporters: exporters.collect(),
            receivers: self.receivers.borrow().iter().map(OpenReceiver::snapshot).collect(),
        }
    }
}

/// The receiver's port into this core.
pub struct CorePort(pub Rc<Core>);

/// How long senders are asked to stay away from a node that is going down: another one, or this one started again,
/// takes over within seconds.
const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Port for CorePort {
    async fn traces(&self, body: Bytes) -> Result<Accepted, IntakeError> {
        let scanned = self.0.shard.borrow_mut().scan(&body)?;
        let accepted = Accepted { refused: scanned.refused, fault: scanned.fault };
        // No await before the last batch is on its way: see `hand_over`.
        let batches = scanned.batches.into_iter();
        let waiting: Vec<_> = batches.filter_map(|(target, batch)| self.0.hand_over(target, batch)).collect();
        for sent in waiting {
            // Closing is the signal; nothing is ever sent.
            _ = sent.recv().await;
        }
        Ok(accepted)
    }

    fn forward(&self, signal: Signal, body: Bytes, items: u32) {
        self.0.with_shard(|shard, _, outbox| shard.forward(signal, body, items, outbox));
    }

    fn refused(&self) {
        self.0.shard.borrow_mut().refuse_request();
    }

    async fn ready(&self) {
        while self.0.is_pressed() && !self.0.is_closed.get() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    fn closed(&self) -> Option<Duration> {
        self.0.is_closed.get().then_some(CLOSED_RETRY_AFTER)
    }
}

/// What exporters need of this core.
struct CoreEnvironment(Rc<Core>);

impl Environment for CoreEnvironment {
    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(monotonic_nanos())
    }

    fn settled(&self, settlement: Settlement) {
        let Settlement { signal, delivered, lost, fate, .. } = settlement;
        let mut shard = self.0.shard.borrow_mut();
        if delivered > 0 {
            shard.settle(signal, delivered, ExportFate::Delivered);
        }
        if lost > 0 {
            shard.settle(signal, lost, fate);
        }
    }
}
