//! A simulated node starts on what its disk holds, and ends without a word.

use super::super::events::What;
use super::super::policies::PolicySet;
use super::super::scenario::Policies;
use super::super::seen::Seen;
use super::super::verdict::{Ruled, adopted, kept_by};
use super::logged::{CoreLog, FLUSH_US, Noted};
use super::{Around, Core, Node, Outbox, PAUSE_US, SEND_US, TICK_US};
use crate::disk::FileKey;
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tailwater_engine::log::format::{Record, SegmentHeader, SegmentKind, VerdictEntry};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::past::PastSegment;
use tailwater_engine::log::read::{Found, Records};
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Nanos, Origin};

/// How long things take, microseconds: the reading of a segment; a run before it crashes, and one that crashes early.
pub(super) const REPLAY_US: Range<u64> = 500..60_000;
const RUN_US: Range<u64> = 1_000..4_000_000;
const SHORT_RUN_US: Range<u64> = 1_000..150_000;
/// Until a node of a cluster that was killed starts again.
const DOWN_US: Range<u64> = 1_000..8_000_000;
/// Cores that a node starts again on, and one more.
const CORES_MAX: u16 = 4;

impl Node {
    /// The process starts, at first or again.
    pub fn start(&mut self, around: &mut Around<'_>) {
        self.now = self.scenario.clock.read(around.now);
        self.is_down = false;
        let count = if self.run == 0 { self.scenario.cores } else { self.random.u16(1..CORES_MAX) };
        let first = match self.scenario.policies {
            Policies::Fixed(set) => set,
            Policies::Changing(_) => PolicySet::Marked,
            Policies::OfRuns => PolicySet::OfRun(self.run),
        };
        let pipelines = self.scenario.pipelines;
        let mut generations = Vec::new();
        for pipeline in 0..pipelines {
            // Others in each pipeline.
            let set = match first {
                PolicySet::OfRun(run) => PolicySet::OfRun(run + u32::try_from(pipeline).unwrap()),
                set => set,
            };
            let rules = match self.scenario.cluster {
                Some(cluster) => set.rules(None, &mut Rng::with_seed(cluster.seed)).named_by(&format!("{set:?}")),
                None => set.rules(None, &mut self.random),
            };
            generations.push((set, rules));
        }
        let verdicts = self.survey(&mut generations);
        let generations: Vec<_> = generations.into_iter().map(|(set, rules)| (set, Arc::new(rules))).collect();
        let rules: Vec<Arc<Rules>> = generations.iter().map(|(_, rules)| rules.clone()).collect();
        self.generations = generations.into_iter().map(|generation| vec![generation]).collect();
        let keys = self.log.as_ref().map_or_else(Vec::new, |log| log.disk.keys());
        let past = self.log.as_ref().map_or_else(Vec::new, |log| log.disk.past());
        let numbers = keys.iter().map(|(_, number)| *number).chain(past.iter().map(|(number, _)| *number));
        let first_number = numbers.map(|number| number + 1).max().unwrap_or(1);
        let nonce_seed = self.random.u64(..);
        let log_of = |core| {
            let plan = self.scenario.lane_plan(core, count, first_number, nonce_seed);
            self.log.is_some().then(|| CoreLog::new(plan, &rules))
        };
        self.lanes = (0..count).filter_map(log_of).collect();
        self.find_past();
        let core = |(rules, core): (&Arc<Rules>, u16)| Core {
            shard: Shard::new(self.scenario.shard_plan(core, count, self.seed), rules.clone()),
            outbox: Outbox::default(),
            requests: VecDeque::new(),
            noted: Noted::default(),
            inbox: VecDeque::new(),
        };
        self.cores = rules.iter().flat_map(|rules| (0..count).map(move |core| (rules, core))).map(core).collect();
        self.route = Route::new(self.scenario.shard_plan(0, 1, self.seed).hash_seed, count);
        self.begin_counting(nonce_seed);
        verdicts.iter().enumerate().for_each(|(pipeline, verdicts)| self.restore(pipeline, verdicts));
        if let Some(log) = &mut self.log {
            log.to_replay = keys.into_iter().filter(|(kind, _)| *kind == SegmentKind::Requests).collect();
        }
        self.join(around);
        self.plan_all(around);
        self.plan_going(around);
    }

    fn plan_all(&mut self, around: &mut Around<'_>) {
        for executor in 0..self.executors() {
            self.plan(SEND_US, What::Send(executor), around);
        }
        for core in 0..self.cores.len() {
            self.plan(TICK_US, What::Tick(core), around);
            if self.log.is_some() {
                self.plan(FLUSH_US, What::Flush(core), around);
            }
        }
        for executor in 0..self.lanes.len() {
            self.follow(executor, around);
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
            // In the first run of a cluster's node nothing is sent for a while.
            let begins_us =
                self.scenario.cluster.filter(|_| self.run == 0).map_or(0, |cluster| cluster.begins_ms * 1000);
            self.plan(run.start + begins_us..run.end + begins_us, What::Crash, around);
        }
    }

    /// What is past is known as such, and nothing of it is read.
    fn find_past(&mut self) {
        let Some(log) = &self.log else { return };
        for (number, bytes) in log.disk.past() {
            let executor = self.random.usize(0..self.lanes.len());
            let begun = self.now.0.saturating_sub(self.random.u64(0..2_000_000_000));
            self.lanes[executor].lane.past.add(PastSegment::former(number, 0, bytes, (begun, self.now.0)));
        }
    }

    /// Reads the journals. Returns the verdicts of each pipeline by the numbers of its rules in force.
    fn survey(&mut self, generations: &mut [(PolicySet, Rules)]) -> Vec<Vec<VerdictEntry>> {
        let Some(log) = &mut self.log else { return Vec::new() };
        log.recovered = generations.iter().map(|_| Recovered::default()).collect();
        log.old_journals = log.disk.keys().into_iter().filter(|(kind, _)| *kind == SegmentKind::Journal).collect();
        for key in &log.old_journals {
            let file = log.disk.read(*key).unwrap();
            // One that was never opened well says nothing.
            let recovered = &mut log.recovered[log.journals.get(&key.1).copied().unwrap_or(0)];
            recovered.begin_segment();
            for found in Records::open(&file).unwrap().1 {
                if let Found::Record { record, .. } = found {
                    recovered.take(&record);
                }
            }
        }
        let tallies = log.recovered.first_mut().map(|recovered| std::mem::take(&mut recovered.tallies));
        self.counted.set_former(tallies.unwrap_or_default().finish());
        log.recovered.iter().zip(generations).map(|(recovered, (_, rules))| adopted(recovered, rules)).collect()
    }

    fn restore(&mut self, pipeline: usize, verdicts: &[VerdictEntry]) {
        let Some(recovered) = self.log.as_ref().map(|log| &log.recovered[pipeline]) else { return };
        let entries = &recovered.verdicts;
        let known: BTreeMap<_, _> =
            entries.iter().map(|entry| (entry.trace_id, Ruled::recovered(entry, recovered))).collect();
        for entry in verdicts {
            let executor = self.seat_of(&entry.trace_id).0;
            let place = self.place(pipeline, executor);
            self.cores[place].shard.restore(&entry.trace_id, kept_by(entry));
            self.lanes[executor].lane.journal(pipeline).note(*entry);
            self.cores[place].noted.verdicts.push((entry.trace_id, known[&entry.trace_id].clone()));
        }
        self.seen.push((pipeline, Seen::Started(known)));
    }

    /// Reads one segment of the last run.
    pub(super) fn replay_next(&mut self, around: &mut Around<'_>) {
        let number = self.random.usize(0..self.executors());
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
        let pipelines = self.scenario.pipelines;
        assert_eq!(SegmentHeader::pipelines(&file).len(), pipelines);
        let handle = self.lanes[number].lane.segments.add(key.1, 0, file.len() as u64).unwrap();
        let counted = self.counted_before(key.1);
        self.lanes[number].lane.segments.count(handle, counted);
        let log = self.log.as_mut().expect("the node has a log");
        for (pipeline, recovered) in log.recovered.iter_mut().enumerate() {
            let resolved = recovered.resolved.remove(&key.1).unwrap_or_default();
            self.lanes[number].lane.segments.restore(handle, pipeline, resolved, Vec::new());
        }
        for found in Records::new(&file, &header) {
            let Found::Record { offset, record: Record::Request(request), .. } = found else { continue };
            let (first, units, takers) = (request.first_unit, request.units, request.takers);
            let arrived = request.arrived_unix_nano;
            self.lanes[number].lane.segments.recovered(handle, (first, units), takers, offset, arrived);
            let origin = Origin { segment: handle, first_unit: first };
            if self.lanes[number].lane.segments.get(handle.slot()).unwrap().is_uncounted(first) {
                self.count_body(number, request.body);
                self.lanes[number].lane.count(origin, units);
            }
            for pipeline in (0..pipelines).filter(|pipeline| takers.has(*pipeline)) {
                let place = self.place(pipeline, number);
                let body = Bytes::copy_from_slice(request.body);
                let mut scanned = self.cores[place].shard.scan_again(&body).unwrap();
                let books = self.lanes[number].lane.segments.get(handle.slot()).unwrap().of(pipeline);
                scanned.retain(|position| !books.is_resolved(first + position));
                self.admit(place, scanned, origin, Nanos(arrived), around);
            }
        }
        self.lanes[number].lane.segments.close_recovered(handle);
        self.follow(number, around);
    }

    /// The process is killed or the power goes. Senders that were not answered send again.
    pub(super) fn crash(&mut self, around: &mut Around<'_>) {
        self.crashes_left -= 1;
        let cuts_power = self.scenario.log.as_ref().is_some_and(|logged| logged.cuts_power);
        let in_flight: Vec<_> = self.lanes.iter().flat_map(CoreLog::in_flight).collect();
        let log = self.log.as_mut().expect("who crashes has a log");
        if cuts_power {
            log.disk.cut_power(&in_flight, &mut self.random);
        } else {
            log.disk.kill(&in_flight, &mut self.random);
        }
        self.see_all(|| Seen::Crashed { cuts_power });
        for executor in 0..self.lanes.len() {
            let staged = self.lanes[executor].lane.take_staged();
            let spans: Vec<_> = staged.into_iter().flat_map(|payload| payload.spans).collect();
            self.see_all(|| Seen::SentAgain(spans.clone()));
            self.senders.come_back(spans);
        }
        around.network.disconnect(self.number);
        self.forget_run();
        if self.scenario.cluster.is_none() {
            return self.start(around);
        }
        self.is_down = true;
        self.plan(DOWN_US, What::Come, around);
    }

    /// What the process had is gone, but for what it counted.
    pub(super) fn forget_run(&mut self) {
        self.count_run();
        self.run += 1;
        self.cores.clear();
        self.lanes.clear();
        self.gossip = None;
    }

    /// What the process counts is still known when it is over.
    pub(super) fn count_run(&mut self) {
        self.counts_before = self.cluster_counts();
        self.hub_before = self.hub_met();
    }

    /// When it is to go.
    fn plan_going(&mut self, around: &mut Around<'_>) {
        if let Some((goes_ms, _)) = self.scenario.cluster.and_then(|cluster| cluster.goes) {
            around.events.plan(around.now.plus(Nanos::from_millis(goes_ms)), self.number, self.run, What::Go);
        }
    }
}
