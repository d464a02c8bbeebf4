//! Our own rules as tests of one shard want them.

use tailwater_config::sampling::Sampling;
use tailwater_config::sampling::native::{NativeRule, Sampler};

/// One rule of that name, for every trace.
#[must_use]
pub fn one_rule(name: &str, sampler: Sampler) -> Sampling {
    let name = name.to_string();
    let rule = NativeRule { name, line: 0, when: Vec::new(), sampler, budget_minimum_per_second: 0, is_shadow: false };
    Sampling { policies: Vec::new(), rules: vec![rule], ..Sampling::default() }
}
