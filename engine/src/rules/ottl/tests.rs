//! Conditions on built spans, as the Collector evaluates them.

mod fixture;
mod needs;

use super::*;
use crate::intake::Intake;
use crate::route::Route;
use crate::rules::Rules;
use bytes::Bytes;
use tailwater_config::sampling::{Policy, Rule, Sampling};

/// Conditions with their outcomes in the reference, and the same for converters that read or write a format of their own.
const TABLE: &str = concat!(include_str!("tests/conditions.txt"), include_str!("tests/converters.txt"));

fn rules(span: &[&str], spanevent: &[&str], error_mode: ErrorMode) -> Result<Rules, crate::rules::RulesError> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect();
    let rule = Rule::OttlCondition { error_mode, span: texts(span), spanevent: texts(spanevent) };
    Rules::compile(&Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::collector_default() })
}

/// `T`, `F` or `E` of one policy on the one span of a request.
fn outcome(rules: &Rules, request: &[u8]) -> char {
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, rules);
    let scanned = intake.scan(&Bytes::copy_from_slice(request), rules).unwrap();
    assert_eq!((scanned.accepted, scanned.refused), (1, 0));
    match scanned.batches[0].1.spans[0].leaves {
        0 => 'F',
        1 => 'T',
        2 => 'E',
        more => panic!("{more:b}"),
    }
}

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
        let found = match rules(span, event, ErrorMode::Propagate) {
            Ok(rules) => outcome(&rules, request),
            Err(_) => 'X',
        };
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
    let line = |name: &str, body: &[u8]| format!("{name} {}", String::from_utf8(target::hexadecimal(body)).unwrap());
    let lines = [line("full", &fixture::full()), line("bare", &fixture::bare())];
    let written: Vec<&str> = include_str!("tests/requests.txt").lines().filter(|line| !line.starts_with('#')).collect();
    assert!(written == lines, "tests/requests.txt must be:\n{}", lines.join("\n"));
}

#[test]
fn an_error_is_passed_over_or_ends_the_walk_by_mode() {
    let failing = r#"attributes["list"][9] == 1"#;
    let holds = r#"name == "GET /api/users""#;
    let full = fixture::full();
    let of = |conditions: &[&str], mode| outcome(&rules(conditions, &[], mode).unwrap(), &full);
    assert_eq!(of(&[failing, holds], ErrorMode::Propagate), 'E');
    assert_eq!(of(&[holds, failing], ErrorMode::Propagate), 'T');
    for mode in [ErrorMode::Ignore, ErrorMode::Silent] {
        assert_eq!(of(&[failing, holds], mode), 'T');
        assert_eq!(of(&[failing], mode), 'F');
    }
    // Conditions on events come after those on the span, each event in turn.
    let of = |span: &[&str], event: &[&str], mode| outcome(&rules(span, event, mode).unwrap(), &full);
    assert_eq!(of(&["false"], &[r#"name == "log""#], ErrorMode::Propagate), 'T');
    assert_eq!(of(&["false"], &[r#"attributes["code"][0] == 1"#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&["false"], &[r#"name == "log" or attributes["code"][0] == 1"#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&["false"], &[r#"name == "exception" or attributes["code"][0] == 1"#], ErrorMode::Propagate), 'T');
    assert_eq!(of(&[failing], &[r#"name == "log""#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&[holds], &["event_index == 0"], ErrorMode::Propagate), 'T');
}

#[test]
fn only_failures_that_are_to_be_counted_are_counted() {
    let failing = r#"attributes["list"][9] == 1"#;
    let body = Bytes::from(fixture::full());
    let counted = |mode| {
        let rules = rules(&[failing, failing], &["event_index == 0"], mode).unwrap();
        Intake::new(Route::new([0; 4], 1), 1 << 20, &rules).scan(&body, &rules).unwrap().condition_failures
    };
    // Twice for the span, once for each of its two events.
    assert_eq!(counted(ErrorMode::Ignore), 4);
    assert_eq!(counted(ErrorMode::Silent), 0);
    assert_eq!(counted(ErrorMode::Propagate), 0);
}

#[test]
fn of_matched_and_failed_the_first_to_come_holds() {
    let propagating = rules(&["true"], &[], ErrorMode::Propagate).unwrap();
    let (matched, failed) = (1, 2);
    for (trace, span, joined) in [
        (0, matched, matched),
        (0, failed, failed),
        (matched, failed, matched),
        (failed, matched, failed),
        (matched, matched, matched),
        (matched, failed | 4, matched | 4),
        (8, 4, 12),
    ] {
        assert_eq!(propagating.ottl().join(0, trace, span), joined, "{trace:b} {span:b}");
        assert_eq!(propagating.ottl().join(1, trace, span), trace | span);
    }
    let silent = rules(&["true"], &[], ErrorMode::Silent).unwrap();
    assert_eq!(silent.ottl().join(0, matched, failed), matched | failed);
}

#[test]
fn a_pair_of_leaves_never_lies_in_two_words() {
    let always = |name: &str, key: &str| {
        let rule = Rule::BooleanAttribute { key: key.into(), value: true, invert: false };
        Policy::new(name, rule)
    };
    let mut policies: Vec<Policy> = (0..63).map(|n| always("p", &format!("k{n}"))).collect();
    let failing = vec![r#"attributes["list"][9] == 1"#.to_string()];
    let rule = Rule::OttlCondition { error_mode: ErrorMode::Propagate, span: failing, spanevent: vec![] };
    policies.push(Policy::new("condition", rule));
    let rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
    assert_eq!(rules.leaf_words(), 2);
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let scanned = intake.scan(&Bytes::from(fixture::full()), &rules).unwrap();
    assert_eq!(scanned.batches[0].1.spans[0].leaves, 0);
    assert_eq!(scanned.batches[0].1.leaves_more, [2]);
    assert_eq!((rules.ottl().join(1, 2, 1), rules.ottl().join(1, 1, 2)), (2, 1));
}

#[test]
fn a_scope_behind_its_spans_is_seen_and_scopes_are_not_mixed_up() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    let mut request = ExportTraceServiceRequest::decode(&fixture::full()[..]).unwrap();
    let scope_spans = &mut request.resource_spans[0].scope_spans;
    let mut other = scope_spans[0].clone();
    other.scope.as_mut().unwrap().name = "other".into();
    scope_spans.push(other);
    let rules = rules(&[r#"scope.name == "other""#], &[], ErrorMode::Propagate).unwrap();
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let scanned = intake.scan(&Bytes::from(request.encode_to_vec()), &rules).unwrap();
    let leaves: Vec<u64> = scanned.batches[0].1.spans.iter().map(|span| span.leaves).collect();
    assert_eq!(leaves, [0, 1]);
    // The same with the fields of the scope behind the span: span 2, scope 1.
    let span = request.resource_spans[0].scope_spans[1].spans[0].encode_to_vec();
    let scope = request.resource_spans[0].scope_spans[1].scope.as_ref().unwrap().encode_to_vec();
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        tailwater_proto::otlp::wire::put_varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        out
    };
    let reversed = [field(2, &span), field(1, &scope)].concat();
    assert_eq!(outcome(&rules, &field(1, &field(2, &reversed))), 'T');
}

#[test]
fn work_beyond_the_bound_fails() {
    let request = |attributes| {
        use opentelemetry_proto::tonic::trace::v1::Span;
        fixture::with(Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, ..Span::default() })
    };
    let big = request(vec![fixture::attribute("a", fixture::text(&"x".repeat(900_000)))]);
    let many = format!("Concat([{}], \"\") == \"\"", vec!["attributes[\"a\"]"; 80].join(","));
    assert_eq!(outcome(&rules(&[&many], &[], ErrorMode::Propagate).unwrap(), &big), 'E');
    let few = format!("Concat([{}], \"\") != \"\"", ["attributes[\"a\"]"; 8].join(","));
    assert_eq!(outcome(&rules(&[&few], &[], ErrorMode::Propagate).unwrap(), &big), 'T');
    // Each part of a text takes more than the text.
    let split = r#"Len(Split(attributes["a"], "")) == 900000 and Len(Split(attributes["a"], "")) == 900000"#;
    assert_eq!(outcome(&rules(&[split], &[], ErrorMode::Propagate).unwrap(), &big), 'E');
}

#[test]
fn many_events_cost_no_more_than_the_bound() {
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::Event;
    let span = |events: usize| {
        let attributes = vec![fixture::attribute("a", fixture::text(&"x".repeat(100_000)))];
        let events = vec![Event::default(); events];
        fixture::with(Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, events, ..Span::default() })
    };
    let whole = r#"Len(span.attributes) == 9"#;
    assert_eq!(outcome(&rules(&[], &[whole], ErrorMode::Propagate).unwrap(), &span(50)), 'F');
    assert_eq!(outcome(&rules(&[], &[whole], ErrorMode::Propagate).unwrap(), &span(5000)), 'E');
    // What a span has once is read once for all its events.
    let once = r#"Len(span.events) == 9 or span.status.message == "x" or span.attributes["a"] == "x""#;
    assert_eq!(outcome(&rules(&[], &[once], ErrorMode::Propagate).unwrap(), &span(5000)), 'F');
}

#[test]
fn deep_conditions_and_values_are_no_trouble() {
    let nested = format!("{}name{} == \"x\"", "ToLowerCase(".repeat(47), ")".repeat(47));
    assert_eq!(outcome(&rules(&[&nested], &[], ErrorMode::Propagate).unwrap(), &fixture::full()), 'F');
    let json = format!("ParseJSON(\"{}{}\") == nil", "[".repeat(120), "]".repeat(120));
    assert_eq!(outcome(&rules(&[&json], &[], ErrorMode::Propagate).unwrap(), &fixture::full()), 'F');
    let json = format!("IsList(ParseJSON(\"{}{}\"))", "[".repeat(200), "]".repeat(200));
    assert_eq!(outcome(&rules(&[&json], &[], ErrorMode::Propagate).unwrap(), &fixture::full()), 'E');
}

#[test]
fn converters_of_formats_end_within_the_bound() {
    use opentelemetry_proto::tonic::trace::v1::Span;
    let of = |condition: &str, text: &str| {
        let attributes = vec![fixture::attribute("a", fixture::text(text))];
        let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, ..Span::default() };
        outcome(&rules(&[condition], &[], ErrorMode::Propagate).unwrap(), &fixture::with(span))
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
    let of = |condition: &str| outcome(&rules(&[condition], &[], ErrorMode::Propagate).unwrap(), &fixture::full());
    // The span begins on the 14th of November 2023.
    assert_eq!(of(r#"Time("Nov 14 22:13:20", "%b %d %H:%M:%S") == Unix(1700000000)"#), 'T');
    assert_eq!(of(r#"Time("Nov 20", "%b %d") == Unix(1700438400)"#), 'T');
    // More than a week ahead of it is the year before.
    assert_eq!(of(r#"Time("Nov 22", "%b %d") == Unix(1669075200)"#), 'T');
}

#[test]
fn user_agents_are_compiled_once_for_all_conditions() {
    let conditions = vec![r#"UserAgent(name)["os.name"] == "x""#; 200];
    let rules = rules(&conditions, &conditions, ErrorMode::Propagate).unwrap();
    assert_eq!(outcome(&rules, &fixture::full()), 'F');
}

#[test]
fn what_can_not_be_compiled_names_its_policy_and_place() {
    let error = rules(&["nam == 1"], &[], ErrorMode::Propagate).unwrap_err().to_string();
    for part in ["policy \"p\"", "\"nam == 1\"", "at byte 0", "did you mean span.name?"] {
        assert!(error.contains(part), "{error}");
    }
}

/// All conditions of the table that are read, as policies of their own, in batches that one set of rules can hold.
fn all_conditions() -> Vec<Rules> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let conditions: Vec<(&str, &str)> = lines
        .map(|line| line.splitn(4, ' ').collect::<Vec<_>>())
        .map(|parts| (parts[2], parts[3]))
        .filter(|(context, condition)| {
            let context = if *context == "span" { Context::Span } else { Context::SpanEvent };
            parse(condition, context).is_ok()
        })
        .collect();
    let rules = |batch: &[(&str, &str)]| {
        let policies = batch.iter().map(|(context, condition)| {
            let (text, none) = (vec![(*condition).to_string()], Vec::new());
            let (span, spanevent) = if *context == "span" { (text, none) } else { (none, text) };
            Policy::new(condition, Rule::OttlCondition { error_mode: ErrorMode::Propagate, span, spanevent })
        });
        Rules::compile(&Sampling { policies: policies.collect(), ..Sampling::collector_default() }).unwrap()
    };
    conditions.chunks(200).map(rules).collect()
}

#[test]
fn damaged_spans_are_refused_or_evaluated() {
    let all = all_conditions();
    let whole = fixture::full();
    let mut state = 1u64;
    let mut evaluated = 0;
    for _ in 0..400 {
        let mut body = whole.clone();
        for _ in 0..2 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % body.len();
            body[at] = (state >> 24) as u8 & 0x7f;
        }
        let body = Bytes::from(body);
        for rules in &all {
            let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, rules);
            evaluated += intake.scan(&body, rules).map_or(0, |scanned| scanned.accepted);
        }
    }
    assert!(evaluated > 100, "most damage leaves a span: {evaluated}");
}

#[test]
fn conditions_side_by_side_come_out_as_alone() {
    let alone = |line: &str| line.split(' ').next().unwrap().to_string();
    for rules in all_conditions() {
        let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
        // Twice: nothing is left over from the request before.
        let bodies = [fixture::bare(), fixture::full()].map(Bytes::from);
        let seen: Vec<(u64, Vec<u64>)> = [0, 1, 0, 1]
            .into_iter()
            .map(|which| {
                let scanned = intake.scan(&bodies[which], &rules).unwrap();
                (scanned.batches[0].1.spans[0].leaves, scanned.batches[0].1.leaves_more.clone())
            })
            .collect();
        assert_eq!((&seen[0], &seen[1]), (&seen[2], &seen[3]));
        let (first, more) = &seen[1];
        for (index, name) in rules.policy_names().enumerate() {
            let mut lines = TABLE.lines();
            let line = lines.find(|line| line.splitn(4, ' ').nth(3) == Some(name)).unwrap();
            // A crash of the reference is no outcome to follow.
            if !line.contains(" full ") || line.starts_with('P') {
                continue;
            }
            let bit = index * 2;
            let word = if bit < 64 { *first } else { more[bit / 64 - 1] };
            let found = ["F", "T", "E"][usize::try_from(word >> (bit % 64) & 3).unwrap()];
            assert_eq!(found, alone(line), "{name}");
        }
    }
}

#[test]
fn a_trace_has_the_outcome_of_its_first_span_that_has_one() {
    use crate::evidence::Summary;
    use opentelemetry_proto::tonic::trace::v1::Span;
    let rules = rules(&[r#"attributes["list"][9] == 1 or name == "match""#], &[], ErrorMode::Propagate).unwrap();
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let mut record = |name: &str, attributes| {
        let span =
            Span { trace_id: vec![1; 16], span_id: vec![1; 8], name: name.into(), attributes, ..Span::default() };
        let scanned = intake.scan(&Bytes::from(fixture::with(span)), &rules).unwrap();
        scanned.batches[0].1.spans[0]
    };
    let failing = record("", vec![fixture::attribute("list", fixture::list(vec![]))]);
    let (matching, neither) = (record("match", vec![]), record("", vec![]));
    assert_eq!((failing.leaves, matching.leaves, neither.leaves), (2, 1, 0));
    for (spans, leaves) in [
        ([neither, failing, matching], 2),
        ([matching, neither, failing], 1),
        ([neither, neither, matching], 1),
        ([failing, failing, matching], 2),
    ] {
        let mut seen = Summary::default();
        spans.iter().for_each(|span| seen.absorb(&rules, span, &mut [], &[]));
        assert_eq!(seen.leaves, leaves);
    }
}
