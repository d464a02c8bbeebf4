//! What the owner of a trace tells those who hold spans of it.
//!
//! ```text
//! ruling = hash:8 bits:1 (reason:1 | kept | wait | nothing)
//! kept   = policy [threshold:8] [rv:8] [sub_policy] [count annotation*]
//!
//! bits   0-1 dropped, kept, pending, unknown; 2-3 kind of randomness; 4 threshold, 5 rv, 6 sub-policy, 7 annotations
//! ```
//! Policies, sub-policies and annotations are places in the configuration that has the message's fingerprint.

use super::message::{Cursor, Malformed};
use crate::otlp::wire::put_varint;

/// Annotations of a ruling.
/// At the bound: the message is malformed, counted in `tailwater_cluster_messages_malformed_total`.
const ANNOTATIONS_MAX: u64 = 64;

/// How a trace was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Place of the policy.
    pub policy: u16,
    /// Place of the sub-policy, if one decided.
    pub sub_policy: Option<u16>,
    /// Its threshold.
    pub threshold: u64,
    /// Where the randomness of the trace comes from, two bits.
    pub randomness: u8,
    /// The randomness, where it came with a span.
    pub given: Option<u64>,
    /// Places of annotations.
    pub annotations: Vec<u16>,
}

/// What came of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is dropped, for this reason by its number.
    Dropped(u8),
    /// It is kept.
    Kept(Kept),
    /// It is not judged yet, and won't be for so many milliseconds.
    Pending(u64),
    /// Whoever was asked what came of it remembers nothing.
    Unknown,
}

/// What came of one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The keyed hash of its id, the same on every node.
    pub hash: u64,
    /// What came of it.
    pub outcome: Outcome,
}

const KEPT: u8 = 1;
const PENDING: u8 = 2;
const UNKNOWN: u8 = 3;
const OUTCOME_BITS: u8 = 3;
const RANDOMNESS_SHIFT: u8 = 2;
const THRESHOLD: u8 = 16;
const GIVEN: u8 = 32;
const SUB_POLICY: u8 = 64;
const ANNOTATIONS: u8 = 128;

impl Ruling {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        match &self.outcome {
            Outcome::Dropped(reason) => out.extend_from_slice(&[0, *reason]),
            Outcome::Unknown => out.push(UNKNOWN),
            Outcome::Pending(wait_ms) => {
                out.push(PENDING);
                put_varint(out, *wait_ms);
            }
            Outcome::Kept(kept) => kept.put(out),
        }
    }

    /// Reads the next one.
    ///
    /// # Errors
    /// Bytes that are no ruling.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let hash = cursor.fixed64()?;
        let bits = cursor.byte()?;
        let outcome = match bits & OUTCOME_BITS {
            0 => Outcome::Dropped(cursor.byte()?),
            KEPT => Outcome::Kept(Kept::read(bits, cursor)?),
            PENDING => Outcome::Pending(cursor.varint()?),
            // Two bits have four values.
            _ => Outcome::Unknown,
        };
        Ok(Self { hash, outcome })
    }
}

impl Kept {
    fn put(&self, out: &mut Vec<u8>) {
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        out.push(
            KEPT | (self.randomness & 3) << RANDOMNESS_SHIFT
                | bit(self.threshold > 0, THRESHOLD)
                | bit(self.given.is_some(), GIVEN)
                | bit(self.sub_policy.is_some(), SUB_POLICY)
                | bit(!self.annotations.is_empty(), ANNOTATIONS),
        );
        put_varint(out, u64::from(self.policy));
        if self.threshold > 0 {
            out.extend_from_slice(&self.threshold.to_le_bytes());
        }
        if let Some(given) = self.given {
            out.extend_from_slice(&given.to_le_bytes());
        }
        if let Some(sub_policy) = self.sub_policy {
            put_varint(out, u64::from(sub_policy));
        }
        if !self.annotations.is_empty() {
            put_varint(out, self.annotations.len() as u64);
            self.annotations.iter().for_each(|place| put_varint(out, u64::from(*place)));
        }
    }

    fn read(bits: u8, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut kept = Self { randomness: bits >> RANDOMNESS_SHIFT & 3, ..Self::default() };
        kept.policy = cursor.varint16()?;
        if bits & THRESHOLD != 0 {
            kept.threshold = cursor.fixed64()?;
        }
        if bits & GIVEN != 0 {
            kept.given = Some(cursor.fixed64()?);
        }
        if bits & SUB_POLICY != 0 {
            kept.sub_policy = Some(cursor.varint16()?);
        }
        if bits & ANNOTATIONS != 0 {
            let count = cursor.varint()?;
            if count > ANNOTATIONS_MAX {
                return Err(Malformed::TooLarge);
            }
            for _ in 0..count {
                kept.annotations.push(cursor.varint16()?);
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept() -> impl Strategy<Value = Kept> {
        let annotations = proptest::collection::vec(any::<u16>(), 0..5);
        let numbers = (any::<u16>(), any::<Option<u16>>(), 0u64..1 << 56, 0u8..4, any::<Option<u64>>());
        (numbers, annotations).prop_map(|((policy, sub_policy, threshold, randomness, given), annotations)| Kept {
            policy,
            sub_policy,
            threshold,
            randomness,
            given,
            annotations,
        })
    }

    fn ruling() -> impl Strategy<Value = Ruling> {
        let outcome = prop_oneof![
            any::<u8>().prop_map(Outcome::Dropped),
            any::<u64>().prop_map(Outcome::Pending),
            Just(Outcome::Unknown),
            kept().prop_map(Outcome::Kept)
        ];
        (any::<u64>(), outcome).prop_map(|(hash, outcome)| Ruling { hash, outcome })
    }

    proptest! {
        #[test]
        fn rulings_are_read_as_they_were_written(rulings in proptest::collection::vec(ruling(), 1..5)) {
            let mut bytes = Vec::new();
            rulings.iter().for_each(|ruling| ruling.put(&mut bytes));
            let mut cursor = Cursor(&bytes);
            for ruling in &rulings {
                prop_assert_eq!(Ruling::read(&mut cursor), Ok(ruling.clone()));
            }
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut cursor = Cursor(&bytes);
            while !cursor.is_empty() && Ruling::read(&mut cursor).is_ok() {}
        }
    }

    /// What told drops and keeps cost on the wire.
    #[test]
    fn a_drop_has_ten_bytes_and_a_plain_keep_too() {
        for outcome in [Outcome::Dropped(3), Outcome::Kept(Kept { policy: 5, ..Kept::default() })] {
            let mut bytes = Vec::new();
            Ruling { hash: 7, outcome }.put(&mut bytes);
            assert_eq!(bytes.len(), 10);
        }
    }
}
