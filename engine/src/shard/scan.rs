//! Scans requests: those that this core receives, for its own shard or at once for the shards of several pipelines, and
//! those of the log again.

use super::Shard;
use crate::intake::{Intake, IntakeError, Scanned, weight};
use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use tailwater_proto::otlp::Signal;
use tailwater_rollup::spans::SpanTally;

impl Shard {
    /// Scans a request of a former run, or one that is read again: faults are no one's to be told.
    ///
    /// # Errors
    /// `IntakeError`.
    pub fn scan_again(&mut self, body: &Bytes) -> Result<Scanned, IntakeError> {
        self.intake.scan(body, self.bench.rules())
    }

    /// The same for a request of any signal.
    ///
    /// # Errors
    /// `IntakeError`.
    pub fn scan_request_again(
        &mut self,
        signal: Signal,
        body: &Bytes,
        tally: Option<&mut SpanTally>,
    ) -> Result<Scanned, IntakeError> {
        self.intake.scan_request(signal, body, self.bench.rules(), tally)
    }

    /// Most bytes that scanning this request takes.
    #[must_use]
    pub fn scanned_bytes(&self, body: &[u8]) -> usize {
        Self::scanned_bytes_for_all(&[self], body)
    }

    /// Most bytes that scanning this request for all of `shards` takes.
    #[must_use]
    pub fn scanned_bytes_for_all(shards: &[impl Deref<Target = Self>], body: &[u8]) -> usize {
        weight::scanned_bytes(body, shards.iter().map(|shard| shard.bench.rules().leaf_words()))
    }

    /// Scans a trace request received by this core. Nothing of it is accepted before `accept`.
    ///
    /// # Errors
    /// `IntakeError`; the request is counted as refused and nothing of it is kept.
    pub fn scan(&mut self, body: &Bytes) -> Result<Scanned, IntakeError> {
        self.scan_request(Signal::Traces, body, None)
    }

    /// Scans a request of any signal received by this core, with what `tally` is to count of it. Nothing of it is accepted
    /// before `accept` or `pass`.
    ///
    /// # Errors
    /// `IntakeError`; the request is counted as refused and nothing of it is kept.
    pub fn scan_request(
        &mut self,
        signal: Signal,
        body: &Bytes,
        tally: Option<&mut SpanTally>,
    ) -> Result<Scanned, IntakeError> {
        let scanned = self.intake.scan_request(signal, body, self.bench.rules(), tally);
        let scanned = scanned.inspect_err(|_| self.ledger.refused.requests += 1)?;
        self.count_scanned(signal, &scanned);
        Ok(scanned)
    }

    /// Scans a trace request received by this core for the shards of several pipelines, each under the rules in force there:
    /// one outcome for each, in their order, the same as by `scan`. The request is walked once, but where shards differ in
    /// what they accept: a span may be larger than the memory of one of them.
    ///
    /// # Errors
    /// `IntakeError`; the request is counted as refused with the first shard and nothing of it is kept.
    pub fn scan_for_all(
        shards: &mut [impl DerefMut<Target = Self>],
        body: &Bytes,
        mut tally: Option<&mut SpanTally>,
    ) -> Result<Vec<Scanned>, IntakeError> {
        let Some((first, others)) = shards.split_first() else { return Ok(Vec::new()) };
        if !others.iter().all(|other| other.intake.scans_like(&first.intake)) {
            let each = shards.iter_mut();
            return each.map(|shard| shard.scan_request(Signal::Traces, body, tally.take())).collect();
        }
        let stages = shards.iter_mut().map(|shard| {
            let Self { intake, bench, .. } = &mut **shard;
            (intake, bench.rules().as_ref())
        });
        let scanned = Intake::scan_for_all(stages, body, tally);
        let scanned = scanned.inspect_err(|_| shards[0].ledger.refused.requests += 1)?;
        shards.iter_mut().zip(&scanned).for_each(|(shard, scanned)| shard.count_scanned(Signal::Traces, scanned));
        Ok(scanned)
    }

    fn count_scanned(&mut self, signal: Signal, scanned: &Scanned) {
        self.ledger.refused.refuse(signal, &scanned.refusals);
        self.ledger.refused.repaired_texts += u64::from(scanned.repaired);
        self.ledger.traces.condition_errors += u64::from(scanned.condition_failures);
    }
}
