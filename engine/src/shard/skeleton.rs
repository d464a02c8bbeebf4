//! What pending traces look like, for the skeletons of those that are dropped: each span says its service and whether it has
//! an error, the root where the trace begins.

use super::Shard;
use crate::explain::origin::{root_name, service_name, text_field};
use crate::vocabulary::{SpanBatch, SpanRecord, StatusMask};
use std::ops::Range;
use tailwater_proto::otlp::wire::{Reader, Value};
use tailwater_rollup::skeletons::{DroppedTrace, Skeletons, SkeletonsPartial, SkeletonsPlan};

/// The bit of a status that is an error.
const ERROR: StatusMask = 4;
/// `Span.attributes`.
const ATTRIBUTES: u32 = 9;
const ROUTE: &[u8] = b"http.route";

/// The skeletons of a shard.
#[derive(Debug)]
pub(super) struct Sketching {
    skeletons: Skeletons,
    /// The resource of the span before, by its place in the envelopes of the batch, and the number of its service.
    known: Option<(Range<u32>, u32)>,
}

impl Sketching {
    /// Places in envelopes are those of another batch from now on.
    pub(super) fn open_batch(&mut self) {
        self.known = None;
    }

    /// A trace begins.
    pub(super) fn open(&mut self, entry: u32) {
        self.skeletons.open(entry);
    }

    /// A span of a pending trace came.
    pub(super) fn note(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        let Some(scope) = batch.envelopes.scopes.get(record.scope as usize) else { return };
        let service = match &self.known {
            Some((resource, service)) if *resource == scope.resource => *service,
            _ => {
                let name = service_name(batch.envelopes.slice(&scope.resource)).unwrap_or_default();
                let service = self.skeletons.service(name);
                self.known = Some((scope.resource.clone(), service));
                service
            }
        };
        self.skeletons.note(entry, service, record.status == ERROR);
        if record.is_root {
            let service = service_name(batch.envelopes.slice(&scope.resource)).unwrap_or_default();
            let start = record.offset as usize;
            let span = batch.body.get(start..start + record.length as usize).unwrap_or_default();
            let name = root_name(span).unwrap_or_default();
            self.skeletons.note_root(entry, service, (name, route(span).unwrap_or_default()));
        }
    }
}

/// `http.route` of a span.
fn route(span: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(span);
    while let Ok(Some(field)) = reader.next_field() {
        if let (ATTRIBUTES, Value::Bytes(pair)) = (field.number, field.value)
            && let Some(route) = text_of(pair, ROUTE)
        {
            return Some(route);
        }
    }
    None
}

/// The text of a `KeyValue`, if its key is this one.
fn text_of<'a>(pair: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    (text_field(pair, 1)? == key).then(|| text_field(text_field(pair, 2)?, 1))?
}

impl Shard {
    /// From now on skeletons of dropped traces are counted. Traces that are pending have no shape.
    pub fn sketch(&mut self, plan: SkeletonsPlan) {
        let skeletons = Skeletons::new(plan, self.plan.hash_seed[0]);
        self.sketching = Some(Box::new(Sketching { skeletons, known: None }));
    }

    /// Gives away the skeletons of the traces that were dropped since the last time.
    pub fn take_skeletons(&mut self) -> Option<SkeletonsPartial> {
        let sketching = self.sketching.as_mut()?;
        sketching.known = None;
        Some(sketching.skeletons.take())
    }

    /// Traces that count for no shape of their own.
    #[must_use]
    pub fn skeletons_overflowed(&self) -> u64 {
        self.sketching.as_ref().map_or(0, |sketching| sketching.skeletons.overflowed())
    }

    /// A trace was dropped.
    #[inline]
    pub(super) fn note_skeleton(&mut self, entry: u32) {
        if let Some(sketching) = &mut self.sketching {
            let trace = self.holding.buffer.traces.get(entry);
            sketching.skeletons.dropped(
                entry,
                &DroppedTrace {
                    trace_id: trace.id,
                    spans: trace.size.spans,
                    start_unix_nano: trace.seen.start_unix_nano,
                    end_unix_nano: trace.seen.end_unix_nano,
                },
            );
        }
    }
}
