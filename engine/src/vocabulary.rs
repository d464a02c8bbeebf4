//! Words that several stages share: times, ids, shards, the spans on their way from intake to their owner.

use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// A point in time or a span of it, nanoseconds. Points count from an origin that the host chose once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds in a millisecond.
    pub const PER_MILLISECOND: u64 = 1_000_000;
    /// Nanoseconds in a second.
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// `milliseconds` as nanoseconds; saturates.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(Self::PER_MILLISECOND))
    }

    /// This point, `later` after it; saturates.
    #[must_use]
    pub const fn plus(self, later: Self) -> Self {
        Self(self.0.saturating_add(later.0))
    }
}

/// The 16 bytes that name a trace.
pub type TraceId = [u8; 16];

/// A shard of this node, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

/// Bit set of the status codes seen in a trace: bit 0 unset, bit 1 ok, bit 2 error. Other codes set none.
pub type StatusMask = u8;

/// One span on its way from the core that received it to the shard that owns its trace. Its bytes stay in the
/// request's body.
#[derive(Debug, Clone, Copy)]
pub struct SpanRecord {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Keyed hash of the whole trace id, computed once.
    pub hash: u64,
    /// Start, nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// The first 64 policy leaves that hold for this span or its resource.
    pub leaves: u64,
    /// Where the `Span` message starts in the body.
    pub offset: u32,
    /// Bytes of the `Span` message.
    pub length: u32,
    /// Its scope in the batch's `Envelopes`.
    pub scope: u32,
    /// Its place among all spans of the request, refused ones included: what its unit in the log follows from.
    pub position: u32,
    /// What its tracestate says, in the batch's `heads`: its place there plus one; 0 when it says nothing.
    pub head: u32,
    /// Its status as one bit.
    pub status: StatusMask,
    /// True when it has no parent.
    pub is_root: bool,
    /// True when its sender says that the trace id is random (W3C Level 2).
    pub is_random: bool,
}

/// What a span's tracestate says about how it was sampled before it came (OTEP 235).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanHead {
    /// Its `th`.
    pub threshold: Option<u64>,
    /// Its `rv`.
    pub randomness: Option<u64>,
}

/// The resources and scopes of one request, as raw wire bytes.
#[derive(Debug, Default, Clone)]
pub struct Envelopes {
    /// The pieces, one after another.
    pub bytes: Vec<u8>,
    /// One entry a scope.
    pub scopes: Vec<ScopeEnvelope>,
}

/// One scope of a request and the resource around it: ranges of `Envelopes::bytes`.
#[derive(Debug, Clone)]
pub struct ScopeEnvelope {
    /// Every field of the `ResourceSpans` but its scope spans.
    pub resource: Range<u32>,
    /// Every field of the `ScopeSpans` but its spans.
    pub scope: Range<u32>,
}

impl Envelopes {
    /// The bytes in `range`; empty when the range is not of these envelopes.
    #[must_use]
    pub fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// A segment of the log that is in use: the core that owns it and its place in that core's table. Both are reused once
/// the segment is freed, so a handle is good only as long as one of its units is unresolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentHandle(u32);

impl SegmentHandle {
    /// Of what is not in the log.
    pub const NONE: Self = Self(u32::MAX);

    /// The handle of `slot` in the table of core `core`.
    #[must_use]
    pub const fn new(core: u16, slot: u16) -> Self {
        Self((core as u32) << 16 | slot as u32)
    }

    /// The core that owns the segment.
    #[must_use]
    pub const fn core(self) -> u16 {
        let [_, _, low, high] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Its place in that core's table.
    #[must_use]
    pub const fn slot(self) -> u16 {
        let [low, high, _, _] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// True for `NONE`.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == u32::MAX
    }

    /// The handle as a number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The handle of a number that `number` gave.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// What the log counts: one span of a trace request, or one whole request of metrics or logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unit {
    /// The segment that holds it.
    pub segment: SegmentHandle,
    /// Its number in the segment.
    pub number: u32,
}

impl Unit {
    /// Of what is not in the log.
    pub const NONE: Self = Self { segment: SegmentHandle::NONE, number: 0 };

    /// True for what is not in the log.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.segment.is_none()
    }
}

/// The number of a policy of which no name is known: of a verdict of a former run.
pub const UNKNOWN_POLICY: u16 = u16::MAX;

/// Annotations that a trace is remembered with. Rules that nest more annotating samplers than that are rare.
/// At the bound: late spans leave without the rest.
const ANNOTATIONS_MAX: usize = 3;

/// The annotations of a kept trace, by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Annotations {
    /// One more than each number; 0 for none.
    places: [u16; ANNOTATIONS_MAX],
}

impl Annotations {
    /// None.
    pub const NONE: Self = Self { places: [0; ANNOTATIONS_MAX] };

    /// The first of these.
    #[must_use]
    pub fn of(numbers: &[u16]) -> Self {
        let mut places = [0; ANNOTATIONS_MAX];
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.saturating_add(1);
        }
        Self { places }
    }

    /// The same by other numbers, without those that have none.
    #[must_use]
    pub fn renumbered(self, number_of: impl Fn(u16) -> Option<u16>) -> Self {
        let mut numbers = [0; ANNOTATIONS_MAX];
        let mut count = 0;
        for number in self.numbers().filter_map(number_of) {
            numbers[count] = number;
            count += 1;
        }
        Self::of(&numbers[..count])
    }

    /// Their numbers.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        self.places.into_iter().filter_map(|place| place.checked_sub(1))
    }
}

/// What a kept span leaves with, as much of it as must be known when it is read from the log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanMark {
    /// A threshold below 2^56, and flags above it.
    kept: u64,
    /// With `LABELLED`: the policy.
    policy: u16,
    annotations: Annotations,
}

impl SpanMark {
    /// Of a span that was kept for certain, and of what is no span.
    pub const NONE: Self = Self::new(0, RandomnessKind::Id);
    /// Too many different ones were waiting: with what threshold the span was kept is not known any more.
    pub const UNKNOWN: Self = Self { kept: u64::MAX, policy: 0, annotations: Annotations::NONE };
    /// The name of the policy is written into the span's scope.
    const LABELLED: u64 = 1 << 62;
    /// And that the span came after the verdict.
    const LATE: u64 = 1 << 61;
    /// There was more to be written, and it is not known any more.
    const BARED: u64 = 1 << 60;

    /// Kept with a rejection threshold below 2^56, by a randomness of that kind.
    #[must_use]
    pub const fn new(threshold: u64, kind: RandomnessKind) -> Self {
        Self { kept: kind.packed(threshold), policy: 0, annotations: Annotations::NONE }
    }

    /// With the name of that policy in its scope.
    #[must_use]
    pub const fn labelled(self, policy: u16, is_late: bool) -> Self {
        let late = if is_late { Self::LATE } else { 0 };
        Self { kept: self.kept | Self::LABELLED | late, policy, ..self }
    }

    /// With these annotations.
    #[must_use]
    pub const fn annotated(self, annotations: Annotations) -> Self {
        Self { annotations, ..self }
    }

    /// Without label and annotations, where it has any: what is left when too many different ones are waiting.
    #[must_use]
    pub fn bared(self) -> Self {
        if self.kept & Self::LABELLED == 0 && self.annotations == Annotations::NONE {
            return self;
        }
        let kept = self.kept & !Self::LABELLED & !Self::LATE | Self::BARED;
        Self { kept, policy: 0, annotations: Annotations::NONE }
    }

    /// Whether label or annotations are not known any more.
    #[must_use]
    pub const fn is_bared(self) -> bool {
        self.kept != u64::MAX && self.kept & Self::BARED != 0
    }

    /// The threshold and the kind of randomness; `None` for `UNKNOWN`.
    #[must_use]
    pub const fn get(self) -> Option<(u64, RandomnessKind)> {
        if self.kept == u64::MAX { None } else { Some(RandomnessKind::unpacked(self.kept)) }
    }

    /// The policy whose name is written, and whether the span came after the verdict.
    #[must_use]
    pub const fn label(self) -> Option<(u16, bool)> {
        let is_labelled = self.kept != u64::MAX && self.kept & Self::LABELLED != 0;
        if is_labelled { Some((self.policy, self.kept & Self::LATE != 0)) } else { None }
    }

    /// The annotations.
    #[must_use]
    pub const fn annotations(self) -> Annotations {
        self.annotations
    }
}

/// Where the randomness of a trace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RandomnessKind {
    /// From its id, as it is.
    #[default]
    Id,
    /// A hash of its id.
    Hashed,
    /// It came as `rv` with a span.
    Given,
}

impl RandomnessKind {
    const HASHED: u64 = 1 << 63;
    const GIVEN: u64 = 1 << 59;
    const THRESHOLD: u64 = (1 << 56) - 1;

    /// Of the id, or of a hash of it.
    #[must_use]
    pub const fn of_id(is_hashed: bool) -> Self {
        if is_hashed { Self::Hashed } else { Self::Id }
    }

    /// In one word with a threshold below 2^56.
    #[must_use]
    pub const fn packed(self, threshold: u64) -> u64 {
        threshold
            | match self {
                Self::Id => 0,
                Self::Hashed => Self::HASHED,
                Self::Given => Self::GIVEN,
            }
    }

    /// The threshold and the kind of `packed`, whatever other flags there are between them.
    #[must_use]
    pub const fn unpacked(word: u64) -> (u64, Self) {
        let kind = match (word & Self::HASHED != 0, word & Self::GIVEN != 0) {
            (true, _) => Self::Hashed,
            (false, true) => Self::Given,
            (false, false) => Self::Id,
        };
        (word & Self::THRESHOLD, kind)
    }
}

/// A kept unit on its way to the exporters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptUnit {
    /// Where it lies in the log.
    pub unit: Unit,
    /// What it leaves with.
    pub mark: SpanMark,
}

impl KeptUnit {
    /// A unit that leaves as it came.
    #[must_use]
    pub const fn plain(unit: Unit) -> Self {
        Self { unit, mark: SpanMark::NONE }
    }
}

/// The exporters that a request is for: bit n is the node's n-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destinations(pub u64);

impl Destinations {
    /// Every exporter that takes the signal.
    pub const ALL: Self = Self(u64::MAX);
    /// No exporter.
    pub const NONE: Self = Self(0);

    /// Whether the `number`-th exporter is among them; exporters past the 64th share the last bit.
    #[must_use]
    pub const fn has(self, number: usize) -> bool {
        self.0 & Self::of(number).0 != 0
    }

    /// The `number`-th alone.
    #[must_use]
    pub const fn of(number: usize) -> Self {
        Self(1 << if number < 63 { number } else { 63 })
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not among the others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// True for `NONE`.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The spans of one request that belong to one shard. Sent between cores as it is: the body is shared by
/// reference count and copied once, by the owner, into its arena.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    /// The request, inflated.
    pub body: Bytes,
    /// Its resources and scopes.
    pub envelopes: Arc<Envelopes>,
    /// The spans, in the request's order.
    pub spans: Vec<SpanRecord>,
    /// What the tracestates of those spans say that have an `ot` member.
    pub heads: Vec<SpanHead>,
    /// Leaves past the first 64: `rules.leaf_words() - 1` words a span.
    pub leaves_more: Vec<u64>,
    /// The generation of the rules that the leaves were evaluated under.
    pub generation: u32,
    /// Where the request lies in the log.
    pub origin: Origin,
    /// When the request came: a trace's wait counts from the arrival of its first span, however late its owner gets it.
    pub arrived: Nanos,
    /// Whether what is kept of it is to be read from the log again, for the exporters that are not done with it: only the
    /// core that owns the log knows them.
    pub stays_in_log: bool,
}

/// Where a request lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The segment; `NONE` when the request is not in the log.
    pub segment: SegmentHandle,
    /// The unit of the request's first span, or of the whole request.
    pub first_unit: u32,
}

impl Origin {
    /// Of what is not in the log.
    pub const NONE: Self = Self { segment: SegmentHandle::NONE, first_unit: 0 };

    /// The unit of the span at `position` of the request.
    #[inline]
    #[must_use]
    pub const fn unit(self, position: u32) -> Unit {
        Unit { segment: self.segment, number: self.first_unit.wrapping_add(position) }
    }
}

/// What a trace came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kept, by the policy of this index.
    Keep(u16),
    /// No policy sampled it, or a drop policy dropped it.
    Drop,
}

/// A trace's verdict, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The trace.
    pub trace_id: TraceId,
    /// What it came to.
    pub verdict: Verdict,
    /// Why its spans are dropped, when they are: the number of a `DropReason`.
    pub drop_reason: u8,
    /// Why it was judged when it was.
    pub occasion: Occasion,
    /// Rejection threshold of the rule that kept it, of 2^56 (OTEP 235); 0 when it was kept for certain.
    pub threshold: u64,
    /// Where the trace's randomness comes from.
    pub randomness: RandomnessKind,
    /// The randomness, where it came with a span.
    pub given: Option<u64>,
    /// What the spans of the trace get besides, those that come late too.
    pub annotations: Annotations,
    /// Spans it had.
    pub spans: u32,
    /// The generation of the rules that it was judged under.
    pub generation: u32,
}

/// Why a trace was judged when it was. The log has their numbers: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// `decision_wait` was over.
    Deadline,
    /// The bound on the bytes of spans was reached and this trace was next.
    Early,
    /// The node is shutting down.
    Drain,
    /// It outgrew `maximum_trace_size_bytes`.
    TooLarge,
    /// A piece of it was decided on as it came.
    Ingest,
    /// The wait after its root was over.
    AfterRoot,
    /// None of its spans had come for `inactivity_timeout`.
    Inactivity,
    /// It had `max_trace_duration`.
    DurationMax,
    /// The bound on traces was reached and this one was next.
    TracesMax,
    /// The log was full and this trace was next.
    LogFull,
    /// Its rules gave way to others, and it could not go over to them.
    Reload,
}

impl Occasion {
    /// All, by their numbers.
    const ALL: [(Self, &'static str); 11] = [
        (Self::Deadline, "decision_wait"),
        (Self::Early, "memory_full"),
        (Self::Drain, "drain"),
        (Self::TooLarge, "maximum_trace_size_bytes"),
        (Self::Ingest, "span_ingest"),
        (Self::AfterRoot, "decision_wait_after_root_received"),
        (Self::Inactivity, "inactivity_timeout"),
        (Self::DurationMax, "max_trace_duration"),
        (Self::TracesMax, "num_traces"),
        (Self::LogFull, "wal_full"),
        (Self::Reload, "reload"),
    ];

    /// The one of that number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).map(|(occasion, _)| *occasion)
    }

    /// In one word; where a configured wait or bound was reached, its key.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(occasion, _)| *occasion == self).map_or("", |(_, word)| word)
    }

    /// Whether the trace was judged before its wait was over, because something was full or its rules were to go.
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(self, Self::Early | Self::TracesMax | Self::LogFull | Self::Reload)
    }
}
