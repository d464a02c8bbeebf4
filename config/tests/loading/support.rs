//! What the tests of this crate share: loading with little ceremony.

use tailwater_config::sampling::{Policy, Rule};
use tailwater_config::{Config, GIB, Inputs, Loaded, Problem, load};

/// Owned pairs of borrowed ones.
pub fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
}

/// Loads a file called `t.yaml` (none when empty) on a machine of 10 GiB.
pub fn layered(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let (environment, flags) = (pairs(environment), pairs(flags));
    let file = (!file.is_empty()).then_some(("t.yaml", file));
    load(&Inputs { file, environment: &environment, flags: &flags, machine_memory_bytes: 10 * GIB })
}

/// What must load.
pub fn loaded(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    layered(file, environment, flags).unwrap_or_else(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("refused:\n{}\n{file}", told.join("\n"))
    })
}

/// The texts of all problems of what must not load.
pub fn problems(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    match layered(file, environment, flags) {
        Ok(_) => panic!("accepted:\n{file}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The file must be refused with a problem on that line that holds that text.
pub fn refused_with(file: &str, line: u32, cause: &str) {
    let told = problems(file, &[], &[]);
    let start = format!("t.yaml:{line}: ");
    assert!(told.iter().any(|text| text.starts_with(&start) && text.contains(cause)), "{cause}: {told:#?}\n{file}");
}

/// The effective text, loaded again.
pub fn again(config: &Config, text: &str, flags: &[(&str, &str)]) -> Config {
    let flags = pairs(flags);
    let inputs =
        Inputs { file: Some(("again.yaml", text)), environment: &[], flags: &flags, machine_memory_bytes: 10 * GIB };
    let mut reloaded = load(&inputs).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}")).config;
    for (policy, original) in reloaded.sampling.policies.iter_mut().zip(&config.sampling.policies) {
        same_lines(policy, original);
    }
    reloaded
}

fn same_lines(policy: &mut Policy, original: &Policy) {
    policy.line = original.line;
    match (&mut policy.rule, &original.rule) {
        (Rule::And(inner), Rule::And(originals)) | (Rule::Drop(inner), Rule::Drop(originals)) => {
            inner.iter_mut().zip(originals).for_each(|(policy, original)| same_lines(policy, original));
        }
        (Rule::Composite { policies: inner, .. }, Rule::Composite { policies: originals, .. }) => {
            inner.iter_mut().zip(originals).for_each(|((policy, _), (original, _))| same_lines(policy, original));
        }
        (Rule::Not(inner), Rule::Not(original)) => same_lines(inner, original),
        _ => {}
    }
}
