//! `tailwater-load shard`: the corpus through one shard in this process, from the scan to the batches that leave it, without
//! sockets, clock or threads. The same options always do the same work, so that a profiler's counts of two runs can be
//! compared to the instruction, also on a machine that does something else beside. With `--timed` a clock is read, around the
//! shard's own work only.

mod cluster;

use crate::arguments;
use crate::corpus::identity::Identity;
use crate::corpus::{BodyEncoding, CorpusOptions, RequestTemplate, RoundPosition, RoundTemplate};
use crate::output::Line;
use bytes::Bytes;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tailwater_config::sampling::Sampling;
use tailwater_config::{Inputs, load};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::intake::Scanned;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, Said, ShardIndex, Unit};
use tailwater_proto::otlp::Signal;
use tailwater_rollup::service_graph;
use tailwater_rollup::span_metrics::{self, Durations, Plan, ResourceAttributes, Standard};
use tailwater_rollup::summary::{Summary, SummaryPlan, Tallies};

/// Options of `tailwater-load shard`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShardOptions {
    /// Configuration whose policies are asked, in either language
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Rounds of the corpus, each a request of 8 services
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// Spans of a request
    #[arg(long, default_value_t = 1_000)]
    pub spans_per_request: u32,
    /// Rounds over which the spans of a trace arrive; 0 has them all arrive in one
    #[arg(long, default_value_t = 0)]
    pub spread_rounds: u64,
    /// Pipelines that each get every request, each with a shard of its own
    #[arg(long, default_value_t = 1)]
    pub pipelines: u16,
    /// Nodes of a cluster that get every so manieth request, with a shard each, so that each trace has spans on all of them
    #[arg(long, default_value_t = 1, conflicts_with_all = ["pipelines", "timed"])]
    pub nodes: u16,
    /// Count span metrics of all spans, too
    #[arg(long, conflicts_with_all = ["pipelines", "nodes"])]
    pub span_metrics: bool,
    /// Count requests between services, too
    #[arg(long, conflicts_with_all = ["pipelines", "nodes"])]
    pub service_graph: bool,
    /// Time so many pairs of runs, one with the traces spread and one without, in turn
    #[arg(long, default_value_t = 0, value_name = "PAIRS")]
    pub timed: u32,
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
/// One request of each service in a round that is not spread.
const SERVICES: u16 = 8;
/// Requests from one look at what is due to the next.
const REQUESTS_PER_ROUND: u64 = SERVICES as u64;
/// Requests of each service in a round of traces that are spread: each has every eighth trace of the round.
const SPREAD_REQUESTS_PER_SERVICE: u16 = 8;
/// What the arena may need for a span beside its own bytes, generously.
const SPAN_BYTES_BESIDE: usize = 128;
/// Traces wait for so many rounds, so that what is taken and what is judged overlap as they do in a node.
const WAIT_ROUNDS: u64 = 2;
/// From one round to the next.
const ROUND: Nanos = Nanos::from_millis(100);
/// How often a node has its journal told what is counted.
const CHECKPOINT: Nanos = Nanos::from_millis(2000);
/// Wall-clock time of the first round; nothing depends on it.
const FIRST_UNIX_NANOS: u64 = 1_760_000_000 * Nanos::PER_SECOND;
/// What configurations are checked against; the shard here has bounds of its own.
const MACHINE_MEMORY_BYTES: u64 = 16 << 30;

/// A step of the shards whose time is measured.
type Work<'a> = dyn FnMut(&mut [(Shard, Counting)]) -> Result<(), String> + 'a;

/// Counts what leaves the shard and lets go of it.
#[derive(Default)]
struct Counting {
    spans: u64,
    bytes: u64,
    settled: u32,
    said: Vec<Said>,
    said_bytes: u64,
    /// What is counted of all spans, since the last look and before.
    counted: Option<(Tallies, Summary)>,
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
    fn tell(&mut self, said: Said) -> Result<(), Said> {
        self.said_bytes += said.bytes.len() as u64;
        self.said.push(said);
        Ok(())
    }
}

/// Runs all rounds, and says what went in and out.
///
/// # Errors
/// A text that names the file and what is wrong with it, or the option.
pub fn run(options: &ShardOptions) -> Result<Line, String> {
    let sampling = sampling_of(&options.config)?;
    let rules = Arc::new(Rules::compile(&sampling).map_err(|error| error.to_string())?);
    if options.timed == 0 {
        let traffic = Traffic::new(options, options.spread_rounds);
        return Ok(pass(options, &traffic, &sampling, &rules, &mut None)?.line());
    }
    if options.spread_rounds == 0 {
        return Err("--timed compares with traces that are spread: give --spread-rounds too".to_owned());
    }
    let together = Traffic { wait_rounds: wait_rounds(options.spread_rounds), ..Traffic::new(options, 0) };
    let spread = Traffic::new(options, options.spread_rounds);
    let mut nanos = [Vec::new(), Vec::new()];
    // The first pass gets its memory from the kernel, the others have it.
    pass(options, &spread, &sampling, &rules, &mut None)?;
    for pair in 0..options.timed {
        // Back and forth, so that a machine that slows down does not always meet the same one.
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            let mut time = Some(Duration::ZERO);
            let passed = pass(options, [&together, &spread][which], &sampling, &rules, &mut time)?;
            nanos[which].push(per_span(time.unwrap_or_default(), passed.spans));
        }
    }
    Ok(compared(&nanos))
}

#[expect(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
fn per_span(time: Duration, spans: u64) -> f64 {
    time.as_nanos() as f64 / spans.max(1) as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Nanoseconds a span of both kinds of runs, and the ratio of each pair.
fn compared([together, spread]: &[Vec<f64>; 2]) -> Line {
    let ratios: Vec<f64> = together.iter().zip(spread).map(|(together, spread)| spread / together).collect();
    let [one, other] = [together, spread].map(|each| median(each.iter().copied()));
    let ratio = median(ratios.iter().copied());
    Line {
        text: format!("{one:.0} ns a span together, {other:.0} spread; of each pair the {ratio:.3}-fold (median)"),
        json: json!({"together_ns_per_span": together, "spread_ns_per_span": spread, "ratios": ratios, "ratio": ratio}),
    }
}

/// What is sent, and how long traces wait.
struct Traffic {
    corpus: CorpusOptions,
    templates: Vec<RoundTemplate>,
    /// templates' rounds in all
    rounds: u64,
    /// templates' rounds from the first to the last request of one
    spread: u64,
    /// rounds of [`REQUESTS_PER_ROUND`] that traces wait
    wait_rounds: u64,
}

/// Traces wait until all their spans have come, and some more.
const fn wait_rounds(spread_rounds: u64) -> u64 {
    WAIT_ROUNDS + if spread_rounds == 0 { 0 } else { spread_rounds + SPREAD_REQUESTS_PER_SERVICE as u64 }
}

impl Traffic {
    fn new(options: &ShardOptions, spread_rounds: u64) -> Self {
        let requests_per_service = if spread_rounds == 0 { 1 } else { SPREAD_REQUESTS_PER_SERVICE };
        let corpus = CorpusOptions {
            seed: SEED,
            services: SERVICES,
            spans_per_trace: 8,
            spans_per_request: options.spans_per_request,
            requests_per_service,
            span_bytes: options.span_bytes,
            keep_share: options.keep_share,
            late_share: 0.0,
            encoding: BodyEncoding::Protobuf,
        };
        let templates = (0..TEMPLATES).map(|variant| RoundTemplate::build(&corpus, variant)).collect();
        let larger = u64::from(requests_per_service);
        Self {
            corpus,
            templates,
            rounds: options.rounds.div_ceil(larger),
            spread: if spread_rounds == 0 { 0 } else { (spread_rounds / larger).max(1) },
            wait_rounds: wait_rounds(spread_rounds),
        }
    }

    /// The request that comes at this place, with its templates' round; none where a round has not begun or all are over.
    fn request(&self, place: u64) -> Option<(u64, &RequestTemplate)> {
        let requests = self.templates.first().map_or(1, |template| template.requests.len() as u64);
        let (round, request) = (place / requests, place % requests);
        let round = round.checked_sub(request * self.spread / requests.saturating_sub(1).max(1))?;
        let template = self.templates.get(usize::try_from(round % TEMPLATES).ok()?)?;
        let request = template.requests.get(usize::try_from(request).ok()?)?;
        (round < self.rounds).then_some((round, request))
    }

    /// Rounds of [`REQUESTS_PER_ROUND`] until all have come.
    fn rounds_in_all(&self) -> u64 {
        (self.rounds + self.spread) * u64::from(self.corpus.requests_per_service)
    }
}

/// What went in and out, over all pipelines.
#[derive(Debug, Default)]
struct Passed {
    spans: u64,
    kept: u64,
    dropped: u64,
    out: u64,
    bytes: u64,
    /// what nodes of a cluster told one another
    told_bytes: u64,
}

impl Passed {
    fn line(&self) -> Line {
        let Self { spans, kept, dropped, out, bytes, told_bytes } = *self;
        Line {
            text: format!(
                "{spans} spans in; {kept} traces kept, {dropped} dropped; {out} spans and {bytes} bytes out; {told_bytes} bytes \
                 told to other nodes"
            ),
            json: json!({"spans": spans, "traces_kept": kept, "traces_dropped": dropped, "spans_out": out, "bytes_out": bytes, "told_bytes": told_bytes}),
        }
    }
}

/// All rounds through fresh shards; the time of their own work is added to `time`.
fn pass(
    options: &ShardOptions,
    traffic: &Traffic,
    sampling: &Sampling,
    rules: &Arc<Rules>,
    time: &mut Option<Duration>,
) -> Result<Passed, String> {
    let nodes = u64::from(options.nodes);
    let mut shards: Vec<_> = (0..options.pipelines.max(options.nodes))
        .map(|number| {
            let mut shard = Shard::new(plan(traffic, sampling), Arc::clone(rules));
            if options.nodes > 1 {
                cluster::join(&mut shard, number, options.nodes);
            }
            shard.keep_reasons(usize::try_from(traffic.corpus.traces_per_round()).unwrap_or(usize::MAX));
            // No plan of patterns, so that nothing can be wrong with one.
            let tallies = Tallies::new(&summary_plan(options), 0, 0).ok().filter(|tallies| !tallies.spans.is_empty());
            let counted = tallies.map(|tallies| (tallies, Summary::default()));
            (shard, Counting { counted, ..Counting::default() })
        })
        .collect();
    let traces_per_round = u64::from(traffic.corpus.traces_per_round());
    let mut passed = Passed::default();
    let mut measured = |work: &mut Work<'_>| {
        let begin = time.is_some().then(Instant::now);
        work(&mut shards)?;
        if let (Some(time), Some(begin)) = (&mut *time, begin) {
            *time += begin.elapsed();
        }
        Ok::<(), String>(())
    };
    let first = if nodes > 1 { cluster::ROUNDS_BEFORE } else { 0 };
    for step in 0..first {
        measured(&mut |shards| tick(shards, Nanos(ROUND.0 * (step + 1))))?;
    }
    for step in 0..traffic.rounds_in_all() {
        let now = Nanos(ROUND.0 * (first + step + 1));
        for place in step * REQUESTS_PER_ROUND..(step + 1) * REQUESTS_PER_ROUND {
            let Some((round, request)) = traffic.request(place) else { continue };
            // A round's time does not follow the clock: however its spans are spread, they lie as they lay in the trace.
            let unix_nanos = FIRST_UNIX_NANOS + ROUND.0 * (round + 1);
            let mut body = request.bytes.clone();
            request.patch(
                &mut body,
                Identity::new(SEED),
                RoundPosition { first_trace: round * traces_per_round, unix_nanos },
            );
            let body = Bytes::from(body);
            passed.spans += request.spans;
            measured(&mut |shards| match nodes {
                1 => take(shards, now, &body),
                nodes => take(cluster::node_of(shards, place % nodes), now, &body),
            })?;
        }
        measured(&mut |shards| tick(shards, now))?;
    }
    let last = first + traffic.rounds_in_all();
    let mut rounds = last + traffic.wait_rounds + 1;
    if nodes > 1 {
        // Until all have told and heard what there is.
        for step in last..rounds + cluster::ROUNDS_TO_END {
            measured(&mut |shards| tick(shards, Nanos(ROUND.0 * (step + 1))))?;
        }
        rounds += cluster::ROUNDS_TO_END;
    }
    let end = Nanos(ROUND.0 * rounds);
    measured(&mut |shards| {
        for (shard, host) in shards {
            while shard.drain(end, host) {}
            settle(shard, host);
        }
        Ok(())
    })?;
    for (shard, host) in &shards {
        passed.kept += shard.ledger().traces.kept;
        passed.dropped += shard.ledger().traces.dropped;
        passed.out += host.spans;
        passed.bytes += host.bytes;
        passed.told_bytes += host.said_bytes;
    }
    Ok(passed)
}

/// What is due is judged, and nodes hear what others have told.
fn tick(shards: &mut [(Shard, Counting)], now: Nanos) -> Result<(), String> {
    for (shard, host) in shards.iter_mut() {
        while shard.tick(now, host) {}
        settle(shard, host);
        if let Some((tallies, summary)) = host.counted.as_mut().filter(|_| now.0.is_multiple_of(CHECKPOINT.0)) {
            tallies.take_into(summary, now.0);
        }
    }
    cluster::pass_on(shards, now);
    Ok(())
}

/// One request's way through the shards: as the port of a core has it, with one scan for all.
fn take(shards: &mut [(Shard, Counting)], now: Nanos, body: &Bytes) -> Result<(), String> {
    if let [(shard, host)] = shards {
        let tally = host.counted.as_mut().map(|(tallies, _)| &mut tallies.spans);
        let mut scanned = shard.scan_request(Signal::Traces, body, tally).map_err(|error| error.to_string())?;
        if let Some((tallies, _)) = &mut host.counted {
            let counted = std::mem::take(&mut scanned.counted);
            if !tallies.count_spans(counted.metrics, now.0) {
                return Err("series were forgotten between the scan and the count".to_owned());
            }
            tallies.take_ends(counted.ends, now.0);
        }
        take_scanned(shard, now, scanned, host);
        return Ok(());
    }
    let mut all: Vec<_> = shards.iter_mut().map(|(shard, _)| shard).collect();
    let scanned = Shard::scan_for_all(&mut all, body, None).map_err(|error| error.to_string())?;
    for ((shard, host), scanned) in shards.iter_mut().zip(scanned) {
        take_scanned(shard, now, scanned, host);
    }
    Ok(())
}

fn take_scanned(shard: &mut Shard, now: Nanos, mut scanned: Scanned, host: &mut Counting) {
    for (_, batch) in &mut scanned.batches {
        batch.arrived = now;
    }
    shard.accept(scanned.spans());
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

fn summary_plan(options: &ShardOptions) -> SummaryPlan {
    SummaryPlan {
        spans: options.span_metrics.then(|| Arc::new(span_metrics_plan())),
        graph: options.service_graph.then(|| Arc::new(service_graph_plan())),
        ..SummaryPlan::default()
    }
}

/// What a node counts of requests between services by default.
fn service_graph_plan() -> service_graph::Plan {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let buckets = [0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.4, 2.0, 5.0, 10.0, 15.0];
    service_graph::Plan {
        durations: Durations::Explicit(Arc::new(buckets)),
        dimensions: Vec::new(),
        database_attributes: names(&["db.namespace", "db.name"]),
        virtual_node_attributes: names(&["peer.service", "db.namespace", "db.name", "db.system.name", "db.system"]),
        has_virtual_node_label: false,
        wait_nanos: 10 * Nanos::PER_SECOND,
        waiting_max: 100_000,
        series_max: 10_000,
        instance_id: None,
        is_delta: false,
        expires_after_windows: 0,
    }
}

/// What a node counts of spans by default.
fn span_metrics_plan() -> Plan {
    Plan {
        namespace: String::new(),
        unit: span_metrics::Unit::Milliseconds,
        durations: Durations::Exponential(160),
        standard: Standard::ALL,
        dimensions: Vec::new(),
        resource: ResourceAttributes::These(vec!["service.name".to_owned()]),
        instance_id: None,
        is_delta: false,
        series_max: 10_000,
        exemplars_max: 0,
        expires_after_windows: 0,
    }
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
fn plan(traffic: &Traffic, sampling: &Sampling) -> ShardPlan {
    let corpus = &traffic.corpus;
    let rounds = traffic.wait_rounds + 2 * u64::from(corpus.requests_per_service);
    let traces_per_round = u64::from(corpus.traces_per_round() / u32::from(corpus.requests_per_service));
    let waiting = usize::try_from(rounds * traces_per_round).unwrap_or(usize::MAX);
    let waiting_bytes = waiting * usize::from(corpus.spans_per_trace) * (corpus.span_bytes + SPAN_BYTES_BESIDE);
    let off = Nanos::default();
    ShardPlan {
        shard: ShardIndex(0),
        shards: 1,
        hash_seed: [1, 2, 3, 4],
        traces_max: 2 * waiting,
        arena_bytes_max: (512 << 20).max(2 * waiting_bytes),
        chunk_bytes: 1 << 20,
        span_bytes_max: 4 << 20,
        kept_verdicts_max: waiting,
        dropped_verdicts_max: waiting,
        decision_wait: Nanos(ROUND.0 * traffic.wait_rounds),
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

    fn options(rounds: u64, spread_rounds: u64) -> ShardOptions {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/baseline.yaml").into();
        ShardOptions {
            config,
            rounds,
            spans_per_request: 1_000,
            spread_rounds,
            pipelines: 1,
            nodes: 1,
            span_metrics: false,
            service_graph: false,
            timed: 0,
            span_bytes: 384,
            keep_share: 0.05,
            json: true,
        }
    }

    #[test]
    fn every_run_does_the_same_work() {
        for (rounds, spread_rounds) in [(6, 0), (32, 16)] {
            let options = options(rounds, spread_rounds);
            let first = run(&options).unwrap().json;
            assert_eq!(first, run(&options).unwrap().json);
            let of = |key: &str| first[key].as_u64().unwrap();
            assert_eq!(of("spans"), rounds * 8_000, "{first}");
            assert_eq!(of("traces_kept") + of("traces_dropped"), rounds * 1_000, "{first}");
            assert_eq!(of("spans_out"), 8 * of("traces_kept"), "{first}");
            let share = of("traces_kept") as f64 / (rounds * 1_000) as f64;
            assert!((0.04..0.06).contains(&share), "{first}");
        }
    }

    #[test]
    fn the_requests_of_a_spread_round_come_over_the_rounds_asked_for() {
        let traffic = Traffic::new(&options(64, 32), 32);
        let places = traffic.rounds_in_all() * REQUESTS_PER_ROUND;
        let mut rounds: std::collections::HashMap<u64, Vec<u64>> = std::collections::HashMap::new();
        for place in 0..places {
            if let Some((round, _)) = traffic.request(place) {
                rounds.entry(round).or_default().push(place / REQUESTS_PER_ROUND);
            }
        }
        assert_eq!(rounds.len(), 8);
        for (round, places) in rounds {
            assert_eq!(places.len(), 64, "{round} has not all requests");
            let took = places[63] - places[0];
            assert!((32..traffic.wait_rounds).contains(&took), "{round} took {took} rounds");
        }
        // In one place of the middle requests of several rounds come one after the other.
        let middle = places / 2;
        let near: std::collections::HashSet<_> =
            (middle..middle + 64).filter_map(|place| Some(traffic.request(place)?.0)).collect();
        assert!(near.len() > 3, "{near:?}");
    }

    #[test]
    fn every_pipeline_gets_every_request() {
        let one = run(&options(4, 0)).unwrap().json;
        let two = run(&ShardOptions { pipelines: 2, ..options(4, 0) }).unwrap().json;
        assert_eq!(one["spans"], two["spans"]);
        for key in ["traces_kept", "traces_dropped", "spans_out", "bytes_out"] {
            assert_eq!(2 * one[key].as_u64().unwrap(), two[key].as_u64().unwrap(), "{key}");
        }
    }

    #[test]
    fn nodes_of_a_cluster_keep_what_one_node_keeps() {
        let one = run(&options(4, 0)).unwrap().json;
        let three = run(&ShardOptions { nodes: 3, ..options(4, 0) }).unwrap().json;
        for key in ["spans", "spans_out"] {
            assert_eq!(one[key], three[key], "{key}");
        }
        assert!(three["told_bytes"].as_u64() > Some(100_000) && one["told_bytes"] == 0, "{three}");
    }

    #[test]
    fn both_kinds_of_runs_are_timed() {
        let json = run(&ShardOptions { timed: 2, ..options(8, 8) }).unwrap().json;
        for key in ["together_ns_per_span", "spread_ns_per_span", "ratios"] {
            let each = json[key].as_array().unwrap();
            assert!(each.len() == 2 && each.iter().all(|value| value.as_f64().unwrap() > 0.0), "{json}");
        }
        assert!(run(&ShardOptions { timed: 1, ..options(8, 0) }).is_err(), "nothing to compare with");
    }
}
