//! Judgements over small ledgers, and the files.

use super::*;

fn facts(trace: u128, span: u64, keep: &[u8]) -> SpanFacts<'_> {
    SpanFacts { trace, span, trace_spans: 2, keep }
}

fn ledger(spans: &[(u128, u64)]) -> Ledger {
    let mut ledger = Ledger::default();
    for (trace, span) in spans {
        ledger.record(&facts(*trace, *span, b"error"));
    }
    ledger
}

fn expectation(keep: &[u128], unsure: &[u128]) -> Expectation {
    let wanted = || expectation::Wanted { spans: 2, reason: "error".into() };
    Expectation {
        keep: keep.iter().map(|trace| (*trace, wanted())).collect(),
        unsure: unsure.iter().copied().collect(),
        ..Expectation::default()
    }
}

#[test]
fn whole_missing_partial_and_twice_are_told_apart() {
    let ledger = ledger(&[(1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 2), (5, 1)]);
    let judgement = ledger.judge(Some(&expectation(&[1, 2, 3, 4], &[5])));
    assert_eq!((judgement.traces, judgement.whole, judgement.unsure), (4, 2, 1));
    let ids = |findings: &Findings| -> Vec<u128> {
        findings.listed.iter().map(|(trace, _)| u128::from_str_radix(trace, 16).unwrap()).collect()
    };
    assert_eq!(ids(&judgement.missing), [4]);
    assert_eq!(ids(&judgement.partial), [2]);
    assert_eq!(ids(&judgement.duplicates), [3]);
    assert!(!judgement.is_clean(true));
}

#[test]
fn extra_whole_traces_are_allowed_and_duplicates_only_on_request() {
    let judgement = ledger(&[(1, 1), (1, 2), (9, 1), (9, 2)]).judge(Some(&expectation(&[1], &[])));
    assert!(judgement.is_clean(false));
    let judgement = ledger(&[(1, 1), (1, 2), (1, 2)]).judge(Some(&expectation(&[1], &[])));
    assert!(!judgement.is_clean(false) && judgement.is_clean(true));
}

#[test]
fn files_come_back_as_they_were_written() {
    let directory = std::env::temp_dir().join(format!("tailwater-ledger-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("seen");
    let mut before = ledger(&[(1, 1), (1, 2), (1, 2), (2, 7)]);
    before.record(&facts(3, 1, b""));
    write_seen(&path, &before).unwrap();
    let mut after = Ledger::default();
    read_seen(&path, &mut after).unwrap();
    assert_eq!(after.traces, before.traces);
    assert_eq!(after.spans, before.spans);
    std::fs::write(&path, format!("{HEADER}\nnonsense\n", HEADER = "# tailwater-load seen 1")).unwrap();
    assert!(read_seen(&path, &mut after).unwrap_err().to_string().contains("line 2"));
    std::fs::write(&path, "# tailwater-load expect 1\nkeep 0a 2 slow\nunsure 0b\n").unwrap();
    let read = Expectation::read(&[&path]).unwrap();
    assert_eq!(read.keep[&10].reason, "slow");
    assert!(read.unsure.contains(&11));
    std::fs::write(&path, "# tailwater-load expect 1\nkeep zz 2 slow\n").unwrap();
    assert!(matches!(Expectation::read(&[&path]), Err(ExpectationError::Line { line: 2, .. })));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn json_and_protobuf_of_a_request_leave_the_same_ledger() {
    use crate::corpus::identity::Identity;
    use crate::corpus::{BodyEncoding, CorpusOptions, RoundPosition, RoundTemplate};
    let read = |encoding| {
        let options = CorpusOptions {
            seed: 5,
            services: 2,
            spans_per_trace: 4,
            spans_per_request: 50,
            requests_per_service: 1,
            span_bytes: 384,
            keep_share: 0.5,
            late_share: 0.0,
            encoding,
        };
        let mut ledger = Ledger::default();
        for request in RoundTemplate::build(&options, 0).requests {
            let mut body = request.bytes.clone();
            request.patch(&mut body, Identity::new(5), RoundPosition { first_trace: 0, unix_nanos: u64::MAX / 8 });
            match encoding {
                BodyEncoding::Json => record_json(&body, &mut ledger).unwrap(),
                BodyEncoding::Protobuf => crate::walk::spans(&body, |span| {
                    ledger.record(&crate::walk::facts(span)?);
                    Ok(())
                })
                .unwrap(),
            };
        }
        assert!(ledger.judge(None).is_clean(false));
        ledger.traces
    };
    let protobuf = read(BodyEncoding::Protobuf);
    assert_eq!(protobuf.len(), 25);
    assert_eq!(protobuf, read(BodyEncoding::Json));
    assert!(record_json(br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#, &mut Ledger::default()).is_err());
}
