//! The samplers of rules.

use super::condition::single;
use super::{is_shallow, read_rules};
use crate::policies::fields::Fields;
use crate::policies::{Reader, items};
use crate::problem::{Fault, shown};
use crate::sampling::native::{Amount, LimitTerms, Sampler};
use crate::yaml::{Node, Value};
use tailwater_ottl::suggest;

const KINDS: &[&str] = &[
    "always_on",
    "always_off",
    "probability",
    "parent_threshold",
    "rule_based",
    "any_of",
    "annotating",
    "rate_limiting",
];

/// The least probability that has a threshold, 2^-56.
const PROBABILITY_MIN: f64 = 1.0 / 72_057_594_037_927_936.0;

/// Reads a sampler: a word, or a mapping with one key.
pub(super) fn read(reader: &mut Reader<'_>, key: &str, node: &Node, depth: usize) -> Option<Sampler> {
    is_shallow(reader, key, node.line, depth).then_some(())?;
    if let Value::Scalar(scalar) = &node.value {
        return match scalar.text.as_str() {
            "always_on" => Some(Sampler::AlwaysOn),
            "always_off" => Some(Sampler::AlwaysOff),
            other => unknown(reader, key, node.line, other),
        };
    }
    let entry = single(reader, key, node, "a sampler")?;
    let path = format!("{key}.{}", entry.key);
    match entry.key.as_str() {
        "always_on" => Some(Sampler::AlwaysOn),
        "always_off" => Some(Sampler::AlwaysOff),
        "probability" => probability(reader, key, node),
        "parent_threshold" => Some(Sampler::ParentThreshold(Box::new(read(reader, &path, &entry.node, depth + 1)?))),
        "rule_based" => {
            let before = reader.findings.problems.len();
            let rules = read_rules(reader, &path, &entry.node, depth + 1);
            (reader.findings.problems.len() == before).then_some(Sampler::RuleBased(rules))
        }
        "any_of" => {
            let items = items(reader, &path, &entry.node, "samplers")?;
            let one = |(index, item)| read(reader, &format!("{path}[{index}]"), item, depth + 1);
            let samplers: Option<Vec<Sampler>> = items.iter().enumerate().map(one).collect();
            if items.is_empty() {
                reader.note(entry.line, &path, "is empty, so it keeps nothing".to_string());
            }
            Some(Sampler::AnyOf(samplers?))
        }
        "annotating" => annotating(reader, &path, &entry.node, depth),
        "rate_limiting" => rate_limiting(reader, &path, &entry.node, depth),
        other => unknown(reader, key, entry.line, other),
    }
}

fn unknown(reader: &mut Reader<'_>, key: &str, line: u32, word: &str) -> Option<Sampler> {
    let mut remedy = format!("use one of {}", KINDS.join(", "));
    if let Some(near) = suggest::nearest(word, KINDS.iter().copied()) {
        remedy = format!("did you mean `{near}`? {remedy}");
    }
    reader.problem(line, key, Fault::new(format!("unknown sampler \"{}\"", shown(word)), remedy));
    None
}

fn probability(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Sampler> {
    let mut fields = Fields::of_block(key, node, &["probability"], reader)?;
    let share = fields.number("probability")?;
    if share == 0.0 {
        return Some(Sampler::AlwaysOff);
    }
    if !(PROBABILITY_MIN..=1.0).contains(&share) {
        let fault = Fault::new("a probability lies between 0 and 1", "write a share such as 0.1 for a tenth");
        fields.refuse("probability", fault);
        return None;
    }
    Some(Sampler::Probability(share))
}

fn annotating(reader: &mut Reader<'_>, key: &str, node: &Node, depth: usize) -> Option<Sampler> {
    let fields = Fields::of_block(key, node, &["attributes", "sampler"], reader)?;
    let (attributes, sampler) = (fields.entry("attributes"), fields.entry("sampler"));
    let sampler = match sampler {
        Some(entry) => read(reader, &format!("{key}.sampler"), &entry.node, depth + 1)?,
        None => Sampler::AlwaysOn,
    };
    let mut pairs = Vec::new();
    if let Some(entry) = attributes {
        let path = format!("{key}.attributes");
        let Value::Map(entries) = &entry.node.value else {
            let cause = format!("{} where a mapping is needed", entry.node.kind());
            reader.problem(entry.line, &path, Fault::new(cause, "write {key: value}"));
            return None;
        };
        for attribute in entries {
            let fields = [attribute.key.as_str()];
            let mut value = Fields::of_policy(&path, &entry.node, reader);
            pairs.push((attribute.key.clone(), value.text(fields[0])?));
        }
    }
    Some(Sampler::Annotating { attributes: pairs, sampler: Box::new(sampler) })
}

fn rate_limiting(reader: &mut Reader<'_>, key: &str, node: &Node, depth: usize) -> Option<Sampler> {
    let fields = Fields::of_policy(key, node, reader);
    let sampler = match fields.entry("sampler") {
        Some(entry) => read(reader, &format!("{key}.sampler"), &entry.node, depth + 1)?,
        None => Sampler::AlwaysOn,
    };
    let terms = terms(reader, key, node, &["sampler"])?;
    Some(Sampler::Limited { sampler: Box::new(sampler), limit: terms })
}

/// `sampler` within the limit at `node`.
pub(super) fn limited(reader: &mut Reader<'_>, key: &str, node: &Node, sampler: Sampler) -> Option<Sampler> {
    let limit = terms(reader, key, node, &[])?;
    Some(Sampler::Limited { sampler: Box::new(sampler), limit })
}

fn terms(reader: &mut Reader<'_>, key: &str, node: &Node, besides: &[&'static str]) -> Option<LimitTerms> {
    let known = [&["spans_per_second", "bytes_per_second", "keep_one_in", "by"], besides].concat();
    let mut fields = Fields::of_block(key, node, &known, reader)?;
    let spans = fields.entry("spans_per_second").is_some().then(|| fields.count("spans_per_second"));
    let bytes = fields.entry("bytes_per_second").is_some().then(|| fields.count("bytes_per_second"));
    let one_in = fields.entry("keep_one_in").is_some().then(|| fields.number("keep_one_in"));
    let by = fields.texts("by")?;
    let amount = match (spans, bytes, one_in) {
        (Some(spans), None, None) => {
            let spans = spans?;
            if spans == 0 {
                fields.note("spans_per_second", "keeps nothing");
            }
            Amount::SpansPerSecond(spans)
        }
        (None, Some(bytes), None) => {
            let bytes = bytes?;
            if bytes == 0 {
                fields.note("bytes_per_second", "keeps nothing");
            }
            Amount::BytesPerSecond(bytes)
        }
        (None, None, Some(one_in)) => {
            let one_in = one_in?;
            if !(one_in >= 1.0 && one_in.is_finite()) {
                fields.refuse("keep_one_in", Fault::new("is below 1", "write a number such as 10 for a tenth"));
                return None;
            }
            Amount::OneIn(one_in)
        }
        _ => {
            let cause = "a limit has exactly one of spans_per_second, bytes_per_second and keep_one_in";
            reader.problem(node.line, key, Fault::new(cause, "write one of them"));
            return None;
        }
    };
    Some(LimitTerms { amount, by })
}
