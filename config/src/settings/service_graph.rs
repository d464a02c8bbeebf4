//! Which requests between services are counted, and how they are told.

use std::time::Duration;

use super::summaries::{DurationHistogram, Temporality};
use crate::value;

/// Requests between services, from pairs of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceGraph {
    /// Whether there are any.
    pub enabled: bool,
    /// How durations are told.
    pub histogram: DurationHistogram,
    /// Bounds of an explicit histogram, as durations.
    pub buckets: Vec<String>,
    /// Buckets of an exponential histogram at most.
    pub buckets_max: u64,
    /// Attributes that tell edges apart besides.
    pub dimensions: Vec<String>,
    /// Attributes that name a database.
    pub database_attributes: Vec<String>,
    /// Attributes that name who has no spans; without any there are no virtual nodes.
    pub virtual_node_attributes: Vec<String>,
    /// Whether an edge says which of its nodes is virtual.
    pub virtual_node_label: bool,
    /// How long a span waits for the other end of its request.
    pub wait: Duration,
    /// Most spans that wait, on all cores.
    pub waiting_max: u64,
    /// Told as `collector.instance.id`.
    pub instance_id: Option<String>,
    /// What a data point tells.
    pub temporality: Temporality,
    /// Most edges.
    pub series_max: u64,
    /// Without a request for so long, an edge is not told any more; zero for never.
    pub expiry: Duration,
}

impl ServiceGraph {
    /// The bounds of an explicit histogram, as far as they are durations.
    #[must_use]
    pub fn bounds(&self) -> Vec<Duration> {
        self.buckets.iter().filter_map(|text| value::duration(text).ok()).collect()
    }
}

impl Default for ServiceGraph {
    fn default() -> Self {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Self {
            enabled: false,
            // Dashboards that draw the graph ask for buckets.
            histogram: DurationHistogram::Explicit,
            // Those of the Collector's connector.
            buckets: owned(&[
                "2ms", "4ms", "6ms", "8ms", "10ms", "50ms", "100ms", "200ms", "400ms", "800ms", "1s", "1.4s", "2s",
                "5s", "10s", "15s",
            ]),
            buckets_max: 160,
            dimensions: Vec::new(),
            database_attributes: owned(&["db.namespace", "db.name"]),
            virtual_node_attributes: owned(&["peer.service", "db.namespace", "db.name", "db.system.name", "db.system"]),
            virtual_node_label: false,
            // SDKs send every five seconds: the ends of a request come that far apart.
            wait: Duration::from_secs(10),
            waiting_max: 100_000,
            instance_id: None,
            temporality: Temporality::default(),
            series_max: 10_000,
            expiry: Duration::from_secs(15 * 60),
        }
    }
}
