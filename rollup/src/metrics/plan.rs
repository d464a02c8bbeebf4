//! What is done with metrics: rules, of which the first that matches holds. What none matches passes.

use crate::glob::Glob;
use serde::{Deserialize, Serialize};

/// All rules, and what the memory for series is bounded by.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsPlan {
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Bounds of each table.
    pub bounds: Bounds,
}

/// Bounds of a table of series: each tally has one, and the sums. Of `series_max` and `bytes_max` a table takes as much again
/// for overflow series, and points or states of cumulative input take `bytes_max` beside it. Histograms of series that there
/// are grow past `bytes_max`, an exponential one to 16 bytes for each of `buckets_max`, twice where values are negative too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Series at most; what comes for further ones goes to the overflow series of its metric.
    pub series_max: usize,
    /// Bytes of series at most, with the same outcome.
    pub bytes_max: usize,
    /// Buckets of each sign of an exponential histogram at most.
    pub buckets_max: u16,
    /// A series to which nothing has come for so long is forgotten.
    pub idle_nanos: u64,
}

impl Default for Bounds {
    /// 10,000 series in 32 MiB, forgotten after an hour.
    fn default() -> Self {
        Self { series_max: 10_000, bytes_max: 32 << 20, buckets_max: 160, idle_nanos: 3_600_000_000_000 }
    }
}

/// What is done with the metrics of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The metric's name.
    pub name: Glob,
    /// The resource's `service.name`, where the rule goes by it. A resource without one has an empty name.
    pub service: Option<Glob>,
    /// What is done.
    pub action: Action,
}

impl Rule {
    /// For all metrics of such a name.
    #[must_use]
    pub fn new(name: &str, action: Action) -> Self {
        Self { name: Glob::new(name), service: None, action }
    }

    /// The same, for such services only.
    #[must_use]
    pub fn of_service(self, service: &str) -> Self {
        Self { service: Some(Glob::new(service)), ..self }
    }
}

/// What is done with a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It passes as it came.
    Keep,
    /// It is counted and gone.
    Drop,
    /// It is merged with others.
    Aggregate(Aggregate),
}

/// How points are merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// So often a merged point goes out, nanoseconds.
    pub window_nanos: u64,
    /// Whether it tells all since the start, or since the point before.
    pub temporality: Temporality,
    /// Attributes of points that tell series apart. The others are gone.
    pub attributes: Selection,
    /// The same of resources.
    pub resource: Selection,
    /// What of several readings of a gauge is told.
    pub gauge: Gauge,
}

impl Default for Aggregate {
    /// Each minute, all attributes.
    fn default() -> Self {
        Self {
            window_nanos: 60_000_000_000,
            temporality: Temporality::Cumulative,
            attributes: Selection::all(),
            resource: Selection::all(),
            gauge: Gauge::Last,
        }
    }
}

/// Of which time merged points tell. Numbered as OTLP does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Temporality {
    /// Since the point before.
    Delta = 1,
    /// Since the start.
    Cumulative = 2,
}

/// What of several readings of a gauge is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Gauge {
    /// The last by its time; of several at the same time the greatest.
    Last,
    /// The least since the point before.
    Min,
    /// The greatest since the point before.
    Max,
    /// The mean of all since the point before.
    Mean,
    /// The sum of the last of each input series that has not ended.
    Sum,
}

/// Some of all attributes, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These alone.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

impl Selection {
    /// All.
    #[must_use]
    pub fn all() -> Self {
        Self::Without(Vec::new())
    }

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::Only(Vec::new())
    }

    /// Whether an attribute of this name is among them.
    #[must_use]
    #[inline]
    pub fn has(&self, key: &[u8]) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|name| name.as_bytes() == key),
            Self::Without(names) => !names.iter().any(|name| name.as_bytes() == key),
        }
    }
}

impl MetricsPlan {
    /// The first rule that matches.
    #[must_use]
    pub fn rule(&self, name: &str, service: &str) -> Option<(usize, &Rule)> {
        let matches =
            |rule: &Rule| rule.name.matches(name) && rule.service.as_ref().is_none_or(|glob| glob.matches(service));
        self.rules.iter().enumerate().find(|(_, rule)| matches(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rules = vec![
            Rule::new("a.*", Action::Drop).of_service("x?"),
            Rule::new("a.b", Action::Aggregate(Aggregate::default())),
            Rule::new("*", Action::Keep),
        ];
        let plan = MetricsPlan { rules, bounds: Bounds::default() };
        let found = |name, service| plan.rule(name, service).map(|(number, _)| number);
        assert_eq!(
            (found("a.b", "x1"), found("a.b", "y"), found("a.c", ""), found("", "")),
            (Some(0), Some(1), Some(2), Some(2))
        );
    }

    #[test]
    fn selections_are_lists_of_what_is_or_is_not() {
        let some = Selection::Only(vec!["k".into()]);
        let others = Selection::Without(vec!["k".into()]);
        assert!(some.has(b"k") && !some.has(b"x") && others.has(b"x") && !others.has(b"k"));
        assert!(Selection::all().has(b"k") && !Selection::none().has(b"k"));
    }
}
