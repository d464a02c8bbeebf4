//! What the tests share: the simulated node, the real one as a process, a next hop that fails on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test that fails shows what the node said")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "small test numbers"
)]

pub mod conformance;
pub mod disk;
pub mod dns;
pub mod grpc;
pub mod next_hop;
pub mod own_rules;
pub mod process;
pub mod seeds;
pub mod shard_host;
pub mod shard_plan;
pub mod unbiased;
pub mod world;

/// The queues between cores, for a test that has another `tailwater_runtime` beside them.
pub use tailwater_runtime::mesh;
