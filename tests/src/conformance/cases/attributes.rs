//! The policies on attributes: string, numeric, boolean.

use super::{Case, Trace, attribute, case, span_with, text};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use serde_json::{Value, json};

pub(super) fn cases() -> Vec<Case> {
    [strings(), numbers(), bounds(), booleans()].concat()
}

/// A trace of one span under one resource.
fn single(resource: Vec<KeyValue>, span: KeyValue, is_kept: bool) -> Trace {
    Trace { pieces: vec![(resource, vec![span_with(vec![span])])], late: Vec::new(), is_kept }
}

/// On the resource or on the span.
#[derive(Clone, Copy)]
enum On {
    Resource,
    Span,
}
use On::{Resource, Span};

const CHECK: &str = "grpc.health.v1.HealthCheck";
const LIST: &[&str] = &["first_value", "value", "last_value"];

/// What it is, where the attribute is, its key and value, the values looked for, regular expressions or not, inverted or
/// not, sampled or not.
type StringRow = (&'static str, On, &'static str, &'static str, &'static [&'static str], bool, bool, bool);

const STRINGS: &[StringRow] = &[
    ("other key on the resource", Resource, "non_matching", "value", &["value"], false, false, false),
    ("other value on the resource", Resource, "example", "non_matching", &["value"], false, false, false),
    ("value on the resource", Resource, "example", "value", &["value"], false, false, true),
    ("other key on the span", Span, "nonmatching", "value", &["value"], false, false, false),
    ("other value on the span", Span, "example", "nonmatching", &["value"], false, false, false),
    ("value on the span", Span, "example", "value", &["value"], false, false, true),
    ("expression on the span", Span, "example", CHECK, &["v[0-9]+.HealthCheck$"], true, false, true),
    ("other expression on the span", Span, "example", CHECK, &["v[a-z]+.HealthCheck$"], true, false, false),
    ("text as expression on the resource", Resource, "example", "value", &["value"], true, false, true),
    ("no expressions", Span, "example", CHECK, &[], true, false, false),
    ("inverted, other key on the resource", Resource, "non_matching", "value", &["value"], false, true, true),
    ("inverted, other value on the resource", Resource, "example", "non_matching", &["value"], false, true, true),
    ("inverted, none of a list on the resource", Resource, "example", "non_matching", LIST, false, true, true),
    ("inverted, value on the resource", Resource, "example", "value", &["value"], false, true, false),
    ("inverted, one of a list on the resource", Resource, "example", "value", LIST, false, true, false),
    ("inverted, other key on the span", Span, "nonmatching", "value", &["value"], false, true, true),
    ("inverted, other value on the span", Span, "example", "nonmatching", &["value"], false, true, true),
    ("inverted, none of a list on the span", Span, "example", "nonmatching", LIST, false, true, true),
    ("inverted, value on the span", Span, "example", "value", &["value"], false, true, false),
    ("inverted, one of a list on the span", Span, "example", "value", LIST, false, true, false),
    ("inverted, expression", Span, "example", CHECK, &["v[0-9]+.HealthCheck$"], true, true, false),
    ("inverted, one expression", Span, "example", CHECK, &["^http", "v[0-9]+.HealthCheck$", "m$"], true, true, false),
    ("inverted, other expression", Span, "example", CHECK, &["v[a-z]+.HealthCheck$"], true, true, true),
    ("inverted, none of several", Span, "example", CHECK, &["^http", "v[a-z]+.HealthCheck$", "m$"], true, true, true),
    ("inverted, text as expression", Resource, "example", "value", &["value"], true, true, false),
    ("inverted, text in a list as expression", Resource, "example", "value", LIST, true, true, false),
    ("inverted, no expressions", Span, "example", CHECK, &[], true, true, true),
    ("an expression that is none, as text", Span, "example", "*invalid-regex", &["*invalid-regex"], false, false, true),
    ("an empty value matches nothing", Span, "example", "", &[""], false, false, false),
    ("an empty expression does not match an empty value of a span", Span, "example", "", &[""], true, false, false),
    ("an empty expression matches an empty value of a resource", Resource, "example", "", &[""], true, false, true),
];

fn strings() -> Vec<Case> {
    let of = |(what, on, key, value, values, regex, invert, is_kept): &StringRow| {
        let block =
            json!({"key": "example", "values": values, "enabled_regex_matching": regex, "invert_match": invert});
        let trace = match on {
            Resource => single(vec![text(key, value)], text("", ""), *is_kept),
            Span => single(Vec::new(), text(key, value), *is_kept),
        };
        case(&format!("string_attribute: {what}"), &[policy("string_attribute", &block)], vec![trace])
    };
    STRINGS.iter().map(of).collect()
}

fn policy(kind: &str, block: &Value) -> Value {
    json!({"name": "policy", "type": kind, kind: block})
}

const LOW: i64 = i32::MIN as i64;
const HIGH: i64 = i32::MAX as i64;

/// What it is, where the value is under the key, the value; sampled or not, when not inverted.
const NUMBERS: &[(&str, On, i64, bool)] = &[
    ("a span at the lower limit", Span, LOW, true),
    ("a resource at the lower limit", Resource, LOW, true),
    ("a span at the upper limit", Span, HIGH, true),
    ("a resource at the upper limit", Resource, HIGH, true),
    ("a span below", Span, LOW - 1, false),
    ("a resource below", Resource, LOW - 1, false),
    ("a span above", Span, HIGH + 1, false),
    ("a resource above", Resource, HIGH + 1, false),
];

fn numbers() -> Vec<Case> {
    let mut cases = Vec::new();
    for invert in [false, true] {
        let block = json!({"key": "example", "min_value": LOW, "max_value": HIGH, "invert_match": invert});
        let named = |what: &str| format!("numeric_attribute: {what}{}", if invert { ", inverted" } else { "" });
        let policies = [policy("numeric_attribute", &block)];
        let other = single(Vec::new(), attribute("non_matching", Any::IntValue(LOW)), invert);
        cases.push(case(&named("another key"), &policies, vec![other]));
        for (what, on, value, matches) in NUMBERS {
            let trace = match on {
                Resource => single(
                    vec![attribute("example", Any::IntValue(*value))],
                    attribute("non_matching", Any::IntValue(LOW)),
                    *matches != invert,
                ),
                Span => single(Vec::new(), attribute("example", Any::IntValue(*value)), *matches != invert),
            };
            cases.push(case(&named(what), &policies, vec![trace]));
        }
    }
    let other_types = [Any::DoubleValue(150.0), Any::StringValue("150".to_string()), Any::BoolValue(true)];
    for (number, value) in other_types.into_iter().enumerate() {
        // It reads as 0.
        for (min, max, is_kept) in [(100, 200, false), (-1, 1, true)] {
            let block = json!({"key": "example", "min_value": min, "max_value": max});
            let trace = single(Vec::new(), attribute("example", value.clone()), is_kept);
            let name = format!("numeric_attribute: other type {number} from {min}");
            cases.push(case(&name, &[policy("numeric_attribute", &block)], vec![trace]));
        }
    }
    cases
}

/// Lower bound, upper bound (0 for none), value, inverted, sampled.
const BOUNDS: &[(i64, i64, i64, bool, bool)] = &[
    (100, 0, 200, false, true),
    (100, 0, 50, false, false),
    (0, 100, 50, false, true),
    (0, 100, 200, false, false),
    (100, 200, 150, false, true),
    (100, 200, 50, false, false),
    (100, 0, 200, true, false),
    (0, 100, 50, true, false),
];

fn bounds() -> Vec<Case> {
    let of = |(min, max, value, invert, is_kept): &(i64, i64, i64, bool, bool)| {
        let block = json!({"key": "example", "min_value": min, "max_value": max, "invert_match": invert});
        let trace = single(Vec::new(), attribute("example", Any::IntValue(*value)), *is_kept);
        let name = format!("numeric_attribute: {value} of {min} to {max}, {invert}");
        case(&name, &[policy("numeric_attribute", &block)], vec![trace])
    };
    BOUNDS.iter().map(of).collect()
}

fn booleans() -> Vec<Case> {
    let mut cases = Vec::new();
    for invert in [false, true] {
        for (key, value, matches) in [("non_matching", true, false), ("example", false, false), ("example", true, true)]
        {
            let block = json!({"key": "example", "value": true, "invert_match": invert});
            let trace = single(Vec::new(), attribute(key, Any::BoolValue(value)), matches != invert);
            let name = format!("boolean_attribute: {key} is {value}, inverted {invert}");
            cases.push(case(&name, &[policy("boolean_attribute", &block)], vec![trace]));
        }
    }
    // Whatever is no boolean reads as false.
    let block = json!({"key": "example", "value": false});
    let trace = single(Vec::new(), text("example", "true"), true);
    cases.push(case("boolean_attribute: text is false", &[policy("boolean_attribute", &block)], vec![trace]));
    cases
}
