//! OTLP/JSON: nothing panics, and what is accepted is protobuf that the reference decoder takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tailwater_proto::otlp::{Signal, json};

fuzz_target!(|bytes: &[u8]| {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let mut out = Vec::new();
        if json::to_protobuf(signal, bytes, &mut out).is_ok() {
            assert!(out.len() <= json::protobuf_bytes_max(bytes));
            let decoded = match signal {
                Signal::Traces => ExportTraceServiceRequest::decode(&out[..]).map(|_| ()),
                Signal::Metrics => ExportMetricsServiceRequest::decode(&out[..]).map(|_| ()),
                Signal::Logs => ExportLogsServiceRequest::decode(&out[..]).map(|_| ()),
            };
            // prost stops at 100 nested messages; JSON nests two levels for three of them.
            if let Err(error) = decoded {
                assert!(error.to_string().contains("recursion"), "{error}");
            }
        }
        let mut line = Vec::new();
        _ = json::from_protobuf(signal, bytes, &mut line);
    }
});
