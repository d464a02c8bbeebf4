//! The corpus: realistic traces planned, encoded and kept ready before the clock starts.
//!
//! A *round* is a set of whole traces whose spans are scattered over the requests of each service, mostly one: the span of a
//! trace that belongs to a service travels in a request of that service, so a trace of 8 spans over 8 services arrives in 8
//! requests. With several requests a service, it is chance which of them has the span, and where, so that the traces of
//! one request are not those of another.
//! A *template* is a round encoded once; each time it is sent, fresh ids and times are patched into the same bytes.

pub mod identity;
pub mod json;
pub mod logs;
pub mod metrics;
pub mod patch;
pub mod plan;
pub mod protobuf;
pub mod vocabulary;

use identity::Identity;
use patch::PatchTable;
use plan::RoundPlan;

/// How the bodies of requests are encoded (OTLP 1.11, "Binary Protobuf Encoding" and "JSON Protobuf Encoding").
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BodyEncoding {
    /// `application/x-protobuf`, or the message of a gRPC call
    Protobuf,
    /// `application/json`, over HTTP only
    Json,
}

/// What the traces look like; the same options and seed always give the same rounds.
#[derive(Clone, Debug)]
pub struct CorpusOptions {
    /// seed of every random choice, ids included
    pub seed: u64,
    /// number of services, each with its own resource and requests (1 or more)
    pub services: u16,
    /// spans of one trace (1 or more)
    pub spans_per_trace: u16,
    /// spans of one request, approximately (1 or more)
    pub spans_per_request: u32,
    /// requests of each service in one round (1 or more)
    pub requests_per_service: u16,
    /// size of the protobuf Span message that is aimed at, in bytes; about 150 is the least that can be reached
    pub span_bytes: usize,
    /// share of the traces that a sampler must keep, 0 to 1
    pub keep_share: f64,
    /// share of the traces of which one span is sent late, 0 to 1
    pub late_share: f64,
    /// encoding of the bodies
    pub encoding: BodyEncoding,
}

impl CorpusOptions {
    /// Traces in one round, so that each request holds about `spans_per_request` spans.
    #[must_use]
    pub fn traces_per_round(&self) -> u32 {
        let requests = u32::from(self.services).saturating_mul(u32::from(self.requests_per_service.max(1)));
        let spans = self.spans_per_request.saturating_mul(requests);
        (spans / u32::from(self.spans_per_trace.max(1))).max(1)
    }
}

/// One request of a round, encoded, with the places that are patched before each sending.
#[derive(Clone, Debug)]
pub struct RequestTemplate {
    /// the body, as long as every patched copy of it
    pub bytes: Vec<u8>,
    /// where ids and times are
    pub patches: PatchTable,
    /// spans in the body
    pub spans: u64,
    /// true for the request that carries the late spans of the round
    pub late: bool,
}

/// A round encoded: its requests, and which of its traces must be kept.
#[derive(Clone, Debug)]
pub struct RoundTemplate {
    /// the requests of each service that have spans, service by service, then at most one late request
    pub requests: Vec<RequestTemplate>,
    /// the traces that must be kept: index in the round, and why
    pub keep: Vec<(u32, plan::KeepReason)>,
    /// protobuf bytes of all Span messages of the round
    pub span_bytes: u64,
}

impl RoundTemplate {
    /// Plans and encodes one round. `variant` tells rounds of one corpus apart.
    #[must_use]
    pub fn build(options: &CorpusOptions, variant: u64) -> Self {
        let plan = RoundPlan::draw(options, variant);
        let mut span_bytes = 0;
        let mut requests = Vec::with_capacity(plan.requests.len());
        for request in &plan.requests {
            let protobuf = protobuf::encode(request);
            span_bytes += protobuf.span_bytes;
            let (bytes, patches) = match options.encoding {
                BodyEncoding::Protobuf => (protobuf.bytes, protobuf.patches),
                BodyEncoding::Json => json::encode(request),
            };
            requests.push(RequestTemplate { bytes, patches, spans: request.spans.len() as u64, late: request.late });
        }
        Self { requests, keep: plan.keep, span_bytes }
    }

    /// Spans of the whole round.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.requests.iter().map(|request| request.spans).sum()
    }
}

/// Where a round stands in the sequence of all traces of a run: the ids of its traces follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundPosition {
    /// sequence number of the round's first trace
    pub first_trace: u64,
    /// Unix time the round is stamped with, nanoseconds: the latest span of the round ends then
    pub unix_nanos: u64,
}

impl RequestTemplate {
    /// Writes the ids and times of the round at `position` into `body`, a copy of this template's bytes.
    pub fn patch(&self, body: &mut [u8], identity: Identity, position: RoundPosition) {
        self.patches.apply(body, identity, position);
    }
}

#[cfg(test)]
mod tests;
