//! OTLP/JSON, as file exporters write it (one request a line) and as HTTP clients send it.

use super::Ledger;
use crate::corpus::vocabulary::{KEEP_KEY, TRACE_SPANS_KEY};
use crate::walk::SpanFacts;
use serde_json::Value;

/// The text is no OTLP/JSON request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an OTLP/JSON request: {0}")]
pub struct JsonLineError(String);

/// Notes the spans of one request; requests of other signals have none. The number of spans is returned.
///
/// # Errors
/// [`JsonLineError`] says what is wrong; spans before the fault stay noted.
pub fn record_json(text: &[u8], ledger: &mut Ledger) -> Result<u64, JsonLineError> {
    let request: Value = serde_json::from_slice(text).map_err(|error| JsonLineError(error.to_string()))?;
    let mut count = 0;
    for resource in list(&request["resourceSpans"]) {
        for scope in list(&resource["scopeSpans"]) {
            for span in list(&scope["spans"]) {
                let wrong = |what: &str| JsonLineError(format!("a span without a valid {what}"));
                let trace = hex(&span["traceId"], 32).ok_or_else(|| wrong("traceId"))?;
                let id = hex(&span["spanId"], 16).ok_or_else(|| wrong("spanId"))?;
                let mut facts = SpanFacts { trace, span: u64::try_from(id).unwrap_or(0), trace_spans: 0, keep: &[] };
                for attribute in list(&span["attributes"]) {
                    let value = &attribute["value"];
                    if attribute["key"] == TRACE_SPANS_KEY {
                        let number = &value["intValue"];
                        facts.trace_spans = number.as_u64().or_else(|| number.as_str()?.parse().ok()).unwrap_or(0);
                    } else if attribute["key"] == KEEP_KEY {
                        facts.keep = value["stringValue"].as_str().unwrap_or_default().as_bytes();
                    }
                }
                ledger.record(&facts);
                count += 1;
            }
        }
    }
    Ok(count)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn hex(value: &Value, digits: usize) -> Option<u128> {
    let text = value.as_str().filter(|text| text.len() == digits)?;
    u128::from_str_radix(text, 16).ok().filter(|id| *id != 0)
}
