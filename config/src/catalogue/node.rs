//! The knobs of the node: process, admin, sampling, memory, mesh, embedded exporter.

use std::time::Duration;

use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::sampling::{RandomnessSource, Strategy, Thresholds};
use crate::settings::{Ack, GIB, LogFormat, LogLevel, MIB, RuntimeChoice};

/// The receivers' knobs stand after this many keys on the reference page.
pub(super) const KEYS_BEFORE_RECEIVERS: usize = 15;

/// Longest wait anyone can mean; also keeps sums of durations far from overflow.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longest life of a trace that anyone can mean.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most entries of a table: a trace costs about a hundred bytes, so this is terabytes.
const ENTRIES_MAX: u64 = 10_000_000_000;

const fn up_to(max: Duration) -> Kind {
    Kind::Duration { min: Duration::ZERO, max }
}

const fn from_to(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const ENTRIES: Kind = from_to(0, ENTRIES_MAX);

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "data_directory",
        Kind::Path,
        |d| Slot::Path(&mut d.config.node.data_directory),
        "Directory of the log, the lock file and the embedded exporter's file. It is created when missing; a second process on it is refused.",
    )
    .flag("data-dir"),
    Key::<Draft>::new(
        "shards",
        from_to(1, 1024),
        |d| Slot::OptionalCount(&mut d.config.node.shards),
        "Shards, one thread each. More than there are cores is allowed and useful only in tests.",
    )
    .default("one for each allowed core"),
    Key::<Draft>::new(
        "cores",
        Kind::Text,
        |d| Slot::OptionalText(&mut d.config.node.cores),
        "Cores to pin shards to, such as `2-9,12`. Left out, the cores allowed to the process are used in order; where a CPU quota is not a whole number of cores nothing is pinned.",
    )
    .default("the allowed cores"),
    Key::<Draft>::new(
        "gossip_core",
        from_to(0, 4095),
        |d| Slot::OptionalCount(&mut d.config.node.gossip_core),
        "Core kept for gossip and the side thread. Left out, the scheduler places them.",
    )
    .default("left to the scheduler"),
    Key::<Draft>::new(
        "runtime",
        Kind::Choice(RuntimeChoice::CHOICES),
        |d| Slot::Choice(&mut d.config.node.runtime),
        "Kernel interface of the shards. `auto` takes io_uring where the host allows it and says at boot which it took and why.",
    ),
    Key::<Draft>::new(
        "ack",
        Kind::Choice(Ack::CHOICES),
        |d| Slot::Choice(&mut d.config.ack),
        "What has happened before a sender is answered: `received` promises nothing, `written` survives a crash of the process, `synced` survives power loss. The last two need the log in `data_directory`. A receiver may have its own (`otlp.grpc.ack`).",
    ),
    Key::<Draft>::new(
        "drain_timeout",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.node.drain_timeout),
        "Longest time from SIGTERM to the end: pending traces are decided and exporters flushed within it. Keep it below the time after which the supervisor kills.",
    ),
    Key::<Draft>::new(
        "reload_interval",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.node.reload_interval),
        "How often the configuration file is looked at. A change takes effect without a restart once two looks in a row find the same file; SIGHUP and `POST /api/v1/reload` do it at once. `0s` leaves it to them.",
    ),
    Key::<Draft>::new(
        "log.level",
        Kind::Choice(LogLevel::CHOICES),
        |d| Slot::Choice(&mut d.config.node.log.level),
        "Least severe level of the program's own logs.",
    ),
    Key::<Draft>::new(
        "log.format",
        Kind::Choice(LogFormat::CHOICES),
        |d| Slot::Choice(&mut d.config.node.log.format),
        "`text` for people, `json` for one object a line.",
    ),
    Key::<Draft>::new(
        "admin.endpoint",
        Kind::Address,
        |d| Slot::OptionalAddress(&mut d.config.admin.endpoint),
        "Address of `/metrics`, `/health` and the status page; `none` switches them off. There is no authentication: keep it on a private address.",
    ),
    Key::<Draft>::new(
        "explain.verdicts_max",
        ENTRIES,
        |d| Slot::Count(&mut d.config.admin.explained_verdicts_max),
        "Recent verdicts of this node whose reasons are kept, for `tailwater explain` and `GET /api/v1/traces/<id>`; 80 bytes each. `0` keeps none.",
    ),
    Key::<Draft>::new(
        "otlp.signals.traces",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.receivers.signals.traces),
        "Take traces. A sender of a signal that is not taken is told UNIMPLEMENTED or 404.",
    ),
    Key::<Draft>::new(
        "otlp.signals.metrics",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.receivers.signals.metrics),
        "Take metrics. A sender of a signal that is not taken is told UNIMPLEMENTED or 404.",
    ),
    Key::<Draft>::new(
        "otlp.signals.logs",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.receivers.signals.logs),
        "Take logs. A sender of a signal that is not taken is told UNIMPLEMENTED or 404.",
    ),
    Key::<Draft>::new(
        "sampling.decision_wait",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.sampling.decision_wait),
        "Time from a trace's first span to its verdict. Longer catches later spans and needs more memory.",
    ),
    Key::<Draft>::new(
        "sampling.inactivity_timeout",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.sampling.inactivity_timeout),
        "For traces of unforeseeable length: judge a trace when no span of it has come for this long, in place of `decision_wait` after its first span. `decision_wait_after_root_received` holds as before. `0s` switches it off.",
    ),
    Key::<Draft>::new(
        "sampling.max_trace_duration",
        up_to(MONTH),
        |d| Slot::Duration(&mut d.config.sampling.max_trace_duration),
        "With `inactivity_timeout`: longest time from a trace's first span to its verdict, however often spans come. It can't be `0s` then and is `1h` when not written; without `inactivity_timeout` it has no effect.",
    ),
    Key::<Draft>::new(
        "sampling.cold_after",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.sampling.cold_after),
        "Age past which the spans of an undecided trace are given up in memory, and read from the log again if the trace is kept. `0s` does so only when the memory for pending traces is used up. What is not in the log stays in memory.",
    )
    .flag("cold-after"),
    Key::<Draft>::new(
        "sampling.decision_wait_after_root_received",
        up_to(DAY),
        |d| Slot::Duration(&mut d.config.sampling.decision_wait_after_root_received),
        "Time from the arrival of a root span to the verdict, when that comes first. `0s` switches it off.",
    ),
    Key::<Draft>::new(
        "sampling.num_traces",
        from_to(1, ENTRIES_MAX),
        |d| Slot::Count(&mut d.config.sampling.traces_max),
        "Most traces held undecided on this node.",
    ),
    Key::<Draft>::new(
        "sampling.block_on_overflow",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.sampling.block_on_overflow),
        "With `num_traces` undecided traces: stop reading from senders (`true`), or decide the oldest trace early on what has arrived (`false`).",
    ),
    Key::<Draft>::new(
        "sampling.decision_cache.sampled_cache_size",
        ENTRIES,
        |d| Slot::Count(&mut d.config.sampling.sampled_cache_size),
        "Verdicts remembered for late spans of kept traces.",
    ),
    Key::<Draft>::new(
        "sampling.decision_cache.non_sampled_cache_size",
        ENTRIES,
        |d| Slot::Count(&mut d.config.sampling.non_sampled_cache_size),
        "Verdicts remembered for late spans of dropped traces.",
    ),
    Key::<Draft>::new(
        "sampling.sample_on_first_match",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.sampling.sample_on_first_match),
        "Stop at the first policy that samples.",
    ),
    Key::<Draft>::new(
        "sampling.maximum_trace_size_bytes",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |d| Slot::Count(&mut d.config.sampling.trace_bytes_max),
        "A trace that grows past this before its verdict is dropped. `0` switches it off.",
    ),
    Key::<Draft>::new(
        "sampling.drop_pending_traces_on_shutdown",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.sampling.drop_pending_traces_on_shutdown),
        "On shutdown: discard what is undecided (`true`), or decide it on what has arrived (`false`).",
    ),
    Key::<Draft>::new(
        "sampling.strategy",
        Kind::Choice(Strategy::CHOICES),
        |d| Slot::Choice(&mut d.config.sampling.strategy),
        "When policies are evaluated: `trace-complete` once a trace, when its wait is over; `span-ingest` on every piece of a trace as it comes, where the first piece that is sampled decides.",
    ),
    Key::<Draft>::new(
        "sampling.thresholds",
        Kind::Choice(Thresholds::CHOICES),
        |d| Slot::Choice(&mut d.config.sampling.thresholds),
        "Whose idea of a probability holds. `otep235`: a trace is kept by its own randomness (`rv`, or the last 7 bytes of its id), limits keep the traces of highest randomness, and kept spans leave with the threshold (`th`) of the rule that kept them, so that counts downstream add up. `collector`: what the Collector does, a hash of its own, limits in order of arrival, the tracestate as it came.",
    )
    .default("otep235; collector for a Collector's file"),
    Key::<Draft>::new(
        "sampling.randomness",
        Kind::Choice(RandomnessSource::CHOICES),
        |d| Slot::Choice(&mut d.config.sampling.randomness),
        "With `thresholds: otep235`, where the randomness of a trace without `rv` comes from. `trace_id`: the last 7 bytes of its id. `hashed`: a hash of its id, unless its sender sets the random flag or writes `ot`; the hash is written as `rv`. `auto`: the id, and the hash where so many ids have the same byte 8 that a head sampler must have chosen them by it.",
    ),
    Key::<Draft>::new(
        "sampling.write_threshold_zero",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.sampling.writes_threshold_zero),
        "With `thresholds: otep235`: write `th:0` into spans that came without a threshold and were kept for certain. OTEP 235 leaves them as they came; set this when senders are known not to sample.",
    ),
    Key::<Draft>::new(
        "sampling.record_policy",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.sampling.record_policy),
        "Write the name of the policy that kept a trace into the attributes of its spans' scopes, as `tailsampling.policy`.",
    ),
    Key::<Draft>::new(
        "sampling.policies",
        Kind::Policies,
        |d| Slot::Policies(&mut d.config.sampling.policies),
        "What to keep, in the shape of the Collector's `tail_sampling` processor. A list here replaces the default one. A policy with `shadow: true` beside its `name` and `type` is evaluated and counted, and has no effect.",
    )
    .default("errors, traces longer than 1000 ms, and 5 % of the rest"),
    Key::<Draft>::new(
        "sampling.rules",
        Kind::Rules,
        |d| Slot::Rules(&mut d.config.sampling.rules),
        "What to keep, in place of `policies`: an ordered list of which the first rule that matches a trace decides with which probability it is kept. See [docs/rules.md](rules.md).",
    )
    .default("none, policies are used"),
    Key::<Draft>::new(
        "sampling.budget.spans_per_second",
        Kind::Count { min: 0, max: 1 << 40 },
        |d| Slot::Count(&mut d.config.sampling.budget_spans_per_second),
        "With `rules`: most spans a second that they keep together, on this node. Each rule gets its `budget_minimum_per_second` first, then all get equal parts, and what one does not use goes to the others. `0` for no bound.",
    ),
    Key::<Draft>::new(
        "sampling.budget.bytes_per_second",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |d| Slot::Count(&mut d.config.sampling.budget_bytes_per_second),
        "With `rules`: as `budget.spans_per_second`, in bytes of spans a second. At most one of the two.",
    ),
    Key::<Draft>::new(
        "memory.bytes_max",
        Kind::Bytes { min: 0, max: 1024 * 1024 * GIB },
        |d| Slot::Count(&mut d.config.memory.bytes_max),
        "Most memory of the process. What the other rows of the memory plan leave of it holds pending traces. `0` takes 60 % of the memory of the machine or its control group.",
    )
    .default("60 % of the machine's memory"),
    Key::<Draft>::new(
        "memory.receive_bytes_max",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |d| Slot::Count(&mut d.config.memory.receive_bytes_max),
        "Most bytes of request bodies in flight on the node, as received and decompressed together. At the bound sockets are not read. `0` takes an eighth of `memory.bytes_max`, at least two of the largest requests.",
    )
    .default("an eighth of memory.bytes_max"),
    Key::<Draft>::new(
        "mesh.queue_length",
        from_to(16, 65_536),
        |d| Slot::Count(&mut d.config.mesh.queue_length),
        "Messages that fit between one core and another. A full queue stops the reading of sockets.",
    ),
    Key::<Draft>::new(
        "exporters.file.path",
        Kind::Path,
        |d| Slot::OptionalPath(&mut d.file_path),
        "File that kept traces are written to as OTLP JSON lines, besides any OTLP exporter. With no OTLP exporter at all it is `kept.jsonl` in the data directory.",
    )
    .default("kept.jsonl in data_directory when there is no OTLP exporter"),
    Key::<Draft>::new(
        "exporters.file.bytes_max",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |d| Slot::Count(&mut d.file_bytes_max),
        "The file is moved to a name ending in `.1` and begun anew before it grows past this. `0` for no limit.",
    ),
];

/// Most bytes any one buffer is given in this build; the bounds of the other tables refer to it.
pub(super) const BUFFER_BYTES_MAX: u64 = 4096 * MIB - 1;
