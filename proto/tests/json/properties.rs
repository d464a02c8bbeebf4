//! Properties over generated requests: what one side writes the other reads as the same request.

use std::fmt::Debug;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use proptest::prelude::*;
use prost::Message;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{JsonReading, from_protobuf, protobuf_bytes_max, to_protobuf};
use tailwater_proto::otlp::mend::mended;

use crate::corpus::Corpus;

fn written(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    from_protobuf(signal, bytes, &mut json).unwrap();
    json
}

fn read(signal: Signal, json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = to_protobuf(signal, json, &mut out)
        .unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(json)));
    assert_eq!((read.refused, read.fault, read.ignored_names), (0, None, 0));
    assert!(out.len() <= protobuf_bytes_max(json));
    out
}

/// Ours against the reference, in both directions: `theirs` is the request as the reference writes it, `read_reference`
/// reads as the reference does.
fn agrees<M>(signal: Signal, request: &M, theirs: &[u8], read_reference: impl FnOnce(&[u8]) -> M)
where
    M: Message + Default + PartialEq + Debug,
{
    let ours = written(signal, &request.encode_to_vec());
    assert!(!ours.contains(&b'\n'), "one line");
    assert_eq!(&read_reference(&ours), request, "the reference reads what we write");
    assert_eq!(&M::decode(read(signal, theirs).as_slice()).unwrap(), request, "we read what the reference writes");
}

/// What we write we read back as the same request, whose bytes written again are the same line.
fn round_trips<M: Message + Default>(signal: Signal, request: &M) {
    let bytes = request.encode_to_vec();
    let line = written(signal, &bytes);
    let back = read(signal, &line);
    // Decoded and encoded once more for the one order of fields; bytes, because NaN is not equal to itself.
    assert_eq!(M::decode(back.as_slice()).unwrap().encode_to_vec(), bytes);
    assert_eq!(written(signal, &back), line);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn property_reference_agrees(seed: u64) {
        let mut corpus = Corpus::new(seed);
        corpus.for_reference = true;
        let traces = corpus.traces();
        agrees(Signal::Traces, &traces, &serde_json::to_vec(&traces).unwrap(), |json| serde_json::from_slice(json).unwrap());
        let logs = corpus.logs();
        agrees(Signal::Logs, &logs, &serde_json::to_vec(&logs).unwrap(), |json| serde_json::from_slice(json).unwrap());
        let metrics = corpus.metrics();
        agrees(Signal::Metrics, &metrics, &serde_json::to_vec(&metrics).unwrap(), |json| serde_json::from_slice(json).unwrap());
    }

    #[test]
    fn property_round_trip_is_exact(seed: u64) {
        let mut corpus = Corpus::new(seed);
        round_trips(Signal::Traces, &corpus.traces());
        round_trips(Signal::Logs, &corpus.logs());
        round_trips(Signal::Metrics, &corpus.metrics());
    }

    /// A text that is read in slices of any size is read as one that is read in one go.
    #[test]
    fn property_slices_do_not_matter(seed: u64, slice in 0_usize..200) {
        let line = written(Signal::Traces, &Corpus::new(seed).traces().encode_to_vec());
        let (mut out, mut reading) = (Vec::new(), JsonReading::new(Signal::Traces, 0));
        while reading.advance(&line, slice, &mut out).unwrap().is_none() {}
        prop_assert_eq!(&out, &read(Signal::Traces, &line));
    }

    /// A request with bytes changed or cut off is an error or another request, and the outcome is JSON.
    #[test]
    fn property_damaged_protobuf_does_no_harm(seed: u64, position: usize, value: u8, cut: bool) {
        let mut bytes = Corpus::new(seed).metrics().encode_to_vec();
        if !bytes.is_empty() {
            let position = position % bytes.len();
            bytes[position] = value;
            if cut {
                bytes.truncate(position);
            }
        }
        let mut line = Vec::new();
        if from_protobuf(Signal::Metrics, &bytes, &mut line).is_ok() {
            serde_json::from_slice::<serde_json::Value>(&line).unwrap();
        }
    }

    /// What is mended of a request with bytes changed is decoded by the reference, and is sound.
    #[test]
    fn property_what_is_mended_is_sound(seed: u64, changes: [(usize, u8); 3]) {
        let mut corpus = Corpus::new(seed);
        let (logs, metrics) = (corpus.logs().encode_to_vec(), corpus.metrics().encode_to_vec());
        for (signal, mut bytes) in [(Signal::Logs, logs), (Signal::Metrics, metrics)] {
            for (position, value) in changes.iter().take(usize::from(!bytes.is_empty()) * 3) {
                let position = position % bytes.len();
                bytes[position] = *value;
            }
            let Ok(first) = mended(signal, &bytes) else { continue };
            let left = first.body.as_ref().unwrap_or(&bytes);
            match signal {
                Signal::Logs => ExportLogsServiceRequest::decode(left.as_slice()).map(|_| ()).unwrap(),
                _ => ExportMetricsServiceRequest::decode(left.as_slice()).map(|_| ()).unwrap(),
            }
            let again = mended(signal, left).unwrap();
            prop_assert_eq!((again.body, again.items, again.refused.total()), (None, first.items, 0));
        }
    }

    /// A text with bytes changed is an error or a request that prost decodes.
    #[test]
    fn property_damaged_json_does_no_harm(seed: u64, position: usize, value: u8) {
        let mut line = written(Signal::Logs, &Corpus::new(seed).logs().encode_to_vec());
        let position = position % line.len();
        line[position] = value;
        let mut out = vec![1, 2, 3];
        match to_protobuf(Signal::Logs, &line, &mut out) {
            Ok(_) => {
                ExportLogsServiceRequest::decode(&out[3..]).unwrap();
            }
            Err(_) => prop_assert_eq!(out, vec![1, 2, 3]),
        }
    }
}
