//! The OTLP messages as data: for each field its number, its JSON name, its type and how often it occurs. Source: the
//! .proto files of OTLP 1.11. Fields stand in the order of their numbers, which is the order they are written in.

use crate::otlp::Signal;

/// A message of OTLP.
#[derive(Debug)]
pub(in crate::otlp) struct Message {
    /// Its fields by number.
    pub(in crate::otlp) fields: &'static [Field],
}

impl Message {
    /// True for what is counted: a span, a metric point, a log record.
    pub(in crate::otlp) fn is_item(&'static self) -> bool {
        let items = [
            &SPAN,
            &NUMBER_DATA_POINT,
            &HISTOGRAM_DATA_POINT,
            &EXPONENTIAL_DATA_POINT,
            &SUMMARY_DATA_POINT,
            &LOG_RECORD,
        ];
        items.into_iter().any(|item| std::ptr::eq(item, self))
    }
}

/// A field of a message.
#[derive(Debug)]
pub(in crate::otlp) struct Field {
    /// Number on the wire.
    pub(in crate::otlp) number: u32,
    /// Name in JSON.
    pub(in crate::otlp) name: &'static str,
    /// What it holds.
    pub(in crate::otlp) kind: Kind,
    /// How often it occurs.
    pub(in crate::otlp) presence: Presence,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(in crate::otlp) enum Kind {
    Bool,
    /// `int32` and enumerations that OTLP/JSON writes as numbers.
    Enumeration,
    Int32,
    Uint32,
    Sint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
    Text,
    /// base64 in JSON.
    Bytes,
    /// Hexadecimal in JSON; that many bytes, or none.
    Id(usize),
    Message(&'static Message),
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::otlp) enum Presence {
    /// Once; the zero value is the same as nothing.
    Implicit,
    /// Once or not at all; the zero value is a value.
    Explicit,
    /// As `Explicit`; of a message's fields of this presence at most one is set, the last. No message has two such groups.
    OneOf,
    /// Any number of times; numbers are packed.
    Repeated,
}

/// The request of a signal.
pub(in crate::otlp) fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

const fn once(number: u32, name: &'static str, kind: Kind) -> Field {
    // A message in a singular field is told from no message.
    let presence = if matches!(kind, Kind::Message(_)) { Presence::Explicit } else { Presence::Implicit };
    Field { number, name, kind, presence }
}

const fn optional(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::Explicit }
}

const fn one_of(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::OneOf }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::Repeated }
}

const TRACE_ID: Kind = Kind::Id(16);
const SPAN_ID: Kind = Kind::Id(8);

// -- common and resource --------------------------------------------------------------------------------------------------

static ANY_VALUE: Message = Message {
    fields: &[
        one_of(1, "stringValue", Kind::Text),
        one_of(2, "boolValue", Kind::Bool),
        one_of(3, "intValue", Kind::Int64),
        one_of(4, "doubleValue", Kind::Double),
        one_of(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
        one_of(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        one_of(7, "bytesValue", Kind::Bytes),
        one_of(8, "stringValueStrindex", Kind::Int32),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[many(1, "values", Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[many(1, "values", Kind::Message(&KEY_VALUE))] };

static KEY_VALUE: Message = Message {
    fields: &[
        once(1, "key", Kind::Text),
        once(2, "value", Kind::Message(&ANY_VALUE)),
        once(3, "keyStrindex", Kind::Int32),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        once(1, "name", Kind::Text),
        once(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        once(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        once(2, "droppedAttributesCount", Kind::Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        once(1, "schemaUrl", Kind::Text),
        once(2, "type", Kind::Text),
        many(3, "idKeys", Kind::Text),
        many(4, "descriptionKeys", Kind::Text),
    ],
};

// -- traces ---------------------------------------------------------------------------------------------------------------

static TRACES: Message = Message { fields: &[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "spans", Kind::Message(&SPAN)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SPAN: Message = Message {
    fields: &[
        once(1, "traceId", TRACE_ID),
        once(2, "spanId", SPAN_ID),
        once(3, "traceState", Kind::Text),
        once(4, "parentSpanId", SPAN_ID),
        once(5, "name", Kind::Text),
        once(6, "kind", Kind::Enumeration),
        once(7, "startTimeUnixNano", Kind::Fixed64),
        once(8, "endTimeUnixNano", Kind::Fixed64),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        once(10, "droppedAttributesCount", Kind::Uint32),
        many(11, "events", Kind::Message(&EVENT)),
        once(12, "droppedEventsCount", Kind::Uint32),
        many(13, "links", Kind::Message(&LINK)),
        once(14, "droppedLinksCount", Kind::Uint32),
        once(15, "status", Kind::Message(&STATUS)),
        once(16, "flags", Kind::Fixed32),
    ],
};

static EVENT: Message = Message {
    fields: &[
        once(1, "timeUnixNano", Kind::Fixed64),
        once(2, "name", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        once(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static LINK: Message = Message {
    fields: &[
        once(1, "traceId", TRACE_ID),
        once(2, "spanId", SPAN_ID),
        once(3, "traceState", Kind::Text),
        many(4, "attributes", Kind::Message(&KEY_VALUE)),
        once(5, "droppedAttributesCount", Kind::Uint32),
        once(6, "flags", Kind::Fixed32),
    ],
};

static STATUS: Message = Message { fields: &[once(2, "message", Kind::Text), once(3, "code", Kind::Enumeration)] };

// -- metrics --------------------------------------------------------------------------------------------------------------

static METRICS: Message = Message { fields: &[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))] };

static RESOURCE_METRICS: Message = Message {
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "metrics", Kind::Message(&METRIC)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static METRIC: Message = Message {
    fields: &[
        once(1, "name", Kind::Text),
        once(2, "description", Kind::Text),
        once(3, "unit", Kind::Text),
        one_of(5, "gauge", Kind::Message(&GAUGE)),
        one_of(7, "sum", Kind::Message(&SUM)),
        one_of(9, "histogram", Kind::Message(&HISTOGRAM)),
        one_of(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        one_of(11, "summary", Kind::Message(&SUMMARY)),
        many(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message { fields: &[many(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT))] };

static SUM: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration),
        once(3, "isMonotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&HISTOGRAM_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&EXPONENTIAL_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration),
    ],
};

static SUMMARY: Message = Message { fields: &[many(1, "dataPoints", Kind::Message(&SUMMARY_DATA_POINT))] };

static NUMBER_DATA_POINT: Message = Message {
    fields: &[
        once(2, "startTimeUnixNano", Kind::Fixed64),
        once(3, "timeUnixNano", Kind::Fixed64),
        one_of(4, "asDouble", Kind::Double),
        many(5, "exemplars", Kind::Message(&EXEMPLAR)),
        one_of(6, "asInt", Kind::Sfixed64),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        once(8, "flags", Kind::Uint32),
    ],
};

static HISTOGRAM_DATA_POINT: Message = Message {
    fields: &[
        once(2, "startTimeUnixNano", Kind::Fixed64),
        once(3, "timeUnixNano", Kind::Fixed64),
        once(4, "count", Kind::Fixed64),
        optional(5, "sum", Kind::Double),
        many(6, "bucketCounts", Kind::Fixed64),
        many(7, "explicitBounds", Kind::Double),
        many(8, "exemplars", Kind::Message(&EXEMPLAR)),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        once(10, "flags", Kind::Uint32),
        optional(11, "min", Kind::Double),
        optional(12, "max", Kind::Double),
    ],
};

static EXPONENTIAL_DATA_POINT: Message = Message {
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        once(2, "startTimeUnixNano", Kind::Fixed64),
        once(3, "timeUnixNano", Kind::Fixed64),
        once(4, "count", Kind::Fixed64),
        optional(5, "sum", Kind::Double),
        once(6, "scale", Kind::Sint32),
        once(7, "zeroCount", Kind::Fixed64),
        once(8, "positive", Kind::Message(&BUCKETS)),
        once(9, "negative", Kind::Message(&BUCKETS)),
        once(10, "flags", Kind::Uint32),
        many(11, "exemplars", Kind::Message(&EXEMPLAR)),
        optional(12, "min", Kind::Double),
        optional(13, "max", Kind::Double),
        once(14, "zeroThreshold", Kind::Double),
    ],
};

static BUCKETS: Message = Message { fields: &[once(1, "offset", Kind::Sint32), many(2, "bucketCounts", Kind::Uint64)] };

static SUMMARY_DATA_POINT: Message = Message {
    fields: &[
        once(2, "startTimeUnixNano", Kind::Fixed64),
        once(3, "timeUnixNano", Kind::Fixed64),
        once(4, "count", Kind::Fixed64),
        once(5, "sum", Kind::Double),
        many(6, "quantileValues", Kind::Message(&VALUE_AT_QUANTILE)),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        once(8, "flags", Kind::Uint32),
    ],
};

static VALUE_AT_QUANTILE: Message =
    Message { fields: &[once(1, "quantile", Kind::Double), once(2, "value", Kind::Double)] };

static EXEMPLAR: Message = Message {
    fields: &[
        once(2, "timeUnixNano", Kind::Fixed64),
        one_of(3, "asDouble", Kind::Double),
        once(4, "spanId", SPAN_ID),
        once(5, "traceId", TRACE_ID),
        one_of(6, "asInt", Kind::Sfixed64),
        many(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
    ],
};

// -- logs -----------------------------------------------------------------------------------------------------------------

static LOGS: Message = Message { fields: &[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))] };

static RESOURCE_LOGS: Message = Message {
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_LOGS: Message = Message {
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static LOG_RECORD: Message = Message {
    fields: &[
        once(1, "timeUnixNano", Kind::Fixed64),
        once(2, "severityNumber", Kind::Enumeration),
        once(3, "severityText", Kind::Text),
        once(5, "body", Kind::Message(&ANY_VALUE)),
        many(6, "attributes", Kind::Message(&KEY_VALUE)),
        once(7, "droppedAttributesCount", Kind::Uint32),
        once(8, "flags", Kind::Fixed32),
        once(9, "traceId", TRACE_ID),
        once(10, "spanId", SPAN_ID),
        once(11, "observedTimeUnixNano", Kind::Fixed64),
        once(12, "eventName", Kind::Text),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_of_their_numbers() {
        let mut seen: Vec<*const Message> = Vec::new();
        let mut open = vec![&TRACES, &METRICS, &LOGS];
        while let Some(message) = open.pop() {
            if seen.contains(&std::ptr::from_ref(message)) {
                continue;
            }
            seen.push(message);
            assert!(message.fields.windows(2).all(|pair| pair[0].number < pair[1].number), "{message:?}");
            for field in message.fields {
                if let Kind::Message(inner) = field.kind {
                    open.push(inner);
                }
            }
        }
        // 7 shared ones, 7 of traces, 16 of metrics, 4 of logs.
        assert_eq!(seen.len(), 34);
    }
}
