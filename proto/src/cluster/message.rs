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

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
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

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
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

    pub(super) fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed::TooLarge)
    }

    pub(super) fn varint16(&mut self) -> Result<u16, Malformed> {
        u16::try_from(self.varint()?).map_err(|_| Malformed::TooLarge)
    }

    /// A difference that may be negative, modulo 2^64.
    pub(super) fn zigzag(&mut self) -> Result<u64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) ^ (value & 1).wrapping_neg())
    }
}

/// Appends a difference that may be negative, modulo 2^64.
pub(super) fn put_zigzag(out: &mut Vec<u8>, difference: u64) {
    let sign = difference.cast_signed() >> 63;
    crate::otlp::wire::put_varint(out, difference << 1 ^ sign.cast_unsigned());
}
