//! The reference page of the configuration, written from the catalogue and the Collector tables so that neither can say
//! something else than the program does.

use std::fmt::Write;

use crate::catalogue::{Kind, Knob, knobs};
use crate::collector::reference_rows;
use crate::value::{show_bytes, show_duration};

const HEAD: &str = "\
# Configuration

This page is written by the program from its catalogue of knobs (`tailwater_config::reference_page`); a test compares the
two.

A value is taken from the first place that has it: a command line flag, an environment variable, the configuration
file, the default. Every key below can be written in all three:

| place | `sampling.decision_wait` is written |
| --- | --- |
| flag | `--sampling-decision-wait 30s` |
| environment | `TAILWATER_SAMPLING_DECISION_WAIT=30s` |
| file | `sampling:` and below it `decision_wait: 30s` |

With nothing written at all the program is useful: it listens on 127.0.0.1:4317 (gRPC) and 127.0.0.1:4318 (HTTP), keeps
errors, traces longer than a second and one in twenty of the rest, and writes them to `kept.jsonl` in the data directory.
To be reached from other machines set `otlp.grpc.endpoint` to `0.0.0.0:4317` and `otlp.http.endpoint` to `0.0.0.0:4318`.

Durations are written as in Go (`500ms`, `10s`, `1m30s`), sizes in bytes or with a unit (`64MiB`, `1.5GiB`, `8G`; `KB`, `MB`,
`GB` are powers of 1000, all others of 1024), whole numbers with underscores where they help (`100_000`). Values of the
file are expanded as by the Collector: `${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}`, `${yaml:TEXT}`, and `$$` for a
dollar sign. `tailwater check` prints the configuration in effect, where each value was
written, and the memory plan.

```yaml
otlp:
  grpc: {endpoint: 0.0.0.0:4317}
  http: {endpoint: 0.0.0.0:4318}
sampling:
  decision_wait: 10s
  policies:
    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
    - {name: slow, type: latency, latency: {threshold_ms: 1000}}
    - {name: sample, type: probabilistic, probabilistic: {sampling_percentage: 5}}
exporters:
  otlp:
    endpoints: [\"http://collector:4317\"]
```
";

const RECEIVERS: &str = "\
An endpoint may be a name: its addresses are looked up at the start, and each that is one of this machine's is listened on.
`localhost` is 127.0.0.1 and, where the machine has it, ::1. `:4317` is every IPv4 address, `[::]:4317` every address.
";

const COMMANDS: &str = "\
## Commands

What is given to a command besides the keys below, which `run`, `check` and `doctor` take:

| command | argument | effect |
| --- | --- | --- |
| `run`, `check`, `doctor` | `--config FILE`, `-c` | The configuration file, native or the Collector's; without it the one that `TAILWATER_CONFIG` names, if any. |
| `run` | `--repair` | Set files of the log aside that cannot be read, and start without them. |
| `check` | `--explain` | Print the Collector's policies as rules, or rules as the Collector's policies. |
| `doctor`, `explain`, `try`, `log dump` | `--json` | Print JSON in place of text. |
| `doctor` | `--peers` | Test only the ways to the other nodes of the cluster, such as beside a node that runs. |
| `explain` | `TRACE ID` | The trace that is asked for, 32 hexadecimal digits. |
| `explain` | `--admin-endpoint HOST:PORT` | The node that is asked. |
| `recall` | `TRACE ID` | Traces that are asked for, 32 hexadecimal digits each. |
| `recall` | `--since TIME`, `--until TIME` | Received then: RFC 3339, seconds since 1970, or `10m` for ten minutes ago. |
| `recall` | `--service TEXT`, `--name TEXT`, `--match KEY=VALUE` | What one span of a trace is to be like. |
| `recall` | `--limit NUMBER` | Most traces, 100 where it is not given. |
| `recall` | `--send`, `--pipeline NAME` | Keep those that were dropped after all and send them to the exporters, in all pipelines or this one. |
| `recall` | `--again` | With `--send`: send those once more that were recalled before. |
| `recall` | `--admin-endpoint HOST:PORT`, `--data-dir PATH` | The node that is asked; the directory that is read where none answers. |
| `recall` | `--format summary`, `--format json` | A line a trace, or OTLP/JSON. |
| `try` | `--config FILE`, `-c` | The configuration whose rules are tried. |
| `try` | `--against FILE` | Another configuration, to tell what is different. |
| `try` | `FILE` | Captured traces: OTLP as JSON lines or protobuf, segments of a log, or a data directory. |
| `log dump` | `PATH` | A segment, or the directory of the log. |
| `log verify` | `DIRECTORY` | The directory of the log, or the data directory. |
| every one | `--help`, `-h` | Say what it takes. |
| none | `--version`, `-V` | Print the version and the commit that the program was built from. |
";

const EXPORTERS: &str = "\
Several exporters are written in the file as `exporters.otlp/NAME`, each with the keys below; every one receives all that
is kept. A flag or variable for `exporters.otlp` means the only exporter there is, whatever its name.

When neither file nor flag nor `TAILWATER_` variable names an endpoint, the variables of the OpenTelemetry SDKs are
understood: `OTEL_EXPORTER_OTLP_ENDPOINT`, `_HEADERS`, `_COMPRESSION`, `_TIMEOUT`, `_PROTOCOL`, `_CERTIFICATE`,
`_CLIENT_CERTIFICATE`, `_CLIENT_KEY`, `_INSECURE`, and each with `TRACES`, `METRICS` or `LOGS` in its name.

Retries begin sooner than the Collector's (after 1 s, not 5 s): most restarts of a server are over by then, and a short
queue needs less memory. A Collector file keeps the Collector's waits.
";

const PIPELINES: &str = "\
Traces may go several ways through one node, each with policies of its own: the file then has `pipelines.NAME`, with the
keys below for each (`pipelines.errors.decision_wait`), and `exporters`, a list of names: those of the OTLP exporters,
`file` for the embedded one, `none` for none; left out, all that take traces. What a pipeline does not say is as
`sampling` says. Every pipeline gets every span, judges it by itself, has a journal of its own (`log-NAME` in the data
directory; the requests in `requests` are shared), and a part of the memory for pending traces as it may hold traces
(`num_traces`); `explain.verdicts_max` is divided equally. A sender is answered when all have taken over what it sent.
Metrics and logs take the first pipeline. Flags and variables for `sampling` hold in every pipeline.

```yaml
pipelines:
  errors:
    exporters: [otlp/pager]
    policies:
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
  baseline:
    exporters: [otlp/archive]
    decision_wait: 30s
    policies:
      - {name: sample, type: probabilistic, probabilistic: {sampling_percentage: 1}}
```
";

const WAL: &str = "\
Where a receiver's `ack` is `written` or `synced`, what it takes is written to the log in `data_directory` before the
sender is answered, and stays there until it has been dropped or delivered. What exporters cannot deliver now waits there,
too. (`log.level` and `log.format` are about the program's own lines.)
";

const CLUSTER: &str = "\
How several nodes judge each trace as one: [cluster.md](cluster.md). None of these keys changes at a reload, but for what
stands in `cluster.key_file`.
";

const COLLECTOR: &str = "\
## The Collector's file

A file with `receivers`, `processors` or `service` is read as the OpenTelemetry Collector's. The parts that its traces,
metrics and logs pipelines name are taken; the Collector's defaults hold (`decision_wait` 30s, `num_traces` 50000, no
decision caches, first retry after 5s), except that a request may have 64 MiB unless the file says less. Flags and
`TAILWATER_` variables stand above it. Pipelines of traces with different samplers, or with and without one, are
different ways through the node (see `pipelines` above), named as the first pipeline with that sampler. The connector
`spanmetrics` is `summaries.span_metrics`: it counts all spans that come, so that it must be exporter of pipelines with every
receiver of traces, and counts each span once, kept or not; so is `servicegraph` `summaries.service_graph`. `${env:NAME}`, `${NAME}`, `${env:NAME:-default}` and `$$` are expanded.

What has no effect is named at start, key by key with its line. What would change what is received, kept or sent if it
were passed over is refused in the same way: other receivers, exporters and connectors, processors besides
`tail_sampling`, `batch`, `memory_limiter` and `groupbytrace`, and types of policy that come from extensions.

| key | becomes |
| --- | --- |
";

/// Title and text of a section, and whether a path belongs to it.
type Section = (&'static str, &'static str, fn(&str) -> bool);

/// The reference page, Markdown.
#[must_use]
pub fn reference_page() -> String {
    let knobs = knobs();
    let mut page = format!("{HEAD}\n{COMMANDS}");
    let sections: [Section; 10] = [
        ("The process", "", |path| {
            !path.contains('.') || ["log.", "admin.", "explain."].iter().any(|section| path.starts_with(section))
        }),
        ("Receivers", RECEIVERS, |path| path.starts_with("otlp.")),
        ("Sampling", PIPELINES, |path| path.starts_with("sampling.")),
        ("Logs and summaries", "", |path| path.starts_with("logs.") || path.starts_with("summaries.")),
        ("Control", "", |path| path.starts_with("control.")),
        ("The log", WAL, |path| path.starts_with("wal.")),
        ("The cluster", CLUSTER, |path| path.starts_with("cluster.")),
        ("Memory", "", |path| path.starts_with("memory.") || path.starts_with("mesh.")),
        ("Embedded exporters", "", |path| {
            ["exporters.file.", "exporters.debug."].iter().any(|section| path.starts_with(section))
        }),
        ("OTLP exporters", EXPORTERS, |path| path.starts_with("exporters.otlp.")),
    ];
    for (title, text, belongs) in sections {
        let _ = writeln!(page, "\n## {title}\n");
        if !text.is_empty() {
            let _ = writeln!(page, "{text}");
        }
        page.push_str("| key | default | takes | effect |\n| --- | --- | --- | --- |\n");
        for knob in knobs.iter().filter(|knob| belongs(&knob.path)) {
            row(&mut page, knob);
        }
    }
    let _ = write!(page, "\n{COLLECTOR}");
    for (key, becomes) in reference_rows() {
        let _ = writeln!(page, "| `{key}` | {becomes} |");
    }
    page
}

fn row(page: &mut String, knob: &Knob) {
    let default = match knob.default.as_str() {
        "" => "none".to_string(),
        text if text.contains(' ') => text.to_string(),
        text => format!("`{text}`"),
    };
    let mut effect = knob.effect.to_string();
    if knob.flag != knob.path.replace(['.', '_'], "-") {
        let _ = write!(effect, " Flag `--{}`, variable `{}`.", knob.flag, knob.environment);
    }
    let _ = writeln!(page, "| `{}` | {default} | {} | {effect} |", knob.path, takes(knob.kind));
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Bool => "`true`, `false`".to_string(),
        Kind::Count { min, max } => format!("whole number, {min} to {max}"),
        Kind::Bytes { min, max } => format!("size, {} to {}", show_bytes(min), show_bytes(max)),
        Kind::Duration { min, max } => format!("duration, {} to {}", show_duration(min), show_duration(max)),
        Kind::Number { min, max } => format!("number, {min} to {max}"),
        Kind::Text | Kind::Secret => "text".to_string(),
        Kind::Path => "path".to_string(),
        Kind::Address => "host:port".to_string(),
        Kind::Addresses => "list of host:port".to_string(),
        Kind::Choice(choices) => choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
        Kind::List => "list of text".to_string(),
        Kind::Statuses => "list of HTTP statuses".to_string(),
        Kind::Headers => "text by name".to_string(),
        Kind::Policies => "list of policies".to_string(),
        Kind::Rules | Kind::MetricRules => "list of rules".to_string(),
        Kind::Triggers => "list of triggers".to_string(),
    }
}
