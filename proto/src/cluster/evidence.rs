//! What a node tells the owner of a trace: all that is known of the spans that lie here, as they are now. A later entry of the
//! same node takes the place of an earlier one, so that one that comes twice, late or not at all changes nothing.
//!
//! ```text
//! entries = base:8 entry*
//! entry   = bits:1 trace_id:16 [node:8 incarnation:8] facts [head]
//! facts   = status:1 lengths:4 age quiet spans bytes start duration words_mask first_word word*
//! head    = bits:1 [rv:8] level coarse:1 rows (level facts)*
//!
//! bits of an entry  1 root seen, 2 random, 4 head, 8 too large, 16 asks, 32 relayed, 64 leaving, 128 of another node
//! bits of a head    1 has rv, 2 has a threshold
//! status            bits 0-2 of the codes seen, 8 root seen, 16 random (of rows)
//! ```
//! The eight numbers of facts have as many bytes as `lengths` says, four bits for each. Ages are in milliseconds, and 0 in rows;
//! the start is a zigzag from the base, the duration a zigzag. `words_mask` has a bit for each word past the first that is not
//! 0, the second word's lowest; only those follow, as varints.

use super::message::{Cursor, Malformed, NUMBERS_BYTES_MAX, Numbers, unzigzag, zigzag};
use super::{Incarnation, NodeId};
use crate::otlp::wire::put_varint;

/// Words of leaves and keys that an entry has room for.
/// At the bound: rules with more are refused when they are loaded.
pub const WORDS_MAX: usize = 64;
/// Rows of a head; a trace has eight at most.
/// At the bound: the message is malformed, counted in `tailwater_cluster_messages_malformed_total`.
const ROWS_MAX: u64 = 16;

/// Bytes of an entry that tells of one word at most, and of no tracestate.
const USUAL_BYTES_MAX: usize = 1 + 16 + 16 + 1 + NUMBERS_BYTES_MAX;

const ROOT_SEEN: u8 = 1;
const RANDOM: u8 = 2;
const HEAD: u8 = 4;
const TOO_LARGE: u8 = 8;
const ASKS: u8 = 16;
const RELAYED: u8 = 32;
const LEAVING: u8 = 64;
const SOURCE: u8 = 128;

/// What spans say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Earliest start, Unix nanoseconds; 0 for none.
    pub start_unix_nano: u64,
    /// Latest end.
    pub end_unix_nano: u64,
    /// Status codes seen, a bit each.
    pub status: u8,
    /// Whether one of them has no parent.
    pub root_seen: bool,
    /// Whether a sender said that the trace id is random.
    pub is_random: bool,
    /// How many they are.
    pub spans: u32,
    /// Bytes of them.
    pub bytes: u32,
    /// Leaves and keys, by the rules' own order; trailing zeros may be missing.
    pub words: Vec<u64>,
}

/// What tracestates say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The least `rv` that came.
    pub randomness: Option<u64>,
    /// The threshold of all spans, if there are no rows.
    pub level: u64,
    /// Whether a threshold came that no row tells of.
    pub has_threshold: bool,
    /// Low bits of thresholds that rows do not tell apart.
    pub coarse: u8,
    /// The facts of the spans of each threshold, lowest first.
    pub rows: Vec<(u64, Facts)>,
}

/// What a node has of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Which trace.
    pub trace_id: [u8; 16],
    /// The node that has the spans, where it is not the one that sends this.
    pub source: Option<(NodeId, Incarnation)>,
    /// Since its first span came to the node, milliseconds.
    pub age_ms: u64,
    /// Since its latest span came.
    pub quiet_ms: u64,
    /// What its spans say.
    pub facts: Facts,
    /// What their tracestates say, if anything.
    pub head: Option<Box<Head>>,
    /// The trace is larger than the node may hold.
    pub is_too_large: bool,
    /// The node waits for an answer.
    pub asks: bool,
    /// The node passes on what another one sent to it.
    pub is_relayed: bool,
    /// The node is about to leave: the trace is to be judged now.
    pub is_leaving: bool,
}

impl Entry {
    /// Appends it; `base` is the message's.
    pub fn put(&self, base: u64, out: &mut Vec<u8>) {
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        out.reserve(USUAL_BYTES_MAX);
        out.push(
            bit(self.facts.root_seen, ROOT_SEEN)
                | bit(self.facts.is_random, RANDOM)
                | bit(self.head.is_some(), HEAD)
                | bit(self.is_too_large, TOO_LARGE)
                | bit(self.asks, ASKS)
                | bit(self.is_relayed, RELAYED)
                | bit(self.is_leaving, LEAVING)
                | bit(self.source.is_some(), SOURCE),
        );
        out.extend_from_slice(&self.trace_id);
        if let Some((node, incarnation)) = self.source {
            out.extend_from_slice(&node.0.to_le_bytes());
            out.extend_from_slice(&incarnation.0.to_le_bytes());
        }
        self.facts.put(base, (self.age_ms, self.quiet_ms), out);
        if let Some(head) = &self.head {
            head.put(base, out);
        }
    }

    /// Reads the next one in place of what is here, whose room is used again.
    ///
    /// # Errors
    /// Bytes that are no entry: what stands here then means nothing.
    pub fn read(&mut self, base: u64, cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
        let bits = cursor.byte()?;
        let has = |bit: u8| bits & bit != 0;
        self.trace_id = cursor.trace_id()?;
        self.source = match has(SOURCE) {
            true => Some((NodeId(cursor.fixed64()?), Incarnation(cursor.fixed64()?))),
            false => None,
        };
        (self.age_ms, self.quiet_ms) = self.facts.read(base, cursor)?;
        (self.facts.root_seen, self.facts.is_random) = (has(ROOT_SEEN), has(RANDOM));
        self.head = if has(HEAD) { Some(Box::new(Head::read(base, cursor)?)) } else { None };
        self.is_too_large = has(TOO_LARGE);
        self.asks = has(ASKS);
        self.is_relayed = has(RELAYED);
        self.is_leaving = has(LEAVING);
        Ok(())
    }
}

const STATUS_BITS: u8 = 7;
const STATUS_ROOT: u8 = 8;
const STATUS_RANDOM: u8 = 16;

impl Facts {
    #[inline]
    fn put(&self, base: u64, (age_ms, quiet_ms): (u64, u64), out: &mut Vec<u8>) {
        let root = if self.root_seen { STATUS_ROOT } else { 0 };
        let random = if self.is_random { STATUS_RANDOM } else { 0 };
        out.push(self.status & STATUS_BITS | root | random);
        let (first, more) = self.words.split_first().map_or((0, &[][..]), |(first, more)| (*first, more));
        let more = more.iter().take(WORDS_MAX - 1);
        let mask = more.clone().rev().fold(0u64, |mask, word| mask << 1 | u64::from(*word != 0));
        let start = zigzag(self.start_unix_nano.wrapping_sub(base));
        let duration = zigzag(self.end_unix_nano.wrapping_sub(self.start_unix_nano));
        let [spans, bytes] = [self.spans, self.bytes].map(u64::from);
        Numbers([age_ms, quiet_ms, spans, bytes, start, duration, mask, first]).put(out);
        more.filter(|word| **word != 0).for_each(|word| put_varint(out, *word));
    }

    /// Returns the ages.
    #[inline]
    fn read(&mut self, base: u64, cursor: &mut Cursor<'_>) -> Result<(u64, u64), Malformed> {
        let status = cursor.byte()?;
        self.status = status & STATUS_BITS;
        (self.root_seen, self.is_random) = (status & STATUS_ROOT != 0, status & STATUS_RANDOM != 0);
        let Numbers([age_ms, quiet_ms, spans, bytes, start, duration, mut mask, first]) = cursor.numbers()?;
        let fits = |number: u64| u32::try_from(number).map_err(|_| Malformed::TooLarge);
        (self.spans, self.bytes) = (fits(spans)?, fits(bytes)?);
        self.start_unix_nano = base.wrapping_add(unzigzag(start));
        self.end_unix_nano = self.start_unix_nano.wrapping_add(unzigzag(duration));
        self.words.clear();
        if first != 0 || mask != 0 {
            self.words.push(first);
        }
        if mask >> (WORDS_MAX - 1) != 0 {
            return Err(Malformed::TooLarge);
        }
        while mask != 0 {
            self.words.push(if mask & 1 == 0 { 0 } else { cursor.varint()? });
            mask >>= 1;
        }
        Ok((age_ms, quiet_ms))
    }
}

const HAS_RANDOMNESS: u8 = 1;
const HAS_THRESHOLD: u8 = 2;

impl Head {
    fn put(&self, base: u64, out: &mut Vec<u8>) {
        let randomness = if self.randomness.is_some() { HAS_RANDOMNESS } else { 0 };
        out.push(randomness | if self.has_threshold { HAS_THRESHOLD } else { 0 });
        if let Some(value) = self.randomness {
            out.extend_from_slice(&value.to_le_bytes());
        }
        put_varint(out, self.level);
        out.push(self.coarse);
        put_varint(out, self.rows.len() as u64);
        for (level, facts) in &self.rows {
            put_varint(out, *level);
            facts.put(base, (0, 0), out);
        }
    }

    fn read(base: u64, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let bits = cursor.byte()?;
        let randomness = if bits & HAS_RANDOMNESS != 0 { Some(cursor.fixed64()?) } else { None };
        let mut head = Self { randomness, has_threshold: bits & HAS_THRESHOLD != 0, ..Self::default() };
        head.level = cursor.varint()?;
        head.coarse = cursor.byte()?;
        let rows = cursor.varint()?;
        if rows > ROWS_MAX || head.coarse >= 64 {
            return Err(Malformed::TooLarge);
        }
        for _ in 0..rows {
            let level = cursor.varint()?;
            let mut facts = Facts::default();
            facts.read(base, cursor)?;
            head.rows.push((level, facts));
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> impl Strategy<Value = Facts> {
        let flags = (0u8..8, any::<bool>(), any::<bool>());
        let words = proptest::collection::vec(prop_oneof![Just(0), any::<u64>(), 0u64..9], 0..WORDS_MAX);
        (any::<u64>(), any::<u64>(), flags, any::<u32>(), any::<u32>(), words).prop_map(
            |(start_unix_nano, end_unix_nano, (status, root_seen, is_random), spans, bytes, mut words)| {
                // Trailing zeros are not told.
                words.truncate(words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
                Facts { start_unix_nano, end_unix_nano, status, root_seen, is_random, spans, bytes, words }
            },
        )
    }

    fn head() -> impl Strategy<Value = Head> {
        let rows = proptest::collection::vec((any::<u64>(), facts()), 0..8);
        (any::<Option<u64>>(), any::<u64>(), any::<bool>(), 0u8..57, rows).prop_map(
            |(randomness, level, has_threshold, coarse, rows)| Head { randomness, level, has_threshold, coarse, rows },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let flags = any::<(bool, bool, bool, bool)>();
        let ages = any::<(u64, u64, Option<(u64, u64)>)>();
        (any::<[u8; 16]>(), ages, facts(), proptest::option::of(head()), flags).prop_map(
            |(trace_id, (age_ms, quiet_ms, source), facts, head, flags)| Entry {
                trace_id,
                source: source.map(|(node, incarnation)| (NodeId(node), Incarnation(incarnation))),
                age_ms,
                quiet_ms,
                facts,
                head: head.map(Box::new),
                is_too_large: flags.0,
                asks: flags.1,
                is_relayed: flags.2,
                is_leaving: flags.3,
            },
        )
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_were_written(base in any::<u64>(), entries in proptest::collection::vec(entry(), 1..4)) {
            let mut bytes = Vec::new();
            entries.iter().for_each(|entry| entry.put(base, &mut bytes));
            let (mut cursor, mut read) = (Cursor(&bytes), Entry::default());
            for entry in &entries {
                prop_assert_eq!(read.read(base, &mut cursor), Ok(()));
                prop_assert_eq!(&read, entry);
            }
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(base in any::<u64>(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (mut cursor, mut read) = (Cursor(&bytes), Entry::default());
            while !cursor.is_empty() && read.read(base, &mut cursor).is_ok() {}
        }
    }

    /// The usual entry is short: this is what a fragment costs on the wire.
    #[test]
    fn a_usual_entry_has_few_bytes() {
        let facts = Facts {
            start_unix_nano: 1_700_000_000_123_456_789,
            end_unix_nano: 1_700_000_000_223_456_789,
            status: 1,
            spans: 3,
            bytes: 1_100,
            words: vec![5],
            ..Facts::default()
        };
        let entry = Entry { trace_id: [7; 16], age_ms: 250, quiet_ms: 100, facts, ..Entry::default() };
        let mut bytes = Vec::new();
        entry.put(1_700_000_000_000_000_000, &mut bytes);
        assert!(bytes.len() <= 38, "{}", bytes.len());
    }
}
