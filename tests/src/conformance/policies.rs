//! Random processors: trees of policies of every type, in every nesting that is allowed.

use super::{conditions, processor_of};
use fastrand::Rng;
use serde_json::{Value, json};

/// Keys that policies and spans have in common, so that they meet.
pub const KEYS: &[&str] = &["tenant", "route", "retries", "debug", "mixed", "service.name", "empty", ""];
/// Texts that policies and spans have in common.
pub const TEXTS: &[&str] = &[
    "acme",
    "Acme",
    "corp",
    "/pay",
    "/health/live",
    "a.c",
    "abc",
    "a b",
    "r\u{e9}sum\u{e9}",
    "12",
    "x",
    "true",
    "price $5",
    "line\nbreak",
    " ",
    "",
];
/// Integers that policies and spans have in common.
pub const NUMBERS: &[i64] = &[0, 1, -1, 2, 3, 9, 10, 200, 404, 500, 599, i64::MAX, i64::MIN, 1 << 53];
/// Members of tracestate that policies look for.
pub const MEMBERS: &[(&str, &str)] =
    &[("vendor", "gold"), ("vendor", "silver"), ("ot", "th:8"), ("t@v", "1"), ("k", "a b"), ("*_-/", "x")];

const PATTERNS: &[&str] = &[
    "^ac",
    "corp$",
    "^$",
    "",
    "a.c",
    "a\\.c",
    "[a-z]+\\d",
    "(?i)ACME",
    "\\bpay\\b",
    "^/[^/]+$",
    "x*",
    "\\w\\s\\w",
    "(?:co|a)[rb][pc]",
    "\\Qa.c\\E",
    "\\pL\\pL$",
    "[[:alpha:]]{4}",
    "\\x41",
    "^.$",
    "(?s)line.break",
    "line.break",
    "(?m)^break$",
    "\\$\\d",
    "\u{e9}",
    "^[^a]",
    "\\D",
    "\\z",
    "(a|b|c){3}",
    "^(?:/health)?",
    "\\x{e9}",
    "^\\x{61}{1}",
    "\\p{Lu}",
    "^\\p{^Lu}+$",
    "[\\p{Greek}\\x{e0}-\\x{ef}]",
    "\\141",
];

/// Where a policy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    List,
    Composite,
    Not,
}

/// A section with one to five policies.
#[must_use]
pub fn processor(random: &mut Rng) -> Value {
    let mut names = 0;
    let is_ingest = random.u8(0..6) == 0;
    // A vote is seen best where it is the only one.
    let count = if random.bool() { 1 } else { random.usize(1..6) };
    let mut policies: Vec<Value> = (0..count).map(|_| policy(random, Level::Top, &mut names)).collect();
    if is_ingest {
        make_stateless(&mut policies);
    }
    let mut processor = processor_of(&policies);
    if random.u8(0..4) == 0 {
        processor["sample_on_first_match"] = json!(true);
    }
    if is_ingest {
        processor["sampling_strategy"] = json!("span-ingest");
    } else if random.u8(0..6) == 0 {
        // The verdict is remembered all the same, with the trace.
        processor["decision_cache"] = json!({});
    }
    processor
}

/// Takes away what the Collector refuses on pieces of a trace: bounds that a later piece may pass.
fn make_stateless(policies: &mut Vec<Value>) {
    // Where there is a drop policy nothing is ever sampled; most scenarios are to be of more interest.
    if policies.len() > 1 {
        policies.retain(|policy| policy["type"] != "drop");
    }
    policies.iter_mut().for_each(strip);
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| key != "upper_threshold_ms" && key != "max_spans");
            if map.get("type").is_some_and(|kind| kind == "rate_limiting" || kind == "bytes_limiting") {
                map.insert("type".to_string(), json!("trace_flags"));
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

fn policy(random: &mut Rng, level: Level, names: &mut u32) -> Value {
    *names += 1;
    let name = format!("p{names}");
    let (kind, block) = match (random.u8(0..30), level) {
        (0..2, Level::Top) => ("drop", json!({"drop_sub_policy": list(random, names)})),
        (2..4, Level::Top | Level::List) => ("not", json!({"not_sub_policy": policy(random, Level::Not, names)})),
        (4..8, Level::Top | Level::Composite) => ("and", json!({"and_sub_policy": list(random, names)})),
        (8..10, Level::Top) => ("composite", composite(random, names)),
        _ => leaf(random),
    };
    if block.is_null() { json!({"name": name, "type": kind}) } else { json!({"name": name, "type": kind, kind: block}) }
}

fn list(random: &mut Rng, names: &mut u32) -> Vec<Value> {
    let length = if random.u8(0..20) == 0 { 0 } else { random.usize(1..4) };
    (0..length).map(|_| policy(random, Level::List, names)).collect()
}

/// With shares that no scenario uses up, or with none: what a trace takes leaves as much for the next.
fn composite(random: &mut Rng, names: &mut u32) -> Value {
    let policies: Vec<Value> = (0..random.usize(0..4)).map(|_| policy(random, Level::Composite, names)).collect();
    let mut block = json!({
        "max_total_spans_per_second": one(random, &[1_000_000, 1_000_000, 1_000_000, 0]),
        "composite_sub_policy": policies,
    });
    if random.bool() {
        let share = |policy: &Value| json!({"policy": policy["name"], "percent": random.i32(0..150)});
        block["rate_allocation"] = policies.iter().map(share).collect();
    }
    block
}

/// A bucket that is always full, or always empty; with a burst it is full for small traces only.
fn bucket(random: &mut Rng, refill: &str) -> Value {
    let rate = one(random, &[1_000_000_000_000i64, 1_000_000_000_000, 0, -1]);
    let mut block = json!({refill: rate});
    if random.bool() && rate > 0 && refill == "spans_per_second" {
        block["burst_capacity"] = json!(random.i64(-1..6));
    }
    block
}

fn one<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(0..of.len())]
}

fn some(random: &mut Rng, of: &[&str]) -> Vec<String> {
    (0..random.usize(0..4)).map(|_| one(random, of).to_string()).collect()
}

fn leaf(random: &mut Rng) -> (&'static str, Value) {
    match random.u8(0..21) {
        20 if random.bool() => ("rate_limiting", bucket(random, "spans_per_second")),
        20 => ("bytes_limiting", bucket(random, "bytes_per_second")),
        0 if random.u8(0..4) == 0 => ("always_sample", Value::Null),
        0..2 => ("latency", latency(random)),
        2..5 => ("string_attribute", string_attribute(random)),
        5..8 => ("numeric_attribute", numeric_attribute(random)),
        8..10 => {
            let mut block = json!({"key": one(random, KEYS), "value": random.bool()});
            invert(random, &mut block);
            ("boolean_attribute", block)
        }
        10..12 => ("status_code", json!({"status_codes": status_codes(random)})),
        12..14 => ("probabilistic", probabilistic(random)),
        14 => {
            let (min, max) = (random.i32(-1..6), one(random, &[0, 0, 0, 1, 3, 5, -1]));
            ("span_count", json!({"min_spans": min, "max_spans": max}))
        }
        15..17 => ("trace_state", trace_state(random)),
        17 => ("trace_flags", Value::Null),
        _ => ("ottl_condition", conditions::block(random)),
    }
}

fn latency(random: &mut Rng) -> Value {
    let mut block = json!({"threshold_ms": one(random, &[0, 1, 5, 10, 49, 50, 100, 1000, -1, -5, i64::MAX, i64::MIN])});
    if random.bool() {
        block["upper_threshold_ms"] = json!(one(random, &[0, 1, 10, 50, 51, 100, 2000, -1, i64::MAX]));
    }
    block
}

fn invert(random: &mut Rng, block: &mut Value) {
    if random.u8(0..3) == 0 {
        block["invert_match"] = json!(true);
    }
}

fn string_attribute(random: &mut Rng) -> Value {
    let is_regex = random.bool();
    let values = some(random, if is_regex { PATTERNS } else { TEXTS });
    let mut block = json!({"key": one(random, KEYS), "values": values});
    if is_regex {
        block["enabled_regex_matching"] = json!(true);
    }
    if random.u8(0..4) == 0 {
        block["cache_max_size"] = json!(one(random, &[-1, 0, 1, 2, 1000]));
    }
    invert(random, &mut block);
    block
}

fn numeric_attribute(random: &mut Rng) -> Value {
    let mut block = json!({"key": one(random, KEYS)});
    let (min, max) = (one(random, NUMBERS), one(random, NUMBERS));
    // Without a bound the Collector would end at the first trace.
    let (min, max) = if (min, max) == (0, 0) { (1, 0) } else { (min, max) };
    if min != 0 || random.bool() {
        block["min_value"] = json!(min);
    }
    if max != 0 || random.bool() {
        block["max_value"] = json!(max);
    }
    invert(random, &mut block);
    block
}

fn status_codes(random: &mut Rng) -> Vec<&'static str> {
    (0..random.usize(1..3)).map(|_| one(random, &["OK", "ERROR", "UNSET", "ERROR"])).collect()
}

fn probabilistic(random: &mut Rng) -> Value {
    let percentage = one(random, &[0.0, 1.0, 10.0, 25.0, 33.3, 50.0, 75.0, 99.9, 100.0, 150.0, -1.0, 1e-300]);
    let mut block = json!({"sampling_percentage": percentage});
    if random.bool() {
        block["hash_salt"] = json!(one(random, &["", "salt", "other-salt", "s\u{e4}lz"]));
    }
    block
}

fn trace_state(random: &mut Rng) -> Value {
    let (key, value) = one(random, MEMBERS);
    let mut values = some(random, &["gold", "silver", "1", "x", "th:8", ""]);
    values.push(value.to_string());
    if random.u8(0..8) == 0 {
        values.push("v".repeat(255 - key.len()));
        values.push("w".repeat(256 - key.len()));
    }
    json!({"key": key, "values": values})
}
