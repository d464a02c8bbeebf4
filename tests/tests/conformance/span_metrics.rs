//! What the program says of spans is what the Collector's connector `spanmetrics` says. `scripts/span-metrics` records that, and
//! names another record in `SPAN_METRICS_RECORDED`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tailwater_tests::process::{Tailwater, post};
use tempfile::TempDir;

/// What adjusted counts may be apart: each side draws for itself whether 10/3 is three or four.
const APART_MAX: f64 = 0.005;

fn lines(name: &str) -> Vec<Value> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/recorded/span_metrics");
    let directory = std::env::var_os("SPAN_METRICS_RECORDED").map_or(own, PathBuf::from);
    let packed = std::fs::read(directory.join(format!("{name}.jsonl.gz"))).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed), &mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the program says: the file that it writes, of one window.
fn said_by_us(connector: &Value, requests: &[Value]) -> Vec<Value> {
    let directory = TempDir::new().unwrap();
    let (file, out) = (directory.path().join("collector.yaml"), directory.path().join("metrics.json"));
    let endpoint = "127.0.0.1:0";
    let protocols = serde_json::json!({
        "grpc": {"endpoint": endpoint}, "http": {"endpoint": endpoint, "max_request_body_size": 1 << 30},
    });
    let text = serde_json::json!({
        "receivers": {"otlp": {"protocols": protocols}},
        "exporters": {"nop": {}, "file": {"path": out}},
        "connectors": {"spanmetrics": connector},
        "service": {"pipelines": {
            "traces": {"receivers": ["otlp"], "exporters": ["spanmetrics", "nop"]},
            "metrics": {"receivers": ["spanmetrics"], "exporters": ["file"]},
        }},
    });
    std::fs::write(&file, text.to_string()).unwrap();
    let command = Tailwater::command(directory.path(), &["--config", file.to_str().unwrap()]);
    let node = Tailwater::launch(directory, command);
    for request in requests {
        let (status, body) =
            post(node.http, "/v1/traces", &[("content-type", "application/json")], request.to_string().as_bytes());
        assert_eq!((status, String::from_utf8_lossy(&body).as_ref()), (200, "{}"));
    }
    let (status, log, _directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    std::fs::read_to_string(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Attributes in the order of their names; nodes have names of their own.
fn attributes(of: &Value) -> String {
    let list = of["attributes"].as_array().cloned().unwrap_or_default();
    let mut list: Vec<String> =
        list.iter().filter(|pair| pair["key"] != "collector.instance.id").map(ToString::to_string).collect();
    list.sort();
    list.join(",")
}

fn whole(of: &Value) -> u64 {
    of.as_u64().or_else(|| of.as_str()?.parse().ok()).unwrap_or_default()
}

/// A data point as far as it is compared.
#[derive(Debug, Clone, Default, PartialEq)]
struct Point {
    /// Calls, or durations.
    count: u64,
    sum: f64,
    bounds: Vec<f64>,
    /// Place and count of buckets that have any.
    buckets: Vec<(i64, u64)>,
    scale: Option<i64>,
    zeros: u64,
    /// Of exponential ones: the Collector tells none of the others.
    ends: Option<(f64, f64)>,
}

impl Point {
    fn read(of: &Value, is_exponential: bool) -> Self {
        let numbers = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let buckets = if is_exponential { &of["positive"]["bucketCounts"] } else { &of["bucketCounts"] };
        let first = of["positive"]["offset"].as_i64().unwrap_or_default();
        let counts = numbers(buckets).iter().map(whole).collect::<Vec<u64>>();
        let number = |name: &str| of[name].as_f64().unwrap_or_default();
        let buckets: Vec<(i64, u64)> = (first..).zip(counts).filter(|(_, count)| *count > 0).collect();
        Self {
            count: whole(&of["count"]) + whole(&of["asInt"]),
            sum: number("sum"),
            bounds: numbers(&of["explicitBounds"]).iter().filter_map(Value::as_f64).collect(),
            // Without a bucket no scale means anything.
            scale: is_exponential.then(|| of["scale"].as_i64().unwrap_or_default()).filter(|_| !buckets.is_empty()),
            buckets,
            zeros: whole(&of["zeroCount"]),
            ends: is_exponential.then(|| (number("min"), number("max"))),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let is_near = |one: f64, other: f64| (one - other).abs() <= 1e-9 * one.abs().max(other.abs());
        let rest = |of: &Self| Self { sum: 0.0, ..of.clone() };
        is_near(self.sum, other.sum) && rest(self) == rest(other)
    }
}

/// Points by metric, resource and attributes. Those of one series add up: of deltas there may be several.
fn points(bodies: &[Value]) -> BTreeMap<(String, String, String), Point> {
    let mut points = BTreeMap::<_, Point>::new();
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    for resource in bodies.iter().flat_map(|body| list(body, "resourceMetrics")) {
        for scope in list(&resource, "scopeMetrics") {
            assert_eq!(scope["scope"]["name"], "spanmetricsconnector");
            for metric in list(&scope, "metrics") {
                let kinds = ["sum", "histogram", "exponentialHistogram"];
                let kind = kinds.into_iter().find(|kind| metric.get(kind).is_some()).unwrap();
                let unit = metric["unit"].as_str().unwrap_or_default();
                let temporality = whole(&metric[kind]["aggregationTemporality"]);
                let name = format!("{} {kind} {unit} {temporality}", metric["name"].as_str().unwrap());
                for point in list(&metric[kind], "dataPoints") {
                    let key = (name.clone(), attributes(&resource["resource"]), attributes(&point));
                    let read = Point::read(&point, kind == "exponentialHistogram");
                    points.entry(key).and_modify(|known| known.count += read.count).or_insert(read);
                }
            }
        }
    }
    points
}

/// Whether it is a series of spans whose adjusted counts are no whole numbers.
fn is_drawn((_, _, attributes): &(String, String, String)) -> bool {
    attributes.contains("sampled") || attributes.contains("SAMPLED")
}

#[test]
fn span_metrics_are_the_collectors() {
    let (cases, requests) = (lines("said"), lines("requests"));
    assert!(cases.len() >= 5 && requests.len() >= 4);
    for case in cases {
        let theirs = points(&[case["said"].clone()]);
        let mut ours = points(&said_by_us(&case["connector"], &requests));
        // The Collector passes over what has no service.
        let nobody = |key: &(String, String, String)| key.1.contains("without a service");
        assert!(ours.keys().any(nobody) && !theirs.keys().any(nobody), "{}", case["name"]);
        ours.retain(|key, _| !nobody(key));
        let name = &case["name"];
        let (one, other): (Vec<_>, Vec<_>) = (theirs.keys().collect(), ours.keys().collect());
        assert_eq!(one, other, "{name}: the series");
        assert!(theirs.len() > 10 && theirs.keys().any(is_drawn), "{name}: {}", theirs.len());
        for (key, theirs) in theirs {
            let ours = &ours[&key];
            if is_drawn(&key) {
                let apart = (ours.count as f64 - theirs.count as f64).abs() / theirs.count as f64;
                assert!(apart <= APART_MAX, "{name}, {key:?}: {} there, {} here", theirs.count, ours.count);
            } else {
                assert!(theirs.is_like(ours), "{name}, {key:?}:\n{theirs:?}\n{ours:?}");
            }
        }
    }
}
