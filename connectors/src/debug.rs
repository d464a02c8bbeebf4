//! Kept data for people: lines for the log, for trying things out.

use serde_json::Value;
use tailwater_config::DebugVerbosity;
use tailwater_engine::host::ExportRequest;
use tailwater_proto::otlp::{Signal, json};

/// Lines of one request; the others are counted.
pub const LINES_MAX: usize = 100;
/// Characters of a line.
const LINE_LENGTH_MAX: usize = 2000;

/// The lines of a request, and how many more there would be.
#[must_use]
pub fn lines(request: &ExportRequest, verbosity: DebugVerbosity) -> (Vec<String>, usize) {
    let (word, resources, scopes, items) = match request.signal {
        Signal::Traces => ("spans", "resourceSpans", "scopeSpans", "spans"),
        Signal::Metrics => ("metric points", "resourceMetrics", "scopeMetrics", "metrics"),
        Signal::Logs => ("log records", "resourceLogs", "scopeLogs", "logRecords"),
    };
    let mut lines = Vec::new();
    match verbosity {
        DebugVerbosity::None => return (lines, 0),
        DebugVerbosity::Basic => {
            lines.push(format!("{} {word}, {} bytes", request.items, request.body.len()));
            return (lines, 0);
        }
        DebugVerbosity::Normal | DebugVerbosity::Detailed => {}
    }
    let mut text = Vec::new();
    let parsed = json::from_protobuf(request.signal, &request.body, &mut text);
    let Some(whole) = parsed.ok().and_then(|()| serde_json::from_slice::<Value>(&text).ok()) else { return (lines, 0) };
    let mut more = 0;
    for resource in list(&whole, resources) {
        for scope in list(resource, scopes) {
            for item in list(scope, items) {
                if lines.len() == LINES_MAX {
                    more += 1;
                    continue;
                }
                lines.push(line(resource, item, verbosity == DebugVerbosity::Detailed));
            }
        }
    }
    (lines, more)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// One item: its name and ids, and all the rest where that is wanted.
fn line(resource: &Value, item: &Value, is_detailed: bool) -> String {
    let mut parts = Vec::new();
    for name in ["name", "traceId", "spanId", "parentSpanId", "severityText"] {
        if let Some(text) = item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            parts.push(format!("{name}={text}"));
        }
    }
    if let Some(body) = item.get("body") {
        parts.push(format!("body={}", value(body)));
    }
    if is_detailed {
        let of_resource = resource.get("resource").map(|resource| list(resource, "attributes")).unwrap_or_default();
        for attribute in of_resource.iter().chain(list(item, "attributes")) {
            let key = attribute.get("key").and_then(Value::as_str).unwrap_or_default();
            parts.push(format!("{key}={}", attribute.get("value").map(value).unwrap_or_default()));
        }
        for name in ["gauge", "sum", "histogram", "exponentialHistogram", "summary"] {
            parts.extend(item.get(name).map(|data| format!("{name}={data}")));
        }
    }
    let text = parts.join(" ");
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LINE_LENGTH_MAX).collect()
}

/// An `AnyValue` without the name of its kind, where it is a plain one.
fn value(any: &Value) -> String {
    let plain = any.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next());
    match plain {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => any.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_engine::vocabulary::Destinations;

    fn request(spans: usize) -> ExportRequest {
        let field = |number: u8, content: &[u8]| {
            [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
        };
        let attribute = |key: &str, text: &str| {
            field(9, &[field(1, key.as_bytes()), field(2, &field(1, text.as_bytes()))].concat())
        };
        let span = [field(1, &[7; 16]), field(2, &[8; 8]), field(5, b"GET"), attribute("user", "a\nb")].concat();
        let one = field(1, &field(2, &field(2, &span)));
        let body = one.repeat(spans).into();
        let items = u32::try_from(spans).unwrap();
        ExportRequest {
            signal: Signal::Traces,
            body,
            items,
            units: Vec::new(),
            destinations: Destinations::ALL,
            is_summary: false,
        }
    }

    #[test]
    fn more_is_printed_with_each_level_and_never_more_than_the_bound() {
        let (basic, _) = lines(&request(3), DebugVerbosity::Basic);
        assert!(basic.len() == 1 && basic[0].starts_with("3 spans"), "{basic:?}");
        let (normal, more) = lines(&request(3), DebugVerbosity::Normal);
        assert_eq!((normal.len(), more), (3, 0));
        assert!(normal[0].contains("name=GET") && normal[0].contains("traceId=0707") && !normal[0].contains("user"));
        let (detailed, more) = lines(&request(120), DebugVerbosity::Detailed);
        assert_eq!((detailed.len(), more), (LINES_MAX, 20));
        assert!(detailed[0].contains("user=a b"), "{}", detailed[0]);
        assert_eq!(lines(&request(3), DebugVerbosity::None).0.len(), 0);
    }
}
