//! `tailwater-load metrics-rollup`: metric points merged on one core in this process, without sockets or threads. The same
//! options always do the same work, so that a profiler's counts of two runs can be compared; a clock is read around each
//! step: counting points, merging what was counted, telling it.

use crate::output::Line;
use serde_json::json;
use std::time::{Duration, Instant};
use tailwater_proto::otlp::wire::put_header;
use tailwater_rollup::metrics::plan::{Action, Aggregate, Bounds, MetricsPlan, Rule, Selection};
use tailwater_rollup::metrics::{MetricSums, Metrics};

/// Options of `tailwater-load metrics-rollup`.
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsRollupOptions {
    /// Series that come in, each with 8 attributes
    #[arg(long, default_value_t = 10_000)]
    pub series: u32,
    /// Points of each series
    #[arg(long, default_value_t = 100)]
    pub rounds: u32,
    /// Rounds from one hand-over to the sums to the next
    #[arg(long, default_value_t = 1)]
    pub rounds_per_partial: u32,
    /// Points of a request
    #[arg(long, default_value_t = 500)]
    pub points_per_request: u32,
    /// Points tell all since the start, and differences are made
    #[arg(long)]
    pub cumulative: bool,
    /// Attributes that are left out, so that ten series become one
    #[arg(long)]
    pub merged: bool,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// When the first point was; nothing depends on it.
const FIRST_UNIX_NANOS: u64 = 1_760_000_000_000_000_000;
/// From one point of a series to the next.
const ROUND_NANOS: u64 = 10_000_000_000;
/// Bytes of a request of merged points.
const REQUEST_BYTES: usize = 1 << 20;

/// Time that each step took.
#[derive(Default)]
struct Times {
    take: Duration,
    hand_over: Duration,
    merge: Duration,
    emit: Duration,
}

/// Runs all rounds, and says what a point took.
#[must_use]
pub fn run(options: &MetricsRollupOptions) -> Line {
    let selected = if options.merged { Selection::Without(vec!["instance".to_owned()]) } else { Selection::all() };
    let how = Aggregate { attributes: selected, ..Aggregate::default() };
    let bounds = Bounds { series_max: 1_000_000, bytes_max: 1 << 30, ..Bounds::default() };
    let rules = vec![Rule::new("http.*", Action::Aggregate(how))];
    let mut tally = Metrics::new(MetricsPlan { rules, bounds }, 1);
    let mut sums = MetricSums::new(bounds, FIRST_UNIX_NANOS - 1);
    let (mut times, mut told, mut points) = (Times::default(), 0_u64, 0_u64);
    for round in 1..=u64::from(options.rounds) {
        let now = FIRST_UNIX_NANOS + round * ROUND_NANOS;
        let requests = requests(options, now, round);
        let before = Instant::now();
        for request in &requests {
            points += u64::from(tally.take(request, now, true).merged);
        }
        times.take += before.elapsed();
        if round % u64::from(options.rounds_per_partial.max(1)) == 0 {
            let before = Instant::now();
            let partial = tally.take_partial();
            times.hand_over += before.elapsed();
            let before = Instant::now();
            sums.merge(&partial);
            times.merge += before.elapsed();
        }
        let before = Instant::now();
        told += sums.emit(now, REQUEST_BYTES, false).iter().map(|request| u64::from(request.points)).sum::<u64>();
        times.emit += before.elapsed();
    }
    line(&times, points, told, &sums)
}

/// All series once.
fn requests(options: &MetricsRollupOptions, now: u64, round: u64) -> Vec<Vec<u8>> {
    let per_request = options.points_per_request.max(1);
    let firsts = (0..options.series).step_by(per_request as usize);
    let request = |first: u32| {
        let mut sum = Vec::new();
        for series in first..options.series.min(first + per_request) {
            put_message(&mut sum, 1, &point(options, series, now, round));
        }
        sum.extend_from_slice(&[2 << 3, if options.cumulative { 2 } else { 1 }, 3 << 3, 1]);
        let mut metric = Vec::new();
        put_message(&mut metric, 1, b"http.server.requests");
        put_message(&mut metric, 3, b"{request}");
        put_message(&mut metric, 7, &sum);
        let mut scope = Vec::new();
        put_message(&mut scope, 1, &[&[1 << 3 | 2, 7][..], b"library"].concat());
        put_message(&mut scope, 2, &metric);
        let mut resource = Vec::new();
        for (key, value) in [("service.name", "shop"), ("service.version", "1.2.3"), ("host.name", "host-1")] {
            put_attribute(&mut resource, 1, key, value);
        }
        let mut resource_metrics = Vec::new();
        put_message(&mut resource_metrics, 1, &resource);
        put_message(&mut resource_metrics, 2, &scope);
        let mut request = Vec::new();
        put_message(&mut request, 1, &resource_metrics);
        request
    };
    firsts.map(request).collect()
}

fn point(options: &MetricsRollupOptions, series: u32, now: u64, round: u64) -> Vec<u8> {
    let mut point = Vec::with_capacity(300);
    let start = if options.cumulative { FIRST_UNIX_NANOS } else { now - ROUND_NANOS };
    for (number, value) in [(2, start), (3, now), (6, if options.cumulative { round * 3 } else { 3 })] {
        point.push(number << 3 | 1);
        point.extend_from_slice(&value.to_le_bytes());
    }
    let (route, instance) = (format!("/route/{}", series / 10), format!("instance-{}", series % 10));
    let attributes = [
        ("client.kind", "browser"),
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", &route),
        ("instance", &instance),
        ("network.protocol.version", "1.1"),
        ("server.address", "shop.example.org"),
        ("url.scheme", "https"),
    ];
    for (key, value) in attributes {
        put_attribute(&mut point, 7, key, value);
    }
    point
}

fn put_message(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_header(out, number, content.len());
    out.extend_from_slice(content);
}

fn put_attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    let (mut attribute, mut any_value) = (Vec::with_capacity(64), Vec::with_capacity(32));
    put_message(&mut attribute, 1, key.as_bytes());
    put_message(&mut any_value, 1, value.as_bytes());
    put_message(&mut attribute, 2, &any_value);
    put_message(out, number, &attribute);
}

#[expect(clippy::cast_precision_loss, reason = "times and counts of a run are far below 2^53")]
fn line(times: &Times, points: u64, told: u64, sums: &MetricSums) -> Line {
    let per_point = |time: Duration| time.as_nanos() as f64 / points.max(1) as f64;
    let [take, hand_over, merge] = [times.take, times.hand_over, times.merge].map(per_point);
    let emit = times.emit.as_nanos() as f64 / told.max(1) as f64;
    let points_per_second = 1e9 / (take + hand_over + merge);
    let (series, bytes) = (sums.series_count(), sums.bytes());
    let text = format!(
        "{points} points: {points_per_second:.0} points/s on one core; ns a point: take {take:.0}, hand over {hand_over:.0}, merge \
         {merge:.0}; emit {emit:.0} ns a told point; {series} series in {bytes} bytes"
    );
    let json = json!({
        "points": points, "points_per_second": points_per_second, "take_nanos": take, "hand_over_nanos": hand_over,
        "merge_nanos": merge, "emit_nanos": emit, "told": told, "series": series, "bytes": bytes,
    });
    Line { text, json }
}
