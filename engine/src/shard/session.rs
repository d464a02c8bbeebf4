//! A session: traces from the docket that are judged together, each with all that is known of it.

use crate::cluster::docket::{Docket, Docketed};
use crate::evidence::{Gathered, Summary};
use crate::judge::{Case, Cases};
use crate::rules::Rules;
use crate::vocabulary::TraceId;

/// A trace on the docket: its place there, and its entry here if spans of it lie here undecided.
pub(super) type Docketing = (u32, Option<u32>);

/// Traces about to be judged, by their places in the list that they were called from.
#[derive(Debug)]
pub(super) struct Session {
    cases: Vec<Called>,
    generation: u32,
}

/// A trace with what its sources told, merged.
#[derive(Debug)]
struct Called {
    trace_id: TraceId,
    deadline: u32,
    here: Option<u32>,
    gathered: Gathered,
}

impl Session {
    /// Calls traces: what their sources told is merged.
    pub(super) fn call(docket: &Docket, entries: &[Docketing], rules: &Rules) -> Self {
        let cases = entries.iter().map(|(entry, here)| {
            let trace = docket.get(*entry);
            let Docketed { trace_id, deadline, .. } = *trace;
            Called { trace_id, deadline, here: *here, gathered: trace.merged(rules) }
        });
        Self { cases: cases.collect(), generation: rules.generation() }
    }

    /// The places of all of them.
    pub(super) fn places(&self) -> Vec<u32> {
        (0u32..).take(self.cases.len()).collect()
    }

    /// The entry here of one, if spans of it lie here undecided.
    pub(super) fn here(&self, place: u32) -> Option<u32> {
        self.cases[place as usize].here
    }
}

impl Cases for Session {
    fn case(&self, place: u32) -> Case<'_> {
        let Called { trace_id, deadline, gathered, .. } = &self.cases[place as usize];
        Case {
            evidence: gathered.evidence(trace_id),
            head: gathered.head.as_deref(),
            generation: self.generation,
            deadline: *deadline,
        }
    }

    fn settle(&mut self, place: u32, _rules: &Rules, set: impl FnOnce(&mut Summary, &mut [u64])) {
        // Keys were given when they were merged.
        let Called { gathered, .. } = &mut self.cases[place as usize];
        set(&mut gathered.seen, &mut gathered.more);
    }
}
