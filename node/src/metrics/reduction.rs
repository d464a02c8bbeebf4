//! `/api/v1/reduction`: how much of what came goes on as it was, and what is still told of the rest.

use super::SIGNALS;
use crate::control::{Snapshot, SummarySnapshot};
use crate::traffic::SignalBytes;
use serde_json::{Map, Value, json};
use tailwater_engine::ledger::Account;
use tailwater_rollup::summary::Visible;

/// What came, and what became of it. `names` are the pipelines', in their order.
pub fn reduction(snapshots: &[Snapshot], names: &[&str]) -> Value {
    let pipelines: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let own = || snapshots.iter().filter(move |snapshot| snapshot.pipeline == number);
            let signals: Map<String, Value> = SIGNALS
                .iter()
                .map(|(signal, read)| {
                    let mut account = Account::default();
                    own().for_each(|snapshot| account.add(read(&snapshot.ledger)));
                    ((*signal).to_string(), told(&account))
                })
                .collect();
            json!({ "name": name, "items": signals })
        })
        .collect();
    let receivers = snapshots.iter().flat_map(|snapshot| &snapshot.receivers).flat_map(|receiver| &receiver.counters);
    let exporters = snapshots.iter().flat_map(|snapshot| &snapshot.exporters).flat_map(|exporter| &exporter.counters);
    let sum = |counters: &mut dyn Iterator<Item = &(&'static str, u64)>, name: &str| -> u64 {
        counters.filter(|(counter, _)| *counter == name).map(|(_, count)| count).sum()
    };
    let (received, sent) =
        (sum(&mut receivers.into_iter(), "request_body_bytes"), sum(&mut exporters.into_iter(), "sent_bytes"));
    json!({
        "pipelines": pipelines,
        "messages": messages(snapshots),
        "bytes": { "received": received, "sent": sent, "share": share(sent, received) },
        "told": summaries(snapshots),
    })
}

fn told(account: &Account) -> Value {
    json!({
        "received": account.received,
        "exported": account.exported,
        "summarised": account.summarised,
        "dropped": account.dropped_total(),
        "pending": i64::try_from(account.pending()).unwrap_or(i64::MAX),
        "share": share(account.exported, account.received),
    })
}

/// A part of what there is; nothing of nothing.
#[allow(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
fn share(part: u64, whole: u64) -> Value {
    if whole == 0 { Value::Null } else { json!(part as f64 / whole as f64) }
}

/// What summaries tell, where there are any.
fn summaries(snapshots: &[Snapshot]) -> Value {
    let parts: Vec<&SummarySnapshot> = snapshots.iter().filter_map(|snapshot| snapshot.summary.as_ref()).collect();
    let sum = |read: fn(&SummarySnapshot) -> u64| parts.iter().map(|part| read(part)).sum::<u64>();
    json!({
        "windows": sum(|part| part.windows),
        "items": sum(|part| part.delivered),
        "span_metric_series": sum(|part| part.span_series),
        "merged_metric_series": sum(|part| part.metric_series),
        "traces_by_shape": sum(|part| part.traces),
        "log_records_by_pattern": sum(|part| part.log_lines),
        "visible": visible(&parts),
    })
}

/// What the last window told apart; the first executor knows.
fn visible(parts: &[&SummarySnapshot]) -> Value {
    let of = |read: fn(&Visible) -> u64| parts.iter().map(|part| read(&part.visible)).sum::<u64>();
    json!({
        "services": of(|visible| visible.spans.services),
        "operations": of(|visible| visible.spans.operations),
        "routes": of(|visible| visible.spans.routes),
        "failing_operations": of(|visible| visible.spans.failing_operations),
        "log_patterns": of(|visible| visible.log_patterns),
        "shapes_of_dropped_traces": of(|visible| visible.shapes),
    })
}

/// Bytes of messages before compression, by signal.
fn messages(snapshots: &[Snapshot]) -> Value {
    let bytes = traffic(snapshots.iter());
    let told = SIGNALS.iter().zip(bytes).map(|((signal, _), SignalBytes { received, exported, summaries })| {
        let share = share(exported + summaries, received);
        let said = json!({
            "received_bytes": received, "exported_bytes": exported, "summary_bytes": summaries, "share": share,
        });
        ((*signal).to_string(), said)
    });
    told.collect::<Map<String, Value>>().into()
}

/// Bytes of messages, by signal.
pub(super) fn traffic<'a>(snapshots: impl Iterator<Item = &'a Snapshot>) -> [SignalBytes; SIGNALS.len()] {
    let mut bytes = [SignalBytes::default(); SIGNALS.len()];
    for snapshot in snapshots {
        bytes.iter_mut().zip(snapshot.traffic).for_each(|(sum, part)| sum.add(part));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ExporterSnapshot, ReceiverSnapshot};
    use tailwater_engine::ledger::DropReason;

    #[test]
    fn cores_are_summed_and_pipelines_told_apart() {
        let mut first = Snapshot::default();
        first.ledger.spans.received = 100;
        first.ledger.spans.exported = 5;
        first.ledger.spans.drop_items(DropReason::NotSampled, 90);
        first.ledger.spans.buffered = 5;
        first.ledger.logs.received = 10;
        first.ledger.logs.summarised = 10;
        first.summary = Some(SummarySnapshot { span_series: 7, delivered: 3, ..SummarySnapshot::default() });
        first.receivers =
            vec![ReceiverSnapshot { protocol: "grpc", connections: 0, counters: vec![("request_body_bytes", 1000)] }];
        first.traffic[2] = SignalBytes { received: 400, exported: 30, summaries: 10 };
        let counters = vec![("sent_bytes", 25), ("retries", 9)];
        first.exporters = vec![ExporterSnapshot { name: "otlp".into(), queue_bytes: 0, breaker: 0, counters }];
        let other = Snapshot { pipeline: 1, summary: None, receivers: Vec::new(), ..first.clone() };
        let said = reduction(&[first.clone(), first, other], &["", "rest"]);
        let spans = &said["pipelines"][0]["items"]["spans"];
        let expected = json!({
            "received": 200, "exported": 10, "summarised": 0, "dropped": 180, "pending": 10, "share": 0.05,
        });
        assert_eq!(*spans, expected);
        assert_eq!(said["pipelines"][0]["items"]["log_records"]["summarised"], 20);
        assert_eq!(said["pipelines"][0]["items"]["metric_points"]["share"], Value::Null);
        assert_eq!(
            (&said["pipelines"][1]["name"], &said["pipelines"][1]["items"]["spans"]["received"]),
            (&json!("rest"), &json!(100))
        );
        assert_eq!(said["bytes"], json!({ "received": 2000, "sent": 75, "share": 0.0375 }));
        let logs = json!({ "received_bytes": 1200, "exported_bytes": 90, "summary_bytes": 30, "share": 0.1 });
        assert_eq!(said["messages"]["log_records"], logs);
        assert_eq!((&said["told"]["span_metric_series"], &said["told"]["items"]), (&json!(14), &json!(6)));
    }
}
