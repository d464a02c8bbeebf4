//! The program: `tailwater run | check | doctor | explain | recall | try | log`.

mod admin;
mod blueprint;
mod boot;
mod check;
mod cli;
mod cluster;
mod control;
mod core;
mod dial;
mod discovery;
mod doctor;
mod drain;
mod explain;
mod gossip;
mod identity;
mod launch;
mod listening;
mod log_tool;
mod logging;
mod machine;
mod metrics;
mod numbers;
mod outbox;
mod plan;
mod port_holder;
mod progress;
mod reach_back;
mod reload;
mod sockets;
mod source;
mod summary;
mod supervise;
mod survey;
mod terminal;
mod traffic;
mod trial;

use std::process::ExitCode;

/// Frees of large request bodies go back to the system, and the fast path takes no lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
