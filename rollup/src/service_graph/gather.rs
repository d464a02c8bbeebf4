//! What a walk over a request gathers of ends: spans of clients, servers, producers and consumers, each with what it says of
//! its side. Other spans cost a look at their attributes.

use super::Plan;
use super::side::{Side, Traits};
use crate::span_metrics::series::put_text;
use crate::weight::weight;
use hashbrown::HashTable;
use std::sync::Arc;
use tailwater_proto::otlp::check::{AnyValue, KeyValue};
use tailwater_proto::otlp::scan::SpanFacts;
use tailwater_proto::otlp::wire::Reader;
use twox_hash::XxHash3_64;

/// Sides that are known: most requests have some of those before.
/// At the bound: all are forgotten and found anew; nothing is lost, and nothing is counted.
const SIDES_MAX: usize = 1 << 14;
/// Links of a consumer that are followed: as many as SDKs send of one span.
/// At the bound: further ones are not; the span is an end for each of those before.
const LINKS_MAX: usize = 128;
/// A list that one huge request has made longer than this is given back to the allocator.
const KEPT_ENDS_MAX: usize = 1 << 16;

const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const PRODUCER: u64 = 4;
const CONSUMER: u64 = 5;
const STATUS_ERROR: u64 = 2;

/// What two ends of one request have in common: the trace and the span of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

/// One end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub key: Key,
    pub nanos: u64,
    /// How many it stands for.
    pub weight: u64,
    /// Its place among the sides.
    pub side: u32,
    /// Where it is to be paired.
    pub shard: u16,
    pub traits: Traits,
}

/// Ends, to be paired when their request is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    pub(super) ends: Vec<End>,
    pub(super) sides: Vec<Arc<Side>>,
}

impl Ends {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Those that are to be paired on other shards than `own`, by their shards. Those that wait for nobody are `own`'s.
    #[must_use]
    pub fn of_others(&self, own: u16) -> Vec<(u16, Self)> {
        let mut others: Vec<(u16, Self)> = Vec::new();
        for end in self.ends.iter().filter(|end| !end.is_of(own)) {
            match others.iter_mut().find(|(shard, _)| *shard == end.shard) {
                Some((_, ends)) => ends.ends.push(*end),
                None => others.push((end.shard, Self { ends: vec![*end], sides: self.sides.clone() })),
            }
        }
        others
    }
}

impl End {
    /// Whether it is to be taken on that shard, which has walked over it or was given it.
    pub fn is_of(&self, shard: u16) -> bool {
        self.shard == shard || self.traits.is_alone()
    }
}

/// A known side, and where it is among those of the last request that had it.
#[derive(Debug)]
struct Known {
    side: Arc<Side>,
    request: u64,
    place: u32,
}

/// Gathers ends on one core.
#[derive(Debug)]
pub struct Gatherer {
    plan: Arc<Plan>,
    seed: u64,
    /// Names of all attributes that say something, each once; and which lengths they have, so that most others are passed over
    /// by theirs.
    names: Vec<Vec<u8>>,
    lengths: u64,
    /// Places in `names`.
    dimensions: Vec<usize>,
    databases: Vec<usize>,
    peers: Vec<usize>,
    known: HashTable<Known>,
    /// The number of the request under way.
    request: u64,
    service: Vec<u8>,
    /// By name, as text; empty where there is none.
    of_resource: Vec<Vec<u8>>,
    of_span: Vec<Vec<u8>>,
    has_any: bool,
    /// The places of sides of the resource under way of which the span says nothing, by their traits.
    plain: [u32; PLAIN],
    links: Vec<(Key, u16)>,
    key: Vec<u8>,
    spare: Vec<End>,
}

/// Clients, and servers.
const PLAIN: usize = 2;
const NO_SIDE: u32 = u32::MAX;

impl Gatherer {
    /// Nothing known. Sides are hashed with the seed: it is the same on all cores.
    #[must_use]
    pub fn new(plan: Arc<Plan>, seed: u64) -> Self {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut places = |wanted: &[String]| -> Vec<usize> {
            let place = |name: &String| {
                names.iter().position(|known| known == name.as_bytes()).unwrap_or_else(|| {
                    names.push(name.clone().into_bytes());
                    names.len() - 1
                })
            };
            wanted.iter().map(place).collect()
        };
        let dimensions = places(&plan.dimensions);
        let databases = places(&plan.database_attributes);
        let peers = places(&plan.virtual_node_attributes);
        let none = vec![Vec::new(); names.len()];
        Self {
            lengths: names.iter().fold(0, |lengths, name| lengths | length_bit(name)),
            names,
            dimensions,
            databases,
            peers,
            known: HashTable::new(),
            request: 0,
            service: Vec::new(),
            of_resource: none.clone(),
            of_span: none,
            has_any: false,
            plain: [NO_SIDE; PLAIN],
            links: Vec::new(),
            key: Vec::new(),
            spare: Vec::new(),
            plan,
            seed,
        }
    }

    /// Begins a walk over a request.
    pub fn gather(&mut self) -> Gathering<'_> {
        self.request += 1;
        let mut ends = std::mem::take(&mut self.spare);
        ends.clear();
        Gathering { ends: Ends { ends, sides: Vec::new() }, scope_begins: 0, gatherer: self }
    }

    /// Takes the list of ends that were taken back, so that the next request needs no allocation.
    pub fn recycle(&mut self, ends: Ends) {
        if ends.ends.capacity() > self.spare.capacity() && ends.ends.capacity() <= KEPT_ENDS_MAX {
            self.spare = ends.ends;
        }
    }

    /// The first of these that the resource or the span has.
    fn first(&self, places: &[usize], is_of_resource: bool) -> &[u8] {
        for place in places {
            let resource = if is_of_resource { &*self.of_resource[*place] } else { &[] };
            let found = if resource.is_empty() { &*self.of_span[*place] } else { resource };
            if !found.is_empty() {
                return found;
            }
        }
        &[]
    }

    /// What the span under way says of its side is put into `key`: what it is, the service, whom it asks and its dimensions.
    fn put_key(&mut self, traits: Traits) {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.push(traits.only(Traits::OF_SIDE));
        let other = if traits.has(Traits::DATABASE) {
            self.first(&self.databases, true)
        } else if traits.has(Traits::CLIENT) {
            self.first(&self.peers, false)
        } else {
            &[]
        };
        put_part(&mut key, &self.service);
        put_part(&mut key, other);
        for place in &self.dimensions {
            let found = self.first(std::slice::from_ref(place), true);
            put_part(&mut key, found);
        }
        self.key = key;
    }

    /// The place of the side whose key is in the scratch among those of the request.
    fn place(&mut self, sides: &mut Vec<Arc<Side>>) -> u32 {
        let hash = XxHash3_64::oneshot_with_seed(self.seed, &self.key);
        if self.known.len() >= SIDES_MAX {
            self.known.clear();
        }
        let key = &self.key;
        if self.known.find(hash, |known| known.side.hash == hash && *known.side.key == **key).is_none() {
            let known = Known { side: self.side(hash), request: 0, place: 0 };
            self.known.insert_unique(hash, known, |known| known.side.hash);
        }
        let (key, request) = (&self.key, self.request);
        let Some(known) = self.known.find_mut(hash, |known| known.side.hash == hash && *known.side.key == **key) else {
            return NO_SIDE;
        };
        if known.request != request {
            (known.request, known.place) = (request, u32::try_from(sides.len()).unwrap_or(NO_SIDE));
            sides.push(known.side.clone());
        }
        known.place
    }

    #[cold]
    fn side(&self, hash: u64) -> Arc<Side> {
        let mut parts = parts(self.key.get(1..).unwrap_or_default());
        let (service, other) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let is_client = self.key.first().is_some_and(|traits| traits & Traits::CLIENT.only(Traits::CLIENT) != 0);
        let prefix = if is_client { "client" } else { "server" };
        let mut dimensions = Vec::new();
        for (name, value) in self.plan.dimensions.iter().zip(parts) {
            if !value.is_empty() {
                put_text(&mut dimensions, &format!("{prefix}_{name}"), value);
            }
        }
        Arc::new(Side {
            hash,
            key: self.key.clone().into(),
            service: service.into(),
            other: other.into(),
            dimensions: dimensions.into(),
        })
    }
}

fn put_part(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    key.extend_from_slice(part);
}

fn parts(mut key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = key.split_first_chunk()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        key = rest;
        Some(part)
    })
}

/// Names of 63 bytes and more share a bit.
#[inline(always)]
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Notes the attribute if it is one of `names`. Of several of one name the first counts, as in the Collector.
#[inline]
fn note(names: &[Vec<u8>], noted: &mut [Vec<u8>], attribute: &KeyValue<'_>) -> bool {
    let mut has_any = false;
    for (name, noted) in names.iter().zip(noted) {
        if noted.is_empty() && *name == attribute.key {
            match attribute.value {
                AnyValue::Text(text) => noted.extend_from_slice(text),
                AnyValue::Boolean(truth) => noted.extend_from_slice(if truth { b"true" } else { b"false" }),
                AnyValue::Integer(number) => put_decimal(noted, number),
                // No name of anything.
                AnyValue::Other(_) => {}
            }
            has_any = true;
        }
    }
    has_any
}

fn put_decimal(out: &mut Vec<u8>, number: i64) {
    let start = out.len();
    let mut rest = number.unsigned_abs();
    loop {
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out[start..].reverse();
}

/// A walk over one request.
#[derive(Debug)]
pub struct Gathering<'a> {
    gatherer: &'a mut Gatherer,
    ends: Ends,
    /// Where the ends of the scope under way begin.
    scope_begins: usize,
}

impl Gathering<'_> {
    /// A resource begins.
    pub fn resource_begin(&mut self) {
        self.gatherer.service.clear();
        self.gatherer.of_resource.iter_mut().for_each(Vec::clear);
        self.gatherer.plain = [NO_SIDE; PLAIN];
    }

    /// An attribute of it.
    pub fn resource_attribute(&mut self, attribute: &KeyValue<'_>) {
        let Gatherer { names, of_resource, service, .. } = &mut *self.gatherer;
        if attribute.key == b"service.name"
            && let Some(text) = attribute.value.text()
        {
            service.clear();
            service.extend_from_slice(text);
        }
        note(names, of_resource, attribute);
    }

    /// A scope begins.
    pub fn scope_begin(&mut self) {
        self.scope_begins = self.ends.ends.len();
    }

    /// The spans of the scope under way are refused after all.
    pub fn scope_refused(&mut self) {
        self.ends.ends.truncate(self.scope_begins);
    }

    /// A span begins.
    #[inline(always)]
    pub fn span_begin(&mut self) {
        if self.gatherer.has_any {
            self.gatherer.of_span.iter_mut().for_each(Vec::clear);
            self.gatherer.has_any = false;
        }
        self.gatherer.links.clear();
    }

    /// An attribute of it.
    #[inline(always)]
    pub fn span_attribute(&mut self, attribute: &KeyValue<'_>) {
        let Gatherer { names, lengths, of_span, has_any, .. } = &mut *self.gatherer;
        if *lengths & length_bit(attribute.key) != 0 {
            *has_any |= note(names, of_span, attribute);
        }
    }

    /// A sound link of it, as a message; `shard` says where a trace belongs.
    #[cold]
    pub fn span_link(&mut self, link: &[u8], shard: impl FnOnce(&[u8; 16]) -> u16) {
        let (mut reader, mut trace, mut span): (_, &[u8], &[u8]) = (Reader::new(link), &[], &[]);
        while let Ok(Some(field)) = reader.next_field() {
            match (field.number, field.bytes()) {
                (1, Ok(bytes)) => trace = bytes,
                (2, Ok(bytes)) => span = bytes,
                _ => {}
            }
        }
        if let (Ok(trace_id), Ok(span_id)) = (trace.try_into(), span.try_into())
            && self.gatherer.links.len() < LINKS_MAX
            && span_id != [0; 8]
        {
            let shard = shard(&trace_id);
            self.gatherer.links.push((Key { trace_id, span_id }, shard));
        }
    }

    /// The span is sound and its trace belongs to `shard`; `threshold` is what its tracestate says.
    #[inline(always)]
    pub fn span(&mut self, facts: &SpanFacts<'_>, threshold: Option<u64>, shard: u16) {
        if (SERVER..=CONSUMER).contains(&facts.kind) && !self.gatherer.service.is_empty() {
            self.end(facts, threshold, shard);
        }
    }

    fn end(&mut self, facts: &SpanFacts<'_>, threshold: Option<u64>, shard: u16) {
        let is_client = matches!(facts.kind, CLIENT | PRODUCER);
        let is_linked = facts.kind == CONSUMER && !self.gatherer.links.is_empty();
        let traits = Traits::default()
            .with(Traits::CLIENT, is_client)
            .with(Traits::MESSAGING, matches!(facts.kind, PRODUCER | CONSUMER))
            .with(Traits::FAILED, facts.status_code == STATUS_ERROR)
            .with(Traits::DATABASE, is_client && !self.gatherer.first(&self.gatherer.databases, true).is_empty())
            .with(Traits::ROOT, !is_client && facts.is_root && !is_linked);
        let side = self.side(traits);
        let nanos = facts.end_unix_nano.saturating_sub(facts.start_unix_nano);
        let mut put = |key: Key, shard: u16| {
            // Both ends count alike: what decides on a fraction is the id that they have in common.
            let id = if traits.has(Traits::ROOT) { &facts.span_id } else { &key.span_id };
            let weight = threshold.map_or(1, |threshold| weight(threshold, id));
            self.ends.ends.push(End { key, nanos, weight, side, shard, traits });
        };
        if is_linked {
            self.gatherer.links.iter().for_each(|(key, shard)| put(*key, *shard));
        } else {
            let span_id = if is_client { facts.span_id } else { facts.parent_span_id };
            put(Key { trace_id: facts.trace_id, span_id }, shard);
        }
    }

    /// The place of the span's side. Most spans say nothing that their resource does not.
    fn side(&mut self, traits: Traits) -> u32 {
        let plain = usize::from(traits.has(Traits::CLIENT));
        let is_plain = !self.gatherer.has_any;
        if is_plain && self.gatherer.plain[plain] != NO_SIDE {
            return self.gatherer.plain[plain];
        }
        self.gatherer.put_key(traits);
        let place = self.gatherer.place(&mut self.ends.sides);
        if is_plain {
            self.gatherer.plain[plain] = place;
        }
        place
    }

    /// What is to be paired when the request is accepted.
    #[must_use]
    pub fn finish(self) -> Ends {
        self.ends
    }
}
