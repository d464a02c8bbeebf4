//! Conditions: reading one and evaluating it on a span never panics, whatever the two are. The input is a condition, a
//! zero byte, and fields of a span.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tailwater_ottl::{Context, parse};
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling};
use tailwater_engine::intake::Intake;
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_proto::otlp::wire::put_varint;

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

fuzz_target!(|input: &[u8]| {
    let (condition, fields) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[][..]),
    };
    let Ok(condition) = std::str::from_utf8(condition) else { return };
    let mut lists = [Vec::new(), Vec::new()];
    for (list, context) in lists.iter_mut().zip([Context::Span, Context::SpanEvent]) {
        match parse(condition, context) {
            Ok(_) => list.push(condition.to_string()),
            Err(error) => {
                assert!(error.offset <= condition.len());
                _ = error.render(condition);
            }
        }
    }
    let [span, spanevent] = lists;
    if span.is_empty() && spanevent.is_empty() {
        return;
    }
    // Its expressions take a good part of a second to compile, each time.
    if condition.contains("UserAgent") {
        return;
    }
    let rule = Rule::OttlCondition { error_mode: ErrorMode::Propagate, span, spanevent };
    let sampling = Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::collector_default() };
    let Ok(rules) = Rules::compile(&sampling) else { return };
    let ids = [field(1, &[1; 16]), field(2, &[1; 8])].concat();
    let span = field(2, &[&ids, fields].concat());
    let scope = [field(1, &field(1, b"scope")), span].concat();
    let resource = [field(1, &field(1, &field(1, b"key"))), field(2, &scope)].concat();
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    if let Ok(scanned) = intake.scan(&Bytes::from(field(1, &resource)), &rules) {
        for (_, batch) in scanned.batches {
            assert_ne!(batch.spans[0].leaves, 3, "matched and failed at once");
        }
    }
});
