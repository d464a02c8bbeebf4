//! Hubs on a simulated network. Each scenario is a function of a seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking, also in its helpers"
)]

mod hostile;
mod membership;
mod said;
mod scale;
mod told;
mod world;
