//! Thresholds, limits and conditions in the exposition: what did not go as the rules wanted.

use super::{Page, Type, number};
use crate::control::Snapshot;
use tailwater_engine::ledger::Ledger;

/// What rules could not do.
pub(super) fn rules(page: &mut Page, snapshots: &[Snapshot], sum: &Ledger) {
    let total = |read: fn(&Snapshot) -> u64| number(snapshots.iter().map(read).sum());
    page.single(
        "tailwater_tracestate_unparseable_spans_total",
        Type::Counter,
        "Kept spans that left without their threshold, because their tracestate could not be read or written.",
        total(|snapshot| snapshot.marks.unparseable),
    );
    page.single(
        "tailwater_tracestate_inconsistent_spans_total",
        Type::Counter,
        "Kept spans whose threshold was taken out, because their randomness is below it.",
        total(|snapshot| snapshot.marks.inconsistent),
    );
    page.single(
        "tailwater_threshold_levels_folded_spans_total",
        Type::Counter,
        "Spans of traces with more different thresholds than are told apart: counted as their neighbours.",
        number(sum.traces.threshold_levels_folded),
    );
    page.single(
        "tailwater_marks_forgotten_spans_total",
        Type::Counter,
        "Spans that left the log without their threshold, because too many different ones waited in their segment.",
        number(sum.traces.marks_forgotten),
    );
    page.single(
        "tailwater_quantile_keys_refused_traces_total",
        Type::Counter,
        "Judged traces whose duration was not counted for their kind, because too many kinds are told apart already.",
        total(|snapshot| snapshot.quantile_keys_refused),
    );
    page.single(
        "tailwater_condition_errors_total",
        Type::Counter,
        "Errors in the evaluation of OTTL conditions with error_mode ignore.",
        number(sum.traces.condition_errors),
    );
    page.single(
        "tailwater_limit_unreachable_traces_total",
        Type::Counter,
        "Traces that can't pass a limit ever, because they are larger than its burst.",
        total(|snapshot| snapshot.unreachable_traces),
    );
}
