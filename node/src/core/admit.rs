//! Accepts requests whose level is reached: spans go to the shards that own their traces, metrics and logs go on.

use super::summaries::TakenOut;
use super::{Core, Message};
use crate::numbers::CoreNumber;
use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use std::rc::Rc;
use tailwater_connectors::otlp::port::PortError;
use tailwater_engine::intake::{Passing, Scanned};
use tailwater_engine::vocabulary::{Nanos, Origin, ShardIndex, SpanBatch};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor::spawn;

/// Answers a sender once all of its request is on its way.
pub(super) fn answer(on_their_way: Vec<Receiver<()>>, done: Sender<Result<(), PortError>>) {
    if on_their_way.is_empty() {
        // A sender that has gone does not hear it.
        _ = done.try_send(Ok(()));
        return;
    }
    spawn(async move {
        all_sent(on_their_way).await;
        _ = done.try_send(Ok(()));
    });
}

/// Returns once all of it is on its way.
pub(super) async fn all_sent(on_their_way: Vec<Receiver<()>>) {
    for sent in on_their_way {
        // Closing is the signal; nothing is ever sent.
        _ = sent.recv().await;
    }
}

impl Core {
    /// Hands a scanned request on, whose level is reached: spans go to the shards that own their traces. Returns what to wait
    /// for.
    pub(super) fn hand_on(self: &Rc<Self>, mut scanned: Scanned, origin: Origin, arrived: Nanos) -> Vec<Receiver<()>> {
        let mut on_their_way = Vec::new();
        if let Some(summaries) = &self.summaries {
            let body = scanned.batches.first().map(|(_, batch)| batch.body.clone());
            let others = summaries.count(&mut scanned, |summaries| {
                let mut tally = summaries.span_tally();
                self.shard.borrow_mut().scan_request_again(Signal::Traces, &body?, tally.as_deref_mut()).ok()
            });
            on_their_way
                .extend(others.into_iter().filter_map(|(core, ends)| self.hand_over(core, Message::Ends(ends))));
        }
        on_their_way.extend(self.hand_on_counted(scanned, origin, arrived, true));
        on_their_way
    }

    /// The same for a request whose spans are counted, or were by a former run; with `counts` its points and records are not.
    pub(super) fn hand_on_counted(
        self: &Rc<Self>,
        mut scanned: Scanned,
        origin: Origin,
        arrived: Nanos,
        counts: bool,
    ) -> Vec<Receiver<()>> {
        let Some(mut passing) = scanned.passing.take() else { return self.hand_on_spans(scanned, origin, arrived) };
        self.take_out(&mut passing, origin, counts);
        if passing.items == 0 {
            return Vec::new();
        }
        // A copy: what waits for an exporter counts to that exporter's queue, and must not hold the memory that other
        // requests are to be received in.
        passing.body = Bytes::copy_from_slice(&passing.body);
        let Some(passing) = self.hold_logs(passing, origin, arrived) else { return Vec::new() };
        self.with_shard(|shard, _, outbox| shard.pass(passing, origin, outbox));
        Vec::new()
    }

    /// Takes out of a request what only summaries tell, and books it.
    pub(super) fn take_out(&self, passing: &mut Passing, origin: Origin, counts: bool) {
        let Some(summaries) = &self.summaries else { return };
        let TakenOut { units, summarised, dropped } = summaries.take_out(passing, counts);
        self.shard.borrow_mut().summarise(passing.signal, summarised, dropped);
        if let Some(log) = self.log.as_ref().filter(|_| !origin.segment.is_none() && !units.is_empty()) {
            log.refuse_units(self.settings.pipeline, origin, units.into_iter());
        }
    }

    pub(super) fn hand_on_spans(
        self: &Rc<Self>,
        mut scanned: Scanned,
        origin: Origin,
        arrived: Nanos,
    ) -> Vec<Receiver<()>> {
        if scanned.refused > 0
            && let Some(log) = self.log.as_ref().filter(|_| !origin.segment.is_none())
        {
            log.refuse_units(self.settings.pipeline, origin, scanned.missing_positions().into_iter());
        }
        scanned.place(origin, arrived);
        self.shard.borrow_mut().accept(scanned.spans());
        // No await before the last batch is on its way: see `hand_over`.
        let batches = scanned.batches.into_iter();
        batches.filter_map(|(target, batch)| self.hand_over_spans(target, batch)).collect()
    }

    /// Gives a batch to the shard that owns it.
    fn hand_over_spans(self: &Rc<Self>, target: ShardIndex, batch: SpanBatch) -> Option<Receiver<()>> {
        let target = CoreNumber::from(target);
        if target == self.number {
            self.take(batch);
            return None;
        }
        self.hand_over(target, Message::Spans(batch))
    }

    /// Gives a part of a request to another core. When that core's queue is full, returns what to wait for: the request is
    /// accepted, so a sender that hangs up must not take it along, and a task of its own waits for room.
    pub(super) fn hand_over(self: &Rc<Self>, target: CoreNumber, part: Message) -> Option<Receiver<()>> {
        let part = self.peers.try_send(target, part).err()?;
        let (done, waiting) = bounded(1);
        let core = self.clone();
        spawn(async move {
            core.peers.send(target, part).await;
            drop(done);
        });
        Some(waiting)
    }

    /// Takes a batch, then judges what is due: verdicts keep pace with arrivals however busy the core is. The timer alone
    /// would get its turn once for many requests.
    pub(super) fn take(&self, batch: SpanBatch) {
        self.with_shard(|shard, now, outbox| {
            outbox.be_lenient();
            shard.take(now, batch, outbox);
            outbox.be_strict();
            if !self.is_replaying.get() {
                shard.tick(now, outbox);
            }
        });
    }
}
