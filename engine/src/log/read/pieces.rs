//! Reading a segment again from some place on, piece by piece, while it is written behind that place. What is sought is
//! known to have been durable, so a record that fails is damage, and the next one is looked for where flushes start.

use super::super::format::{BLOCK_BYTES, Head, RECORD_HEADER_BYTES};
use super::{Framed, record_at};

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// A sound record.
    Record(Framed<'a>),
    /// So many zeros, up to the next block.
    Padding(usize),
    /// Perhaps a record of so many bytes, of which not all were read.
    Cut(usize),
    /// No record.
    Nothing,
}

/// What stands `at` bytes from the start of a file, from where `bytes` were read.
#[must_use]
pub fn place(bytes: &[u8], at: u64, nonce: u64) -> Place<'_> {
    if let Some(framed) = record_at(bytes, nonce) {
        return Place::Record(framed);
    }
    let padding = to_next_block(at);
    if padding < BLOCK_BYTES && bytes.get(..padding).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0)) {
        return Place::Padding(padding);
    }
    if bytes.len() < RECORD_HEADER_BYTES {
        return Place::Cut(RECORD_HEADER_BYTES);
    }
    match Head::read_start(bytes).map(|head| head.framed_bytes()) {
        Some(framed) if framed > bytes.len() => Place::Cut(framed),
        _ => Place::Nothing,
    }
}

/// How far it is from a place without a record to the next where one may start; to the end of `bytes` if none is seen
/// in them.
#[must_use]
pub fn pass_damage(bytes: &[u8], at: u64, nonce: u64) -> usize {
    let starts = (to_next_block(at)..bytes.len()).step_by(BLOCK_BYTES);
    let is_start = |start: &usize| {
        let rest = bytes.get(*start..).unwrap_or_default();
        matches!(place(rest, at + *start as u64, nonce), Place::Record(_) | Place::Cut(_))
    };
    starts.into_iter().find(is_start).unwrap_or(bytes.len())
}

/// Bytes to the start of the next block, at least one.
fn to_next_block(at: u64) -> usize {
    BLOCK_BYTES - usize::try_from(at % BLOCK_BYTES as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::super::format::{BodyEncoding, BodyFormat, Record, Request, pad_to_block, put_request};
    use super::*;
    use crate::log::takers::Takers;
    use tailwater_proto::otlp::Signal;

    const NONCE: u64 = 77;
    const REQUESTS: u32 = 60;

    /// Flushes of some requests of all sizes behind a header's block, and where each request starts.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let mut file = vec![0; BLOCK_BYTES];
        let mut starts = Vec::new();
        for number in 0..REQUESTS {
            let body = vec![7; (number as usize * 977) % 9000];
            let request = Request {
                arrived_unix_nano: 1,
                first_unit: number,
                units: 1,
                signal: Signal::Traces,
                encoding: BodyEncoding::Identity,
                format: BodyFormat::Protobuf,
                takers: Takers::ALL,
                body: &body,
            };
            starts.push(file.len());
            put_request(&mut file, NONCE, u64::from(number), &request);
            if number % 3 == 2 {
                pad_to_block(&mut file);
            }
        }
        (file, starts)
    }

    /// The first units of the requests from `from` on, read in pieces of `piece` bytes as the host does.
    fn read(file: &[u8], from: usize, piece: usize) -> Vec<u32> {
        let (mut found, mut at, mut wanted) = (Vec::new(), from, piece);
        while at < file.len() {
            let bytes = &file[at..file.len().min(at + wanted)];
            wanted = piece;
            at += match place(bytes, at as u64, NONCE) {
                Place::Record(framed) => {
                    let Record::Request(request) = framed.record else { panic!("{:?}", framed.record) };
                    found.push(request.first_unit);
                    framed.bytes
                }
                Place::Padding(zeros) => zeros,
                Place::Cut(needed) if at + needed <= file.len() => {
                    wanted = needed;
                    0
                }
                Place::Cut(_) | Place::Nothing => pass_damage(bytes, at as u64, NONCE),
            };
        }
        found
    }

    #[test]
    fn every_record_is_found_from_every_place_and_in_pieces_of_every_size() {
        let (file, starts) = segment();
        for (number, start) in starts.iter().enumerate() {
            for piece in [25, 100, 1000, 4096, 5000, 65536, file.len()] {
                let wanted: Vec<u32> = (u32::try_from(number).unwrap()..REQUESTS).collect();
                assert_eq!(read(&file, *start, piece), wanted, "from {start} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn damage_costs_its_flush_at_most() {
        let (sound, starts) = segment();
        for (number, start) in starts.iter().enumerate() {
            for offset in [0, 5, 9, 17, 30] {
                let mut file = sound.clone();
                file[start + offset] ^= 0x40;
                for piece in [4096, 65536] {
                    let found = read(&file, BLOCK_BYTES, piece);
                    let flush = number / 3;
                    let kept = |at: &u32| *at as usize / 3 != flush || (*at as usize) < number;
                    let wanted: Vec<u32> = (0..REQUESTS).filter(kept).collect();
                    let missing: Vec<_> = wanted.iter().filter(|at| !found.contains(at)).collect();
                    assert!(missing.is_empty(), "{missing:?} with {number} damaged at {offset} in pieces of {piece}");
                    assert!(!found.contains(&u32::try_from(number).unwrap()));
                }
            }
        }
    }
}
