//! What an executor counts for summaries, and on the first the windows that leave. Its log knows of both, so that a start
//! goes on from where a crash ended it: `engine/src/log/tally.rs` says how far, `rollup/src/windows.rs` what.
//!
//! ```text
//! scan -> gathered -> accepted: counted -> every CHECKPOINT, to the journal
//!                                          window over: all executors -> the first -> its journal -> exporters
//! ```

mod follow;
mod keep;

use crate::control::{GraphSnapshot, SummarySnapshot};
use crate::numbers::CoreNumber;
use bytes::Bytes;
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::delivery::Settlement;
use tailwater_engine::host::ExportFate;
use tailwater_engine::intake::{Passing, Scanned};
use tailwater_engine::log::format::TallyId;
use tailwater_engine::log::lane::Lane;
use tailwater_engine::log::tally::{FormerTallies, Tally};
use tailwater_engine::vocabulary::ShardIndex;
use tailwater_proto::otlp::Signal;
use tailwater_rollup::metrics::{Metrics, Passing as PassingMetrics};
use tailwater_rollup::patterns::PatternsError;
use tailwater_rollup::service_graph::{self, Ends};
use tailwater_rollup::skeletons::{SkeletonSums, SkeletonsPartial};
use tailwater_rollup::span_metrics;
use tailwater_rollup::spans::{Counted, SpanTally};
use tailwater_rollup::summary::{Outputs, Summary, SummaryPlan, Tallies, Visible};
use tailwater_rollup::windows::{Body, Counting, Counts, Emitting, Former, Part, state};
use tailwater_runtime::clock::steady_unix_nanos;

/// How often the journal is told what is counted. What came since is counted again at a start, from the requests, whose
/// segments stay that much longer.
const CHECKPOINT: Duration = Duration::from_secs(2);
/// How often it is looked whether the disk is done.
const RECHECK: Duration = Duration::from_millis(50);
/// How long a body that nobody took waits until it is offered again.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

/// What all executors of a node have in common.
#[derive(Debug, Clone)]
pub struct SummarySeat {
    /// What is summed up.
    pub plan: SummaryPlan,
    /// From one window to the next.
    pub window: Duration,
    /// Of hashes: the same in every run of the node, for series are known by them.
    pub seed: u64,
    /// Another number at each start.
    pub run: u64,
    /// What a former run has left.
    pub former: FormerTallies,
    /// How many executors there are.
    pub executors: usize,
}

/// What happened to summaries.
#[derive(Debug, Default)]
pub struct SummaryCounters {
    /// Windows that were emitted.
    pub windows: Cell<u64>,
    /// Points and records that exporters took over, and those that they refused for good.
    pub delivered: Cell<u64>,
    pub refused: Cell<u64>,
    /// Offers that nobody took; each is made again.
    pub retries: Cell<u64>,
    /// Requests that could not be counted: a former run's log has no such body any more.
    pub uncounted: Cell<u64>,
    /// States of a former run that could not be read.
    pub damaged: Cell<u64>,
    /// Checkpoints that were too large for the journal: what they count would be lost in a crash.
    pub oversized: Cell<u64>,
    /// Dropped traces that were counted by their shapes, and those that the shard could give none of their own.
    pub traces: Cell<u64>,
    pub traces_overflowed: Cell<u64>,
}

/// The part of one executor.
pub struct Summaries {
    number: CoreNumber,
    seat: SummarySeat,
    state: RefCell<State>,
    /// What happened.
    pub counters: SummaryCounters,
    ending: Cell<Ending>,
    /// Windows are so many times as long as configured, for a time.
    widening: Cell<u32>,
}

/// How far the node has come that stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It runs.
    No,
    /// The last window is to be closed, at once.
    Wanted,
    /// It is closed.
    Closed,
}

struct State {
    tallies: Tallies,
    counting: Counting<Summary>,
    /// A window to be given to the first executor, once this tally is durable, with what the journal is not told.
    to_give: Option<(u64, u64, Summary)>,
    first: Option<First>,
}

/// What the first executor has besides.
struct First {
    emitting: Emitting<Summary>,
    outputs: Outputs,
    /// What leaves may be sent once this tally is durable.
    to_send: Option<u64>,
    /// A body is with the exporters.
    is_sending: bool,
    window_began_unix_nano: u64,
}

fn count(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl Summaries {
    /// The part of that executor, where anything is summed up. The first takes over what a former run has left.
    ///
    /// # Errors
    /// What is wrong with the plan.
    pub fn new(number: CoreNumber, mut seat: SummarySeat) -> Result<Option<Rc<Self>>, PatternsError> {
        if seat.plan.is_empty() {
            return Ok(None);
        }
        let former = Former::<Summary>::of(&std::mem::take(&mut seat.former.states));
        let counters = SummaryCounters::default();
        let mut counting = Counting::new(former.next_window);
        let mut first = None;
        if number == CoreNumber::FIRST {
            let now = steady_unix_nanos();
            count(&counters.damaged, former.damaged);
            counting.take_over(former.counts);
            first = Some(First {
                to_send: former.outgoing.is_some().then_some(0),
                emitting: Emitting::new(seat.executors, former.emitted_through, former.outgoing),
                outputs: Outputs::new(&seat.plan, &former.carried, seat.seed, now)?,
                is_sending: false,
                window_began_unix_nano: now,
            });
        } else {
            seat.former.ids = Vec::new();
        }
        let tallies = Tallies::new(&seat.plan, number.shard().0, seat.seed)?;
        let state = State { tallies, counting, to_give: None, first };
        Ok(Some(Rc::new(Self {
            number,
            seat,
            state: RefCell::new(state),
            counters,
            ending: Cell::new(Ending::No),
            widening: Cell::new(1),
        })))
    }

    /// Where a walk over a request of spans gathers what is to be counted. Not to be held over an await.
    pub fn span_tally(&self) -> Option<RefMut<'_, SpanTally>> {
        let tally = RefMut::map(self.state.borrow_mut(), |state| &mut state.tallies.spans);
        (!tally.is_empty()).then_some(tally)
    }

    /// Counts a request that is accepted. Where its series are not known any more, `walk` is asked to walk it again. Returns
    /// the ends of requests between services that other cores are to be given.
    pub fn count(&self, scanned: &mut Scanned, walk: impl FnOnce(&Self) -> Option<Scanned>) -> Vec<(CoreNumber, Ends)> {
        let Counted { metrics, ends } = std::mem::take(&mut scanned.counted);
        let now = steady_unix_nanos();
        if !metrics.is_empty() && !self.state.borrow_mut().tallies.count_spans(metrics, now) {
            let again = walk(self).map(|again| again.counted.metrics).unwrap_or_default();
            let is_counted = self.state.borrow_mut().tallies.count_spans(again, now);
            debug_assert!(is_counted, "nothing is forgotten between a walk and the next line");
        }
        let others = self.state.borrow_mut().tallies.take_ends(ends, now);
        others.into_iter().map(|(shard, ends)| (CoreNumber::from(ShardIndex(shard)), ends)).collect()
    }

    /// Takes the ends of requests that another core was given.
    pub fn hear_ends(&self, ends: &Ends) {
        self.state.borrow_mut().tallies.hear_ends(ends, steady_unix_nanos());
        if self.ending.get() != Ending::No {
            self.give_up_waiting();
        }
    }

    /// Notes what goes on of the first pipeline: its spans are examples of what was counted.
    pub fn note_kept(&self, request: &[u8]) {
        self.state.borrow_mut().tallies.note_kept(request);
    }

    /// Whether it wants to know.
    pub fn wants_kept(&self) -> bool {
        self.seat.plan.spans.as_ref().is_some_and(|plan| plan.exemplars_max > 0)
    }

    /// The node stops: ends of requests that wait are counted without the other.
    fn give_up_waiting(&self) {
        if let Some(graph) = &mut self.state.borrow_mut().tallies.graph {
            graph.expire_all(steady_unix_nanos());
        }
    }

    /// Takes out of a request of metrics or logs what only summaries tell; the rest is left in `passing`. With `counts` it is
    /// counted; what is taken out follows from the request alone.
    pub fn take_out(&self, passing: &mut Passing, counts: bool) -> TakenOut {
        let (mut state, now) = (self.state.borrow_mut(), steady_unix_nanos());
        let tallies = &mut state.tallies;
        match passing.signal {
            Signal::Traces => TakenOut::default(),
            Signal::Metrics => {
                let Some(taken) = tallies.take_metrics(&passing.body, now, counts) else { return TakenOut::default() };
                let (summarised, dropped) = (taken.merged, taken.dropped);
                let units = match taken.passing {
                    PassingMetrics::All => Vec::new(),
                    PassingMetrics::Nothing => keep_only(passing, &[], Vec::new()),
                    PassingMetrics::Some(body) => keep_only(passing, &taken.passing_positions, body),
                };
                TakenOut { units, summarised, dropped }
            }
            Signal::Logs => {
                if counts {
                    tallies.count_logs(&passing.body, now);
                }
                TakenOut::default()
            }
        }
    }

    /// Adds what the shard has seen of dropped traces; so many of all count for no shape of their own.
    pub fn add_skeletons(&self, partial: SkeletonsPartial, overflowed: u64) {
        self.counters.traces.set(self.counters.traces.get() + partial.traces());
        self.counters.traces_overflowed.set(overflowed);
        self.state.borrow_mut().tallies.add_skeletons(partial);
    }

    /// How far a former run had counted in a segment of its log.
    pub fn counted_before(&self, segment: u64) -> u32 {
        self.seat.former.positions.get(&segment).copied().unwrap_or(0)
    }

    /// Has the journal told what is counted so far. Returns the number of that tally.
    pub fn checkpoint<P>(&self, log: Option<&RefCell<Lane<P>>>) -> u64 {
        let mut state = self.state.borrow_mut();
        let State { tallies, counting, first, .. } = &mut *state;
        tallies.take_into(counting.open(), steady_unix_nanos());
        let Some(log) = log else { return 0 };
        let carried = first.as_ref().map_or(&[][..], |first| first.outputs.carried());
        let mut bytes = self::state(counting, first.as_ref().map(|first| &first.emitting), carried);
        if bytes.len() > log.borrow().tally_bytes_max() {
            if self.counters.oversized.get() == 0 {
                let bytes = bytes.len();
                tracing::warn!(
                    bytes,
                    "summaries are too large for the log's journal: a crash would lose those of a \
                    window; raise wal.bytes_max, or lower summaries.span_metrics.series_max"
                );
            }
            count(&self.counters.oversized, 1);
            bytes = self::state(&Counting::<Summary>::new(counting.number()), None, &[]);
        }
        let id = TallyId { run: self.seat.run, lane: self.number.shard().0 };
        let tally = Tally { id, taken_over: self.seat.former.ids.clone(), state: Bytes::from(bytes) };
        log.borrow_mut().give_tally(tally)
    }

    /// A window is over on this executor.
    pub fn close<P>(&self, window: u64, log: Option<&RefCell<Lane<P>>>) {
        let exemplars = {
            let mut state = self.state.borrow_mut();
            let State { tallies, counting, .. } = &mut *state;
            tallies.close_into(counting.open(), steady_unix_nanos());
            counting.close(window);
            tallies.take_exemplars()
        };
        let number = self.checkpoint(log);
        self.state.borrow_mut().to_give = Some((number, window, exemplars));
    }

    /// What this executor is to give of a closed window now.
    fn take_given(&self, durable: u64) -> Option<(u64, Vec<Part>)> {
        let mut state = self.state.borrow_mut();
        let (_, window, exemplars) = state.to_give.take_if(|(number, ..)| *number <= durable)?;
        let mut parts = state.counting.given(window);
        if !exemplars.is_empty() {
            let mut counts = Vec::new();
            exemplars.write(&mut counts);
            parts.push(Part { window, counts });
        }
        Some((window, parts))
    }

    /// A window is emitted.
    pub fn emitted(&self, window: u64) {
        self.state.borrow_mut().counting.emitted(window);
    }

    /// The first has what an executor gives of a window. Once it has all of it that is made an emission.
    pub fn collect<P>(&self, core: CoreNumber, window: u64, parts: &[Part], log: Option<&RefCell<Lane<P>>>) {
        {
            let mut state = self.state.borrow_mut();
            let State { counting, first: Some(first), .. } = &mut *state else { return };
            let collected = match first.emitting.collect(core.position(), window, parts) {
                Ok(collected) => collected,
                Err(error) => {
                    count(&self.counters.damaged, 1);
                    tracing::error!(%error, "a part of a window's summaries is lost");
                    None
                }
            };
            let Some((window, summary)) = collected else { return };
            let is_last = self.ending.get() != Ending::No;
            let bodies = first.outputs.emit(summary, steady_unix_nanos(), is_last);
            first.emitting.emit(window, bodies);
            counting.emitted(window);
            count(&self.counters.windows, 1);
        }
        let number = self.checkpoint(log);
        if let Some(first) = &mut self.state.borrow_mut().first {
            first.to_send = Some(number);
        }
    }

    /// Whether the window is over, and its number.
    fn to_close(&self) -> Option<u64> {
        let mut state = self.state.borrow_mut();
        let State { counting, first: Some(first), .. } = &mut *state else { return None };
        let now = steady_unix_nanos();
        let age = now.saturating_sub(first.window_began_unix_nano);
        let is_over = match self.ending.get() {
            Ending::No => u128::from(age) >= self.seat.window.as_nanos() * u128::from(self.widening.get()),
            Ending::Wanted => true,
            Ending::Closed => false,
        };
        if !is_over || !first.emitting.may_close() {
            return None;
        }
        if self.ending.get() == Ending::Wanted {
            self.ending.set(Ending::Closed);
        }
        first.window_began_unix_nano = now;
        let window = counting.number();
        first.emitting.close(window);
        Some(window)
    }

    /// What is to be sent now, and the window that all are to be told of as emitted.
    fn to_send(&self, durable: u64) -> Option<(u64, Option<Body>)> {
        let mut state = self.state.borrow_mut();
        let first = state.first.as_mut()?;
        let is_ready = first.to_send.is_some_and(|number| number <= durable) && !first.is_sending;
        if !is_ready {
            return None;
        }
        let body = first.emitting.outgoing().and_then(|outgoing| outgoing.bodies.first().cloned());
        first.is_sending = body.is_some();
        if body.is_none() {
            first.to_send = None;
        }
        Some((first.emitting.emitted_through(), body))
    }

    /// What became of the body that was sent. Returns how long to wait before the next.
    fn sent(&self, settlement: &Settlement) -> Duration {
        let mut state = self.state.borrow_mut();
        let Some(first) = state.first.as_mut() else { return Duration::ZERO };
        first.is_sending = false;
        let is_done = settlement.lost == 0 || !may_pass(settlement.fate);
        if is_done {
            first.emitting.delivered();
            count(&self.counters.delivered, u64::from(settlement.delivered));
            count(&self.counters.refused, u64::from(settlement.lost));
            return Duration::ZERO;
        }
        count(&self.counters.retries, 1);
        OFFER_AGAIN
    }

    /// Whether the last window has left the node, where this is the first executor.
    fn has_ended(&self) -> bool {
        let state = self.state.borrow();
        let Some(first) = &state.first else { return true };
        self.ending.get() == Ending::Closed && first.emitting.may_close() && first.to_send.is_none()
    }

    /// How it stands.
    pub fn snapshot(&self) -> SummarySnapshot {
        let state = self.state.borrow();
        let spans = state.tallies.spans.metrics.as_ref();
        let output = state.first.as_ref().and_then(|first| first.outputs.spans.as_ref());
        let first_metrics = state.first.as_ref().and_then(|first| first.outputs.metrics.as_ref());
        let merged = state.tallies.metrics.as_ref().map(Metrics::counts).unwrap_or_default();
        let of = |counter: &Cell<u64>| counter.get();
        SummarySnapshot {
            windows: of(&self.counters.windows),
            delivered: of(&self.counters.delivered),
            refused: of(&self.counters.refused),
            retries: of(&self.counters.retries),
            uncounted: of(&self.counters.uncounted),
            damaged: of(&self.counters.damaged) + state.first.as_ref().map_or(0, |first| first.outputs.damaged),
            oversized: of(&self.counters.oversized),
            metric_series: first_metrics.map_or(0, |metrics| metrics.series_count() as u64),
            metric_points_lost: merged.lost + first_metrics.map_or(0, |metrics| metrics.counts().lost),
            metric_points_overflowed: merged.overflowed
                + first_metrics.map_or(0, |metrics| metrics.counts().overflowed),
            metric_points_unmergeable: merged.unmergeable,
            metric_resets: first_metrics.map_or(0, |metrics| metrics.counts().resets),
            log_lines: state.tallies.lines().0,
            log_lines_overflowed: state.tallies.lines().1,
            span_series: output.map_or(0, |output| output.series() as u64),
            span_series_expired: output.map_or(0, span_metrics::Output::expired),
            shapes: state.tallies.shapes().0,
            traces: of(&self.counters.traces),
            traces_overflowed: of(&self.counters.traces_overflowed)
                + state.tallies.shapes().1
                + state
                    .first
                    .as_ref()
                    .and_then(|first| first.outputs.skeletons.as_ref())
                    .map_or(0, SkeletonSums::overflowed),
            visible: state.first.as_ref().map_or_else(Visible::default, |first| *first.outputs.visible()),
            spans_overflowed: spans.map_or(0, span_metrics::Tally::overflowed)
                + output.map_or(0, span_metrics::Output::overflowed),
            graph: self::graph(&state),
        }
    }
}

/// How the service graph stands, where there is one.
fn graph(state: &State) -> Option<GraphSnapshot> {
    let graph = state.tallies.graph.as_ref()?;
    let output = state.first.as_ref().and_then(|first| first.outputs.graph.as_ref());
    let mut counts = graph.counts();
    counts.overflowed += output.map_or(0, service_graph::Output::overflowed);
    Some(GraphSnapshot { counts, series: output.map_or(0, |output| output.series() as u64) })
}

/// What was taken out of a request.
#[derive(Debug, Default)]
pub struct TakenOut {
    /// Its units that are done with.
    pub units: Vec<u32>,
    /// Items that summaries tell.
    pub summarised: u32,
    /// Items that a rule drops.
    pub dropped: u32,
}

/// Leaves the items of these positions, which `body` has, in a request. Returns the units that are done with.
fn keep_only(passing: &mut Passing, positions: &[u32], body: Vec<u8>) -> Vec<u32> {
    let has_each = passing.units.len() as u64 == u64::from(passing.items);
    let kept: Vec<u32> = match (has_each, positions) {
        (true, _) => positions.iter().filter_map(|position| passing.units.get(*position as usize).copied()).collect(),
        (false, []) => Vec::new(),
        (false, _) => passing.units.clone(),
    };
    let done = passing.units.iter().copied().filter(|unit| kept.binary_search(unit).is_err()).collect();
    passing.items = u32::try_from(positions.len()).unwrap_or(u32::MAX);
    (passing.units, passing.body) = (kept, Bytes::from(body));
    done
}

/// Whether what could not be delivered may be at another time.
fn may_pass(fate: ExportFate) -> bool {
    match fate {
        ExportFate::QueueFull | ExportFate::Exhausted | ExportFate::Shutdown => true,
        ExportFate::Delivered | ExportFate::Refused | ExportFate::TooLarge | ExportFate::NoExporter => false,
    }
}
