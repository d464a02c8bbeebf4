//! The log's settings: levels of each receiver, what must not be combined, and how disk and memory are spread.

use std::time::Duration;

use crate::support::{loaded, problems};
use tailwater_config::{Ack, Breaker, Config, GIB, MIB, Problem, Wal, WalFull, WalPlan, effective, wal_plan};

fn config(file: &str, flags: &[(&str, &str)]) -> Config {
    loaded(file, &[], flags).config
}

fn plan(flags: &[(&str, &str)], shards: usize) -> Result<WalPlan, Box<Problem>> {
    wal_plan(&config("", flags), shards)
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let config = config("", &[]);
    assert_eq!(config.wal, Wal::default());
    assert_eq!((config.wal.bytes_max, config.wal.segment_bytes_max), (8 * GIB, 64 * MIB));
    assert_eq!((config.wal.journal_interval, config.wal.on_full), (Duration::from_millis(200), WalFull::PushBack));
    assert!(config.needs_wal());
    assert_eq!(config.sampling.cold_after, Duration::ZERO);
    // A small machine gives the buffers less.
    let small = loaded("", &[], &[("memory.bytes_max", "320MiB")]).config;
    assert_eq!(small.wal.buffer_bytes_max, 20 * MIB);
}

#[test]
fn a_receiver_has_its_own_level_or_the_nodes() {
    let levels = |file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let config = loaded(file, environment, flags).config;
        let needs = config.needs_wal();
        (config.receivers.grpc.map(|receiver| receiver.ack), config.receivers.http.map(|receiver| receiver.ack), needs)
    };
    let (received, written, synced) = (Some(Ack::Received), Some(Ack::Written), Some(Ack::Synced));
    assert_eq!(levels("", &[], &[]), (synced, synced, true));
    assert_eq!(levels("ack: written\n", &[], &[]), (written, written, true));
    assert_eq!(levels("ack: received\notlp: {http: {ack: synced}}\n", &[], &[]), (received, synced, true));
    assert_eq!(levels("", &[("TAILWATER_OTLP_GRPC_ACK", "received")], &[]), (received, synced, true));
    assert_eq!(levels("otlp: {grpc: {ack: written}}\n", &[], &[("ack", "received")]), (written, received, true));
    assert_eq!(levels("", &[], &[("ack", "received")]), (received, received, false));
    // What does not listen promises nothing.
    let closed = [("ack", "received"), ("otlp.http.enabled", "false"), ("otlp.http.ack", "synced")];
    assert_eq!(levels("", &[], &closed), (received, None, false));
    assert!(problems("", &[], &[("otlp.grpc.ack", "sinced")])[0].contains("did you mean `synced`?"));
    let text = effective(&loaded("otlp: {grpc: {ack: written}}\n", &[], &[]));
    assert!(text.contains("    ack: written  # t.yaml:1\n") && text.contains("    ack: synced\n"), "{text}");
}

#[test]
fn flags_variables_and_bounds() {
    let environment = [("TAILWATER_COLD_AFTER", "2m"), ("TAILWATER_WAL_RETENTION", "0s")];
    let config = loaded("wal:\n  segment_bytes_max: 8MiB\n", &environment, &[("wal.on_full", "decide_early")]).config;
    assert_eq!((config.sampling.cold_after, config.wal.retention), (Duration::from_secs(120), Duration::ZERO));
    assert_eq!((config.wal.segment_bytes_max, config.wal.on_full), (8 * MIB, WalFull::DecideEarly));
    for (key, value, cause) in [
        ("wal.segment_bytes_max", "1023KiB", "out of bounds; write 1MiB to 1GiB"),
        ("wal.segment_bytes_max", "2GiB", "out of bounds"),
        ("wal.bytes_max", "1MiB", "out of bounds; write 4MiB"),
        ("wal.journal_interval", "0s", "out of bounds; write 1ms to 1m"),
        ("wal.on_full", "pushback", "did you mean `push_back`?"),
        ("wal.segment_bytes", "1MiB", "unknown key; did you mean `wal.segment_bytes_max`?"),
        ("exporters.otlp.breaker.open_interval", "0s", "out of bounds"),
        ("exporters.otlp.breaker.open_interval_max", "500ms", "is longer than breaker.open_interval_max"),
    ] {
        let told = problems("", &[], &[("exporters.otlp.endpoints", "http://a:4317"), (key, value)]);
        assert!(told.len() == 1 && told[0].contains(cause), "{key}: {told:?}");
    }
}

#[test]
fn a_breaker_has_defaults_and_can_be_switched_off() {
    let of = |file: &str| config(file, &[]).exporters.otlp[0].breaker.clone();
    let seconds = Duration::from_secs;
    let default = Breaker { failures_max: 5, open_interval: seconds(1), open_interval_max: seconds(2) };
    assert_eq!(of("exporters: {otlp: {endpoints: [http://a]}}"), default);
    let longer = of("exporters: {otlp: {endpoints: [http://a], breaker: {open_interval: 5s}}}");
    assert_eq!(longer, Breaker { failures_max: 5, open_interval: seconds(5), open_interval_max: seconds(5) });
    let off = of("exporters: {otlp: {endpoints: [http://a], breaker: {failures_max: 0, open_interval_max: 10s}}}");
    assert_eq!(off, Breaker { failures_max: 0, open_interval: seconds(1), open_interval_max: seconds(10) });
}

#[test]
fn what_is_left_for_the_next_start_needs_the_log() {
    let keep = ("wal.keep_pending_at_shutdown", "true");
    assert!(config("", &[keep]).wal.keep_pending_at_shutdown);
    let told = problems("", &[], &[keep, ("ack", "received")]);
    assert!(told[0].contains("there is no log") && told[0].contains("set ack to"), "{told:?}");
    let told = problems("", &[], &[keep, ("sampling.drop_pending_traces_on_shutdown", "true")]);
    assert!(told[0].contains("contradicts sampling.drop_pending_traces_on_shutdown"), "{told:?}");
    let noted = loaded("", &[], &[("sampling.cold_after", "1m"), ("ack", "received")]).notes;
    assert!(noted[0].to_string().contains("flag --cold-after: sampling.cold_after: has no effect"), "{noted:?}");
}

#[test]
fn a_trace_that_ends_by_inactivity_ends_at_last() {
    let waits = |flags: &[(&str, &str)]| {
        let sampling = config("", flags).sampling;
        (sampling.inactivity_timeout.as_secs(), sampling.max_trace_duration.as_secs())
    };
    let (inactivity, longest) = ("sampling.inactivity_timeout", "sampling.max_trace_duration");
    assert_eq!(waits(&[]), (0, 0));
    assert_eq!(waits(&[(inactivity, "30s")]), (30, 3600));
    assert_eq!(waits(&[(inactivity, "2h")]), (7200, 7200));
    assert_eq!(waits(&[(inactivity, "30s"), (longest, "10m")]), (30, 600));
    let told = problems("", &[], &[(inactivity, "30s"), (longest, "0s")]);
    assert!(told[0].contains("would never be judged"), "{told:?}");
    let told = problems("", &[], &[(inactivity, "30s"), (longest, "10s")]);
    assert!(told[0].contains("is longer than sampling.max_trace_duration"), "{told:?}");
    let noted = loaded("", &[], &[(longest, "10m")]).notes;
    assert!(noted[0].text.contains("has no effect without sampling.inactivity_timeout"), "{noted:?}");
}

#[test]
fn the_log_is_spread_over_the_shards() {
    let plan = plan(&[], 8).unwrap();
    assert_eq!((plan.segment_bytes, plan.journal_bytes, plan.buffer_bytes), (64 * MIB, 128 * MIB, 8 * MIB));
    assert_eq!((plan.requests_bytes, plan.segments_max), (GIB - 128 * MIB, 14));
    assert!(plan.largest_segment_bytes > 64 * MIB, "the largest request and what is around it");
    assert_eq!(plan.to_string(), "each shard: 14 segments of 64MiB, a journal of 128MiB, 8MiB of buffers");
}

#[test]
fn a_plan_keeps_the_budget_and_a_refusal_names_what_suffices() {
    let mut refusals = 0;
    for request in ["4KiB", "1MiB", "5MiB", "8MiB", "64MiB", "512MiB"] {
        for segment in ["1MiB", "64MiB", "1GiB"] {
            for budget in ["4MiB", "17MiB", "100MiB", "1GiB", "8GiB", "300GiB"] {
                for shards in [1, 2, 7, 64, 1024] {
                    let with = |budget: &str| {
                        let flags = [
                            ("otlp.grpc.request_bytes_max", request),
                            ("otlp.http.enabled", "false"),
                            ("memory.receive_bytes_max", "2GiB"),
                            ("wal.segment_bytes_max", segment),
                            ("wal.buffer_bytes_max", "1GiB"),
                            ("wal.bytes_max", budget),
                        ];
                        (plan(&flags, shards), config("", &flags).wal.bytes_max)
                    };
                    let (made, bytes_max) = match with(budget) {
                        (Err(problem), _) => {
                            refusals += 1;
                            let remedy = problem.remedy.split_whitespace().nth(3).unwrap().trim_end_matches(',');
                            with(remedy)
                        }
                        made => made,
                    };
                    let plan =
                        made.unwrap_or_else(|problem| panic!("{request} {segment} {budget} {shards}: {problem}"));
                    assert!(plan.requests_bytes + plan.journal_bytes <= bytes_max / shards as u64, "{plan:?}");
                    assert!(plan.largest_segment_bytes + 3 * plan.segment_bytes <= plan.requests_bytes, "{plan:?}");
                    assert!(plan.journal_bytes >= 2 * plan.journal_segment_bytes, "{plan:?}");
                    let lengths = [plan.segment_bytes, plan.largest_segment_bytes, plan.journal_segment_bytes];
                    assert!(lengths.iter().all(|bytes| *bytes >= MIB && bytes % 4096 == 0), "{plan:?}");
                }
            }
        }
    }
    assert!(refusals > 10, "{refusals}");
}

#[test]
fn what_a_plan_is_refused_for_is_told() {
    let told = plan(&[("wal.bytes_max", "64MiB")], 2).unwrap_err().to_string();
    let wanted = "wal.bytes_max = 64MiB: each of 2 shards would have too little of it for a request of the largest size; raise it to 274MiB";
    assert!(told.contains(wanted), "{told}");
    let told = plan(&[("wal.buffer_bytes_max", "1MiB")], 8).unwrap_err().to_string();
    assert!(told.contains("wal.buffer_bytes_max = 1MiB") && told.contains("raise it to 2MiB"), "{told}");
    assert!(plan(&[], usize::MAX).is_err());
    // A receiver that logs nothing does not ask for room.
    let small = [("wal.bytes_max", "32MiB"), ("otlp.http.ack", "received"), ("otlp.grpc.request_bytes_max", "1MiB")];
    assert!(plan(&small, 2).is_ok());
}
