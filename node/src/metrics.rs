//! `/metrics`: the cores' books in Prometheus text format 0.0.4, and in OpenMetrics where it is asked for. Label sets are
//! bounded by configuration; no trace ids.

mod cluster;
mod control;
mod past;
mod reduction;
mod rules;
mod service_graph;
mod summaries;
mod wal;

pub use cluster::counted;
pub use reduction::reduction;

use crate::control::{FileSnapshot, Snapshot};
use crate::gossip::GossipState;
use crate::traffic::SignalBytes;
use crate::{logging, machine};
use std::collections::BTreeMap;
use std::fmt::Write;
use tailwater_dial::Machine;
use tailwater_engine::ledger::{Account, DropReason, Ledger, PolicyCounts, TraceCounts};
use tailwater_proto::otlp::{self, refusal::Cause};

/// What the exposition needs besides the cores' books.
pub struct Facts<'a> {
    /// Each way of traces.
    pub pipelines: &'a [PipelineFacts],
    /// Attempts to change the configuration, by outcome.
    pub reloads: [(&'static str, u64); 3],
    /// Generation of the rules.
    pub generation: u32,
    /// Whether the last attempt left what the file says in force, and when that was, seconds since 1970.
    pub last_reload: (bool, f64),
    /// `uring` or `epoll`.
    pub runtime: &'a str,
    /// Unix time at start, seconds.
    pub started_unix_seconds: f64,
    /// Panics contained in tasks.
    pub task_panics: u64,
    /// Whether the node accepts, decides and exports.
    pub ready: bool,
    /// What the gossip thread does, where there is one.
    pub gossip: Option<&'a GossipState>,
    /// When the node does less.
    pub control: &'a Machine,
}

/// One way of traces.
pub struct PipelineFacts {
    /// Its name; none when it is the only one.
    pub name: String,
    /// Policies by their numbers, those that have gone included: their counts stay. With each, whether it is a shadow.
    pub policies: Vec<(String, bool)>,
}

/// A pipeline with the books of its cores.
struct Books<'a> {
    facts: &'a PipelineFacts,
    sum: Ledger,
    snapshots: Vec<&'a Snapshot>,
}

impl<'a> Books<'a> {
    fn of(facts: &'a PipelineFacts, number: usize, snapshots: &'a [Snapshot]) -> Self {
        let snapshots: Vec<&Snapshot> = snapshots.iter().filter(|snapshot| snapshot.pipeline == number).collect();
        let mut sum = Ledger { policies: vec![Default::default(); facts.policies.len()], ..Ledger::default() };
        snapshots.iter().for_each(|snapshot| sum.add(&snapshot.ledger));
        Self { facts, sum, snapshots }
    }

    /// Labels of a sample of this pipeline: the only one needs no name.
    fn labels(&self, others: impl IntoIterator<Item = (&'static str, String)>) -> Vec<(&'static str, String)> {
        let own = (!self.facts.name.is_empty()).then(|| ("pipeline", self.facts.name.clone()));
        own.into_iter().chain(others).collect()
    }

    fn policies(&self) -> impl Iterator<Item = (&(String, bool), &PolicyCounts)> {
        self.facts.policies.iter().zip(&self.sum.policies).filter(|((name, _), _)| !name.is_empty())
    }

    /// The sum of a number over the cores.
    fn total(&self, read: fn(&Snapshot) -> u64) -> f64 {
        number(self.snapshots.iter().map(|snapshot| read(snapshot)).sum())
    }
}

/// Which text is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The one that an `Accept` header prefers.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes everything.
pub fn expose(snapshots: &[Snapshot], facts: &Facts<'_>, exposition: Exposition) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10), exposition };
    let books: Vec<Books<'_>> =
        facts.pipelines.iter().enumerate().map(|(number, facts)| Books::of(facts, number, snapshots)).collect();
    items(&mut page, &books);
    message_bytes(&mut page, &books);
    traces(&mut page, &books);
    policies(&mut page, &books);
    cores(&mut page, &books);
    exporters(&mut page, snapshots);
    file(&mut page, snapshots);
    receivers(&mut page, snapshots);
    wal::wal(&mut page, &books);
    past::past(&mut page, &books);
    cluster::cluster(&mut page, &books, facts.gossip);
    rules::rules(&mut page, &books);
    summaries::summaries(&mut page, &books);
    service_graph::service_graph(&mut page, &books);
    control::control(&mut page, facts.control);
    configuration(&mut page, facts);
    process(&mut page, facts);
    if exposition == Exposition::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
}

struct Page {
    text: String,
    exposition: Exposition,
}

impl Page {
    /// A family: its head and its samples. Counters are named with `_total`.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'a str, String)>, f64)>,
    ) {
        let word = if kind == Type::Counter { "counter" } else { "gauge" };
        // OpenMetrics names a counter's family without the suffix, the older format with it.
        let family = match (self.exposition, kind) {
            (Exposition::OpenMetrics, Type::Counter) => name.trim_end_matches("_total"),
            _ => name,
        };
        // Writing to a String can't fail.
        _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {word}");
        for (labels, value) in samples {
            self.text.push_str(name);
            for (position, (label, text)) in labels.iter().enumerate() {
                _ = write!(self.text, "{}{label}=\"{}\"", if position == 0 { '{' } else { ',' }, escape(text));
            }
            _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }

    fn single(&mut self, name: &str, kind: Type, help: &str, value: f64) {
        self.family(name, kind, help, [(Vec::new(), value)]);
    }

    /// A family with one sample a pipeline.
    fn each(&mut self, name: &str, kind: Type, help: &str, books: &[Books<'_>], read: impl Fn(&Books<'_>) -> f64) {
        self.family(name, kind, help, books.iter().map(|books| (books.labels([]), read(books))));
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Exact up to 2^53, as every number in these formats.
#[expect(clippy::cast_precision_loss, reason = "the formats know doubles only")]
fn number(value: u64) -> f64 {
    value as f64
}

/// As `number`, of a count that may be negative on one core.
#[expect(clippy::cast_precision_loss, reason = "the formats know doubles only")]
fn signed(value: i64) -> f64 {
    value as f64
}

/// A stage of pending items and how to read it off an account.
type Stage = (&'static str, fn(&Account) -> f64);

/// A signal's name and its account.
type Signal = (&'static str, fn(&Ledger) -> &Account);

/// What is refused, as `SIGNALS` names it.
const REFUSED: [(&str, otlp::Signal); 3] =
    [("spans", otlp::Signal::Traces), ("metric_points", otlp::Signal::Metrics), ("log_records", otlp::Signal::Logs)];

const SIGNALS: [Signal; 3] = [
    ("spans", |ledger| &ledger.spans),
    ("metric_points", |ledger| &ledger.metrics),
    ("log_records", |ledger| &ledger.logs),
];

fn message_bytes(page: &mut Page, books: &[Books<'_>]) {
    let traffic = reduction::traffic(books.iter().flat_map(|books| books.snapshots.iter().copied()));
    let ways = |bytes: &SignalBytes| {
        [("received", bytes.received), ("exported", bytes.exported), ("summary", bytes.summaries)]
    };
    let bytes = SIGNALS.iter().zip(&traffic).flat_map(|((signal, _), bytes)| {
        ways(bytes)
            .map(|(way, bytes)| (vec![("signal", (*signal).to_string()), ("way", way.to_string())], number(bytes)))
    });
    let help = "Bytes of OTLP messages before compression: accepted, sent on as they came, and sent as summaries.";
    page.family("tailwater_message_bytes_total", Type::Counter, help, bytes);
}

fn items(page: &mut Page, books: &[Books<'_>]) {
    let signals = || books.iter().flat_map(|books| SIGNALS.map(|(signal, read)| (books, signal, read(&books.sum))));
    let label = |signal: &str| ("signal", signal.to_string());
    let each = |read: fn(&Account) -> f64| {
        signals().map(move |(books, signal, account)| (books.labels([label(signal)]), read(account)))
    };
    let received = "Items accepted from senders. received = exported + summarised + dropped + pending, by signal.";
    page.family("tailwater_items_received_total", Type::Counter, received, each(|account| number(account.received)));
    let exported = "Items that the next hop took over.";
    page.family("tailwater_items_exported_total", Type::Counter, exported, each(|account| number(account.exported)));
    let summarised = "Metric points and log records that are told in summaries only.";
    page.family(
        "tailwater_items_summarised_total",
        Type::Counter,
        summarised,
        each(|account| number(account.summarised)),
    );
    let dropped = signals().flat_map(|(books, signal, account)| {
        let reasons = DropReason::ALL.into_iter().zip(account.dropped);
        reasons.map(move |(reason, count)| {
            (books.labels([label(signal), ("reason", reason.label().to_string())]), number(count))
        })
    });
    page.family("tailwater_items_dropped_total", Type::Counter, "Items that were not exported, by reason.", dropped);
    let stages: [Stage; 4] = [
        ("buffered", |account| number(account.buffered)),
        ("exporting", |account| number(account.exporting)),
        ("parked", |account| signed(account.parked)),
        ("between_cores", |account| number(account.handed_over) - number(account.taken_over)),
    ];
    let pending = signals().flat_map(|(books, signal, account)| {
        stages.map(move |(stage, read)| (books.labels([label(signal), ("stage", stage.to_string())]), read(account)))
    });
    page.family("tailwater_items_pending", Type::Gauge, "Items held, by stage.", pending);
    let refused =
        "Requests refused whole, and items refused in requests of which the rest was accepted; the sender was told.";
    // Every pipeline scans the same, and what is refused reaches none: it is counted once.
    let counts = books.first().map(|books| &books.sum.refused).cloned().unwrap_or_default();
    let items = REFUSED.map(|(what, signal)| (what, counts.total(signal)));
    let samples = std::iter::once(("requests", counts.requests)).chain(items);
    let samples = samples.map(|(what, count)| (vec![("what", what.to_string())], number(count)));
    page.family("tailwater_refused_total", Type::Counter, refused, samples);
    let help = "Items refused in requests of which the rest was accepted, by cause.";
    let causes = REFUSED.into_iter().flat_map(|(name, signal)| {
        let counts = &counts;
        Cause::ALL.into_iter().map(move |cause| {
            (vec![label(name), ("cause", cause.label().to_string())], number(counts.of(signal, cause)))
        })
    });
    page.family("tailwater_items_refused_total", Type::Counter, help, causes);
    let help = "Names in JSON requests that OTLP does not have; what stood there was passed over.";
    page.single("tailwater_json_names_ignored_total", Type::Counter, help, number(counts.ignored_names));
    let help = "Texts that were not UTF-8; what was not is U+FFFD in what goes on.";
    page.single("tailwater_texts_repaired_total", Type::Counter, help, number(counts.repaired_texts));
}

/// A counter of traces, its help, and how to read it off the books.
type TraceCounter = (&'static str, &'static str, fn(&TraceCounts) -> u64);

const TRACE_COUNTERS: [TraceCounter; 9] = [
    ("tailwater_traces_started_total", "Traces whose first span came.", |counts| counts.started),
    ("tailwater_traces_kept_total", "Traces judged and kept.", |counts| counts.kept),
    ("tailwater_traces_dropped_total", "Traces judged and dropped.", |counts| counts.dropped),
    ("tailwater_traces_decided_early_total", "Traces judged before their time: a bound was reached.", |counts| {
        counts.decided_early
    }),
    (
        "tailwater_verdicts_postponed_total",
        "Times that verdicts waited because the exporters had no room for what is kept.",
        |counts| counts.verdicts_postponed,
    ),
    ("tailwater_traces_decided_at_drain_total", "Traces judged because the node was stopping.", |counts| {
        counts.decided_at_drain
    }),
    (
        "tailwater_verdicts_forgotten_total",
        "Remembered verdicts that gave way to newer ones; a later span begins its trace anew.",
        |counts| counts.verdicts_forgotten,
    ),
    (
        "tailwater_cold_spans_total",
        "Spans of undecided traces whose bytes were given up in memory, to be read from the log if they are kept.",
        |counts| counts.cold_spans,
    ),
    ("tailwater_traces_scanned_again_total", "Traces scanned again because the rules had changed.", |counts| {
        counts.scanned_again
    }),
];

fn traces(page: &mut Page, books: &[Books<'_>]) {
    for (name, help, read) in TRACE_COUNTERS {
        page.each(name, Type::Counter, help, books, |books| number(read(&books.sum.traces)));
    }
    let help = "Traces not yet judged.";
    page.each("tailwater_traces_pending", Type::Gauge, help, books, |books| number(books.sum.traces.pending));
    let late = books.iter().flat_map(|books| {
        let counts = &books.sum.traces;
        let late = [("kept", counts.late_kept_spans), ("dropped", counts.late_dropped_spans)];
        late.map(|(verdict, count)| (books.labels([("verdict", verdict.to_string())]), number(count)))
    });
    page.family("tailwater_late_spans_total", Type::Counter, "Spans that came after their trace's verdict.", late);
}

fn policies(page: &mut Page, books: &[Books<'_>]) {
    // Only shadows have the label, so that a query without it finds the policies that have an effect.
    let labels = |books: &Books<'_>, (name, is_shadow): &(String, bool), more: Option<(&'static str, String)>| {
        let shadow = is_shadow.then(|| ("shadow", "true".to_string()));
        books.labels(std::iter::once(("policy", name.clone())).chain(shadow).chain(more))
    };
    let each = || {
        let named = |books| -> Vec<_> { Books::policies(books).map(|(name, counts)| (books, name, counts)).collect() };
        books.iter().flat_map(named)
    };
    let by_policy = |read: fn(&PolicyCounts) -> u64| {
        each().map(move |(books, name, counts)| (labels(books, name, None), number(read(counts))))
    };
    let votes = each().flat_map(|(books, name, counts)| {
        [("true", counts.matched), ("false", counts.unmatched)]
            .map(|(matched, count)| (labels(books, name, Some(("matched", matched.to_string()))), number(count)))
    });
    page.family("tailwater_policy_votes_total", Type::Counter, "Votes of each policy on judged traces.", votes);
    let help = "Traces on which a policy had no vote, because a condition could not be evaluated.";
    page.family("tailwater_policy_errors_total", Type::Counter, help, by_policy(|counts| counts.failed));
    let help = "Traces kept in the name of a policy: the first that sampled. Of a shadow: those that would have been.";
    page.family("tailwater_policy_traces_kept_total", Type::Counter, help, by_policy(|counts| counts.decided));
    let help = "Spans of the traces kept in the name of a policy.";
    page.family("tailwater_policy_spans_kept_total", Type::Counter, help, by_policy(|counts| counts.decided_spans));
    let help = "Bytes of those spans, as they came.";
    page.family("tailwater_policy_bytes_kept_total", Type::Counter, help, by_policy(|counts| counts.decided_bytes));
    let help = "Traces that no other policy would have kept, of those that were asked: none after the first that samples, where sample_on_first_match or span-ingest says so.";
    page.family("tailwater_policy_traces_kept_alone_total", Type::Counter, help, by_policy(|counts| counts.alone));
}

fn cores(page: &mut Page, books: &[Books<'_>]) {
    let each = |read: fn(&Snapshot) -> u64| {
        books.iter().flat_map(move |books| {
            let cores = books.snapshots.iter();
            let samples = cores.map(|core| (books.labels([("shard", core.shard.to_string())]), number(read(core))));
            samples.collect::<Vec<_>>()
        })
    };
    let help = "Bytes of pending spans and their resources.";
    page.family("tailwater_buffer_bytes", Type::Gauge, help, each(|snapshot| snapshot.buffer_bytes));
    let help = "Bound of tailwater_buffer_bytes.";
    page.family("tailwater_buffer_limit_bytes", Type::Gauge, help, each(|snapshot| snapshot.buffer_bytes_max));
    let help = "Spans taken by each shard.";
    page.family("tailwater_shard_spans_total", Type::Counter, help, each(|snapshot| snapshot.ledger.spans.taken_over));
}

/// Sums samples of equal names over the cores, in the order of their first appearance.
fn summed<'a>(samples: impl Iterator<Item = (&'a str, &'static str, u64)>) -> Vec<(&'a str, &'static str, u64)> {
    let mut sums: Vec<(&str, &'static str, u64)> = Vec::new();
    for (owner, counter, count) in samples {
        match sums.iter_mut().find(|(known, name, _)| (*known, *name) == (owner, counter)) {
            Some(sum) => sum.2 += count,
            None => sums.push((owner, counter, count)),
        }
    }
    sums
}

/// Families whose label is the owner, one for each counter name.
fn by_owner(page: &mut Page, prefix: &str, label: &'static str, help: &str, sums: &[(&str, &'static str, u64)]) {
    let mut names: Vec<&str> = sums.iter().map(|(_, name, _)| *name).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let samples = sums.iter().filter(|(_, counter, _)| *counter == name);
        let samples = samples.map(|(owner, _, count)| (vec![(label, (*owner).to_string())], number(*count)));
        page.family(&format!("{prefix}_{name}_total"), Type::Counter, help, samples);
    }
}

fn exporters(page: &mut Page, snapshots: &[Snapshot]) {
    let all = || snapshots.iter().flat_map(|snapshot| &snapshot.exporters);
    let queues = summed(all().map(|exporter| (exporter.name.as_str(), "queue", exporter.queue_bytes)));
    let queues = queues.iter().map(|(name, _, bytes)| (vec![("exporter", (*name).to_string())], number(*bytes)));
    page.family("tailwater_exporter_queue_bytes", Type::Gauge, "Bytes queued or in flight.", queues);
    let mut breakers: BTreeMap<&str, u64> = BTreeMap::new();
    for exporter in all() {
        let worst = breakers.entry(&exporter.name).or_default();
        *worst = exporter.breaker.max(*worst);
    }
    let breakers = breakers.iter().map(|(name, state)| (vec![("exporter", (*name).to_string())], number(*state)));
    let help = "Breakers of the exporter's servers, the worst on any core: 0 closed, 1 half-open, 2 open.";
    page.family("tailwater_exporter_breaker_state", Type::Gauge, help, breakers);
    let counters = all().flat_map(|exporter| {
        exporter.counters.iter().map(|(counter, count)| (exporter.name.as_str(), *counter, *count))
    });
    by_owner(page, "tailwater_exporter", "exporter", "Counter of an exporter.", &summed(counters));
}

/// A value of the file of kept items, its help, and how to read it.
type FileValue = (&'static str, Type, &'static str, fn(&FileSnapshot) -> u64);

const FILE_VALUES: [FileValue; 4] = [
    ("tailwater_file_queue_bytes", Type::Gauge, "Bytes that wait to be written to the file.", |file| file.queue_bytes),
    ("tailwater_file_rotations_total", Type::Counter, "Times that the file became a backup.", |file| file.rotations),
    ("tailwater_file_backups_deleted_total", Type::Counter, "Backups deleted for their number or age.", |file| {
        file.backups_deleted
    }),
    ("tailwater_file_deleted_bytes_total", Type::Counter, "Bytes in the backups that were deleted.", |file| {
        file.deleted_bytes
    }),
];

/// The file of kept items; all are zero where there is none.
fn file(page: &mut Page, snapshots: &[Snapshot]) {
    let files = || snapshots.iter().filter_map(|snapshot| snapshot.file.as_ref());
    // All cores see the same but for what each had no room for.
    let any = files().next().copied().unwrap_or_default();
    for (name, kind, help, read) in FILE_VALUES {
        page.single(name, kind, help, number(read(&any)));
    }
    let refused = files().map(|file| file.refused).sum();
    let help = "Requests for which the file's queue had no room: set aside in the log, or lost.";
    page.single("tailwater_file_requests_refused_total", Type::Counter, help, number(refused));
}

fn receivers(page: &mut Page, snapshots: &[Snapshot]) {
    let all = || snapshots.iter().flat_map(|snapshot| &snapshot.receivers);
    let open = summed(all().map(|receiver| (receiver.protocol, "open", receiver.connections)));
    let open = open.iter().map(|(name, _, count)| (vec![("protocol", (*name).to_string())], number(*count)));
    page.family("tailwater_receiver_connections", Type::Gauge, "Open connections.", open);
    let counters = all()
        .flat_map(|receiver| receiver.counters.iter().map(|(counter, count)| (receiver.protocol, *counter, *count)));
    by_owner(page, "tailwater_receiver", "protocol", "Counter of a receiver.", &summed(counters));
}

fn configuration(page: &mut Page, facts: &Facts<'_>) {
    let help = "Attempts to change the configuration of the running node, by outcome.";
    let reloads = facts.reloads.map(|(outcome, count)| (vec![("outcome", outcome.to_string())], number(count)));
    page.family("tailwater_config_reloads_total", Type::Counter, help, reloads);
    let help = "Generation of the rules in force; 0 from the start.";
    page.single("tailwater_config_generation", Type::Gauge, help, f64::from(facts.generation));
    let (success, seconds) = facts.last_reload;
    let help = "0 when the configuration was refused the last time it was read.";
    page.single("tailwater_config_last_reload_success", Type::Gauge, help, f64::from(u8::from(success)));
    let help = "When it was last read, seconds since the Unix epoch.";
    page.single("tailwater_config_last_reload_timestamp_seconds", Type::Gauge, help, seconds);
}

fn process(page: &mut Page, facts: &Facts<'_>) {
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_string()), ("runtime", facts.runtime.to_string())];
    page.family("tailwater_build_info", Type::Gauge, "What is running; always 1.", [(labels, 1.0)]);
    let ready = f64::from(u8::from(facts.ready));
    page.single("tailwater_ready", Type::Gauge, "1 while requests are accepted.", ready);
    let help = "Log lines that were held back because lines like them had just been written.";
    page.single("tailwater_log_lines_held_back_total", Type::Counter, help, number(logging::held_back()));
    let help = "Panics contained in tasks; each cost one request.";
    page.single("tailwater_task_panics_total", Type::Counter, help, number(facts.task_panics));
    let help = "Processor time used.";
    page.single("process_cpu_seconds_total", Type::Counter, help, machine::processor_seconds());
    let help = "Resident memory.";
    page.single("process_resident_memory_bytes", Type::Gauge, help, number(machine::resident_bytes()));
    let help = "Start, seconds since the Unix epoch.";
    page.single("process_start_time_seconds", Type::Gauge, help, facts.started_unix_seconds);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ExporterSnapshot;

    fn page(exposition: Exposition, names: &[&str]) -> String {
        let mut snapshot = Snapshot::default();
        snapshot.ledger.spans.received = 5;
        snapshot.ledger.spans.drop_items(DropReason::NotSampled, 3);
        snapshot.ledger.policies = vec![PolicyCounts { matched: 2, ..PolicyCounts::default() }; 2];
        let exporter =
            ExporterSnapshot { name: "otlp".into(), queue_bytes: 7, breaker: 2, counters: vec![("retries", 2)] };
        snapshot.exporters = vec![exporter];
        let policies = vec![("quoted \"name\"".to_string(), false), ("tried".to_string(), true)];
        let first = PipelineFacts { name: names[0].to_string(), policies };
        let others = names[1..].iter().map(|name| PipelineFacts { name: (*name).to_string(), policies: Vec::new() });
        let pipelines: Vec<PipelineFacts> = std::iter::once(first).chain(others).collect();
        let facts = Facts {
            pipelines: &pipelines,
            reloads: [("applied", 1), ("unchanged", 0), ("refused", 0)],
            generation: 1,
            last_reload: (true, 2.5),
            runtime: "epoll",
            started_unix_seconds: 1.5,
            task_panics: 0,
            ready: true,
            gossip: None,
            control: &Machine::default(),
        };
        let other = Snapshot { pipeline: 1, shard: 3, exporters: Vec::new(), ..snapshot.clone() };
        expose(&[snapshot.clone(), snapshot, other], &facts, exposition)
    }

    #[test]
    fn several_pipelines_are_told_apart() {
        let text = page(Exposition::Prometheus, &["errors", "rest"]);
        for line in [
            "tailwater_items_received_total{pipeline=\"errors\",signal=\"spans\"} 10",
            "tailwater_items_received_total{pipeline=\"rest\",signal=\"spans\"} 5",
            "tailwater_policy_votes_total{pipeline=\"errors\",policy=\"tried\",shadow=\"true\",matched=\"true\"} 4",
            "tailwater_traces_pending{pipeline=\"rest\"} 0",
            "tailwater_buffer_bytes{pipeline=\"rest\",shard=\"3\"} 0",
            "tailwater_refused_total{what=\"spans\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn cores_are_summed_and_labels_escaped() {
        let text = page(Exposition::Prometheus, &[""]);
        for line in [
            "tailwater_items_received_total{signal=\"spans\"} 10",
            "tailwater_items_dropped_total{signal=\"spans\",reason=\"not_sampled\"} 6",
            "tailwater_policy_votes_total{policy=\"quoted \\\"name\\\"\",matched=\"true\"} 4",
            "tailwater_policy_votes_total{policy=\"tried\",shadow=\"true\",matched=\"true\"} 4",
            "tailwater_exporter_retries_total{exporter=\"otlp\"} 4",
            "tailwater_exporter_breaker_state{exporter=\"otlp\"} 2",
            "# TYPE tailwater_items_received_total counter",
            "tailwater_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn each_family_appears_once_and_open_metrics_ends() {
        for exposition in [Exposition::Prometheus, Exposition::OpenMetrics] {
            let text = page(exposition, &["", "more"]);
            let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
            let count = types.len();
            types.sort_unstable();
            types.dedup();
            assert_eq!(types.len(), count);
            assert_eq!(text.ends_with("# EOF\n"), exposition == Exposition::OpenMetrics);
        }
        assert!(page(Exposition::OpenMetrics, &[""]).contains("# TYPE tailwater_items_received counter"));
    }
}
