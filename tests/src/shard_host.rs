//! The world as a test of one shard sees it: what is exported and recalled is kept to be looked at, the log is forgotten.

use tailwater_engine::host::{ExportRequest, Host};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Unit};

/// Takes what a shard gives out.
#[derive(Default)]
pub struct Kept {
    /// Exported, in order.
    pub requests: Vec<ExportRequest>,
    /// To be read from the log again.
    pub recalled: Vec<KeptUnit>,
}

impl Host for Kept {
    fn export(&mut self, request: ExportRequest) {
        self.requests.push(request);
    }
    fn judged(&mut self, _: &Judged) {}
    fn resolve(&mut self, _: Unit) {}
    fn recall(&mut self, unit: KeptUnit) {
        self.recalled.push(unit);
    }
}
