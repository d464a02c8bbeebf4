//! The log: how much disk and memory it may take, how long it keeps what no exporter took, and what follows when it is
//! full.

use std::time::Duration;

use crate::choices::choices;
use crate::value::{GIB, MIB};

/// The log of what has been taken over and is not yet dropped or delivered. There is one on a node where a receiver
/// promises more than `received`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wal {
    /// Largest preallocated segment file. Where the disk budget of a shard is small its segments are smaller, too.
    pub segment_bytes_max: u64,
    /// Disk budget of the node's log, journals and spare segments included.
    pub bytes_max: u64,
    /// Most memory of records that wait for the disk on the node, journals and double buffering included. Set by `load`
    /// to a share of `memory.bytes_max` when not configured.
    pub buffer_bytes_max: u64,
    /// How often verdicts and what has been delivered are written and synced. After a crash what was delivered within
    /// the last interval may be delivered once more.
    pub journal_interval: Duration,
    /// Age past which kept data that no exporter took is dropped; zero for never.
    pub retention: Duration,
    /// What follows when the disk budget is used up.
    pub on_full: WalFull,
    /// How long what is done with stays to be looked at; zero for not at all.
    pub reach_back: Duration,
    /// Most disk of that; 0 for half of `bytes_max`.
    pub reach_back_bytes_max: u64,
    /// On SIGTERM: leave undecided traces in the log for the next start (true), or judge them on what has arrived
    /// (false).
    pub keep_pending_at_shutdown: bool,
}

choices! {
    /// What follows when the disk budget of the log is used up.
    WalFull {
        /// Requests are refused with a status that makes their senders try again.
        #[default]
        PushBack = "push_back",
        /// The oldest traces are judged on what has arrived, which frees their segments; while that frees nothing,
        /// requests are refused as with `push_back`.
        DecideEarly = "decide_early",
    }
}

impl Wal {
    /// Most buffer memory taken when nothing is written: some 30 ms of a fast disk's bandwidth, twice over.
    pub const BUFFER_BYTES_DEFAULT: u64 = 64 * MIB;
}

impl Default for Wal {
    fn default() -> Self {
        Self {
            // Large enough that a new file is rare, small enough that one trace that stays undecided for long holds
            // little disk beside its own.
            segment_bytes_max: 64 * MIB,
            bytes_max: 8 * GIB,
            buffer_bytes_max: Self::BUFFER_BYTES_DEFAULT,
            journal_interval: Duration::from_millis(200),
            retention: Duration::from_secs(24 * 3600),
            on_full: WalFull::PushBack,
            reach_back: Duration::ZERO,
            reach_back_bytes_max: 0,
            keep_pending_at_shutdown: false,
        }
    }
}
