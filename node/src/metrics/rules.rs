//! Thresholds, limits and conditions in the exposition: what did not go as the rules wanted.

use super::{Books, Page, Type, number};

/// What rules could not do.
pub(super) fn rules(page: &mut Page, books: &[Books<'_>]) {
    page.each(
        "tailwater_tracestate_unparseable_spans_total",
        Type::Counter,
        "Kept spans that left without their threshold, because their tracestate could not be read or written.",
        books,
        |books| books.total(|snapshot| snapshot.marks.unparseable),
    );
    page.each(
        "tailwater_tracestate_inconsistent_spans_total",
        Type::Counter,
        "Kept spans whose threshold was taken out, because their randomness is below it.",
        books,
        |books| books.total(|snapshot| snapshot.marks.inconsistent),
    );
    page.each(
        "tailwater_threshold_levels_folded_spans_total",
        Type::Counter,
        "Spans of traces with more different thresholds than are told apart, or have room: counted as their neighbours.",
        books,
        |books| number(books.sum.traces.threshold_levels_folded),
    );
    page.each(
        "tailwater_marks_forgotten_spans_total",
        Type::Counter,
        "Spans that left the log without their threshold, label or annotations, because too many different ones waited in their segment.",
        books,
        |books| number(books.sum.traces.marks_forgotten),
    );
    page.each(
        "tailwater_randomness_forgotten_traces_total",
        Type::Counter,
        "Kept traces whose rv is not remembered for late spans that have none: their own threshold is believed.",
        books,
        |books| books.total(|snapshot| snapshot.randomness_forgotten),
    );
    page.each(
        "tailwater_quantile_keys_refused_traces_total",
        Type::Counter,
        "Judged traces whose duration was not counted for their kind, because too many kinds or durations are told apart already.",
        books,
        |books| books.total(|snapshot| snapshot.quantile_keys_refused),
    );
    page.each(
        "tailwater_condition_errors_total",
        Type::Counter,
        "Errors in the evaluation of OTTL conditions with error_mode ignore.",
        books,
        |books| number(books.sum.traces.condition_errors),
    );
    page.each(
        "tailwater_limit_unranked_traces_total",
        Type::Counter,
        "Traces of low randomness that counted as rejected by a limit, because a shard ranks no more in a second.",
        books,
        |books| books.total(|snapshot| snapshot.unranked_traces),
    );
    page.each(
        "tailwater_limit_unreachable_traces_total",
        Type::Counter,
        "Traces that can't pass a limit ever, because they are larger than its burst.",
        books,
        |books| books.total(|snapshot| snapshot.unreachable_traces),
    );
}
