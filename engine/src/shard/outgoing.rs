//! What leaves a shard: batches of kept spans, metrics and logs as they came, parked data read from the log again; and
//! the books of what became of them.

use super::marks::late_mark;
use super::{Shard, ShardPlan};
use crate::buffer::envelope::{EnvelopeTable, ScopeHandle};
use crate::decide::KeptBy;
use crate::export::Export;
use crate::export::label::{Label, labelled};
use crate::export::mark::{Mark, MarkCounts, Marker};
use crate::host::{ExportFate, ExportRequest, Host};
use crate::intake::Passing;
use crate::ledger::DropReason;
use crate::rules::Rules;
use crate::vocabulary::{Destinations, KeptUnit, Nanos, Origin, SpanBatch, SpanMark, SpanRecord};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::refusal::Refusals;

/// A span as it leaves.
pub(super) struct Leaving<'a> {
    pub(super) scope: ScopeHandle,
    pub(super) unit: KeptUnit,
    /// As it came.
    pub(super) bytes: &'a [u8],
    /// What is written into its tracestate.
    pub(super) mark: Option<Mark>,
    /// Encoded attributes that it gets.
    pub(super) annotations: &'a [u8],
}

/// The open batch of kept spans.
#[derive(Debug)]
pub(super) struct Outgoing {
    export: Export,
    marker: Marker,
    /// When the oldest span of the batch was added.
    opened: Nanos,
    /// Requests given to the host so far.
    sent: u64,
    /// Whether the spans of the batch are in no log although there is one.
    is_apart: bool,
}

impl Outgoing {
    pub(super) fn new(plan: &ShardPlan) -> Self {
        let export = Export::new(plan.batch, plan.hash_seed);
        Self { export, marker: Marker::default(), opened: Nanos::default(), sent: 0, is_apart: false }
    }

    pub(super) fn mark_counts(&self) -> MarkCounts {
        self.marker.counts()
    }

    /// Requests given to the host so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Spans in the batch.
    pub(super) fn spans(&self) -> u32 {
        self.export.spans()
    }

    /// When the oldest span of the batch was added.
    pub(super) fn opened(&self) -> Nanos {
        self.opened
    }

    /// Adds a span to the batch, which is sent to `destinations` first when it is full for it. The batch holds the scope
    /// until it is sent.
    pub(super) fn add(
        &mut self,
        now: Nanos,
        span: &Leaving<'_>,
        destinations: Destinations,
        envelopes: &mut EnvelopeTable,
        host: &mut impl Host,
    ) {
        let Leaving { scope, unit, .. } = *span;
        let bytes = match &span.mark {
            Some(mark) => self.marker.mark(span.bytes, mark, span.annotations),
            None if span.annotations.is_empty() => span.bytes,
            None => self.marker.annotate(span.bytes, span.annotations),
        };
        if self.export.is_full_for(scope.number(), envelopes.parts(scope), bytes.len()) {
            self.sent += send_batch(&mut self.export, destinations, envelopes, host);
        }
        if self.export.spans() == 0 {
            self.opened = now;
        }
        if self.export.add(scope.number(), envelopes.parts(scope), unit, bytes) {
            envelopes.hold(scope);
        }
    }

    /// What is added from now on is in no log although there is one, or is where its receiver put it. The two are not sent in
    /// one request: an exporter that cannot take it now would lose what could be read again.
    pub(super) fn keep_apart(&mut self, is_apart: bool, envelopes: &mut EnvelopeTable, host: &mut impl Host) {
        if self.is_apart != is_apart {
            if self.export.spans() > 0 {
                self.flush(Destinations::ALL, envelopes, host);
            }
            self.is_apart = is_apart;
        }
    }

    /// Sends the batch.
    pub(super) fn flush(&mut self, destinations: Destinations, envelopes: &mut EnvelopeTable, host: &mut impl Host) {
        self.sent += send_batch(&mut self.export, destinations, envelopes, host);
    }
}

impl Shard {
    /// Sends the open batch.
    pub(super) fn flush(&mut self, host: &mut impl Host) {
        self.outgoing.flush(Destinations::ALL, &mut self.holding.buffer.envelopes, host);
    }

    /// Passes metrics or logs on. They lie in the log at `origin`, if they are in it.
    pub fn pass(&mut self, passing: Passing, origin: Origin, host: &mut impl Host) {
        let account = self.ledger.account(passing.signal);
        account.received += u64::from(passing.items);
        account.exporting += u64::from(passing.items);
        host.export(passing_request(passing, origin, Destinations::ALL));
    }

    /// Items of metrics or logs are not passed on: so many are told in summaries, and so many dropped by a rule.
    pub fn summarise(&mut self, signal: Signal, summarised: u32, dropped: u32) {
        let account = self.ledger.account(signal);
        account.received += u64::from(summarised) + u64::from(dropped);
        account.summarised += u64::from(summarised);
        account.drop_items(DropReason::MetricRule, u64::from(dropped));
    }

    /// Log records wait for the verdict on their trace.
    pub fn hold(&mut self, passing: &Passing) {
        let account = self.ledger.account(passing.signal);
        account.received += u64::from(passing.items);
        account.buffered += u64::from(passing.items);
    }

    /// Records that waited go on. They lie in the log at `origin`, if they are in it.
    pub fn pass_held(&mut self, passing: Passing, origin: Origin, host: &mut impl Host) {
        let account = self.ledger.account(passing.signal);
        account.buffered -= u64::from(passing.items);
        account.exporting += u64::from(passing.items);
        host.export(passing_request(passing, origin, Destinations::ALL));
    }

    /// Records that waited are dropped with their trace, or for want of one: summaries tell of them, or nobody does.
    pub fn drop_held(&mut self, passing: &Passing, is_summarised: bool) {
        let account = self.ledger.account(passing.signal);
        account.buffered -= u64::from(passing.items);
        if is_summarised {
            account.summarised += u64::from(passing.items);
        } else {
            account.drop_items(DropReason::NotSampled, u64::from(passing.items));
        }
    }

    /// Takes metrics or logs that wait in the log at `origin`, read there at a start: they are parked.
    pub fn park_passing(&mut self, passing: &Passing, origin: Origin, host: &mut impl Host) {
        let account = self.ledger.account(passing.signal);
        account.received += u64::from(passing.items);
        account.park(u64::from(passing.items));
        passing.units.iter().for_each(|unit| host.recall(KeptUnit::plain(origin.unit(*unit))));
    }

    /// Passes parked metrics or logs on again, read from the log at `origin`. They go to `destinations` only.
    pub fn pass_again(&mut self, passing: Passing, origin: Origin, destinations: Destinations, host: &mut impl Host) {
        self.ledger.account(passing.signal).unpark(u64::from(passing.items));
        host.export(passing_request(passing, origin, destinations));
    }

    /// Exports parked spans that were read from the log again: those of `batch`, whichever shard owns their traces, at
    /// whose position `is_wanted`. They go to `destinations` only. Returns how many they were.
    pub fn export_again(
        &mut self,
        now: Nanos,
        batch: &SpanBatch,
        mark_of: impl Fn(u32) -> Option<SpanMark>,
        destinations: Destinations,
        host: &mut impl Host,
    ) -> u64 {
        if destinations != Destinations::ALL {
            self.flush(host);
        }
        self.outgoing.keep_apart(false, &mut self.holding.buffer.envelopes, host);
        self.holding.open_batch(batch);
        let mut spans = 0;
        let mut label: Option<OpenLabel> = None;
        for record in &batch.spans {
            let Some(mark) = mark_of(record.position) else { continue };
            let start = record.offset as usize;
            let bytes = &batch.body[start..start + record.length as usize];
            let scope = self.holding.scope(batch, record.scope);
            let unit = KeptUnit { unit: batch.origin.unit(record.position), mark };
            let scope = self.labelled_again(&mut label, mark.label(), scope);
            let annotations = self.bench.rules().encoded_annotations(mark.annotations().numbers());
            let mark = self.recalled_mark(record, mark);
            let span = Leaving { scope, unit, bytes, mark, annotations: &annotations };
            self.outgoing.add(now, &span, destinations, &mut self.holding.buffer.envelopes, host);
            spans += 1;
        }
        if let Some(label) = label {
            label.close(&mut self.holding.buffer.envelopes);
        }
        self.holding.close_batch();
        if destinations != Destinations::ALL {
            self.outgoing.flush(destinations, &mut self.holding.buffer.envelopes, host);
        }
        self.ledger.spans.unpark(spans);
        spans
    }

    /// A scope with the label of a span in it; `open` is that of the span before.
    fn labelled_again(
        &mut self,
        open: &mut Option<OpenLabel>,
        label: Option<(u16, bool)>,
        scope: ScopeHandle,
    ) -> ScopeHandle {
        let Some((policy, is_late)) = label else { return scope };
        if open.as_ref().is_none_or(|open| (open.policy, open.is_late) != (policy, is_late))
            && let Some(former) = open.replace(OpenLabel::new(policy, None, is_late))
        {
            former.close(&mut self.holding.buffer.envelopes);
        }
        open.as_mut().map_or(scope, |open| open.scope(scope, self.bench.rules(), &mut self.holding.buffer.envelopes))
    }

    /// What a span leaves with that was read from the log again.
    fn recalled_mark(&mut self, record: &SpanRecord, mark: SpanMark) -> Option<Mark> {
        self.ledger.traces.marks_forgotten += u64::from(mark.is_bared() || mark.get().is_none());
        let (threshold, randomness) = mark.get()?;
        // The log has no place for a randomness that came with another span of the trace.
        let kept = KeptBy { policy: 0, threshold, randomness, given: None, annotations: mark.annotations() };
        let mark = late_mark(&self.plan, self.bench.rules(), record, kept);
        (self.bench.rules().is_by_randomness() && (record.head != 0 || !mark.is_plain())).then_some(mark)
    }

    /// Items given to `Host::export` wait in the log: an exporter could not take them now.
    pub fn park(&mut self, signal: Signal, items: u32) {
        let account = self.ledger.account(signal);
        let items = u64::from(items);
        assert!(account.exporting >= items, "an item's fate is reported once");
        account.exporting -= items;
        account.park(items);
    }

    /// Parked items are given up.
    pub fn drop_parked(&mut self, signal: Signal, items: u64, reason: DropReason) {
        let account = self.ledger.account(signal);
        account.parked -= i64::try_from(items).unwrap_or(i64::MAX);
        account.drop_items(reason, items);
    }

    /// Counts a request that was refused before it could be scanned.
    pub fn refuse_request(&mut self) {
        self.ledger.refused.requests += 1;
    }

    /// Counts what was refused, passed over or repaired of a request before it came here.
    pub fn note_left_out(&mut self, signal: Signal, refusals: &Refusals, ignored_names: u32, repaired_texts: u32) {
        self.ledger.refused.refuse(signal, refusals);
        self.ledger.refused.ignored_names += u64::from(ignored_names);
        self.ledger.refused.repaired_texts += u64::from(repaired_texts);
    }

    /// Books the fate of items given to `Host::export`.
    pub fn settle(&mut self, signal: Signal, items: u32, fate: ExportFate) {
        let account = self.ledger.account(signal);
        let items = u64::from(items);
        assert!(account.exporting >= items, "an item's fate is reported once");
        account.exporting -= items;
        match fate {
            ExportFate::Delivered => account.exported += items,
            ExportFate::Refused => account.drop_items(DropReason::ExportRefused, items),
            ExportFate::TooLarge => account.drop_items(DropReason::ExportTooLarge, items),
            ExportFate::Exhausted => account.drop_items(DropReason::ExportExhausted, items),
            ExportFate::QueueFull => account.drop_items(DropReason::ExportQueueFull, items),
            ExportFate::NoExporter => account.drop_items(DropReason::NoExporter, items),
            ExportFate::Shutdown => account.drop_items(DropReason::ExportShutdown, items),
        }
    }
}

/// The scopes of one trace's spans with the policy's name in them, one at a time: neighbours share theirs.
pub(super) struct OpenLabel {
    policy: u16,
    /// By name: its number means something to the rules that the trace was judged under only.
    sub_policy: Option<String>,
    is_late: bool,
    /// A scope as it came, and with the label; the latter is held.
    last: Option<(ScopeHandle, ScopeHandle)>,
}

impl OpenLabel {
    pub(super) fn new(policy: u16, sub_policy: Option<String>, is_late: bool) -> Self {
        Self { policy, sub_policy, is_late, last: None }
    }

    /// `scope` with the label. It is held until the next call with another one.
    pub(super) fn scope(&mut self, scope: ScopeHandle, rules: &Rules, envelopes: &mut EnvelopeTable) -> ScopeHandle {
        if let Some((known, with_label)) = self.last
            && known == scope
        {
            return with_label;
        }
        let label = Label {
            policy: rules.policy_names().nth(usize::from(self.policy)),
            sub_policy: self.sub_policy.as_deref(),
            is_late: self.is_late,
        };
        let (_, resource, envelope) = envelopes.parts(scope);
        let (resource, envelope) = (resource.to_vec(), labelled(envelope, &label));
        let with_label = envelopes.intern(&resource, &envelope);
        if let Some((_, before)) = self.last.replace((scope, with_label)) {
            envelopes.release(before);
        }
        with_label
    }

    /// Lets go of the last scope.
    pub(super) fn close(self, envelopes: &mut EnvelopeTable) {
        if let Some((_, last)) = self.last {
            envelopes.release(last);
        }
    }
}

fn passing_request(passing: Passing, origin: Origin, destinations: Destinations) -> ExportRequest {
    let Passing { signal, body, items, units } = passing;
    let is_logged = !origin.segment.is_none();
    let units = units.into_iter().filter(|_| is_logged).map(|unit| KeptUnit::plain(origin.unit(unit))).collect();
    ExportRequest { signal, body, items, units, destinations, is_summary: false }
}

/// Gives the open batch, if there is anything in it, to the host. Returns how many batches that were.
fn send_batch(
    export: &mut Export,
    destinations: Destinations,
    envelopes: &mut EnvelopeTable,
    host: &mut impl Host,
) -> u64 {
    let Some(flushed) = export.flush(|scope| envelopes.parts(ScopeHandle::from_number(scope))) else { return 0 };
    for scope in flushed.scopes {
        envelopes.release(ScopeHandle::from_number(scope));
    }
    host.export(ExportRequest {
        signal: Signal::Traces,
        body: flushed.body.into(),
        items: flushed.spans,
        units: flushed.units,
        destinations,
        is_summary: false,
    });
    1
}
