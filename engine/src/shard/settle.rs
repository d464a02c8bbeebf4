//! Settling: a ruling is carried out. The verdict is noted in the log and remembered for late spans; the spans leave or are
//! counted as dropped. Nothing is asked of the rules here but names and encoded attributes.

use super::Shard;
use super::marks::{mark_of, span_mark};
use super::outgoing::{Leaving, OpenLabel};
use crate::decide::KeptBy;
use crate::host::Host;
use crate::index::Place;
use crate::judge::Ruling;
use crate::ledger::DropReason;
use crate::vocabulary::{
    Annotations, Destinations, Judged, KeptUnit, Nanos, Occasion, RandomnessKind, TraceId, Verdict, tick_start,
};

impl Shard {
    /// The trace is larger than it may be.
    #[cold]
    pub(super) fn outgrew(&mut self, entry: u32, host: &mut impl Host) {
        self.holding.buffer.traces.unlink(entry);
        let now = tick_start(self.holding.buffer.traces.get(entry).active);
        let ruling = Ruling::dropped(DropReason::TraceTooLarge);
        self.note_reason(now, entry, &ruling, Occasion::TooLarge);
        self.carry_out(now, entry, &ruling, Occasion::TooLarge, host);
        self.release(&[entry], host);
    }

    /// Carries out a ruling on a trace that is off the wheel; the caller gives back its memory.
    pub(super) fn carry_out(
        &mut self,
        now: Nanos,
        entry: u32,
        ruling: &Ruling,
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        match kept_by(ruling) {
            Some(kept) => self.settle_kept(now, entry, (ruling, kept), occasion, host),
            None => self.settle_dropped(entry, ruling, occasion, host),
        }
    }

    fn settle_kept(
        &mut self,
        now: Nanos,
        entry: u32,
        (ruling, kept): (&Ruling, KeptBy),
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        // The verdict is in the log before anything that follows from it.
        self.note(entry, ruling, Some(kept), occasion, host);
        let recalled = self.send_kept(now, entry, (ruling, kept), host);
        let trace = self.holding.buffer.traces.get_mut(entry);
        trace.is_kept = true;
        let (hash, spans) = (trace.hash, u64::from(trace.size.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.exporting += spans - recalled;
        self.ledger.spans.park(recalled);
        self.ledger.traces.pending -= 1;
        self.ledger.traces.kept += 1;
        let remembered = self.holding.kept.remember(hash, Some(kept));
        let has_evicted = self.holding.remember(entry, hash, remembered, Place::Kept);
        self.ledger.traces.verdicts_forgotten += u64::from(has_evicted);
    }

    /// Adds the spans of a kept trace to the open batch; those that are only in the log are asked for. Returns how many the
    /// latter are.
    fn send_kept(&mut self, now: Nanos, entry: u32, (ruling, kept): (&Ruling, KeptBy), host: &mut impl Host) -> u64 {
        let Self { plan, bench, holding, outgoing, fragments, .. } = self;
        let Ruling { ballot, randomness, annotations: numbers, .. } = ruling;
        outgoing.keep_apart(false, &mut holding.buffer.envelopes, host);
        let rules = bench.rules_of(holding.buffer.traces.get(entry).generation);
        let mut label = plan.record_policy.then(|| {
            let name = |number: u16| rules.sub_policy_names().get(usize::from(number)).cloned();
            OpenLabel::new(kept.policy, ballot.sub_policy.and_then(name), false)
        });
        let mark = mark_of(plan, ballot.threshold, *randomness);
        let span_mark = span_mark(plan, kept, false);
        let annotations = rules.encoded_annotations(numbers.iter().copied());
        let is_changed = !mark.is_plain() || !annotations.is_empty() || holding.buffer.head(entry).is_some();
        let is_marked = ruling.is_by_randomness && is_changed;
        let (mark, annotations) = if is_marked { (Some(mark), &annotations[..]) } else { (None, &[][..]) };
        holding.buffer.fragments(entry, fragments);
        let mut recalled = 0;
        for reference in fragments {
            if reference.is_cold() {
                host.recall(KeptUnit { unit: holding.buffer.cold.get(*reference).0, mark: span_mark });
                recalled += 1;
                continue;
            }
            let fragment = holding.buffer.arena.fragment(*reference);
            let scope = match &mut label {
                Some(label) => label.scope(fragment.scope, bench.rules(), &mut holding.buffer.envelopes),
                None => fragment.scope,
            };
            let unit = KeptUnit { unit: fragment.unit, mark: span_mark };
            let span = Leaving { scope, unit, bytes: fragment.bytes, mark, annotations };
            outgoing.add(now, &span, Destinations::ALL, &mut holding.buffer.envelopes, host);
        }
        if let Some(label) = label {
            label.close(&mut holding.buffer.envelopes);
        }
        recalled
    }

    fn settle_dropped(&mut self, entry: u32, ruling: &Ruling, occasion: Occasion, host: &mut impl Host) {
        self.note(entry, ruling, None, occasion, host);
        self.note_skeleton(entry);
        let trace = self.holding.buffer.traces.get(entry);
        let (hash, spans) = (trace.hash, u64::from(trace.size.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.drop_items(ruling.ballot.drop_reason, spans);
        self.ledger.traces.pending -= 1;
        self.ledger.traces.dropped += 1;
        let is_forgotten = self.plan.forgets_undecided && occasion != Occasion::Ingest;
        let remembered = if is_forgotten { None } else { self.holding.dropped.remember(hash, None) };
        let has_evicted = self.holding.remember(entry, hash, remembered, Place::Dropped);
        self.ledger.traces.verdicts_forgotten += u64::from(has_evicted);
    }

    fn note(&self, entry: u32, ruling: &Ruling, kept: Option<KeptBy>, occasion: Occasion, host: &mut impl Host) {
        let trace = self.holding.buffer.traces.get(entry);
        host.judged(&judged((&trace.id, trace.size.spans, trace.generation), ruling, kept, occasion));
    }
}

/// How a trace was kept, if it was.
pub(super) fn kept_by(ruling: &Ruling) -> Option<KeptBy> {
    let Ruling { ballot, randomness, annotations, .. } = ruling;
    let Verdict::Keep(policy) = ballot.verdict else { return None };
    Some(KeptBy {
        policy,
        threshold: ballot.threshold,
        randomness: randomness.kind,
        given: (randomness.kind == RandomnessKind::Given).then_some(randomness.value),
        annotations: Annotations::of(annotations),
    })
}

/// A verdict for the log, on a trace of so many spans under the rules of that generation.
pub(super) fn judged(
    (trace_id, spans, generation): (&TraceId, u32, u32),
    ruling: &Ruling,
    kept: Option<KeptBy>,
    occasion: Occasion,
) -> Judged {
    Judged {
        trace_id: *trace_id,
        verdict: ruling.ballot.verdict,
        drop_reason: ruling.ballot.drop_reason as u8,
        occasion,
        threshold: ruling.ballot.threshold,
        randomness: kept.map_or(RandomnessKind::Id, |kept| kept.randomness),
        given: kept.and_then(|kept| kept.given),
        annotations: kept.map_or(Annotations::NONE, |kept| kept.annotations),
        spans,
        generation,
    }
}
