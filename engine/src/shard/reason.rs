//! What the shard can tell of a trace: why it was kept or dropped, or what it would come to now.

use super::{Shard, TICK};
use crate::explain::origin::{Origin, Origins, service_of};
use crate::explain::{Explanation, Explanations, Pending, Reason, Says, Vote};
use crate::index::Place;
use crate::ledger::PolicyCounts;
use crate::rules::{Ballot, Evidence, Reading};
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanRecord, TraceId};

impl Shard {
    /// From now on the reasons of that many verdicts are kept; those so far are forgotten.
    pub fn keep_reasons(&mut self, reasons_max: usize) {
        self.explanations = Explanations::new(reasons_max);
        self.origins = Origins::new(self.plan.hash_seed);
    }

    /// Notes where a trace begins: with its first span, and with its root.
    #[inline]
    pub(super) fn note_origin(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        if self.explanations.capacity() > 0 && !self.origins.is_known(entry, record.is_root) {
            self.learn_origin(entry, batch, record);
        }
    }

    #[inline(never)]
    fn learn_origin(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        let resource = batch.envelopes.scopes.get(record.scope as usize).map_or(0..0, |scope| scope.resource.clone());
        let known = self.service.as_ref().filter(|(of, _)| *of == resource).map(|(_, service)| *service);
        let service = known.unwrap_or_else(|| {
            let service = service_of(batch.envelopes.slice(&resource));
            self.service = Some((resource, service));
            service
        });
        let start = record.offset as usize;
        let span = batch.body.get(start..start + record.length as usize).unwrap_or_default();
        self.origins.set(entry, &Origin::of(service, span, record.is_root));
    }

    /// Notes why a trace comes to what it does, before it is gone.
    #[inline]
    pub(super) fn note_reason(&mut self, entry: u32, ballot: &Ballot, randomness: u64, now: Nanos, occasion: Occasion) {
        if self.explanations.capacity() > 0 {
            let held = self.held(entry, None, ballot, randomness);
            self.note_reason_of(entry, (ballot, held), randomness, now, occasion);
        }
    }

    /// Notes why a piece of a trace decided.
    pub(super) fn note_piece(&mut self, entry: u32, evidence: &Evidence<'_>, ballot: &Ballot, own: u64, now: Nanos) {
        if self.explanations.capacity() > 0 {
            let held = self.held(entry, Some(evidence), ballot, own);
            self.note_reason_of(entry, (ballot, held), own, now, Occasion::Ingest);
        }
    }

    fn note_reason_of(
        &mut self,
        entry: u32,
        (ballot, held): (&Ballot, u64),
        randomness: u64,
        now: Nanos,
        occasion: Occasion,
    ) {
        let reason = self.reason(entry, (ballot, held), randomness, now, occasion);
        self.explanations.note(&self.buffer.traces.get(entry).id, reason);
    }

    /// The conditions that held of the policy that decided, for a trace or for `evidence` of a piece of it.
    fn held(&mut self, entry: u32, evidence: Option<&Evidence<'_>>, ballot: &Ballot, randomness: u64) -> u64 {
        let Some(policy) = ballot.policy else { return 0 };
        let Self { buffer, rules, limits, generations, .. } = self;
        let (rules, limits) = match evidence {
            // Pieces are asked about under the rules in force.
            Some(_) => (&**rules, limits),
            None => generations.of(buffer.traces.get(entry).generation, rules, limits),
        };
        let whole = buffer.evidence(entry);
        let reading = if rules.is_by_randomness() { Reading::Randomness(limits, randomness) } else { Reading::Arrival };
        rules.held(policy, evidence.unwrap_or(&whole), reading, ballot.sub_policy)
    }

    fn reason(
        &self,
        entry: u32,
        (ballot, held): (&Ballot, u64),
        randomness: u64,
        judged: Nanos,
        occasion: Occasion,
    ) -> Reason {
        let trace = self.buffer.traces.get(entry);
        Reason {
            judged,
            occasion,
            verdict: ballot.verdict,
            policy: ballot.policy,
            held,
            drop_reason: ballot.drop_reason,
            sub_policy: ballot.sub_policy,
            threshold: ballot.threshold,
            randomness,
            generation: trace.generation,
            spans: trace.size.spans,
            bytes: trace.size.bytes,
            duration_nanos: trace.seen.duration_nanos(),
            status: trace.seen.status,
            root_seen: trace.seen.root_seen,
            origin: self.origins.get(entry).copied().unwrap_or_default(),
        }
    }

    /// What is known of a trace; `None` when it is not this shard's, never came, or was forgotten.
    pub fn explain(&mut self, now: Nanos, trace_id: &TraceId) -> Option<Explanation> {
        let hash = self.intake.hash(trace_id);
        let place = self.index.find(hash, |place| match place {
            Place::Pending(entry) => self.buffer.traces.get(entry).id == *trace_id,
            Place::Kept(position) => self.kept.is(position, hash),
            Place::Dropped(position) => self.dropped.is(position, hash),
        });
        if let Some((_, Place::Pending(entry))) = place {
            return Some(Explanation::Pending(self.explain_pending(now, entry)));
        }
        if let Some(reason) = self.explanations.find(trace_id) {
            return Some(Explanation::Judged(*reason));
        }
        match place? {
            (_, Place::Kept(position)) => {
                Some(Explanation::Remembered(self.kept.touch(position).map(|kept| kept.policy)))
            }
            _ => Some(Explanation::Remembered(None)),
        }
    }

    /// Asks the policies without a consequence.
    fn explain_pending(&mut self, now: Nanos, entry: u32) -> Pending {
        self.refresh(entry);
        self.compare_with_its_kind(entry);
        let mut counts = vec![PolicyCounts::default(); self.ledger.policies.len()];
        let rows = self.rows(entry);
        let Self { buffer, rules, limits, generations, randomness, .. } = self;
        let trace = buffer.traces.get(entry);
        let (rules, limits) = generations.of(trace.generation, rules, limits);
        let evidence = buffer.evidence(entry);
        // What limits let through may be paid at once: from a copy.
        let mut limits = limits.clone();
        limits.judge_early(false);
        limits.judge_early(false);
        let (ballot, own) = if rules.is_by_randomness() {
            let own = randomness.of(&trace.id, buffer.head(entry), trace.seen.is_random).value;
            (rules.judge_randomness(&evidence, &rows, own, &limits, &mut counts), own)
        } else {
            (rules.judge_arrival(&evidence, &mut limits, now, &mut counts), 0)
        };
        rules.judge_shadows(&evidence, (own, now), &mut limits, &ballot, &mut counts);
        let says = |policy: u16| match counts.get(usize::from(policy)) {
            Some(PolicyCounts { matched: 1, .. }) => Says::Yes,
            Some(PolicyCounts { unmatched: 1, .. }) => Says::No,
            Some(PolicyCounts { failed: 1, .. }) => Says::Failed,
            _ => Says::NotAsked,
        };
        let votes = rules.in_force().map(|policy| Vote { policy, says: says(policy) }).collect();
        let (opened, deadline) = (tick_start(trace.opened), tick_start(trace.deadline));
        let has_cold = trace.has_cold;
        let held = self.held(entry, None, &ballot, own);
        let reason = self.reason(entry, (&ballot, held), own, now, self.wait_that_ends(entry));
        Pending { reason, opened, deadline, has_cold, votes }
    }
}

/// When a tick begins.
pub(super) fn tick_start(tick: u32) -> Nanos {
    Nanos(u64::from(tick).saturating_mul(TICK.0))
}
