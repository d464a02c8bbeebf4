//! The name of the policy that kept a trace, in the attributes of its spans' scopes: what the Collector writes with its
//! feature gate `recordpolicy`.
//!
//! ```text
//! ScopeSpans            1 InstrumentationScope   3 schema_url
//! InstrumentationScope  1 name   2 version   3 attributes*   4 dropped_attributes_count
//! KeyValue              1 key   2 value: 1 string, 2 bool
//! ```

use tailwater_proto::otlp::check::key_value;
use tailwater_proto::otlp::wire::{Reader, put_header, put_varint};

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// The policy, as `tailsampling.policy`; `None` when it is not known, for a verdict of a former run.
    pub policy: Option<&'a str>,
    /// The sub-policy of a composite, as `tailsampling.composite_policy`.
    pub sub_policy: Option<&'a str>,
    /// The spans came after the verdict: `tailsampling.cached_decision`.
    pub is_late: bool,
}

const POLICY: &str = "tailsampling.policy";
const SUB_POLICY: &str = "tailsampling.composite_policy";
const LATE: &str = "tailsampling.cached_decision";

const SCOPE: u32 = 1;
const ATTRIBUTES: u32 = 3;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
/// `AnyValue.bool_value` true: field 2, varint 1.
const TRUE: [u8; 2] = [2 << 3, 1];

/// The envelope of a `ScopeSpans` (every field but the spans) with the label in its scope's attributes. Attributes of the
/// same keys give way.
#[must_use]
pub fn labelled(envelope: &[u8], label: &Label<'_>) -> Vec<u8> {
    let mut scope = Vec::new();
    let mut rest = Vec::with_capacity(envelope.len());
    let mut reader = Reader::new(envelope);
    while let Ok(Some(field)) = reader.next_field() {
        let bytes = &envelope[field.start..reader.position()];
        match field.bytes() {
            // Of several the fields are joined, as protobuf says.
            Ok(message) if field.number == SCOPE => put_without_labels(message, &mut scope),
            _ => rest.extend_from_slice(bytes),
        }
    }
    if let Some(policy) = label.policy {
        put_text(POLICY, policy, &mut scope);
    }
    if let Some(sub_policy) = label.sub_policy {
        put_text(SUB_POLICY, sub_policy, &mut scope);
    }
    if label.is_late {
        put_attribute(LATE, &TRUE, &mut scope);
    }
    let mut out = Vec::with_capacity(scope.len() + rest.len() + 8);
    put_header(&mut out, SCOPE, scope.len());
    out.extend_from_slice(&scope);
    out.extend_from_slice(&rest);
    out
}

fn put_without_labels(message: &[u8], out: &mut Vec<u8>) {
    let mut reader = Reader::new(message);
    while let Ok(Some(field)) = reader.next_field() {
        let is_label =
            field.number == ATTRIBUTES
                && field.bytes().ok().and_then(|bytes| key_value(bytes).ok()).is_some_and(|attribute| {
                    [POLICY, SUB_POLICY, LATE].iter().any(|key| attribute.key == key.as_bytes())
                });
        if !is_label {
            out.extend_from_slice(&message[field.start..reader.position()]);
        }
    }
}

fn put_text(key: &str, text: &str, out: &mut Vec<u8>) {
    let mut value = Vec::with_capacity(text.len() + 4);
    put_header(&mut value, STRING_VALUE, text.len());
    value.extend_from_slice(text.as_bytes());
    put_attribute(key, &value, out);
}

fn put_attribute(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let mut attribute = Vec::with_capacity(key.len() + value.len() + 8);
    put_header(&mut attribute, KEY, key.len());
    attribute.extend_from_slice(key.as_bytes());
    put_header(&mut attribute, VALUE, value.len());
    attribute.extend_from_slice(value);
    put_varint(out, u64::from(ATTRIBUTES << 3 | 2));
    put_varint(out, attribute.len() as u64);
    out.extend_from_slice(&attribute);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
    use prost::Message;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }

    fn text(key: &str, value: &str) -> KeyValue {
        attribute(key, Value::StringValue(value.into()))
    }

    #[test]
    fn the_label_joins_the_attributes_of_the_scope_and_replaces_an_older_one() {
        let scope = InstrumentationScope {
            name: "n".into(),
            attributes: vec![text(POLICY, "before"), text("a", "b")],
            ..InstrumentationScope::default()
        };
        let envelope = ScopeSpans { scope: Some(scope), schema_url: "s".into(), ..ScopeSpans::default() };
        let label = Label { policy: Some("errors"), sub_policy: Some("part"), is_late: true };
        let out = ScopeSpans::decode(&labelled(&envelope.encode_to_vec(), &label)[..]).unwrap();
        let scope = out.scope.unwrap();
        assert_eq!((scope.name.as_str(), out.schema_url.as_str()), ("n", "s"));
        let late = attribute(LATE, Value::BoolValue(true));
        assert_eq!(scope.attributes, [text("a", "b"), text(POLICY, "errors"), text(SUB_POLICY, "part"), late]);
    }

    #[test]
    fn a_missing_scope_gets_one() {
        let label = Label { policy: Some("p"), sub_policy: None, is_late: false };
        let out = ScopeSpans::decode(&labelled(&[], &label)[..]).unwrap();
        assert_eq!(out.scope.unwrap().attributes, [text(POLICY, "p")]);
        let unknown = Label { policy: None, sub_policy: None, is_late: true };
        let out = ScopeSpans::decode(&labelled(&[], &unknown)[..]).unwrap();
        assert_eq!(out.scope.unwrap().attributes, [attribute(LATE, Value::BoolValue(true))]);
    }
}
