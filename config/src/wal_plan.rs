//! How the disk and memory of the log are spread over the shards. A budget in which a shard could not take one large
//! request and still turn its segments over is refused at start, not when the disk is found full.

use crate::problem::{Problem, Source};
use crate::settings::{Ack, Config};
use crate::value::{KIB, MIB, show_bytes};

/// One shard's part of the log, whatever the number of its pipelines. Bytes are multiples of a disk block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalPlan {
    /// Length of a preallocated segment of requests: `wal.segment_bytes_max`, or less where the budget holds fewer than
    /// eight of those.
    pub segment_bytes: u64,
    /// Length of a segment that is made for one request that does not fit `segment_bytes`; at least `segment_bytes`.
    pub largest_segment_bytes: u64,
    /// Bytes of all segments of requests together, the spare ones included.
    pub requests_bytes: u64,
    /// Most segments of requests that can be there at once, the spare ones included: bounds the tables over them.
    pub segments_max: u32,
    /// Journals: one a pipeline.
    pub journals: u64,
    /// Length of a preallocated segment of a journal.
    pub journal_segment_bytes: u64,
    /// Bytes of all segments of a journal together.
    pub journal_bytes: u64,
    /// Memory for records that wait for the disk. A single larger request is taken when nothing else waits.
    pub buffer_bytes: u64,
    /// Most bytes of segments of requests that are done with and stay, out of `requests_bytes`; 0 where none stay.
    pub past_bytes: u64,
}

/// Unit of direct disk writes.
const BLOCK_BYTES: u64 = 4 * KIB;
/// Smallest segment: below it a file is more work than what is in it.
const SEGMENT_BYTES_MIN: u64 = MIB;
/// A shard's budget is at least this many segments, so that one that cannot be freed yet holds a small part of it.
const SEGMENTS_WANTED: u64 = 8;
/// Segments besides the one for the largest request without which nothing turns over: one that is filled, one that is
/// emptied, one that is ready.
const SEGMENTS_NEEDED: u64 = 3;
/// A shard's requests have so many times the disk of a journal: a verdict takes 32 bytes and the mark of a delivered span a
/// bit, where the spans of a trace themselves take kilobytes.
const REQUESTS_TO_JOURNAL: u64 = 7;
/// Segments of a shard's journal: old ones are freed one by one as what they tell of is gone.
/// At the bound: old verdicts go. While the disk has no room new ones wait in memory; past what is remembered and
/// buffered they are lost to a restart, counted in `tailwater_wal_verdicts_lost_total`.
const JOURNAL_SEGMENTS: u64 = 4;
/// Bytes around a request's body in its segment: the header block, the record's own head, padding to the next block.
const RECORD_EXTRA_BYTES: u64 = 3 * BLOCK_BYTES;
/// Least memory of a shard's buffers: two flushes of several requests each.
const BUFFER_BYTES_MIN: u64 = 256 * KIB;

/// Spreads the log over that many shards, each of which has one log of requests and a journal for each pipeline.
/// Meaningful where `Config::needs_wal` says so.
///
/// # Errors
/// When the budget of disk or memory is too small for so many shards: the key, its value, and how much it must be.
pub fn wal_plan(config: &Config, shards: usize) -> Result<WalPlan, Box<Problem>> {
    let shards = u64::try_from(shards).unwrap_or(u64::MAX).max(1);
    let journals = u64::try_from(config.ways()).unwrap_or(u64::MAX).max(1);
    let logged = config.open_receivers().filter(|receiver| receiver.ack != Ack::Received);
    let largest_request = logged.map(|receiver| receiver.limits.request_bytes_max).max().unwrap_or(0);
    let largest = blocks_up(largest_request.saturating_add(RECORD_EXTRA_BYTES));
    let budget = config.wal.bytes_max / shards;
    let journal_segment_bytes = blocks_down(budget / (REQUESTS_TO_JOURNAL + journals) / JOURNAL_SEGMENTS)
        .clamp(SEGMENT_BYTES_MIN, config.wal.segment_bytes_max.max(SEGMENT_BYTES_MIN));
    let journal_bytes = journal_segment_bytes * JOURNAL_SEGMENTS;
    let requests_bytes = blocks_down(budget.saturating_sub(journals.saturating_mul(journal_bytes)));
    let share = (requests_bytes / SEGMENTS_WANTED).max(SEGMENT_BYTES_MIN);
    let segment_bytes = blocks_down(share.min(config.wal.segment_bytes_max));
    let largest_segment_bytes = largest.max(segment_bytes);
    if requests_bytes < largest_segment_bytes.saturating_add(SEGMENTS_NEEDED * segment_bytes) {
        return Err(Box::new(too_little_disk(config, (shards, journals), largest)));
    }
    let buffer_bytes = blocks_down(config.wal.buffer_bytes_max / shards);
    if buffer_bytes / journals < BUFFER_BYTES_MIN {
        return Err(Box::new(too_little_memory(config, shards, journals)));
    }
    let segments_max = u32::try_from(requests_bytes / segment_bytes).unwrap_or(u32::MAX);
    Ok(WalPlan {
        segment_bytes,
        largest_segment_bytes,
        requests_bytes,
        segments_max,
        journals,
        journal_segment_bytes,
        journal_bytes,
        buffer_bytes,
        past_bytes: past_bytes(config, shards, requests_bytes),
    })
}

/// Where nothing else is configured half of the log's disk: the other half is what the log has to itself without asking.
fn past_bytes(config: &Config, shards: u64, requests_bytes: u64) -> u64 {
    match (config.wal.reach_back.is_zero(), config.wal.reach_back_bytes_max) {
        (true, _) => 0,
        (false, 0) => requests_bytes / 2,
        (false, most) => (most / shards).min(requests_bytes),
    }
}

fn blocks_down(bytes: u64) -> u64 {
    bytes / BLOCK_BYTES * BLOCK_BYTES
}

fn blocks_up(bytes: u64) -> u64 {
    blocks_down(bytes.saturating_add(BLOCK_BYTES - 1))
}

/// What is asked for always suffices: with it the plan is made.
fn too_little_disk(config: &Config, (shards, journals): (u64, u64), largest: u64) -> Problem {
    // With one journal it leaves seven eighths or all but four of its smallest segments, and of that the segments leave five
    // eighths or all but three of the smallest: more than one part in two, and eight times the smallest for the rest. Each
    // further journal takes an eighth of that more, and four of the smallest.
    let eighths = REQUESTS_TO_JOURNAL.saturating_add(journals);
    let each = (largest.saturating_mul(2 * eighths) / 8).saturating_add(4 * (journals + 1) * SEGMENT_BYTES_MIN);
    let needed = shards.saturating_mul(each.div_ceil(MIB));
    Problem {
        source: Source::Default,
        key: "wal.bytes_max".to_string(),
        value: Some(show_bytes(config.wal.bytes_max)),
        cause: format!("{} would have too little of it for a request of the largest size", sharers(shards, journals)),
        remedy: format!(
            "raise it to {needed}MiB, or lower request_bytes_max of the receivers or shards, or set ack to received, \
             which needs no log"
        ),
    }
}

/// Who shares the log.
fn sharers(shards: u64, journals: u64) -> String {
    match journals {
        0 | 1 => format!("each of {shards} shards"),
        pipelines => format!("each of {shards} shards ({pipelines} pipelines)"),
    }
}

fn too_little_memory(config: &Config, shards: u64, journals: u64) -> Problem {
    let least = BUFFER_BYTES_MIN.saturating_mul(journals);
    Problem {
        source: Source::Default,
        key: "wal.buffer_bytes_max".to_string(),
        value: Some(show_bytes(config.wal.buffer_bytes_max)),
        cause: format!("{} would have less than {} of it", sharers(shards, journals), show_bytes(least)),
        remedy: format!(
            "raise it to {}, or lower shards, or set ack to received, which needs no log",
            show_bytes(shards.saturating_mul(least))
        ),
    }
}

impl std::fmt::Display for WalPlan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "each shard: {} segments of {}, {} of {}, {} of buffers",
            self.segments_max,
            show_bytes(self.segment_bytes),
            if self.journals == 1 { "a journal".to_string() } else { format!("{} journals", self.journals) },
            show_bytes(self.journal_bytes),
            show_bytes(self.buffer_bytes)
        )
    }
}
