//! What of a span, its event, scope and resource a condition may look at.

/// What a condition is evaluated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// A span, with its scope and resource.
    Span,
    /// An event of a span, with that span, its scope and resource.
    SpanEvent,
}

impl Context {
    /// The name that its paths may begin with, and that paths without a context get.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Span => "span",
            Self::SpanEvent => "spanevent",
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    TraceId,
    TraceIdText,
    SpanId,
    SpanIdText,
    ParentSpanId,
    ParentSpanIdText,
    TraceState,
    /// One member of the tracestate; its key is the first key of the path.
    TraceStateMember,
    Name,
    Kind,
    /// `Server`, as the reference spells it today.
    KindText,
    /// `SPAN_KIND_SERVER`
    KindSymbol,
    StartTime,
    StartTimeUnixNano,
    EndTime,
    EndTimeUnixNano,
    Attributes,
    DroppedAttributesCount,
    Events,
    DroppedEventsCount,
    Links,
    DroppedLinksCount,
    Status,
    StatusCode,
    StatusMessage,
    Flags,
    EventName,
    EventTime,
    EventTimeUnixNano,
    EventAttributes,
    EventDroppedAttributesCount,
    /// Never known where a trace is judged; looking at it is an error.
    EventIndex,
    ResourceAttributes,
    ResourceDroppedAttributesCount,
    ResourceSchemaUrl,
    ScopeName,
    ScopeVersion,
    ScopeAttributes,
    ScopeDroppedAttributesCount,
    ScopeSchemaUrl,
    /// A map that only editors fill: always empty.
    Cache,
}

impl Field {
    /// Whether keys may stand behind it.
    #[must_use]
    pub fn is_indexable(self) -> bool {
        matches!(
            self,
            Self::Attributes
                | Self::EventAttributes
                | Self::ResourceAttributes
                | Self::ScopeAttributes
                | Self::Cache
                | Self::TraceStateMember
        )
    }
}
