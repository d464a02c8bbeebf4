//! What a cluster gives up it gives up by randomness, so that what leaves says what it stands for: all spans of a trace leave
//! with one threshold, the trace's randomness is not below that, and it is one that some node asked for. Over many worlds what
//! leaves stands for all that came.
//!
//! Notices when a kept trace does not say that it passed what others did not (`Bench::rule`), and when spans that come late
//! leave with another threshold.

use super::super::super::node::Node;
use super::super::super::scenario::randomness;
use super::super::super::seen::Seen;
use super::super::super::senders::trace_id;
use super::Joint;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet};
use tailwater_engine::cluster::shed::threshold;
use tailwater_engine::vocabulary::{Nanos, TraceId};
use tailwater_proto::consistent::{NEVER, to_float};

/// What came, and with which threshold it left.
#[derive(Default)]
pub struct Represented {
    came: BTreeSet<TraceId>,
    left: BTreeMap<TraceId, u64>,
}

impl Joint for Represented {
    fn see(&mut self, seen: &Seen, node: &Node, _: Nanos) {
        let Some(cluster) = node.scenario.cluster.filter(|cluster| cluster.shed_level_max > 0) else { return };
        match seen {
            Seen::Taken { sent, .. } => _ = self.came.insert(sent.trace_id),
            Seen::Delivered { span, .. } => {
                let (trace_id, passed) = (trace_id(span), passed(span));
                let first = *self.left.entry(trace_id).or_insert(passed);
                assert_eq!(first, passed, "spans of a trace leave with one threshold: {trace_id:x?}");
                assert!(randomness(&trace_id) >= passed, "it did not pass {passed:x}: {trace_id:x?}");
                let is_asked_for = (0..=cluster.shed_level_max).any(|level| threshold(level) == passed);
                assert!(is_asked_for, "nobody asked for {passed:x}: {trace_id:x?}");
            }
            _ => {}
        }
    }

    fn represented(&self) -> (u64, f64) {
        let weight = |threshold: &u64| to_float(NEVER) / to_float(NEVER - threshold);
        (self.came.len() as u64, self.left.values().map(weight).sum())
    }
}

/// The threshold that a span left with; 0 for none.
fn passed(span: &Span) -> u64 {
    let Some((_, digits)) = span.trace_state.split_once("th:") else { return 0 };
    let digits: String = digits.chars().take_while(char::is_ascii_hexdigit).collect();
    u64::from_str_radix(&format!("{digits:0<14}"), 16).unwrap()
}
