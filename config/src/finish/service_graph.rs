//! The checks of what is counted of requests between services.

use super::Checks;
use super::summaries::{GOES_NOWHERE, LIST_MAX, buckets, takes_metrics};
use crate::draft::Draft;
use crate::problem::shown;

/// Checks the keys of `summaries.service_graph`.
pub(super) fn service_graph(draft: &Draft, checks: &mut Checks<'_>) {
    let graph = &draft.config.summaries.service_graph;
    buckets("summaries.service_graph.buckets", &graph.buckets, graph.histogram, checks);
    for (key, list) in [
        ("buckets", &graph.buckets),
        ("dimensions", &graph.dimensions),
        ("database_attributes", &graph.database_attributes),
        ("virtual_node_attributes", &graph.virtual_node_attributes),
    ] {
        let key = format!("summaries.service_graph.{key}");
        if list.len() > LIST_MAX {
            let remedy = format!("write at most {LIST_MAX}");
            checks.refuse(&key, Some(list.len().to_string()), "too many", remedy);
        }
        for (place, name) in list.iter().enumerate() {
            if name.is_empty() {
                checks.refuse(&key, None, "an attribute without a name", "write a name");
            } else if list[..place].contains(name) {
                checks.refuse(&key, Some(shown(name)), "is there already", "remove it");
            }
        }
    }
    if graph.enabled && !takes_metrics(draft) {
        checks.note("summaries.service_graph.enabled", GOES_NOWHERE);
    }
}
