//! The frame around what nodes tell one another of traces, and the numbers in it.

use thiserror::Error;

/// Bytes that are no message of this version. What was read of it before stands: entries say each for itself what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// It ends within a value.
    #[error("the message ends within a value")]
    Truncated,
    /// A number is longer than its type.
    #[error("a number of the message is too large")]
    TooLarge,
    /// It is of a kind that this version does not know.
    #[error("the message is of the unknown kind {0}")]
    Kind(u8),
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What nodes hold of traces: to the owners of these.
    Evidence,
    /// What came of traces: from their owners.
    Rulings,
    /// Of which traces who owns them now asks what others remember, who may have judged them before.
    Memories,
    /// How much a node wants to be shed, and what wanted to pass the limits on it: to every shard of all nodes.
    Load,
}

/// What stands before the entries of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is about.
    pub kind: Kind,
    /// Hash of the name of the pipeline.
    pub pipeline: u64,
    /// Of the rules that the entries were made under: leaves, places of policies and annotations mean something under equal
    /// rules only.
    pub fingerprint: u64,
    /// The entries are of one shard of a node with so many,
    pub shards: u16,
    /// and of this one of them.
    pub shard: u16,
}

/// Bytes of a header.
pub const HEADER_BYTES: usize = 21;

impl Header {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            Kind::Evidence => 1,
            Kind::Rulings => 2,
            Kind::Memories => 5,
            Kind::Load => 6,
        };
        out.push(kind);
        out.extend_from_slice(&self.pipeline.to_le_bytes());
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.extend_from_slice(&self.shard.to_le_bytes());
    }

    /// Reads one, and gives what stands behind it.
    ///
    /// # Errors
    /// `Truncated`, and `Kind` where a later version has more kinds.
    pub fn read(message: &[u8]) -> Result<(Self, Cursor<'_>), Malformed> {
        let mut cursor = Cursor(message);
        let kind = match cursor.byte()? {
            1 => Kind::Evidence,
            2 => Kind::Rulings,
            5 => Kind::Memories,
            6 => Kind::Load,
            other => return Err(Malformed::Kind(other)),
        };
        let (pipeline, fingerprint) = (cursor.fixed64()?, cursor.fixed64()?);
        let [shards, shard] = [cursor.fixed16()?, cursor.fixed16()?];
        Ok((Self { kind, pipeline, fingerprint, shards, shard }, cursor))
    }
}

/// What is left to be read of a message.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Malformed> {
        let (bytes, rest): (&'a [u8; BYTES], _) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn fixed16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn fixed64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn trace_id(&mut self) -> Result<[u8; 16], Malformed> {
        self.array()
    }

    /// The next varint.
    ///
    /// # Errors
    /// `Truncated`, and `TooLarge` past 64 bits.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::TooLarge);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::TooLarge)
    }

    pub(super) fn varint16(&mut self) -> Result<u16, Malformed> {
        u16::try_from(self.varint()?).map_err(|_| Malformed::TooLarge)
    }

    /// Eight numbers as `Numbers` puts them.
    #[inline]
    pub(super) fn numbers(&mut self) -> Result<Numbers, Malformed> {
        let lengths = u32::from_le_bytes(self.array()?);
        // A length past eight has the highest of its four bits, and another.
        let has_others = (lengths & 0x7777_7777) + 0x7777_7777;
        if lengths & has_others & 0x8888_8888 != 0 {
            return Err(Malformed::TooLarge);
        }
        // With room behind, so that eight bytes can be read of which some are the next number's.
        let mut bytes = [0; 8 * NUMBERS + 8];
        match self.0.first_chunk::<{ 8 * NUMBERS }>() {
            Some(whole) => bytes[..8 * NUMBERS].copy_from_slice(whole),
            None => bytes[..self.0.len()].copy_from_slice(self.0),
        }
        let (mut numbers, mut at) = ([0; NUMBERS], 0);
        for (place, number) in numbers.iter_mut().enumerate() {
            let length = (lengths >> (4 * place) & 15) as usize;
            // The sum of seven lengths is below 64, and is the place as it stands.
            let start = at & (8 * NUMBERS - 1);
            let chunk: Option<&[u8; 8]> = bytes[start..].first_chunk();
            *number = chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk)) & KEPT[length];
            at += length;
        }
        self.0 = self.0.get(at..).ok_or(Malformed::Truncated)?;
        Ok(Numbers(numbers))
    }
}

/// Of eight bytes those of a number of so many. More than eight are no length.
const KEPT: [u64; 16] = {
    let mut kept = [u64::MAX; 16];
    let mut length = 0;
    while length < 8 {
        kept[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    kept
};

/// How many numbers are told together.
pub(super) const NUMBERS: usize = 8;
/// Bytes that they have at most.
pub(super) const NUMBERS_BYTES_MAX: usize = 4 + 8 * NUMBERS;

/// Numbers that are told together: first how many bytes each has, half a byte for each, the first in the lowest bits; then
/// their bytes, the low ones first. They are read and written without a step for each byte, as varints need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers(pub(super) [u64; NUMBERS]);

impl Numbers {
    /// Appends them.
    #[inline]
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let mut bytes = [0; NUMBERS_BYTES_MAX];
        let (mut lengths, mut at) = (0u32, 4);
        for (place, number) in self.0.into_iter().enumerate() {
            let length = (71 - number.leading_zeros()) >> 3;
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            lengths |= length << (4 * place);
            at += length as usize;
        }
        bytes[..4].copy_from_slice(&lengths.to_le_bytes());
        out.extend_from_slice(&bytes[..at]);
    }
}

/// A difference that may be negative, modulo 2^64, as a number that is small where the difference is.
#[inline]
pub(super) fn zigzag(difference: u64) -> u64 {
    let sign = difference.cast_signed() >> 63;
    difference << 1 ^ sign.cast_unsigned()
}

/// The difference that `zigzag` was given.
#[inline]
pub(super) fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks where a length of nine is taken for one, or where the last number is read from what is not there.
    #[test]
    fn numbers_of_every_length_are_read_and_others_refused() {
        for last in [0, 1, 255, 256, u64::MAX >> 8, u64::MAX] {
            let numbers = Numbers([u64::MAX, 0, 7, 1 << 40, 300, u64::MAX, 2, last]);
            let mut bytes = Vec::new();
            numbers.put(&mut bytes);
            assert_eq!(Cursor(&bytes).numbers(), Ok(numbers));
            let mut more = bytes.clone();
            more.extend([0xff; 80]);
            let mut cursor = Cursor(&more);
            assert_eq!((cursor.numbers(), cursor.0.len()), (Ok(numbers), 80));
            bytes.pop();
            assert_eq!(Cursor(&bytes).numbers(), Err(Malformed::Truncated));
        }
        for place in 0..NUMBERS {
            let mut bytes = (9u32 << (4 * place)).to_le_bytes().to_vec();
            bytes.extend([0; 80]);
            assert_eq!(Cursor(&bytes).numbers(), Err(Malformed::TooLarge), "{place}");
        }
    }
}
