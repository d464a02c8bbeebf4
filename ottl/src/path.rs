//! Paths: the names by which a condition looks at fields.

use super::error::OttlError;
use super::field::{Context, Field};
use super::syntax::Segment;

const SPAN: &[(&str, Field)] = &[
    ("trace_id", Field::TraceId),
    ("trace_id.string", Field::TraceIdText),
    ("span_id", Field::SpanId),
    ("span_id.string", Field::SpanIdText),
    ("parent_span_id", Field::ParentSpanId),
    ("parent_span_id.string", Field::ParentSpanIdText),
    ("trace_state", Field::TraceState),
    ("name", Field::Name),
    ("kind", Field::Kind),
    ("kind.string", Field::KindText),
    ("kind.deprecated_string", Field::KindSymbol),
    ("start_time", Field::StartTime),
    ("start_time_unix_nano", Field::StartTimeUnixNano),
    ("end_time", Field::EndTime),
    ("end_time_unix_nano", Field::EndTimeUnixNano),
    ("attributes", Field::Attributes),
    ("dropped_attributes_count", Field::DroppedAttributesCount),
    ("events", Field::Events),
    ("dropped_events_count", Field::DroppedEventsCount),
    ("links", Field::Links),
    ("dropped_links_count", Field::DroppedLinksCount),
    ("status", Field::Status),
    ("status.code", Field::StatusCode),
    ("status.message", Field::StatusMessage),
    ("flags", Field::Flags),
];

const SPAN_EVENT: &[(&str, Field)] = &[
    ("name", Field::EventName),
    ("time", Field::EventTime),
    ("time_unix_nano", Field::EventTimeUnixNano),
    ("attributes", Field::EventAttributes),
    ("dropped_attributes_count", Field::EventDroppedAttributesCount),
    ("event_index", Field::EventIndex),
    ("cache", Field::Cache),
];

const RESOURCE: &[(&str, Field)] = &[
    ("attributes", Field::ResourceAttributes),
    ("dropped_attributes_count", Field::ResourceDroppedAttributesCount),
    ("schema_url", Field::ResourceSchemaUrl),
];

const SCOPE: &[(&str, Field)] = &[
    ("name", Field::ScopeName),
    ("version", Field::ScopeVersion),
    ("attributes", Field::ScopeAttributes),
    ("dropped_attributes_count", Field::ScopeDroppedAttributesCount),
    ("schema_url", Field::ScopeSchemaUrl),
];

/// Names that a path of `context` may begin with.
fn contexts(context: Context) -> &'static [&'static str] {
    match context {
        Context::Span => &["span", "resource", "instrumentation_scope", "scope", "otelcol"],
        Context::SpanEvent => &["spanevent", "span", "resource", "instrumentation_scope", "scope", "otelcol"],
    }
}

fn fields(name: &str) -> &'static [(&'static str, Field)] {
    match name {
        "span" => SPAN,
        "spanevent" => SPAN_EVENT,
        "resource" => RESOURCE,
        "scope" | "instrumentation_scope" => SCOPE,
        _ => &[],
    }
}

/// A path without its context's name, and what it leads to. The keys stay with the segments.
pub(super) fn resolve(segments: &[Segment], context: Context) -> Result<(Field, &[Segment]), OttlError> {
    let Some((first, rest)) = segments.split_first() else { return Err(OttlError::new(0, "an empty path")) };
    let is_context = !rest.is_empty() && first.keys.is_empty() && contexts(context).contains(&first.name.as_str());
    let (name, path) = if is_context { (first.name.as_str(), rest) } else { (context.name(), segments) };
    if name == "otelcol" {
        return Err(OttlError::new(first.offset, "otelcol paths have no value where traces are judged"));
    }
    let joined = path.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    if let Some((_, field)) = fields(name).iter().find(|(known, _)| *known == joined) {
        return Ok((*field, path));
    }
    if joined == "cache" && name == context.name() {
        return Ok((Field::Cache, path));
    }
    Err(unknown(name, &joined, first, is_context, context))
}

fn unknown(name: &str, joined: &str, first: &Segment, is_context: bool, context: Context) -> OttlError {
    let error = OttlError::new(first.offset, format!("{name} has no field {joined}"));
    if !is_context && context == Context::Span && (first.name == "spanevent" || first.name == "span_event") {
        return error.hint("conditions on events stand under spanevent");
    }
    let attribute = "attributes are looked up as attributes[\"key\"]";
    if joined.starts_with("attributes.") {
        return error.hint(attribute);
    }
    match crate::suggest::nearest(joined, fields(name).iter().map(|(known, _)| *known)) {
        Some(nearest) => error.hint(format!("did you mean {name}.{nearest}?")),
        None if !is_context => error.hint(attribute),
        None => error,
    }
}
