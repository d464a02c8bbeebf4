//! The OTLP messages as data: for each field its number, its JSON name, its type and how often it occurs. Source: the
//! .proto files of OTLP 1.11. Fields stand in the order of their numbers, which is the order they are written in.

use crate::otlp::Signal;

/// A message of OTLP.
#[derive(Debug)]
pub(in crate::otlp) struct Message {
    /// What a fault in it costs.
    pub(in crate::otlp) role: Role,
    /// Its fields by number.
    pub(in crate::otlp) fields: &'static [Field],
}

/// What a message is among the items of a request, and so what a fault in it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::otlp) enum Role {
    /// The request: a fault of its own costs all of it.
    Request,
    /// What items stand under, such as a resource with its spans: a fault of its own costs the items under it.
    Group,
    /// What is counted: a span, a metric point, a log record. A fault costs it alone.
    Item,
    /// A part of one of the others: a fault costs the nearest of them that it stands in.
    Part,
}

impl Message {
    /// True for an `AnyValue`, whose nesting is bounded.
    pub(in crate::otlp) fn is_any_value(&'static self) -> bool {
        std::ptr::eq(self, &raw const ANY_VALUE)
    }

    /// True for what has items under it.
    pub(in crate::otlp) fn leads_to_items(&'static self) -> bool {
        let of_metrics: [&Self; 5] = [&GAUGE, &SUM, &HISTOGRAM, &EXPONENTIAL_HISTOGRAM, &SUMMARY];
        matches!(self.role, Role::Request | Role::Group) || of_metrics.iter().any(|data| std::ptr::eq(*data, self))
    }
}

/// Names of an enumeration's values.
pub(in crate::otlp) type Names = &'static [(&'static str, i32)];

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
    /// An enumeration: a number on the wire and in what is written, a number or a name in what is read.
    Enumeration(Names),
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

const SPAN_KINDS: Names = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

const STATUS_CODES: Names = &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];

const TEMPORALITIES: Names = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

const SEVERITIES: Names = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];

/// Names of bits in the numbers called `flags`, which are no enumerations on the wire.
pub(in crate::otlp) const FLAGS: &[(&str, u32)] = &[
    ("SPAN_FLAGS_DO_NOT_USE", 0),
    ("SPAN_FLAGS_TRACE_FLAGS_MASK", 0xff),
    ("SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK", 0x100),
    ("SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK", 0x200),
    ("LOG_RECORD_FLAGS_DO_NOT_USE", 0),
    ("LOG_RECORD_FLAGS_TRACE_FLAGS_MASK", 0xff),
    ("DATA_POINT_FLAGS_DO_NOT_USE", 0),
    ("DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK", 1),
];

const TRACE_ID: Kind = Kind::Id(16);
const SPAN_ID: Kind = Kind::Id(8);

// -- common and resource --------------------------------------------------------------------------------------------------

static ANY_VALUE: Message = Message {
    role: Role::Part,
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

static ARRAY_VALUE: Message = Message { role: Role::Part, fields: &[many(1, "values", Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { role: Role::Part, fields: &[many(1, "values", Kind::Message(&KEY_VALUE))] };

static KEY_VALUE: Message = Message {
    role: Role::Part,
    fields: &[
        once(1, "key", Kind::Text),
        once(2, "value", Kind::Message(&ANY_VALUE)),
        once(3, "keyStrindex", Kind::Int32),
    ],
};

static SCOPE: Message = Message {
    role: Role::Part,
    fields: &[
        once(1, "name", Kind::Text),
        once(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        once(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static RESOURCE: Message = Message {
    role: Role::Part,
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        once(2, "droppedAttributesCount", Kind::Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
};

pub(in crate::otlp) static ENTITY_REF: Message = Message {
    role: Role::Part,
    fields: &[
        once(1, "schemaUrl", Kind::Text),
        once(2, "type", Kind::Text),
        many(3, "idKeys", Kind::Text),
        many(4, "descriptionKeys", Kind::Text),
    ],
};

// -- traces ---------------------------------------------------------------------------------------------------------------

static TRACES: Message =
    Message { role: Role::Request, fields: &[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "spans", Kind::Message(&SPAN)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SPAN: Message = Message {
    role: Role::Item,
    fields: &[
        once(1, "traceId", TRACE_ID),
        once(2, "spanId", SPAN_ID),
        once(3, "traceState", Kind::Text),
        once(4, "parentSpanId", SPAN_ID),
        once(5, "name", Kind::Text),
        once(6, "kind", Kind::Enumeration(SPAN_KINDS)),
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
    role: Role::Part,
    fields: &[
        once(1, "timeUnixNano", Kind::Fixed64),
        once(2, "name", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        once(4, "droppedAttributesCount", Kind::Uint32),
    ],
};

static LINK: Message = Message {
    role: Role::Part,
    fields: &[
        once(1, "traceId", TRACE_ID),
        once(2, "spanId", SPAN_ID),
        once(3, "traceState", Kind::Text),
        many(4, "attributes", Kind::Message(&KEY_VALUE)),
        once(5, "droppedAttributesCount", Kind::Uint32),
        once(6, "flags", Kind::Fixed32),
    ],
};

static STATUS: Message = Message {
    role: Role::Part,
    fields: &[once(2, "message", Kind::Text), once(3, "code", Kind::Enumeration(STATUS_CODES))],
};

// -- metrics --------------------------------------------------------------------------------------------------------------

static METRICS: Message =
    Message { role: Role::Request, fields: &[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))] };

static RESOURCE_METRICS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "metrics", Kind::Message(&METRIC)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static METRIC: Message = Message {
    role: Role::Group,
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

static GAUGE: Message =
    Message { role: Role::Part, fields: &[many(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT))] };

static SUM: Message = Message {
    role: Role::Part,
    fields: &[
        many(1, "dataPoints", Kind::Message(&NUMBER_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration(TEMPORALITIES)),
        once(3, "isMonotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    role: Role::Part,
    fields: &[
        many(1, "dataPoints", Kind::Message(&HISTOGRAM_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration(TEMPORALITIES)),
    ],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    role: Role::Part,
    fields: &[
        many(1, "dataPoints", Kind::Message(&EXPONENTIAL_DATA_POINT)),
        once(2, "aggregationTemporality", Kind::Enumeration(TEMPORALITIES)),
    ],
};

static SUMMARY: Message =
    Message { role: Role::Part, fields: &[many(1, "dataPoints", Kind::Message(&SUMMARY_DATA_POINT))] };

static NUMBER_DATA_POINT: Message = Message {
    role: Role::Item,
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
    role: Role::Item,
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
    role: Role::Item,
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

static BUCKETS: Message =
    Message { role: Role::Part, fields: &[once(1, "offset", Kind::Sint32), many(2, "bucketCounts", Kind::Uint64)] };

static SUMMARY_DATA_POINT: Message = Message {
    role: Role::Item,
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
    Message { role: Role::Part, fields: &[once(1, "quantile", Kind::Double), once(2, "value", Kind::Double)] };

static EXEMPLAR: Message = Message {
    role: Role::Part,
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

static LOGS: Message =
    Message { role: Role::Request, fields: &[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))] };

static RESOURCE_LOGS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE_LOGS: Message = Message {
    role: Role::Group,
    fields: &[
        once(1, "scope", Kind::Message(&SCOPE)),
        many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        once(3, "schemaUrl", Kind::Text),
    ],
};

static LOG_RECORD: Message = Message {
    role: Role::Item,
    fields: &[
        once(1, "timeUnixNano", Kind::Fixed64),
        once(2, "severityNumber", Kind::Enumeration(SEVERITIES)),
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
