//! The processors of scenarios are read, and printed back so that they read the same.

use tailwater_config::sampling::{Policy, Rule};
use tailwater_config::{GIB, Inputs, Loaded, effective, load};
use tailwater_tests::conformance::{cases, scenario};

/// Random processors that are read.
const SEEDS: std::ops::Range<u64> = 0..150;

fn read(text: &str) -> Loaded {
    let inputs = Inputs { file: Some(("t.yaml", text)), environment: &[], flags: &[], machine_memory_bytes: 10 * GIB };
    load(&inputs).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

fn forget_lines(policies: &mut [Policy]) {
    for policy in policies {
        policy.line = 0;
        match &mut policy.rule {
            Rule::And(inner) | Rule::Drop(inner) => forget_lines(inner),
            Rule::Not(inner) => forget_lines(std::slice::from_mut(inner)),
            Rule::Composite { policies, .. } => {
                policies.iter_mut().for_each(|(policy, _)| forget_lines(std::slice::from_mut(policy)));
            }
            _ => {}
        }
    }
}

#[test]
fn processors_are_printed_so_that_they_read_the_same() {
    for scenario in SEEDS.map(scenario).chain(cases::all()) {
        let first = read(&scenario.file());
        let text = effective(&first);
        let mut second = read(&text).config;
        let mut first = first.config;
        forget_lines(&mut first.sampling.policies);
        forget_lines(&mut second.sampling.policies);
        assert_eq!(first.sampling, second.sampling, "{}\n{text}", scenario.file());
    }
}
