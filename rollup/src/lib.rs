//! What is not kept is summed up here: span metrics, merged metrics, patterns of logs. Everything that a node accepts is
//! counted once, on the core that received it, and what cores have counted adds up in any order.
//!
//! ```text
//!   item --> tally of a core --take--> partial --merge--> sums of the node --> OTLP request
//! ```
//!
//! A *tally* counts what comes, a *partial* is what it has counted since it last gave it away, *sums* are partials put
//! together. Pure: no clock, sockets, threads, environment or randomness.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

pub mod compensated;
pub mod explicit;
pub mod exponential;
mod fields;
pub mod glob;
pub mod metrics;
pub mod moments;
pub mod patterns;
mod record;
mod rows;
pub mod service_graph;
pub mod skeletons;
pub mod span_metrics;
pub mod spans;
pub mod summary;
mod telling;
mod weight;
pub mod windows;
