//! The rules of each run of the simulated node, and what a verdict under them is for good.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tailwater_config::sampling::native::{NativeRule, Sampler};
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::decide::KeptBy;
use tailwater_engine::log::format::VerdictEntry;
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::{Annotations, Judged, Verdict};

/// Different rules follow one another: each is in force again after so many runs.
const RULES: u32 = 3;

/// The rules of a run: errors are kept and half of what is marked, with attributes that tell which and in whose name.
pub(super) fn rules_of(run: u32) -> Rules {
    let errors = Policy::new("errors", Rule::StatusCode { ok: false, error: true, unset: false });
    let values = vec!["keep".into()];
    let marked =
        Policy::new("marked", Rule::StringAttribute { key: "mark".into(), values, regex: false, invert: false });
    let half = annotated("by", "marked".into(), Sampler::Probability(0.5));
    let all = annotated("by", "errors".into(), annotated("rules", (run % RULES).to_string(), Sampler::AlwaysOn));
    let rules = if run.is_multiple_of(2) {
        vec![rule("errors", errors, all), rule("marked", marked, half)]
    } else {
        vec![rule("marked", marked, half), rule("errors", errors, all)]
    };
    Rules::compile(&Sampling { policies: Vec::new(), rules, ..Sampling::default() }).unwrap()
}

fn rule(name: &str, when: Policy, sampler: Sampler) -> NativeRule {
    NativeRule { name: name.into(), line: 0, when: vec![when], sampler, budget_minimum_per_second: 0, is_shadow: false }
}

fn annotated(key: &str, text: String, sampler: Sampler) -> Sampler {
    Sampler::Annotating { attributes: vec![(key.into(), text)], sampler: Box::new(sampler) }
}

/// What a verdict is: the same in every run that knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruled {
    /// Whether the trace is kept.
    pub(super) is_kept: bool,
    threshold: u64,
    given: Option<u64>,
    policy: Option<String>,
    /// What its spans get.
    pub(super) attributes: Vec<KeyValue>,
}

impl Ruled {
    /// As it was made.
    pub(super) fn judged(judged: &Judged, rules: &Rules) -> Self {
        let policy = match judged.verdict {
            Verdict::Keep(policy) => rules.policy_names().nth(usize::from(policy)).map(String::from),
            Verdict::Drop => None,
        };
        let attributes = attributes(judged.annotations, rules.all_annotations());
        let (threshold, given) = (judged.threshold, judged.given);
        Self { is_kept: judged.verdict != Verdict::Drop, threshold, given, policy, attributes }
    }

    /// As a journal has it.
    pub(super) fn recovered(entry: &VerdictEntry, recovered: &Recovered) -> Self {
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
pub(super) fn adopted(recovered: &Recovered, rules: &mut Rules) -> Vec<VerdictEntry> {
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
pub(super) fn kept_by(entry: &VerdictEntry) -> Option<KeptBy> {
    entry.is_kept.then(|| KeptBy {
        policy: entry.policy,
        threshold: entry.threshold,
        randomness: entry.randomness(),
        given: entry.given,
        annotations: entry.annotations,
    })
}
