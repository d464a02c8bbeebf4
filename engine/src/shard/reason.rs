//! What the shard can tell of a trace: why it was kept or dropped, or what it would come to now.

use super::Shard;
use crate::buffer::traces::Trace;
use crate::explain::origin::{Hint, Origin, Origins, Service, service_of};
use crate::explain::{Explanation, Explanations, Pending, Reason, Says, Vote};
use crate::index::Place;
use crate::judge::{Cases, Ruling};
use crate::ledger::PolicyCounts;
use crate::rules::Evidence;
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanRecord, TraceId, tick_start};
use std::ops::Range;

/// The reasons of the last verdicts, and where undecided traces begin.
#[derive(Debug)]
pub(super) struct Reasons {
    explanations: Explanations,
    origins: Origins,
    hash_seed: [u64; 4],
    service: Option<KnownService>,
}

/// Of the batch being taken: a resource, by its place in the envelopes, and the service that it names.
#[derive(Debug)]
struct KnownService {
    resource: Range<u32>,
    service: Service,
    /// Where the last origins of it were, without a root and with one.
    origins: [Option<Hint>; 2],
}

impl Reasons {
    /// None are kept.
    pub(super) fn new(hash_seed: [u64; 4]) -> Self {
        Self { explanations: Explanations::new(0), origins: Origins::new(hash_seed), hash_seed, service: None }
    }

    fn are_kept(&self) -> bool {
        self.explanations.capacity() > 0
    }

    /// Places in envelopes are those of another batch from now on.
    pub(super) fn open_batch(&mut self) {
        self.service = None;
    }

    /// Notes where a trace begins: with its first span, and with its root.
    #[inline]
    pub(super) fn note_origin(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        if self.are_kept() && !self.origins.is_known(entry, record.is_root) {
            self.learn_origin(entry, batch, record);
        }
    }

    #[inline(never)]
    fn learn_origin(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        let resource = batch.envelopes.scopes.get(record.scope as usize).map_or(0..0, |scope| scope.resource.clone());
        if self.service.as_ref().is_none_or(|known| known.resource != resource) {
            let service = service_of(batch.envelopes.slice(&resource));
            self.service = Some(KnownService { resource, service, origins: [None; 2] });
        }
        let Some(known) = &mut self.service else { return };
        let start = record.offset as usize;
        let span = batch.body.get(start..start + record.length as usize).unwrap_or_default();
        let hint = &mut known.origins[usize::from(record.is_root)];
        if !hint.is_some_and(|hint| self.origins.set_as_before(entry, hint, (span, record.is_root))) {
            *hint = self.origins.set(entry, &Origin::of(known.service, span, record.is_root));
        }
    }

    /// A trace is gone.
    #[inline]
    pub(super) fn forget(&mut self, entry: u32) {
        self.origins.forget(entry);
    }

    fn reason(
        &self,
        (entry, trace): (u32, &Trace),
        (ruling, held): (&Ruling, u64),
        judged: Nanos,
        occasion: Occasion,
    ) -> Reason {
        Reason {
            judged,
            occasion,
            verdict: ruling.ballot.verdict,
            policy: ruling.ballot.policy,
            held,
            drop_reason: ruling.ballot.drop_reason,
            sub_policy: ruling.ballot.sub_policy,
            threshold: ruling.ballot.threshold,
            randomness: ruling.randomness.value,
            generation: trace.generation,
            spans: trace.size.spans,
            bytes: trace.size.bytes,
            duration_nanos: trace.seen.duration_nanos(),
            status: trace.seen.status,
            root_seen: trace.seen.root_seen,
            origin: self.origins.get(entry).copied().unwrap_or_default(),
        }
    }
}

impl Shard {
    /// From now on the reasons of that many verdicts are kept; those so far are forgotten.
    pub fn keep_reasons(&mut self, reasons_max: usize) {
        let Reasons { hash_seed, .. } = self.reasons;
        self.reasons = Reasons { explanations: Explanations::new(reasons_max), ..Reasons::new(hash_seed) };
    }

    /// Notes why a trace comes to what it does, before it is gone.
    #[inline]
    pub(super) fn note_reason(&mut self, now: Nanos, entry: u32, ruling: &Ruling, occasion: Occasion) {
        if self.reasons.are_kept() {
            // What lies here of a trace that another node has judged is not what it went by: that one knows.
            let held = if occasion == Occasion::Owner { 0 } else { self.held(entry, ruling) };
            self.note_reason_of(now, entry, (ruling, held), occasion);
        }
    }

    /// Notes why a piece of a trace decided.
    pub(super) fn note_piece(&mut self, now: Nanos, entry: u32, evidence: &Evidence<'_>, ruling: &Ruling) {
        if self.reasons.are_kept() {
            // Pieces are asked about under the rules in force.
            let held = self.bench.held(evidence, self.bench.rules().generation(), ruling);
            self.note_reason_of(now, entry, (ruling, held), Occasion::Ingest);
        }
    }

    fn note_reason_of(&mut self, now: Nanos, entry: u32, (ruling, held): (&Ruling, u64), occasion: Occasion) {
        let trace = self.holding.buffer.traces.get(entry);
        let reason = self.reasons.reason((entry, trace), (ruling, held), now, occasion);
        self.reasons.explanations.note(&trace.id, reason);
    }

    /// The conditions that held of the policy that decided.
    fn held(&self, entry: u32, ruling: &Ruling) -> u64 {
        let case = self.holding.case(entry);
        self.bench.held(&case.evidence, case.generation, ruling)
    }

    /// What is known of a trace; `None` when it is not this shard's, never came, or was forgotten.
    pub fn explain(&mut self, now: Nanos, trace_id: &TraceId) -> Option<Explanation> {
        let hash = self.intake.hash(trace_id);
        let place = self.holding.find(hash, trace_id);
        if let Some(Place::Pending(entry)) = place {
            return Some(Explanation::Pending(self.explain_pending(now, entry)));
        }
        if let Some(reason) = self.reasons.explanations.find(trace_id) {
            return Some(Explanation::Judged(*reason));
        }
        match place? {
            Place::Kept(position) => {
                Some(Explanation::Remembered(self.holding.kept.touch(position).map(|kept| kept.policy)))
            }
            _ => Some(Explanation::Remembered(None)),
        }
    }

    /// Asks the policies without a consequence.
    fn explain_pending(&mut self, now: Nanos, entry: u32) -> Pending {
        self.refresh(entry);
        let mut counts = vec![PolicyCounts::default(); self.ledger.policies.len()];
        let ruling = self.bench.preview(now, (&mut self.holding, entry), &mut counts);
        let says = |policy: u16| match counts.get(usize::from(policy)) {
            Some(PolicyCounts { matched: 1, .. }) => Says::Yes,
            Some(PolicyCounts { unmatched: 1, .. }) => Says::No,
            Some(PolicyCounts { failed: 1, .. }) => Says::Failed,
            _ => Says::NotAsked,
        };
        let trace = self.holding.buffer.traces.get(entry);
        let rules = self.bench.rules_of(trace.generation);
        let votes = rules.in_force().map(|policy| Vote { policy, says: says(policy) }).collect();
        let (opened, deadline) = (tick_start(trace.opened), tick_start(trace.deadline));
        let ends = self.wait_that_ends(entry);
        let reason = self.reasons.reason((entry, trace), (&ruling, self.held(entry, &ruling)), now, ends);
        Pending { reason, opened, deadline, has_cold: trace.has_cold, votes }
    }
}
