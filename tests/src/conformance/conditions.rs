//! Random OTTL conditions: combinations of what configurations hold, errors of evaluation among them.

mod converters;

use super::policies::{KEYS, NUMBERS, TEXTS};
use super::traces::NAMES;
use fastrand::Rng;
use serde_json::{Value, json};

const MODES: &[&str] = &["ignore", "propagate", "silent", "Propagate"];
const COMPARISONS: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
const EXPRESSIONS: &[&str] =
    &["^ac", "pay", "^$", "(?i)ACME", "\\\\d+", "e$", "^[45]", "a.c", "true", "\\\\w\\\\s", "^\\\\["];

/// The block of an `ottl_condition` policy.
#[must_use]
pub fn block(random: &mut Rng) -> Value {
    let mut block = json!({});
    if random.u8(0..4) > 0 {
        block["error_mode"] = json!(one(random, MODES));
    }
    let both = random.u8(0..4);
    if both != 0 {
        block["span"] = json!((0..random.usize(1..3)).map(|_| condition(random, false, 0)).collect::<Vec<_>>());
    }
    if both < 2 {
        block["spanevent"] = json!((0..random.usize(1..3)).map(|_| condition(random, true, 0)).collect::<Vec<_>>());
    }
    block
}

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(0..of.len())]
}

/// As a literal of the language.
fn text(random: &mut Rng, of: &[&str]) -> String {
    format!("\"{}\"", one(random, of).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn condition(random: &mut Rng, is_event: bool, depth: u8) -> String {
    match random.u8(0..if depth < 2 { 10 } else { 6 }) {
        6 | 7 => {
            let operator = one(random, &["and", "or"]);
            let (left, right) = (condition(random, is_event, depth + 1), condition(random, is_event, depth + 1));
            if random.bool() { format!("({left}) {operator} {right}") } else { format!("{left} {operator} ({right})") }
        }
        8 => format!("not ({})", condition(random, is_event, depth + 1)),
        _ => test(random, is_event),
    }
}

/// Something of a span, of an event, or of what is around them.
fn attribute(random: &mut Rng, is_event: bool) -> String {
    let key = one(random, KEYS);
    let places: &[&str] = if is_event {
        &["attributes", "spanevent.attributes", "span.attributes", "resource.attributes"]
    } else {
        &[
            "attributes",
            "span.attributes",
            "resource.attributes",
            "scope.attributes",
            "instrumentation_scope.attributes",
        ]
    };
    format!("{}[\"{key}\"]", one(random, places))
}

fn test(random: &mut Rng, is_event: bool) -> String {
    if random.u8(0..3) == 0 {
        return converters::test(random, is_event);
    }
    match random.u8(0..24) {
        0..4 => {
            let operator = one(random, &["==", "!="]);
            format!("{} {operator} {}", attribute(random, is_event), text(random, TEXTS))
        }
        4..6 => {
            let number = NUMBERS[random.usize(0..NUMBERS.len() - 2)].clamp(0, 1 << 40);
            format!("{} {} {number}", attribute(random, is_event), one(random, COMPARISONS))
        }
        6 => format!("{} {} nil", attribute(random, is_event), one(random, &["==", "!="])),
        7 => format!("{} == {}", attribute(random, is_event), one(random, &["true", "false", "1.0", "-2.5"])),
        8..10 => format!("IsMatch({}, \"{}\")", attribute(random, is_event), one(random, EXPRESSIONS)),
        10 => {
            let kind = one(random, &["IsString", "IsInt", "IsBool", "IsDouble", "IsMap", "IsList"]);
            format!("{kind}({})", attribute(random, is_event))
        }
        11 => {
            let function = one(random, &["HasPrefix", "HasSuffix"]);
            format!("{function}(name, {})", text(random, &["GET", "pay", "", "ex", "k"]))
        }
        12 => format!("Len({}) {} {}", attribute(random, is_event), one(random, COMPARISONS), random.u8(0..5)),
        13 => format!("Int({}) {} {}", attribute(random, is_event), one(random, COMPARISONS), random.u8(0..13)),
        14 => format!("Substring({}, 0, 2) == \"ac\"", attribute(random, is_event)),
        15 => format!("{} + 1 > {}", attribute(random, is_event), random.u8(0..11)),
        16 => format!("ToLowerCase({}) == \"acme\"", attribute(random, is_event)),
        17 => format!("{}[0] == {}", attribute(random, is_event), random.u8(0..3)),
        18 => format!("name {} {}", one(random, COMPARISONS), text(random, NAMES)),
        19 => format!("resource.dropped_attributes_count {} {}", one(random, COMPARISONS), random.u8(0..9)),
        20 => format!("{}.name == {}", one(random, &["scope", "instrumentation_scope"]), text(random, &["lib", ""])),
        _ if is_event => format!("dropped_attributes_count {} {}", one(random, COMPARISONS), random.u8(0..9)),
        _ => of_span(random),
    }
}

fn of_span(random: &mut Rng) -> String {
    match random.u8(0..12) {
        0 => {
            format!("kind == {}", one(random, &["SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "1", "SPAN_KIND_UNSPECIFIED"]))
        }
        1 => {
            let code = one(random, &["STATUS_CODE_ERROR", "STATUS_CODE_OK", "STATUS_CODE_UNSET"]);
            format!("status.code {} {code}", one(random, COMPARISONS))
        }
        2 => "status.message != \"\"".to_string(),
        3 => "IsRootSpan()".to_string(),
        4 => format!("trace_state[\"vendor\"] == {}", text(random, &["gold", "silver", ""])),
        5 => format!("end_time_unix_nano - start_time_unix_nano {} 50000000", one(random, COMPARISONS)),
        6 => format!("end_time - start_time {} Duration(\"50ms\")", one(random, COMPARISONS)),
        7 => "parent_span_id == SpanID(0x0000000000000000)".to_string(),
        8 => format!("flags {} {}", one(random, COMPARISONS), random.u8(0..4)),
        9 => format!("IsMatch(trace_id.string, \"^[0-{:x}]\")", random.u8(1..10)),
        10 => format!("span.name == {}", text(random, NAMES)),
        _ => format!("kind.string == {}", text(random, &["Server", "Client", "Internal"])),
    }
}
