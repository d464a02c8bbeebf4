//! Conditions on built spans, as the Collector evaluates them.

use super::fixture;
use super::scan::outcome;
use crate::convert::hexadecimal;

/// Conditions with their outcomes in the reference, and the same for converters that read or write a format of their own.
const TABLE: &str = concat!(include_str!("conditions.txt"), include_str!("converters.txt"));

/// Where tailwater is stricter than the reference on purpose: such a condition would fail on every span, or name what
/// has no value here.
const REFUSED_HERE: &[&str] = &[
    "IsRootSpan(1)",
    "Base64Encode(name, \"nope\") == \"\"",
    "trace_state[name] == \"\"",
    r#"ExtractGrokPatterns("GET", Concat(["%{WORD", ":w}"], ""), true) == {"w": "GET"}"#,
];

#[test]
fn conditions_come_out_as_in_the_reference() {
    let (full, bare) = (fixture::full(), fixture::bare());
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in TABLE.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let [expected, request, context, condition] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!() };
        rows += 1;
        let (span, event): (&[&str], &[&str]) =
            if context == "span" { (&[condition], &[]) } else { (&[], &[condition]) };
        let request = if request == "full" { &full } else { &bare };
        let found = outcome(span, event, request);
        let is_expected = match expected {
            // A crash is no outcome to follow.
            "P" => found == 'F' || found == 'E',
            _ if REFUSED_HERE.contains(&condition) => found == 'X',
            _ => expected == found.to_string(),
        };
        if !is_expected {
            wrong.push(format!("{condition}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 150);
}

/// The requests as the reference gets them: a name and hexadecimal digits in each line.
#[test]
fn the_reference_gets_the_same_requests() {
    let line = |name: &str, body: &[u8]| format!("{name} {}", String::from_utf8(hexadecimal(body)).unwrap());
    let lines = [line("full", &fixture::full()), line("bare", &fixture::bare())];
    let written: Vec<&str> = include_str!("requests.txt").lines().filter(|line| !line.starts_with('#')).collect();
    assert!(written == lines, "tests/requests.txt must be:\n{}", lines.join("\n"));
}

#[test]
fn work_beyond_the_bound_fails() {
    let request = |attributes| {
        use opentelemetry_proto::tonic::trace::v1::Span;
        fixture::with(Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, ..Span::default() })
    };
    let big = request(vec![fixture::attribute("a", fixture::text(&"x".repeat(900_000)))]);
    let many = format!("Concat([{}], \"\") == \"\"", vec!["attributes[\"a\"]"; 80].join(","));
    assert_eq!(outcome(&[&many], &[], &big), 'E');
    let few = format!("Concat([{}], \"\") != \"\"", ["attributes[\"a\"]"; 8].join(","));
    assert_eq!(outcome(&[&few], &[], &big), 'T');
    // Each part of a text takes more than the text.
    let split = r#"Len(Split(attributes["a"], "")) == 900000 and Len(Split(attributes["a"], "")) == 900000"#;
    assert_eq!(outcome(&[split], &[], &big), 'E');
}

#[test]
fn deep_conditions_and_values_are_no_trouble() {
    let nested = format!("{}name{} == \"x\"", "ToLowerCase(".repeat(47), ")".repeat(47));
    assert_eq!(outcome(&[&nested], &[], &fixture::full()), 'F');
    let json = format!("ParseJSON(\"{}{}\") == nil", "[".repeat(120), "]".repeat(120));
    assert_eq!(outcome(&[&json], &[], &fixture::full()), 'F');
    let json = format!("IsList(ParseJSON(\"{}{}\"))", "[".repeat(200), "]".repeat(200));
    assert_eq!(outcome(&[&json], &[], &fixture::full()), 'E');
}

#[test]
fn converters_of_formats_end_within_the_bound() {
    use opentelemetry_proto::tonic::trace::v1::Span;
    let of = |condition: &str, text: &str| {
        let attributes = vec![fixture::attribute("a", fixture::text(text))];
        let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, ..Span::default() };
        outcome(&[condition], &[], &fixture::with(span))
    };
    let nested = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
    for condition in [
        r#"ParseXML(attributes["a"]) != nil"#,
        r#"ParseSimplifiedXML(attributes["a"]) != nil"#,
        r#"GetXML(attributes["a"], "/a") != """#,
        r#"ConvertTextToElementsXML(attributes["a"]) != """#,
    ] {
        assert_eq!((of(condition, &nested(128)), of(condition, &nested(129))), ('T', 'E'), "{condition}");
    }
    // The reference links these nodes in a circle, and crashes as it writes them.
    let circle = r#"GetXML(attributes["a"], "//c/ancestor::*") != """#;
    assert_eq!(of(circle, "<a><b><c/></b></a>"), 'E');
    let flat = |elements: usize| format!("<a>{}</a>", "<b k='1'>x</b>".repeat(elements));
    for (condition, small, large) in [
        (r#"RemoveXML(attributes["a"], "//b[count(following::b) > 9999]") != """#, 4, 2_000),
        (r#"GetXML(attributes["a"], "//b[count(//b[. = 'x']) = 0]") == """#, 4, 2_000),
        (r#"GetXML(attributes["a"], "//b | //b") != """#, 4, 2_000),
    ] {
        assert_eq!((of(condition, &flat(small)), of(condition, &flat(large))), ('T', 'E'), "{condition}");
    }
    let names = |count: usize| (0..count).map(|n| format!(" n{n}='1'")).collect::<String>();
    for condition in [r#"ParseXML(attributes["a"]) != nil"#, r#"RemoveXML(attributes["a"], "//@*") != """#] {
        let of = |count| of(condition, &format!("<a{}/>", names(count)));
        assert_eq!((of(10), of(20_000)), ('T', 'E'), "{condition}");
    }
    assert_eq!(of(r#"Format("%1000000d%1000000d", [1, 2]) == """#, ""), 'E');
    let parameters = |count: usize| (0..count).map(|n| format!("{n}=1&")).collect::<String>();
    let url = r#"IsMap(URL(Concat(["?", attributes["a"]], "")))"#;
    assert_eq!((of(url, &parameters(10)), of(url, &parameters(9_000))), ('T', 'E'));
    let spaced = r#"Time(attributes["a"], "%Y %m %d %H %M %S") != nil"#;
    assert_eq!(of(spaced, &format!("2023{}11", " ".repeat(400_000))), 'E');
}

#[test]
fn a_year_that_is_not_told_is_that_of_the_span() {
    let of = |condition: &str| outcome(&[condition], &[], &fixture::full());
    // The span begins on the 14th of November 2023.
    assert_eq!(of(r#"Time("Nov 14 22:13:20", "%b %d %H:%M:%S") == Unix(1700000000)"#), 'T');
    assert_eq!(of(r#"Time("Nov 20", "%b %d") == Unix(1700438400)"#), 'T');
    // More than a week ahead of it is the year before.
    assert_eq!(of(r#"Time("Nov 22", "%b %d") == Unix(1669075200)"#), 'T');
}
