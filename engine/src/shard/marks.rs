//! What kept spans leave with, and what tracestates say of them when they come.

use super::ShardPlan;
use crate::decide::KeptBy;
use crate::export::mark::Mark;
use crate::randomness::{Randomness, TraceRandomness};
use crate::rules::Rules;
use crate::vocabulary::{RandomnessKind, SpanMark, SpanRecord};

/// What has to be known of a kept span to send it, late or not.
pub(super) fn span_mark(plan: &ShardPlan, kept: KeptBy, is_late: bool) -> SpanMark {
    let mark = SpanMark::new(kept.threshold, kept.randomness).annotated(kept.annotations);
    if plan.record_policy { mark.labelled(kept.policy, is_late) } else { mark }
}

/// What a span leaves with that came after its trace was kept.
pub(super) fn late_mark(plan: &ShardPlan, rules: &Rules, record: &SpanRecord, kept: KeptBy) -> Mark {
    let randomness = Randomness::again(&record.trace_id, kept.randomness, kept.given);
    Mark { is_by_hand: rules.is_by_hand(kept.annotations), ..mark_of(plan, kept.threshold, randomness) }
}

/// What the spans of a kept trace leave with.
pub(super) fn mark_of(plan: &ShardPlan, threshold: u64, TraceRandomness { value, kind }: TraceRandomness) -> Mark {
    // Who reads no threshold needs no randomness either.
    let writes_randomness = kind == RandomnessKind::Hashed && threshold > 0;
    Mark { threshold, randomness: value, writes_randomness, writes_zero: plan.writes_threshold_zero, is_by_hand: false }
}
