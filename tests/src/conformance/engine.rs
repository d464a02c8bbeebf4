//! A scenario played through a real shard: time is simulated, the next hop takes everything.

use super::{KeptSpan, Mode, Request, Scenario, spans_of};
use crate::shard_host::Kept;
use crate::shard_plan::roomy;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::sampling::{Sampling, Strategy};
use tailwater_config::{GIB, Inputs, load};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan, TICK};
use tailwater_engine::vocabulary::{Nanos, Origin, SpanBatch};

/// The time between two looks at what is due: the Collector's tick.
pub(super) const STEP: Nanos = Nanos::from_millis(1000);
/// Requests of one scenario come this far apart.
pub(super) const BETWEEN: Nanos = Nanos::from_millis(1);

/// The sampling section of a scenario's file.
///
/// # Errors
/// What the configuration has against it.
pub fn sampling(scenario: &Scenario) -> Result<Sampling, String> {
    let text = scenario.file();
    let inputs =
        Inputs { file: Some(("scenario.yaml", &text)), environment: &[], flags: &[], machine_memory_bytes: 10 * GIB };
    let told = |problems: Vec<tailwater_config::Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    load(&inputs).map(|loaded| loaded.config.sampling).map_err(told)
}

/// What a node of so many shards keeps of a scenario.
///
/// # Errors
/// Why its policies cannot be evaluated.
pub fn play(scenario: &Scenario, shards: u16) -> Result<Vec<KeptSpan>, String> {
    play_in(scenario, shards, Mode::Plain)
}

/// As `play`; the policy that has kept a trace may be written into its spans' scopes.
///
/// # Errors
/// Why its policies cannot be evaluated.
pub fn play_in(scenario: &Scenario, shards: u16, mode: Mode) -> Result<Vec<KeptSpan>, String> {
    let mut sampling = sampling(scenario)?;
    sampling.record_policy = mode == Mode::Recording;
    let wait = sampling.decision_wait;
    let mut node = Node::new(&sampling, shards)?;
    for is_late in [false, true] {
        for request in scenario.requests.iter().filter(|request| request.is_late == is_late) {
            node.advance(BETWEEN);
            node.send(&request.body);
        }
        node.wait(wait + Duration::from_secs(2));
    }
    Ok(node.drain())
}

/// What a node of one shard keeps when each request comes at its time, looked at as often as a real one looks.
///
/// # Errors
/// Why its policies cannot be evaluated.
pub fn play_at(scenario: &Scenario, times: &[Duration]) -> Result<Vec<KeptSpan>, String> {
    let sampling = sampling(scenario)?;
    let mut node = Node::new(&sampling, 1)?;
    for (Request { body, .. }, at) in scenario.requests.iter().zip(times) {
        let at = STEP.plus(nanos(*at));
        while node.now < at {
            node.advance(TICK);
            node.tick();
        }
        node.send(body);
    }
    let end = node.now.plus(nanos(sampling.decision_wait)).plus(STEP).plus(STEP);
    while node.now < end {
        node.advance(TICK);
        node.tick();
    }
    Ok(node.drain())
}

/// Shards without anything between them.
struct Node {
    now: Nanos,
    shards: Vec<Shard>,
    sink: Kept,
    turn: usize,
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(duration.as_nanos() as u64)
}

pub(super) fn plan(sampling: &Sampling, shard: u16, shards: u16) -> ShardPlan {
    ShardPlan {
        decision_wait: nanos(sampling.decision_wait),
        decision_wait_after_root: nanos(sampling.decision_wait_after_root_received),
        trace_bytes_max: sampling.trace_bytes_max as u32,
        record_policy: sampling.record_policy,
        strategy: sampling.strategy,
        forgets_undecided: sampling.strategy == Strategy::SpanIngest && sampling.non_sampled_cache_size == 0,
        randomness: sampling.randomness,
        writes_threshold_zero: sampling.writes_threshold_zero,
        flush_interval: Nanos::default(),
        ..roomy(shard, shards, 1)
    }
}

impl Node {
    fn new(sampling: &Sampling, shards: u16) -> Result<Self, String> {
        let rules = Arc::new(Rules::compile(sampling).map_err(|error| error.to_string())?);
        let shards = (0..shards).map(|shard| Shard::new(plan(sampling, shard, shards), rules.clone())).collect();
        Ok(Self { now: STEP, shards, sink: Kept::default(), turn: 0 })
    }

    fn advance(&mut self, by: Nanos) {
        self.now = self.now.plus(by);
    }

    /// One request, to the shards in turn.
    fn send(&mut self, body: &Bytes) {
        self.turn = (self.turn + 1) % self.shards.len();
        let mut scanned = self.shards[self.turn].scan(body).unwrap();
        self.shards[self.turn].accept(scanned.spans());
        scanned.place(Origin::NONE, self.now);
        for (target, spans) in scanned.batches {
            let spans = SpanBatch { arrived: self.now, ..spans };
            self.shards[usize::from(target.0)].take(self.now, spans, &mut self.sink);
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now.plus(nanos(duration));
        while self.now < end {
            self.advance(STEP);
            self.tick();
        }
    }

    fn tick(&mut self) {
        for shard in &mut self.shards {
            while shard.tick(self.now, &mut self.sink) {}
        }
    }

    fn flush(&mut self) {
        for shard in &mut self.shards {
            while shard.drain(self.now, &mut self.sink) {}
        }
    }

    fn take_kept(&mut self) -> Vec<KeptSpan> {
        let mut kept = Vec::new();
        for request in self.sink.requests.drain(..) {
            kept.extend(spans_of(&request.body));
        }
        kept
    }

    fn drain(&mut self) -> Vec<KeptSpan> {
        self.flush();
        let mut kept = self.take_kept();
        kept.sort();
        kept
    }
}
