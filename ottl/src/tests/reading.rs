//! What is read and what is refused, and with which words.

use crate::error::OttlError;
use crate::field::{Context, Field};
use crate::functions;
use crate::parse::{CONDITION_BYTES_MAX, parse};
use crate::syntax::{ELEMENTS_MAX, NESTING_MAX};
use crate::tree::*;

fn read(text: &str) -> Condition {
    parse(text, Context::Span).unwrap_or_else(|error| panic!("{}", error.render(text)))
}

fn refuse(text: &str) -> OttlError {
    match parse(text, Context::Span) {
        Ok(condition) => panic!("{text} was read as {condition:?}"),
        Err(error) => error,
    }
}

fn left(text: &str) -> Expression {
    match read(text).predicate {
        Predicate::Compare { left, .. } => left,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_readmes_conditions_are_read() {
    for text in [
        r#"attributes["k"] == "v""#,
        r#"resource.attributes["service.name"] == "x""#,
        r#"span.attributes["http.status_code"] >= 500"#,
        r#"IsMatch(attributes["http.target"], "^(/health|/metrics)")"#,
        r#"IsRootSpan() and span.status.code == STATUS_CODE_ERROR"#,
        r#"span.kind == SPAN_KIND_SERVER and attributes["http.response.status_code"] >= 500"#,
        r#"instrumentation_scope.name == "a" or scope.version != nil"#,
        r#"trace_state["k"] == "1""#,
        r#"Substring(attributes["value"], 0, 4) == "abcd""#,
        r#"end_time - start_time > Duration("1s")"#,
        r#"(end_time_unix_nano - start_time_unix_nano) / 1000000 > 1.5"#,
        r#"not (name == "a" or name == "b") and true"#,
        r#"attributes["a"]["b"][0] == 1"#,
        r#"attributes[attributes["k"]] != nil"#,
        r#"Split(name, "/")[1] == "x""#,
        r#"trace_id == TraceID(0x0102030405060708090a0b0c0d0e0f10)"#,
        r#"Concat([name, "b"], delimiter="-") == "a-b""#,
        r#"attributes["l"] == [1, "a", {"k": true}]"#,
        r#"Substring(target=name, start=0, length=1, utf8_safe=true) == "a""#,
        r#"((1 + 2) * 3) == 9"#,
    ] {
        read(text);
    }
    for text in [r#"name == "exception""#, r#"spanevent.name == "x""#, r#"span.name == "x""#, "event_index == 0"] {
        assert!(parse(text, Context::SpanEvent).is_ok(), "{text}");
    }
}

#[test]
fn paths_get_the_context_of_their_policy() {
    assert_eq!(left("name == 1"), Expression::Path(Field::Name, vec![]));
    assert_eq!(left("span.name == 1"), Expression::Path(Field::Name, vec![]));
    assert_eq!(left("status.code == 1"), Expression::Path(Field::StatusCode, vec![]));
    assert_eq!(left("scope.name == 1"), Expression::Path(Field::ScopeName, vec![]));
    let event = parse("name == 1", Context::SpanEvent).unwrap().predicate;
    let Predicate::Compare { left, .. } = event else { panic!() };
    assert_eq!(left, Expression::Path(Field::EventName, vec![]));
}

#[test]
fn and_binds_tighter_than_or_and_not_to_one_factor() {
    let Predicate::Any(parts) = read("true or false and not true").predicate else { panic!() };
    assert_eq!(parts[0], Predicate::Literal(true));
    let Predicate::All(parts) = &parts[1] else { panic!() };
    assert_eq!(parts[1], Predicate::Not(Box::new(Predicate::Literal(true))));
    let Predicate::Not(inner) = read("not 1 == 2").predicate else { panic!() };
    assert!(matches!(*inner, Predicate::Compare { .. }));
}

#[test]
fn numbers_and_texts_are_gos() {
    assert_eq!(left("010 == 8"), Expression::Integer(8));
    assert_eq!(left("-5 == 8"), Expression::Integer(-5));
    assert_eq!(left("+5 == 8"), Expression::Integer(5));
    assert_eq!(left(".5e1 == 8"), Expression::Double(5.0));
    assert_eq!(left("1. == 8"), Expression::Double(1.0));
    assert_eq!(left("-(5) == 8"), Expression::Negate(Box::new(Expression::Integer(5))));
    assert_eq!(left("0xaBcd == 8"), Expression::Bytes(vec![0xab, 0xcd]));
    assert_eq!(
        left(r#""a\"\\\n\t\x41\101\u00e9\U0001F600" == 1"#),
        Expression::Text("a\"\\\n\tAA\u{e9}\u{1f600}".into())
    );
    assert_eq!(left("\"a\nb\" == 1"), Expression::Text("a\nb".into()));
    assert_eq!(left("SPAN_KIND_SERVER == 1"), Expression::Integer(2));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, offset, message, hint) in [
        ("", 0, "ends where a value is expected", ""),
        ("name ==", 7, "ends where a value is expected", ""),
        ("name = \"a\"", 5, "unexpected \"=\"", "write =="),
        ("name == 'a'", 8, "double quotes", ""),
        ("name == \"a", 8, "no closing quote", ""),
        ("name == \"a\" && true", 12, "unexpected character", "write and"),
        ("nam == \"a\"", 0, "span has no field nam", "did you mean span.name?"),
        ("span_event.name == \"a\"", 0, "span has no field", "spanevent"),
        ("attributes.foo == 1", 0, "span has no field attributes.foo", "attributes[\"key\"]"),
        ("IsMach(name, \"a\")", 0, "there is no converter IsMach", "did you mean IsMatch?"),
        ("IsMatch(name)", 0, "IsMatch(target, pattern) can't take 1 arguments", ""),
        ("IsMatch(name, \"(\")", 14, "invalid regular expression", ""),
        ("IsMatch(name, name)", 14, "a regular expression in double quotes", ""),
        ("IsMatch(name, \"\\d\")", 15, "\\d is not an escape", "backslash"),
        ("HasPrefix(1, \"a\")", 10, "a text is needed", ""),
        ("Seconds(1) > 1", 8, "a duration", ""),
        ("set(name, \"a\")", 0, "must not change data", ""),
        ("Len(set(name)) == 1", 4, "must not change data", ""),
        ("Append(attributes[\"a\"], \"b\") == 1", 0, "changes data", ""),
        ("Now() > start_time", 0, "another value each time", ""),
        ("Any(attributes, (k, v) => v == 1)", 16, "lambdas are not supported", ""),
        ("IsMatch(target=name, \"a\")", 21, "without a name", ""),
        ("IsMatch(target=name, patern=\"a\")", 28, "no parameter patern", "did you mean pattern?"),
        ("IsMatch(name, \"a\", target=name)", 26, "given twice", ""),
        ("SPAN_KIND_SERVE == kind", 0, "there is no enum", "SPAN_KIND_SERVER"),
        ("name", 0, "a value is no condition", "compare it"),
        ("name == (name == 1)", 9, "can't be used as a value", ""),
        ("name + \"a\" == 1", 7, "only numbers", ""),
        ("1 == 99999999999999999999", 5, "64 bits", ""),
        ("1 == 09", 5, "octal", ""),
        ("0xabc == 1", 0, "even number", ""),
        ("name[\"a\"] == 1", 0, "name takes no keys", ""),
        ("attributes[0] == 1", 11, "is a text", ""),
        ("trace_state[0] == 1", 0, "one key", ""),
        ("otelcol.client.addr == 1", 0, "no value where traces are judged", ""),
        ("a == 1 b == 2", 7, "unexpected \"b\"", ""),
        ("not not true", 4, "unexpected \"not\"", ""),
    ] {
        let error = refuse(text);
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {error}");
    }
    let event = parse("IsRootSpan()", Context::SpanEvent).unwrap_err();
    assert!(event.message.contains("conditions on spans only"), "{event}");
}

#[test]
fn an_error_is_drawn_under_its_line() {
    let text = "name == \"a\"\nand IsMach(name, \"b\")";
    let drawn = refuse(text).render(text);
    assert_eq!(drawn, "and IsMach(name, \"b\")\n    ^\nthere is no converter IsMach; did you mean IsMatch?");
    let long = format!("{} or x == 1", vec!["true"; 100].join(" or "));
    let drawn = refuse(&long).render(&long);
    let caret = drawn.lines().nth(1).unwrap().find('^').unwrap();
    assert!(drawn.lines().next().unwrap()[caret..].starts_with("x == 1"), "{drawn}");
}

#[test]
fn size_and_nesting_are_bounded() {
    let deep = |levels: usize| format!("{}true{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(NESTING_MAX), Context::Span).is_ok());
    assert!(refuse(&deep(NESTING_MAX + 1)).message.contains("nested deeper"));
    assert!(refuse(&"(".repeat(10_000)).message.contains("nested deeper"));
    assert!(refuse(&"[".repeat(10_000)).message.contains("nested deeper"));
    assert!(refuse(&"true or ".repeat(3_000)).message.contains("longer than"));
    let list = |length: usize| format!("attributes[\"a\"] == [{}]", vec!["1"; length].join(","));
    assert!(parse(&list(ELEMENTS_MAX), Context::Span).is_ok());
    assert!(refuse(&list(ELEMENTS_MAX + 1)).message.contains("more than"));
    let long_chain = format!("1{} == 1", "+1".repeat(8_000));
    assert!(parse(&long_chain, Context::Span).is_ok());
}

#[test]
fn garbage_is_refused_and_never_a_panic() {
    let pieces = [
        "(", ")", "[", "]", "{", "}", "\"", "\\", "name", "a.b", "IsMatch(", ",", "==", "1", "0x1", ".", "-", "not ",
        "and ", "or ", "nil", "=>", "=", "\u{e9}", "_", "Concat(", "[name]", " ",
    ];
    let mut state = 7u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        if let Err(error) = parse(&text, Context::SpanEvent) {
            assert!(error.offset <= text.len());
            assert!(error.render(&text).lines().count() >= 3 || text.contains('\n'));
        }
    }
}

#[test]
fn the_page_names_every_converter_and_the_bounds() {
    let page = include_str!("../../../docs/conditions.md");
    let (known, refused) = page.split_once("## What differs").unwrap();
    for name in functions::names() {
        assert!(known.contains(&format!("`{name}`")) && !refused.contains(&format!("`{name}`")), "{name}");
    }
    for name in functions::refused_names() {
        assert!(refused.contains(&format!("`{name}`")) && !known.contains(&format!("`{name}`")), "{name}");
    }
    let bounds = format!("{} KiB a condition, {NESTING_MAX} levels", CONDITION_BYTES_MAX / 1024);
    assert!(refused.contains(&bounds) && refused.contains("1,024 elements") && ELEMENTS_MAX == 1024);
}
