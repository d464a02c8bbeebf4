//! What nodes say to one another is bounded by what comes: where all is calm each hears what came of its traces without
//! asking, and nothing is told for its own sake.
//!
//! Notices when drops are not told (`Shard::tell_ruling`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::{Ended, Joint};
use tailwater_engine::vocabulary::Nanos;

/// Keeps nothing: nodes count.
pub struct AskedFor;

impl Joint for AskedFor {
    fn see(&mut self, _: &Seen, _: &Node, _: Nanos) {}

    fn end(&mut self, ended: &Ended<'_>) {
        let counts = &ended.met.cluster;
        assert_eq!(counts.malformed, 0);
        assert!(!ended.expected.is_calm || counts.evidence_asked == 0, "asked: {counts:?}");
    }
}
