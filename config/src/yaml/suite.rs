//! yaml-test-suite: what differs from it is listed here, with the reason.

use std::collections::BTreeMap;

use super::{Node, Style, Value, read};

const SUITE: &str = include_str!("fixtures/yaml-test-suite.txt");

/// Go's reader, which the Collector has, takes these although the specification forbids them; so does this one.
const TAKEN_AS_GO_TAKES_THEM: &[&str] = &[
    "9C9N",    // a flow sequence that is indented less than what it is in
    "9JBA",    // a comment right behind a bracket
    "CVW2",    // a comment right behind a comma
    "DK95-01", // a tab before continued text in quotes
    "G5U8",    // a dash alone in a flow sequence
    "HRE5",    // `\'` in double quotes
    "QB6E",    // text in quotes continued at any indentation
    "SU5Z",    // a comment right behind text in quotes
    "X4QW",    // a comment right behind the head of a block scalar
    "Y79Y-03", // tabs before the items of a flow sequence
    "YJV2",    // a dash alone in a flow sequence
    "MUS6-00", // a comment right behind a directive
];

/// A configuration has no use for them, and a key that is no text is a slip: `{{ name }}` without quotes.
const KEYS_THAT_ARE_NO_TEXT: &[&str] = &[
    "4FJ6", "6BFJ", "6PBE", "9MMW", "KK5P", "LX3P", "M2N8-00", "M2N8-01", "M5DY", "Q9WF", "RZP5", "SBG9", "V9D5",
    "X38W", "XW4D",
];

/// Others, with what is different.
const OTHERWISE: &[(&str, &str)] = &[
    ("2JQS", "two keys that are the same, empty as they are"),
    ("565N", "`!!binary` has no use in a configuration"),
    ("JEF9-02", "as Go: no line break after a block scalar that ends with the file"),
    ("L24T-01", "as Go: no line break after a block scalar that ends with the file"),
    ("ZYU8-02", "as Go: `%YAML 1.1 1.2` is refused"),
];

/// A tree in the form of the suite's file.
fn show(node: &Node, out: &mut String) {
    match &node.value {
        Value::Scalar(scalar) if scalar.style == Style::Plain => out.push_str(&format!(":{}", escaped(&scalar.text))),
        Value::Scalar(scalar) => out.push_str(&format!("\"{}\"", escaped(&scalar.text))),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                show(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                out.push_str(&format!("{}=", escaped(&entry.key)));
                show(&entry.node, out);
            }
            out.push('}');
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(character),
            other => out.push_str(&format!("\\u{{{:x}}}", u32::from(other))),
        }
    }
    out
}

fn unescaped(line: &str) -> String {
    let mut out = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next().unwrap() {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'u' => {
                let digits: String = characters.by_ref().skip(1).take_while(|c| *c != '}').collect();
                out.push(char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap());
            }
            other => out.push(other),
        }
    }
    out
}

/// What this reader makes of a text, in the form of the suite's file.
fn outcome(text: &str) -> String {
    let Ok(document) = read(text) else { return "invalid".to_string() };
    let mut out = if document.next.is_some() { "several ".to_string() } else { String::new() };
    show(&document.root, &mut out);
    out
}

#[test]
fn the_suite_is_read_but_for_what_is_listed() {
    let mut cases = 0;
    let mut differences = BTreeMap::new();
    for case in SUITE.split("\n\n").skip(1) {
        let mut lines = case.lines();
        let (Some(name), Some(text), Some(expected)) = (lines.next(), lines.next(), lines.next()) else {
            panic!("a case has three lines: {case}")
        };
        let id = name.split(' ').next().unwrap();
        let found = outcome(&unescaped(text.strip_prefix("> ").unwrap()));
        cases += 1;
        if found != expected {
            differences.insert(id, (name, text, expected, found));
        }
    }
    assert_eq!(cases, 405);
    let otherwise = OTHERWISE.iter().map(|(id, _)| id);
    let known: Vec<&str> =
        TAKEN_AS_GO_TAKES_THEM.iter().chain(KEYS_THAT_ARE_NO_TEXT).chain(otherwise).copied().collect();
    let unknown: Vec<_> = differences.iter().filter(|(id, _)| !known.contains(id)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let gone: Vec<_> = known.iter().filter(|id| !differences.contains_key(*id)).collect();
    assert!(gone.is_empty(), "as the suite has it, and listed: {gone:?}");
}

/// What people write that other readers take, beside the suite.
#[test]
fn what_go_takes_is_taken() {
    for (text, expected) in [
        ("a: [\n{b: c},\n{d: e}\n]\n", "{a=[{b=:c},{d=:e}]}"),
        ("a:\n  b: [\n1,\n2\n]\n", "{a={b=[:1,:2]}}"),
        ("a: {b: c,\nd: [e\n,f\n],\n}\n", "{a={b=:c,d=[:e,:f]}}"),
        ("{\n\t\"a\": {\n\t\t\"b\": [1, 2]\n\t}\n}\n", "{a={b=[:1,:2]}}"),
        ("a:\n  b: [\n\t1,\n\t2\n\t]\n", "{a={b=[:1,:2]}}"),
        ("a: \"b\nc\"\nd: e f\n  g\n", "{a=\"b c\",d=:e f g}"),
        ("a: \"b\"# c\nd: [e]# f\n", "{a=\"b\",d=[:e]}"),
        ("a: \"it\\'s\"\n", "{a=\"it's\"}"),
        ("a: [-, b]\n", "{a=[\"-\",:b]}"),
        ("\u{feff}a: 1\r\nb: |\r\n  c\r\n  d\r\n", "{a=:1,b=\"c\\nd\\n\"}"),
        ("x-a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  c: 3\n", "{x-a={b=:1,c=:2},d={c=:3,b=:1}}"),
        ("a: &a {b: 1}\nc: &c {b: 2, d: 3}\ne: {<<: [*a, *c]}\n", "{a={b=:1},c={b=:2,d=:3},e={b=:1,d=:3}}"),
        ("a: {\"<<\": 1}\n", "{a={<<=:1}}"),
        ("a: b # c\n  # d\n# e\nf:\n    # g\n  - h\n", "{a=:b,f=[:h]}"),
        ("a: !custom b\n", "{a=:b}"),
        ("a: 1\n---\n", "{a=:1}"),
        ("a: 1\n---\n# nothing\n---\nb: 1\n", "several {a=:1}"),
    ] {
        assert_eq!(outcome(text), expected, "{text:?}");
    }
}

#[test]
fn errors_name_their_line_and_what_to_do() {
    let deep = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..9 {
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", ")));
        }
        text
    };
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 20].join(", "));
    for (text, line, told) in [
        ("a:\n\tb: 1\n", 2, "a tab where YAML allows spaces only; use spaces"),
        ("a:\n  b: 1\n\tc: 2\n", 3, "use spaces"),
        ("a: \"b\n", 1, "a text in quotes has no end"),
        ("a: [b\nc: d\n", 2, "is missing before this"),
        ("a: {b: ${env:B}}\n", 1, "put a value with `${...}` in quotes"),
        ("a: *b\n", 1, "define it, or put text that begins with `*` in quotes"),
        ("a: 1\na: 2\n", 2, "the key `a` is there twice, first on line 1; remove one"),
        ("a: \"\\d\"\n", 1, "a backslash in double quotes that escapes nothing"),
        ("a: b: c\n", 1, "put a text with `: ` in it in quotes"),
        ("a:\n  b: 1\n c: 2\n", 3, "correct the indentation"),
        ("a: @b\n", 1, "put the text in quotes"),
        ("a: {{ b }}\n", 1, "put it in quotes if it is meant as text"),
        ("a: &a [*a]\n", 1, "an alias refers to an anchor that is not complete yet"),
        ("a:\n  <<: b\n", 2, "the merge key `<<` needs a mapping"),
        (deep.as_str(), 1, "nested deeper than 64 levels"),
        (bomb.as_str(), 5, "aliases expand to more than"),
        (long.as_str(), 2, "aliases expand to more than"),
    ] {
        let Err(error) = read(text).map(drop) else { panic!("{text:?} is taken") };
        let message = format!("{}; {}", error.cause, error.remedy);
        assert!(error.line == line && message.contains(told), "{text:.200?}: {}: {message}", error.line);
    }
}
