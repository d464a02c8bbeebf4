//! The world as a test of one shard sees it: what is exported and recalled is kept to be looked at, the log is forgotten.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tailwater_engine::host::{ExportRequest, Host};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Said, Unit};

/// Takes what a shard gives out.
#[derive(Default)]
pub struct Kept {
    /// Exported, in order.
    pub requests: Vec<ExportRequest>,
    /// To be read from the log again.
    pub recalled: Vec<KeptUnit>,
    /// Told to other nodes of a cluster.
    pub said: Vec<Said>,
    /// Whether what is kept has to wait.
    pub is_full: bool,
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
    fn has_room(&mut self) -> bool {
        !self.is_full
    }
    fn tell(&mut self, said: Said) -> Result<(), Said> {
        self.said.push(said);
        Ok(())
    }
}

/// A request of one span, without a resource or a scope.
#[must_use]
pub fn request_of(span: Span) -> Bytes {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}
