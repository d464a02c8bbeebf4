//! Kept spans, re-framed for the next hop: byte for byte as they came, one `ResourceSpans` a resource and one
//! `ScopeSpans` a scope, batched over traces.

pub mod label;
pub mod mark;

use crate::vocabulary::KeptUnit;
use hashbrown::{HashMap, HashSet};
use tailwater_proto::otlp::wire::{field_length, put_header};

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Most spans in a request.
    pub spans_max: u32,
    /// Most bytes of a request, resources and scopes included. Receivers commonly refuse more than 4 MiB.
    pub bytes_max: usize,
}

/// The open batch. Scopes are named by the buffer's handles; the shard holds each of them until the flush.
#[derive(Debug)]
pub struct Export {
    limits: BatchLimits,
    scopes: Vec<OpenScope>,
    by_scope: HashMap<u32, usize, ahash::RandomState>,
    /// The resources of those scopes: each is there once.
    resources: HashSet<u32, ahash::RandomState>,
    /// The scope of the last span and its place in `scopes`: neighbours share theirs.
    last: Option<(u32, usize)>,
    spans: u32,
    /// Bytes of the request as it will be, at most a few more.
    bytes: usize,
    /// The spans' places in the log, of those that are in it.
    units: Vec<KeptUnit>,
    /// Emptied lists, so that steady state allocates nothing.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct OpenScope {
    scope: u32,
    /// `ScopeSpans.spans` fields, ready to be copied.
    spans: Vec<u8>,
}

/// A flushed batch.
#[derive(Debug)]
pub struct Flushed {
    /// The `ExportTraceServiceRequest`.
    pub body: Vec<u8>,
    /// Spans in it.
    pub spans: u32,
    /// Their places in the log, of those that are in it.
    pub units: Vec<KeptUnit>,
    /// The scopes whose hold ends with the flush.
    pub scopes: Vec<u32>,
}

/// What the batch needs to know of a scope: the resource's number and envelope, the scope's envelope.
pub type Parts<'a> = (u32, &'a [u8], &'a [u8]);

/// `spans`, `scope_spans` and `resource_spans` all have these numbers in their enclosing messages.
const SPANS: u32 = 2;
const SCOPE_SPANS: u32 = 2;
const RESOURCE_SPANS: u32 = 1;
/// Bytes of a field's tag and length: requests are below 4 GiB.
const HEADER_BYTES_MAX: usize = 6;
/// Lists kept for reuse.
const SPARE_MAX: usize = 64;
/// The largest of them.
const SPARE_BYTES_MAX: usize = 1 << 20;

impl Export {
    /// An empty batch.
    #[must_use]
    pub fn new(limits: BatchLimits, seed: [u64; 4]) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            limits,
            scopes: Vec::new(),
            by_scope: HashMap::with_hasher(hasher.clone()),
            resources: HashSet::with_hasher(hasher),
            last: None,
            spans: 0,
            bytes: 0,
            units: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Spans in the open batch.
    #[must_use]
    pub fn spans(&self) -> u32 {
        self.spans
    }

    /// True when a span of `span` bytes in a scope of these parts would overfill the batch: flush first. A span that is
    /// too large for any batch is sent in one of its own.
    #[must_use]
    pub fn is_full_for(&self, scope: u32, parts: Parts<'_>, span: usize) -> bool {
        if self.spans == 0 {
            return false;
        }
        let more = self.cost(self.place(scope), parts, span);
        self.spans >= self.limits.spans_max || self.bytes + more > self.limits.bytes_max
    }

    /// Adds a span to the scope of these parts. True when the scope is new to the batch and is to be held by the caller
    /// until the flush.
    pub fn add(&mut self, scope: u32, parts: Parts<'_>, unit: KeptUnit, span: &[u8]) -> bool {
        let place = self.place(scope);
        self.bytes += self.cost(place, parts, span.len());
        let position = place.unwrap_or(self.scopes.len());
        if place.is_none() {
            self.by_scope.insert(scope, position);
            self.resources.insert(parts.0);
            self.scopes.push(OpenScope { scope, spans: self.spare.pop().unwrap_or_default() });
        }
        self.last = Some((scope, position));
        let spans = &mut self.scopes[position].spans;
        put_header(spans, SPANS, span.len());
        spans.extend_from_slice(span);
        if !unit.unit.is_none() {
            self.units.push(unit);
        }
        self.spans += 1;
        place.is_none()
    }

    /// Where a scope is in the batch.
    fn place(&self, scope: u32) -> Option<usize> {
        match self.last {
            Some((last, place)) if last == scope => Some(place),
            _ => self.by_scope.get(&scope).copied(),
        }
    }

    /// What a span adds to the request: itself, and its scope and resource where they are not there yet.
    fn cost(&self, place: Option<usize>, (resource, of_resource, of_scope): Parts<'_>, span: usize) -> usize {
        let span = field_length(SPANS, span);
        if place.is_some() {
            return span;
        }
        let scope = HEADER_BYTES_MAX + of_scope.len();
        let is_known = self.resources.contains(&resource);
        span + scope + if is_known { 0 } else { HEADER_BYTES_MAX + of_resource.len() }
    }

    /// Frames the batch and empties it; `None` when nothing is in it. `parts` tells of a scope.
    pub fn flush<'a>(&mut self, parts: impl Fn(u32) -> Parts<'a>) -> Option<Flushed> {
        if self.spans == 0 {
            return None;
        }
        self.scopes.sort_unstable_by_key(|open| (parts(open.scope).0, open.scope));
        let mut body = Vec::with_capacity(self.bytes);
        for group in self.scopes.chunk_by(|left, right| parts(left.scope).0 == parts(right.scope).0) {
            let scope_length = |open: &OpenScope| parts(open.scope).2.len() + open.spans.len();
            let resource = parts(group[0].scope).1;
            let content: usize = group.iter().map(|open| field_length(SCOPE_SPANS, scope_length(open))).sum();
            put_header(&mut body, RESOURCE_SPANS, resource.len() + content);
            body.extend_from_slice(resource);
            for open in group {
                put_header(&mut body, SCOPE_SPANS, scope_length(open));
                body.extend_from_slice(parts(open.scope).2);
                body.extend_from_slice(&open.spans);
            }
        }
        self.by_scope.clear();
        self.resources.clear();
        self.last = None;
        let mut scopes = Vec::with_capacity(self.scopes.len());
        for mut open in self.scopes.drain(..) {
            scopes.push(open.scope);
            if self.spare.len() < SPARE_MAX && open.spans.capacity() <= SPARE_BYTES_MAX {
                open.spans.clear();
                self.spare.push(open.spans);
            }
        }
        self.bytes = 0;
        let (spans, units) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.units));
        Some(Flushed { body, spans, units, scopes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Unit;

    const PLAIN: KeptUnit = KeptUnit::plain(Unit::NONE);

    #[test]
    fn spans_are_grouped_by_resource_and_scope_and_unchanged() {
        let mut export = Export::new(BatchLimits { spans_max: 10, bytes_max: 1000 }, [1, 2, 3, 4]);
        let parts = |scope: u32| match scope {
            7 => (1, &[0x0a, 0][..], &[0x1a, 1, b'a'][..]),
            8 => (1, &[0x0a, 0][..], &[0x1a, 1, b'b'][..]),
            _ => (2, &[][..], &[][..]),
        };
        assert!(export.add(9, parts(9), PLAIN, b"z"));
        assert!(export.add(7, parts(7), PLAIN, b"one"));
        assert!(export.add(8, parts(8), PLAIN, b"two"));
        assert!(!export.add(7, parts(7), PLAIN, b"three"));
        let flushed = export.flush(parts).unwrap();
        let expected = [
            &[0x0a, 26, 0x0a, 0][..],
            &[0x12, 15, 0x1a, 1, b'a', 0x12, 3][..],
            b"one",
            &[0x12, 5],
            b"three",
            &[0x12, 8, 0x1a, 1, b'b', 0x12, 3],
            b"two",
            &[0x0a, 5, 0x12, 3, 0x12, 1, b'z'],
        ]
        .concat();
        // Two ScopeSpans of 17 and 10 bytes with their headers, and the resource's 2.
        let expected = [&[0x0a, 29][..], &expected[2..]].concat();
        assert_eq!(flushed.body, expected);
        assert_eq!((flushed.spans, flushed.scopes.len()), (4, 3));
        assert!(export.flush(parts).is_none());
    }

    #[test]
    fn a_batch_is_full_by_spans_or_bytes_but_takes_one_span_of_any_size() {
        let none = (0, &[][..], &[][..]);
        let mut export = Export::new(BatchLimits { spans_max: 2, bytes_max: 30 }, [0; 4]);
        assert!(!export.is_full_for(1, none, 1_000_000));
        export.add(1, none, PLAIN, &[0; 5]);
        assert!(!export.is_full_for(1, none, 9));
        assert!(export.is_full_for(1, none, 10));
        export.add(1, none, PLAIN, &[0; 5]);
        assert!(export.is_full_for(1, none, 0));
    }

    #[test]
    fn a_request_is_never_larger_than_its_bound_whatever_the_resources_and_scopes() {
        const BYTES_MAX: usize = 20_000;
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..50 {
            let mut export = Export::new(BatchLimits { spans_max: 10_000, bytes_max: BYTES_MAX }, [round; 4]);
            let content = vec![0; 3000];
            let parts = |scope: u32| {
                let resource = scope % 97;
                (resource, &content[..(resource as usize * 37) % 2500], &content[..(scope as usize * 13) % 400])
            };
            let mut requests = 0;
            for _ in 0..2000 {
                let (scope, span) = (u32::try_from(next(500)).unwrap(), next(300) as usize);
                if export.is_full_for(scope, parts(scope), span) {
                    let counted = export.bytes;
                    let flushed = export.flush(parts).unwrap();
                    assert!(flushed.body.len() <= counted && counted <= BYTES_MAX, "{}", flushed.body.len());
                    assert!(flushed.body.len() + 4000 > BYTES_MAX, "filled as far as the next span allows");
                    requests += 1;
                }
                export.add(scope, parts(scope), PLAIN, &content[..span]);
            }
            assert!(requests > 10);
        }
    }
}
