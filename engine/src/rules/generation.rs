//! Rules that follow others under a running node. A policy has a number, by which it is counted and remembered; policies
//! of equal names have the same number in all generations.

use super::tree::Node;
use super::{CompiledPolicy, Rules, RulesError};
use hashbrown::HashMap;
use tailwater_config::sampling::Sampling;

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
        let mut rules = Self::compile(sampling)?;
        // One change a second lasts for 136 years.
        rules.generation = former.generation.saturating_add(1);
        rules.renumber(former)?;
        Ok(rules)
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
        Self { name: name.clone(), node: Node::Always, condition: None, is_drop: *is_drop, is_shadow: *is_shadow }
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
