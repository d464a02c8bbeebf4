//! The strategy `span-ingest`: policies are asked about each piece of a trace as it comes, and the first piece that one of
//! them samples keeps the whole trace at once. A piece is the spans of one trace in one `ResourceSpans` of a request.
//! What no piece decided is dropped when its wait is over, without asking again.

use super::Shard;
use crate::evidence::Summary;
use crate::host::Host;
use crate::index::Place;
use crate::randomness::TraceRandomness;
use crate::rules::{Ballot, Evidence};
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanRecord, TraceId, Verdict};

/// A piece, while its `ResourceSpans` is being taken.
#[derive(Debug)]
pub(super) struct Piece {
    trace_id: TraceId,
    hash: u64,
    seen: Summary,
    more: Box<[u64]>,
}

impl Shard {
    /// Takes a batch piece by piece.
    pub(super) fn take_pieces(&mut self, now: Nanos, batch: &SpanBatch, host: &mut impl Host) {
        let words = self.rules.leaf_words() - 1;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut resource = None;
        for (position, record) in batch.spans.iter().enumerate() {
            let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
            let of = batch.envelopes.scopes.get(record.scope as usize).map(|scope| scope.resource.clone());
            if of != resource {
                self.judge_pieces(now, &mut pieces, host);
                resource = of;
            }
            self.take_span(now, batch, record, leaves_more, host);
            self.add_to_piece(&mut pieces, record, leaves_more);
        }
        self.judge_pieces(now, &mut pieces, host);
    }

    fn add_to_piece(&self, pieces: &mut Vec<Piece>, record: &SpanRecord, leaves_more: &[u64]) {
        let known = pieces.iter_mut().find(|piece| piece.trace_id == record.trace_id);
        if let Some(piece) = known {
            piece.seen.absorb(&self.rules, record, &mut piece.more, leaves_more);
            return;
        }
        let mut piece = Piece {
            trace_id: record.trace_id,
            hash: record.hash,
            seen: Summary::default(),
            more: vec![0; leaves_more.len()].into(),
        };
        piece.seen.absorb(&self.rules, record, &mut piece.more, leaves_more);
        pieces.push(piece);
    }

    fn judge_pieces(&mut self, now: Nanos, pieces: &mut Vec<Piece>, host: &mut impl Host) {
        for piece in pieces.drain(..) {
            // Its trace may have been judged meanwhile, to make room.
            let pending = self.index.find(piece.hash, |place| match place {
                Place::Pending(entry) => self.buffer.traces.get(entry).id == piece.trace_id,
                _ => false,
            });
            let Some((_, Place::Pending(entry))) = pending else { continue };
            let Some((ballot, randomness)) = self.piece_ballot(now, entry, &piece) else { continue };
            self.buffer.traces.unlink(entry);
            self.adopt_generation(entry);
            self.note_reason(entry, &ballot, randomness.value, now, Occasion::Ingest);
            match ballot.verdict {
                Verdict::Keep(policy) => {
                    self.settle_kept(now, entry, (policy, ballot, randomness), Occasion::Ingest, host);
                }
                Verdict::Drop => self.settle_dropped(entry, ballot, Occasion::Ingest, host),
            }
            self.release(&[entry], host);
        }
    }

    /// Asks the policies about a piece: its own spans, with the size of the whole trace so far. `None` when it decides
    /// nothing.
    fn piece_ballot(&mut self, now: Nanos, entry: u32, piece: &Piece) -> Option<(Ballot, TraceRandomness)> {
        let Self { buffer, rules, limits, ledger, randomness, .. } = self;
        let trace = buffer.traces.get(entry);
        let seen = Summary { spans: trace.seen.spans, bytes: trace.seen.bytes, ..piece.seen };
        let evidence = Evidence { trace_id: &piece.trace_id, seen: &seen, more: &piece.more, level: None };
        randomness.count(&trace.id, buffer.head(entry), trace.seen.is_random);
        let own = randomness.of(&trace.id, buffer.head(entry), trace.seen.is_random);
        limits.turn_to(rules.generation());
        let ballot = rules.judge_piece(&evidence, own.value, limits, now, &mut ledger.policies)?;
        rules.judge_shadows(&evidence, (own.value, now), limits, &ballot, &mut ledger.policies);
        Some((ballot, own))
    }
}
