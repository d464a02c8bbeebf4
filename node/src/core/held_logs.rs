//! Log records that share the fate of their trace. A request of logs is asked about at once, and again when traces take to be
//! judged: records of a kept trace go on, those of a dropped one are told by their patterns, if at all. Records of no trace,
//! or of one of which no span ever came, are orphans. What is undecided waits here, and in the log if there is one, so that a
//! start asks anew.
//!
//! ```text
//! request --> traces of its records --> which shards own them --asked--> fates --> pass | gone | wait, and ask again
//! ```

use super::{Core, Message};
use crate::control::HeldLogsSnapshot;
use crate::numbers::CoreNumber;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::intake::Passing;
use tailwater_engine::shard::{Fate, Shard};
use tailwater_engine::vocabulary::{Nanos, Origin, TraceId};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::logs::{LogFacts, LogVisitor, RecordFault, logs};
use tailwater_proto::otlp::split::picked;
use tailwater_runtime::executor::{sleep, spawn};

/// How often it is looked for what is due.
const TICK: Duration = Duration::from_millis(100);
/// How long records of a trace that is still undecided wait before they ask again.
const ASK_AGAIN: Nanos = Nanos::from_millis(500);
/// How long another node has to answer: it answers with its next messages.
const NODE_ANSWERS: Nanos = Nanos::from_millis(1_000);
/// How long the log keeps the records of a dropped trace besides, in intervals of its journal: until the verdict is durable,
/// whichever core has it.
const JOURNAL_INTERVALS: u32 = 3;

/// What becomes of logs.
#[derive(Debug, Clone, Copy)]
pub struct LogsPlan {
    /// Whether records of a trace share its verdict.
    pub follows: bool,
    /// Whether records of no trace are told by their patterns only.
    pub summarises_orphans: bool,
    /// Whether patterns tell of what is gone.
    pub has_patterns: bool,
    /// From the arrival of records to when their trace should have come.
    pub wait: Nanos,
    /// Most bytes of records that wait on a core.
    pub bytes_max: usize,
}

/// What happened to log records.
#[derive(Debug, Default)]
pub struct HeldLogsCounters {
    /// Records that passed with their trace, and that were dropped with it.
    pub kept: Cell<u64>,
    pub dropped: Cell<u64>,
    /// Records of no trace, or of one of which no span came.
    pub orphans: Cell<u64>,
    /// Records that were decided before their trace was, for want of room: they passed.
    pub early: Cell<u64>,
}

/// Records that wait.
struct Held {
    passing: Passing,
    origin: Origin,
    due: Nanos,
    /// For each record the place of its trace among `traces`.
    places: Vec<u32>,
    traces: Vec<TraceId>,
    /// They can't wait longer.
    is_forced: bool,
    /// Other nodes were asked about those of their traces that are not known here.
    has_asked_nodes: bool,
}

/// Records whose traces are being asked about.
struct Asked {
    held: Held,
    fates: Vec<Fate>,
    left: usize,
    /// Other nodes are being asked about those that are not known.
    asks_nodes: bool,
}

#[derive(Default)]
struct State {
    held: VecDeque<Held>,
    bytes: usize,
    asked: HashMap<u64, Asked>,
    next_ticket: u64,
    /// Units of dropped records, and from when on the log need not have them.
    done: VecDeque<(Nanos, Origin, Vec<u32>)>,
}

/// The records that wait on a core.
pub struct HeldLogs {
    plan: LogsPlan,
    state: RefCell<State>,
    /// What happened.
    pub counters: HeldLogsCounters,
}

fn count(counter: &Cell<u64>, amount: u32) {
    counter.set(counter.get().wrapping_add(u64::from(amount)));
}

impl HeldLogs {
    /// Nothing held; nothing at all where logs go on as they come.
    pub fn new(plan: LogsPlan) -> Option<Self> {
        let has_work = plan.follows || plan.summarises_orphans;
        has_work.then(|| Self { plan, state: RefCell::default(), counters: HeldLogsCounters::default() })
    }

    /// How it stands.
    pub fn snapshot(&self) -> HeldLogsSnapshot {
        let HeldLogsCounters { kept, dropped, orphans, early } = &self.counters;
        HeldLogsSnapshot {
            bytes: self.state.borrow().bytes as u64,
            kept: kept.get(),
            dropped: dropped.get(),
            orphans: orphans.get(),
            early: early.get(),
        }
    }

    /// Requests that wait or are being asked about.
    pub fn requests(&self) -> usize {
        let state = self.state.borrow();
        state.held.len() + state.asked.len()
    }

    fn hold(&self, held: Held) {
        let mut state = self.state.borrow_mut();
        state.bytes += held.passing.body.len();
        let place = state.held.partition_point(|other| other.due <= held.due);
        state.held.insert(place, held);
    }

    /// The next that is due, or that has to go for want of room; all of them with `all`.
    fn take_due(&self, now: Nanos, all: bool) -> Option<Held> {
        let mut state = self.state.borrow_mut();
        let is_full = state.bytes > self.plan.bytes_max;
        let is_due = state.held.front().is_some_and(|held| held.due <= now);
        if !(is_due || is_full || all) {
            return None;
        }
        let mut held = state.held.pop_front()?;
        state.bytes -= held.passing.body.len();
        held.is_forced = (is_full && !is_due) || all;
        Some(held)
    }

    fn take_done(&self, now: Nanos) -> Option<(Origin, Vec<u32>)> {
        let mut state = self.state.borrow_mut();
        let is_done = state.done.front().is_some_and(|(when, ..)| *when <= now);
        if is_done { state.done.pop_front().map(|(_, origin, units)| (origin, units)) } else { None }
    }
}

/// The traces of the records of a request.
#[derive(Default)]
struct Traces {
    of_records: Vec<Option<TraceId>>,
}

impl LogVisitor for Traces {
    fn record(&mut self, facts: &LogFacts<'_>) {
        self.of_records.push(facts.trace_id);
    }

    fn record_refused(&mut self, _: RecordFault) {
        self.of_records.push(None);
    }
}

/// The part of a request whose records `is_wanted`, by their positions in it. `None` where there is none. Where a request is
/// one unit as a whole, so is each part.
fn part(passing: &Passing, is_wanted: impl Fn(u32) -> bool) -> Option<Passing> {
    let positions: Vec<u32> = (0..passing.items).filter(|item| is_wanted(*item)).collect();
    if positions.len() as u64 == u64::from(passing.items) {
        return Some(passing.clone());
    }
    let half = picked(Signal::Logs, &passing.body, is_wanted)?;
    let has_each = passing.units.len() as u64 == u64::from(passing.items);
    let unit_of = |position: &u32| passing.units.get(*position as usize).copied();
    let units = if has_each { positions.iter().filter_map(unit_of).collect() } else { passing.units.clone() };
    Some(Passing { signal: Signal::Logs, body: half.body.into(), items: half.items, units })
}

impl Core {
    /// Takes a request of logs that came at `arrived`. Returns it where logs go on as they come.
    pub(super) fn hold_logs(self: &Rc<Self>, passing: Passing, origin: Origin, arrived: Nanos) -> Option<Passing> {
        let Some(held_logs) = self.held_logs.as_ref().filter(|_| passing.signal == Signal::Logs) else {
            return Some(passing);
        };
        let mut traces = Traces::default();
        // What is not sound was refused before.
        _ = logs(&passing.body, u32::MAX, &mut traces);
        self.shard.borrow_mut().hold(&passing);
        let of_record = |item: u32| traces.of_records.get(item as usize).copied().flatten();
        let is_traced = |item: u32| of_record(item).is_some();
        if let Some(orphans) = part(&passing, |item| !is_traced(item)) {
            self.end_orphans(orphans, origin);
        }
        let traced = part(&passing, is_traced)?;
        if !held_logs.plan.follows {
            self.pass_held(traced, origin);
            return None;
        }
        let (mut known, mut numbers) = (Vec::new(), HashMap::new());
        let number_of = |trace: TraceId| {
            *numbers.entry(trace).or_insert_with(|| {
                known.push(trace);
                u32::try_from(known.len() - 1).unwrap_or(u32::MAX)
            })
        };
        let places = (0..passing.items).filter_map(of_record).map(number_of).collect();
        let due = Nanos(arrived.0.saturating_add(held_logs.plan.wait.0));
        let held =
            Held { passing: traced, origin, due, places, traces: known, is_forced: false, has_asked_nodes: false };
        self.ask_fates(held);
        None
    }

    /// Asks those that own the traces what became of them.
    fn ask_fates(self: &Rc<Self>, mut held: Held) {
        let Some(held_logs) = &self.held_logs else { return };
        // A trace that is not known by now may be known to the node that judges it.
        let asks_nodes = self.is_over(&held) && !held.is_forced && !held.has_asked_nodes;
        let asks_nodes = asks_nodes && self.shard.borrow().cluster().is_some();
        held.has_asked_nodes |= asks_nodes;
        let mut by_owner: HashMap<CoreNumber, Vec<u32>> = HashMap::new();
        let mut fates = vec![Fate::Unknown; held.traces.len()];
        {
            let mut shard = self.shard.borrow_mut();
            for (place, trace) in (0..).zip(&held.traces) {
                let owner = CoreNumber::from(shard.shard_of(trace));
                if owner == self.number {
                    fates[place as usize] = self.fate(&mut shard, trace, asks_nodes);
                } else {
                    by_owner.entry(owner).or_default().push(place);
                }
            }
        }
        if by_owner.is_empty() {
            return self.decide_logs(held, &fates, asks_nodes);
        }
        let mut state = held_logs.state.borrow_mut();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        for (owner, places) in &by_owner {
            let traces = places.iter().map(|place| (*place, held.traces[*place as usize])).collect();
            let message = Message::AskFates { from: self.number, ticket, traces, asks_nodes };
            let (core, owner) = (self.clone(), *owner);
            spawn(async move { core.peers.send(owner, message).await });
        }
        state.asked.insert(ticket, Asked { held, fates, left: by_owner.len(), asks_nodes });
    }

    /// What became of a trace of this core's shard. With `asks_nodes` other nodes are asked where it is not known.
    fn fate(&self, shard: &mut Shard, trace: &TraceId, asks_nodes: bool) -> Fate {
        let fate = shard.fate(trace);
        if asks_nodes && fate == Fate::Unknown {
            shard.ask_fate(self.now(), trace);
        }
        fate
    }

    /// Whether the wait of records is over. Before all of a former run's log is read it is not known which traces there are,
    /// nor how late it is.
    fn is_over(&self, held: &Held) -> bool {
        held.is_forced || held.due <= self.now() && !self.is_replaying.get()
    }

    /// Another core asks what became of traces.
    pub(super) fn tell_fates(
        self: &Rc<Self>,
        (from, ticket): (CoreNumber, u64),
        traces: &[(u32, TraceId)],
        asks_nodes: bool,
    ) {
        let fates = {
            let mut shard = self.shard.borrow_mut();
            traces.iter().map(|(place, trace)| (*place, self.fate(&mut shard, trace, asks_nodes))).collect()
        };
        let core = self.clone();
        spawn(async move { core.peers.send(from, Message::Fates(ticket, fates)).await });
    }

    /// Another core says what became of traces.
    pub(super) fn hear_fates(self: &Rc<Self>, ticket: u64, told: &[(u32, Fate)]) {
        let Some(held_logs) = &self.held_logs else { return };
        let complete = {
            let mut state = held_logs.state.borrow_mut();
            let Some(asked) = state.asked.get_mut(&ticket) else { return };
            for (place, fate) in told {
                asked.fates[*place as usize] = *fate;
            }
            asked.left -= 1;
            if asked.left > 0 { None } else { state.asked.remove(&ticket) }
        };
        if let Some(Asked { held, fates, asks_nodes, .. }) = complete {
            self.decide_logs(held, &fates, asks_nodes);
        }
    }

    /// Does with records what became of their traces. With `asks_nodes` what is not known waits for other nodes' answers.
    fn decide_logs(self: &Rc<Self>, held: Held, fates: &[Fate], asks_nodes: bool) {
        let Some(held_logs) = &self.held_logs else { return };
        let has_ended = self.is_over(&held);
        let is_over = has_ended && !asks_nodes;
        let Held { passing, origin, due, places, traces, is_forced, has_asked_nodes } = held;
        let fate = |item: u32| {
            let place = places.get(item as usize).copied().unwrap_or(u32::MAX);
            fates.get(place as usize).copied().unwrap_or(Fate::Unknown)
        };
        let kept = |item| fate(item) == Fate::Kept || is_forced && fate(item) == Fate::Pending;
        if let Some(kept) = part(&passing, kept) {
            let early = (0..passing.items).filter(|item| fate(*item) == Fate::Pending && is_forced).count();
            count(&held_logs.counters.early, u32::try_from(early).unwrap_or(u32::MAX));
            count(&held_logs.counters.kept, kept.items);
            self.pass_held(kept, origin);
        }
        if let Some(gone) = part(&passing, |item| fate(item) == Fate::Dropped) {
            count(&held_logs.counters.dropped, gone.items);
            self.drop_held(gone, origin);
        }
        if let Some(orphans) = part(&passing, |item| is_over && fate(item) == Fate::Unknown) {
            self.end_orphans(orphans, origin);
        }
        let waits = |item| match fate(item) {
            Fate::Pending => !is_forced,
            Fate::Unknown => !is_over,
            Fate::Kept | Fate::Dropped => false,
        };
        if let Some(passing) = part(&passing, waits) {
            let places = (0..).zip(&places).filter(|(item, _)| waits(*item)).map(|(_, place)| *place).collect();
            let wait = if asks_nodes { NODE_ANSWERS } else { ASK_AGAIN };
            let due = if has_ended { Nanos(self.now().0.saturating_add(wait.0)) } else { due };
            held_logs.hold(Held { passing, origin, due, places, traces, is_forced: false, has_asked_nodes });
        }
    }

    fn end_orphans(self: &Rc<Self>, orphans: Passing, origin: Origin) {
        let Some(held_logs) = &self.held_logs else { return };
        count(&held_logs.counters.orphans, orphans.items);
        if held_logs.plan.summarises_orphans {
            self.drop_held(orphans, origin)
        } else {
            self.pass_held(orphans, origin)
        }
    }

    fn pass_held(&self, passing: Passing, origin: Origin) {
        self.with_shard(|shard, _, outbox| shard.pass_held(passing, origin, outbox));
    }

    fn drop_held(&self, passing: Passing, origin: Origin) {
        let Some(held_logs) = &self.held_logs else { return };
        self.shard.borrow_mut().drop_held(&passing, held_logs.plan.has_patterns);
        // Where a request is one unit, other records of it may still be wanted.
        let has_each = passing.units.len() as u64 == u64::from(passing.items);
        if !origin.segment.is_none() && has_each {
            let wait = self.settings.journal_interval * JOURNAL_INTERVALS;
            let when = Nanos(self.now().0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)));
            held_logs.state.borrow_mut().done.push_back((when, origin, passing.units));
        }
    }

    /// Asks about what is due, until the node ends.
    pub(super) async fn keep_held_logs(self: Rc<Self>) {
        loop {
            sleep(TICK).await;
            if !self.is_replaying.get() {
                self.ask_due(false);
            }
        }
    }

    fn ask_due(self: &Rc<Self>, all: bool) {
        let Some(held_logs) = &self.held_logs else { return };
        let now = self.now();
        let waiting = held_logs.state.borrow().held.len();
        for _ in 0..waiting {
            let Some(held) = held_logs.take_due(now, all) else { break };
            self.ask_fates(held);
        }
        while let Some((origin, units)) = held_logs.take_done(now) {
            if let Some(log) = &self.log {
                log.refuse_units(self.settings.pipeline, origin, units.into_iter());
            }
        }
    }

    /// Decides all that waits: traces are judged, and the node ends.
    pub(super) async fn end_held_logs(self: &Rc<Self>) {
        while self.held_logs.as_ref().is_some_and(|held| held.requests() > 0) {
            self.ask_due(true);
            sleep(TICK).await;
        }
    }
}
