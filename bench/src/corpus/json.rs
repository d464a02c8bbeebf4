//! Writes a planned request as OTLP/JSON (OTLP 1.11, "JSON Protobuf Encoding") and notes where the ids and times are.

use super::patch::{JSON_TIME_DIGITS, Layout, NO_PARENT, PatchTable, SpanPatch, TimePatch};
use super::plan::{Attribute, RequestPlan, SpanPlan, Value};
use super::protobuf::{SCHEMA_URL, SCOPES, scopes};

/// Encodes the request.
#[must_use]
pub fn encode(request: &RequestPlan) -> (Vec<u8>, PatchTable) {
    let mut writer = Writer { text: String::new(), patches: PatchTable::new(Layout::Json) };
    writer.push(r#"{"resourceSpans":[{"resource":{"attributes":"#);
    writer.attributes(&request.resource);
    writer.push(r#"},"scopeSpans":["#);
    for (position, (number, spans)) in scopes(request).enumerate() {
        let (name, version) = SCOPES[number % SCOPES.len()];
        writer.separate(position);
        writer.push(&format!(r#"{{"scope":{{"name":"{name}","version":"{version}"}},"spans":["#));
        for (index, span) in spans.iter().enumerate() {
            writer.separate(index);
            writer.span(span);
        }
        writer.push(&format!(r#"],"schemaUrl":"{SCHEMA_URL}"}}"#));
    }
    writer.push(&format!(r#"],"schemaUrl":"{SCHEMA_URL}"}}]}}"#));
    (writer.text.into_bytes(), writer.patches)
}

struct Writer {
    text: String,
    patches: PatchTable,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
    }

    /// Room for a patched field; its offset is returned.
    fn hole(&mut self, digits: usize) -> usize {
        let at = self.text.len();
        self.text.extend(std::iter::repeat_n('0', digits));
        at
    }

    fn span(&mut self, span: &SpanPlan) {
        self.push(r#"{"traceId":""#);
        let ids_at = self.hole(32);
        self.push(r#"","spanId":""#);
        self.hole(16);
        if span.parent != NO_PARENT {
            self.push(r#"","parentSpanId":""#);
            self.hole(16);
        }
        self.push(&format!(r#"","name":{},"kind":{},"flags":257,"startTimeUnixNano":""#, quoted(span.name), span.kind));
        let times_at = self.hole(JSON_TIME_DIGITS);
        self.push(r#"","endTimeUnixNano":""#);
        self.hole(JSON_TIME_DIGITS);
        self.push(r#"","attributes":"#);
        self.attributes(&span.attributes);
        if let Some((kind, message)) = span.exception {
            self.push(r#","events":[{"timeUnixNano":""#);
            let at = self.hole(JSON_TIME_DIGITS);
            self.patches.times.push(TimePatch { at, before: span.end_before });
            self.push(r#"","name":"exception","attributes":"#);
            let text = |value: &str| Value::Text(value.to_owned());
            self.attributes(&[("exception.type", text(kind)), ("exception.message", text(message))]);
            self.push(&format!(r#"}}],"status":{{"message":{},"code":2}}"#, quoted(message)));
        }
        self.text.push('}');
        self.patches.spans.push(SpanPatch {
            trace: span.trace,
            index: span.index,
            parent: span.parent,
            ids_at,
            times_at,
            start_before: span.start_before,
            end_before: span.end_before,
        });
    }

    fn attributes(&mut self, attributes: &[Attribute]) {
        self.text.push('[');
        for (index, (key, value)) in attributes.iter().enumerate() {
            self.separate(index);
            self.push(&format!(r#"{{"key":{},"value":"#, quoted(key)));
            self.value(value);
            self.text.push('}');
        }
        self.text.push(']');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.push(&format!(r#"{{"stringValue":{}}}"#, quoted(text))),
            Value::Bool(value) => self.push(&format!(r#"{{"boolValue":{value}}}"#)),
            Value::Integer(value) => self.push(&format!(r#"{{"intValue":"{value}"}}"#)),
            Value::Double(value) => self.push(&format!(r#"{{"doubleValue":{value}}}"#)),
            Value::Bytes(bytes) => self.push(&format!(r#"{{"bytesValue":"{}"}}"#, base64(bytes))),
            Value::List(values) => {
                self.push(r#"{"arrayValue":{"values":["#);
                for (index, value) in values.iter().enumerate() {
                    self.separate(index);
                    self.value(value);
                }
                self.push("]}}");
            }
            Value::Map(entries) => {
                self.push(r#"{"kvlistValue":{"values":"#);
                self.attributes(entries);
                self.push("}}");
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(ALPHABET[(group >> (18 - 6 * position) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
