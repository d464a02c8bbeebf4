//! `${env:NAME}`, `${NAME}`, `${env:NAME:-default}`, `${yaml:...}`, `${file:...}` and `$$` in the values of a file, in
//! either language, as the Collector's confmap expands them.
//!
//! A value that is one expression takes whatever type its text has for a key that takes a type, and is that very text
//! for a key that takes text. An expression within text makes text. What an expression brings is expanded again.

use crate::problem::{Fault, Findings, Source, shown};
use crate::yaml::{self, Node, Resolved, Scalar, Style, Value};

/// Most expansions of one value: stops variables that name themselves.
/// At the bound: the configuration is refused.
const EXPANSIONS_MAX: usize = 1000;
/// Most bytes of a value: stops variables that name another twice.
/// At the bound: the configuration is refused.
const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of lists and mappings that come out of one another.
/// At the bound: the configuration is refused.
const DEPTH_MAX: usize = 64;

/// A file that is read, and where its expressions get their values from.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Name of the file.
    pub(crate) file: &'a str,
    /// The environment.
    pub(crate) environment: &'a [(String, String)],
    /// Reads a file that a value names.
    pub(crate) read_file: ReadFile,
}

/// Gives the text of the file at a path, or says why not.
pub type ReadFile = fn(&str) -> Result<String, String>;

impl Surroundings<'_> {
    /// Expands every value below `node`. What cannot be expanded is a problem and is left as it is.
    pub(crate) fn expand(self, key: &str, node: &mut Node, findings: &mut Findings) {
        Substitution { surroundings: self, findings }.within(key, node, 0);
    }
}

/// One expansion.
struct Substitution<'a> {
    surroundings: Surroundings<'a>,
    findings: &'a mut Findings,
}

/// What stands in an expression's place.
struct Found {
    value: Value,
    /// None where there is no text for it.
    text: Option<String>,
}

impl Found {
    fn text(text: String) -> Self {
        Self { value: Value::Scalar(Scalar { text: text.clone(), style: Style::Quoted }), text: Some(text) }
    }

    /// The text as confmap reads it: one that is no YAML, or that is text as YAML, is itself.
    fn of_yaml(text: String, line: u32) -> Self {
        match yaml::parse(&text) {
            Ok(node) if !matches!(&node.value, Value::Scalar(scalar) if is_text(scalar)) => {
                let mut node = node;
                set_lines(&mut node, line);
                Self { value: node.value, text: Some(text) }
            }
            _ => Self::text(text),
        }
    }
}

fn is_text(scalar: &Scalar) -> bool {
    matches!(scalar.resolve(), Resolved::Text(_))
}

fn set_lines(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| set_lines(item, line)),
        Value::Map(entries) => {
            for entry in entries {
                entry.line = line;
                set_lines(&mut entry.node, line);
            }
        }
    }
}

impl Substitution<'_> {
    fn source(&self, line: u32) -> Source {
        Source::File { name: self.surroundings.file.to_string(), line }
    }

    fn within(&mut self, key: &str, node: &mut Node, depth: usize) {
        let line = node.line;
        if let Value::Scalar(scalar) = &node.value
            && node.original.is_none()
            && scalar.text.contains('$')
        {
            let text = scalar.text.clone();
            // What has no expression in it keeps its style, for what is quoted in it.
            match self.expand_text(key, line, text) {
                Ok(Some(found)) => {
                    node.value = found.value;
                    node.original = found.text.map(|text| without_doubled(&text));
                }
                Ok(None) => {}
                Err(fault) => {
                    let source = self.source(line);
                    self.findings.problem(source, key, None, fault);
                    return;
                }
            }
            if depth >= DEPTH_MAX {
                let source = self.source(line);
                let fault = Fault::new("expressions that bring one another without end", "write out what is meant");
                self.findings.problem(source, key, None, fault);
                return;
            }
        }
        match &mut node.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.within(&format!("{key}[{index}]"), item, depth + 1);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let path = if key.is_empty() { entry.key.clone() } else { format!("{key}.{}", entry.key) };
                    self.within(&path, &mut entry.node, depth + 1);
                }
            }
            Value::Scalar(scalar) => scalar.text = without_doubled(&scalar.text),
        }
    }

    /// What comes of a text; none where there is no expression in it.
    fn expand_text(&mut self, key: &str, line: u32, mut text: String) -> Result<Option<Found>, Fault> {
        let mut is_changed = false;
        for _ in 0..EXPANSIONS_MAX {
            let (start, end) = match next_expression(&text) {
                Next::At(start, end) => (start, end),
                next => {
                    if let Next::Open = next {
                        let note = "has a `${` without a closing brace, which is taken as it stands";
                        self.note(key, line, note.to_string());
                    }
                    return Ok(is_changed.then(|| Found::text(text)));
                }
            };
            let found = self.evaluate(key, line, &text[start + 2..end - 1])?;
            is_changed = true;
            if start == 0 && end == text.len() {
                match found {
                    Found { value: Value::Scalar(scalar), text: Some(itself) } if is_text(&scalar) => text = itself,
                    found => return Ok(Some(found)),
                }
            } else {
                let Some(replacement) = found.text else {
                    let cause = format!("`{}` brings no text", shown(&text[start..end]));
                    return Err(Fault::new(cause, "let it be the whole value"));
                };
                text = text.replace(&text[start..end], &replacement);
            }
            if text.len() > VALUE_BYTES_MAX {
                let cause = format!("expands to more than {VALUE_BYTES_MAX} bytes");
                return Err(Fault::new(cause, "use fewer expressions within expressions"));
            }
        }
        let cause = format!("needs more than {EXPANSIONS_MAX} expansions");
        Err(Fault::new(cause, "look for a variable that names itself; write $$ for a dollar sign"))
    }

    /// The value of one expression, given without its braces.
    fn evaluate(&mut self, key: &str, line: u32, expression: &str) -> Result<Found, Fault> {
        let remedy = "use ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign";
        let braced = || format!("`${{{}}}`", shown(expression));
        if let Some(text) = expression.strip_prefix("yaml:") {
            return Ok(Found::of_yaml(text.to_string(), line));
        }
        if let Some(path) = expression.strip_prefix("file:") {
            let failed = |error| Fault::new(format!("{}: {error}", braced()), "correct the path");
            let mut text = (self.surroundings.read_file)(path).map_err(failed)?;
            // Editors end a file with a line break, which no password has.
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
            return Ok(Found::of_yaml(text, line));
        }
        let rest = expression.strip_prefix("env:").unwrap_or(expression);
        let (name, default) = rest.split_once(":-").map_or((rest, None), |(name, default)| (name, Some(default)));
        if let Some((scheme, _)) = name.split_once(':') {
            let cause = format!("{}: the source `{}` is not supported", braced(), shown(scheme));
            return Err(Fault::new(cause, format!("{remedy}; ${{file:PATH}} takes a file's text")));
        }
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
            return Err(Fault::new(format!("{}: not the name of an environment variable", braced()), remedy));
        }
        let value =
            self.surroundings.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        // As the Collector does: the default stands in for a variable that is not set, not for an empty one.
        match (value, default) {
            (Some(value), _) => Ok(Found::of_yaml(value, line)),
            (None, Some("")) => Ok(Found::text(String::new())),
            (None, Some(default)) => Ok(Found::of_yaml(default.to_string(), line)),
            (None, None) if is_vital(key) => {
                let cause = format!("the environment variable {name} is not set");
                Err(Fault::new(cause, format!("set it, or write a default: ${{env:{name}:-default}}")))
            }
            (None, None) => {
                self.note(key, line, format!("the environment variable {name} is not set and counts as empty"));
                Ok(Found { value: Node::null(line).value, text: Some(String::new()) })
            }
        }
    }

    fn note(&mut self, key: &str, line: u32, text: String) {
        let source = self.source(line);
        self.findings.note(source, key, text);
    }
}

/// Whether an empty text at this key is never meant: addresses, credentials, paths, and what is looked for.
fn is_vital(key: &str) -> bool {
    let mut segments = key.split('.').map(|segment| segment.split('[').next().unwrap_or_default());
    let last = segments.clone().next_back().unwrap_or_default();
    let ends = ["endpoint", "endpoints", "key", "file", "pem", "path", "token", "password", "directory"];
    segments.any(|segment| segment == "headers")
        || ends.iter().any(|end| last == *end || last.ends_with(&format!("_{end}")))
}

/// Where the next expression of a text is.
enum Next {
    None,
    /// From its dollar sign to behind its brace.
    At(usize, usize),
    /// An expression begins that does not end.
    Open,
}

/// The innermost of the first expressions. `$$` before a brace makes it none.
fn next_expression(text: &str) -> Next {
    let mut from = 0;
    while let Some(close) = text[from..].find('}').map(|index| from + index) {
        let start = text[from..close].rfind("${").map(|index| from + index);
        if let Some(start) = start.filter(|start| !is_escaped(text, *start)) {
            return Next::At(start, close + 1);
        }
        from = close + 1;
    }
    let open = text[from..].rfind("${").is_some_and(|start| !is_escaped(text, from + start));
    if open { Next::Open } else { Next::None }
}

/// Whether the dollar sign here is the second of a doubled one.
fn is_escaped(text: &str, dollar: usize) -> bool {
    let before = text[..dollar].bytes().rev().take_while(|byte| *byte == b'$').count();
    before % 2 == 1
}

fn without_doubled(text: &str) -> String {
    text.replace("$$", "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(yaml: &str, environment: &[(&str, &str)]) -> (Node, Findings) {
        let environment: Vec<_> = environment.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        let mut findings = Findings::default();
        let mut node = yaml::parse(yaml).unwrap();
        let read_file =
            |path: &str| if path == "/there" { Ok("from: file".to_string()) } else { Err("gone".to_string()) };
        let surroundings = Surroundings { file: "t.yaml", environment: &environment, read_file };
        surroundings.expand("", &mut node, &mut findings);
        (node, findings)
    }

    /// The text that a key for text gets, and what kind a key for a type finds.
    fn both(value: &str, environment: &[(&str, &str)]) -> (String, &'static str) {
        let (node, findings) = expanded(&format!("a: {value}"), environment);
        assert_eq!(findings.problems, []);
        let node = &node.get("a").unwrap().node;
        (node.written().unwrap_or("no text").to_string(), node.kind())
    }

    #[test]
    fn a_whole_value_is_its_text_and_what_that_reads_as() {
        let cases: [(&str, &str, &str); 14] = [
            ("{id}", "{id}", "a mapping"),
            ("[a]", "[a]", "a list"),
            ("0123", "0123", "an integer"),
            ("1e3", "1e3", "a number"),
            ("true", "true", "a boolean"),
            ("a: b", "a: b", "a mapping"),
            ("/a/{id}#x", "/a/{id}#x", "text"),
            ("x # y", "x # y", "text"),
            ("\"q\"", "\"q\"", "text"),
            ("'", "'", "text"),
            ("one\ntwo\n", "one\ntwo\n", "text"),
            ("pa$$word", "pa$word", "text"),
            ("@x", "@x", "text"),
            ("", "", "nothing"),
        ];
        for (text, wanted, kind) in cases {
            assert_eq!(both("${env:X}", &[("X", text)]), (wanted.to_string(), kind), "{text:?}");
            assert_eq!(both("\"${X}\"", &[("X", text)]), (wanted.to_string(), kind), "{text:?}");
        }
    }

    #[test]
    fn expressions_are_expanded_again_and_within_text() {
        let environment = [("A", "${env:B}"), ("B", "{b}"), ("N", "B"), ("P", "1"), ("S", "$$1")];
        for (value, wanted) in [
            ("${env:A}", "{b}"),
            ("x-${A}-${B}", "x-{b}-{b}"),
            ("\"${env:${env:N}}\"", "{b}"),
            ("${env:NONE:-d:e}", "d:e"),
            ("\"${env:NONE:-${env:A}}\"", "{b}"),
            ("${env:NONE:-}", ""),
            ("1${P}", "11"),
            ("$${env:A}", "${env:A}"),
            ("$${env:A} ${env:P}", "${env:A} 1"),
            ("$$${env:P}", "$1"),
            ("a$b$", "a$b$"),
            ("a${b", "a${b"),
            ("a}b", "a}b"),
            ("${env:S}", "$1"),
            ("${yaml:5}", "5"),
            ("${file:/there}", "from: file"),
        ] {
            assert_eq!(both(value, &environment).0, wanted, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_told() {
        let environment = [("SELF", "x${env:SELF}"), ("TWICE", "${env:TWICE}${env:TWICE}")];
        for (yaml, told) in [
            ("a: ${env:A B}", "not the name of an environment variable"),
            ("a: ${http://x}", "the source `http` is not supported"),
            ("a: ${file:/gone}", "gone; correct the path"),
            ("a: ${env:SELF}", "more than 1000 expansions"),
            ("a: ${env:TWICE}", "expands to more than"),
            ("headers: {x: 'Bearer ${env:NONE}'}", "variable NONE is not set"),
            ("headers: [{name: x, value: '${NONE}'}]", "variable NONE is not set"),
            ("endpoint: ${NONE}:4317", "variable NONE is not set"),
            ("endpoints: ['${NONE}']", "variable NONE is not set"),
            ("key: ${NONE}", "variable NONE is not set"),
            ("tls: {key_file: '${NONE}'}", "variable NONE is not set"),
        ] {
            let (_, findings) = expanded(yaml, &environment);
            let text = findings.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            assert!(
                findings.problems.len() == 1 && text.contains(told) && text.starts_with("t.yaml:1: "),
                "{yaml}: {text}"
            );
        }
        let (_, findings) = expanded("name: ${NONE}", &[]);
        assert!(findings.problems.is_empty() && findings.notes.len() == 1);
    }
}
