//! The strategy `span-ingest`: policies are asked about each piece of a trace as it comes, and the first piece that one of
//! them samples keeps the whole trace at once. A piece is the spans of one trace in one `ResourceSpans` of a request.
//! What no piece decided is dropped when its wait is over, without asking again.

use super::Shard;
use crate::evidence::{Size, Summary};
use crate::host::Host;
use crate::judge::{Cases, Ruling};
use crate::rules::{Evidence, Rules};
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanRecord, TraceId};
use hashbrown::HashTable;

/// A piece, while its `ResourceSpans` is being taken.
#[derive(Debug)]
pub(super) struct Piece {
    trace_id: TraceId,
    hash: u64,
    seen: Summary,
    spans: u32,
    more: Box<[u64]>,
}

impl Piece {
    /// The piece, with the size of its whole trace so far.
    fn so_far(&self, size: Size) -> Evidence<'_> {
        Evidence { trace_id: &self.trace_id, seen: &self.seen, size, more: &self.more, level: None }
    }
}

/// The pieces of one `ResourceSpans`, in the order of their first spans. A request may have a span of another trace each.
#[derive(Debug, Default)]
struct Pieces {
    pieces: Vec<Piece>,
    /// Where each is, by the hash of its trace.
    places: HashTable<usize>,
}

impl Pieces {
    /// Adds a span to its piece, which it begins where there is none.
    fn add(&mut self, rules: &Rules, record: &SpanRecord, leaves_more: &[u64]) {
        let place = self.place(record, leaves_more.len());
        let piece = &mut self.pieces[place];
        piece.spans += 1;
        piece.seen.absorb(rules, record, &mut piece.more, leaves_more);
    }

    fn place(&mut self, record: &SpanRecord, words: usize) -> usize {
        let Self { pieces, places } = self;
        let is_its = |place: &usize| pieces[*place].trace_id == record.trace_id;
        if let Some(place) = places.find(record.hash, is_its) {
            return *place;
        }
        let place = pieces.len();
        places.insert_unique(record.hash, place, |place| pieces[*place].hash);
        let (trace_id, hash) = (record.trace_id, record.hash);
        pieces.push(Piece { trace_id, hash, seen: Summary::default(), spans: 0, more: vec![0; words].into() });
        place
    }

    fn drain(&mut self) -> impl Iterator<Item = Piece> {
        self.places.clear();
        self.pieces.drain(..)
    }
}

impl Shard {
    /// Takes a batch piece by piece.
    pub(super) fn take_pieces(&mut self, now: Nanos, batch: &SpanBatch, host: &mut impl Host) {
        let words = self.bench.rules().leaf_words() - 1;
        let mut pieces = Pieces::default();
        let mut resource = None;
        for (position, record) in batch.spans.iter().enumerate() {
            let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
            let of = batch.envelopes.scopes.get(record.scope as usize).map(|scope| scope.resource.clone());
            if of != resource {
                self.judge_pieces(now, &mut pieces, host);
                resource = of;
            }
            self.take_span(now, batch, (record, None), leaves_more, host);
            pieces.add(self.bench.rules(), record, leaves_more);
        }
        self.judge_pieces(now, &mut pieces, host);
    }

    fn judge_pieces(&mut self, now: Nanos, pieces: &mut Pieces, host: &mut impl Host) {
        for piece in pieces.drain() {
            // Its trace may have been judged meanwhile, to make room.
            let Some(entry) = self.holding.find_pending(piece.hash, &piece.trace_id) else { continue };
            let Some(ruling) = self.rule_piece(now, entry, &piece) else { continue };
            self.holding.buffer.traces.unlink(entry);
            self.adopt_generation(entry);
            let evidence = piece.so_far(self.holding.buffer.traces.get(entry).size);
            self.note_piece(now, entry, &evidence, &ruling);
            self.carry_out(now, entry, &ruling, Occasion::Ingest, host);
            self.release(&[entry], host);
        }
    }

    /// Asks the policies about a piece: its own spans, with the size of the whole trace so far. `None` when it decides
    /// nothing.
    fn rule_piece(&mut self, now: Nanos, entry: u32, piece: &Piece) -> Option<Ruling> {
        let Self { bench, holding, ledger, .. } = self;
        let whole = holding.case(entry);
        let evidence = piece.so_far(whole.evidence.size);
        let is_first = piece.spans == whole.evidence.size.spans;
        bench.rule_piece(now, (&whole, &evidence, is_first), &mut ledger.policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A span of the trace of that number, of which each four share a hash.
    fn record(number: usize) -> SpanRecord {
        SpanRecord {
            trace_id: (number as u128 + 1).to_be_bytes(),
            hash: (number as u64 / 4).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            start_unix_nano: 1,
            end_unix_nano: 2,
            leaves: 0,
            offset: 0,
            length: 10,
            scope: 0,
            position: 0,
            head: 0,
            status: 1,
            is_root: false,
            is_random: false,
        }
    }

    #[test]
    fn spans_find_the_piece_of_their_trace_however_many_there_are() {
        let rules = Arc::new(Rules::compile(&tailwater_config::sampling::Sampling::collector_default()).unwrap());
        let mut pieces = Pieces::default();
        // Were each compared with all before it, this would take the better part of an hour.
        const TRACES: usize = 1_000_000;
        for round in 0..2 {
            for number in 0..TRACES {
                pieces.add(&rules, &record(number), &[]);
            }
            assert_eq!(pieces.pieces.len(), TRACES, "{round}");
        }
        let drained: Vec<Piece> = pieces.drain().collect();
        let is_its = |(number, piece): (usize, &Piece)| (piece.trace_id, piece.spans) == (record(number).trace_id, 2);
        assert!(drained.iter().enumerate().all(is_its), "in the order of their first spans");
        pieces.add(&rules, &record(5), &[]);
        assert_eq!((pieces.pieces.len(), pieces.pieces[0].spans), (1, 1), "the next resource begins anew");
    }
}
