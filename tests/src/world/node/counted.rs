//! What a simulated node counts for its summaries: each span of each request that it takes, by its id. Windows are closed,
//! collected and delivered as in the program, at any time, and the next hop is a table of what every window came to.

use super::super::network::Message;
use super::super::senders::{SpanId, span_id};
use super::{Around, Node};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use std::collections::BTreeMap;
use tailwater_engine::log::format::TallyId;
use tailwater_engine::log::tally::{FormerTallies, Tally};
use tailwater_proto::otlp::Signal;
use tailwater_rollup::windows::{Body, Counting, Counts, Emitting, Former, Part, StateError, state};

/// How often each span was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpanCounts(pub BTreeMap<SpanId, u32>);

impl Counts for SpanCounts {
    fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(id, count)| *self.0.entry(id).or_default() += count);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (id, count) in &self.0 {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let (entries, rest) = bytes.as_chunks::<12>();
        let entry = |entry: &[u8; 12]| {
            let (id, count) = entry.split_at(8);
            (SpanId::from_le_bytes(id.try_into().unwrap()), u32::from_le_bytes(count.try_into().unwrap()))
        };
        if rest.is_empty() { Ok(Self(entries.iter().map(entry).collect())) } else { Err(StateError::Damaged) }
    }
}

/// What an executor has counted, and what waits for its log to know it.
pub(super) struct CoreCounts {
    counting: Counting<SpanCounts>,
    /// A window to be given to the first, once this tally is durable.
    to_give: Option<(u64, u64)>,
}

/// What the first executor has beside.
pub(super) struct Windows {
    emitting: Emitting<SpanCounts>,
    /// What is on its way may be sent once this tally is durable.
    to_send: Option<u64>,
    taken_over: Vec<TallyId>,
    run: u64,
}

/// In so many flushes of a journal a tally is given once: always, mostly, or as rarely as in the program, where what was
/// counted since is in requests only.
const RARITIES: [u8; 3] = [1, 2, 60];

/// What is counted on a node and at its next hop.
#[derive(Default)]
pub(super) struct Counted {
    rarity: u8,
    cores: Vec<CoreCounts>,
    windows: Option<Windows>,
    former: FormerTallies,
    /// By window what the next hop has.
    delivered: BTreeMap<u64, Vec<u8>>,
}

impl Counted {
    pub(super) fn set_former(&mut self, former: FormerTallies) {
        self.former = former;
    }
}

impl Node {
    /// Goes on from what a former run had counted.
    pub(super) fn begin_counting(&mut self, run: u64) {
        self.counted.rarity = RARITIES[self.random.usize(0..RARITIES.len())];
        let former = Former::<SpanCounts>::of(&self.counted.former.states);
        assert_eq!(former.damaged, 0, "what was written can be read");
        let executors = self.lanes.len();
        let core = |_| CoreCounts { counting: Counting::new(former.next_window), to_give: None };
        self.counted.cores = (0..executors).map(core).collect();
        let Some(first) = self.counted.cores.first_mut() else { return };
        first.counting.take_over(former.counts);
        let emitting = Emitting::new(executors, former.emitted_through, former.outgoing);
        let taken_over = self.counted.former.ids.clone();
        self.counted.windows = Some(Windows { emitting, to_send: None, taken_over, run });
        for executor in 0..executors {
            self.lanes[executor].lane.count_all();
            let number = self.give_tally(executor);
            if let Some(windows) = self.counted.windows.as_mut().filter(|_| executor == 0) {
                windows.to_send = Some(number);
            }
        }
    }

    /// How far a former run had counted in a segment.
    pub(super) fn counted_before(&self, segment: u64) -> u32 {
        self.counted.former.positions.get(&segment).copied().unwrap_or(0)
    }

    pub(super) fn count_spans(&mut self, executor: usize, ids: impl Iterator<Item = SpanId>) {
        let counts = self.counted.cores[executor].counting.open();
        ids.for_each(|id| *counts.0.entry(id).or_default() += 1);
    }

    /// Counts a request of a former run that is not counted yet.
    pub(super) fn count_body(&mut self, executor: usize, body: &[u8]) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let ids: Vec<_> = scopes.flat_map(|scope| scope.spans.iter().map(span_id)).collect();
        self.count_spans(executor, ids.into_iter());
    }

    fn give_tally(&mut self, executor: usize) -> u64 {
        let Counted { cores, windows: Some(windows), .. } = &self.counted else { return 0 };
        let is_first = executor == 0;
        let state = state(&cores[executor].counting, is_first.then_some(&windows.emitting), &[]);
        let lane = u16::try_from(executor).unwrap();
        let taken_over = if is_first { windows.taken_over.clone() } else { Vec::new() };
        let tally = Tally { id: TallyId { run: windows.run, lane }, taken_over, state: state.into() };
        self.lanes[executor].lane.give_tally(tally)
    }

    /// Before a flush: what is counted may go with it, and now and then a window is closed.
    pub(super) fn before_flush(&mut self, number: usize, around: &mut Around<'_>) {
        let (pipeline, executor) = self.seat(number);
        if pipeline > 0 || self.counted.windows.is_none() {
            return;
        }
        let rarity = self.counted.rarity;
        // In the end there is nothing to tell any more, and nothing is on its way.
        let has_counted =
            self.counted.cores.iter().any(|core| core.counting.parts().any(|(_, part)| !part.0.is_empty()));
        if executor == 0 && self.random.u8(0..3 + rarity) == 0 && (has_counted || !self.is_calm()) {
            self.close_window(around);
        }
        if self.is_calm() || self.random.u8(0..rarity) == 0 {
            self.give_tally(executor);
        }
    }

    fn close_window(&mut self, around: &mut Around<'_>) {
        let Counted { cores, windows: Some(windows), .. } = &mut self.counted else { return };
        if self.log.as_ref().is_some_and(|log| !log.to_replay.is_empty()) || !windows.emitting.may_close() {
            return;
        }
        let window = cores[0].counting.number();
        windows.emitting.close(window);
        for executor in 1..self.lanes.len() {
            self.link_to(0, executor, Message::CloseWindow(window), around);
        }
        self.window_closed(0, window);
    }

    /// A window is closed on an executor: what it has is given to the first when its log knows it.
    pub(super) fn window_closed(&mut self, executor: usize, window: u64) {
        self.counted.cores[executor].counting.close(window);
        let number = self.give_tally(executor);
        self.counted.cores[executor].to_give = Some((number, window));
    }

    /// The first has what an executor gives of a window.
    pub(super) fn window_given(&mut self, executor: usize, window: u64, parts: &[Part]) {
        let Counted { cores, windows: Some(windows), .. } = &mut self.counted else { return };
        let Some((window, counts)) = windows.emitting.collect(executor, window, parts).unwrap() else { return };
        let mut bytes = Vec::new();
        counts.write(&mut bytes);
        let items = u32::try_from(counts.0.len()).unwrap();
        let bodies = if items == 0 { Vec::new() } else { vec![Body { signal: Signal::Metrics, items, bytes }] };
        windows.emitting.emit(window, bodies);
        cores[0].counting.emitted(window);
        let number = self.give_tally(0);
        self.counted.windows.as_mut().unwrap().to_send = Some(number);
    }

    pub(super) fn window_emitted(&mut self, executor: usize, window: u64) {
        self.counted.cores[executor].counting.emitted(window);
    }

    /// The log of an executor got further.
    pub(super) fn follow_tally(&mut self, executor: usize, around: &mut Around<'_>) {
        let durable = self.lanes[executor].lane.tally_durable();
        let Some(core) = self.counted.cores.get_mut(executor) else { return };
        if let Some((_, window)) = core.to_give.take_if(|(number, _)| *number <= durable) {
            let parts = core.counting.given(window);
            if executor == 0 {
                self.window_given(0, window, &parts);
            } else {
                self.link_to(executor, 0, Message::WindowGiven(executor, window, parts), around);
            }
        }
        if executor == 0 {
            self.send_window(around);
        }
    }

    fn send_window(&mut self, around: &mut Around<'_>) {
        let durable = self.lanes[0].lane.tally_durable();
        let Counted { windows: Some(windows), delivered, .. } = &mut self.counted else { return };
        if windows.to_send.is_none_or(|number| number > durable) {
            return;
        }
        if let Some(outgoing) = windows.emitting.outgoing() {
            let [body] = &outgoing.bodies[..] else { unreachable!("there is one body") };
            let known = delivered.entry(outgoing.window).or_insert_with(|| body.bytes.clone());
            assert_eq!(*known, body.bytes, "what is sent twice is the same");
            // Now and then nobody hears that it arrived.
            if self.random.u8(0..4) == 0 {
                return;
            }
            windows.emitting.delivered();
        }
        windows.to_send = None;
        let window = windows.emitting.emitted_through();
        self.give_tally(0);
        for executor in 1..self.lanes.len() {
            self.link_to(0, executor, Message::WindowEmitted(window), around);
        }
    }

    /// How often each span was counted, at the next hop and here.
    #[must_use]
    pub fn counted_spans(&self) -> BTreeMap<SpanId, u32> {
        let mut counts = SpanCounts::default();
        let Some(windows) = &self.counted.windows else { return counts.0 };
        let through = windows.emitting.emitted_through();
        let undelivered = windows.emitting.outgoing().filter(|out| !self.counted.delivered.contains_key(&out.window));
        let bodies = self.counted.delivered.values().map(Vec::as_slice);
        let bodies = bodies.chain(undelivered.iter().flat_map(|out| &out.bodies).map(|body| &*body.bytes));
        bodies.for_each(|body| counts.merge(SpanCounts::read(body).unwrap()));
        for core in &self.counted.cores {
            let parts = core.counting.parts().filter(|(window, _)| *window > through);
            parts.for_each(|(_, part)| counts.merge(part.clone()));
        }
        counts.0
    }
}
