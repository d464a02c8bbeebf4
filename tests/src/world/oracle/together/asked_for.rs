//! What nodes say to one another is bounded by what comes: where all is calm each hears what came of its traces without
//! asking, and nothing is told for its own sake.
//!
//! Notices when drops are not told (`Shard::tell_ruling`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::{Ended, Joint};
use tailwater_engine::vocabulary::Nanos;

/// Of so many entries one may ask.
const RARELY: u64 = 50;

/// Keeps nothing: nodes count.
pub struct AskedFor;

impl Joint for AskedFor {
    fn see(&mut self, _: &Seen, _: &Node, _: Nanos) {}

    fn end(&mut self, ended: &Ended<'_>) {
        let counts = &ended.met.cluster;
        assert_eq!(counts.malformed, 0);
        // A message may take all the time that a message takes, at every step.
        let is_rare = counts.evidence_asked <= 1 + counts.evidence_sent / RARELY;
        assert!(!ended.expected.is_calm || is_rare, "asked: {counts:?}");
    }
}
