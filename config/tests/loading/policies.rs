//! Each policy's loading, and the errors the Collector gives when it builds its evaluators, with the line.

use crate::support::{loaded, refused_with};
use tailwater_config::sampling::{Policy, Rule};
use tailwater_config::{effective, is_same};

/// A native file with that list of policies, each on its own line from line 3 on.
fn file(policies: &[&str]) -> String {
    let items: String = policies.iter().map(|policy| format!("    - {policy}\n")).collect();
    format!("sampling:\n  policies:\n{items}")
}

fn read(policies: &[&str]) -> Vec<Policy> {
    loaded(&file(policies), &[], &[]).config.sampling.policies
}

fn rule(policy: &str) -> Rule {
    read(&[policy]).remove(0).rule
}

#[test]
fn a_policy_of_our_own_file_may_be_a_shadow() {
    let policies = ["{name: a, shadow: true, type: trace_flags}", "{name: b, shadow: false, type: always_sample}"];
    let first = loaded(&file(&policies), &[], &[]);
    assert_eq!(first.config.sampling.policies.iter().map(|policy| policy.is_shadow).collect::<Vec<_>>(), [true, false]);
    let again = loaded(&effective(&first), &[], &[]);
    assert!(is_same(&first.config, &again.config), "it is printed back");
    refused_with(&file(&["{name: a, shadow: 7, type: trace_flags}"]), 3, "true or false");
    let inner = "{name: a, type: not, not: {not_sub_policy: {name: b, shadow: true, type: trace_flags}}}";
    refused_with(&file(&[inner]), 3, "shadow: unknown key");
    let collector = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {otlp: {endpoint: 'h:4317'}}\nprocessors:\n  \
        tail_sampling: {policies: [{name: a, type: trace_flags, shadow: true}]}\nservice: {pipelines: {traces: {\
        receivers: [otlp], processors: [tail_sampling], exporters: [otlp]}}}\n";
    refused_with(collector, 4, "shadow: unknown key");
}

#[test]
fn a_block_left_out_is_gos_zero_values() {
    assert_eq!(rule("{name: a, type: latency}"), Rule::Latency { threshold_ms: 0, upper_threshold_ms: 0 });
    assert_eq!(
        rule("{name: a, type: probabilistic, probabilistic: }"),
        Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 0.0 }
    );
    assert_eq!(rule("{name: a, type: span_count}"), Rule::SpanCount { min: 0, max: 0 });
    assert_eq!(
        rule("{name: a, type: boolean_attribute}"),
        Rule::BooleanAttribute { key: String::new(), value: false, invert: false }
    );
    assert_eq!(
        rule("{name: a, type: string_attribute}"),
        Rule::StringAttribute { key: String::new(), values: vec![], regex: false, invert: false }
    );
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    let latency = |text: &str| rule(&format!("{{name: a, type: latency, latency: {{threshold_ms: {text}}}}}"));
    for (text, value) in [
        ("5_000", 5000),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 15),
        ("0b101", 5),
        ("-5", -5),
        ("500.0", 500),
        ("5.9", 5),
        ("-5.9", -5),
    ] {
        assert_eq!(latency(text), Rule::Latency { threshold_ms: value, upper_threshold_ms: 0 }, "{text}");
    }
    let share =
        |text: &str| rule(&format!("{{name: a, type: probabilistic, probabilistic: {{sampling_percentage: {text}}}}}"));
    for (text, value) in [("5", 5.0), ("0.001", 0.001), ("1e1", 10.0), ("-50", -50.0), ("150", 150.0)] {
        assert_eq!(share(text), Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: value }, "{text}");
    }
}

#[test]
fn a_zero_bound_is_no_bound() {
    let bounds = |block: &str| match rule(&format!(
        "{{name: a, type: numeric_attribute, numeric_attribute: {{key: k, {block}}}}}"
    )) {
        Rule::NumericAttribute { min, max, invert, .. } => (min, max, invert),
        other => panic!("{other:?}"),
    };
    assert_eq!(bounds("min_value: 5"), (5, i64::MAX, false));
    assert_eq!(bounds("max_value: 5, min_value: 0"), (i64::MIN, 5, false));
    assert_eq!(bounds("min_value: -5, max_value: 5, invert_match: true"), (-5, 5, true));
    refused_with(
        &file(&["{name: a, type: numeric_attribute, numeric_attribute: {key: k}}"]),
        3,
        "failed to create policy evaluator for \"a\": at least one of min_value and max_value must be set",
    );
}

#[test]
fn exact_values_that_are_empty_match_nothing() {
    let block = "{name: a, type: string_attribute, string_attribute: {key: k, values: ['', x, ~]}}";
    let Rule::StringAttribute { values, .. } = rule(block) else { panic!("a string attribute") };
    assert_eq!(values, ["x"]);
    let block =
        "{name: a, type: string_attribute, string_attribute: {key: k, values: [''], enabled_regex_matching: true}}";
    let Rule::StringAttribute { values, .. } = rule(block) else { panic!("a string attribute") };
    assert_eq!(values, [""]);
}

#[test]
fn text_in_place_of_a_list_is_one_with_commas() {
    for (written, expected) in [("x", vec!["x"]), ("'x, y,'", vec!["x", " y", ""]), ("''", vec![])] {
        let block = format!(
            "{{name: a, type: string_attribute, string_attribute: {{key: k, values: {written}, enabled_regex_matching: true}}}}"
        );
        let Rule::StringAttribute { values, .. } = rule(&block) else { panic!("a string attribute") };
        assert_eq!(values, expected, "{written}");
    }
}

#[test]
fn policies_nest_as_the_collector_allows() {
    let and = rule(
        "{name: a, type: and, and: {and_sub_policy: [{name: x, type: always_sample}, {name: '', type: not, not: {not_sub_policy: {name: y, type: span_count, span_count: {min_spans: 2}}}}]}}",
    );
    let inner = Policy { line: 3, ..Policy::new("y", Rule::SpanCount { min: 2, max: 0 }) };
    let Rule::And(policies) = and else { panic!("and") };
    assert_eq!(policies[0].rule, Rule::AlwaysSample);
    assert_eq!(policies[1].rule, Rule::Not(Box::new(inner)));
    let drop =
        rule("{name: a, type: drop, drop: {drop_sub_policy: [{name: x, type: latency, latency: {threshold_ms: 1}}]}}");
    let Rule::Drop(policies) = drop else { panic!("drop") };
    assert_eq!(policies.len(), 1);
    assert_eq!(rule("{name: a, type: and}"), Rule::And(vec![]));
    for (policy, cause) in [
        (
            "{name: a, type: and, and: {and_sub_policy: [{name: x, type: and}]}}",
            "unknown sampling policy type \"and\" at this level",
        ),
        (
            "{name: a, type: and, and: {and_sub_policy: [{name: x, type: drop}]}}",
            "unknown sampling policy type \"drop\" at this level",
        ),
        (
            "{name: a, type: drop, drop: {drop_sub_policy: [{name: x, type: composite}]}}",
            "unknown sampling policy type \"composite\" at this level",
        ),
        (
            "{name: a, type: not, not: {not_sub_policy: {name: x, type: not}}}",
            "unknown sampling policy type \"not\" at this level",
        ),
        (
            "{name: a, type: not, not: {not_sub_policy: {name: x, type: and}}}",
            "unknown sampling policy type \"and\" at this level",
        ),
        ("{name: a, type: not}", "there is no policy to negate"),
        (
            "{name: a, type: not, not: {not_sub_policy: [{name: x, type: always_sample}]}}",
            "a list where a policy is needed",
        ),
        ("{name: a, type: and, and: {and_sub_policies: []}}", "unknown key; did you mean `and_sub_policy`?"),
    ] {
        refused_with(&file(&["{name: ok, type: always_sample}", policy]), 4, cause);
    }
}

#[test]
fn constructor_errors_name_policy_and_line() {
    for (policy, cause) in [
        ("{type: always_sample}", "policy name cannot be empty"),
        ("{name: '', type: always_sample}", "policy name cannot be empty"),
        ("{name: ok, type: always_sample}", "duplicate policy name \"ok\", first on line 3"),
        (
            "{name: a, type: latncy}",
            "failed to create policy evaluator for \"a\": unknown sampling policy type \"latncy\"; did you mean `latency`?",
        ),
        ("{name: a}", "unknown sampling policy type \"\""),
        (
            "{name: a, type: status_code}",
            "failed to create policy evaluator for \"a\": expected at least one status code to filter on",
        ),
        (
            "{name: a, type: status_code, status_code: {status_codes: [Error]}}",
            "unknown status code \"Error\", supported: OK, ERROR, UNSET",
        ),
        (
            "{name: a, type: string_attribute, string_attribute: {key: k, values: ['('], enabled_regex_matching: true}}",
            "failed to create policy evaluator for \"a\": invalid regex `(`: ",
        ),
        ("{name: a, type: latency, latency: {treshold_ms: 5}}", "unknown key; did you mean `threshold_ms`?"),
        ("{name: a, type: latency, latency: 5}", "an integer where a mapping is needed"),
        ("{name: a, type: latency, latency: {threshold_ms: '5'}}", "text `5` does not fit here; write a whole number"),
        ("{name: a, type: latency, latency: {threshold_ms: 1e30}}", "a number `1e30` does not fit here"),
        ("{name: a, type: latency, latency: {threshold_ms: .inf}}", "does not fit here"),
        ("{name: a, type: latency, latency: {threshold_ms: 99999999999999999999}}", "does not fit here"),
        ("{name: a, type: span_count, span_count: {min_spans: 3000000000}}", "write a whole number of 32 bits"),
        ("{name: a, type: boolean_attribute, boolean_attribute: {key: k, value: 1}}", "write true or false"),
        (
            "{name: a, type: string_attribute, string_attribute: {key: 5}}",
            "an integer `5` does not fit here; write text",
        ),
        ("{name: a, type: string_attribute, string_attribute: {values: [200]}}", "put numbers and booleans in quotes"),
        ("{name: a, type: string_attribute, string_attribute: {values: {x: 1}}}", "write a list of text"),
        ("{name: a, type: string_attribute, string_attribute: {values: 5}}", "write a list of text"),
        (
            "{name: a, type: string_attribute, string_attribute: {key: k, value: x}}",
            "unknown key; did you mean `values`?",
        ),
        ("{name: a, type: probabilistic, probabilistic: {sampling_percentage: ten}}", "write a number"),
        ("{name: a, type: probabilistic, probabilistic: {sampling_percentage: .nan}}", "write a number"),
        ("{name: a, type: latency, threshold_ms: 5}", "unknown key; remove it, or put it under `latency:`"),
        ("always_sample", "text where a policy is needed"),
    ] {
        refused_with(&file(&["{name: ok, type: always_sample}", policy]), 4, cause);
    }
}

#[test]
fn a_misplaced_block_is_told_but_accepted() {
    let loaded = loaded(
        &file(&["{name: a, type: latency, latencyy: {threshold_ms: 5}, status_code: {status_codes: []}}"]),
        &[],
        &[],
    );
    let told: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "t.yaml:3: sampling.policies[0].latencyy: unknown, has no effect; did you mean `latency`?",
            "t.yaml:3: sampling.policies[0].status_code: has no effect, because the policy's type is `latency`",
            "t.yaml:3: sampling.policies[0].latency: is missing, so that all in it counts as 0, false or empty, as in the Collector",
        ]
    );
}

#[test]
fn doubtful_bounds_are_told() {
    for (policy, key) in [
        ("{name: a, type: latency, latency: {threshold_ms: 50, upper_threshold_ms: 50}}", "upper_threshold_ms"),
        ("{name: a, type: probabilistic, probabilistic: {sampling_percentage: 150}}", "sampling_percentage"),
        ("{name: a, type: latency, latency: {threshold_ms: 5.5}}", "threshold_ms"),
        ("{name: a, type: numeric_attribute, numeric_attribute: {key: k, min_value: 9, max_value: 3}}", "min_value"),
    ] {
        let loaded = loaded(&file(&[policy]), &[], &[]);
        assert!(loaded.notes.iter().any(|note| note.key.ends_with(key)), "{policy}: {:?}", loaded.notes);
    }
    let loaded = loaded("sampling: {policies: []}", &[], &[]);
    assert_eq!(loaded.notes[0].text, "no policies: every trace is dropped");
}
