//! A scan that notes what conditions look up, and evaluates them on each span.

use crate::{Attributes, Conditions, Need, Note, Notes, Outcome, Scope, Shared, Site, Target};
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};

/// The keys that conditions look up.
#[derive(Default)]
struct Keys(Vec<String>);

impl Attributes for Keys {
    fn noted(&mut self, key: &str) -> Option<usize> {
        let known = self.0.iter().position(|known| known == key);
        Some(known.unwrap_or_else(|| {
            self.0.push(key.to_string());
            self.0.len() - 1
        }))
    }

    fn need(&mut self, _: usize, _: Site, _: Need) -> Option<u64> {
        None
    }
}

/// The values of one site.
#[derive(Default)]
struct Seen {
    words: Vec<u64>,
    values: Vec<Note>,
}

impl Seen {
    fn clear(&mut self, keys: &Keys) {
        self.words = vec![0; keys.0.len() / 64 + 1];
        self.values = vec![Note::Boolean(false); keys.0.len()];
    }

    fn add(&mut self, keys: &Keys, attribute: &KeyValue<'_>) {
        let Some(key) = keys.0.iter().position(|key| key.as_bytes() == attribute.key) else { return };
        let bit = 1 << (key % 64);
        if self.words[key / 64] & bit == 0 {
            self.words[key / 64] |= bit;
            self.values[key] = Note::of(attribute);
        }
    }

    fn notes(&self) -> Notes<'_> {
        Notes { seen: self.words[0], seen_more: &self.words[1..], values: &self.values, met: 0 }
    }
}

struct Walk<'a> {
    request: &'a [u8],
    conditions: &'a Conditions,
    keys: &'a Keys,
    resource: Vec<u8>,
    scope: Scope<'a>,
    seen: [Seen; 2],
    outcomes: Vec<Outcome>,
}

impl TraceVisitor for Walk<'_> {
    fn resource_begin(&mut self) {
        self.seen[0].clear(self.keys);
    }

    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        self.seen[0].add(self.keys, &attribute);
    }

    fn resource(&mut self, envelope: &[u8]) {
        self.resource = envelope.to_vec();
    }

    fn scope_begin(&mut self) {}

    fn scope_message(&mut self, start: usize, length: usize) {
        self.scope = Scope::of(&self.request[start..start + length]);
    }

    fn scope_end(&mut self, _: &[u8]) {}

    fn span_begin(&mut self) {
        self.seen[1].clear(self.keys);
    }

    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        self.seen[1].add(self.keys, &attribute);
    }

    fn span(&mut self, facts: &SpanFacts<'_>) {
        let target = Target {
            request: self.request,
            facts: Some(facts),
            resource: &self.resource,
            scope: self.scope,
            span_notes: self.seen[1].notes(),
            resource_notes: self.seen[0].notes(),
            ..Target::none()
        };
        target.work.set(target.grant());
        self.outcomes.push(self.conditions.evaluate(&target, facts.has_events, true, &mut 0));
    }

    fn span_refused(&mut self, fault: SpanFault) {
        panic!("{fault:?}");
    }
}

/// `T`, `F` or `E` of conditions on the one span of a request; `X` where they can't be compiled.
pub fn outcome(span: &[&str], event: &[&str], request: &[u8]) -> char {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect::<Vec<_>>();
    let mut keys = Keys::default();
    let Ok(conditions) = Conditions::compile(&texts(span), &texts(event), &mut keys, &mut Shared::default()) else {
        return 'X';
    };
    let mut walk = Walk {
        request,
        conditions: &conditions,
        keys: &keys,
        resource: Vec::new(),
        scope: Scope::default(),
        seen: Default::default(),
        outcomes: Vec::new(),
    };
    traces(request, 1 << 20, &mut walk).unwrap();
    match walk.outcomes[..] {
        [Outcome::Matched] => 'T',
        [Outcome::Unmatched] => 'F',
        [Outcome::Failed] => 'E',
        ref more => panic!("{more:?}"),
    }
}
