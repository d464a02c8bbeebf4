//! `tailwater-load shard`: the corpus through one shard in this process, from the scan to the batches that leave it, without
//! sockets, clock or threads. The same options always do the same work, so that a profiler's counts of two runs can be
//! compared to the instruction, also on a machine that does something else beside.

use crate::arguments;
use crate::corpus::identity::Identity;
use crate::corpus::{BodyEncoding, CorpusOptions, RoundPosition, RoundTemplate};
use crate::output::Line;
use bytes::Bytes;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tailwater_config::sampling::Sampling;
use tailwater_config::{Inputs, load};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, ShardIndex, Unit};
use tailwater_proto::otlp::Signal;

/// Options of `tailwater-load shard`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShardOptions {
    /// Configuration whose policies are asked, in either language
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Rounds of the corpus
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// Size of a span, bytes
    #[arg(long, default_value_t = 384)]
    pub span_bytes: usize,
    /// Share of the traces that are marked to be kept
    #[arg(long, default_value = "0.05", value_parser = arguments::share)]
    pub keep_share: f64,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Seed of ids and contents: every run is the same.
const SEED: u64 = 1;
/// Rounds that differ in their contents.
const TEMPLATES: u64 = 3;
/// Traces wait for so many rounds, so that what is taken and what is judged overlap as they do in a node.
const WAIT_ROUNDS: u64 = 2;
/// From one round to the next.
const ROUND: Nanos = Nanos::from_millis(100);
/// Wall-clock time of the first round; nothing depends on it.
const FIRST_UNIX_NANOS: u64 = 1_760_000_000 * Nanos::PER_SECOND;
/// What configurations are checked against; the shard here has bounds of its own.
const MACHINE_MEMORY_BYTES: u64 = 16 << 30;

/// Counts what leaves the shard and lets go of it.
#[derive(Default)]
struct Counting {
    spans: u64,
    bytes: u64,
    settled: u32,
}

impl Host for Counting {
    fn export(&mut self, request: ExportRequest) {
        self.spans += u64::from(request.items);
        self.bytes += request.body.len() as u64;
        self.settled += request.items;
    }
    fn judged(&mut self, _: &Judged) {}
    fn resolve(&mut self, _: Unit) {}
    fn recall(&mut self, _: KeptUnit) {}
}

/// Runs all rounds, and says what went in and out.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn run(options: &ShardOptions) -> Result<Line, String> {
    let sampling = sampling_of(&options.config)?;
    let rules = Arc::new(Rules::compile(&sampling).map_err(|error| error.to_string())?);
    let corpus = CorpusOptions {
        seed: SEED,
        services: 8,
        spans_per_trace: 8,
        spans_per_request: 1_000,
        span_bytes: options.span_bytes,
        keep_share: options.keep_share,
        late_share: 0.0,
        encoding: BodyEncoding::Protobuf,
    };
    let templates: Vec<_> = (0..TEMPLATES).map(|variant| RoundTemplate::build(&corpus, variant)).collect();
    let traces_per_round = u64::from(corpus.traces_per_round());
    let mut shard = Shard::new(plan(&corpus, &sampling), rules);
    shard.keep_reasons(usize::try_from(traces_per_round).unwrap_or(usize::MAX));
    let mut host = Counting::default();
    let mut spans = 0;
    for (round, template) in (0..options.rounds).zip(templates.iter().cycle()) {
        let now = Nanos(ROUND.0 * (round + 1));
        let unix_nanos = FIRST_UNIX_NANOS + now.0;
        let position = RoundPosition { first_trace: round * traces_per_round, unix_nanos };
        for request in &template.requests {
            let mut body = request.bytes.clone();
            request.patch(&mut body, Identity::new(SEED), position);
            spans += take(&mut shard, now, body, &mut host)?;
        }
        while shard.tick(now, &mut host) {}
        settle(&mut shard, &mut host);
    }
    let end = Nanos(ROUND.0 * (options.rounds + WAIT_ROUNDS + 1));
    while shard.drain(end, &mut host) {}
    settle(&mut shard, &mut host);
    let (kept, dropped) = (shard.ledger().traces.kept, shard.ledger().traces.dropped);
    let Counting { spans: out, bytes, .. } = host;
    Ok(Line {
        text: format!("{spans} spans in; {kept} traces kept, {dropped} dropped; {out} spans and {bytes} bytes out"),
        json: json!({"spans": spans, "traces_kept": kept, "traces_dropped": dropped, "spans_out": out, "bytes_out": bytes}),
    })
}

/// One request's way through the shard; returns its spans.
fn take(shard: &mut Shard, now: Nanos, body: Vec<u8>, host: &mut Counting) -> Result<u64, String> {
    let mut scanned = shard.scan(&Bytes::from(body)).map_err(|error| error.to_string())?;
    for (_, batch) in &mut scanned.batches {
        batch.arrived = now;
    }
    let spans = scanned.spans();
    shard.accept(spans);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
    Ok(spans as u64)
}

/// All that was given out has arrived.
fn settle(shard: &mut Shard, host: &mut Counting) {
    shard.settle(Signal::Traces, std::mem::take(&mut host.settled), ExportFate::Delivered);
}

fn sampling_of(path: &std::path::Path) -> Result<Sampling, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let inputs =
        Inputs { file: Some((&name, &text)), environment: &[], flags: &[], machine_memory_bytes: MACHINE_MEMORY_BYTES };
    let loaded =
        load(&inputs).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    Ok(loaded.config.sampling)
}

/// Bounds that the corpus does not reach.
fn plan(corpus: &CorpusOptions, sampling: &Sampling) -> ShardPlan {
    let waiting = usize::try_from((WAIT_ROUNDS + 2) * u64::from(corpus.traces_per_round())).unwrap_or(usize::MAX);
    let off = Nanos::default();
    ShardPlan {
        shard: ShardIndex(0),
        shards: 1,
        hash_seed: [1, 2, 3, 4],
        traces_max: 2 * waiting,
        arena_bytes_max: 512 << 20,
        chunk_bytes: 1 << 20,
        span_bytes_max: 4 << 20,
        kept_verdicts_max: waiting,
        dropped_verdicts_max: waiting,
        decision_wait: Nanos(ROUND.0 * WAIT_ROUNDS),
        decision_wait_after_root: off,
        inactivity_timeout: off,
        trace_duration_max: off,
        cold_after: off,
        trace_bytes_max: 0,
        drop_pending_at_drain: false,
        record_policy: sampling.record_policy,
        strategy: sampling.strategy,
        forgets_undecided: false,
        randomness: sampling.randomness,
        writes_threshold_zero: sampling.writes_threshold_zero,
        batch: BatchLimits { spans_max: 1_000, bytes_max: 1 << 20 },
        flush_interval: ROUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_does_the_same_work() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/baseline.yaml").into();
        let options = ShardOptions { config, rounds: 6, span_bytes: 384, keep_share: 0.05, json: true };
        let first = run(&options).unwrap().json;
        assert_eq!(first, run(&options).unwrap().json);
        let of = |key: &str| first[key].as_u64().unwrap();
        assert_eq!(of("traces_kept") + of("traces_dropped"), 6 * 1_000, "{first}");
        assert_eq!(of("spans_out"), 8 * of("traces_kept"), "{first}");
        let share = of("traces_kept") as f64 / 6_000.0;
        assert!((0.04..0.06).contains(&share), "{first}");
    }
}
