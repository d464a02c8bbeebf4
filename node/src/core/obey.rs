//! What the side thread asks of a core: its books, other rules, and the steps of a stop, which `crate::drain` puts in
//! their order.

use super::log::CoreLog;
use super::port::CoreEnvironment;
use super::{Core, PRESSURE_RECHECK};
use crate::control::{Change, ClusterSnapshot, Control, Explained, ExporterSnapshot, LogSnapshot, Snapshot};
use async_channel::{Receiver, Sender};
use std::rc::Rc;
use std::time::Duration;
use tailwater_dial::Dial;
use tailwater_engine::host::Host;
use tailwater_engine::rules::Left;
use tailwater_engine::vocabulary::TraceId;
use tailwater_runtime::executor::{sleep, spawn, yield_now};

/// How long what is to be logged at a stop waits for a disk that gives no segment: several times as long as until the next
/// attempt to open one.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(4);

impl Core {
    /// Starts the loops of this core.
    pub fn start(self: &Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        spawn(self.clone().obey(control, ended));
    }

    async fn obey(self: Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        while let Ok(request) = control.recv().await {
            match request {
                // An answer that nobody waits for any more is no failure.
                Control::Snapshot(answer) => _ = answer.try_send(self.snapshot()),
                Control::Opened(answer) => spawn(self.clone().tell_opened(answer)),
                Control::Written(ticket, fate) => self.with_shard(|_, _, outbox| outbox.written(ticket, fate)),
                Control::StopIntake(patience, answer) => spawn(self.clone().stop_intake(patience, answer)),
                Control::Explain(trace_id, answer) => _ = answer.try_send(self.explained(&trace_id)),
                Control::ReachBack(sought, answer) => {
                    let core = self.clone();
                    spawn(async move { _ = answer.try_send(core.reach_back(&sought).await) });
                }
                Control::KeepByHand(to_keep, answer) => {
                    let core = self.clone();
                    spawn(async move { _ = answer.try_send(core.keep_by_hand(&to_keep).await) });
                }
                Control::ComeAgain(body, answer) => {
                    let core = self.clone();
                    spawn(async move { _ = answer.try_send(core.come_again(body).await) });
                }
                Control::Reload(change, answer) => {
                    self.reload(&change).await;
                    _ = answer.try_send(());
                }
                Control::Dial(dial, answer) => {
                    self.follow_dial(&dial);
                    _ = answer.try_send(());
                }
                Control::Watch(services, answer) => {
                    self.with_shard(|shard, _, _| shard.watch(&services));
                    _ = answer.try_send(());
                }
                Control::Decide(answer) => {
                    spawn(self.clone().decide_all(answer));
                }
                Control::EndSummaries(judges, answer) => {
                    let core = self.clone();
                    spawn(async move {
                        if judges {
                            core.end_held_logs().await;
                        }
                        core.end_summaries().await;
                        _ = answer.try_send(());
                    });
                }
                Control::Flush(answer) => {
                    spawn(self.clone().send_all(answer));
                }
                Control::EndRecall(answer) => {
                    spawn(self.clone().end_recall(answer));
                }
                Control::CloseLog(answer) => {
                    spawn(self.clone().close_log(answer));
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

    fn explained(&self, trace_id: &TraceId) -> Explained {
        self.with_shard(|shard, now, _| Explained {
            now,
            explanation: shard.explain(now, trace_id),
            owner: shard.owner(trace_id),
        })
    }

    /// Does less, or as much as ever.
    fn follow_dial(&self, dial: &Dial) {
        let left = Left { limits: dial.budget, percentages: dial.percentage };
        self.with_shard(|shard, _, _| shard.leave(left));
        if self.settings.pipeline == 0 {
            self.with_summaries(|summaries, _| summaries.follow(dial));
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
            pipeline: self.settings.pipeline,
            shard: self.number.position(),
            ledger: shard.ledger().clone(),
            services: shard.watched().cloned().collect(),
            marks: shard.mark_counts(),
            unreachable_traces: shard.unreachable_traces(),
            unranked_traces: shard.unranked_traces(),
            randomness_forgotten: shard.randomness_forgotten(),
            quantile_keys_refused: shard.quantile_keys_refused(),
            buffer_bytes: shard.buffer_bytes() as u64,
            buffer_bytes_max: shard.buffer_bytes_max() as u64,
            exporters: exporters.collect(),
            file: outbox.file_counters(),
            traffic: self.traffic.snapshot(),
            receivers: self.receivers.snapshots(),
            log: self
                .log
                .as_ref()
                .map(|log| LogSnapshot { is_recalling: self.is_recalling(), ..log.snapshot(self.settings.pipeline) }),
            held_logs: self.held_logs.as_ref().map(|held| held.snapshot()),
            summary: self.summaries.as_ref().filter(|_| self.settings.pipeline == 0).map(|own| own.snapshot()),
            cluster: shard.cluster().map(|cluster| ClusterSnapshot {
                counts: cluster.counts,
                docket_traces: cluster.docket.len() as u64,
                told_lost: self.told_lost(),
            }),
        }
    }

    /// Takes a change over, in steps that let other tasks run where traces have to be judged first.
    async fn reload(&self, change: &Change) {
        while !self.with_shard(|shard, now, outbox| shard.reload(now, &change.rules, &change.plan, outbox)) {
            yield_now().await;
        }
        if let Some(log) = &self.log {
            let names = change.rules.policy_names().map(String::from);
            log.lane.borrow_mut().journal(self.settings.pipeline).set_told(names, change.rules.all_annotations());
        }
        self.loads.forget();
        self.pressure.set_blocks_on_overflow(change.blocks_on_overflow);
    }

    async fn tell_opened(self: Rc<Self>, answer: Sender<()>) {
        self.receivers.opened().await;
        _ = answer.try_send(());
    }

    /// Lets senders finish what they have begun, then closes the door.
    async fn stop_intake(self: Rc<Self>, patience: Duration, answer: Sender<()>) {
        if !self.receivers.close(patience).await {
            tracing::warn!(core = self.number.position(), "some senders keep their connections; going on without them");
        }
        _ = answer.try_send(());
    }

    /// Judges everything, as fast as the exporters take what is kept, in steps that let other tasks run. Ends before that
    /// when nobody waits for it any more: the time for it is over.
    async fn decide_all(self: Rc<Self>, answer: Sender<()>) {
        while let Some(message) = self.peers.try_receive() {
            self.receive(message);
        }
        while !answer.is_closed() && self.with_shard(|shard, now, outbox| shard.drain(now, outbox)) {
            if self.outbox.borrow_mut().has_room() {
                yield_now().await;
            } else {
                sleep(PRESSURE_RECHECK).await;
            }
        }
        _ = answer.try_send(());
    }

    /// Waits until nothing is with the exporters or can be given to them.
    async fn send_all(self: Rc<Self>, answer: Sender<()>) {
        let exporters = self.outbox.borrow().exporters().to_vec();
        match self.log {
            // What fails now stays in the log: the next start sends it.
            Some(_) => exporters.iter().for_each(|exporter| exporter.end()),
            None => exporters.iter().for_each(|exporter| exporter.ask_again()),
        }
        while !answer.is_closed() && (self.shard.borrow().ledger().has_exporting() || self.is_recalling()) {
            // Nothing is judged any more that would fill a batch, and before the log is read nothing ticks.
            self.with_shard(|shard, _, outbox| shard.send_gathered(outbox));
            sleep(PRESSURE_RECHECK).await;
        }
        _ = answer.try_send(());
    }

    /// Whether anything of this core's log is being sent again, or will be: somebody takes it.
    fn is_recalling(&self) -> bool {
        let Some(log) = &self.log else { return false };
        let will_take = |destinations| self.outbox.borrow().will_take_back(destinations);
        let has_parked = || log.lane.borrow().segments.has_parked(self.settings.pipeline, will_take);
        self.is_recalling.get() || !self.ends_recall.get() && has_parked()
    }

    /// What waits in the log stays there for the next start: what other cores park of this core's segments while the log is
    /// closed would else be delivered, and nobody would log that it was.
    async fn end_recall(self: Rc<Self>, answer: Sender<()>) {
        self.ends_recall.set(true);
        while self.is_recalling.get() {
            sleep(PRESSURE_RECHECK).await;
        }
        _ = answer.try_send(());
    }

    /// Has everything that follows from what is settled logged.
    async fn close_log(self: Rc<Self>, answer: Sender<()>) {
        if let Some(log) = &self.log {
            self.ends_recall.set(true);
            while let Some(message) = self.peers.try_receive() {
                self.receive(message);
            }
            // What finds a full queue is sent when its owner has taken some.
            while self.log_all(log).await && self.has_units_to_send() {
                sleep(PRESSURE_RECHECK).await;
            }
            // The journal says nothing of a segment in which all is done with: the next start would read it if it stayed.
            while !log.has_retired_all() {
                sleep(PRESSURE_RECHECK).await;
            }
        }
        _ = answer.try_send(());
    }

    /// Has all verdicts and resolutions logged, and returns once they are durable, or with false if the disk has given no
    /// segment for them for long. One that is wanted for requests alone is not missed here.
    pub(super) async fn log_all(self: &Rc<Self>, log: &Rc<CoreLog>) -> bool {
        let (pipeline, mut waited) = (self.settings.pipeline, Duration::ZERO);
        loop {
            if pipeline == 0 {
                self.with_summaries(|summaries, log| _ = summaries.checkpoint(log));
            }
            log.flush_journal(pipeline);
            log.want_sync();
            self.send_units();
            if log.lane.borrow_mut().is_journal_idle(pipeline) {
                return true;
            }
            let is_moving = log.lane.borrow_mut().journal(pipeline).stream().is_moving();
            waited = if is_moving || !log.is_failing() { Duration::ZERO } else { waited + PRESSURE_RECHECK };
            if waited >= SEGMENT_PATIENCE {
                return false;
            }
            sleep(PRESSURE_RECHECK).await;
        }
    }
}
