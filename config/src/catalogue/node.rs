//! The knobs of the node: process, admin, memory, mesh, embedded exporter.

use std::time::Duration;

use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::{Ack, DebugVerbosity, LogFormat, LogLevel, RuntimeChoice};
use crate::value::{GIB, MIB};

/// The receivers' knobs stand after this many keys on the reference page.
pub(super) const KEYS_BEFORE_RECEIVERS: usize = 15;

/// Longest wait anyone can mean; also keeps sums of durations far from overflow.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
/// Most entries of a table: a trace costs about a hundred bytes, so this is terabytes.
pub(super) const ENTRIES_MAX: u64 = 10_000_000_000;

pub(super) const fn up_to(max: Duration) -> Kind {
    Kind::Duration { min: Duration::ZERO, max }
}

pub(super) const fn from_to(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

pub(super) const ENTRIES: Kind = from_to(0, ENTRIES_MAX);

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
        "Recent verdicts of this node whose reasons are kept, the oldest overwritten, for `tailwater explain` and `GET /api/v1/traces/<id>`; 216 bytes each. `0` keeps none.",
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
        "Most bytes of requests in flight on the node: as received, decompressed, and as read until they are logged and handed over. A request for which there is no room waits before it is read (`tailwater_receiver_body_waits_total`); where too many wait, the next is refused with a delay (`tailwater_receiver_requests_without_room_total`). Each core has an equal part: an eighth of it for open requests, a quarter for bodies, a quarter for windows, the rest for what is made of bodies. A request that is too large for its part passes beside it, one of the node at a time, with at most three times `request_bytes_max` and a quarter of `memory.bytes_max`. `0` takes an eighth of `memory.bytes_max`.",
    )
    .default("an eighth of memory.bytes_max"),
    Key::<Draft>::new(
        "memory.span_bytes_max",
        Kind::Bytes { min: 0, max: 4 * GIB },
        |d| Slot::Count(&mut d.config.memory.span_bytes_max),
        "Largest span that is taken; a larger one is refused, and told to its sender, beside others that are not; counted in `tailwater_items_refused_total{cause=\"too_large\"}`. A span must also fit into what a core has for pending traces. Next hops commonly refuse requests of more than 4 MiB, in which no larger span can be. `0` takes whatever fits into a request.",
    )
    .default("the largest request_bytes_max"),
    Key::<Draft>::new(
        "mesh.queue_length",
        from_to(16, 65_536),
        |d| Slot::Count(&mut d.config.mesh.queue_length),
        "Messages that fit between one core and another. At a full queue the answer to the sender waits, which stops the reading of sockets; what is on its way is `tailwater_items_pending{stage=\"between_cores\"}`.",
    ),
    Key::<Draft>::new(
        "exporters.debug.verbosity",
        Kind::Choice(DebugVerbosity::CHOICES),
        |d| Slot::Choice(&mut d.config.exporters.debug),
        "What of kept data is printed to the log, besides being sent: `basic` is a line a request, `normal` a line a span, point or record, `detailed` with its attributes; at most 100 lines a request. For trying things out: it costs.",
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
        |d| Slot::Count(&mut d.file.bytes_max),
        "The file becomes a backup, with the time (UTC) in its name, and is begun anew before it grows past this. `0` for no limit.",
    ),
    Key::<Draft>::new(
        "exporters.file.backups_max",
        Kind::Count { min: 0, max: 1_000_000 },
        |d| Slot::Count(&mut d.file.backups_max),
        "Backups that are kept; the oldest go first, are counted and told. `0` for all.",
    ),
    Key::<Draft>::new(
        "exporters.file.backup_age_max",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(100 * 366 * 24 * 3600) },
        |d| Slot::Duration(&mut d.file.backup_age_max),
        "Backups older than this are deleted at the next rotation, counted and told. `0s` for never.",
    ),
    Key::<Draft>::new(
        "exporters.file.queue_bytes_max",
        Kind::Bytes { min: 0, max: 1024 * GIB },
        |d| Slot::Count(&mut d.file.queue_bytes_max),
        "Most bytes of requests that wait to be written, on the node. At the bound what does not fit is set aside and written later if all of it is in the log, else it is dropped; counted in `tailwater_items_dropped_total{reason=\"export_queue_full\"}`. A single larger request is written alone. `0` takes a sixteenth of `memory.bytes_max` less 16MiB, at least 4MiB and at most 64MiB.",
    )
    .default("a sixteenth of memory.bytes_max, at most 64MiB"),
    Key::<Draft>::new(
        "exporters.file.signals.traces",
        Kind::Bool,
        |d| Slot::Bool(&mut d.file.signals.traces),
        "Write kept traces there.",
    ),
    Key::<Draft>::new(
        "exporters.file.signals.metrics",
        Kind::Bool,
        |d| Slot::Bool(&mut d.file.signals.metrics),
        "Write metrics there.",
    ),
    Key::<Draft>::new(
        "exporters.file.signals.logs",
        Kind::Bool,
        |d| Slot::Bool(&mut d.file.signals.logs),
        "Write logs there.",
    ),
];

/// Most bytes any one buffer is given in this build; the bounds of the other tables refer to it.
pub(super) const BUFFER_BYTES_MAX: u64 = 4096 * MIB - 1;
