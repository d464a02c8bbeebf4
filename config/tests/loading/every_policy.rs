//! The policies with a budget, with conditions and with flags; all types in one Collector file; what strategies refuse.

use crate::support::{again, loaded, problems, refused_with};
use tailwater_config::effective;
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Strategy, Thresholds};

const FIXTURE: &str = include_str!("fixtures/every_policy.yaml");

/// A native file with that list of policies, each on its own line from line 3 on.
fn file(policies: &[&str]) -> String {
    let items: String = policies.iter().map(|policy| format!("    - {policy}\n")).collect();
    format!("sampling:\n  policies:\n{items}")
}

fn rule(policy: &str) -> Rule {
    loaded(&file(&[policy]), &[], &[]).config.sampling.policies.remove(0).rule
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What is said about the only policy of a file.
fn notes(policy: &str) -> Vec<String> {
    loaded(&file(&[policy]), &[], &[]).notes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_collector_file_with_every_type_of_policy_is_taken() {
    let loaded = loaded(FIXTURE, &[], &[]);
    let policies = &loaded.config.sampling.policies;
    let find = |name: &str| &policies.iter().find(|policy| policy.name == name).unwrap().rule;
    assert_eq!(policies.len(), 17);
    assert_eq!(*find("spans"), Rule::RateLimiting { spans_per_second: 40, burst_capacity: 90 });
    assert_eq!(*find("bytes"), Rule::BytesLimiting { bytes_per_second: 500_000, burst_capacity: 900_000 });
    assert_eq!(*find("vendor"), Rule::TraceState { key: "vendor".to_string(), values: texts(&["gold", "silver"]) });
    assert_eq!(*find("sampled"), Rule::TraceFlags);
    let conditions = Rule::OttlCondition {
        error_mode: ErrorMode::Ignore,
        span: texts(&["attributes[\"route\"] == \"/pay\"", "kind == SPAN_KIND_SERVER"]),
        spanevent: texts(&["name != \"retry\""]),
    };
    assert_eq!(*find("conditions"), conditions);
    let Rule::Composite { spans_per_second_max: 1000, policies: shared } = find("shared") else { panic!("composite") };
    // The last has no percentage: a third of the whole.
    assert_eq!(shared.iter().map(|(_, share)| *share).collect::<Vec<_>>(), [500, 250, 333]);
    assert!(matches!(&shared[0].0.rule, Rule::And(policies) if policies.len() == 1));
    assert_eq!(loaded.config.sampling.thresholds, Thresholds::Collector);
    for text in ["TAILWATER_SAMPLING_THRESHOLDS=otep235", "limits are not divided", "composite_sub_policy is the order"]
    {
        assert!(loaded.notes.iter().any(|note| note.to_string().contains(text)), "{text}: {:#?}", loaded.notes);
    }
}

#[test]
fn every_type_of_policy_is_printed_so_that_it_reads_the_same() {
    let loaded = loaded(FIXTURE, &[], &[]);
    let text = effective(&loaded);
    assert_eq!(again(&loaded.config, &text, &[]), loaded.config, "{text}");
}

#[test]
fn shares_are_printed_so_that_they_read_the_same() {
    let totals = [i64::MIN, -1001, -1, 0, 1, 3, 99, 1000, 12_345, 1 << 53, i64::MAX];
    let percents = [i64::MIN, -5, 0, 1, 3, 29, 33, 50, 57, 99, 100, 101, 250, 1 << 40, i64::MAX];
    for total in totals {
        for percent in percents {
            let policy = format!(
                "{{name: a, type: composite, composite: {{max_total_spans_per_second: {total}, composite_sub_policy: [{{name: '', type: always_sample}}, {{name: y, type: trace_flags}}, {{name: y, type: span_count}}], rate_allocation: [{{policy: y, percent: 1}}, {{policy: y, percent: {percent}}}]}}}}"
            );
            let loaded = loaded(&file(&[&policy]), &[], &[]);
            let text = effective(&loaded);
            assert_eq!(again(&loaded.config, &text, &[]), loaded.config, "{text}");
        }
    }
}

#[test]
fn shares_are_cut_off_as_the_collector_does() {
    // (0.57 * 100 is below 57 in double precision)
    for (total, percent, share) in [(100, 57, 56), (1000, 29, 290), (10, 33, 3), (7, 0, 3), (7, -1, 3), (7, 150, 10)] {
        let policy = format!(
            "{{name: a, type: composite, composite: {{max_total_spans_per_second: {total}, composite_sub_policy: [{{name: x, type: always_sample}}, {{name: y, type: trace_flags}}], rate_allocation: [{{policy: x, percent: {percent}}}]}}}}"
        );
        let Rule::Composite { policies, .. } = rule(&policy) else { panic!("composite") };
        assert_eq!((policies[0].1, policies[1].1), (share, total / 2), "{total} {percent}");
    }
}

#[test]
fn what_is_left_out_is_the_collectors_zero() {
    assert_eq!(rule("{name: a, type: rate_limiting}"), Rule::RateLimiting { spans_per_second: 0, burst_capacity: 0 });
    assert_eq!(
        rule("{name: a, type: bytes_limiting, bytes_limiting: {bytes_per_second: 5, burst_capacity: -3}}"),
        Rule::BytesLimiting { bytes_per_second: 5, burst_capacity: 0 }
    );
    assert_eq!(rule("{name: a, type: trace_state}"), Rule::TraceState { key: String::new(), values: vec![] });
    assert_eq!(rule("{name: a, type: composite}"), Rule::Composite { spans_per_second_max: 0, policies: vec![] });
}

#[test]
fn an_error_mode_left_out_is_silent() {
    let mode = |written: &str| match rule(&format!(
        "{{name: a, type: ottl_condition, ottl_condition: {{span: ['name == \"x\"'], {written}}}}}"
    )) {
        Rule::OttlCondition { error_mode, .. } => error_mode,
        other => panic!("{other:?}"),
    };
    assert_eq!(mode(""), ErrorMode::Silent);
    assert_eq!(mode("error_mode: "), ErrorMode::Silent);
    assert_eq!(mode("error_mode: PROPAGATE"), ErrorMode::Propagate);
    assert_eq!(mode("error_mode: iGnore"), ErrorMode::Ignore);
}

#[test]
fn values_that_no_tracestate_has_are_left_out() {
    let long = "v".repeat(254);
    let policy = format!("{{name: a, type: trace_state, trace_state: {{key: kk, values: ['', x, {long}]}}}}");
    assert_eq!(rule(&policy), Rule::TraceState { key: "kk".to_string(), values: texts(&["x"]) });
    assert!(notes(&policy)[0].contains("trace_state.values: holds values"), "{:?}", notes(&policy));
    let fits = "v".repeat(253);
    let policy = format!("{{name: a, type: trace_state, trace_state: {{key: kk, values: [{fits}]}}}}");
    assert_eq!(rule(&policy), Rule::TraceState { key: "kk".to_string(), values: vec![fits] });
}

#[test]
fn policies_nest_as_the_collector_allows() {
    let inside = |kind: &str, inner: &str| {
        format!("{{name: a, type: {kind}, {kind}: {{{kind}_sub_policy: [{{name: x, type: {inner}}}]}}}}")
    };
    for inner in ["trace_flags", "trace_state", "rate_limiting", "bytes_limiting"] {
        for kind in ["and", "drop", "composite"] {
            loaded(&file(&[&inside(kind, inner)]), &[], &[]);
        }
        loaded(
            &file(&[&format!("{{name: a, type: not, not: {{not_sub_policy: {{name: x, type: {inner}}}}}}}")]),
            &[],
            &[],
        );
    }
    for (kind, inner) in [("composite", "composite"), ("composite", "not"), ("composite", "drop"), ("and", "composite")]
    {
        let cause = format!("unknown sampling policy type \"{inner}\" at this level");
        refused_with(&file(&["{name: ok, type: always_sample}", &inside(kind, inner)]), 4, &cause);
    }
    loaded(&file(&[&inside("composite", "and")]), &[], &[]);
}

#[test]
fn constructor_errors_name_policy_and_line() {
    for (policy, cause) in [
        (
            "{name: a, type: ottl_condition}",
            "failed to create policy evaluator for \"a\": expected at least one OTTL condition to filter on",
        ),
        ("{name: a, type: ottl_condition, ottl_condition: {span: ['']}}", "ottl_condition.span[0]: failed to create"),
        (
            "{name: a, type: ottl_condition, ottl_condition: {spanevent: ['true', 'nam == \"x\"']}}",
            "spanevent[1]: failed to create policy evaluator for \"a\": not a condition:\nnam == \"x\"\n^\n",
        ),
        (
            "{name: a, type: ottl_condition, ottl_condition: {error_mode: loud, span: ['name == \"x\"']}}",
            "unknown error mode loud; use one of ignore, silent, propagate",
        ),
        (
            "{name: a, type: ottl_condition, ottl_condition: {span_event: ['name == \"x\"']}}",
            "unknown key; did you mean `spanevent`?",
        ),
        ("{name: a, type: rate_limiting, rate_limiting: {spans_per_second: 1e19}}", "write a whole number of 64 bits"),
        ("{name: a, type: rate_limiting, rate_limiting: {bytes_per_second: 1}}", "unknown key"),
        ("{name: a, type: trace_flags, trace_flags: [1]}", "a list where a mapping is needed"),
        ("{name: a, type: trace_state, trace_state: {key: k, values: [1]}}", "put numbers and booleans in quotes"),
        ("{name: a, type: composite, composite: {rate_allocation: {x: 50}}}", "write a list of {policy, percent}"),
        (
            "{name: a, type: composite, composite: {rate_allocation: [{policy: x, percent: '50'}]}}",
            "rate_allocation[0].percent: text `50` does not fit here",
        ),
        ("{name: a, type: composite, composite: {policy_order: 5}}", "write a list of text"),
    ] {
        refused_with(&file(&["{name: ok, type: always_sample}", policy]), 4, cause);
    }
}

#[test]
fn what_never_samples_is_told() {
    for (policy, text) in [
        ("{name: a, type: rate_limiting, rate_limiting: {spans_per_second: 0}}", "never samples"),
        ("{name: a, type: bytes_limiting, bytes_limiting: {burst_capacity: 9}}", "until its burst_capacity is used up"),
        ("{name: a, type: trace_state, trace_state: {key: k, values: ['']}}", "never samples"),
        ("{name: a, type: composite, composite: {max_total_spans_per_second: 5}}", "never samples"),
        (
            "{name: a, type: composite, composite: {max_total_spans_per_second: 5, composite_sub_policy: [{name: x, type: always_sample}], rate_allocation: [{policy: z, percent: 5}]}}",
            "`z` is no sub-policy here",
        ),
        ("{name: a, type: trace_flags, trace_flags: {x: 1}}", "has no keys"),
    ] {
        assert!(notes(policy).iter().any(|note| note.contains(text)), "{policy}: {:?}", notes(policy));
    }
}

#[test]
fn span_ingest_takes_only_what_a_piece_of_a_trace_can_decide() {
    let collector = |policies: &str| {
        FIXTURE
            .replace("decision_wait: 12s", "sampling_strategy: span-ingest")
            .split("policies: [")
            .next()
            .map(|head| format!("{head}policies: [\n      {policies}\n    ]\n{}", FIXTURE.lines().last().unwrap()))
            .unwrap()
    };
    let line = u32::try_from(collector("").lines().position(|line| line.contains("policies: [")).unwrap()).unwrap() + 2;
    for policy in [
        "{name: x, type: rate_limiting}",
        "{name: x, type: bytes_limiting}",
        "{name: x, type: latency, latency: {upper_threshold_ms: 5}}",
        "{name: x, type: span_count, span_count: {max_spans: 5}}",
        "{name: x, type: and, and: {and_sub_policy: [{name: y, type: rate_limiting}]}}",
        "{name: x, type: drop, drop: {drop_sub_policy: [{name: y, type: span_count, span_count: {max_spans: 5}}]}}",
        "{name: x, type: not, not: {not_sub_policy: {name: y, type: bytes_limiting}}}",
        "{name: x, type: composite, composite: {composite_sub_policy: [{name: y, type: rate_limiting}]}}",
    ] {
        let cause = "requires all policies to be stateless, but policy \"x\" is stateful";
        refused_with(&collector(policy), line, cause);
    }
    let rest = "{name: x, type: composite, composite: {composite_sub_policy: [{name: y, type: trace_flags}]}}, {name: l, type: latency, latency: {threshold_ms: 5}}, {name: z, type: drop, drop: {drop_sub_policy: [{name: y, type: trace_flags}]}}";
    let loaded = loaded(&collector(rest), &[], &[]);
    assert_eq!(loaded.config.sampling.strategy, Strategy::SpanIngest);
    assert!(loaded.notes.iter().any(|note| note.text.contains("no trace is ever sampled")), "{:#?}", loaded.notes);
}

#[test]
fn more_shards_than_the_collector_takes_are_refused() {
    let file = |shards: &str| FIXTURE.replace("num_shards: 4", &format!("num_shards: {shards}"));
    refused_with(&file("257"), 9, "num_shards (257) must not exceed 256");
    refused_with(&file("'4'"), 9, "not a whole number");
    assert_eq!(problems(&file("256").replace("num_shards", "tail_storage"), &[], &[]).len(), 1);
    loaded(&file("256"), &[], &[]);
}

#[test]
fn lines_are_those_of_the_policies() {
    let policies = loaded(FIXTURE, &[], &[]).config.sampling.policies;
    let line_of =
        |name: &str| u32::try_from(FIXTURE.lines().position(|line| line.contains(name)).unwrap()).unwrap() + 1;
    assert!(policies.iter().all(|Policy { name, line, .. }| *line == line_of(&format!("name: {name},"))));
}
