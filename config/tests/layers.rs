//! Defaults, native file, environment and flags: who wins, and what is said.

use std::time::Duration;

use tailwater_config::sampling::Rule;
use tailwater_config::{Ack, Config, Inputs, Loaded, MIB, Problem, Source, load};

const GIB: u64 = 1024 * MIB;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
}

fn layered(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let (environment, flags) = (pairs(environment), pairs(flags));
    let file = (!file.is_empty()).then_some(("t.yaml", file));
    load(&Inputs { file, environment: &environment, flags: &flags, machine_memory_bytes: 10 * GIB })
}

fn config(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Config {
    layered(file, environment, flags).unwrap().config
}

/// The texts of all problems.
fn refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    layered(file, environment, flags).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_written_is_useful() {
    let config = config("", &[], &[]);
    assert_eq!(config.receivers.grpc.unwrap().endpoint.to_string(), "127.0.0.1:4317");
    assert_eq!(config.receivers.http.unwrap().endpoint.to_string(), "127.0.0.1:4318");
    assert_eq!(config.sampling.decision_wait, Duration::from_secs(10));
    assert_eq!(config.sampling.decision_wait_after_root_received, Duration::from_secs(2));
    let names: Vec<&str> = config.sampling.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["errors", "slow", "sample"]);
    assert_eq!(config.exporters.file.unwrap().path.to_str(), Some("tailwater-data/kept.jsonl"));
    assert_eq!(config.memory.bytes_max, 10 * GIB / 100 * 60);
    assert_eq!(config.ack, Ack::Synced);
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "sampling:\n  decision_wait: 1m30s\n  num_traces: 100_000\nack: written\nexporters:\n  otlp:\n    endpoints: [http://a:4317]\n";
    let environment = [("TAILWATER_SAMPLING_NUM_TRACES", "7"), ("TAILWATER_ACK", "received")];
    let flags = [("ack", "synced")];
    let loaded = layered(file, &environment, &flags).unwrap();
    assert_eq!(loaded.config.sampling.decision_wait, Duration::from_secs(90));
    assert_eq!(loaded.config.sampling.traces_max, 7);
    assert_eq!(loaded.config.ack, Ack::Synced);
    assert_eq!(loaded.sources["ack"], Source::Flag("ack".to_string()));
    assert_eq!(loaded.sources["sampling.decision_wait"], Source::File { name: "t.yaml".to_string(), line: 2 });
    assert_eq!(loaded.config.exporters.otlp[0].endpoints, ["http://a:4317"]);
    assert_eq!(loaded.config.exporters.file, None);
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let file = "samplin:\n  decision_wait: 10s\nsampling:\n  decison_wait: 10s\n  num_traces: \"10\"\nack: maybe\n";
    let told = refused(file, &[("TAILWATER_SHARDS", "none")], &[("cores.x", "1")]);
    assert_eq!(
        told,
        [
            "t.yaml:1: samplin: unknown key; did you mean `sampling`?",
            "t.yaml:4: sampling.decison_wait: unknown key; did you mean `sampling.decision_wait`?",
            "t.yaml:5: sampling.num_traces = 10: text does not fit here; write a whole number, such as 100_000 without quotes",
            "t.yaml:6: ack = maybe: not one of the words this key takes; write one of received, written, synced",
            "environment TAILWATER_SHARDS: shards = none: not a whole number of zero or more; write digits, such as 1000 or 100_000",
            "flag --cores.x: cores.x: unknown key; did you mean `cores`?",
        ]
    );
}

#[test]
fn policies_are_read_from_the_file_and_from_a_flag() {
    let file = "sampling:\n  policies:\n    - name: all\n      type: always_sample\n";
    let from_file = config(file, &[], &[]);
    assert_eq!(from_file.sampling.policies.len(), 1);
    assert_eq!(from_file.sampling.policies[0].line, 3);
    let flag = config(file, &[], &[("sampling.policies", "[{name: s, type: span_count, span_count: {min_spans: 3}}]")]);
    assert_eq!(flag.sampling.policies[0].rule, Rule::SpanCount { min: 3, max: 0 });
    assert_eq!(flag.sampling.policies[0].line, 0);
}
