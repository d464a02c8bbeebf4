//! Skeletons against a naive count, spread over cores and takes, and as the reference decoder sees them.

use super::sets::{LOST, Member, Sets};
use super::{DroppedTrace, SkeletonSums, Skeletons, SkeletonsPartial, SkeletonsPlan};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

const PLAN: SkeletonsPlan = SkeletonsPlan { shapes_max: 100 };

/// A trace: where it begins, its spans by service and error, how long it takes.
#[derive(Debug, Clone)]
struct Given {
    root: Option<(String, String, String)>,
    spans: Vec<(String, bool)>,
    nanos: u64,
}

fn drop_trace(skeletons: &mut Skeletons, (entry, number): (u32, u8), given: &Given) {
    skeletons.open(entry);
    for (place, (service, has_error)) in given.spans.iter().enumerate() {
        let service = skeletons.service(service.as_bytes());
        skeletons.note(entry, service, *has_error);
        if let (0, Some((service, name, route))) = (place, &given.root) {
            skeletons.note_root(entry, service.as_bytes(), (name.as_bytes(), route.as_bytes()));
        }
    }
    let spans = given.spans.len() as u32;
    let (start_unix_nano, end_unix_nano) = (1000 + u64::from(number), 1000 + u64::from(number) + given.nanos);
    skeletons.dropped(entry, &DroppedTrace { trace_id: [number; 16], spans, start_unix_nano, end_unix_nano });
}

fn given() -> impl Strategy<Value = Given> {
    let root = prop::option::of(("[ab]", "(GET|PUT)", "(|/x)"));
    let spans = prop::collection::vec(("[a-e]", any::<bool>()), 1..6);
    (root, spans, 0..5_000_000_000u64).prop_map(|(root, spans, nanos)| Given { root, spans, nanos })
}

/// Traces, spans, the slowest.
type Row = (u64, u64, (u64, [u8; 16]));
/// Root, services, services with errors.
type Naive = (Option<(String, String, String)>, BTreeSet<String>, BTreeSet<String>);

fn naive(given: &Given) -> Naive {
    let services = given.spans.iter().map(|(service, _)| service.clone()).collect();
    let errors = given.spans.iter().filter(|(_, has_error)| *has_error).map(|(service, _)| service.clone()).collect();
    (given.root.clone(), services, errors)
}

proptest! {
    /// Fails without the sort in `Skeletons::shape`, the `max` in `Sets::learn`, the merge of rows or of examples.
    #[test]
    fn shapes_are_those_of_a_naive_count_however_traces_are_spread(
        traces in prop::collection::vec((given(), 0..3usize, any::<bool>()), 1..40),
    ) {
        let mut cores: Vec<Skeletons> = (0..3).map(|core| Skeletons::new(PLAN, core)).collect();
        let mut sums = SkeletonSums::new(PLAN);
        let mut expected: BTreeMap<Naive, Row> = BTreeMap::new();
        for (number, (given, core, takes)) in (0u8..).zip(&traces) {
            drop_trace(&mut cores[*core], (u32::from(number % 3), number), given);
            let row = expected.entry(naive(given)).or_default();
            *row = (row.0 + 1, row.1 + given.spans.len() as u64, row.2.max((given.nanos, [number; 16])));
            if *takes {
                let bytes = cores[*core].take().to_bytes();
                sums.merge(SkeletonsPartial::from_bytes(&bytes).unwrap());
            }
        }
        cores.iter_mut().for_each(|core| sums.merge(core.take()));
        let counted: BTreeMap<Naive, _> = sums.to_partial().rows.into_iter().map(|(shape, row)| {
            let root = shape.root.map(|root| (root.service, root.name, root.route));
            let sets = (shape.services.into_iter().collect(), shape.error_services.into_iter().collect());
            ((root, sets.0, sets.1), (row.traces, row.spans, row.example))
        }).collect();
        prop_assert_eq!(counted, expected);
    }

    /// Fails where a trace past a bound is not counted for the overflow.
    #[test]
    fn totals_add_up_past_the_bounds(names in prop::collection::vec("[a-z]{1,3}", 1..60), shapes_max in 0..4usize) {
        let plan = SkeletonsPlan { shapes_max };
        let (mut skeletons, mut sums) = (Skeletons::new(plan, 1), SkeletonSums::new(plan));
        for (number, name) in (0u8..).zip(&names) {
            let given = Given { root: None, spans: vec![(name.clone(), false)], nanos: 1 };
            drop_trace(&mut skeletons, (0, number), &given);
            if number % 7 == 0 {
                sums.merge(skeletons.take());
            }
        }
        sums.merge(skeletons.take());
        prop_assert!(sums.len() <= shapes_max);
        prop_assert_eq!(sums.to_partial().traces(), names.len() as u64);
    }
}

#[test]
fn where_sets_are_full_traces_have_no_shape_until_the_next_window() {
    let mut skeletons = Skeletons::new(SkeletonsPlan { shapes_max: 1 << 20 }, 1);
    let pair = |number: usize| Given {
        root: None,
        spans: vec![(format!("a{}", number % 200), false), (format!("b{}", number / 200), false)],
        nanos: 1,
    };
    // Two steps each and as many sets: more than there is room for.
    for number in 0..40_000 {
        drop_trace(&mut skeletons, (0, number as u8), &pair(number));
    }
    assert!(skeletons.overflowed() > 0);
    skeletons.open(1);
    let epoch = skeletons.epoch();
    assert_eq!(skeletons.take().traces(), 40_000);
    assert_ne!(skeletons.epoch(), epoch, "numbers mean something else");
    let before = skeletons.overflowed();
    let dropped = DroppedTrace { trace_id: [1; 16], spans: 1, start_unix_nano: 1, end_unix_nano: 2 };
    skeletons.note(1, 0, false);
    skeletons.dropped(1, &dropped);
    assert_eq!(skeletons.overflowed(), before + 1, "a trace from before has no shape");
    drop_trace(&mut skeletons, (2, 1), &pair(1));
    assert_eq!(skeletons.overflowed(), before + 1, "there is room again");
}

#[test]
fn a_trace_through_many_services_names_some_and_the_rest_as_one() {
    let mut sets = Sets::new(ahash::RandomState::with_seeds(1, 2, 3, 4));
    let set = (0..100).fold(0, |set, service| sets.with(set, Member::new(service, service == 99)));
    assert_ne!(set, LOST);
    let members = sets.members(set);
    assert_eq!(members.len(), 64);
    assert_eq!(members[63], Member::new(super::names::OTHERS, true));
}

fn attribute<'a>(record: &'a LogRecord, key: &str) -> Option<&'a Value> {
    let found = record.attributes.iter().find(|pair| pair.key == format!("tailwater.skeleton.{key}"))?;
    found.value.as_ref()?.value.as_ref()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let Some(Value::ArrayValue(list)) = value else { return Vec::new() };
    let text = |value: &Value| if let Value::StringValue(text) = value { text.clone() } else { String::new() };
    list.values.iter().filter_map(|value| value.value.as_ref()).map(text).collect()
}

#[test]
fn a_shape_is_a_log_record_of_the_service_it_begins_in() {
    let mut skeletons = Skeletons::new(PLAN, 1);
    let root = Some(("shop".to_string(), "GET /cart".to_string(), "/cart".to_string()));
    let spans = vec![("shop".to_string(), false), ("db".to_string(), true), ("db".to_string(), false)];
    for number in 1..=100 {
        let given = Given { root: root.clone(), spans: spans.clone(), nanos: u64::from(number) * 1_000_000 };
        drop_trace(&mut skeletons, (0, number), &given);
    }
    drop_trace(&mut skeletons, (0, 101), &Given { root: None, spans: vec![("cron".to_string(), false)], nanos: 5 });
    let mut sums = SkeletonSums::new(PLAN);
    sums.merge(skeletons.take());
    let requests = sums.take_requests(99, 1 << 20);
    assert!(sums.is_empty() && requests.len() == 1);
    let request = ExportLogsServiceRequest::decode(requests[0].as_slice()).unwrap();
    let [rootless, shop] = &request.resource_logs[..] else { panic!("two resources: {request:?}") };
    assert!(rootless.resource.as_ref().unwrap().attributes.is_empty());
    let service = shop.resource.as_ref().unwrap().attributes[0].value.as_ref().unwrap().value.as_ref();
    assert_eq!(service, Some(&Value::StringValue("shop".into())));
    assert_eq!(shop.scope_logs[0].scope.as_ref().unwrap().name, super::SCOPE_NAME);
    let [record] = &shop.scope_logs[0].log_records[..] else { panic!("one shape") };
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(body, Some(Value::StringValue("GET /cart of shop, through db, shop; errors in db".into())));
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1000 + 100 + 100_000_000, 99));
    let integer = |key| if let Some(Value::IntValue(value)) = attribute(record, key) { *value } else { -1 };
    let double = |key| if let Some(Value::DoubleValue(value)) = attribute(record, key) { *value } else { -1.0 };
    assert_eq!((integer("count"), integer("spans"), integer("first_unix_nano")), (100, 300, 1001));
    assert_eq!(texts(attribute(record, "services")), ["db", "shop"]);
    assert_eq!(texts(attribute(record, "error_services")), ["db"]);
    assert_eq!(attribute(record, "route"), Some(&Value::StringValue("/cart".into())));
    assert!((double("duration_ms.p50") / 50.0 - 1.0).abs() < 0.05, "{}", double("duration_ms.p50"));
    assert!((double("duration_ms.max") - 100.0).abs() < 1e-9);
    let example = "64".repeat(16);
    assert_eq!(attribute(record, "example_trace_id"), Some(&Value::StringValue(example)), "the slowest");
    let [record] = &rootless.scope_logs[0].log_records[..] else { panic!("one shape") };
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(body, Some(Value::StringValue("no root span, through cron".into())));
    assert_eq!((record.severity_number, attribute(record, "root")), (9, None));
}
