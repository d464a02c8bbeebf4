//! A verdict is of one generation of rules: of the one in force, unless bytes of the trace had left memory, so that it could
//! not be scanned again.
//!
//! Notices when a trace is pinned (`Shard::pin`) that has all its bytes, as one that `Shard::open` begins.

use super::super::node::Node;
use super::super::seen::Seen;
use super::Oracle;

/// Keeps nothing: each verdict tells.
#[derive(Default)]
pub struct Generation;

impl Oracle for Generation {
    fn see(&mut self, seen: &Seen, node: &Node) {
        let Seen::Judged { judged, ruled, in_force, is_cold, .. } = seen else { return };
        if judged.generation != *in_force {
            assert!(node.scenario.log.is_some() && judged.generation < *in_force, "{judged:?}");
            assert!(!ruled.is_kept || *is_cold, "only what left memory stays behind: {judged:?}");
        }
    }
}
