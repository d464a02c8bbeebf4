//! Log records of the services of the corpus: twenty kinds of lines, of which each service writes ten. A third belongs to no
//! trace; the others name traces that the generator sends.

use super::identity::{Identity, TraceId};
use super::plan::service_name;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Severity number and text.
type Severity = (i32, &'static str);
const DEBUG: Severity = (5, "DEBUG");
const INFO: Severity = (9, "INFO");
const WARN: Severity = (13, "WARN");
const ERROR: Severity = (17, "ERROR");

/// Lines; `#` is a number, `@` an address, `$` an identifier, `%` a time in milliseconds.
pub const FAMILIES: [(Severity, &str); 20] = [
    (INFO, "request GET /api/v1/products/# took % ms"),
    (INFO, "user $ logged in from @"),
    (INFO, "cart $ has now # items"),
    (INFO, "order $ accepted, total # cents"),
    (INFO, "payment $ authorised by issuer in % ms"),
    (INFO, "shipment $ handed over to carrier #"),
    (INFO, "cache refreshed: # entries in % ms"),
    (INFO, "connection to @ opened"),
    (INFO, "job # started on worker #"),
    (INFO, "job # done in % ms"),
    (DEBUG, "lookup of $ in shard #"),
    (DEBUG, "SELECT returned # rows in % ms"),
    (DEBUG, "retry budget is # of #"),
    (WARN, "slow query: % ms for $"),
    (WARN, "connection to @ lost, attempt #"),
    (WARN, "queue is # deep"),
    (WARN, "price of $ is # hours old"),
    (ERROR, "payment $ declined with code #"),
    (ERROR, "upstream @ did not answer within % ms"),
    (ERROR, "order $ failed: inventory of $ is #"),
];
/// Kinds of lines of each service.
const FAMILIES_PER_SERVICE: usize = 10;
/// One in so many records belongs to no trace.
const WITHOUT_TRACE: u32 = 3;

/// Traces that records may name, and when they are written.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// source of ids
    pub identity: Identity,
    /// sequence number of the first trace
    pub first_trace: u64,
    /// how many there are; none where no traces are sent
    pub traces: u64,
    /// Unix time, nanoseconds
    pub unix_nanos: u64,
}

/// Text as a value.
pub(super) fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

/// A text attribute.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

/// The resource of a service of one worker.
pub(super) fn resource(service: u16, worker: u64) -> Option<Resource> {
    let instance = format!("{worker}");
    let attributes = [("service.name", service_name(service).as_str()), ("service.instance.id", &instance)]
        .map(|(key, value)| attribute(key, value));
    Some(Resource { attributes: attributes.to_vec(), ..Resource::default() })
}

/// A request of so many records of a service, and how many of them belong to a trace.
#[must_use]
pub fn request(
    (service, worker): (u16, u64),
    records: u32,
    moment: Moment,
    random: &mut fastrand::Rng,
) -> (ExportLogsServiceRequest, u64) {
    let mut of_traces = 0;
    let log_records = (0..records).map(|_| {
        let family = (usize::from(service) * 7 + random.usize(0..FAMILIES_PER_SERVICE)) % FAMILIES.len();
        let ((severity_number, severity), template) = FAMILIES[family];
        let mut record = LogRecord {
            time_unix_nano: moment.unix_nanos,
            observed_time_unix_nano: moment.unix_nanos,
            severity_number,
            severity_text: severity.to_owned(),
            body: text(&line(template, random)),
            attributes: vec![attribute("thread.name", &format!("worker-{}", random.u8(0..8)))],
            ..LogRecord::default()
        };
        if moment.traces > 0 && random.u32(0..WITHOUT_TRACE) > 0 {
            let id: TraceId = moment.identity.trace(moment.first_trace.wrapping_add(random.u64(0..moment.traces)));
            record.trace_id = id.to_bytes().to_vec();
            record.span_id = id.span(0).to_vec();
            of_traces += 1;
        }
        record
    });
    let scope = InstrumentationScope { name: "shop.log".to_owned(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: log_records.collect(), ..ScopeLogs::default() }];
    let resource_logs =
        vec![ResourceLogs { resource: resource(service, worker), scope_logs, ..ResourceLogs::default() }];
    (ExportLogsServiceRequest { resource_logs }, of_traces)
}

fn line(template: &str, random: &mut fastrand::Rng) -> String {
    let mut line = String::with_capacity(template.len() + 32);
    for letter in template.chars() {
        match letter {
            '#' => line.push_str(&random.u32(1..100_000).to_string()),
            '@' => line.push_str(&format!("10.{}.{}.{}:8080", random.u8(..), random.u8(..), random.u8(1..))),
            '$' => line.push_str(&format!("{:016x}", random.u64(..))),
            '%' => line.push_str(&format!("{:.1}", f64::from(random.u32(1..50_000)) / 10.0)),
            _ => line.push(letter),
        }
    }
    line
}
