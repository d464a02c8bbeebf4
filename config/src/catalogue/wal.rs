//! The knobs of the log: `wal.` in the file. The program's own lines are `log.`, in `node`.

use std::time::Duration;

use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::WalFull;
use crate::value::{GIB, MIB};

/// Longest time that what no exporter took can be kept.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "wal.bytes_max",
        Kind::Bytes { min: 4 * MIB, max: 1024 * 1024 * GIB },
        |d| Slot::Count(&mut d.config.wal.bytes_max),
        "Disk budget of the node's log, spread evenly over the shards. It must hold a few segments and the largest request for each of them.",
    ),
    Key::<Draft>::new(
        "wal.segment_bytes_max",
        Kind::Bytes { min: MIB, max: GIB },
        |d| Slot::Count(&mut d.config.wal.segment_bytes_max),
        "Largest segment file. A segment is freed when all in it has been dropped or delivered, so small segments free disk sooner and large ones cost fewer files. They are smaller where the budget of a shard holds fewer than eight.",
    ),
    Key::<Draft>::new(
        "wal.buffer_bytes_max",
        Kind::Bytes { min: 0, max: 64 * GIB },
        |d| Slot::Count(&mut d.config.wal.buffer_bytes_max),
        "Most memory of records waiting for the disk on the node, a row of the memory plan. From half of it on sockets are not read, at the bound requests are refused; what waits is `tailwater_wal_buffered_bytes`. `0` takes 64MiB, or a sixteenth of `memory.bytes_max` where that is less.",
    )
    .default("64MiB, at most a sixteenth of memory.bytes_max"),
    Key::<Draft>::new(
        "wal.journal_interval",
        Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(60) },
        |d| Slot::Duration(&mut d.config.wal.journal_interval),
        "How often verdicts, and what has been dropped or delivered, are written and synced. After a crash what was delivered within the last interval may be delivered once more.",
    ),
    Key::<Draft>::new(
        "wal.retention",
        Kind::Duration { min: Duration::ZERO, max: YEAR },
        |d| Slot::Duration(&mut d.config.wal.retention),
        "Kept data that no exporter has taken by this age is dropped; counted in `tailwater_items_dropped_total{reason=\"wal_retention\"}`. `0s` for no such limit: then it stays until it is delivered.",
    ),
    Key::<Draft>::new(
        "wal.on_full",
        Kind::Choice(WalFull::CHOICES),
        |d| Slot::Choice(&mut d.config.wal.on_full),
        "With the disk budget used up: refuse requests so that their senders try again (`push_back`), or first judge the oldest traces on what has arrived and drop the oldest backlog (`decide_early`). Counted in `tailwater_wal_requests_refused_full_total` and `tailwater_items_dropped_total{reason=\"wal_full\"}`.",
    ),
    Key::<Draft>::new(
        "wal.reach_back",
        Kind::Duration { min: Duration::ZERO, max: YEAR },
        |d| Slot::Duration(&mut d.config.wal.reach_back),
        "How long segments of the log stay after all in them was dropped or delivered, so that `tailwater recall` finds dropped traces there and can send them on. They count for `wal.bytes_max` and go, oldest first, as soon as the log needs their room. `0s` for not at all.",
    ),
    Key::<Draft>::new(
        "wal.reach_back_bytes_max",
        Kind::Bytes { min: 0, max: 1024 * 1024 * GIB },
        |d| Slot::Count(&mut d.config.wal.reach_back_bytes_max),
        "Most disk of those segments, out of `wal.bytes_max`. `0` takes half of that.",
    )
    .default("half of wal.bytes_max"),
    Key::<Draft>::new(
        "wal.keep_pending_at_shutdown",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.wal.keep_pending_at_shutdown),
        "On SIGTERM: leave undecided traces in the log, where the next start goes on with them (`true`), or judge them on what has arrived (`false`). What a receiver with `ack: received` took is not in the log and is judged.",
    ),
];
