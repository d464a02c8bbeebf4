//! What the shard can tell of a trace: why it was kept or dropped, or what it would come to now.

use super::Shard;
use super::session::Session;
use super::telling::ask;
use crate::cluster::ASK_INTERVAL;
use crate::evidence::{Size, Summary};
use crate::explain::origin::{Hint, Origin, Origins, Service, service_of};
use crate::explain::{Explanation, Explanations, Pending, Reason, Says, Vote};
use crate::index::Place;
use crate::judge::{Case, Cases, Ruling};
use crate::ledger::PolicyCounts;
use crate::rules::{Evidence, Rules};
use crate::vocabulary::{Nanos, Occasion, ShardIndex, SpanBatch, SpanRecord, TraceId, tick_start};
use std::ops::Range;
use tailwater_proto::cluster::NodeId;

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

    /// The latest reason of a trace.
    pub(super) fn of(&self, trace_id: &TraceId) -> Option<&Reason> {
        self.explanations.find(trace_id)
    }

    /// Notes a reason.
    pub(super) fn note(&mut self, trace_id: &TraceId, reason: Reason) {
        self.explanations.note(trace_id, reason);
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

    fn origin(&self, entry: u32) -> Origin {
        self.origins.get(entry).copied().unwrap_or_default()
    }
}

/// What a trace is judged by.
struct Known<'a> {
    generation: u32,
    size: Size,
    seen: &'a Summary,
    spans_here: u32,
    origin: Origin,
}

impl Known<'_> {
    fn reason(&self, (ruling, held): (&Ruling, u64), judged: Nanos, occasion: Occasion) -> Reason {
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
            generation: self.generation,
            spans: self.size.spans,
            spans_here: self.spans_here,
            bytes: self.size.bytes,
            duration_nanos: self.seen.duration_nanos(),
            status: self.seen.status,
            root_seen: self.seen.root_seen,
            origin: self.origin,
        }
    }
}

/// What became of a trace, for those that share its fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is undecided.
    Pending,
    /// It is kept.
    Kept,
    /// It is dropped.
    Dropped,
    /// No span of it came, or it was forgotten.
    Unknown,
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
        let reason = self.known(entry).reason((ruling, held), now, occasion);
        self.reasons.explanations.note(&self.holding.buffer.traces.get(entry).id, reason);
    }

    /// What is known of a trace by the spans that lie here.
    fn known(&self, entry: u32) -> Known<'_> {
        let trace = self.holding.buffer.traces.get(entry);
        let (generation, size, seen) = (trace.generation, trace.size, &trace.seen);
        Known { generation, size, seen, spans_here: size.spans, origin: self.reasons.origin(entry) }
    }

    /// What is known of a trace of a session, by what all nodes have told.
    fn known_of_all<'a>(&self, session: &'a Session, place: u32) -> Known<'a> {
        let Case { evidence, generation, .. } = session.case(place);
        let here = session.here(place);
        Known {
            generation,
            size: evidence.size,
            seen: evidence.seen,
            spans_here: here.map_or(0, |entry| self.holding.buffer.traces.get(entry).size.spans),
            origin: here.map_or_else(Origin::default, |entry| self.reasons.origin(entry)),
        }
    }

    /// Notes why a trace comes to what it does that this node judges for all, wherever its spans lie.
    pub(super) fn note_reason_for_all(
        &mut self,
        now: Nanos,
        (session, place): (&Session, u32),
        ruling: &Ruling,
        occasion: Occasion,
    ) {
        if !self.reasons.are_kept() {
            return;
        }
        let case = session.case(place);
        let held = self.bench.held(&case.evidence, case.generation, ruling);
        let reason = self.known_of_all(session, place).reason((ruling, held), now, occasion);
        self.reasons.explanations.note(case.evidence.trace_id, reason);
    }

    /// The conditions that held of the policy that decided.
    fn held(&self, entry: u32, ruling: &Ruling) -> u64 {
        let case = self.holding.case(entry);
        self.bench.held(&case.evidence, case.generation, ruling)
    }

    /// Which shard of the node a trace belongs to.
    #[must_use]
    pub fn shard_of(&self, trace_id: &TraceId) -> ShardIndex {
        let route = self.intake.route();
        route.shard(route.hash(trace_id))
    }

    /// What became of a trace of this shard.
    #[must_use]
    pub fn fate(&self, trace_id: &TraceId) -> Fate {
        let hash = self.intake.hash(trace_id);
        match self.holding.find(hash, trace_id) {
            Some(Place::Pending(_)) => Fate::Pending,
            Some(Place::Kept(_)) => Fate::Kept,
            Some(Place::Dropped(_)) => Fate::Dropped,
            None => self.cluster.as_ref().map_or(Fate::Unknown, |cluster| {
                let is_on_docket = || cluster.docket.find(hash).is_some();
                match cluster.fates.is_dropped(hash) {
                    true => Fate::Dropped,
                    false if is_on_docket() => Fate::Pending,
                    false => Fate::Unknown,
                }
            }),
        }
    }

    /// Asks the node that judges a trace what came of it, of which nothing is known here. `fate` knows once it has answered;
    /// that a trace is kept is said to all nodes anyway.
    pub fn ask_fate(&mut self, now: Nanos, trace_id: &TraceId) {
        let hash = self.intake.hash(trace_id);
        let Some(cluster) = &mut self.cluster else { return };
        let owner = cluster.view.owner_id(hash);
        let again = Nanos(now.0.saturating_sub(ASK_INTERVAL.0));
        if owner != cluster.view.own && cluster.fates.ask(hash, now, again) {
            ask(cluster, hash, &[owner]);
        }
    }

    /// Which node judges a trace; `None` for a node by itself.
    #[must_use]
    pub fn owner(&self, trace_id: &TraceId) -> Option<NodeId> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.view.owner_id(self.intake.hash(trace_id)))
    }

    /// What is known of a trace; `None` when it is not this shard's, never came, or was forgotten.
    pub fn explain(&mut self, now: Nanos, trace_id: &TraceId) -> Option<Explanation> {
        let hash = self.intake.hash(trace_id);
        if let Some(pending) = self.explain_on_docket(now, (hash, trace_id)) {
            return Some(Explanation::Pending(pending));
        }
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

    /// Asks the policies without a consequence, by what lies here.
    fn explain_pending(&mut self, now: Nanos, entry: u32) -> Pending {
        self.refresh(entry);
        let mut counts = vec![PolicyCounts::default(); self.ledger.policies.len()];
        let ruling = self.bench.preview(now, (&mut self.holding, entry), &mut counts);
        let held = self.held(entry, &ruling);
        let ends = self.wait_that_ends(entry);
        let reason = self.known(entry).reason((&ruling, held), now, ends);
        let trace = self.holding.buffer.traces.get(entry);
        let (opened, deadline) = (tick_start(trace.opened), tick_start(trace.deadline));
        let votes = votes(self.bench.rules_of(trace.generation), &counts);
        Pending { reason, opened, deadline, has_cold: trace.has_cold, votes }
    }

    /// The same for a trace that this node is to judge for all, by what all nodes have told.
    fn explain_on_docket(&mut self, now: Nanos, (hash, trace_id): (u64, &TraceId)) -> Option<Pending> {
        let Self { cluster: Some(cluster), bench, .. } = self else { return None };
        let entry = cluster.docket.find(hash).filter(|entry| cluster.docket.get(*entry).trace_id == *trace_id)?;
        let here = self.holding.find_pending(hash, trace_id);
        let mut session = Session::call(&cluster.docket, &[(entry, here)], bench.rules());
        let mut counts = vec![PolicyCounts::default(); self.ledger.policies.len()];
        let ruling = bench.preview(now, (&mut session, 0), &mut counts);
        let trace = cluster.docket.get(entry);
        let ends = self.waits.that_ends_on_docket(trace, &bench.windows);
        let (opened, deadline) = (tick_start(trace.opened), tick_start(trace.deadline));
        let case = session.case(0);
        let held = bench.held(&case.evidence, case.generation, &ruling);
        let votes = votes(bench.rules(), &counts);
        let reason = self.known_of_all(&session, 0).reason((&ruling, held), now, ends);
        Some(Pending { reason, opened, deadline, has_cold: false, votes })
    }
}

/// What each policy in force said, by what it has counted of one trace.
fn votes(rules: &Rules, counts: &[PolicyCounts]) -> Vec<Vote> {
    let says = |policy: u16| match counts.get(usize::from(policy)) {
        Some(PolicyCounts { matched: 1, .. }) => Says::Yes,
        Some(PolicyCounts { unmatched: 1, .. }) => Says::No,
        Some(PolicyCounts { failed: 1, .. }) => Says::Failed,
        _ => Says::NotAsked,
    };
    rules.in_force().map(|policy| Vote { policy, says: says(policy) }).collect()
}
