//! Our own rules: read, printed back, and refused with the place of what is wrong.

use crate::support::{again, loaded, refused_with};
use tailwater_config::sampling::native::{Amount, LimitTerms, Sampler};
use tailwater_config::{effective, explain, is_same};

const RULES: &str = r#"
sampling:
  budget: {spans_per_second: 1000}
  rules:
    - name: health checks
      when: [{string_attribute: {key: http.route, values: [/health, /ready]}}]
      sampler: always_off
    - name: errors of the shop
      when: [{service: [checkout, cart]}, {status_code: {status_codes: [ERROR]}}]
      sampler: {probability: 0.5}
      budget_minimum_per_second: 100
    - name: slow for their route
      when:
        - relative_latency: {quantile: 0.99, by: [service.name, http.route], at_least_ms: 10}
        - not: {any: [{trace_flags: {}}, {ottl_condition: {span: ['name == "x"']}}]}
    - name: only slow
      when: [{relative_latency: {quantile: 0.9, by: [a]}}]
    - name: nested
      when: [{span_count: {min_spans: 5}}]
      sampler:
        any_of:
          - parent_threshold: {probability: 0.1}
          - rule_based:
              - {when: [{latency: {threshold_ms: 9}}], sampler: always_on}
              - sampler: {annotating: {attributes: {why: rest, x: "1"}, sampler: {probability: 0.01}}}
    - name: rest
      limit: {spans_per_second: 300, by: [service.name]}
"#;

#[test]
fn rules_are_read_and_printed_so_that_they_read_the_same() {
    let first = loaded(RULES, &[], &[]);
    let rules = &first.config.sampling.rules;
    assert_eq!(rules.len(), 6);
    assert!(first.config.sampling.policies.is_empty(), "they take the place of the policies");
    assert_eq!((rules[1].when.len(), &rules[1].sampler), (2, &Sampler::Probability(0.5)));
    let limit = LimitTerms { amount: Amount::SpansPerSecond(300), by: vec!["service.name".into()] };
    assert_eq!(rules[5].sampler, Sampler::Limited { sampler: Box::new(Sampler::AlwaysOn), limit });
    let printed = effective(&first);
    assert!(is_same(&again(&first.config, &printed, &[]), &first.config), "{printed}");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (rules, expected) in [
        ("[{name: a, sampler: always}]", "unknown sampler \"always\""),
        ("[{name: a, sampler: {probability: 1.5}}]", "between 0 and 1"),
        ("[{name: a, when: [{latncy: {threshold_ms: 5}}]}]", "did you mean `latency`?"),
        ("[{name: a, when: [{probabilistic: {sampling_percentage: 5}}]}]", "unknown condition \"probabilistic\""),
        ("[{name: a, when: [{latency: {threshold: 5}}]}]", "threshold_ms"),
        ("[{name: a, limit: {spans_per_second: 5, keep_one_in: 2}}]", "exactly one of"),
        ("[{name: a, limit: {keep_one_in: 0.5}}]", "below 1"),
        ("[{name: a}, {name: a}]", "duplicate rule name"),
        ("[{sampler: always_on}]", "has no name"),
        ("[{name: a, when: [{relative_latency: {quantile: 99, by: [x]}}]}]", "between 0 and 1"),
        ("[{name: a, when: [{relative_latency: {quantile: 0.9}}]}]", "nothing to compare by"),
        ("[{name: a, budget_minimum_per_second: 5}]", "more than the budget"),
        (
            "[{name: a, sampler: {rule_based: [{budget_minimum_per_second: 5}]}}]",
            "budget_minimum_per_second: unknown key",
        ),
    ] {
        refused_with(&format!("sampling:\n  rules: {rules}\n"), 2, expected);
    }
    let both = "sampling:\n  rules: [{name: a}]\n  policies: [{name: all, type: always_sample}]\n";
    refused_with(both, 2, "both sampling.policies and sampling.rules");
    refused_with("sampling:\n  thresholds: collector\n  rules: [{name: a}]\n", 3, "rules need thresholds");
}

/// A printed configuration must load.
fn reads(text: &str) -> tailwater_config::sampling::Sampling {
    loaded(text, &[], &[]).config.sampling
}

#[test]
fn policies_are_explained_as_rules_that_load() {
    let policies = r#"
sampling:
  policies:
    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
    - {name: some, type: and, and: {and_sub_policy: [
        {name: a, type: latency, latency: {threshold_ms: 5}}, {name: b, type: probabilistic, probabilistic: {sampling_percentage: 10}},
        {name: c, type: rate_limiting, rate_limiting: {spans_per_second: 7}}]}}
    - {name: health, type: drop, drop: {drop_sub_policy: [{name: h, type: trace_flags}]}}
    - {name: mixed, type: composite, composite: {max_total_spans_per_second: 10, composite_sub_policy: [
        {name: x, type: trace_flags}, {name: y, type: always_sample}], rate_allocation: [{policy: x, percent: 50}]}}
    - {name: tenth, type: not, not: {not_sub_policy: {name: n, type: probabilistic, probabilistic: {sampling_percentage: 90}}}}
"#;
    let text = explain(&reads(policies));
    let rules = reads(&text).rules;
    assert_eq!((rules[0].name.as_str(), &rules[0].sampler, rules.len()), ("health", &Sampler::AlwaysOff, 2), "{text}");
    let Sampler::AnyOf(samplers) = &rules[1].sampler else { panic!("{text}") };
    assert_eq!(samplers.len(), 4, "{text}");
    let Sampler::RuleBased(some) = &samplers[1] else { panic!("{text}") };
    let limit = LimitTerms { amount: Amount::SpansPerSecond(7), by: Vec::new() };
    let limited = Sampler::Limited { sampler: Box::new(Sampler::Probability(0.1)), limit };
    assert_eq!((some[0].when.len(), &some[0].sampler), (1, &limited));
    assert!(matches!(samplers[3], Sampler::Probability(share) if (share - 0.1).abs() < 1e-9), "{text}");
}

#[test]
fn rules_are_explained_as_policies_that_load_and_what_they_cannot_say_is_told() {
    let text = explain(&reads(RULES));
    let service = "receivers: {otlp: {protocols: {grpc: {}}}}\nexporters: {nop: {}}\nservice: {pipelines: {traces: \
                   {receivers: [otlp], processors: [tail_sampling], exporters: [nop]}}}\n";
    let policies = reads(&format!("{text}{service}")).policies;
    let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["health checks", "errors of the shop"], "what can be said as it is: {text}");
    for remark in
        ["relative_latency", "no opposite of several conditions", "no sampler like", "no budget", "rest: left out"]
    {
        assert!(text.contains(remark), "{remark}: {text}");
    }
}

#[test]
fn a_rule_of_the_list_may_be_a_shadow() {
    let file =
        "sampling:\n  rules:\n    - {name: tried, shadow: true}\n    - {name: rest, sampler: {probability: 0.1}}\n";
    let first = loaded(file, &[], &[]);
    assert_eq!(first.config.sampling.rules.iter().map(|rule| rule.is_shadow).collect::<Vec<_>>(), [true, false]);
    assert!(!first.notes.iter().any(|note| note.text.contains("no effect")), "{:?}", first.notes);
    assert!(is_same(&first.config, &again(&first.config, &effective(&first), &[])), "it is printed back");
    let said = explain(&first.config.sampling);
    assert!(said.contains("# not the same: tried: ") && !said.contains("name: tried"), "{said}");
    let policies = "sampling:\n  policies:\n    - {name: tried, shadow: true, type: trace_flags}\n    - {name: all, type: always_sample}\n";
    let said = explain(&loaded(policies, &[], &[]).config.sampling);
    let rules = loaded(&said, &[], &[]).config.sampling.rules;
    assert_eq!(
        rules.iter().map(|rule| (rule.name.as_str(), rule.is_shadow)).collect::<Vec<_>>(),
        [("policies", false), ("tried", true)]
    );
    let inner = "sampling:\n  rules:\n    - name: a\n      sampler: {rule_based: [{name: b, shadow: true}]}\n";
    refused_with(inner, 4, "shadow: unknown key");
}

#[test]
fn expressions_are_expanded_as_in_a_collectors_file() {
    let file = "ack: ${env:LEVEL}\nsampling:\n  decision_wait: ${WAIT:-7s}\n  num_traces: ${env:COUNT}\nexporters:\n  otlp:\n    endpoints: ['http://${env:HOST}:4317']\n    headers: {authorization: 'Bearer ${env:TOKEN}', dollar: $$1}\n";
    let environment = [("LEVEL", "written"), ("COUNT", "0x10"), ("HOST", "b"), ("TOKEN", "{s}: #")];
    let config = loaded(file, &environment, &[]).config;
    assert_eq!(config.ack, tailwater_config::Ack::Written);
    assert_eq!(config.sampling.decision_wait, std::time::Duration::from_secs(7));
    assert_eq!(config.sampling.traces_max, 16);
    assert_eq!(config.exporters.otlp[0].endpoints, ["http://b:4317"]);
    let headers: Vec<&str> = config.exporters.otlp[0].headers.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(headers, ["Bearer {s}: #", "$1"]);
    let told = crate::support::problems(file, &environment[..3], &[]);
    let expected = "t.yaml:8: exporters.otlp.headers.authorization: the environment variable TOKEN is not set";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
}

#[test]
fn files_of_other_programs_are_told_what_to_do() {
    for (file, line, told) in [
        ("apiVersion: v1\nkind: ConfigMap\ndata:\n  relay.yaml: |\n    receivers:\n", 2, "--config PATH/relay.yaml"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n---\nkind: Deployment\napiVersion: apps/v1\n",
            2,
            "kind ConfigMap",
        ),
        (
            "kind: OpenTelemetryCollector\napiVersion: opentelemetry.io/v1beta1\nspec: {config: {}}\n",
            1,
            "under `spec.config`",
        ),
        ("kind: Deployment\napiVersion: apps/v1\n", 1, "kind Deployment, not a configuration"),
        ("mode: deployment\nconfig:\n  receivers: {otlp: }\n", 2, "under `config`"),
        ("services:\n  collector: {image: x}\n", 1, "a Compose file"),
        ("RulesVersion: 2\nSamplers:\n  __default__: {DeterministicSampler: {SampleRate: 1}}\n", 1, "docs/rules.md"),
        (
            "General:\n  ConfigurationVersion: 2\nNetwork: {ListenAddr: 0.0.0.0:8080}\nRefineryTelemetry: {}\n",
            4,
            "Refinery",
        ),
        ("ack: synced\n---\nack: written\n", 2, "more than one document, the second begins here; remove the others"),
    ] {
        let problems = crate::support::problems(file, &[], &[]);
        let start = format!("t.yaml:{line}: ");
        assert!(problems.len() == 1 && problems[0].starts_with(&start) && problems[0].contains(told), "{problems:?}");
    }
}
