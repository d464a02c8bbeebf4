//! The knobs of requests between services: `summaries.service_graph.` in the file.

use std::time::Duration;

use super::node::from_to;
use super::summaries::{BUCKETS_MAX, BUCKETS_MIN, EXPIRY, SERIES_MAX};
use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::{DurationHistogram, Temporality};

/// Below a second not even spans of one process meet; past an hour nobody waits.
const WAIT: Kind = Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(3600) };
/// Each takes about a hundred bytes.
const WAITING_MAX: u64 = 1_000_000_000;

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "summaries.service_graph.enabled",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.service_graph.enabled),
        "Count requests between services from pairs of spans, kept or not, and send them as metrics to the exporters that take metrics: `traces_service_graph_request_total` and others, as the Collector's `servicegraph` connector names them.",
    )
    .flag("service-graph"),
    Key::<Draft>::new(
        "summaries.service_graph.histogram",
        Kind::Choice(DurationHistogram::CHOICES),
        |d| Slot::Choice(&mut d.config.summaries.service_graph.histogram),
        "How durations are told.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.buckets",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.service_graph.buckets),
        "Bounds of an explicit histogram: durations that rise.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.buckets_max",
        from_to(BUCKETS_MIN, BUCKETS_MAX),
        |d| Slot::Count(&mut d.config.summaries.service_graph.buckets_max),
        "Buckets of an exponential histogram at most.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.dimensions",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.service_graph.dimensions),
        "Attributes that tell edges apart besides, of the resource or else of the span: told as `client_NAME` and `server_NAME`.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.database_attributes",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.service_graph.database_attributes),
        "Attributes that name a database, of which the first counts that the resource or the span has. A client's span with one is a request to that database, and waits for no other.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.virtual_node_attributes",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.service_graph.virtual_node_attributes),
        "Attributes of a client's span that name whom it asked, of which the first counts that it has: a server that sends no spans is told by that name, or as `unknown`, and a client that sends none as `user`. Without any they are told as unpaired spans.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.virtual_node_label",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.service_graph.virtual_node_label),
        "Tell with each edge which of its nodes is virtual: `virtual_node` is `client`, `server` or empty.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.wait",
        WAIT,
        |d| Slot::Duration(&mut d.config.summaries.service_graph.wait),
        "How long a span waits for the other end of its request.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.waiting_max",
        from_to(1, WAITING_MAX),
        |d| Slot::Count(&mut d.config.summaries.service_graph.waiting_max),
        "Most spans that wait, in equal parts on the shards. Past it spans that would have to wait are told as dropped ones.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.instance_id",
        Kind::Text,
        |d| Slot::OptionalText(&mut d.config.summaries.service_graph.instance_id),
        "Told with every edge as `collector.instance.id`, so that several nodes that count the same edge can be told apart. Empty is none.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.temporality",
        Kind::Choice(Temporality::CHOICES),
        |d| Slot::Choice(&mut d.config.summaries.service_graph.temporality),
        "What a data point tells: all since the start, so that a repeat does no harm, or what came since the one before.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.series_max",
        from_to(16, SERIES_MAX),
        |d| Slot::Count(&mut d.config.summaries.service_graph.series_max),
        "Most edges. Past it requests count for one, `otel.metric.overflow`, until edges have expired.",
    ),
    Key::<Draft>::new(
        "summaries.service_graph.expiry",
        EXPIRY,
        |d| Slot::Duration(&mut d.config.summaries.service_graph.expiry),
        "Without a request for so long, an edge is not told any more. `0` is never.",
    ),
];
