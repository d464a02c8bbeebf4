//! Nodes under load that rises, falls, jumps and trembles, by seed: triggers fire when they should, clear when they should, and
//! do not flap, also where what they do relieves the node. `SIMULATION_SEED=n` runs one seed alone.
#![allow(clippy::expect_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use fastrand::Rng;
use std::time::Duration;
use tailwater_dial::{Dial, Lever, Machine, Plan, Reading, Signal, Trigger};

const SEEDS: u64 = 1000;
/// Seconds of a life.
const LIFE: u64 = 1800;
const ON: f64 = 0.85;
const OFF: f64 = 0.6;

struct Node {
    machine: Machine,
    rng: Rng,
    window: u64,
    least_on: u64,
    least_off: u64,
    noise: f64,
    /// What part of its load goes while the trigger is on.
    relief: f64,
}

impl Node {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (window, least_on, least_off) = (rng.u64(1..60), rng.u64(0..20), rng.u64(0..90));
        let mut actions = Dial::default();
        actions.put(Lever::Window, "4x").expect("a value");
        let busy = Trigger {
            name: "busy".to_string(),
            signal: Signal::Cpu,
            window: Duration::from_secs(window),
            on: ON,
            off: OFF,
            least_on: Duration::from_secs(least_on),
            least_off: Duration::from_secs(least_off),
            actions,
        };
        let noise = rng.f64() * 0.2;
        let machine = Machine::new(Plan { is_dry_run: false, triggers: vec![busy] });
        Self { machine, rng, window, least_on, least_off, noise, relief: 0.0 }
    }

    fn is_on(&self) -> bool {
        !self.machine.in_force().is_at_rest()
    }

    /// One second at that load.
    fn second(&mut self, at: u64, load: f64) {
        let load = if self.is_on() { load * (1.0 - self.relief) } else { load };
        let cpu = (load + (self.rng.f64() - 0.5) * 2.0 * self.noise).max(0.0);
        self.machine.follow(Duration::from_secs(at), Reading { cpu: Some(cpu), ..Reading::default() });
    }
}

/// A load that ramps, jumps, spikes and rests.
fn curve(rng: &mut Rng) -> Vec<f64> {
    let mut load = Vec::new();
    let mut level = rng.f64();
    while load.len() < LIFE as usize {
        let length = rng.usize(1..120);
        let goal = rng.f64() * 1.2;
        match rng.u8(0..4) {
            0 => (0..length).for_each(|step| load.push(level + (goal - level) * step as f64 / length as f64)),
            1 => load.extend(std::iter::repeat_n(goal, length)),
            2 => load.push(1.5),
            _ => load.extend(std::iter::repeat_n(level, length)),
        }
        level = *load.last().unwrap_or(&level);
    }
    load
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    }
}

/// Breaks if the times of a trigger are not kept (`TriggerState::follow`).
#[test]
fn however_the_load_goes_steps_are_as_rare_as_the_times_say() {
    let (mut fired, mut lives) = (0, 0);
    for seed in seeds() {
        lives += 1;
        let mut node = Node::new(seed);
        node.relief = node.rng.f64() * 0.7;
        for (at, load) in curve(&mut Rng::with_seed(seed ^ 0x10ad)).into_iter().enumerate() {
            node.second(at as u64, load);
        }
        let steps: Vec<u64> = node.machine.steps().map(|step| step.at.as_secs()).collect();
        fired += steps.len();
        let least = |index: usize| if index % 2 == 0 { node.least_off } else { node.least_on };
        // Between two steps there is at least the time of the second of them, and a second.
        for (index, pair) in steps.windows(2).enumerate() {
            let first = index + node.machine.steps_total() as usize - steps.len();
            assert!(pair[1] - pair[0] > least(first), "seed {seed}: {pair:?}");
        }
    }
    assert!(lives < 2 || fired > 4 * lives, "only {fired} steps");
}

/// Breaks if a value is not looked at over its window (`History::value`), or a step comes late.
#[test]
fn an_overload_that_lasts_is_seen_in_time_and_so_is_its_end() {
    for seed in seeds() {
        let mut node = Node::new(seed);
        // So that the signal stays past the level whatever the noise.
        let (calm, overload) = (OFF - 0.2 - node.rng.f64() * 0.2, ON + 0.2 + node.rng.f64());
        let (begin, end) = (100 + node.rng.u64(0..100), 400 + node.rng.u64(0..200));
        let latest_on = begin + node.window + node.least_on;
        let latest_off = end + node.window + node.least_off;
        for at in 0..end + 300 {
            node.second(at, if (begin..end).contains(&at) { overload } else { calm });
            if at < begin {
                assert!(!node.is_on(), "seed {seed}: on at {at} for nothing");
            }
            if (latest_on..end).contains(&at) {
                assert!(node.is_on(), "seed {seed}: off at {at}, too much since {begin}");
            }
            if at >= latest_off {
                assert!(!node.is_on(), "seed {seed}: on at {at}, calm since {end}");
            }
        }
        assert_eq!(node.machine.steps_total(), 2, "seed {seed}");
    }
}

/// Breaks if the level for off is not another than that for on (`Trigger::is_past_off`).
#[test]
fn what_relieves_a_node_within_the_hysteresis_does_not_undo_itself() {
    for seed in seeds() {
        let mut node = Node::new(seed);
        node.noise = node.noise.min(0.03);
        let overload = ON + 0.05 + node.rng.f64() * 0.2;
        // What is left stays above the level for off.
        node.relief = node.rng.f64() * (1.0 - (OFF + 0.05) / overload);
        for at in 0..LIFE {
            node.second(at, overload);
        }
        assert_eq!((node.machine.steps_total(), node.is_on()), (1, true), "seed {seed}");
    }
}
