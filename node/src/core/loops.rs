//! The tasks of a core that run as long as it does: exporters, messages of other cores, the clock, the log.

use super::log::CoreLog;
use super::port::CoreEnvironment;
use super::{Core, Message, recall};
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::shard::TICK;
use tailwater_runtime::allocator;
use tailwater_runtime::executor::{sleep, spawn, yield_now};

/// How often freed memory is given back to the system.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(3);
/// Messages from other cores taken in one go before other tasks run.
const TAKE_IN_A_ROW_MAX: usize = 16;

impl Core {
    /// Starts what works beside the receivers: exporters, the mesh, the clock, the journal. Before a replay.
    pub fn start_inside(self: &Rc<Self>) {
        let exporters = self.outbox.borrow().exporters().to_vec();
        for exporter in exporters {
            spawn(exporter.clone().look_up(Rc::new(CoreEnvironment(self.clone()))));
            for worker in 0..exporter.workers() {
                spawn(exporter.clone().work(
                    self.number.position() * exporter.workers() + worker,
                    Rc::new(CoreEnvironment(self.clone())),
                ));
            }
        }
        if let Some((plan, view)) = self.joins.take() {
            self.with_shard(|shard, now, _| shard.join(now, plan, view));
        }
        spawn(self.clone().receive_from_cores());
        spawn(self.clone().tick());
        if self.settings.pipeline == 0 {
            spawn(self.clone().give_memory_back());
            if let Some(summaries) = &self.summaries {
                spawn(self.clone().keep_summaries(summaries.clone()));
            }
            if self.held_logs.is_some() {
                spawn(self.clone().keep_held_logs());
            }
        }
        // A single core has other nodes to share with, if it is in a cluster.
        if self.peers.cores() > 1 || self.shard.borrow().cluster().is_some() {
            spawn(self.clone().share_load());
        }
        if let Some(log) = &self.log {
            spawn(self.clone().keep_journal(log.clone()));
            spawn(recall::recall(self.clone(), log.clone()));
        }
    }

    async fn receive_from_cores(self: Rc<Self>) {
        loop {
            let message = self.peers.receive().await;
            self.receive(message);
            for _ in 1..TAKE_IN_A_ROW_MAX {
                match self.peers.try_receive() {
                    Some(message) => self.receive(message),
                    None => break,
                }
            }
            yield_now().await;
        }
    }

    async fn tick(self: Rc<Self>) {
        loop {
            sleep(Duration::from_nanos(TICK.0)).await;
            self.send_units();
            if self.is_replaying.get() {
                continue;
            }
            self.note_pressure();
            if self.settings.decides_early && self.log.as_ref().is_some_and(|log| self.fills(log)) {
                self.with_shard(|shard, now, outbox| shard.decide_early(now, outbox));
                for other in self.peers.others() {
                    // A core whose queue is full is told at the next tick.
                    _ = self.peers.try_send(other, Message::LogFull);
                }
            }
            while self.with_shard(|shard, now, outbox| shard.tick(now, outbox)) {
                yield_now().await;
            }
        }
    }

    /// Whether the log is full and this pipeline has something left to do in its oldest segment: that of one that has not would
    /// be judged early for nothing.
    fn fills(&self, log: &CoreLog) -> bool {
        let lane = log.lane.borrow();
        lane.is_full() && lane.segments.holds_oldest(self.settings.pipeline)
    }

    /// Has verdicts and resolutions logged, and what was written made durable, in equal intervals.
    async fn keep_journal(self: Rc<Self>, log: Rc<CoreLog>) {
        loop {
            sleep(self.settings.journal_interval).await;
            self.tell_partly_done();
            log.flush_journal(self.settings.pipeline);
            if self.settings.pipeline == 0 {
                // The requests are those of all pipelines.
                log.want_sync();
            }
        }
    }

    /// Gives memory back that a burst has left behind, once a while.
    async fn give_memory_back(self: Rc<Self>) {
        loop {
            sleep(GIVE_BACK_INTERVAL).await;
            allocator::give_back();
        }
    }
}
