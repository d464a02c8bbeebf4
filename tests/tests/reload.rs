//! The configuration of a running program is changed: by signal, by its file, by request; and what is wrong with it is
//! told without a change.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tailwater_tests::process::{Tailwater, kept, post, signal};
use tempfile::TempDir;

/// A file of native configuration that keeps traces with `colour` of this value.
fn write_colour(file: &Path, colour: &str, more: &str) {
    let policy =
        format!("{{name: {colour}, type: string_attribute, string_attribute: {{key: colour, values: [{colour}]}}}}");
    std::fs::write(file, format!("sampling:\n  decision_wait: 1s\n  policies:\n    - {policy}\n{more}")).unwrap();
}

fn start(directory: &TempDir, more: &[&str]) -> (Tailwater, PathBuf) {
    let file = directory.path().join("config.yaml");
    let node = Tailwater::start(&[&["--config", file.to_str().unwrap()], more].concat());
    (node, file)
}

/// Sends traces of one span each, with these numbers.
fn send(node: SocketAddr, numbers: impl Iterator<Item = u64>, colour: &str, is_error: bool) {
    let code = if is_error { 2 } else { 0 };
    let spans: Vec<Value> = numbers
        .map(|number| {
            json!({
                "traceId": format!("{number:032x}"),
                "spanId": format!("{number:016x}"),
                "name": "x",
                "status": { "code": code },
                "attributes": [{ "key": "colour", "value": { "stringValue": colour } }],
            })
        })
        .collect();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    let (status, answer) = post(node, "/v1/traces", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
}

fn reload(node: &Tailwater) -> (u16, Value) {
    let (status, body) = post(node.admin, "/api/v1/reload", &[], b"");
    (status, serde_json::from_slice(&body).unwrap())
}

fn status(node: &Tailwater) -> Value {
    serde_json::from_str(&node.get("/api/v1/status").1).unwrap()
}

fn spans(metrics: &BTreeMap<String, f64>, family: &str) -> f64 {
    let wanted = format!("{family}{{signal=\"spans\"");
    metrics.iter().filter(|(name, _)| name.starts_with(&wanted)).map(|(_, value)| value).sum()
}

#[test]
fn a_signal_changes_what_is_kept() {
    let directory = TempDir::new().unwrap();
    write_colour(&directory.path().join("config.yaml"), "red", "reload_interval: 0s\n");
    let (node, file) = start(&directory, &[]);
    send(node.http, 1..2, "red", false);
    send(node.http, 2..3, "blue", false);
    node.until(|metrics| spans(metrics, "tailwater_items_dropped_total") == 1.0);
    node.until(|metrics| spans(metrics, "tailwater_items_exported_total") == 1.0);

    write_colour(&file, "blue", "reload_interval: 0s\n");
    signal(node.id(), "HUP");
    node.until(|metrics| metrics["tailwater_config_generation"] == 1.0);
    send(node.http, 3..4, "red", false);
    send(node.http, 4..5, "blue", false);
    node.until(|metrics| spans(metrics, "tailwater_items_dropped_total") == 2.0);
    node.until(|metrics| spans(metrics, "tailwater_items_exported_total") == 2.0);
    let metrics = node.metrics();
    assert_eq!(metrics["tailwater_config_reloads_total{outcome=\"applied\"}"], 1.0);
    assert_eq!(metrics["tailwater_policy_traces_kept_total{policy=\"red\"}"], 1.0, "its count stays");
    assert_eq!(metrics["tailwater_policy_traces_kept_total{policy=\"blue\"}"], 1.0);
    assert_eq!(status(&node)["policies"], json!(["blue"]));
    let (_, _, directory) = node.stop();
    let kept: Vec<String> = kept(&directory.path().join("kept.jsonl")).into_keys().collect();
    assert_eq!(kept, [format!("{:032x}", 1), format!("{:032x}", 4)]);
}

#[test]
fn a_pending_trace_is_judged_by_the_rules_in_force() {
    let directory = TempDir::new().unwrap();
    write_colour(&directory.path().join("config.yaml"), "red", "");
    let (node, file) =
        start(&directory, &["--sampling-decision-wait", "10m", "--sampling-decision-wait-after-root-received", "0s"]);
    send(node.http, 1..2, "red", false);
    send(node.http, 2..3, "blue", false);
    write_colour(&file, "blue", "");
    let (code, said) = reload(&node);
    assert_eq!((code, &said["outcome"], &said["generation"]), (200, &json!("applied"), &json!(1)), "{said}");
    let (code, said) = reload(&node);
    assert_eq!((code, &said["outcome"], &said["generation"]), (200, &json!("unchanged"), &json!(1)), "{said}");
    let (_, log, directory) = node.stop();
    let kept: Vec<String> = kept(&directory.path().join("kept.jsonl")).into_keys().collect();
    assert_eq!(kept, [format!("{:032x}", 2)], "{}", log.join("\n"));
}

#[test]
fn a_wrong_file_changes_nothing_and_says_why() {
    let directory = TempDir::new().unwrap();
    write_colour(&directory.path().join("config.yaml"), "red", "");
    let (node, file) = start(&directory, &[]);
    write_colour(&file, "blue", "drain_timout: 3s\n");
    let (code, said) = reload(&node);
    assert_eq!((code, &said["outcome"], &said["generation"]), (422, &json!("refused"), &json!(0)), "{said}");
    let problem = said["problems"][0].as_str().unwrap();
    assert!(problem.contains("config.yaml:5") && problem.contains("drain_timeout"), "{problem}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(reload(&node).0, 422);
    // Too little memory for what is fixed: the plan is checked, too.
    write_colour(&file, "blue", "memory:\n  bytes_max: 64MiB\n");
    let (code, said) = reload(&node);
    assert!(code == 422 && said["problems"][0].as_str().unwrap().contains("memory.bytes_max"), "{said}");

    let metrics = node.metrics();
    assert_eq!(metrics["tailwater_config_reloads_total{outcome=\"refused\"}"], 3.0);
    assert_eq!(metrics["tailwater_config_last_reload_success"], 0.0);
    let status = status(&node);
    assert_eq!((&status["policies"], &status["last_reload"]["outcome"]), (&json!(["red"]), &json!("refused")));
    send(node.http, 1..2, "red", false);
    node.until(|metrics| spans(metrics, "tailwater_items_exported_total") == 1.0);
    let (_, log, _) = node.stop();
    assert!(log.iter().any(|line| line.contains("config.yaml:5")), "{}", log.join("\n"));
}

#[test]
fn keys_of_the_next_start_are_named_and_stop_nothing() {
    let directory = TempDir::new().unwrap();
    write_colour(&directory.path().join("config.yaml"), "red", "");
    let (node, file) = start(&directory, &[]);
    write_colour(&file, "blue", "drain_timeout: 7s\nmesh:\n  queue_length: 99\n");
    let (code, said) = reload(&node);
    assert_eq!((code, &said["outcome"]), (200, &json!("applied")), "{said}");
    let notes = said["notes"].to_string();
    assert!(notes.contains("drain_timeout") && notes.contains("mesh.queue_length"), "{notes}");
    assert!(!notes.contains("sampling"), "{notes}");
}

#[test]
fn a_change_of_the_file_is_found() {
    let directory = TempDir::new().unwrap();
    // As Kubernetes mounts a ConfigMap: the file is a link through a link that is replaced.
    for (version, colour) in [("one", "red"), ("two", "blue")] {
        std::fs::create_dir(directory.path().join(version)).unwrap();
        write_colour(&directory.path().join(version).join("config.yaml"), colour, "");
    }
    let link = |name: &str, target: &str| std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap();
    link("data", "one");
    link("config.yaml", "data/config.yaml");
    let (node, _) = start(&directory, &["--reload-interval", "50ms"]);
    link("new", "two");
    std::fs::rename(directory.path().join("new"), directory.path().join("data")).unwrap();
    node.until(|metrics| metrics["tailwater_config_generation"] == 1.0);
    assert_eq!(status(&node)["policies"], json!(["blue"]));
    assert_eq!(status(&node)["last_reload"]["trigger"], json!("file"));
}

/// Five hundred policies, of which one keeps errors, with names and keys that differ from version to version.
fn write_many(file: &Path, version: usize) {
    let mut text = "sampling:\n  decision_wait: 1s\n  policies:\n".to_string();
    for number in 0..500 {
        let key = format!("key.{}", (number + version) % 700);
        writeln!(
            text,
            "    - {{name: p{number}-{}, type: string_attribute, string_attribute: {{key: {key}, values: [never]}}}}",
            version % 3
        )
        .unwrap();
    }
    text.push_str("    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}\n");
    std::fs::write(file, text).unwrap();
}

#[test]
fn under_load_no_verdict_is_lost() {
    const RELOADS: usize = 12;
    const TRACES_PER_REQUEST: u64 = 50;
    let directory = TempDir::new().unwrap();
    write_many(&directory.path().join("config.yaml"), 0);
    let (node, file) = start(&directory, &["--ack", "received"]);
    let is_done = AtomicBool::new(false);
    let requests = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut requests = 0;
            while !is_done.load(Ordering::Relaxed) {
                let first = 1 + requests * TRACES_PER_REQUEST;
                send(node.http, first..first + TRACES_PER_REQUEST, "none", requests % 2 == 0);
                requests += 1;
            }
            requests
        });
        for version in 1..=RELOADS {
            write_many(&file, version);
            let (code, said) = reload(&node);
            assert_eq!((code, &said["generation"]), (200, &json!(version)), "{said}");
        }
        is_done.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    node.until(|metrics| spans(metrics, "tailwater_items_pending") == 0.0);
    let metrics = node.metrics();
    let (sent, kept_count) =
        ((requests * TRACES_PER_REQUEST) as f64, (requests.div_ceil(2) * TRACES_PER_REQUEST) as f64);
    assert_eq!(spans(&metrics, "tailwater_items_received_total"), sent);
    assert_eq!(spans(&metrics, "tailwater_items_exported_total"), kept_count, "every error and nothing else");
    assert_eq!(spans(&metrics, "tailwater_items_dropped_total"), sent - kept_count);
    assert_eq!(metrics["tailwater_policy_traces_kept_total{policy=\"errors\"}"], kept_count, "one name, one count");
    assert!(metrics["tailwater_traces_scanned_again_total"] > 0.0, "traces were pending while the rules changed");
    let (exit, log, _) = node.stop();
    assert!(exit.success(), "{}", log.join("\n"));
}
