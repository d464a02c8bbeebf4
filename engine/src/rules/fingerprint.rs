//! A name for what rules mean. Generations count the changes of one process; nodes that are to add up each other's evidence
//! have to know whether their leaves are the same.

use super::Rules;
use twox_hash::XxHash3_64;

/// How the compiler numbers leaves and keys. It is raised with every change by which a configuration gets other numbers, or
/// by which a leaf holds for other spans.
const LEAF_LAYOUT: u64 = 1;

impl Rules {
    /// Names these rules by `canonical`, the sampling section that they were compiled from as `effective_sampling` writes
    /// it.
    #[must_use]
    pub fn named_by(self, canonical: &str) -> Self {
        Self { fingerprint: XxHash3_64::oneshot_with_seed(LEAF_LAYOUT, canonical.as_bytes()), ..self }
    }

    /// Equal for rules that were compiled from equal sampling sections into equal leaves, in whatever process; 0 while
    /// nobody has named them.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_config::effective_sampling;
    use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling};

    fn fingerprint(sampling: &Sampling) -> u64 {
        Rules::compile(sampling).unwrap().named_by(&effective_sampling(sampling)).fingerprint()
    }

    fn sampling(rules: Vec<Rule>) -> Sampling {
        let named = |(number, rule)| Policy::new(&format!("p{number}"), rule);
        let policies = rules.into_iter().enumerate().map(named).collect();
        Sampling { policies, ..Sampling::collector_default() }
    }

    /// Each kind of policy in several forms, which differ in one thing each.
    fn forms() -> Vec<Vec<Rule>> {
        let text = |value: &str, regex, invert| Rule::StringAttribute {
            key: "k".into(),
            values: vec![value.into()],
            regex,
            invert,
        };
        let number = |key: &str, min, max, invert| Rule::NumericAttribute { key: key.into(), min, max, invert };
        let boolean = |value, invert| Rule::BooleanAttribute { key: "k".into(), value, invert };
        let latency = |threshold_ms, upper_threshold_ms| Rule::Latency { threshold_ms, upper_threshold_ms };
        let status = |ok, error, unset| Rule::StatusCode { ok, error, unset };
        let chance =
            |salt: &str, sampling_percentage| Rule::Probabilistic { hash_salt: salt.into(), sampling_percentage };
        let spans = |min, max| Rule::SpanCount { min, max };
        let condition = |error_mode, span: &str, spanevent: &[&str]| Rule::OttlCondition {
            error_mode,
            span: vec![span.into()],
            spanevent: spanevent.iter().map(|text| (*text).to_string()).collect(),
        };
        let rate = |spans_per_second, burst_capacity| Rule::RateLimiting { spans_per_second, burst_capacity };
        let bytes = |bytes_per_second, burst_capacity| Rule::BytesLimiting { bytes_per_second, burst_capacity };
        let state = |key: &str, value: &str| Rule::TraceState { key: key.into(), values: vec![value.into()] };
        let policy = |rule| Policy::new("inner", rule);
        let composite = |whole, part, rule| Rule::Composite {
            spans_per_second_max: whole,
            policies: vec![(Policy::new("inner", rule), part)],
        };
        vec![
            vec![text("v", false, false), text("w", false, false), text("v", true, false), text("v", false, true)],
            vec![number("k", 1, 2, false), number("l", 1, 2, false), number("k", 0, 2, false), number("k", 1, 3, true)],
            vec![boolean(true, false), boolean(false, false), boolean(true, true)],
            vec![latency(5, 0), latency(6, 0), latency(5, 9)],
            vec![status(true, false, false), status(false, true, false), status(true, false, true)],
            vec![chance("", 10.0), chance("salt", 10.0), chance("", 10.000_001)],
            vec![spans(1, 0), spans(2, 0), spans(1, 9)],
            vec![
                condition(ErrorMode::Ignore, "true", &[]),
                condition(ErrorMode::Propagate, "true", &[]),
                condition(ErrorMode::Silent, "true", &[]),
                condition(ErrorMode::Ignore, "false", &[]),
                condition(ErrorMode::Ignore, "true", &["true"]),
            ],
            vec![rate(5, 0), rate(6, 0), rate(5, 7)],
            vec![bytes(5, 0), bytes(6, 0), bytes(5, 7)],
            vec![state("k", "v"), state("l", "v"), state("k", "w")],
            vec![Rule::AlwaysSample, Rule::TraceFlags, Rule::Not(Box::new(policy(spans(1, 0))))],
            vec![Rule::And(vec![policy(spans(1, 0))]), Rule::Drop(vec![policy(spans(1, 0))])],
            vec![composite(9, 3, spans(1, 0)), composite(8, 3, spans(1, 0)), composite(9, 2, spans(1, 0))],
        ]
    }

    #[test]
    fn any_change_of_a_policy_changes_the_fingerprint() {
        let forms = forms();
        let base = || forms.iter().map(|forms| forms[0].clone()).collect::<Vec<_>>();
        let mut found = vec![fingerprint(&sampling(base()))];
        for (place, forms) in forms.iter().enumerate() {
            for form in &forms[1..] {
                let mut rules = base();
                rules[place] = form.clone();
                found.push(fingerprint(&sampling(rules)));
            }
        }
        let mut shadow = sampling(base());
        shadow.policies[1].is_shadow = true;
        let mut renamed = sampling(base());
        renamed.policies[1].name = "other".into();
        let mut swapped = sampling(base());
        swapped.policies.swap(0, 1);
        let first_match = Sampling { sample_on_first_match: true, ..sampling(base()) };
        found.extend([shadow, renamed, swapped, first_match].iter().map(fingerprint));
        let count = found.len();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), count);
    }

    #[test]
    fn equal_configurations_have_one_fingerprint_wherever_they_are_written_and_compiled() {
        let one = sampling(vec![Rule::TraceFlags, Rule::Latency { threshold_ms: 5, upper_threshold_ms: 0 }]);
        let mut elsewhere = one.clone();
        elsewhere.policies.iter_mut().for_each(|policy| policy.line += 7);
        // Pinned: what another process says. It changes with the text, the hash or `LEAF_LAYOUT`.
        assert_eq!((fingerprint(&one), fingerprint(&elsewhere)), (PINNED, PINNED));
        let former = Rules::compile(&sampling(vec![Rule::AlwaysSample])).unwrap().named_by("");
        let later = Rules::compile_after(&one, &former).unwrap();
        assert_eq!(later.fingerprint(), 0, "nobody has named it");
        assert_eq!(later.named_by(&effective_sampling(&one)).fingerprint(), PINNED, "generations have no part in it");
    }

    const PINNED: u64 = 3_784_275_812_465_702_327;
}
