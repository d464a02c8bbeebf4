//! Rules that follow others under a running node. A policy has a number, by which it is counted and remembered; policies
//! of equal names have the same number in all generations.

use super::tree::Node;
use super::{CompiledPolicy, Rules, RulesError};
use crate::vocabulary::{Annotations, UNKNOWN_POLICY};
use hashbrown::HashMap;
use tailwater_config::sampling::Sampling;
use tailwater_proto::otlp::wire::put_header;

/// What every span of a trace that was kept by hand says: true.
const BY_HAND_KEY: &str = "tailwater.recalled";
/// `Span.attributes`.
const ATTRIBUTES: u32 = 9;
/// `AnyValue.bool_value` true: field 2, varint 1.
const TRUE: [u8; 2] = [2 << 3, 1];

/// The attribute, encoded as a field of a span.
fn by_hand_attribute() -> Vec<u8> {
    let mut attribute = Vec::new();
    put_header(&mut attribute, 1, BY_HAND_KEY.len());
    attribute.extend_from_slice(BY_HAND_KEY.as_bytes());
    put_header(&mut attribute, 2, TRUE.len());
    attribute.extend_from_slice(&TRUE);
    let mut out = Vec::new();
    put_header(&mut out, ATTRIBUTES, attribute.len());
    out.extend_from_slice(&attribute);
    out
}

impl Rules {
    /// The generation. The first is 0.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Compiles the policies of a sampling section, to follow `former`.
    ///
    /// # Errors
    /// `RulesError`; also when more names have been seen since the start than have numbers.
    pub fn compile_after(sampling: &Sampling, former: &Self) -> Result<Self, RulesError> {
        // A number is never given to other annotations: traces are remembered with them.
        let mut rules = Self::compile_with(sampling, former.annotations.clone())?;
        // One change a second lasts for 136 years.
        rules.generation = former.generation.saturating_add(1);
        rules.by_hand_annotation = former.by_hand_annotation;
        rules.renumber(former)?;
        let unused = former.named_only.iter().copied().filter(|number| !rules.in_force().any(|known| known == *number));
        rules.named_only = unused.collect();
        Ok(rules)
    }

    /// Gives numbers to policies of a former run of the node, so that its verdicts have their names: those in force where
    /// there is one of the name, else numbers of their own. Returns them in the order of `names`; `UNKNOWN_POLICY` where
    /// there are no more.
    pub fn take_over(&mut self, names: &[String]) -> Vec<u16> {
        let mut known: HashMap<String, u16, ahash::RandomState> =
            HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        let numbered = (0..).zip(&self.policies).filter(|(_, policy)| !policy.is_shadow);
        known.extend(numbered.map(|(number, policy)| (policy.name.clone(), number)));
        let number_of = |name: &String| {
            if let Some(number) = known.get(name) {
                return *number;
            }
            let number = u16::try_from(self.policies.len()).unwrap_or(UNKNOWN_POLICY);
            if number != UNKNOWN_POLICY {
                let (name, node) = (name.clone(), Node::Always);
                let policy = CompiledPolicy {
                    name,
                    node,
                    condition: None,
                    passed: Vec::new(),
                    is_drop: false,
                    is_shadow: false,
                    conditions: Vec::new(),
                };
                self.policies.push(policy);
                self.named_only.push(number);
            }
            number
        };
        names.iter().map(number_of).collect()
    }

    /// Gives numbers to annotations of a former run of the node, so that late spans get what was ruled then: those that have
    /// one where they are the same, else numbers of their own. Returns them in the order of `annotations`; `None` where there
    /// are no more.
    pub fn take_over_annotations(&mut self, annotations: &[Vec<u8>]) -> Vec<Option<u16>> {
        let number_of = |encoded: &Vec<u8>| {
            let known = self.annotations.iter().position(|known| known == encoded);
            let place = known.unwrap_or(self.annotations.len());
            let number = u16::try_from(place).ok().filter(|number| *number < u16::MAX);
            if known.is_none() && number.is_some() {
                self.annotations.push(encoded.clone());
            }
            number
        };
        annotations.iter().map(number_of).collect()
    }

    /// The name under which traces are kept by hand.
    pub const BY_HAND: &str = "recall";

    /// From now on traces can be kept by hand.
    pub fn allow_by_hand(&mut self) {
        self.take_over(&[Self::BY_HAND.to_string()]);
        self.by_hand_annotation = self.take_over_annotations(&[by_hand_attribute()]).first().copied().flatten();
    }

    /// The number of `BY_HAND`, and that of the annotation which spans get; none where a policy in force is called so.
    #[must_use]
    pub fn by_hand(&self) -> Option<(u16, u16)> {
        let is_meant =
            |number: &u16| self.policies.get(usize::from(*number)).is_some_and(|policy| policy.name == Self::BY_HAND);
        self.named_only.iter().copied().find(is_meant).zip(self.by_hand_annotation)
    }

    /// Whether annotations are those of a trace that was kept by hand.
    #[must_use]
    pub fn is_by_hand(&self, annotations: Annotations) -> bool {
        self.by_hand_annotation.is_some_and(|meant| annotations.numbers().any(|number| number == meant))
    }

    /// Whether the policy of that number has not been in force since the start: only verdicts of a former run know it.
    #[must_use]
    pub fn is_named_only(&self, policy: u16) -> bool {
        self.named_only.contains(&policy)
    }

    /// The numbers of the policies in force, in the order of evaluation, shadows last; others have only their name left.
    pub fn in_force(&self) -> impl Iterator<Item = u16> {
        self.order.iter().chain(&self.shadows).copied()
    }

    fn renumber(&mut self, former: &Self) -> Result<(), RulesError> {
        // A shadow is another policy than the one of its name that has an effect: its counts mean something else.
        let known: HashMap<(&str, bool), usize, ahash::RandomState> = {
            let names = former.policies.iter().enumerate();
            let mut known = HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
            known.extend(names.map(|(number, policy)| ((policy.name.as_str(), policy.is_shadow), number)));
            known
        };
        let mut places: Vec<Option<CompiledPolicy>> = former.policies.iter().map(|_| None).collect();
        let mut numbers = Vec::with_capacity(self.policies.len());
        for policy in std::mem::take(&mut self.policies) {
            let place = known
                .get(&(policy.name.as_str(), policy.is_shadow))
                .copied()
                .filter(|number| places[*number].is_none());
            let number = place.unwrap_or(places.len());
            match place {
                Some(number) => places[number] = Some(policy),
                None => places.push(Some(policy)),
            }
            numbers.push(u16::try_from(number).map_err(|_| RulesError::TooMany(u16::MAX))?);
        }
        let places = places.into_iter().enumerate();
        self.policies =
            places.map(|(number, policy)| policy.unwrap_or_else(|| former.policies[number].gone())).collect();
        for number in self.order.iter_mut().chain(&mut self.shadows) {
            *number = numbers[usize::from(*number)];
        }
        Ok(())
    }
}

impl CompiledPolicy {
    /// This one, not in force any more.
    fn gone(&self) -> Self {
        let Self { name, is_drop, is_shadow, .. } = self;
        let (is_drop, is_shadow) = (*is_drop, *is_shadow);
        Self {
            name: name.clone(),
            node: Node::Always,
            condition: None,
            passed: Vec::new(),
            is_drop,
            is_shadow,
            conditions: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_config::sampling::{Policy, Rule};

    fn sampling(names: &[&str]) -> Sampling {
        let policies = names.iter().map(|name| Policy::new(name, Rule::AlwaysSample)).collect();
        Sampling { policies, ..Sampling::default() }
    }

    #[test]
    fn policies_keep_their_numbers_over_generations() {
        let first = Rules::compile(&sampling(&["a", "b", "c"])).unwrap();
        let second = Rules::compile_after(&sampling(&["d", "c", "a"]), &first).unwrap();
        assert_eq!(second.policy_names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(second.in_force().collect::<Vec<_>>(), [3, 2, 0], "evaluated in the order of the configuration");
        let third = Rules::compile_after(&sampling(&["b"]), &second).unwrap();
        assert_eq!((third.order.as_slice(), third.generation()), (&[1][..], 2));
        assert_eq!(third.policies.len(), 4, "a number is never given to another name");
    }

    #[test]
    fn policies_of_a_former_run_have_their_names() {
        let mut rules = Rules::compile(&sampling(&["a", "b"])).unwrap();
        let names = ["gone", "b"].map(String::from);
        assert_eq!(rules.take_over(&names), [2, 1]);
        assert_eq!(rules.policy_names().collect::<Vec<_>>(), ["a", "b", "gone"]);
        assert_eq!(rules.in_force().collect::<Vec<_>>(), [0, 1], "a name is all that is taken over");
        let later = Rules::compile_after(&sampling(&["gone"]), &rules).unwrap();
        assert_eq!(later.in_force().collect::<Vec<_>>(), [2]);
        assert!(rules.is_named_only(2) && !rules.is_named_only(1) && !later.is_named_only(2));
    }

    #[test]
    fn a_shadow_that_becomes_real_is_another_policy() {
        let mut tried = sampling(&["a", "b"]);
        tried.policies[1].is_shadow = true;
        let first = Rules::compile(&tried).unwrap();
        assert_eq!((first.order.as_slice(), first.shadows.as_slice()), (&[0][..], &[1][..]));
        let second = Rules::compile_after(&sampling(&["a", "b"]), &first).unwrap();
        assert_eq!((second.order.as_slice(), second.shadows.as_slice()), (&[0, 2][..], &[][..]));
        assert!(second.is_shadow(1) && !second.is_shadow(2));
    }
}
