//! What a shard holds stays within its bounds.
//!
//! Notices when `Arena::append` begins a chunk past `bytes_max`.

use super::super::node::Node;
use super::super::seen::Seen;
use super::Oracle;
use tailwater_engine::ledger::Account;

/// Envelopes of one request may be interned past the bound before a chunk is refused.
const ENVELOPE_SLACK_BYTES: usize = 4096;
/// Places of spans in the log are kept in a table that grows by this at once, more than a small arena has.
const COLD_STEP_BYTES: usize = 4096 * 16;

/// Keeps nothing: bounds hold by themselves.
#[derive(Default)]
pub struct Bounds;

impl Oracle for Bounds {
    fn see(&mut self, _: &Seen, _: &Node) {}

    fn check(&mut self, node: &Node, _: &Account, _: usize) {
        let cold_step = node.scenario.log.as_ref().map_or(0, |_| COLD_STEP_BYTES);
        let bytes_max = node.scenario.arena_bytes_max + ENVELOPE_SLACK_BYTES + cold_step;
        for core in &node.cores {
            let bytes = core.shard.buffer_bytes();
            assert!(bytes <= bytes_max, "{bytes} bytes, at most {bytes_max}");
            let (traces, traces_max) = (core.shard.ledger().traces.pending as usize, node.scenario.traces_max);
            assert!(traces <= traces_max, "{traces} traces, at most {traces_max}");
            let docket_traces_max = node.scenario.cluster.map_or(0, |cluster| cluster.docket_traces_max);
            let docketed = core.shard.cluster().map_or(0, |cluster| cluster.docket.len());
            assert!(docketed <= docket_traces_max, "{docketed} traces on the docket, at most {docket_traces_max}");
        }
    }
}
