//! The write-ahead log in the exposition.

use super::{Books, Page, Type, by_owner, number, summed};
use crate::control::{LaneSnapshot, LogSnapshot};
use tailwater_runtime::clock::steady_unix_nanos;

const NANOS_PER_SECOND: f64 = 1e9;

/// A gauge, its help, and how to read it off what it is of.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Of a log, whatever the number of pipelines that share it.
const SHARED: [Gauge<LaneSnapshot>; 6] = [
    ("tailwater_wal_segments", "Segments of requests in use.", |log| log.segments),
    ("tailwater_wal_segment_bytes", "Bytes of their files.", |log| log.segment_bytes),
    ("tailwater_wal_segment_limit_bytes", "Bound of tailwater_wal_segment_bytes.", |log| log.segment_bytes_max),
    ("tailwater_wal_buffered_bytes", "Bytes of records waiting for the disk.", |log| log.buffered_bytes),
    ("tailwater_wal_waiting_requests", "Requests whose senders wait for the disk.", |log| log.staged),
    (
        "tailwater_wal_replay_left_bytes",
        "Bytes of the last run's segments that a start has still to read; 0 once they are taken over.",
        |log| log.replay_left_bytes,
    ),
];

/// Of what a pipeline has in it.
const BY_PIPELINE: [Gauge<LogSnapshot>; 3] = [
    (
        "tailwater_wal_unresolved_units",
        "Logged spans and requests that are neither delivered nor dropped; they keep segments from being freed.",
        |log| log.unresolved,
    ),
    (
        "tailwater_wal_parked_units",
        "Logged spans and requests that are kept and wait in the log only: the backlog of the exporters.",
        |log| log.parked,
    ),
    (
        "tailwater_wal_partly_done_units",
        "Logged spans and requests that an exporter is done with and another was not when it was slow: after a restart they \
         do not go to it again. Counted until their segment is freed.",
        |log| log.partly_done,
    ),
];

/// The families of the log, where there is one.
pub(super) fn wal(page: &mut Page, books: &[Books<'_>]) {
    let cores = books.iter().flat_map(|books| books.snapshots.iter().map(move |core| (books, core)));
    let labelled =
        cores.filter_map(|(books, core)| Some((books.labels([("shard", core.shard.to_string())]), core.log.as_ref()?)));
    let logs: Vec<(Vec<(&'static str, String)>, &LogSnapshot)> = labelled.collect();
    if logs.is_empty() {
        return;
    }
    let lanes: Vec<(String, &LaneSnapshot)> = books
        .iter()
        .flat_map(|books| &books.snapshots)
        .filter_map(|core| Some((core.shard.to_string(), core.log.as_ref()?.lane.as_ref()?)))
        .collect();
    for (name, help, read) in SHARED {
        let each = lanes.iter().map(|(shard, lane)| (vec![("shard", shard.clone())], number(read(lane))));
        page.family(name, Type::Gauge, help, each);
    }
    for (name, help, read) in BY_PIPELINE {
        let each = logs.iter().map(|(labels, log)| (labels.clone(), number(read(log))));
        page.family(name, Type::Gauge, help, each);
    }
    let oldest = logs.iter().map(|(_, log)| log.parked_since_unix_nano).filter(|since| *since > 0).min();
    let age = oldest.map_or(0.0, |since| number(steady_unix_nanos().saturating_sub(since)) / NANOS_PER_SECOND);
    let help = "Age of the oldest segment that has a part of the backlog; 0 without one.";
    page.single("tailwater_wal_parked_age_seconds", Type::Gauge, help, age);
    let failing = lanes.iter().any(|(_, lane)| lane.is_failing);
    let help = "1 while the disk gives no segment to write to and senders are told to come back.";
    page.single("tailwater_wal_failing", Type::Gauge, help, f64::from(u8::from(failing)));
    let counters = logs.iter().flat_map(|(_, log)| log.counters.iter().map(|(name, count)| ("log", *name, *count)));
    by_owner(page, "tailwater_wal", "stage", "Counter of the write-ahead log.", &summed(counters));
}
