//! The knobs of sampling: below `sampling`, and below each of `pipelines`.

use std::time::Duration;

use super::node::{DAY, ENTRIES, ENTRIES_MAX, from_to, up_to};
use super::{Key, Kind, Slot};
use crate::sampling::{RandomnessSource, Sampling, Strategy, Thresholds};
use crate::settings::Pipeline;
use crate::value::GIB;

/// Longest life of a trace that anyone can mean.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Sampling>] = &[
    Key::<Sampling>::new(
        "decision_wait",
        up_to(DAY),
        |s| Slot::Duration(&mut s.decision_wait),
        "Time from a trace's first span to its verdict. Longer catches later spans and needs more memory.",
    ),
    Key::<Sampling>::new(
        "inactivity_timeout",
        up_to(DAY),
        |s| Slot::Duration(&mut s.inactivity_timeout),
        "For traces of unforeseeable length: judge a trace when no span of it has come for this long, in place of `decision_wait` after its first span. `decision_wait_after_root_received` holds as before. `0s` switches it off.",
    ),
    Key::<Sampling>::new(
        "max_trace_duration",
        up_to(MONTH),
        |s| Slot::Duration(&mut s.max_trace_duration),
        "With `inactivity_timeout`: longest time from a trace's first span to its verdict, however often spans come. It can't be `0s` then and is `1h` when not written; without `inactivity_timeout` it has no effect.",
    ),
    Key::<Sampling>::new(
        "cold_after",
        up_to(DAY),
        |s| Slot::Duration(&mut s.cold_after),
        "Age past which the spans of an undecided trace are given up in memory, and read from the log again if the trace is kept. `0s` does so only when the memory for pending traces is used up. What is not in the log stays in memory.",
    )
    .flag("cold-after"),
    Key::<Sampling>::new(
        "decision_wait_after_root_received",
        up_to(DAY),
        |s| Slot::Duration(&mut s.decision_wait_after_root_received),
        "Time from the arrival of a root span to the verdict, when that comes first. `0s` switches it off.",
    ),
    Key::<Sampling>::new(
        "num_traces",
        from_to(1, ENTRIES_MAX),
        |s| Slot::Count(&mut s.traces_max),
        "Most traces held undecided on this node, in equal parts on its shards. At the bound the trace due next is judged early (`tailwater_traces_decided_early_total`), unless `block_on_overflow` is set.",
    ),
    Key::<Sampling>::new(
        "block_on_overflow",
        Kind::Bool,
        |s| Slot::Bool(&mut s.block_on_overflow),
        "With `num_traces` undecided traces: stop reading from senders, from seven eighths of them on (`true`), or decide the trace due next early on what has arrived (`false`).",
    ),
    Key::<Sampling>::new(
        "decision_cache.sampled_cache_size",
        ENTRIES,
        |s| Slot::Count(&mut s.sampled_cache_size),
        "Verdicts remembered for late spans of kept traces. The oldest gives way; counted in `tailwater_verdicts_forgotten_total`.",
    ),
    Key::<Sampling>::new(
        "decision_cache.non_sampled_cache_size",
        ENTRIES,
        |s| Slot::Count(&mut s.non_sampled_cache_size),
        "Verdicts remembered for late spans of dropped traces. The oldest gives way; counted in `tailwater_verdicts_forgotten_total`.",
    ),
    Key::<Sampling>::new(
        "sample_on_first_match",
        Kind::Bool,
        |s| Slot::Bool(&mut s.sample_on_first_match),
        "Stop at the first policy that samples.",
    ),
    Key::<Sampling>::new(
        "maximum_trace_size_bytes",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |s| Slot::Count(&mut s.trace_bytes_max),
        "A trace that grows past this before its verdict is dropped; counted in `tailwater_items_dropped_total{reason=\"trace_too_large\"}`. `0` switches it off.",
    ),
    Key::<Sampling>::new(
        "drop_pending_traces_on_shutdown",
        Kind::Bool,
        |s| Slot::Bool(&mut s.drop_pending_traces_on_shutdown),
        "On shutdown: discard what is undecided (`true`), or decide it on what has arrived (`false`).",
    ),
    Key::<Sampling>::new(
        "strategy",
        Kind::Choice(Strategy::CHOICES),
        |s| Slot::Choice(&mut s.strategy),
        "When policies are evaluated: `trace-complete` once a trace, when its wait is over; `span-ingest` on every piece of a trace as it comes, where the first piece that is sampled decides.",
    ),
    Key::<Sampling>::new(
        "thresholds",
        Kind::Choice(Thresholds::CHOICES),
        |s| Slot::Choice(&mut s.thresholds),
        "Whose idea of a probability holds. `otep235`: a trace is kept by its own randomness (`rv`, or the last 7 bytes of its id), limits keep the traces of highest randomness, and kept spans leave with the threshold (`th`) of the rule that kept them, so that counts downstream add up. `collector`: what the Collector does, a hash of its own, limits in order of arrival, the tracestate as it came.",
    )
    .default("otep235; collector for a Collector's file"),
    Key::<Sampling>::new(
        "randomness",
        Kind::Choice(RandomnessSource::CHOICES),
        |s| Slot::Choice(&mut s.randomness),
        "With `thresholds: otep235`, where the randomness of a trace without `rv` comes from. `trace_id`: the last 7 bytes of its id. `hashed`: a hash of its id, unless its sender sets the random flag or writes `ot`; the hash is written as `rv`. `auto`: the id, and the hash where so many ids have the same byte 8 that a head sampler must have chosen them by it.",
    ),
    Key::<Sampling>::new(
        "write_threshold_zero",
        Kind::Bool,
        |s| Slot::Bool(&mut s.writes_threshold_zero),
        "With `thresholds: otep235`: write `th:0` into spans that came without a threshold and were kept for certain. OTEP 235 leaves them as they came; set this when senders are known not to sample.",
    ),
    Key::<Sampling>::new(
        "record_policy",
        Kind::Bool,
        |s| Slot::Bool(&mut s.record_policy),
        "Write the name of the policy that kept a trace into the attributes of its spans' scopes, as `tailsampling.policy`.",
    ),
    Key::<Sampling>::new(
        "policies",
        Kind::Policies,
        |s| Slot::Policies(&mut s.policies),
        "What to keep, in the shape of the Collector's `tail_sampling` processor. A list here replaces the default one. A policy with `shadow: true` beside its `name` and `type` is evaluated and counted, and has no effect.",
    )
    .default("errors, traces longer than 1000 ms, and 5 % of the rest"),
    Key::<Sampling>::new(
        "rules",
        Kind::Rules,
        |s| Slot::Rules(&mut s.rules),
        "What to keep, in place of `policies`: an ordered list of which the first rule that matches a trace decides with which probability it is kept. See [docs/rules.md](rules.md).",
    )
    .default("none, policies are used"),
    Key::<Sampling>::new(
        "budget.spans_per_second",
        Kind::Count { min: 0, max: 1 << 40 },
        |s| Slot::Count(&mut s.budget_spans_per_second),
        "With `rules`: most spans a second that they keep together, on this node. Each rule gets its `budget_minimum_per_second` first, then all get equal parts, and what one does not use goes to the others. `0` for no bound.",
    ),
    Key::<Sampling>::new(
        "budget.bytes_per_second",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |s| Slot::Count(&mut s.budget_bytes_per_second),
        "With `rules`: as `budget.spans_per_second`, in bytes of spans a second. At most one of the two.",
    ),
];

/// What a pipeline has besides.
pub(super) const EXPORTERS: Key<Pipeline> = Key::<Pipeline>::new(
    "exporters",
    Kind::List,
    |p| Slot::List(&mut p.exporters),
    "Exporters that get what this pipeline keeps: their names, `file` for the embedded one, `none` for none. Left out, all that take traces.",
);
