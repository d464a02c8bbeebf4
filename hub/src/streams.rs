//! Payloads said to all, repaired by all: each run of a node numbers what it says. Who misses a number asks anybody for it,
//! for everybody remembers for a while what it heard of everybody, also of those that are gone.
//!
//! A stream begins, for one that hears it, with the number from which on its owner has meant it (`since`). Where the owner is
//! gone before it said that, it begins with the lowest number that others remember.

use crate::frame::{POSITIONS_MAX, Position, RANGES_MAX, Range};
use crate::plan::HubPlan;
use rand::RngExt;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tailwater_proto::cluster::view::MEMBERS_MAX;
use tailwater_proto::cluster::{Incarnation, NodeId};

mod gaps;
mod memory;

use gaps::Gaps;
use memory::Memory;

/// Streams that are known: of each member, and of runs that are gone.
/// At the bound: the stream that has been gone for longest is forgotten.
const STREAMS_MAX: usize = 4 * MEMBERS_MAX;
/// Numbers that a stream may be ahead of what is known of it.
/// At the bound: what tells of more is ignored.
const AHEAD_MAX: u64 = 1 << 24;
/// Members that are remembered for having a stream.
/// At the bound: the latest replaces the one before.
const TELLERS_MAX: usize = 4;
/// A stream whose owner lives begins where others remember it if the owner doesn't say `since` for so long.
const SINCE_PATIENCE: Duration = Duration::from_secs(20);
/// Of the positions in a report, so many are of the streams that were heard last.
const NEWS: usize = POSITIONS_MAX / 2;

/// A run of a node.
pub type Run = (NodeId, Incarnation);

/// What became of a said payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was taken.
    Taken,
    /// It was known.
    Duplicate,
    /// There was no room for it.
    Refused,
    /// It is of nobody that was a member, or of a number that can't be.
    Unknown,
}

/// What is known of one run's payloads.
struct Stream {
    /// When its owner went.
    gone_at: Option<Duration>,
    /// The first number that is meant for this node.
    start: Option<u64>,
    /// One above the highest number that is known to have been said.
    next: u64,
    /// What others claim while `start` isn't known: since when, and lowest and next number.
    claim: Option<(Duration, u64, u64)>,
    gaps: Gaps,
    /// Who said that it has the latest numbers.
    tellers: VecDeque<NodeId>,
    news_at: Duration,
}

/// All streams, the own one among them.
pub struct Streams {
    own: Run,
    /// The number of what is said next.
    next: u64,
    remembered_for: Duration,
    pull_wait: Duration,
    streams: BTreeMap<Run, Stream>,
    memory: Memory,
    /// Where the next positions and pulls begin.
    turn: usize,
    pull_turn: usize,
    pull_at: Option<Duration>,
    sweep_at: Duration,
}

/// What the books of a hub count of a sweep.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Payloads that are no longer asked for.
    pub missed: u64,
}

impl Streams {
    /// Nothing heard yet.
    pub fn new(plan: &HubPlan) -> Self {
        Self {
            own: plan.own(),
            next: 1,
            remembered_for: plan.remembered_for,
            pull_wait: plan.pull_wait,
            streams: BTreeMap::new(),
            memory: Memory::new(plan.remembered_for, plan.remembered_bytes_max, plan.pushed_bytes_min),
            turn: 0,
            pull_turn: 0,
            pull_at: None,
            sweep_at: Duration::ZERO,
        }
    }

    /// The number of what this node says next.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The lowest own number that is remembered.
    pub fn own_low(&self) -> u64 {
        self.memory.span(self.own).map_or(self.next, |(low, _)| low)
    }

    /// Payloads that went from memory before their time.
    pub const fn evicted(&self) -> u64 {
        self.memory.evicted()
    }

    /// A run of a node became a member.
    pub fn open(&mut self, run: Run) {
        if let Some(stream) = self.streams.get_mut(&run) {
            stream.gone_at = None;
            return;
        }
        if self.streams.len() >= STREAMS_MAX {
            let gone = self.streams.iter().filter_map(|(run, stream)| Some((stream.gone_at?, *run))).min();
            let Some((_, oldest)) = gone else { return };
            self.streams.remove(&oldest);
        }
        let stream = Stream {
            gone_at: None,
            start: None,
            next: 0,
            claim: None,
            gaps: Gaps::default(),
            tellers: VecDeque::new(),
            news_at: Duration::ZERO,
        };
        self.streams.insert(run, stream);
    }

    /// A run of a node is no longer a member.
    pub fn close(&mut self, now: Duration, run: Run) {
        if let Some(stream) = self.streams.get_mut(&run) {
            stream.gone_at.get_or_insert(now);
        }
    }

    /// Numbers what is said, and remembers it.
    pub fn say(&mut self, now: Duration, payload: &[u8]) -> u64 {
        let number = self.next;
        self.next += 1;
        self.memory.put(now, self.own, number, payload);
        number
    }

    /// A said payload, from its owner with `since`, or from another that was asked for it.
    pub fn hear(
        &mut self,
        now: Duration,
        run: Run,
        (number, since): (u64, Option<u64>),
        payload: &[u8],
        mut deliver: impl FnMut(&[u8]) -> bool,
    ) -> Said {
        let Some(stream) = self.streams.get_mut(&run) else { return Said::Unknown };
        if let Some(since) = since.filter(|since| *since <= number) {
            stream.begin(since);
        }
        if stream.start.is_none() || number.saturating_sub(stream.next) > AHEAD_MAX {
            return Said::Unknown;
        }
        if number < stream.next && !stream.gaps.has(number) {
            return Said::Duplicate;
        }
        let is_taken = deliver(payload);
        stream.reach(now, number.saturating_add(1));
        stream.news_at = now;
        if is_taken {
            stream.gaps.close(now, number);
            self.memory.put(now, run, number, payload);
        } else {
            stream.gaps.put_off(now, number);
        }
        if !stream.gaps.is_empty() {
            self.plan_pull(now);
        }
        if is_taken { Said::Taken } else { Said::Refused }
    }

    /// Somebody says how far a stream goes; its owner also from where on it is meant for this node.
    pub fn hear_position(&mut self, now: Duration, teller: NodeId, position: &Position, since: Option<u64>) {
        let run = (NodeId(position.node), Incarnation(position.incarnation));
        let Some(stream) = self.streams.get_mut(&run) else { return };
        if let Some(since) = since.filter(|since| *since <= position.next) {
            stream.begin(since);
        }
        if stream.start.is_none() {
            let (at, low, next) = stream.claim.unwrap_or((now, u64::MAX, 0));
            stream.claim = Some((at, low.min(position.low), next.max(position.next)));
            stream.tell_of(teller);
        } else if position.next > stream.next && position.next - stream.next <= AHEAD_MAX {
            stream.reach(now, position.next);
            stream.tell_of(teller);
        }
        // A pull looks at all streams: it is not for each report of nothing new.
        if stream.claim.is_some() || !stream.gaps.is_empty() {
            self.plan_pull(now);
        }
    }

    fn plan_pull(&mut self, now: Duration) {
        if self.pull_at.is_none() {
            self.pull_at = Some(now + self.pull_wait);
        }
    }

    /// When [`Streams::pulls`] or [`Streams::sweep`] has something to do.
    pub fn due(&self) -> Duration {
        self.pull_at.map_or(self.sweep_at, |at| at.min(self.sweep_at))
    }

    /// Whom to ask for what, a bounded number of ranges. `live` are the members.
    pub fn pulls(&mut self, now: Duration, live: &[NodeId], rng: &mut SmallRng) -> BTreeMap<NodeId, Vec<Range>> {
        let mut pulls: BTreeMap<NodeId, Vec<Range>> = BTreeMap::new();
        if self.pull_at.is_none_or(|at| at > now) || live.is_empty() {
            return pulls;
        }
        let (mut asked, mut has_more) = (0, false);
        let count = self.streams.len();
        let start = self.pull_turn % count.max(1);
        self.pull_turn = self.pull_turn.wrapping_add(1);
        for (run, stream) in self.streams.iter_mut().cycle_from(start, count) {
            stream.believe_claims(now);
            has_more |= !stream.gaps.is_empty() || stream.claim.is_some();
            for ask in stream.gaps.ask(now, RANGES_MAX - asked) {
                let Some(target) = stream.target(run.0, ask.times, live, rng) else { continue };
                asked += 1;
                let range = Range { node: run.0.0, incarnation: run.1.0, from: ask.from, to: ask.to };
                pulls.entry(target).or_default().push(range);
            }
        }
        self.pull_at = has_more.then_some(now + self.pull_wait);
        pulls
    }

    /// Gives what is asked for, within the bound of bytes. Returns how many, and of how many ranges some was held back.
    pub fn serve(&mut self, now: Duration, ranges: &[Range], mut push: impl FnMut(&Range, u64, &[u8])) -> (u64, u64) {
        let (mut pushed, mut held_back) = (0, 0);
        for range in ranges.iter().take(RANGES_MAX) {
            let run = (NodeId(range.node), Incarnation(range.incarnation));
            let is_whole = self.memory.serve(now, run, range.from..range.to.max(range.from), |number, payload| {
                pushed += 1;
                push(range, number, payload);
            });
            held_back += u64::from(!is_whole);
        }
        (pushed, held_back)
    }

    /// Other streams and how far they are known, as many as fit into a report: those with news, and others in turns.
    pub fn positions(&mut self) -> Vec<Position> {
        let spans: Vec<(Run, (u64, u64))> = self.memory.spans().filter(|(run, _)| *run != self.own).collect();
        let news_at = |run: &Run| self.streams.get(run).map_or(Duration::ZERO, |stream| stream.news_at);
        let mut news: Vec<usize> = (0..spans.len()).collect();
        if spans.len() > POSITIONS_MAX {
            news.sort_by_key(|index| std::cmp::Reverse(spans.get(*index).map(|(run, _)| news_at(run))));
            news.truncate(NEWS);
            let turn = self.turn;
            self.turn = self.turn.wrapping_add(POSITIONS_MAX - NEWS);
            let others = (0..spans.len()).map(|index| (turn + index) % spans.len());
            let others: Vec<usize> = others.filter(|index| !news.contains(index)).take(POSITIONS_MAX - NEWS).collect();
            news.extend(others);
        }
        let position = |index: &usize| {
            let ((node, incarnation), (low, next)) = spans.get(*index)?;
            Some(Position { node: node.0, incarnation: incarnation.0, low: *low, next: *next })
        };
        news.iter().filter_map(position).collect()
    }

    /// Forgets what is old. Once a second is often enough.
    pub fn sweep(&mut self, now: Duration) -> Swept {
        let mut swept = Swept::default();
        if now < self.sweep_at {
            return swept;
        }
        self.sweep_at = now + Duration::from_secs(1);
        self.memory.sweep(now);
        for stream in self.streams.values_mut() {
            swept.missed += stream.gaps.give_up(now, self.remembered_for);
        }
        let (memory, patience) = (&self.memory, self.remembered_for * 2);
        self.streams
            .retain(|run, stream| stream.gone_at.is_none_or(|at| now < at + patience) || memory.span(*run).is_some());
        swept
    }
}

impl Stream {
    /// It begins here, where it has not begun before.
    fn begin(&mut self, since: u64) {
        if self.start.is_none() {
            self.start = Some(since);
            self.next = since;
            self.claim = None;
        }
    }

    /// Numbers below `next` have been said.
    fn reach(&mut self, now: Duration, next: u64) {
        if next > self.next {
            self.gaps.open(now, self.next..next);
            self.next = next;
        }
    }

    fn tell_of(&mut self, teller: NodeId) {
        if self.tellers.contains(&teller) {
            return;
        }
        if self.tellers.len() >= TELLERS_MAX {
            self.tellers.pop_front();
        }
        self.tellers.push_back(teller);
    }

    /// Begins by what others claim where the owner cannot be expected to say more.
    fn believe_claims(&mut self, now: Duration) {
        let Some((at, low, next)) = self.claim else { return };
        if self.gone_at.is_some() || now >= at + SINCE_PATIENCE {
            self.begin(low);
            self.reach(now, next.min(low.saturating_add(AHEAD_MAX)));
        }
    }

    /// Whom to ask: the owner first, then anybody, those that said they have it twice as likely.
    fn target(&self, owner: NodeId, times: u32, live: &[NodeId], rng: &mut SmallRng) -> Option<NodeId> {
        let is_live = |node: &NodeId| live.binary_search(node).is_ok();
        if times == 0 && is_live(&owner) {
            return Some(owner);
        }
        let tellers: Vec<NodeId> = self.tellers.iter().copied().filter(is_live).collect();
        if !tellers.is_empty() && (times == 0 || rng.random_range(0..3) < 2) {
            return tellers.get(rng.random_range(0..tellers.len())).copied();
        }
        live.get(rng.random_range(0..live.len())).copied()
    }
}

/// All items of a map, from that place on and then from its front.
trait CycleFrom: Iterator + Sized {
    fn cycle_from(self, start: usize, count: usize) -> std::vec::IntoIter<Self::Item> {
        let mut items: Vec<Self::Item> = self.take(count).collect();
        items.rotate_left(start.min(count));
        items.into_iter()
    }
}

impl<I: Iterator> CycleFrom for I {}
