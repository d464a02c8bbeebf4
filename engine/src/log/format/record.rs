//! The records of a segment and how their bytes are taken apart. What is borrowed here is borrowed from the file's
//! bytes; nothing is copied.

use super::{
    ALIGNMENT_BYTES, BITMAP_BLOCK_BYTES, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, array, u16_at, u32_at, u64_at,
};
use crate::log::takers::Takers;
use crate::vocabulary::{Annotations, RandomnessKind};
use tailwater_proto::otlp::Signal;

pub(super) const KIND_REQUEST: u8 = 1;
pub(super) const KIND_VERDICTS: u8 = 2;
pub(super) const KIND_RESOLVED: u8 = 3;
pub(super) const KIND_NAMES: u8 = 4;
pub(super) const KIND_DONE: u8 = 5;
pub(super) const KIND_ANNOTATIONS: u8 = 6;
pub(super) const KIND_SHARED_REQUEST: u8 = 7;
pub(super) const KIND_TALLY: u8 = 8;

/// In a record's flags: it is the first of its flush. That it is there at all shows that every flush before it was
/// made durable, so that what is wrong with those is damage and no interrupted write.
pub(super) const FLAG_FLUSH_START: u8 = 1;

/// Bytes of a names record's payload before the names, and of each name's length.
pub(super) const NAMES_FIELDS_BYTES: usize = 8;
pub(super) const NAME_LENGTH_BYTES: usize = 2;
/// Bytes of an annotations record's payload before the annotations, and of each before its attributes.
pub(super) const ANNOTATIONS_FIELDS_BYTES: usize = 8;
pub(super) const ANNOTATION_FIELDS_BYTES: usize = 4;

/// Bytes of a request record's payload before the body.
pub(super) const REQUEST_FIELDS_BYTES: usize = 24;
/// Bytes of the set of pipelines that take a request, where not all do.
pub(super) const TAKERS_BYTES: usize = 8;
/// Bytes of a verdicts record's payload before its entries.
pub(super) const VERDICTS_FIELDS_BYTES: usize = 8;
/// Bytes of one verdict without annotations and randomness, and of each of these.
pub(super) const VERDICT_BYTES: usize = 32;
pub(super) const VERDICT_PART_BYTES: usize = 8;
/// Bytes of a resolved record's payload before its blocks.
pub(super) const RESOLVED_FIELDS_BYTES: usize = 16;
/// Bytes of a done record's payload before the exporter's name.
pub(super) const DONE_FIELDS_BYTES: usize = 18;
/// Bytes of one block of a bitmap with its index.
pub(super) const RESOLVED_BLOCK_BYTES: usize = 4 + BITMAP_BLOCK_BYTES;

/// Bytes of a tally record's payload before the tallies it has taken over, of each of these, and of each position.
pub(super) const TALLY_FIELDS_BYTES: usize = 24;
pub(super) const TALLY_ID_BYTES: usize = 10;
pub(super) const TALLY_POSITION_BYTES: usize = 12;

/// Thresholds have 56 bits; the byte above them holds flags.
pub(super) const THRESHOLD_MAX: u64 = (1 << THRESHOLD_BITS) - 1;
pub(super) const THRESHOLD_BITS: u32 = 56;
/// The trace is kept.
pub(super) const FLAG_KEPT: u64 = 1;
/// In that byte: the trace's randomness is a hash of its id.
pub(super) const FLAG_HASHED: u64 = 2;
/// In that byte: the trace's annotations follow.
pub(super) const FLAG_ANNOTATED: u64 = 4;
/// In that byte: the trace's randomness follows, which came with a span.
pub(super) const FLAG_GIVEN: u64 = 8;
const FLAGS: u64 = FLAG_KEPT | FLAG_HASHED | FLAG_ANNOTATED | FLAG_GIVEN;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyEncoding {
    /// Not at all.
    Identity,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl BodyEncoding {
    /// The byte on disk.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Identity => 1,
            Self::Gzip => 2,
            Self::Zstd => 3,
        }
    }

    /// The encoding of a byte on disk; none if there is no such encoding.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Identity),
            2 => Some(Self::Gzip),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// How OTLP is written in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    /// Protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

impl BodyFormat {
    /// The byte on disk.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Protobuf => 1,
            Self::Json => 2,
        }
    }

    /// The format of a byte on disk; none if there is no such format.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Protobuf),
            2 => Some(Self::Json),
            _ => None,
        }
    }
}

/// The byte on disk of a signal.
pub(super) const fn signal_byte(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 1,
        Signal::Metrics => 2,
        Signal::Logs => 3,
    }
}

const fn signal_of(byte: u8) -> Option<Signal> {
    match byte {
        1 => Some(Signal::Traces),
        2 => Some(Signal::Metrics),
        3 => Some(Signal::Logs),
        _ => None,
    }
}

/// One record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A request as it was received.
    Request(Request<'a>),
    /// Verdicts on traces.
    Verdicts(Verdicts<'a>),
    /// Which units of a request segment are resolved.
    Resolved(Resolved<'a>),
    /// What the policies are called that the verdicts behind it name by number.
    Names(Names<'a>),
    /// Which units of a request segment one exporter is done with, while others are not.
    Done(Done<'a>),
    /// What the annotations are that the verdicts behind it name by number.
    Annotations(ToldAnnotations<'a>),
    /// What is counted and not yet given on.
    Tally(TallyRecord<'a>),
}

/// A request as it was received. Its units are numbered from `first_unit` within the segment: one for each span of a
/// trace request in wire order, refused ones too; one for each sound point or record of a metrics or logs request, or one
/// for the whole of it, which is all that versions before 5 have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// When it came, nanoseconds since 1970.
    pub arrived_unix_nano: u64,
    /// The number of its first unit in this segment.
    pub first_unit: u32,
    /// How many units it has; `first_unit + units` fits 32 bits.
    pub units: u32,
    /// What it carries.
    pub signal: Signal,
    /// How the body is compressed.
    pub encoding: BodyEncoding,
    /// How the body, once decompressed, is written.
    pub format: BodyFormat,
    /// The pipelines that take it, by their places in the segment's header.
    pub takers: Takers,
    /// The body as it came.
    pub body: &'a [u8],
}

/// A verdict on one trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictEntry {
    /// The trace.
    pub trace_id: [u8; 16],
    /// Rejection threshold of OpenTelemetry's consistent sampling, 56 bits, 0 = always sampled. Larger values are
    /// written as the largest.
    pub threshold: u64,
    /// The policy in whose name it was decided: its number among the names that were told last.
    pub policy: u16,
    /// Whether the trace is kept.
    pub is_kept: bool,
    /// Whether its randomness is a hash of its id.
    pub is_hashed: bool,
    /// Its randomness where that came with a span, 56 bits; not with `is_hashed`.
    pub given: Option<u64>,
    /// What the spans of the trace get besides: numbers among the annotations that were told.
    pub annotations: Annotations,
    /// Why it was not, by the writer's numbering.
    pub reason: u8,
    /// What brought the decision about, by the writer's numbering.
    pub occasion: u8,
    /// Spans that the trace had when it was decided.
    pub spans: u32,
}

impl VerdictEntry {
    /// Where the trace's randomness comes from.
    #[must_use]
    pub const fn randomness(&self) -> RandomnessKind {
        match (self.given, self.is_hashed) {
            (Some(_), _) => RandomnessKind::Given,
            (None, true) => RandomnessKind::Hashed,
            (None, false) => RandomnessKind::Id,
        }
    }
}

/// Whose tally it is: a lane of a run of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TallyId {
    /// The run: another number at each start.
    pub run: u64,
    /// The lane.
    pub lane: u16,
}

/// What a lane has counted of its requests and not yet given on, whole: it takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyRecord<'a> {
    /// When it was recorded, nanoseconds since 1970.
    pub recorded_unix_nano: u64,
    /// Whose it is.
    pub id: TallyId,
    /// Tallies of former runs that are part of it.
    pub taken_over: TallyIds<'a>,
    /// How far it goes in segments of requests.
    pub positions: TallyPositions<'a>,
    /// What was counted; the log does not know how it is written.
    pub state: &'a [u8],
}

/// Tallies that are part of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyIds<'a> {
    bytes: &'a [u8],
}

impl Iterator for TallyIds<'_> {
    type Item = TallyId;

    fn next(&mut self) -> Option<TallyId> {
        let (entry, rest) = self.bytes.split_at_checked(TALLY_ID_BYTES)?;
        self.bytes = rest;
        Some(TallyId { run: u64_at(entry, 0)?, lane: u16_at(entry, 8)? })
    }
}

/// Numbers of segments, and of the unit below which all units of it are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TallyPositions<'a> {
    bytes: &'a [u8],
}

impl Iterator for TallyPositions<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<(u64, u32)> {
        let (entry, rest) = self.bytes.split_at_checked(TALLY_POSITION_BYTES)?;
        self.bytes = rest;
        Some((u64_at(entry, 0)?, u32_at(entry, 8)?))
    }
}

/// The names of policies, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<'a> {
    /// When it was recorded, nanoseconds since 1970.
    pub recorded_unix_nano: u64,
    /// One for each number from 0 on; empty where it was left out.
    pub entries: NameEntries<'a>,
}

/// The entries of a names record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameEntries<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for NameEntries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.bytes.split_at_checked(NAME_LENGTH_BYTES)?;
        let (name, rest) = rest.split_at_checked(usize::from(u16_at(length, 0)?))?;
        self.bytes = rest;
        Some(name)
    }
}

/// Annotations with their numbers. Those that were told before in the segment still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldAnnotations<'a> {
    /// When it was recorded, nanoseconds since 1970.
    pub recorded_unix_nano: u64,
    /// Numbers and what they mean.
    pub entries: AnnotationEntries<'a>,
}

/// The entries of an annotations record: a number, and attributes as fields of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationEntries<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for AnnotationEntries<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (fields, rest) = self.bytes.split_at_checked(ANNOTATION_FIELDS_BYTES)?;
        let (attributes, rest) = rest.split_at_checked(usize::from(u16_at(fields, 2)?))?;
        self.bytes = rest;
        Some((u16_at(fields, 0)?, attributes))
    }
}

/// Verdicts on traces, decided together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts<'a> {
    /// When, nanoseconds since 1970.
    pub decided_unix_nano: u64,
    /// One for each trace.
    pub entries: VerdictEntries<'a>,
}

/// The entries of a verdicts record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictEntries<'a> {
    bytes: &'a [u8],
    /// How many there are in `bytes`.
    left: usize,
}

impl<'a> VerdictEntries<'a> {
    /// The entries in `bytes`; `None` if it is not made of whole ones.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (mut rest, mut left) = (bytes, 0);
        while !rest.is_empty() {
            rest = verdict(rest)?.1;
            left += 1;
        }
        Some(Self { bytes, left })
    }
}

impl Iterator for VerdictEntries<'_> {
    type Item = VerdictEntry;

    fn next(&mut self) -> Option<VerdictEntry> {
        let (entry, rest) = verdict(self.bytes)?;
        self.bytes = rest;
        self.left = self.left.saturating_sub(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for VerdictEntries<'_> {}

/// Bits of resolved units of one request segment. Bits are only ever set, so records can be joined in any order by OR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// When it was recorded, nanoseconds since 1970.
    pub recorded_unix_nano: u64,
    /// The number of the request segment.
    pub segment: u64,
    /// Blocks of its bitmap that have changed.
    pub blocks: ResolvedBlocks<'a>,
}

/// Bits of units of one request segment that an exporter is done with: delivered to it, or refused by it for good. Bits are
/// only ever set, as those of resolved units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<'a> {
    /// When it was recorded, nanoseconds since 1970.
    pub recorded_unix_nano: u64,
    /// The number of the request segment.
    pub segment: u64,
    /// The exporter's name.
    pub exporter: &'a [u8],
    /// Blocks of its bitmap that have changed.
    pub blocks: ResolvedBlocks<'a>,
}

/// Blocks of a bitmap: the index of the block and its bytes. Unit `u` is bit `u % 8` of byte `u / 8 % 64` of block
/// `u / 512`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedBlocks<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for ResolvedBlocks<'a> {
    type Item = (u32, &'a [u8; BITMAP_BLOCK_BYTES]);

    fn next(&mut self) -> Option<Self::Item> {
        let (index, rest) = self.bytes.split_first_chunk()?;
        let (block, rest) = rest.split_first_chunk()?;
        self.bytes = rest;
        Some((u32::from_le_bytes(*index), block))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.bytes.len() / RESOLVED_BLOCK_BYTES;
        (count, Some(count))
    }
}

impl ExactSizeIterator for ResolvedBlocks<'_> {}

/// Bytes that a payload takes with its header and the padding behind it.
pub(super) const fn framed_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT_BYTES)
}

/// A record's header whose values are possible; nothing is known of its checksum yet.
#[derive(Debug, Clone, Copy)]
pub(in crate::log) struct Head {
    /// CRC-32C of the nonce and all that follows the checksum.
    pub checksum: u32,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// Its place in the lane's stream.
    pub sequence: u64,
    /// Whether it is the first of a flush.
    pub is_flush_start: bool,
    kind: u8,
}

impl Head {
    /// The header at the start of `bytes`, if it can be one and its payload lies within `bytes`.
    pub(in crate::log) fn read(bytes: &[u8]) -> Option<Self> {
        Self::read_start(bytes).filter(|head| head.payload_bytes <= bytes.len() - RECORD_HEADER_BYTES)
    }

    /// As `read`, where `bytes` may have only a part of the payload.
    pub(in crate::log) fn read_start(bytes: &[u8]) -> Option<Self> {
        let payload_bytes = usize::try_from(u32_at(bytes, 4)?).ok()?;
        let [kind, flags, reserved @ ..] = array::<8>(bytes, 16)?;
        let is_possible = matches!(kind, KIND_REQUEST..=KIND_TALLY)
            && flags & !FLAG_FLUSH_START == 0
            && reserved.iter().all(|byte| *byte == 0)
            && (1..=PAYLOAD_BYTES_MAX).contains(&payload_bytes);
        let sequence = u64_at(bytes, 8)?;
        let is_flush_start = flags & FLAG_FLUSH_START != 0;
        is_possible.then_some(Self { checksum: u32_at(bytes, 0)?, payload_bytes, sequence, is_flush_start, kind })
    }

    /// Bytes from the record's start to the next record's.
    pub(in crate::log) const fn framed_bytes(&self) -> usize {
        framed_bytes(self.payload_bytes)
    }

    /// The record at the start of `bytes`, whose checksum has been found right. None if its payload is impossible.
    pub(in crate::log) fn record<'a>(&self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let payload = bytes.get(RECORD_HEADER_BYTES..)?.get(..self.payload_bytes)?;
        match self.kind {
            KIND_REQUEST => request(payload).map(Record::Request),
            KIND_SHARED_REQUEST => shared_request(payload).map(Record::Request),
            KIND_VERDICTS => verdicts(payload).map(Record::Verdicts),
            KIND_RESOLVED => resolved(payload).map(Record::Resolved),
            KIND_NAMES => names(payload).map(Record::Names),
            KIND_DONE => done(payload).map(Record::Done),
            KIND_ANNOTATIONS => annotations(payload).map(Record::Annotations),
            KIND_TALLY => tally(payload).map(Record::Tally),
            _ => None,
        }
    }
}

fn request(payload: &[u8]) -> Option<Request<'_>> {
    let (fields, body) = payload.split_at_checked(REQUEST_FIELDS_BYTES)?;
    let (first_unit, units) = (u32_at(fields, 8)?, u32_at(fields, 12)?);
    first_unit.checked_add(units)?;
    if array(fields, 19)? != [0_u8; 5] {
        return None;
    }
    Some(Request {
        arrived_unix_nano: u64_at(fields, 0)?,
        first_unit,
        units,
        signal: signal_of(fields[16])?,
        encoding: BodyEncoding::from_byte(fields[17])?,
        format: BodyFormat::from_byte(fields[18])?,
        takers: Takers::ALL,
        body,
    })
}

fn shared_request(payload: &[u8]) -> Option<Request<'_>> {
    let request = request(payload)?;
    let (takers, body) = request.body.split_at_checked(TAKERS_BYTES)?;
    Some(Request { takers: Takers(u64_at(takers, 0)?), body, ..request })
}

fn verdicts(payload: &[u8]) -> Option<Verdicts<'_>> {
    let (fields, bytes) = payload.split_at_checked(VERDICTS_FIELDS_BYTES)?;
    Some(Verdicts { decided_unix_nano: u64_at(fields, 0)?, entries: VerdictEntries::of(bytes)? })
}

/// The verdict that `bytes` begin with, and what is behind it. Flags that this version does not know would be lost if they
/// were let through.
fn verdict(bytes: &[u8]) -> Option<(VerdictEntry, &[u8])> {
    let (entry, rest) = bytes.split_at_checked(VERDICT_BYTES)?;
    let packed = u64_at(entry, 16)?;
    let flags = packed >> THRESHOLD_BITS;
    let has = |flag| flags & flag != 0;
    (flags & !FLAGS == 0 && !(has(FLAG_HASHED) && has(FLAG_GIVEN))).then_some(())?;
    let (numbers, rest) = rest.split_at_checked(if has(FLAG_ANNOTATED) { VERDICT_PART_BYTES } else { 0 })?;
    let (given, rest) = rest.split_at_checked(if has(FLAG_GIVEN) { VERDICT_PART_BYTES } else { 0 })?;
    let entry = VerdictEntry {
        trace_id: array(entry, 0)?,
        threshold: packed & THRESHOLD_MAX,
        is_kept: has(FLAG_KEPT),
        is_hashed: has(FLAG_HASHED),
        given: if given.is_empty() { None } else { Some(u64_at(given, 0).filter(|value| *value <= THRESHOLD_MAX)?) },
        annotations: if numbers.is_empty() { Annotations::NONE } else { numbered(numbers)? },
        spans: u32_at(entry, 24)?,
        policy: u16_at(entry, 28)?,
        reason: entry[30],
        occasion: entry[31],
    };
    Some((entry, rest))
}

/// Numbers of annotations as they stand behind a verdict: each one higher, 0 for none, and none only at the end.
fn numbered(bytes: &[u8]) -> Option<Annotations> {
    let places: [u16; VERDICT_PART_BYTES / 2] = std::array::from_fn(|at| u16_at(bytes, 2 * at).unwrap_or_default());
    let count = places.iter().take_while(|place| **place > 0).count();
    let numbers = places.map(|place| place.saturating_sub(1));
    let annotations = Annotations::of(&numbers[..count]);
    let is_whole = places[count..].iter().all(|place| *place == 0) && annotations.numbers().count() == count;
    (is_whole && count > 0).then_some(annotations)
}

fn resolved(payload: &[u8]) -> Option<Resolved<'_>> {
    let (fields, bytes) = payload.split_at_checked(RESOLVED_FIELDS_BYTES)?;
    bytes.len().is_multiple_of(RESOLVED_BLOCK_BYTES).then_some(())?;
    Some(Resolved {
        recorded_unix_nano: u64_at(fields, 0)?,
        segment: u64_at(fields, 8)?,
        blocks: ResolvedBlocks { bytes },
    })
}

fn done(payload: &[u8]) -> Option<Done<'_>> {
    let (fields, rest) = payload.split_at_checked(DONE_FIELDS_BYTES)?;
    let (exporter, bytes) = rest.split_at_checked(usize::from(u16_at(fields, 16)?))?;
    bytes.len().is_multiple_of(RESOLVED_BLOCK_BYTES).then_some(())?;
    Some(Done {
        recorded_unix_nano: u64_at(fields, 0)?,
        segment: u64_at(fields, 8)?,
        exporter,
        blocks: ResolvedBlocks { bytes },
    })
}

fn names(payload: &[u8]) -> Option<Names<'_>> {
    let (fields, bytes) = payload.split_at_checked(NAMES_FIELDS_BYTES)?;
    let mut entries = NameEntries { bytes };
    while entries.next().is_some() {}
    entries.bytes.is_empty().then_some(())?;
    Some(Names { recorded_unix_nano: u64_at(fields, 0)?, entries: NameEntries { bytes } })
}

fn annotations(payload: &[u8]) -> Option<ToldAnnotations<'_>> {
    let (fields, bytes) = payload.split_at_checked(ANNOTATIONS_FIELDS_BYTES)?;
    let mut entries = AnnotationEntries { bytes };
    while entries.next().is_some() {}
    entries.bytes.is_empty().then_some(())?;
    Some(ToldAnnotations { recorded_unix_nano: u64_at(fields, 0)?, entries: AnnotationEntries { bytes } })
}

fn tally(payload: &[u8]) -> Option<TallyRecord<'_>> {
    let (fields, rest) = payload.split_at_checked(TALLY_FIELDS_BYTES)?;
    let taken_over = usize::from(u16_at(fields, 18)?).checked_mul(TALLY_ID_BYTES)?;
    let positions = usize::try_from(u32_at(fields, 20)?).ok()?.checked_mul(TALLY_POSITION_BYTES)?;
    let (taken_over, rest) = rest.split_at_checked(taken_over)?;
    let (positions, state) = rest.split_at_checked(positions)?;
    Some(TallyRecord {
        recorded_unix_nano: u64_at(fields, 0)?,
        id: TallyId { run: u64_at(fields, 8)?, lane: u16_at(fields, 16)? },
        taken_over: TallyIds { bytes: taken_over },
        positions: TallyPositions { bytes: positions },
        state,
    })
}
