//! What intake makes of requests with something wrong above their spans.

mod for_all;

use super::*;
use crate::vocabulary::SpanRecord;
use tailwater_config::sampling::Sampling;
use tailwater_proto::otlp::refusal::Cause;
use tailwater_proto::otlp::wire::put_header;

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, number, content.len());
    out.extend_from_slice(content);
    out
}

fn span(trace: u8, name: &[u8]) -> Vec<u8> {
    field(2, &[field(1, &[trace; 16]), field(2, &[7; 8]), field(5, name)].concat())
}

/// Spans in a scope of that name under a resource with an attribute of that value.
fn under(resource: &[u8], scope: &[u8], spans: &[Vec<u8>]) -> Vec<u8> {
    let attribute = field(1, &[field(1, b"k"), field(2, &field(1, resource))].concat());
    field(1, &[field(1, &attribute), field(2, &[field(1, &field(1, scope)), spans.concat()].concat())].concat())
}

fn scan(body: Vec<u8>) -> Result<Scanned, IntakeError> {
    let rules = Rules::compile(&Sampling::default()).unwrap();
    Intake::new(Route::new([1, 2, 3, 4], 1), 1 << 20, &rules).scan(&Bytes::from(body), &rules)
}

/// The trace of each accepted span, with its unit and its name as it leaves.
fn accepted(scanned: &Scanned) -> Vec<(u8, u32, String)> {
    let of = |batch: &SpanBatch| {
        let name = |record: &SpanRecord| {
            let span = &batch.body[record.offset as usize..][..record.length as usize];
            let name = span.windows(2).rposition(|pair| pair[0] == 0x2a && usize::from(pair[1]) < span.len()).unwrap();
            String::from_utf8(span[name + 2..].to_vec()).unwrap()
        };
        batch.spans.iter().map(|record| (record.trace_id[0], record.position, name(record))).collect::<Vec<_>>()
    };
    scanned.batches.iter().flat_map(|(_, batch)| of(batch)).collect()
}

#[test]
fn text_that_is_not_utf8_is_repaired_and_costs_nothing() {
    for (resource, scope, name) in
        [(&b"a\xc3"[..], &b"s"[..], &b"n"[..]), (b"r", b"\xff", b"n"), (b"r", b"s", b"n\xc3")]
    {
        let broken = under(resource, scope, &[span(2, name), span(3, b"z")]);
        let scanned = scan([under(b"r", b"s", &[span(1, b"a")]), broken].concat()).unwrap();
        let expected = String::from_utf8_lossy(name).into_owned();
        let all = [(1, 0, "a".to_string()), (2, 1, expected), (3, 2, "z".to_string())];
        assert_eq!(accepted(&scanned), all);
        assert_eq!(
            (scanned.refused, scanned.refusals.total(), scanned.fault.is_none(), scanned.repaired),
            (0, 0, true, 1)
        );
    }
}

#[test]
fn a_bad_resource_or_scope_costs_the_spans_under_it() {
    // A resource, or a scope, with a number where its attribute, or its name, should be.
    let bad_resource = field(1, &[field(1, &[8, 1]), field(2, &[span(2, b"x"), span(3, b"x")].concat())].concat());
    let bad_scope = field(1, &field(2, &[field(1, &[8, 1]), span(2, b"x"), span(3, b"x")].concat()));
    for bad in [bad_resource, bad_scope] {
        let good = under(b"r", b"s", &[span(1, b"a"), field(2, &field(1, &[9; 3])), span(4, b"b")]);
        let scanned = scan([bad, good].concat()).unwrap();
        // Units are the spans that are left, so that they have the same numbers whenever the request is read.
        assert_eq!(accepted(&scanned), [(1, 0, "a".to_string()), (4, 2, "b".to_string())]);
        assert_eq!((scanned.accepted, scanned.refused, scanned.units()), (2, 1, 3));
        assert_eq!((scanned.refusals.of(Cause::Structure), scanned.refusals.of(Cause::Id)), (2, 1));
        assert_eq!(scanned.missing_positions(), [1]);
        let (place, fault) = scanned.fault.unwrap();
        assert!(place.starts_with("resourceSpans[0]") && matches!(fault, SpanFault::Part(Fault::Wire(_))), "{place}");
    }
}

#[test]
fn a_request_that_is_cut_short_is_refused_whole() {
    let whole = under(b"r\xff", b"s", &[span(1, b"a")]);
    assert!(matches!(scan(whole[..whole.len() - 1].to_vec()), Err(IntakeError::Malformed(_))));
    assert!(matches!(scan(field(1, &[0x0a, 200, 1])), Err(IntakeError::Malformed(_))));
}

#[test]
fn a_value_nested_too_deep_in_a_resource_costs_the_spans_under_it() {
    let mut value = field(1, b"v");
    for _ in 0..40 {
        value = field(5, &field(1, &value));
    }
    let attribute = field(1, &[field(1, b"k"), field(2, &value)].concat());
    let deep = field(1, &[field(1, &attribute), field(2, &span(2, b"x"))].concat());
    let scanned = scan([deep, under(b"r", b"s", &[span(1, b"a")])].concat()).unwrap();
    assert_eq!(accepted(&scanned), [(1, 0, "a".to_string())]);
    assert_eq!(scanned.refusals.of(Cause::Nesting), 1);
}

mod passing {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;
    use tailwater_proto::otlp::Signal;

    fn request(records: &[&str]) -> Bytes {
        let record = |text: &&str| LogRecord { event_name: (*text).to_owned(), ..LogRecord::default() };
        let scope = ScopeLogs { log_records: records.iter().map(record).collect(), ..ScopeLogs::default() };
        let resource_logs = vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
    }

    fn scanned(body: &Bytes) -> Scanned {
        super::super::passing::scan(Signal::Logs, body).unwrap()
    }

    const LONG: [&str; 3] =
        ["the first record of the three", "the second of those three ones", "the third and last of them all"];

    /// Were all of the request sent again, or what is left counted as before, this would fail: `Passing::retain`.
    #[test]
    fn wanted_items_are_read_again_and_no_others() {
        let body = request(&LONG);
        assert_eq!(scanned(&body).units(), 3);
        let again = scanned(&body).again(3, |position| position != 1).unwrap().passing.unwrap();
        assert_eq!((again.items, &again.units[..]), (2, &[0, 2][..]));
        assert_eq!(again.body, request(&[LONG[0], LONG[2]]));
        assert_eq!(scanned(&body).again(3, |_| true).unwrap().passing.unwrap().body, body);
        assert!(scanned(&body).again(3, |_| false).is_none(), "nothing is left");
        assert!(scanned(&body).again(2, |_| true).is_none(), "it is another request");
    }

    /// Versions before 5 of the log have one unit for the whole of a request: `Passing::is_logged_as`.
    #[test]
    fn a_request_that_was_logged_as_a_whole_is_read_as_a_whole() {
        let body = request(&LONG);
        let whole = scanned(&body).again(1, |position| position == 0).unwrap().passing.unwrap();
        assert_eq!((whole.items, &whole.units[..], &whole.body), (3, &[0][..], &body));
        assert!(scanned(&body).again(1, |_| false).is_none());
    }

    /// Without `BYTES_PER_UNIT_MIN` what is known of the units would take ten times the request.
    #[test]
    fn very_small_items_are_one_unit() {
        let scanned = scanned(&request(&["x"; 1000]));
        assert_eq!((scanned.accepted, scanned.units()), (1000, 1));
    }
}
