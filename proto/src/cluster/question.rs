//! A question of one node to another about a trace, for a person who asks, and its answer.
//!
//! ```text
//! question = 3 pipeline:8 number:8 trace_id:16
//! answer   = 4 pipeline:8 number:8 text
//! ```
//! Numbers are little-endian. The `number` is of who asks, which gets it back. The text is what the admin endpoint of the node
//! says of the trace, as JSON, less what has no room in a datagram; `{}` where it knows nothing.

use super::message::{Cursor, Malformed};

/// What a message of the two begins with.
const QUESTION: u8 = 3;
const ANSWER: u8 = 4;

/// Bytes before the text of an answer.
pub const ANSWER_HEADER_BYTES: usize = 17;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking<'a> {
    /// Pipeline, number, trace.
    Question(u64, u64, [u8; 16]),
    /// Pipeline, number, text.
    Answer(u64, u64, &'a [u8]),
}

impl<'a> Asking<'a> {
    /// Reads one; `None` where it is another message.
    ///
    /// # Errors
    /// It ends too early.
    pub fn read(message: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor(message);
        let kind = cursor.byte()?;
        if kind != QUESTION && kind != ANSWER {
            return Ok(None);
        }
        let (pipeline, number) = (cursor.fixed64()?, cursor.fixed64()?);
        Ok(Some(match kind {
            QUESTION => Self::Question(pipeline, number, cursor.trace_id()?),
            _ => Self::Answer(pipeline, number, cursor.0),
        }))
    }

    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, pipeline, number, rest) = match self {
            Self::Question(pipeline, number, trace_id) => (QUESTION, pipeline, number, &trace_id[..]),
            Self::Answer(pipeline, number, text) => (ANSWER, pipeline, number, *text),
        };
        out.push(kind);
        out.extend_from_slice(&pipeline.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::message::Header;

    /// The bytes are what nodes of other versions read: breaks with any change of a kind or an order.
    #[test]
    fn the_bytes_are_the_same_in_all_versions() {
        let mut out = Vec::new();
        Asking::Question(1, 2, [7; 16]).put(&mut out);
        assert_eq!(out, [&[3, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..], &[7; 16]].concat());
        let (mut out, text) = (Vec::new(), b"{}");
        Asking::Answer(1, 2, text).put(&mut out);
        assert_eq!(out, [&[4, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..], text].concat());
    }

    /// What shards tell one another is none of it, and the version before this one passes these over as it does any kind that
    /// it does not know. Breaks with a kind that both have.
    #[test]
    fn the_two_are_told_from_the_messages_of_shards() {
        for asking in [Asking::Question(1, 2, [7; 16]), Asking::Answer(3, 4, b"text")] {
            let mut out = Vec::new();
            asking.put(&mut out);
            assert_eq!(Asking::read(&out), Ok(Some(asking)));
            assert_eq!(Header::read(&out).map(|_| ()), Err(Malformed::Kind(out[0])));
            assert_eq!(Asking::read(&out[..ANSWER_HEADER_BYTES - 1]), Err(Malformed::Truncated));
        }
        for of_shards in [1, 2] {
            assert_eq!(Asking::read(&[of_shards, 9]), Ok(None));
        }
        assert_eq!(Asking::read(&[]), Err(Malformed::Truncated));
    }
}
