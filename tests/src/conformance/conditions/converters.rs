//! Conditions on converters, paths, indexes, literals and arithmetic: what the language has beside what most write.

use super::{COMPARISONS, attribute, one, text};
use crate::conformance::policies::TEXTS;
use fastrand::Rng;

/// Something that is text, most of the time.
fn target(random: &mut Rng, is_event: bool) -> String {
    match random.u8(0..4) {
        0 => "name".to_string(),
        1 => text(random, TEXTS),
        _ => attribute(random, is_event),
    }
}

/// A condition.
pub(super) fn test(random: &mut Rng, is_event: bool) -> String {
    match random.u8(0..5) {
        0 => of_text(random, is_event),
        1 => of_value(random, is_event),
        2 => of_collection(random, is_event),
        3 => of_number(random, is_event),
        _ => of_path(random, is_event),
    }
}

fn of_text(random: &mut Rng, is_event: bool) -> String {
    let target = target(random, is_event);
    match random.u8(0..20) {
        0 => format!("Base64Encode({target}) < \"Y\""),
        1 => format!("Base64Encode({target}, \"{}\") < \"Y\"", one(random, &["base64", "base64-url", "base64-raw"])),
        2 => {
            let function =
                one(random, &["MD5", "SHA1", "SHA256", "SHA512", "XXH3", "XXH128", "Murmur3Hash", "Murmur3Hash128"]);
            format!("{function}({target}) < \"{:x}\"", random.u8(4..12))
        }
        3 => format!("FNV({target}) > {}", random.i64(0..i64::MAX)),
        4 => {
            let case = one(random, &["lower", "upper", "snake", "camel"]);
            format!("ConvertCase({target}, \"{case}\") {} {}", one(random, COMPARISONS), text(random, TEXTS))
        }
        5 => {
            let function = one(random, &["ToUpperCase", "ToLowerCase", "ToCamelCase", "ToSnakeCase"]);
            let values = &["ACME", "acme", "Acme", "GET /PAY", "get_/pay", "GetPay", "get_pay", "rEsum", "abc"];
            format!("{function}({target}) == {}", text(random, values))
        }
        6 => format!("Trim({target}) == \"\""),
        7 => format!("Trim({target}, \"a\") == {}", text(random, &["cme", "bc", ".c", " b"])),
        8 => format!("TrimPrefix({target}, \"a\") == {}", text(random, &["cme", "bc", ".c", "corp"])),
        9 => format!("TrimSuffix({target}, \"c\") == {}", text(random, &["ab", "a.", "corp", ""])),
        10 => format!(
            "Split({target}, {})[{}] == {}",
            text(random, &[".", " ", "/", ""]),
            random.u8(0..3),
            text(random, TEXTS)
        ),
        11 => {
            let length = random.u8(0..5);
            let operator = one(random, COMPARISONS);
            format!(
                "Substring({target}, {}, {length}) {operator} {}",
                random.u8(0..3),
                text(random, &["ac", "a", "", "/p"])
            )
        }
        12 => format!(
            "Concat([{target}, name], \"-\") {} {}",
            one(random, COMPARISONS),
            text(random, &["acme-work", "b"])
        ),
        13 => format!("Concat(Split({target}, \" \"), \"+\") == {}", text(random, &["GET+/pay", "a+b", "++"])),
        14 => format!(
            "Index({target}, {}) {} {}",
            text(random, &["c", "a", "", "pay"]),
            one(random, COMPARISONS),
            random.u8(0..4)
        ),
        15 => format!("Len({target}) {} {}", one(random, COMPARISONS), random.u8(0..7)),
        16 => format!(
            "ExtractPatterns({target}, \"^(?P<first>[^ /]*)[ /]*(?P<rest>.*)$\")[\"first\"] == {}",
            text(random, &["GET", "acme", "", "work"])
        ),
        17 => format!(
            "IsMatch({target}, \"{}\")",
            one(random, &["(?i)^A", "\\\\bb\\\\b", "[^a-z]", "\\\\d$", "^(?:acme|corp)$", "\\\\x{e9}"])
        ),
        18 => format!(
            "Decode({target}, \"{}\") == {}",
            one(random, &["utf-8", "base64", "us-ascii"]),
            text(random, TEXTS)
        ),
        _ => format!("HasSuffix({target}, {})", text(random, &["c", "me", "", "5"])),
    }
}

fn of_value(random: &mut Rng, is_event: bool) -> String {
    let value = attribute(random, is_event);
    match random.u8(0..14) {
        0 => format!("Bool({value})"),
        1 => format!(
            "Double({value}) {} {}",
            one(random, COMPARISONS),
            one(random, &["0.0", "1.5", "500.0", "-2.5", "12.0"])
        ),
        2 => format!(
            "String({value}) {} {}",
            one(random, COMPARISONS),
            text(random, &["12", "true", "500", "acme", "1", "[]", "-2.5"])
        ),
        3 => format!("Coalesce([{value}, {}, \"acme\"]) == \"acme\"", attribute(random, is_event)),
        4 => format!("IsEmpty({value})"),
        5 => format!(
            "Hex({value}) {} {}",
            one(random, COMPARISONS),
            text(random, &["01", "00000000000001f4", "61636d65", ""])
        ),
        6 => format!("IsValidLuhn({value})"),
        7 => {
            format!("ParseInt({value}, {}) {} 18", one(random, &["10", "16", "0", "2", "36"]), one(random, COMPARISONS))
        }
        8 => format!("Log({value}) {} 1.0", one(random, COMPARISONS)),
        9 => format!(
            "{value} {} {}",
            one(random, COMPARISONS),
            one(random, &["0x01", "0x6162", "-1", "1.0", "9223372036854775807", "true", "false"])
        ),
        10 => format!("{value} {} {}", one(random, COMPARISONS), attribute(random, is_event)),
        11 => format!(
            "{value}[{}] == {}",
            one(random, &["0", "1", "\"tenant\"", "\"debug\"", "\"\""]),
            one(random, &["\"acme\"", "1", "nil", "true"])
        ),
        12 => one(random, &["1 == 1", "true", "not false", "1.0 == 1", "nil == nil"]).to_string(),
        _ => format!(
            "{value} {} {}",
            one(random, &["==", "!="]),
            one(random, &["[]", "[1]", "{}", "[\"acme\"]", "{\"tenant\": \"acme\"}"])
        ),
    }
}

fn of_collection(random: &mut Rng, is_event: bool) -> String {
    let value = attribute(random, is_event);
    let map = if random.bool() { "attributes" } else { "resource.attributes" };
    match random.u8(0..12) {
        0 => format!("Len({map}) {} {}", one(random, COMPARISONS), random.u8(0..4)),
        1 => format!("Len(Keys({map})) {} {}", one(random, COMPARISONS), random.u8(0..4)),
        2 => format!("Sort(Keys({map}))[0] {} {}", one(random, COMPARISONS), text(random, &["debug", "mixed", ""])),
        3 => format!("ContainsValue(Values({map}), {})", one(random, &["\"acme\"", "true", "500", "1.0"])),
        4 => format!("ContainsValue({value}, {})", one(random, &["\"acme\"", "1", "true"])),
        5 => format!("ContainsValue([1, \"acme\", 2.5], {value})"),
        6 => format!("ToKeyValueString({map}) {} {}", one(random, COMPARISONS), text(random, &["debug=true", "m", ""])),
        7 => format!("ParseKeyValue({value})[\"a\"] == nil"),
        8 => {
            format!("ParseJSON({value}) {} {}", one(random, &["==", "!="]), one(random, &["12.0", "true", "nil", "12"]))
        }
        9 => format!("IsMap({value}) or IsList({value})"),
        10 => format!("Len(Values({map})) == Len({map})"),
        _ => format!("{map}[\"mixed\"] {} {map}[\"tenant\"]", one(random, &["==", "!="])),
    }
}

fn of_number(random: &mut Rng, is_event: bool) -> String {
    let value = attribute(random, is_event);
    let operator = one(random, COMPARISONS);
    match random.u8(0..12) {
        0 => format!("{value} * 2 - 1 {operator} {}", random.u8(0..20)),
        1 => format!("{value} / 2 {operator} {}", random.u8(0..5)),
        2 => format!("10 / {value} {operator} 3"),
        3 => format!("-{value} {operator} -3"),
        4 => format!("{value} + 0.5 {operator} 2"),
        5 => format!("({value} + 1) * ({value} - 1) {operator} 8"),
        6 => format!("Int(1.9) + {value} {operator} 3"),
        7 => format!("{value} - {} {operator} 0", attribute(random, is_event)),
        8 => "7 / 2 == 3 and 7.0 / 2 == 3.5".to_string(),
        9 => format!("{} {operator} {}", random.u8(0..3), random.u8(0..3)),
        10 => format!("\"{}\" {operator} \"b\"", one(random, &["a", "b", "c", ""])),
        _ => format!("nil {} {value}", one(random, &["==", "!="])),
    }
}

fn of_path(random: &mut Rng, is_event: bool) -> String {
    let operator = one(random, COMPARISONS);
    let span = if is_event { "span." } else { "" };
    let time = if is_event && random.bool() { "time".to_string() } else { format!("{span}start_time") };
    match random.u8(0..22) {
        0 => {
            let function = one(random, &["Hour", "Minute", "Second", "Day", "Month", "Year", "Weekday", "Nanosecond"]);
            format!("{function}({time}) {operator} {}", random.u16(0..60))
        }
        1 => {
            let function = one(random, &["UnixSeconds", "UnixMilli", "UnixMicro", "UnixNano"]);
            format!("{function}({time}) {operator} {}", 1_790_000_000)
        }
        2 => format!("TruncateTime({time}, Duration(\"{}\")) {operator} {time}", one(random, &["1s", "10ms", "5m"])),
        3 => format!("{time} {operator} Unix(1790000000)"),
        4 => {
            let function = one(random, &["Milliseconds", "Microseconds", "Nanoseconds", "Seconds", "Minutes", "Hours"]);
            format!(
                "{function}({span}end_time - {span}start_time) {operator} {}",
                one(random, &["0", "1", "50", "0.05", "5000000"])
            )
        }
        5 => format!("{span}end_time - Duration(\"10ms\") {operator} {span}start_time"),
        6 => format!("{span}trace_id.string {operator} \"{:x}\"", random.u8(3..13)),
        7 => format!("{span}span_id.string {operator} \"{:x}\"", random.u8(3..13)),
        8 => format!("{span}parent_span_id.string {operator} \"\""),
        9 => format!("{span}trace_state {operator} {}", text(random, &["vendor=gold", "", "first=1"])),
        10 => format!(
            "{span}trace_state[\"{}\"] {operator} {}",
            one(random, &["first", "vendor", "k", "none"]),
            text(random, &["1", "gold", ""])
        ),
        11 => format!(
            "{span}kind.string {operator} {}",
            text(random, &["Server", "Client", "Unspecified", "", "Internal"])
        ),
        12 => {
            format!("{span}kind.deprecated_string == {}", text(random, &["SPAN_KIND_SERVER", "SPAN_KIND_UNSPECIFIED"]))
        }
        13 => format!("{span}status.code {operator} {}", random.u8(0..3)),
        14 => format!("{span}status.message == {}", text(random, &["said", "broke", ""])),
        15 => format!(
            "{span}dropped_{}_count {operator} {}",
            one(random, &["attributes", "events", "links"]),
            random.u8(0..9)
        ),
        16 => format!("Len({span}events) {operator} {}", random.u8(0..3)),
        17 => format!("Len({span}links) {operator} {}", random.u8(0..2)),
        18 => format!("scope.version {operator} {}", text(random, &["1.2.3", ""])),
        19 => format!("scope.dropped_attributes_count {operator} {}", random.u8(0..9)),
        20 => format!("{span}flags {operator} {}", one(random, &["0", "1", "257", "4294967295"])),
        _ => format!("{}.attributes[\"tenant\"] == {}", one(random, &["scope", "resource"]), text(random, TEXTS)),
    }
}
