//! Nodes under load that rises, falls, jumps and trembles, by seed: triggers fire when they should, clear when they should, and
//! do not flap, also where what they do relieves the node. `SIMULATION_SEED=n` runs one seed alone.
#![allow(clippy::expect_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
#![allow(clippy::disallowed_methods, reason = "the seed of a failure comes from the environment")]

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
            service: None,
            window: Duration::from_secs(window),
            on: ON,
            off: OFF,
            least_on: Duration::from_secs(least_on),
            least_off: Duration::from_secs(least_off),
            actions,
        };
        let noise = rng.f64() * 0.2;
        let machine = Machine::new(Plan { triggers: vec![busy], ..Plan::default() });
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
        let least = |index: usize| if index.is_multiple_of(2) { node.least_off } else { node.least_on };
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

/// Degrees of reduction for a load that rises to `peak` of what the node can do, stays and falls again. What is kept costs,
/// and what is not costs a little: percentages relieve the node, though not by more than the levels are apart.
fn ramp(seed: u64, peak: f64) -> (Vec<Dial>, Machine) {
    let mut rng = Rng::with_seed(seed);
    let degree = |name: &str, on: f64, off: f64, percentage: &str| {
        let mut actions = Dial::default();
        actions.put(Lever::Percentage, percentage).expect("a value");
        actions.put(Lever::Window, "8x").expect("a value");
        Trigger {
            name: name.to_string(),
            signal: Signal::Cpu,
            service: None,
            window: Duration::from_secs(10),
            on,
            off,
            least_on: Duration::from_secs(5),
            least_off: Duration::from_secs(20),
            actions,
        }
    };
    let triggers = vec![degree("some", 0.7, 0.4, "0.5"), degree("more", 0.9, 0.5, "0.1")];
    let mut machine = Machine::new(Plan { step_every: EVERY, triggers, ..Plan::default() });
    let (up, down) = (300 + rng.u64(0..300), 300 + rng.u64(0..300));
    let (begin, noise) = (60, rng.f64() * 0.02);
    let mut dials = Vec::new();
    for at in 0..begin + up + 300 + down + 300 {
        let part = |since: u64, length: u64| (since as f64 / length as f64).min(1.0);
        let rise = part(at.saturating_sub(begin), up);
        let fall = part(at.saturating_sub(begin + up + 300), down);
        let load = 0.2 + (peak - 0.2) * (rise - fall);
        let relieved = load * (0.75 + 0.25 * machine.in_force().percentage);
        let cpu = Some((relieved + (rng.f64() - 0.5) * noise).clamp(0.0, 1.0));
        machine.follow(Duration::from_secs(at), Reading { cpu, ..Reading::default() });
        dials.push(machine.in_force().clone());
    }
    (dials, machine)
}

const EVERY: Duration = Duration::from_secs(10);

/// Breaks if a lever goes by more than a step at once, or again before its time (`Machine::approach`), or if what relieves the
/// node has it swing: then it would go up and down more than once.
#[test]
fn a_load_that_rises_and_falls_turns_levers_once_up_and_once_down_in_bounded_steps() {
    for seed in seeds().take(200) {
        let (dials, machine) = ramp(seed, 1.1);
        assert!(dials[..60].iter().all(Dial::is_at_rest), "seed {seed}: something at rest");
        assert!(dials.last().is_some_and(Dial::is_at_rest), "seed {seed}: it does not come back");
        let least = dials.iter().map(|dial| dial.percentage).fold(1.0, f64::min);
        let widest = dials.iter().map(|dial| dial.window).max();
        assert_eq!((least, widest), (0.1, Some(8)), "seed {seed}: the degrees were not reached");
        let moves: Vec<(usize, f64)> = dials
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| pair[0] != pair[1])
            .map(|(at, pair)| {
                let factor = pair[1].percentage / pair[0].percentage;
                let widening = f64::from(pair[1].window) / f64::from(pair[0].window);
                assert!((0.5..=2.0).contains(&factor) && (0.5..=2.0).contains(&widening), "seed {seed}: {pair:?}");
                (at, if factor == 1.0 { 1.0 / widening } else { factor })
            })
            .collect();
        assert!(moves.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10), "seed {seed}: too fast, {moves:?}");
        let turns = moves.windows(2).filter(|pair| (pair[0].1 < 1.0) != (pair[1].1 < 1.0)).count();
        assert_eq!(turns, 1, "seed {seed}: it swings, {moves:?}");
        // Each is told: what was in force before a step is what the step before it has come to.
        let steps: Vec<_> = machine.steps().collect();
        assert_eq!(steps.len() as u64, machine.steps_total(), "seed {seed}");
        assert!(steps.windows(2).all(|pair| pair[0].after == pair[1].before), "seed {seed}");
        let told = steps.iter().filter(|step| step.before != step.after).count();
        assert_eq!(told, moves.len(), "seed {seed}: something changed that was not told");
    }
}

/// Breaks if anything but what was read decides.
#[test]
fn the_same_readings_come_to_the_same_steps() {
    for seed in seeds().take(20) {
        let (first, second) = (ramp(seed, 1.3), ramp(seed, 1.3));
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(first.1.steps().eq(second.1.steps()), "seed {seed}");
    }
}

/// Breaks if a node far from its levels takes a step.
#[test]
fn at_rest_nothing_happens() {
    for seed in seeds().take(20) {
        let (dials, machine) = ramp(seed, 0.6);
        assert_eq!((machine.steps_total(), machine.is_idle()), (0, false), "seed {seed}");
        assert!(dials.iter().all(Dial::is_at_rest), "seed {seed}");
    }
    assert!(Machine::new(Plan::default()).is_idle());
}
