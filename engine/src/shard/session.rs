//! A session: traces from the docket that are judged together, each with all that is known of it.

use crate::cluster::docket::{Docket, Docketed};
use crate::evidence::{Gathered, Summary};
use crate::judge::{Case, Cases};
use crate::rules::Rules;

/// Traces about to be judged, by their places in the list that they were called from.
#[derive(Debug)]
pub(super) struct Session {
    cases: Vec<(Docketed, Gathered)>,
    generation: u32,
}

impl Session {
    /// Calls traces: what their sources told is merged.
    pub(super) fn call(docket: &Docket, entries: &[u32], rules: &Rules) -> Self {
        let cases = entries.iter().map(|entry| {
            let trace = docket.get(*entry).clone();
            let merged = trace.merged(rules);
            (trace, merged)
        });
        Self { cases: cases.collect(), generation: rules.generation() }
    }

    /// The places of all of them.
    pub(super) fn places(&self) -> Vec<u32> {
        (0u32..).take(self.cases.len()).collect()
    }

    /// What is known of one.
    pub(super) fn get(&self, place: u32) -> &(Docketed, Gathered) {
        &self.cases[place as usize]
    }
}

impl Cases for Session {
    fn case(&self, place: u32) -> Case<'_> {
        let (trace, merged) = self.get(place);
        Case {
            evidence: merged.evidence(&trace.trace_id),
            head: merged.head.as_deref(),
            generation: self.generation,
            deadline: trace.deadline,
        }
    }

    fn settle(&mut self, place: u32, _rules: &Rules, set: impl FnOnce(&mut Summary, &mut [u64])) {
        // Keys were given when they were merged.
        let (_, merged) = &mut self.cases[place as usize];
        set(&mut merged.seen, &mut merged.more);
    }
}
