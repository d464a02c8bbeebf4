//! The code of `node/src/core` itself, with `control`, `drain`, `numbers`, `outbox` and `survey`, under seeded schedules, on a disk that fails
//! and forgets as disks may: killed, cut off from its power and stopped at any moment, while it reads its log too. The files
//! are compiled into this test as they are; what they name of `tailwater_runtime` is simulated here, but for the mesh.
//!
//! That it can fail was seen by making the program wrong, which each of these seeds found: a sync that is said to be made and
//! is not (5), a sender answered before its record is written (0), units resolved before their verdict is durable (0), parked
//! units resolved (1), old journals removed before the new ones say the same (70), a segment that goes with the first
//! pipeline that is done with it (3), a request that is replayed to a pipeline that did not take it (3), and, as it was, a name
//! that a failed renaming had left in the way of the next segment (265).
//!
//! A failure prints its seed; `SIMULATION_SEED=n` replays it alone, `SIMULATION_SEEDS=n` runs as many.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code fails by panicking")]
#![allow(clippy::print_stderr, reason = "seeds are to be seen")]
#![allow(dead_code, unused_imports, reason = "the program uses the rest of these files")]

extern crate self as tailwater_runtime;

pub mod executor;
pub mod files;
mod world;

/// The program's own files.
#[path = "../../../node/src"]
mod node {
    pub mod control;
    pub mod core;
    pub mod drain;
    pub mod numbers;
    pub mod outbox;
    pub mod survey;
    pub mod traffic;
}

use node::{control, core, drain, numbers, outbox, survey, traffic};
pub use tailwater_tests::mesh;

/// `tailwater_runtime::clock`.
pub mod clock {
    pub use crate::executor::{monotonic_nanos, steady_unix_nanos};
}

/// `tailwater_runtime::allocator`.
pub mod allocator {
    /// Nothing to give back.
    pub fn give_back() {}
}

/// `tailwater_runtime::net`: there are no sockets here.
pub mod net {
    use std::net::SocketAddr;

    /// Finds nothing.
    pub async fn resolve(_host: &str, _port: u16) -> Result<Vec<SocketAddr>, &'static str> {
        Err("there are no names here")
    }
}

use world::{Scenario, World};

/// Seeds of one run.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_core_loses_nothing_over_crashes_and_stops() {
    let range = number("SIMULATION_SEED").map_or(0..number("SIMULATION_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut again, mut ends) = (0, 0);
    for seed in range.clone() {
        let scenario = Scenario::of(seed);
        ends += scenario.ends;
        let outcome = std::panic::catch_unwind(|| World::new(seed, scenario.clone()).run());
        match outcome {
            Ok(twice) => again += twice,
            Err(_) => {
                executor::stop_all();
                panic!("seed {seed} failed: SIMULATION_SEED={seed}; {scenario:?}")
            }
        }
    }
    eprintln!("seeds {range:?}: {ends} ends of a run, {again} spans delivered more than once");
}
