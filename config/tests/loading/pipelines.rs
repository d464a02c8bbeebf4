//! Several ways of traces through one node: from the native file and from the Collector's, and what each gets of the
//! node's bounds.

use crate::support::{again, loaded, problems, refused_with};
use std::time::Duration;
use tailwater_config::sampling::Rule;
use tailwater_config::{Config, MIB, WalPlan, effective, memory_plan, wal_plan};

const TWO: &str = "\
sampling: {decision_wait: 3s}
pipelines:
  errors:
    exporters: [otlp/a, file]
    policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]
  rest:
    num_traces: 3000000
    decision_wait: 9s
exporters:
  otlp/a: {endpoints: ['http://a:1']}
  otlp/b: {endpoints: ['http://b:1'], queue_bytes_max: 64MiB}
  file: {path: kept.jsonl}
";

fn names(config: &Config) -> Vec<&str> {
    config.exporters.otlp.iter().map(|exporter| exporter.name.as_str()).collect()
}

#[test]
fn a_pipeline_is_as_sampling_says_unless_it_says_otherwise() {
    let config = loaded(TWO, &[], &[]).config;
    let samplings: Vec<_> = config.samplings().collect();
    assert_eq!((samplings[0].0, samplings[1].0), ("errors", "rest"));
    let waits = samplings.iter().map(|(_, sampling)| sampling.decision_wait.as_secs()).collect::<Vec<_>>();
    assert_eq!(waits, [3, 9]);
    let policies = samplings.iter().map(|(_, sampling)| sampling.policies.len()).collect::<Vec<_>>();
    assert_eq!(policies, [1, 3], "the second has the default ones");
    // The order of sections makes no difference.
    let (sampling, others) = TWO.split_once('\n').unwrap();
    let mut swapped = loaded(&format!("{others}{sampling}\n"), &[], &[]).config;
    swapped.pipelines[0].sampling.policies[0].line += 1;
    assert_eq!(swapped, config);
}

#[test]
fn variables_and_flags_hold_in_every_pipeline() {
    let variable = [("TAILWATER_SAMPLING_DECISION_WAIT", "4s")];
    let config = loaded(TWO, &variable, &[("sampling.num_traces", "7")]).config;
    for (_, sampling) in config.samplings() {
        assert_eq!((sampling.decision_wait, sampling.traces_max), (Duration::from_secs(4), 7));
    }
    let told = problems(TWO, &[("TAILWATER_SAMPLING_DECISION_WAIT", "soon")], &[]);
    assert_eq!(told.len(), 1, "said once, not for each: {told:?}");
}

#[test]
fn each_gets_its_exporters_and_metrics_take_the_first() {
    let config = loaded(TWO, &[], &[]).config;
    let each = config.by_pipeline();
    let (first, second) = (&each[0].1, &each[1].1);
    assert_eq!(names(first), ["otlp/a", "otlp/b"]);
    let b = &first.exporters.otlp[1];
    assert!(!b.signals.traces && b.signals.metrics && b.signals.logs, "the first has the way of metrics");
    assert_eq!(names(second), ["otlp/a", "otlp/b"], "no list: all that take traces");
    assert!(second.exporters.otlp.iter().all(|e| e.signals.traces && !e.signals.metrics && !e.signals.logs));
    assert_eq!(second.exporters.otlp[1].queue_bytes_max, 32 * MIB, "two send through it");
    assert!(first.exporters.file.is_some() && second.exporters.file.as_ref().is_some_and(|f| !f.signals.metrics));
    assert_eq!(first.admin.explained_verdicts_max * 2, config.admin.explained_verdicts_max);

    let none = TWO.replace("[otlp/a, file]", "[none]").replace("  rest:", "  rest:\n    exporters: [otlp/b]");
    let config = loaded(&none, &[], &[]).config;
    let each = config.by_pipeline();
    assert!(each[0].1.exporters.otlp.iter().all(|exporter| !exporter.signals.traces));
    assert_eq!(names(&each[1].1), ["otlp/b"]);
    assert!(each[1].1.exporters.file.is_none());
}

#[test]
fn memory_and_disk_are_divided() {
    let config = loaded(TWO, &[], &[]).config;
    let plan = memory_plan(&config, 2).unwrap();
    let (first, second) = (plan.pending_bytes_by_pipeline[0], plan.pending_bytes_by_pipeline[1]);
    assert!(first + second <= plan.pending_bytes && first + second + 2 >= plan.pending_bytes);
    let ratio = (second - 16 * MIB) / (first - 16 * MIB);
    assert!((2..=3).contains(&ratio), "three times as many traces: {first} {second}");
    assert_eq!(plan.rows.iter().map(|row| row.bytes).sum::<u64>(), plan.total);

    let single = loaded("", &[], &[]).config;
    let (one, two) = (wal_plan(&single, 2).unwrap(), wal_plan(&config, 2).unwrap());
    // One log of requests for both, and a journal for each.
    assert_eq!((one.journals, two.journals, two.buffer_bytes), (1, 2, one.buffer_bytes));
    assert!(two.requests_bytes < one.requests_bytes && two.requests_bytes > one.requests_bytes / 8 * 7);
    let whole = |plan: &WalPlan| plan.requests_bytes + plan.journals * plan.journal_bytes;
    assert!(whole(&two) <= config.wal.bytes_max / 2 && whole(&one) <= single.wal.bytes_max / 2);
    let small = TWO.replace("sampling:", "wal: {bytes_max: 200MiB}\nsampling:");
    let problem = wal_plan(&loaded(&small, &[], &[]).config, 2).unwrap_err().to_string();
    assert!(problem.contains("each of 2 shards (2 pipelines)"), "{problem}");
}

#[test]
fn what_is_in_effect_loads_again() {
    let loaded_once = loaded(TWO, &[], &[]);
    let text = effective(&loaded_once);
    assert!(!text.contains("\nsampling:"), "each pipeline has said it: {text}");
    let mut reloaded = again(&loaded_once.config, &text, &[]);
    reloaded.sampling = loaded_once.config.sampling.clone();
    for (new, old) in reloaded.pipelines.iter_mut().zip(&loaded_once.config.pipelines) {
        for (policy, original) in new.sampling.policies.iter_mut().zip(&old.sampling.policies) {
            policy.line = original.line;
        }
    }
    assert_eq!(reloaded.pipelines, loaded_once.config.pipelines);
}

#[test]
fn wrong_pipelines_are_refused_with_their_line() {
    let refused = |from: &str, to: &str, line: u32, cause: &str| {
        let file = TWO.replacen(from, to, 1);
        assert_ne!(file, TWO);
        refused_with(&file, line, cause);
    };
    refused("decision_wait: 9s", "decision_wat: 9s", 8, "did you mean `decision_wait`?");
    refused("decision_wait: 9s", "decision_wait: soon", 8, "decision_wait");
    refused("[otlp/a, file]", "[otlp/aa]", 4, "there is no exporter of this name; did you mean `otlp/a`?");
    refused("[otlp/a, file]", "[otlp/a, none]", 4, "write one or the other");
    refused("  rest:", "  re.st:", 6, "without a dot");
    refused("  rest:", &format!("  {}:", "x".repeat(81)), 6, "at most 80 characters");
    refused(
        "num_traces: 3000000",
        "strategy: span-ingest\n    rules: [{name: a, sampler: {always_on: }}]",
        8,
        "whole traces",
    );
}

#[test]
fn there_is_a_bound() {
    let pipelines = |count: u32| (0..count).map(|number| format!("  p{number}: {{}}\n")).collect::<String>();
    assert_eq!(loaded(&format!("pipelines:\n{}", pipelines(64)), &[], &[]).config.pipelines.len(), 64);
    let told = problems(&format!("pipelines:\n{}", pipelines(65)), &[], &[]);
    assert!(told[0].contains("64 are the most"), "{told:?}");
}

const COLLECTOR: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  batch:
  tail_sampling/errors:
    decision_wait: 5s
    policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]
  tail_sampling/some:
    policies: [{name: some, type: probabilistic, probabilistic: {sampling_percentage: 10}}]
exporters:
  otlp/a: {endpoint: 'a:1', tls: {insecure: true}}
  otlphttp/b: {endpoint: 'http://b:1'}
  file: {path: all.jsonl}
  debug:
service:
  pipelines:
    traces/errors: {receivers: [otlp], processors: [tail_sampling/errors, batch], exporters: [otlp/a]}
    traces/errors_too: {receivers: [otlp], processors: [tail_sampling/errors], exporters: [otlphttp/b]}
    traces/some: {receivers: [otlp], processors: [batch, tail_sampling/some], exporters: [debug]}
    traces/all: {receivers: [otlp], exporters: [file]}
";

#[test]
fn each_sampler_of_a_collectors_file_is_a_way_of_its_own() {
    let loaded_once = loaded(COLLECTOR, &[], &[]);
    let config = &loaded_once.config;
    let told: Vec<_> = config.pipelines.iter().map(|p| (p.name.as_str(), p.exporters.join(" "))).collect();
    let wanted = [
        ("traces/errors", "otlp/a otlphttp/b".to_string()),
        ("traces/some", "none".to_string()),
        ("traces/all", "file".to_string()),
    ];
    assert_eq!(told, wanted);
    let waits: Vec<u64> = config.samplings().map(|(_, sampling)| sampling.decision_wait.as_secs()).collect();
    assert_eq!(waits, [5, 30, 30], "the Collector's default holds where nothing is written");
    assert_eq!(config.pipelines[2].sampling.policies[0].rule, Rule::AlwaysSample);
    assert!(!config.exporters.file.as_ref().unwrap().signals.metrics, "it stands in a pipeline of traces only");
    let all = &config.by_pipeline()[2].1;
    assert!(all.exporters.otlp.is_empty() && all.exporters.file.is_some());

    let text = effective(&loaded_once);
    let reloaded = again(config, &text, &[]);
    let exporters: Vec<_> = reloaded.pipelines.iter().map(|p| p.exporters.join(" ")).collect();
    assert_eq!(exporters, ["otlp/a otlp/otlphttp-b", "none", "file"]);
    assert_eq!(reloaded.pipelines[0].sampling.decision_wait, Duration::from_secs(5));
    assert_eq!(memory_plan(config, 1).unwrap().pending_bytes_by_pipeline.len(), 3);
}

#[test]
fn the_collectors_defaults_hold_in_each_way_and_problems_name_their_line() {
    let wrong = COLLECTOR.replace("decision_wait: 5s", "decision_wait: soon");
    refused_with(&wrong, 5, "decision_wait");
    let two = COLLECTOR.replace("[tail_sampling/errors, batch]", "[tail_sampling/errors, tail_sampling/some]");
    refused_with(&two, 16, "a second tail_sampling processor in the same pipeline");
    let missing = COLLECTOR.replace("processors: [tail_sampling/errors]", "processors: [tail_sampling/error]");
    refused_with(&missing, 17, "did you mean `tail_sampling/errors`?");
    let metrics = format!(
        "{COLLECTOR}    metrics: {{receivers: [otlp], processors: [tail_sampling/some], exporters: [otlp/a]}}\n"
    );
    refused_with(&metrics, 20, "tail_sampling takes traces only");
}

#[test]
fn a_pipeline_with_nothing_behind_its_name_is_there() {
    let config = loaded("pipelines:\n  a:\n  b: {exporters: [none]}\nsampling: {decision_wait: 3s}\n", &[], &[]).config;
    let waits: Vec<_> = config.samplings().map(|(name, sampling)| (name, sampling.decision_wait.as_secs())).collect();
    assert_eq!(waits, [("a", 3), ("b", 3)]);
}

#[test]
fn policies_of_a_pipeline_stand_above_the_rules_of_sampling() {
    let file =
        "sampling: {rules: [{name: r}]}\npipelines:\n  a: {policies: [{name: p, type: always_sample}]}\n  b: {}\n";
    let config = loaded(file, &[], &[]).config;
    let count = |number: usize| {
        (config.pipelines[number].sampling.policies.len(), config.pipelines[number].sampling.rules.len())
    };
    assert_eq!((count(0), count(1)), ((1, 0), (0, 1)));
    refused_with(&file.replace("a: {", "a: {rules: [{name: q}], "), 3, "keep one of the two");
}

#[test]
fn an_exporter_without_traces_is_told() {
    let both = "pipelines:\n  a: {exporters: [otlp/a]}\n  b: {exporters: [none]}\nexporters:\n  otlp/a: {endpoints: ['http://a:1']}\n";
    assert_eq!(loaded(both, &[], &[]).notes, []);
    assert_eq!(loaded(both, &[], &[("exporters.otlp.endpoints", "http://z:1")]).notes, [], "it is the one there is");
    let told = loaded(both, &[], &[("exporters.file.path", "kept.jsonl")]).notes;
    assert!(told.len() == 1 && told[0].to_string().contains("gets no traces"), "{told:?}");
    let told = loaded(&format!("{both}  otlp/b: {{endpoints: ['http://b:1']}}\n"), &[], &[]).notes;
    assert!(told.len() == 1 && told[0].to_string().contains("exporters.otlp/b"), "{told:?}");
}

#[test]
fn metrics_and_logs_go_where_they_wait() {
    let config = loaded(TWO, &[], &[]).config;
    let each = config.by_pipeline_forwarding(|_| true);
    let (first, second) = (&each[0].1, &each[1].1);
    assert_eq!((names(first), names(second)), (vec!["otlp/a", "otlp/b"], vec!["otlp/a", "otlp/b"]));
    assert!(second.exporters.otlp.iter().all(|exporter| exporter.signals.logs && exporter.signals.metrics));
    assert!(second.exporters.file.as_ref().unwrap().signals.logs);
    let queues = |config: &Config| config.exporters.otlp.iter().map(|exporter| exporter.queue_bytes_max).sum::<u64>();
    assert_eq!(queues(first) + queues(second), queues(&config), "the bounds are the node's");
}

/// A Collector's file with two receivers, three samplers and those pipelines.
fn receivers(pipelines: &str) -> String {
    format!(
        "receivers:\n  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:4317'}}, http: {{endpoint: '127.0.0.1:4318'}}}}}}\n  otlp/internal: {{protocols: {{grpc: {{endpoint: '127.0.0.1:5317', max_recv_msg_size_mib: 8}}}}}}\n  otlp/idle: {{protocols: {{grpc: {{endpoint: '127.0.0.1:6317'}}}}}}\nprocessors:\n  tail_sampling: {{policies: [{{name: a, type: always_sample}}]}}\n  tail_sampling/b: {{policies: [{{name: b, type: status_code, status_code: {{status_codes: [ERROR]}}}}]}}\nexporters:\n  otlp/x: {{endpoint: 'x:4317', tls: {{insecure: true}}}}\n  otlp/y: {{endpoint: 'y:4317', tls: {{insecure: true}}}}\nservice:\n  pipelines: {pipelines}\n"
    )
}

#[test]
fn each_receiver_has_listeners_and_pipelines_of_its_own() {
    let file = receivers(
        "{traces/a: {receivers: [otlp], processors: [tail_sampling], exporters: [otlp/x]}, traces/b: {receivers: [otlp/internal], processors: [tail_sampling], exporters: [otlp/y]}, traces/c: {receivers: [otlp, otlp/internal], processors: [tail_sampling/b], exporters: [otlp/x]}, logs: {receivers: [otlp/internal], exporters: [otlp/y]}}",
    );
    let loaded = loaded(&file, &[], &[]);
    let config = &loaded.config;
    let names: Vec<&str> = config.samplings().map(|(name, _)| name).collect();
    assert_eq!(names, ["traces/a", "traces/b", "traces/c"], "what comes in elsewhere is judged apart");
    let [first, second] = config.all_receivers().collect::<Vec<_>>()[..] else { panic!("two receivers") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("otlp", "otlp/internal"));
    let fed =
        |receivers: &tailwater_config::Receivers| names.iter().map(|name| receivers.feeds(name)).collect::<Vec<_>>();
    assert_eq!((fed(first), fed(second)), (vec![true, false, true], vec![false, true, true]));
    assert!(first.signals.traces && !first.signals.logs && second.signals.logs && !second.signals.metrics);
    assert!(first.http.is_some() && second.http.is_none());
    let grpc = second.grpc.as_ref().unwrap();
    assert_eq!((grpc.endpoint.to_string().as_str(), grpc.limits.request_bytes_max), ("127.0.0.1:5317", 8 * MIB));
    assert!(
        loaded.notes.iter().any(|note| note.key == "receivers.otlp/idle" && note.text.contains("is in no pipeline"))
    );
    let text = effective(&loaded);
    assert!(text.contains("# otlp/internal on 127.0.0.1:5317: traces/b, traces/c\n"), "{text}");
    let other = crate::support::loaded(&file.replace("5317", "5318"), &[], &[]).config;
    assert_eq!(tailwater_config::needs_restart(config, &other), ["receivers"]);

    let same =
        receivers("{traces: {receivers: [otlp, otlp/internal], processors: [tail_sampling], exporters: [otlp/x]}}");
    let config = crate::support::loaded(&same, &[], &[]).config;
    assert!(config.pipelines.is_empty() && config.all_receivers().all(|receivers| receivers.feeds("")));
    assert_eq!(config.open_receivers().count(), 3);

    let clash =
        receivers("{traces: {receivers: [otlp, otlp/internal], exporters: [otlp/x]}}").replace(":5317", ":4318");
    refused_with(&clash, 3, "takes the same port as receivers.otlp.protocols.http.endpoint");
    let apart = receivers(
        "{traces: {receivers: [otlp], exporters: [otlp/x]}, logs/a: {receivers: [otlp], exporters: [otlp/x]}, logs/b: {receivers: [otlp/internal], exporters: [otlp/y]}}",
    );
    refused_with(&apart, 12, "logs that go to other exporters by their receiver are not supported");
}

#[test]
fn names_that_look_alike_in_the_native_form_stay_apart() {
    let file = receivers(
        "{traces/a.b: {receivers: [otlp], processors: [tail_sampling], exporters: [otlp/x]}, traces/a-b: {receivers: [otlp], processors: [tail_sampling/b], exporters: [otlp/y]}}",
    )
    .replace("otlp/x", "otlphttp/x.y")
    .replace("otlp/y", "otlphttp/x-y");
    let loaded = loaded(&file, &[], &[]);
    let text = effective(&loaded);
    let reloaded = again(&loaded.config, &text, &[]);
    let names: Vec<&str> = reloaded.samplings().map(|(name, _)| name).collect();
    assert_eq!(names, ["traces/a-b-2", "traces/a-b"], "{text}");
    let exporters: Vec<&str> = reloaded.exporters.otlp.iter().map(|exporter| exporter.name.as_str()).collect();
    assert_eq!(exporters, ["otlp/otlphttp-x-y", "otlp/otlphttp-x-y-2"]);
    assert_eq!(reloaded.pipelines[0].exporters, [exporters[0]]);
    assert_eq!(reloaded.pipelines[1].exporters, [exporters[1]]);
    assert_eq!(reloaded.pipelines[0].sampling.policies[0].name, "a");
}
