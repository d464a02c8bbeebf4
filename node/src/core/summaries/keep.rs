//! Looks after the windows of summaries: closes them, has them collected, and sends what comes of them until it is delivered.

use super::super::{Core, Message};
use super::{CHECKPOINT, Ending, RECHECK, Summaries, count};
use crate::numbers::CoreNumber;
use async_channel::Receiver;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::host::{ExportRequest, Host};
use tailwater_engine::vocabulary::Destinations;
use tailwater_proto::otlp::Signal;
use tailwater_rollup::windows::Body;
use tailwater_runtime::executor::{sleep, spawn};

impl Core {
    /// Looks after the windows of this executor, until the node ends. Of all its cores the first pipeline's does.
    pub(in super::super) async fn keep_summaries(self: Rc<Self>, summaries: Rc<Summaries>) {
        let log = self.log.as_ref().map(|log| &log.lane);
        let (mut since, mut wait) = (Duration::ZERO, Duration::ZERO);
        summaries.checkpoint(log);
        loop {
            sleep(RECHECK).await;
            wait = wait.saturating_sub(RECHECK);
            since += RECHECK;
            if since >= CHECKPOINT {
                since = Duration::ZERO;
                self.give_skeletons(&summaries);
                summaries.checkpoint(log);
            }
            // Before all of a former run's log is read, what it had counted is not complete.
            if self.is_replaying.get() {
                continue;
            }
            self.follow_summaries(&summaries, wait.is_zero());
            if let Some(settlement) = self.summary_settled.take() {
                wait = summaries.sent(&settlement);
            }
        }
    }

    /// Has what the shard has seen of dropped traces counted.
    pub(in super::super) fn give_skeletons(&self, summaries: &Summaries) {
        let mut shard = self.shard.borrow_mut();
        if let Some(partial) = shard.take_skeletons() {
            summaries.add_skeletons(partial, shard.skeletons_overflowed());
        }
    }

    /// Does what can be done of a window now.
    fn follow_summaries(self: &Rc<Self>, summaries: &Rc<Summaries>, may_send: bool) {
        let log = self.log.as_ref().map(|log| &log.lane);
        let durable = log.map_or(u64::MAX, |log| log.borrow().tally_durable());
        if let Some(window) = summaries.to_close() {
            self.tell_all(|| Message::CloseWindow(window));
            self.give_skeletons(summaries);
            summaries.close(window, log);
        }
        if let Some((window, parts)) = summaries.take_given(durable) {
            if self.number == CoreNumber::FIRST {
                summaries.collect(self.number, window, &parts, log);
            } else {
                let (core, number) = (self.clone(), self.number);
                let message = Message::WindowGiven(number, window, parts);
                spawn(async move { core.peers.send(CoreNumber::FIRST, message).await });
            }
        }
        if may_send && let Some((window, body)) = summaries.to_send(durable) {
            self.tell_all(|| Message::WindowEmitted(window));
            if let Some(body) = body {
                self.send_summary(body);
            }
        }
    }

    /// Sends a message to the other cores of the pipeline, when they have room.
    fn tell_all(self: &Rc<Self>, message: impl Fn() -> Message) {
        for other in self.peers.others() {
            let (core, message) = (self.clone(), message());
            spawn(async move { core.peers.send(other, message).await });
        }
    }

    fn send_summary(&self, body: Body) {
        let Body { signal, items, bytes } = body;
        let request = ExportRequest {
            signal,
            body: Bytes::from(bytes),
            items,
            units: Vec::new(),
            destinations: Destinations::ALL,
            is_summary: true,
        };
        self.with_shard(|_, _, outbox| outbox.export(request));
    }

    /// Sends all that is counted, as far as exporters take it: the node ends.
    pub(in super::super) async fn end_summaries(self: &Rc<Self>) {
        let Some(summaries) = self.summaries.clone().filter(|_| self.settings.pipeline == 0) else { return };
        if summaries.ending.get() == Ending::No {
            summaries.ending.set(Ending::Wanted);
            summaries.give_up_waiting();
        }
        while !summaries.has_ended() {
            sleep(RECHECK).await;
        }
    }

    /// Counts a request of a former run that is not counted yet.
    /// Returns what to wait for.
    pub(in super::super) fn count_again(
        self: &Rc<Self>,
        summaries: &Summaries,
        signal: Signal,
        body: Option<&Bytes>,
    ) -> Vec<Receiver<()>> {
        if signal != Signal::Traces {
            let scan = |body| self.shard.borrow_mut().scan_request_again(signal, body, None).ok();
            match body.and_then(scan).and_then(|scanned| scanned.passing) {
                Some(mut passing) => _ = summaries.take_out(&mut passing, true),
                None => count(&summaries.counters.uncounted, 1),
            }
            return Vec::new();
        }
        let walk = || {
            let mut tally = summaries.span_tally();
            self.shard.borrow_mut().scan_request_again(signal, body?, tally.as_deref_mut()).ok()
        };
        let Some(mut scanned) = walk() else {
            count(&summaries.counters.uncounted, 1);
            return Vec::new();
        };
        let others = summaries.count(&mut scanned, |_| walk());
        others.into_iter().filter_map(|(core, ends)| self.hand_over(core, Message::Ends(ends))).collect()
    }
}
