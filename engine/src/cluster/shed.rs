//! Shedding: a cluster that can't take all that comes gives up the same traces on every node. Each node that is pressed says
//! how often it wants the traces that pass to be halved; the most that anyone wants holds for all. A trace is shed whose
//! randomness lies below the threshold of that level.
//!
//! What makes it one decision on all nodes: spans are shed as they come only once the level was said a while ago, when every
//! owner has heard of it; owners drop by it at once, and go on for as long as a trace lasts that may have lost spans to it. So
//! each says with its level what it has heard that still holds for traces: who has just come owns some of these, too.
//!
//! ```text
//! said by a node     |--- level 2 ---------------------------|--- level 1 ...
//! sheds spans             |--- 2 ----------------------------|--- 1
//! drops traces       |--- 2 ------------------------------------------|--- 1
//!                    <-SETTLE->                              <- hold ->
//! ```

use super::SETTLE;
use crate::vocabulary::Nanos;
use std::collections::{BTreeMap, VecDeque};
use tailwater_proto::cluster::NodeId;
use tailwater_proto::consistent::NEVER;

/// Halvings that a node may ask for: past this hardly anything is left to be judged.
pub const LEVEL_MAX: u8 = 10;
/// After a step, until the next one up: it has taken effect by then, and shown what it does.
const RAISE_INTERVAL: Nanos = Nanos::from_millis(4_000);
/// Without pressure, until the next step down.
const LOWER_INTERVAL: Nanos = Nanos::from_millis(10_000);
/// Nodes say their levels each second. One that has not for so long, because it began anew or can't be heard, wants nothing.
const SILENCE_MAX: Nanos = Nanos::from_millis(10_000);
/// What others have heard is said each second, too: of three one comes.
const LATELY: Nanos = Nanos::from_millis(3_000);
/// Levels that are remembered of a node.
/// At the bound: the oldest are taken together, at the highest of them.
const REMEMBERED_MAX: usize = 16;

/// The least randomness that passes at a level, of 2^56.
#[must_use]
pub const fn threshold(level: u8) -> u64 {
    NEVER - (NEVER >> if level > LEVEL_MAX { LEVEL_MAX } else { level })
}

/// How far this node wants to shed.
#[derive(Debug, Default)]
struct Own {
    level: u8,
    changed: Nanos,
    /// When it was last pressed.
    pressed: Nanos,
}

/// What a node has said.
#[derive(Debug, Default)]
struct Said {
    /// When it said so last.
    heard: Nanos,
    /// Newest last: from when on, and which.
    levels: VecDeque<(Nanos, u8)>,
}

/// The levels of all nodes.
#[derive(Debug, Default)]
pub struct Shed {
    own: Own,
    said: BTreeMap<NodeId, Said>,
    /// Spans of traces with less are shed as they come.
    spans_below: u64,
    /// Traces with less are dropped by their owner.
    traces_below: u64,
    /// The highest level that anyone has said itself and that holds for traces.
    lately: u8,
    /// The highest that anyone has heard so, and until when that is believed.
    others_lately: (Nanos, u8),
}

impl Shed {
    /// The least randomness of a span that is taken, if it begins a trace here.
    #[inline]
    #[must_use]
    pub fn spans_below(&self) -> u64 {
        self.spans_below
    }

    /// The least randomness of a trace that may be kept.
    #[inline]
    #[must_use]
    pub fn traces_below(&self) -> u64 {
        self.traces_below
    }

    /// The highest level that holds for traces under way, of those that nodes have said themselves.
    #[must_use]
    pub fn lately(&self) -> u8 {
        self.lately
    }

    /// A node has heard of levels up to this that hold for traces under way. True if that is more than was known.
    pub fn note_lately(&mut self, now: Nanos, level: u8) -> bool {
        let (until, highest) = &mut self.others_lately;
        let is_more = level > if now > *until { 0 } else { *highest };
        if now > *until || level >= *highest {
            (*until, *highest) = (now.plus(LATELY), level.min(LEVEL_MAX));
        }
        is_more
    }

    /// Whether this node is or was pressed of late: others are to be told of its level.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.said.is_empty()
    }

    /// The level that this node wants, given whether it is pressed now: one step in its time, at most `level_max`.
    pub fn want(&mut self, now: Nanos, is_pressed: bool, level_max: u8) -> u8 {
        let Own { level, changed, pressed } = &mut self.own;
        if is_pressed {
            *pressed = now;
        }
        let may_rise = *level == 0 || now >= changed.plus(RAISE_INTERVAL);
        let may_fall = now >= changed.plus(LOWER_INTERVAL) && now >= pressed.plus(LOWER_INTERVAL);
        let next = match is_pressed {
            true if may_rise => level.saturating_add(1),
            false if may_fall => level.saturating_sub(1),
            _ => *level,
        };
        let next = next.min(level_max).min(LEVEL_MAX);
        if next != *level {
            (*level, *changed) = (next, now);
        }
        next
    }

    /// A node has said its level. True if it was another before.
    pub fn note(&mut self, now: Nanos, node: NodeId, level: u8) -> bool {
        let level = level.min(LEVEL_MAX);
        if level == 0 && !self.said.contains_key(&node) {
            return false;
        }
        let said = self.said.entry(node).or_default();
        said.heard = now;
        said.note(now, level)
    }

    /// A node is gone: what it wanted holds for traces that may have lost spans to it.
    pub fn forget(&mut self, now: Nanos, is_member: impl Fn(NodeId) -> bool) {
        let gone: Vec<NodeId> = self.said.keys().copied().filter(|node| !is_member(*node)).collect();
        gone.into_iter().for_each(|node| _ = self.note(now, node, 0));
    }

    /// The time goes on: a trace lasts for `hold` at most, from its first span to its verdict.
    pub fn turn(&mut self, now: Nanos, hold: Nanos) {
        let settled = Nanos(now.0.saturating_sub(SETTLE.0));
        let held = Nanos(now.0.saturating_sub(SETTLE.0 + hold.0));
        let (mut spans, mut traces) = (0, 0);
        self.said.retain(|_, said| {
            if now > said.heard.plus(SILENCE_MAX) {
                said.note(now, 0);
            }
            said.forget_before(held);
            let was_silent = said.levels.front().is_none_or(|(from, _)| *from > settled);
            spans = spans.max(if was_silent { 0 } else { said.since(settled).min().unwrap_or(0) });
            traces = traces.max(said.since(held).max().unwrap_or(0));
            said.levels.iter().any(|(_, level)| *level > 0)
        });
        self.lately = traces;
        let (until, highest) = self.others_lately;
        let traces = if now > until { traces } else { traces.max(highest) };
        (self.spans_below, self.traces_below) = (threshold(spans), threshold(traces));
    }
}

impl Said {
    fn note(&mut self, now: Nanos, level: u8) -> bool {
        let Self { levels, .. } = self;
        if levels.back().map_or(0, |(_, last)| *last) == level {
            return false;
        }
        if levels.len() >= REMEMBERED_MAX {
            let oldest = levels.pop_front().map_or(0, |(_, level)| level);
            levels.iter_mut().take(1).for_each(|(_, level)| *level = oldest.max(*level));
        }
        levels.push_back((now, level));
        true
    }

    /// What was in force at `begin` stays, and all since.
    fn forget_before(&mut self, begin: Nanos) {
        while self.levels.get(1).is_some_and(|(from, _)| *from <= begin) {
            self.levels.pop_front();
        }
    }

    /// The levels that were in force at some time after `begin`.
    fn since(&self, begin: Nanos) -> impl Iterator<Item = u8> + '_ {
        let ends = self.levels.iter().skip(1).map(|(from, _)| *from).chain([Nanos(u64::MAX)]);
        self.levels.iter().zip(ends).filter(move |(_, end)| *end > begin).map(|((_, level), _)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Nanos = Nanos::from_millis(30_000);

    fn at(seconds: u64) -> Nanos {
        Nanos::from_millis(1_000 * seconds)
    }

    /// Levels at which spans and traces are shed, `seconds` after 100, where these were said.
    fn levels(said: &[(u64, u64, u8)], seconds: u64) -> (u64, u64) {
        let mut shed = Shed::default();
        for second in 100..=100 + seconds {
            for node in 1..=3 {
                // Each says every second what it said last.
                let before = said.iter().rfind(|(from, who, _)| *from + 100 <= second && *who == node);
                before.into_iter().for_each(|(_, _, level)| _ = shed.note(at(second), NodeId(node), *level));
            }
            shed.turn(at(second), HOLD);
        }
        (shed.spans_below(), shed.traces_below())
    }

    #[test]
    fn each_level_halves_what_passes() {
        assert_eq!((threshold(0), threshold(1), threshold(2)), (0, NEVER / 2, NEVER / 4 * 3));
    }

    /// Owners are to know of a level before anyone sheds by it, and to go on when nobody does any more: else a trace of which
    /// spans were shed is kept by what is left.
    #[test]
    fn whoever_sheds_spans_owners_drop_their_traces() {
        let said = [(0, 1, 2), (20, 1, 1), (40, 1, 0)];
        assert_eq!(levels(&said, 1), (0, threshold(2)));
        assert_eq!(levels(&said, 2), (threshold(2), threshold(2)));
        assert_eq!(levels(&said, 21), (threshold(1), threshold(2)), "down at once, but not for traces under way");
        assert_eq!(levels(&said, 53), (0, threshold(1)));
        assert_eq!(levels(&said, 73), (0, 0));
        for seconds in 0..80 {
            let (spans, traces) = levels(&said, seconds);
            assert!(spans <= traces, "{seconds}");
        }
    }

    #[test]
    fn the_most_that_anyone_wants_holds_for_all() {
        assert_eq!(levels(&[(0, 1, 1), (0, 2, 3), (5, 3, 2)], 10), (threshold(3), threshold(3)));
    }

    #[test]
    fn a_node_under_pressure_wants_one_step_in_its_time_and_comes_down_slowly() {
        let mut shed = Shed::default();
        let wanted = |shed: &mut Shed, from: u64, seconds: u64, is_pressed| {
            (from..from + seconds).map(|second| shed.want(at(second), is_pressed, 3)).last()
        };
        assert_eq!(wanted(&mut shed, 100, 1, true), Some(1));
        assert_eq!(wanted(&mut shed, 101, 3, true), Some(1));
        assert_eq!(wanted(&mut shed, 104, 1, true), Some(2));
        assert_eq!(wanted(&mut shed, 105, 60, true), Some(3), "and no further than it may");
        assert_eq!(wanted(&mut shed, 165, 9, false), Some(3));
        assert_eq!(wanted(&mut shed, 174, 10, false), Some(2));
        assert_eq!(wanted(&mut shed, 184, 30, false), Some(0));
    }

    #[test]
    fn who_is_gone_sheds_nothing_more() {
        let mut shed = Shed::default();
        shed.note(at(100), NodeId(1), 2);
        shed.turn(at(110), HOLD);
        shed.forget(at(110), |_| false);
        shed.turn(at(111), HOLD);
        assert_eq!((shed.spans_below(), shed.traces_below()), (0, threshold(2)));
        shed.turn(at(150), HOLD);
        assert!(shed.traces_below() == 0 && !shed.is_active());
    }

    /// Without `SILENCE_MAX` a node that began anew, and is under no pressure, would be shed for until it is.
    #[test]
    fn who_does_not_say_it_again_wants_nothing() {
        let mut shed = Shed::default();
        shed.note(at(100), NodeId(1), 2);
        shed.turn(at(110), HOLD);
        assert_eq!(shed.spans_below(), threshold(2));
        shed.turn(at(111), HOLD);
        assert_eq!(shed.spans_below(), 0);
    }

    /// Without `note_lately` a node that comes when nobody sheds any more keeps traces of which others have shed spans; and what
    /// one says because another did would hold for ever if that were said on.
    #[test]
    fn who_comes_later_hears_what_holds_for_traces_under_way() {
        let (mut old, mut new) = (Shed::default(), Shed::default());
        old.note(at(100), NodeId(1), 2);
        old.note(at(110), NodeId(1), 0);
        for second in 111..160 {
            old.turn(at(second), HOLD);
            if second % 2 == 0 {
                new.note_lately(at(second), old.lately());
            }
            new.turn(at(second), HOLD);
            old.note_lately(at(second), new.lately());
            assert!(second < 112 || new.traces_below() >= old.traces_below(), "{second}");
            assert_eq!((new.spans_below(), new.lately()), (0, 0));
        }
        assert_eq!((old.traces_below(), new.traces_below()), (0, 0));
    }

    #[test]
    fn many_changes_are_remembered_at_the_highest() {
        let mut shed = Shed::default();
        (0..100).for_each(|step| {
            _ = shed.note(Nanos(at(100).0 + step), NodeId(1), if step == 3 { 7 } else { 1 + u8::from(step % 2 == 1) });
        });
        shed.turn(at(101), HOLD);
        assert_eq!(shed.traces_below(), threshold(7));
    }
}
