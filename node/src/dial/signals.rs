//! Reads the signals of this node out of the books of its cores.

use crate::control::{ExporterSnapshot, Snapshot};
use crate::machine::processor_seconds;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tailwater_dial::{Flow, Reading};

/// Moments that are remembered of a queue.
/// At the bound: what is queued later counts as if it had been queued at the last of them, so that ages are never too low.
const MOMENTS_MAX: usize = 1024;

/// What is known from one reading to the next.
pub(super) struct Signals {
    /// What the process may use at once.
    processors: f64,
    /// When processor time was read, and what it was.
    before: Option<(Duration, f64)>,
    /// By pipeline, shard and exporter.
    queues: BTreeMap<(usize, usize, String), Queue>,
}

/// When how many requests had been queued, oldest first, as far as some of them have not left.
#[derive(Debug, Default)]
struct Queue {
    moments: VecDeque<(Duration, u64)>,
}

impl Queue {
    /// How long the oldest request has waited, in a queue that so many have come to and so many have left.
    fn age(&mut self, now: Duration, queued: u64, left: u64) -> Duration {
        if self.moments.back().is_none_or(|(_, known)| *known < queued) && self.moments.len() < MOMENTS_MAX {
            self.moments.push_back((now, queued));
        }
        while self.moments.front().is_some_and(|(_, known)| *known <= left) {
            self.moments.pop_front();
        }
        self.moments.front().map_or(Duration::ZERO, |(since, _)| now.saturating_sub(*since))
    }
}

impl Signals {
    /// Nothing was read yet on a node of so many shards.
    pub(super) fn new(shards: usize) -> Self {
        let available = std::thread::available_parallelism().map_or(shards, std::num::NonZero::get);
        let processors = u32::try_from(available.min(shards).max(1)).unwrap_or(u32::MAX);
        Self { processors: f64::from(processors), before: None, queues: BTreeMap::new() }
    }

    /// What the node is like now.
    pub(super) fn read(&mut self, now: Duration, unix_nano: u64, snapshots: &[Snapshot]) -> Reading {
        let first: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| snapshot.pipeline == 0).collect();
        let sum = |of: fn(&Snapshot) -> u64| first.iter().map(|snapshot| of(snapshot)).sum::<u64>();
        let spans = sum(|snapshot| snapshot.ledger.spans.received);
        let others = sum(|snapshot| snapshot.ledger.metrics.received + snapshot.ledger.logs.received);
        let all = |of: fn(&Snapshot) -> u64| snapshots.iter().map(of).sum::<u64>();
        let lanes = || snapshots.iter().filter_map(|snapshot| snapshot.log.as_ref()?.lane.as_ref());
        Reading {
            cpu: self.processors(now, processor_seconds()),
            memory: part(all(|snapshot| snapshot.buffer_bytes), all(|snapshot| snapshot.buffer_bytes_max)),
            log_bytes: part(
                lanes().map(|lane| lane.segment_bytes).sum(),
                lanes().map(|lane| lane.segment_bytes_max).sum(),
            ),
            queue_age: Some(self.queue_age(now, unix_nano, snapshots).as_secs_f64()),
            export_failures: snapshots.iter().flat_map(|snapshot| &snapshot.exporters).map(failures).sum(),
            items: spans + others,
            bytes: sum(|snapshot| snapshot.traffic.iter().map(|signal| signal.received).sum()),
            traces: sum(|snapshot| snapshot.ledger.traces.started),
            series: series(&first),
            spans,
            errors: sum(|snapshot| snapshot.ledger.traces.error_spans),
            services: services(&first),
        }
    }

    /// Nothing is read for now.
    pub(super) fn forget(&mut self) {
        self.before = None;
        self.queues.clear();
    }

    fn processors(&mut self, now: Duration, seconds: f64) -> Option<f64> {
        let (then, before) = self.before.replace((now, seconds))?;
        let elapsed = now.saturating_sub(then).as_secs_f64();
        (elapsed > 0.0).then(|| ((seconds - before) / elapsed / self.processors).clamp(0.0, 1.0))
    }

    /// Of what waits in queues and of what waits in the log the oldest.
    fn queue_age(&mut self, now: Duration, unix_nano: u64, snapshots: &[Snapshot]) -> Duration {
        let mut oldest = Duration::ZERO;
        for snapshot in snapshots {
            for exporter in &snapshot.exporters {
                let queue = self.queues.entry((snapshot.pipeline, snapshot.shard, exporter.name.clone())).or_default();
                let age = queue.age(now, counter(exporter, "requests_queued"), counter(exporter, "requests_left"));
                oldest = oldest.max(age);
            }
            let parked = snapshot.log.as_ref().filter(|log| log.parked > 0 && log.parked_since_unix_nano > 0);
            if let Some(log) = parked {
                oldest = oldest.max(Duration::from_nanos(unix_nano.saturating_sub(log.parked_since_unix_nano)));
            }
        }
        oldest
    }
}

/// Series that summaries tell, of spans and of merged metrics.
fn series(first: &[&Snapshot]) -> Option<f64> {
    let told = first.iter().filter_map(|snapshot| snapshot.summary.as_ref());
    let told = told.map(|summary| summary.span_series + summary.metric_series).reduce(|one, other| one + other)?;
    Some(f64::from(u32::try_from(told).unwrap_or(u32::MAX)))
}

/// What has come of each service that is watched, over all cores.
fn services(first: &[&Snapshot]) -> Vec<(Arc<str>, Flow)> {
    let mut flows: Vec<(Arc<str>, Flow)> = Vec::new();
    for (name, counts) in first.iter().flat_map(|snapshot| &snapshot.services) {
        let place = flows.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            flows.push((name.clone(), Flow::default()));
            flows.len() - 1
        });
        if let Some((_, flow)) = flows.get_mut(place) {
            flow.spans += counts.spans;
            flow.bytes += counts.bytes;
            flow.errors += counts.errors;
        }
    }
    flows
}

fn counter(exporter: &ExporterSnapshot, name: &str) -> u64 {
    exporter.counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

/// Attempts that failed, whatever became of their requests, and requests that found no room.
fn failures(exporter: &ExporterSnapshot) -> u64 {
    let kinds = ["requests_refused", "requests_exhausted", "requests_queue_full", "requests_parked", "retries"];
    kinds.into_iter().map(|kind| counter(exporter, kind)).sum()
}

/// A part of a whole; none where there is no whole.
fn part(taken: u64, whole: u64) -> Option<f64> {
    // Thousandths are exact enough for a level, and need no conversion that may lose something.
    let thousandths = u128::from(taken) * 1000 / u128::from(whole.max(1));
    (whole > 0).then(|| f64::from(u32::try_from(thousandths).unwrap_or(u32::MAX)) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{LaneSnapshot, LogSnapshot, SummarySnapshot};
    use tailwater_engine::ledger::Ledger;
    use tailwater_engine::shard::ServiceCounts;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_queue_is_as_old_as_its_oldest_request() {
        let mut queue = Queue::default();
        assert_eq!(queue.age(seconds(1), 5, 5), seconds(0), "all have left");
        assert_eq!(queue.age(seconds(2), 8, 5), seconds(0));
        assert_eq!(queue.age(seconds(3), 8, 5), seconds(1));
        assert_eq!(queue.age(seconds(4), 9, 5), seconds(2));
        assert_eq!(queue.age(seconds(5), 9, 8), seconds(1), "the ninth came a second ago");
        assert_eq!(queue.age(seconds(6), 9, 9), seconds(0));
        for moment in 0..5000 {
            queue.age(seconds(10 + moment), 10 + moment, 9);
        }
        assert_eq!(queue.moments.len(), MOMENTS_MAX);
        assert_eq!(queue.age(seconds(9000), 9000, 9), seconds(8990));
    }

    #[test]
    fn parts_are_of_all_cores_and_counts_of_the_first_pipeline() {
        let mut snapshot = Snapshot { buffer_bytes: 10, buffer_bytes_max: 100, ..Snapshot::default() };
        snapshot.ledger.spans.received = 7;
        snapshot.ledger.logs.received = 2;
        snapshot.ledger.traces.error_spans = 3;
        let lane = LaneSnapshot { segment_bytes: 30, segment_bytes_max: 40, ..LaneSnapshot::default() };
        snapshot.log = Some(LogSnapshot { lane: Some(lane), ..LogSnapshot::default() });
        let counters = vec![("retries", 4), ("requests_delivered", 9), ("requests_parked", 1)];
        snapshot.exporters = vec![ExporterSnapshot { counters, ..ExporterSnapshot::default() }];
        snapshot.ledger.traces.started = 5;
        snapshot.traffic[0].received = 60;
        snapshot.traffic[1].received = 40;
        snapshot.summary = Some(SummarySnapshot { span_series: 3, metric_series: 4, ..SummarySnapshot::default() });
        snapshot.services = vec![(Arc::from("shop"), ServiceCounts { spans: 6, bytes: 50, errors: 1 })];
        let second = Snapshot { shard: 1, summary: None, ledger: Ledger::default(), ..snapshot.clone() };
        let other = Snapshot { pipeline: 1, buffer_bytes: 50, log: None, ..snapshot.clone() };
        let mut signals = Signals::new(2);
        let reading = signals.read(seconds(1), 1, &[snapshot.clone(), other]);
        assert_eq!((reading.items, reading.spans, reading.errors, reading.export_failures), (9, 7, 3, 10));
        let both = signals.read(seconds(1), 1, &[snapshot.clone(), second]);
        assert_eq!((both.bytes, both.traces, both.series), (200, 5, Some(7.0)));
        assert_eq!(both.services, [(Arc::from("shop"), Flow { spans: 12, bytes: 100, errors: 2 })]);
        assert_eq!((reading.memory, reading.log_bytes, reading.cpu), (Some(0.3), Some(0.75), None));
        assert!(signals.read(seconds(2), 1, &[snapshot]).cpu.is_some_and(|share| (0.0..=1.0).contains(&share)));
        assert_eq!(signals.read(seconds(3), 1, &[Snapshot::default()]).log_bytes, None, "no log");
    }
}
