//! Plans that are refused, and what is read of a record.

use super::*;

fn refusal(change: impl FnOnce(&mut PatternsPlan)) -> Option<PatternsError> {
    let mut plan = PatternsPlan::default();
    change(&mut plan);
    Patterns::new(&plan, 1).err()
}

#[test]
fn a_plan_that_cannot_be_followed_is_refused() {
    let mask = |name: &str, regex: &str| Mask { name: name.into(), regex: regex.into() };
    assert_eq!(refusal(|_| {}), None);
    assert_eq!(refusal(|plan| plan.bytes_max = BYTES_MIN - 1), Some(PatternsError::Bytes));
    assert_eq!(refusal(|plan| plan.samples_max = SAMPLES_MAX + 1), Some(PatternsError::Samples));
    assert_eq!(refusal(|plan| plan.values_max = VALUES_MAX + 1), Some(PatternsError::Values));
    assert_eq!(refusal(|plan| plan.masks = vec![mask("a", "b"); MASKS_MAX + 1]), Some(PatternsError::Masks));
    assert_eq!(refusal(|plan| plan.masks = vec![mask("a b", "b")]), Some(PatternsError::MaskName("a b".into())));
    for regex in ["(", "(a{1000}){1000}"] {
        let refused = refusal(|plan| plan.masks = vec![mask("a", regex)]);
        assert!(matches!(refused, Some(PatternsError::MaskRegex { .. })), "{regex}: {refused:?}");
    }
}

#[test]
fn severities_are_ranges() {
    for (number, text, severity) in [
        (0, "", Severity::Unspecified),
        (1, "", Severity::Trace),
        (8, "", Severity::Debug),
        (9, "ERROR", Severity::Info),
        (16, "", Severity::Warn),
        (20, "", Severity::Error),
        (24, "", Severity::Fatal),
        (25, "", Severity::Unspecified),
        (-1, "Warning", Severity::Warn),
        (0, "CRITICAL", Severity::Fatal),
        (0, "err", Severity::Error),
    ] {
        assert_eq!(Severity::of(number, text.as_bytes()), severity, "{number} {text}");
    }
}

#[test]
fn lines_of_services_and_severities_are_counted_apart() {
    let mut patterns = Patterns::new(&PatternsPlan::default(), 1).unwrap();
    let input = |severity_number| PatternInput {
        severity_number,
        severity_text: b"",
        body: Some(AnyValue::Text(b"it began")),
        time_unix_nano: 0,
    };
    for (service, severity) in [(&b"a"[..], 9), (b"a", 10), (b"a", 17), (b"b", 9), (b"a", 9)] {
        patterns.count(service, &input(severity), 5);
    }
    let partial = patterns.take();
    let totals: Vec<_> = partial.totals().collect();
    assert_eq!(totals, [(&b"a"[..], Severity::Info, 3), (b"a", Severity::Error, 1), (b"b", Severity::Info, 1)]);
    assert!(patterns.take().is_empty());
}

/// A thousand services more than there is room for: `<*>` has their lines.
#[test]
fn services_are_bounded() {
    let mut patterns = Patterns::new(&PatternsPlan::default(), 1).unwrap();
    let body = Some(AnyValue::Text(b"it began"));
    let input = PatternInput { severity_number: 9, severity_text: b"", body, time_unix_nano: 5 };
    for service in 0..table::GROUPS_MAX + 1000 {
        patterns.count(service.to_string().as_bytes(), &input, 5);
    }
    let partial = patterns.take();
    let others = partial.totals().find(|(service, _, _)| *service == b"<*>").unwrap().2;
    assert_eq!(others, 1000 + Severity::COUNT as u64);
    assert_eq!(partial.totals().map(|(_, _, count)| count).sum::<u64>(), (table::GROUPS_MAX + 1000) as u64);
}

/// From a request to its patterns: what `PatternInput::from` leaves out of a record is not counted.
#[test]
fn records_of_a_request_are_counted() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue as ProstValue, any_value::Value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;
    use tailwater_proto::otlp::logs::{LogVisitor, RecordFault, logs};

    struct Counting(Patterns);
    impl LogVisitor for Counting {
        fn record(&mut self, facts: &LogFacts<'_>) {
            self.0.count(b"s", &PatternInput::from(facts), 7);
        }
        fn record_refused(&mut self, _: RecordFault) {}
    }
    let record = |text: &str, observed_time_unix_nano| LogRecord {
        body: Some(ProstValue { value: Some(Value::StringValue(text.into())) }),
        severity_text: "WARN".into(),
        observed_time_unix_nano,
        ..Default::default()
    };
    let log_records = vec![record("user 7 in", 5), record("user 8 in", 0), LogRecord::default()];
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..Default::default() }];
    let request = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let mut counting = Counting(Patterns::new(&PatternsPlan::default(), 1).unwrap());
    logs(&request, 1 << 20, &mut counting).unwrap();
    let partial = counting.0.take();
    let rows: Vec<_> =
        partial.rows.iter().map(|row| (row.severity, row.count, row.first_unix_nano, row.last_unix_nano)).collect();
    assert_eq!(rows, [(Severity::Unspecified, 1, 7, 7), (Severity::Warn, 2, 5, 7)]);
}
