//! Places in the configuration: what nodes of a cluster call policies and annotations by. Numbers depend on what a process
//! has had for rules before; places do not, where rules have one fingerprint.

use super::Rules;

impl Rules {
    /// The place of a policy in force.
    #[must_use]
    pub fn place_of(&self, policy: u16) -> Option<u16> {
        (0u16..).zip(self.in_force()).find(|(_, number)| *number == policy).map(|(place, _)| place)
    }

    /// The number of the policy at a place.
    #[must_use]
    pub fn number_of(&self, place: u16) -> Option<u16> {
        self.in_force().nth(usize::from(place))
    }

    /// The place of annotations in force.
    #[must_use]
    pub fn place_of_annotation(&self, number: u16) -> Option<u16> {
        (0u16..).zip(&self.annotation_order).find(|(_, known)| **known == number).map(|(place, _)| place)
    }

    /// The number of the annotations at a place.
    #[must_use]
    pub fn annotation_at(&self, place: u16) -> Option<u16> {
        self.annotation_order.get(usize::from(place)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_config::sampling::{Policy, Rule, Sampling};

    /// Without the order of the configuration a node that was reloaded would call policies otherwise than one that has just
    /// started with the same rules.
    #[test]
    fn a_place_means_the_same_whatever_a_process_has_had_before() {
        let sampling = |names: &[&str]| {
            let policies = names.iter().map(|name| Policy::new(name, Rule::AlwaysSample)).collect();
            Sampling { policies, ..Sampling::default() }
        };
        let first = Rules::compile(&sampling(&["a", "b", "c"])).unwrap();
        let later = Rules::compile_after(&sampling(&["c", "d", "a"]), &first).unwrap();
        let fresh = Rules::compile(&sampling(&["c", "d", "a"])).unwrap();
        for place in 0..3u16 {
            let name = |rules: &Rules| {
                let number = rules.number_of(place).unwrap();
                assert_eq!(rules.place_of(number), Some(place));
                rules.policy_names().nth(usize::from(number)).unwrap().to_owned()
            };
            assert_eq!(name(&later), name(&fresh));
        }
        assert_eq!((later.number_of(3), later.place_of(1)), (None, None));
    }
}
