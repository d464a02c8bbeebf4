//! What a verdict is for good, whatever rules come after those that it was made under.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tailwater_engine::decide::KeptBy;
use tailwater_engine::log::format::VerdictEntry;
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::{Annotations, Judged, Verdict};

/// A verdict: the same in every run that knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruled {
    /// Whether the trace is kept.
    pub is_kept: bool,
    threshold: u64,
    given: Option<u64>,
    /// The policy that keeps it.
    pub policy: Option<String>,
    /// What its spans get.
    pub attributes: Vec<KeyValue>,
}

impl Ruled {
    /// As it was made.
    #[must_use]
    pub fn judged(judged: &Judged, rules: &Rules) -> Self {
        let policy = match judged.verdict {
            Verdict::Keep(policy) => rules.policy_names().nth(usize::from(policy)).map(String::from),
            Verdict::Drop => None,
        };
        let attributes = attributes(judged.annotations, rules.all_annotations());
        let (threshold, given) = (judged.threshold, judged.given);
        Self { is_kept: judged.verdict != Verdict::Drop, threshold, given, policy, attributes }
    }

    /// As a journal has it.
    #[must_use]
    pub fn recovered(entry: &VerdictEntry, recovered: &Recovered) -> Self {
        let (told, VerdictEntry { is_kept, threshold, given, .. }) = (&recovered.told, *entry);
        let policy = is_kept.then(|| told.names[usize::from(entry.policy)].clone());
        Self { is_kept, threshold, given, policy, attributes: attributes(entry.annotations, &told.annotations) }
    }
}

fn attributes(annotations: Annotations, encoded: &[Vec<u8>]) -> Vec<KeyValue> {
    let encoded: Vec<u8> = annotations.numbers().flat_map(|number| encoded[usize::from(number)].clone()).collect();
    Span::decode(&encoded[..]).unwrap().attributes
}

/// Verdicts by the numbers that the rules in force give to what they name, as a start does it.
#[must_use]
pub fn adopted(recovered: &Recovered, rules: &mut Rules) -> Vec<VerdictEntry> {
    let policies = rules.take_over(&recovered.told.names);
    let annotations = rules.take_over_annotations(&recovered.told.annotations);
    let adopted = recovered.verdicts.iter().map(|entry| VerdictEntry {
        policy: policies.get(usize::from(entry.policy)).copied().unwrap_or(0),
        annotations: entry.annotations.renumbered(|place| annotations[usize::from(place)]),
        ..*entry
    });
    adopted.collect()
}

/// How a shard remembers it.
#[must_use]
pub fn kept_by(entry: &VerdictEntry) -> Option<KeptBy> {
    entry.is_kept.then(|| KeptBy {
        policy: entry.policy,
        threshold: entry.threshold,
        randomness: entry.randomness(),
        given: entry.given,
        annotations: entry.annotations,
    })
}
