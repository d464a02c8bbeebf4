//! Calls, errors and durations from all spans, before any verdict: series by service, span name, kind, status and chosen
//! attributes, named as the Collector's `spanmetrics` connector names them. A span that was sampled before it came counts as
//! many times as its threshold says.
//!
//! ```text
//!   walk over a request --> gathered: series, weight, duration --> counted when the request is accepted
//!        series.rs              tally.rs                                sums.rs: keyed, merged, stored
//!                                                                       output.rs: OTLP, cumulative or delta
//!   walk over what is kept --> examples of series, told with them: kept.rs, exemplars.rs
//! ```

mod exemplars;
mod kept;
pub(crate) mod output;
pub(crate) mod series;
pub(crate) mod sums;
mod tally;
mod visible;

pub use exemplars::{Exemplar, Exemplars};
pub use output::Output;
pub use sums::{Row, Sums};
pub use tally::{Counted, Gathering, Tally};
pub use visible::Visible;

use std::sync::Arc;

/// The unit of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As the connector has it unless told otherwise.
    Milliseconds,
    /// As the semantic conventions have it.
    Seconds,
}

impl Unit {
    /// As a metric's unit is written.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "what a double does not hold of a sum is far below its last digit")]
    pub(crate) fn of_sum(self, nanos: u128) -> f64 {
        match self {
            Self::Milliseconds => nanos as f64 / 1e6,
            Self::Seconds => nanos as f64 / 1e9,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a duration past 104 days is exact to a microsecond")]
    #[inline]
    pub(crate) fn of_nanos(self, nanos: u64) -> f64 {
        match self {
            Self::Milliseconds => nanos as f64 / 1e6,
            Self::Seconds => nanos as f64 / 1e9,
        }
    }
}

/// How durations are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Durations {
    /// Not at all.
    None,
    /// By these bounds, in the unit.
    Explicit(Arc<[f64]>),
    /// By an exponential histogram of at most so many buckets.
    Exponential(u16),
}

/// An attribute that tells series apart besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    /// Its name, on the span or else on its resource.
    pub name: String,
    /// What it is where neither has it; without, the series is without it.
    pub default: Option<String>,
}

/// Which attributes of a resource tell series apart, and are told with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceAttributes {
    /// All it has.
    All,
    /// All but those of these names.
    AllBut(Vec<String>),
    /// Those of these names.
    These(Vec<String>),
}

/// What of a span tells series apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four dimensions, each there or not")]
pub struct Standard {
    /// `service.name`.
    pub service: bool,
    /// `span.name`.
    pub name: bool,
    /// `span.kind`.
    pub kind: bool,
    /// `status.code`.
    pub status: bool,
}

impl Standard {
    /// All four.
    pub const ALL: Self = Self { service: true, name: true, kind: true, status: true };
}

/// What is counted, and how it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What stands before `calls` and `duration`, with a dot behind it; nothing where it is empty.
    pub namespace: String,
    /// The unit of durations.
    pub unit: Unit,
    /// How they are told.
    pub durations: Durations,
    /// Which of the four usual dimensions there are.
    pub standard: Standard,
    /// Further ones.
    pub dimensions: Vec<Dimension>,
    /// What of the resource.
    pub resource: ResourceAttributes,
    /// The node, as `collector.instance.id`, if it is to be told.
    pub instance_id: Option<String>,
    /// Whether a data point tells what came since the one before, instead of all since the start.
    pub is_delta: bool,
    /// Most series of a core. Past it spans count for the one series `otel.metric.overflow` of each metric.
    pub series_max: usize,
    /// Examples of a series in a window, spans of kept traces; 0 for none.
    pub exemplars_max: usize,
    /// Windows without a span after which a series is no longer told; 0 for never.
    pub expires_after_windows: u32,
}

impl Plan {
    /// The same without these attributes, wherever they tell series apart; `*` is all further dimensions.
    #[must_use]
    pub fn without(&self, names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|dropped| dropped == name);
        let Standard { service, name, kind, status } = self.standard;
        let standard = Standard {
            service: service && !has("service.name"),
            name: name && !has("span.name"),
            kind: kind && !has("span.kind"),
            status: status && !has("status.code"),
        };
        let mut dimensions = self.dimensions.clone();
        dimensions.retain(|dimension| !has("*") && !has(&dimension.name));
        let resource = match &self.resource {
            ResourceAttributes::All => ResourceAttributes::AllBut(names.to_vec()),
            ResourceAttributes::AllBut(others) => ResourceAttributes::AllBut([others, names].concat()),
            ResourceAttributes::These(wanted) => {
                ResourceAttributes::These(wanted.iter().filter(|wanted| !has(wanted)).cloned().collect())
            }
        };
        Self { standard, dimensions, resource, ..self.clone() }
    }

    /// The name of one of its metrics.
    #[must_use]
    pub fn metric(&self, name: &str) -> String {
        if self.namespace.is_empty() { name.to_string() } else { format!("{}.{name}", self.namespace) }
    }
}

#[cfg(test)]
mod tests;
