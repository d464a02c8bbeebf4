//! One walk over a trace request, for one set of rules or several: the bytes are read once, and each evaluator is asked
//! about what its rules want to know while they are hot.

use super::evaluator::{Around, Evaluator, Walked, position};
use super::gather::{Counter, Gather};
use super::{IntakeError, Terms};
use crate::rules::status_bit;
use crate::vocabulary::{Envelopes, ScopeEnvelope, SpanHead, SpanRecord};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tailwater_ottl::Scope;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::{Fault, KeyValue};
use tailwater_proto::otlp::mend::mended;
use tailwater_proto::otlp::refusal::{Cause, Refusals};
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};
use tailwater_proto::tracestate::{self, SamplingState};
use tailwater_rollup::spans::SpanTally;

/// The flag of a trace id that is random, among a span's `flags` (W3C Level 2).
const RANDOM_FLAG: u32 = 2;

/// Walks `body`, or what can be mended of it, and gives the evaluators back. One evaluator comes as an array, whose loops
/// are none at all.
pub(super) fn walk<'e, E: AsMut<[Evaluator<'e>]>>(
    terms: &Terms,
    body: &Bytes,
    evaluators: E,
    tally: Option<&mut SpanTally>,
) -> Result<(E, Walked), IntakeError> {
    match tally {
        None => walk_gathering(terms, body, evaluators, &mut ()),
        Some(SpanTally { metrics: Some(tally), graph: None }) => walk_gathering(terms, body, evaluators, tally),
        Some(tally) => walk_gathering(terms, body, evaluators, tally),
    }
}

fn walk_gathering<'e, E: AsMut<[Evaluator<'e>]>>(
    terms: &Terms,
    body: &Bytes,
    evaluators: E,
    counter: &mut impl Counter,
) -> Result<(E, Walked), IntakeError> {
    match walk_once(terms, body, evaluators, counter.gather())? {
        (evaluators, Some(walked)) => Ok((evaluators, walked)),
        (evaluators, None) => walk_mended(terms, body, evaluators, counter.gather()),
    }
}

#[cold]
fn walk_mended<'e, E: AsMut<[Evaluator<'e>]>, G: Gather>(
    terms: &Terms,
    body: &Bytes,
    evaluators: E,
    gathering: G,
) -> Result<(E, Walked), IntakeError> {
    let mended = mended(Signal::Traces, body)?;
    let body = mended.body.map_or_else(|| body.clone(), Bytes::from);
    let (evaluators, Some(mut walked)) = walk_once(terms, &body, evaluators, gathering)? else {
        return Err(IntakeError::Malformed(mended.fault.unwrap_or(Fault::Utf8)));
    };
    walked.refusals.merge(&mended.refused);
    walked.fault = mended.fault.map(|fault| (mended.place, SpanFault::Part(fault))).or(walked.fault);
    walked.repaired = mended.repaired;
    Ok((evaluators, walked))
}

/// Nothing is walked, and nothing staged, where something above the spans has a fault, or a text is not UTF-8: that needs
/// mending.
fn walk_once<'e, E: AsMut<[Evaluator<'e>]>, G: Gather>(
    terms: &Terms,
    body: &Bytes,
    evaluators: E,
    gathering: G,
) -> Result<(E, Option<Walked>), IntakeError> {
    if u32::try_from(body.len()).is_err() {
        return Err(IntakeError::TooLarge);
    }
    let mut walk = Walk {
        terms,
        evaluators,
        gathering,
        around: Around { request: body, envelopes: Envelopes::default(), resource: 0..0, scope: Scope::default() },
        resource_bytes: 0,
        head: None,
        accepted: 0,
        refused: 0,
        refusals: Refusals::default(),
        fault: None,
        has_broken_text: false,
    };
    let outcome = traces(body, terms.span_bytes_max, &mut walk);
    let Walk {
        mut evaluators,
        gathering,
        around: Around { envelopes, .. },
        accepted,
        refused,
        refusals,
        fault,
        has_broken_text,
        ..
    } = walk;
    if outcome.is_err() || has_broken_text {
        evaluators.as_mut().iter_mut().for_each(Evaluator::discard);
        return Ok((evaluators, None));
    }
    let (body, envelopes, counted) = (body.clone(), Arc::new(envelopes), gathering.finish());
    Ok((evaluators, Some(Walked { body, envelopes, accepted, refused, refusals, fault, repaired: 0, counted })))
}

/// One request's walk.
struct Walk<'a, E, G> {
    terms: &'a Terms,
    evaluators: E,
    gathering: G,
    around: Around<'a>,
    resource_bytes: usize,
    /// What the latest tracestate says about sampling.
    head: Option<SpanHead>,
    accepted: u32,
    refused: u32,
    refusals: Refusals,
    fault: Option<(String, SpanFault)>,
    has_broken_text: bool,
}

impl<'e, E: AsMut<[Evaluator<'e>]>, G: Gather> Walk<'_, E, G> {
    fn keep_bytes(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = position(self.around.envelopes.bytes.len());
        self.around.envelopes.bytes.extend_from_slice(bytes);
        start..position(self.around.envelopes.bytes.len())
    }

    /// Whether the resource under way and a scope in it of so many bytes are more than a span may be: each span leaves
    /// with both, and a request must have room for the three.
    fn is_too_large(&self, scope: usize) -> bool {
        self.resource_bytes + scope > self.terms.span_bytes_max as usize
    }

    /// Takes the spans of the scope that ends out again, and counts them as refused.
    #[cold]
    fn refuse_scope(&mut self) {
        let scope = position(self.around.envelopes.scopes.len()).saturating_sub(1);
        // All have staged the same spans.
        let unstaged = self.evaluators.as_mut().iter_mut().map(|evaluator| evaluator.unstage(scope)).max();
        let refused = position(unstaged.unwrap_or(0));
        self.gathering.scope_refused();
        if refused > 0 {
            self.accepted -= refused;
            self.refused += refused;
            let fault = SpanFault::EnvelopeTooLarge(self.terms.span_bytes_max);
            self.refusals.add(Cause::from(&fault), refused);
            self.fault.get_or_insert_with(|| (format!("the scope numbered {scope} of the request"), fault));
        }
    }
}

/// Puts into `head` what a tracestate says about sampling, if anything.
#[cold]
fn read_head<'a>(trace_state: &[u8], head: &'a mut Option<SpanHead>) -> Option<&'a SpanHead> {
    let SamplingState { threshold, randomness, is_faulty } = tracestate::read(trace_state).ok()?;
    *head = (threshold.is_some() || randomness.is_some() || is_faulty).then_some(SpanHead { threshold, randomness });
    head.as_ref()
}

impl<'e, E: AsMut<[Evaluator<'e>]>, G: Gather> TraceVisitor for Walk<'_, E, G> {
    fn resource_begin(&mut self) {
        self.evaluators.as_mut().iter_mut().for_each(Evaluator::resource_begin);
        self.gathering.resource_begin();
    }

    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        for evaluator in self.evaluators.as_mut() {
            evaluator.resource_attribute(&attribute);
        }
        self.gathering.resource_attribute(&attribute);
    }

    fn resource(&mut self, envelope: &[u8]) {
        self.resource_bytes = envelope.len();
        self.around.resource = if self.is_too_large(0) { 0..0 } else { self.keep_bytes(envelope) };
        self.gathering.resource_end();
    }

    fn scope_begin(&mut self) {
        self.gathering.scope_begin();
        // Its own range is known at its end.
        self.around.envelopes.scopes.push(ScopeEnvelope { resource: self.around.resource.clone(), scope: 0..0 });
    }

    fn scope_message(&mut self, start: usize, length: usize) {
        if self.evaluators.as_mut().iter().any(|evaluator| evaluator.rules.ottl().needs_scope()) {
            self.around.scope = Scope::of(self.around.request.get(start..start + length).unwrap_or_default());
        }
    }

    fn scope_end(&mut self, envelope: &[u8]) {
        if self.is_too_large(envelope.len()) {
            return self.refuse_scope();
        }
        let range = self.keep_bytes(envelope);
        if let Some(scope) = self.around.envelopes.scopes.last_mut() {
            scope.scope = range;
        }
    }

    #[inline(always)]
    fn span_begin(&mut self) {
        for evaluator in self.evaluators.as_mut() {
            evaluator.span_begin();
        }
        self.gathering.span_begin();
    }

    #[inline(always)]
    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        for evaluator in self.evaluators.as_mut() {
            evaluator.span_attribute(&attribute);
        }
        self.gathering.span_attribute(&attribute);
    }

    fn span_link(&mut self, link: &[u8]) {
        let route = &self.terms.route;
        self.gathering.span_link(link, |trace_id| route.shard(route.hash(trace_id)).0);
    }

    #[inline(always)]
    fn span(&mut self, facts: &SpanFacts<'_>) {
        for evaluator in self.evaluators.as_mut() {
            evaluator.evaluate(&self.terms.route, facts, &self.around);
        }
        let hash = self.terms.route.hash(&facts.trace_id);
        let shard = self.terms.route.shard(hash);
        let head = if facts.trace_state.is_empty() { None } else { read_head(facts.trace_state, &mut self.head) };
        self.gathering.span(facts, head.and_then(|head| head.threshold), shard.0);
        let record = |leaves, head| SpanRecord {
            trace_id: facts.trace_id,
            hash,
            start_unix_nano: facts.start_unix_nano,
            end_unix_nano: facts.end_unix_nano,
            leaves,
            offset: position(facts.offset),
            length: position(facts.bytes.len()),
            scope: position(self.around.envelopes.scopes.len()).saturating_sub(1),
            position: self.accepted + self.refused,
            head,
            status: status_bit(facts.status_code),
            is_root: facts.is_root,
            is_random: facts.flags & RANDOM_FLAG != 0,
        };
        for evaluator in self.evaluators.as_mut() {
            evaluator.stage(shard, head, record);
        }
        self.accepted += 1;
    }

    #[cold]
    fn span_refused(&mut self, fault: SpanFault) {
        let position = self.accepted + self.refused;
        self.refused += 1;
        self.refusals.add(Cause::from(&fault), 1);
        self.has_broken_text |= fault == SpanFault::Part(Fault::Utf8);
        self.fault.get_or_insert_with(|| (format!("span {position} of the request, from 0"), fault));
    }
}
