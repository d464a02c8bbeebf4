//! A simulated node starts on what its disk holds, and ends without a word.

use super::super::events::What;
use super::super::policies::PolicySet;
use super::super::scenario::Policies;
use super::super::seen::Seen;
use super::super::verdict::{Ruled, adopted, kept_by};
use super::logged::{CoreLog, FLUSH_US};
use super::{Around, Core, Node, Outbox, PAUSE_US, SEND_US, TICK_US};
use crate::disk::FileKey;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tailwater_engine::log::format::{Record, SegmentHeader, SegmentKind, VerdictEntry};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::read::{Found, Records};
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Nanos, Origin};

/// How long things take, microseconds: the reading of a segment; a run before it crashes, and one that crashes early.
const REPLAY_US: Range<u64> = 500..60_000;
const RUN_US: Range<u64> = 1_000..4_000_000;
const SHORT_RUN_US: Range<u64> = 1_000..150_000;
/// Cores that a node starts again on, and one more.
const CORES_MAX: u16 = 4;

impl Node {
    /// The process starts, at first or again.
    pub fn start(&mut self, around: &mut Around<'_>) {
        self.now = self.scenario.clock.read(around.now);
        let count = if self.run == 0 { self.scenario.cores } else { self.random.u16(1..CORES_MAX) };
        let first = match self.scenario.policies {
            Policies::Fixed(set) => set,
            Policies::Changing(_) => PolicySet::Marked,
            Policies::OfRuns => PolicySet::OfRun(self.run),
        };
        let mut rules = match self.scenario.cluster {
            Some(cluster) => first.rules(None, &mut Rng::with_seed(cluster.seed)).named_by(&format!("{first:?}")),
            None => first.rules(None, &mut self.random),
        };
        let verdicts = self.survey(&mut rules);
        let rules = Arc::new(rules);
        self.generations = vec![(first, rules.clone())];
        let keys = self.log.as_ref().map_or_else(Vec::new, |log| log.disk.keys());
        let first_number = keys.iter().map(|(_, number)| number + 1).max().unwrap_or(1);
        let nonce_seed = self.random.u64(..);
        let log_of = |core| {
            let plan = self.scenario.lane_plan(core, count, first_number, nonce_seed);
            self.log.is_some().then(|| CoreLog::new(plan, &rules))
        };
        self.cores = (0..count)
            .map(|core| Core {
                shard: Shard::new(self.scenario.shard_plan(core, count, self.seed), rules.clone()),
                outbox: Outbox::default(),
                requests: VecDeque::new(),
                log: log_of(core),
            })
            .collect();
        self.restore(&verdicts);
        if let Some(log) = &mut self.log {
            log.to_replay = keys.into_iter().filter(|(kind, _)| *kind == SegmentKind::Requests).collect();
        }
        self.join(around);
        self.plan_all(around);
        self.plan_going(around);
    }

    fn plan_all(&mut self, around: &mut Around<'_>) {
        for core in 0..self.cores.len() {
            self.plan(SEND_US, What::Send(core), around);
            self.plan(TICK_US, What::Tick(core), around);
            if self.log.is_some() {
                self.plan(FLUSH_US, What::Flush(core), around);
                self.follow(core, around);
            }
        }
        if self.is_starting() {
            self.plan(REPLAY_US, What::Replay, around);
        }
        if let Policies::Changing(every_ms) = self.scenario.policies {
            self.plan(1000..every_ms * 2000, What::Reload, around);
        }
        if self.scenario.pause_ms_max > 0 {
            self.plan(PAUSE_US, What::Pause, around);
        }
        if self.crashes_left > 0 {
            let run = if self.random.u8(0..3) == 0 { SHORT_RUN_US } else { RUN_US };
            self.plan(run, What::Crash, around);
        }
    }

    /// Reads the journals. Returns the verdicts by the numbers of the rules in force.
    fn survey(&mut self, rules: &mut Rules) -> Vec<VerdictEntry> {
        let Some(log) = &mut self.log else { return Vec::new() };
        log.recovered = Recovered::default();
        log.old_journals = log.disk.keys().into_iter().filter(|(kind, _)| *kind == SegmentKind::Journal).collect();
        for key in &log.old_journals {
            let file = log.disk.read(*key).unwrap();
            log.recovered.begin_segment();
            for found in Records::open(&file).unwrap().1 {
                if let Found::Record { record, .. } = found {
                    log.recovered.take(&record);
                }
            }
        }
        adopted(&log.recovered, rules)
    }

    fn restore(&mut self, verdicts: &[VerdictEntry]) {
        let Some(Recovered { verdicts: entries, .. }) = self.log.as_ref().map(|log| &log.recovered) else { return };
        let recovered = &self.log.as_ref().expect("the node has a log").recovered;
        let known: BTreeMap<_, _> =
            entries.iter().map(|entry| (entry.trace_id, Ruled::recovered(entry, recovered))).collect();
        let route = Route::new(self.scenario.shard_plan(0, 1, self.seed).hash_seed, self.cores.len() as u16);
        for entry in verdicts {
            let core = &mut self.cores[usize::from(route.shard(route.hash(&entry.trace_id)).0)];
            core.shard.restore(&entry.trace_id, kept_by(entry));
            let log = core.log.as_mut().expect("the node has a log");
            log.lane.journal().note(*entry);
            log.noted.push((entry.trace_id, known[&entry.trace_id].clone()));
        }
        self.seen.push(Seen::Started(known));
    }

    /// Reads one segment of the last run.
    pub(super) fn replay_next(&mut self, around: &mut Around<'_>) {
        let number = self.random.usize(0..self.cores.len());
        if let Some(key) = self.log.as_mut().and_then(|log| log.to_replay.pop()) {
            self.replay(number, key, around);
        }
        if self.is_starting() {
            self.plan(REPLAY_US, What::Replay, around);
        }
    }

    fn replay(&mut self, number: usize, key: FileKey, around: &mut Around<'_>) {
        let log = self.log.as_mut().expect("the node has a log");
        let file = log.disk.read(key).unwrap();
        let header = SegmentHeader::decode(&file).unwrap();
        assert_eq!((header.kind, header.number), key);
        let resolved = log.recovered.resolved.remove(&key.1).unwrap_or_default();
        let Some(CoreLog { lane, .. }) = &mut self.cores[number].log else { return };
        let handle = lane.segments.add(key.1, file.len() as u64).unwrap();
        lane.segments.restore(handle, resolved, Vec::new());
        for found in Records::new(&file, &header) {
            let Found::Record { offset, record: Record::Request(request), .. } = found else { continue };
            let Core { shard, log: Some(CoreLog { lane, .. }), .. } = &mut self.cores[number] else { continue };
            let (first, units) = (request.first_unit, request.units);
            lane.segments.recovered(handle, first, units, offset, request.arrived_unix_nano);
            let mut scanned = shard.scan_again(&Bytes::copy_from_slice(request.body)).unwrap();
            let segment = lane.segments.get(handle.slot()).unwrap();
            scanned.retain(|position| !segment.is_resolved(first + position));
            let origin = Origin { segment: handle, first_unit: first };
            self.admit(number, scanned, origin, Nanos(request.arrived_unix_nano), around);
        }
        if let Some(CoreLog { lane, .. }) = &mut self.cores[number].log {
            lane.segments.close(key.1);
        }
        self.follow(number, around);
    }

    /// The process is killed or the power goes. Senders that were not answered send again.
    pub(super) fn crash(&mut self, around: &mut Around<'_>) {
        self.crashes_left -= 1;
        let cuts_power = self.scenario.log.as_ref().is_some_and(|logged| logged.cuts_power);
        let in_flight: Vec<_> =
            self.cores.iter().filter_map(|core| core.log.as_ref()).flat_map(CoreLog::in_flight).collect();
        let log = self.log.as_mut().expect("who crashes has a log");
        if cuts_power {
            log.disk.cut_power(&in_flight, &mut self.random);
        } else {
            log.disk.kill(&in_flight, &mut self.random);
        }
        self.seen.push(Seen::Crashed { cuts_power });
        for core in &mut self.cores {
            let staged = core.log.as_mut().map_or_else(Vec::new, |log| log.lane.take_staged());
            let spans: Vec<_> = staged.into_iter().flat_map(|payload| payload.spans).collect();
            self.seen.push(Seen::SentAgain(spans.clone()));
            self.senders.come_back(spans);
        }
        around.network.disconnect(self.number);
        self.run += 1;
        self.start(around);
    }
}
