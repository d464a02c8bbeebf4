//! The docket: the traces that this node judges for the cluster, with what each node that has spans of them told last. The
//! spans are elsewhere, or here beside it.

use super::wheel::Wheel;
use crate::evidence::{Gathered, Size};
use crate::rules::Rules;
use crate::vocabulary::TraceId;
use hashbrown::HashTable;
use tailwater_proto::cluster::{Incarnation, NodeId};

/// What one node told of a trace.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which node, in which run.
    pub node: NodeId,
    /// A later run takes the place of an earlier one.
    pub incarnation: Incarnation,
    /// The fingerprint of the rules that it was gathered under; under others only the numbers count.
    pub fingerprint: u64,
    /// What its spans say.
    pub gathered: Gathered,
}

/// A trace on the docket.
#[derive(Debug, Clone)]
pub struct Docketed {
    /// Which.
    pub trace_id: TraceId,
    /// The keyed hash of its id.
    pub hash: u64,
    /// Tick at which its first span came to any node, as far as is known.
    pub opened: u32,
    /// Tick at which its latest span came.
    pub active: u32,
    /// Tick at which a root came; `NO_ROOT` if none did.
    pub root_came: u32,
    /// Tick at which it is to be judged.
    pub deadline: u32,
    /// Who told what.
    pub sources: Vec<Source>,
    /// A node has more of it than it may hold.
    pub is_too_large: bool,
    /// Who was asked what it remembers of it, and has not answered.
    pub asked: Vec<NodeId>,
    /// Tick at which others were asked once more, as it was about to be judged; 0 if they were not.
    pub asked_again: u32,
    /// It is judged as soon as can be, whatever its waits: a node that has spans of it is about to leave, say.
    is_hurried: bool,
    /// Tick since which it waits for what was told under other rules; 0 if it does not.
    waits_since: u32,
    is_vacant: bool,
}

/// No root has come.
pub const NO_ROOT: u32 = u32::MAX;

/// An entry as it was heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Which trace.
    pub trace_id: TraceId,
    /// The keyed hash of its id.
    pub hash: u64,
    /// By this node's clock: when its first span came to the source,
    pub opened: u32,
    /// and its latest.
    pub active: u32,
    /// The source has more of it than it may hold.
    pub is_too_large: bool,
    /// Who told it.
    pub source: Source,
}

/// The traces to be judged.
#[derive(Debug)]
pub struct Docket {
    index: HashTable<u32>,
    entries: Vec<Docketed>,
    vacant: Vec<u32>,
    /// Lists of sources of traces that are gone, empty, for those that come.
    spare: Vec<Vec<Source>>,
    wheel: Wheel,
    traces_max: usize,
}

/// Lists of sources that are kept for traces that come: as many traces as are judged at once.
/// At the bound: the memory of more is given back.
const SPARE_MAX: usize = 256;

impl Docket {
    /// A docket of at most so many traces.
    #[must_use]
    pub fn new(traces_max: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            vacant: Vec::new(),
            spare: Vec::new(),
            wheel: Wheel::new(),
            traces_max,
        }
    }

    /// Traces on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether another trace needs another's place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.traces_max
    }

    /// A trace that is on it.
    #[must_use]
    pub fn get(&self, entry: u32) -> &Docketed {
        &self.entries[entry as usize]
    }

    /// Where a trace is.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<u32> {
        self.index.find(hash, |entry| self.entries[*entry as usize].hash == hash).copied()
    }

    /// The traces on it.
    pub fn entries(&self) -> impl Iterator<Item = u32> {
        self.index.iter().copied()
    }

    /// Takes in what was heard of the trace that is at `found`, as `find` says; of a new one where that is nowhere. `deadline`
    /// says when the trace, as it is then, is to be judged. There must be room.
    pub fn hear(&mut self, found: Option<u32>, heard: Heard, deadline: impl FnOnce(&Docketed) -> u32) -> u32 {
        let number = found.unwrap_or_else(|| self.open(&heard));
        let entry = &mut self.entries[number as usize];
        entry.opened = entry.opened.min(heard.opened);
        entry.active = entry.active.max(heard.active);
        entry.is_too_large |= heard.is_too_large;
        if heard.source.gathered.seen.root_seen {
            // The entry that first tells of a root was sent when it came.
            entry.root_came = entry.root_came.min(heard.active);
        }
        entry.take_in(heard.source);
        let deadline = if entry.is_hurried { entry.deadline } else { deadline(entry) };
        if deadline != entry.deadline {
            entry.deadline = deadline;
            self.wheel.list(number, deadline);
        }
        number
    }

    fn open(&mut self, heard: &Heard) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(Docketed::vacant());
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        self.entries[number as usize] = Docketed {
            trace_id: heard.trace_id,
            hash: heard.hash,
            opened: heard.opened,
            active: heard.active,
            sources: self.spare.pop().unwrap_or_default(),
            is_vacant: false,
            ..Docketed::vacant()
        };
        let entries = &self.entries;
        self.index.insert_unique(heard.hash, number, |entry| entries[*entry as usize].hash);
        number
    }

    /// These were asked what they remember of a trace; `tick` where it was about to be judged.
    pub fn note_asked(&mut self, entry: u32, nodes: Vec<NodeId>, tick: Option<u32>) {
        let trace = &mut self.entries[entry as usize];
        trace.asked = nodes;
        if let Some(tick) = tick.filter(|_| trace.asked_again == 0) {
            trace.asked_again = tick.max(1);
        }
    }

    /// A node remembers nothing of a trace.
    pub fn answered(&mut self, hash: u64, node: NodeId) {
        if let Some(entry) = self.find(hash) {
            self.entries[entry as usize].asked.retain(|asked| *asked != node);
        }
    }

    /// A trace waits, until `deadline` at first; since when it does.
    pub fn wait(&mut self, entry: u32, tick: u32, deadline: u32) -> u32 {
        let trace = &mut self.entries[entry as usize];
        if trace.waits_since == 0 {
            trace.waits_since = tick.max(1);
        }
        let since = trace.waits_since;
        self.reschedule(entry, deadline);
        since
    }

    /// A trace is to be judged at `tick`, also when others tell more of it.
    pub fn hurry(&mut self, entry: u32, tick: u32) {
        self.entries[entry as usize].is_hurried = true;
        self.reschedule(entry, tick);
    }

    /// Another deadline.
    pub fn reschedule(&mut self, entry: u32, deadline: u32) {
        self.entries[entry as usize].deadline = deadline;
        self.wheel.list(entry, deadline);
    }

    /// Takes up to `count_max` traces that are due at `tick` off the wheel, into `out`; each is to be removed or put back.
    /// True when more may be due.
    pub fn expire(&mut self, tick: u32, count_max: usize, out: &mut Vec<u32>) -> bool {
        out.clear();
        let entries = &self.entries;
        let more = self.wheel.expire(tick, count_max, |entry| entries[entry as usize].due(), out);
        // One whose deadline moved there and back is listed twice.
        out.sort_unstable();
        out.dedup();
        more
    }

    /// The trace that is due next.
    #[must_use]
    pub fn soonest(&self) -> Option<u32> {
        let entries = &self.entries;
        self.wheel.soonest(|entry| entries[entry as usize].due())
    }

    /// The traces that are due at `tick`; they stay on the wheel.
    pub fn due(&self, tick: u32, out: &mut Vec<u32>) {
        out.clear();
        out.extend(self.entries().filter(|entry| self.get(*entry).deadline <= tick));
        out.sort_unstable();
    }

    /// Lists a trace again that was due and was not judged.
    pub fn put_back(&mut self, entry: u32) {
        let deadline = self.get(entry).deadline;
        self.wheel.list(entry, deadline);
    }

    /// A trace is judged: it leaves, with those who told of it.
    pub fn remove(&mut self, entry: u32) -> Docketed {
        let removed = std::mem::replace(&mut self.entries[entry as usize], Docketed::vacant());
        if let Ok(found) = self.index.find_entry(removed.hash, |number| *number == entry) {
            found.remove();
        }
        self.vacant.push(entry);
        removed
    }

    /// A trace that left is not needed any more: the next that comes has the memory of its list.
    pub fn give_back(&mut self, trace: Docketed) {
        let mut sources = trace.sources;
        if self.spare.len() < SPARE_MAX {
            sources.clear();
            self.spare.push(sources);
        }
    }

    /// The rules have changed: leaves and keys so far mean nothing any more.
    pub fn forget_words(&mut self, words_more: usize) {
        for source in self.entries.iter_mut().flat_map(|entry| &mut entry.sources) {
            source.fingerprint = 0;
            source.gathered.forget_words(words_more);
        }
    }
}

impl Docketed {
    fn vacant() -> Self {
        Self {
            trace_id: [0; 16],
            hash: 0,
            opened: u32::MAX,
            active: 0,
            root_came: NO_ROOT,
            deadline: u32::MAX,
            sources: Vec::new(),
            is_too_large: false,
            asked: Vec::new(),
            asked_again: 0,
            is_hurried: false,
            waits_since: 0,
            is_vacant: true,
        }
    }

    /// Whether something of it was told under other rules than those of this fingerprint.
    #[must_use]
    pub fn is_foreign(&self, fingerprint: u64) -> bool {
        self.sources.iter().any(|source| source.fingerprint != fingerprint)
    }

    fn due(&self) -> Option<u32> {
        (!self.is_vacant).then_some(self.deadline)
    }

    /// A later snapshot of a node takes the place of an earlier one; which came first does not matter.
    fn take_in(&mut self, told: Source) {
        let Some(known) = self.sources.iter_mut().find(|known| known.node == told.node) else {
            return self.sources.push(told);
        };
        let version = |source: &Source| (source.incarnation, source.gathered.size.spans);
        if version(&told) >= version(known) {
            *known = told;
        }
    }

    /// Spans and bytes of it, wherever they lie.
    #[must_use]
    pub fn size(&self) -> Size {
        let mut size = Size::default();
        self.sources.iter().for_each(|source| size.add(source.gathered.size));
        size
    }

    /// All that is known of it, as if all its spans had come here.
    #[must_use]
    pub fn merged(&self, rules: &Rules) -> Gathered {
        let (first, others) = match self.sources.split_first() {
            Some((first, others)) => (first.gathered.clone(), others),
            None => (Gathered::new(rules), &[][..]),
        };
        let mut merged = first;
        others.iter().for_each(|source| merged.merge(rules, &source.gathered));
        merged.settle(rules, &self.trace_id);
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(node: u64, incarnation: u64, spans: u32) -> Heard {
        let rules = Rules::compile(&tailwater_config::sampling::Sampling::default()).unwrap();
        let mut gathered = Gathered::new(&rules);
        gathered.size = Size { spans, bytes: spans * 100 };
        let source = Source { node: NodeId(node), incarnation: Incarnation(incarnation), fingerprint: 1, gathered };
        Heard { trace_id: [1; 16], hash: 1, opened: 10, active: 20, is_too_large: false, source }
    }

    fn spans(told: &[(u64, u64, u32)]) -> u32 {
        let mut docket = Docket::new(8);
        let mut entry = 0;
        for (node, incarnation, spans) in told {
            entry = docket.hear(docket.find(1), heard(*node, *incarnation, *spans), |_| 30);
        }
        docket.get(entry).size().spans
    }

    /// Without the comparison of versions an old snapshot that comes late takes spans away.
    #[test]
    fn snapshots_count_once_whatever_their_order() {
        assert_eq!(spans(&[(1, 1, 3), (2, 1, 5)]), 8);
        assert_eq!(spans(&[(1, 1, 3), (1, 1, 4), (1, 1, 3)]), 4);
        assert_eq!(spans(&[(1, 2, 1), (1, 1, 9)]), 1, "a later run has what is there now");
    }

    /// Without `is_hurried` a node that leaves waits for the whole wait of each trace that another node tells of after it.
    #[test]
    fn a_trace_that_is_hurried_does_not_wait_again_when_others_tell_of_it() {
        let mut docket = Docket::new(8);
        let entry = docket.hear(None, heard(1, 1, 1), |_| 300);
        docket.hurry(entry, 30);
        docket.hear(Some(entry), heard(2, 1, 1), |_| 300);
        let mut due = Vec::new();
        assert!(!docket.expire(30, 9, &mut due));
        assert_eq!(due, [entry]);
    }

    #[test]
    fn a_deadline_that_moves_counts_once() {
        let mut docket = Docket::new(8);
        let entry = docket.hear(None, heard(1, 1, 1), |_| 30);
        docket.reschedule(entry, 40);
        docket.reschedule(entry, 30);
        let mut due = Vec::new();
        assert!(!docket.expire(29, 9, &mut due) && due.is_empty());
        assert!(!docket.expire(30, 9, &mut due));
        assert_eq!(due, [entry]);
        docket.put_back(entry);
        assert!(!docket.expire(31, 9, &mut due));
        assert_eq!(due, [entry]);
        docket.remove(entry);
        assert!(!docket.expire(5_000, 9, &mut due) && due.is_empty() && docket.is_empty());
        let again = docket.hear(None, heard(1, 1, 1), |_| 5_001);
        assert!(!docket.expire(5_001, 9, &mut due));
        assert_eq!(due, [again]);
    }
}
