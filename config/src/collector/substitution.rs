//! `${env:NAME}`, `${NAME}`, `${env:NAME:-default}` and `$$` in values, as the Collector expands them: a value that is
//! one expression takes whatever type its text has, an expression within text makes text.

use super::Importer;
use crate::problem::shown;
use crate::yaml::{self, Node, Scalar, Style, Value};

/// Deepest nesting of expressions in one another, such as `${env:${env:A}}`.
const NESTING_MAX: usize = 8;

/// Expands every value below `node`. What cannot be expanded is a problem and is left as it is.
pub(super) fn expand(importer: &mut Importer<'_>, key: &str, node: &mut Node) {
    let line = node.line;
    match &mut node.value {
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(importer, &format!("{key}[{index}]"), item);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                expand(importer, &format!("{key}.{}", entry.key), &mut entry.node);
            }
        }
        Value::Scalar(scalar) if scalar.text.contains('$') => match expand_scalar(importer, key, line, scalar) {
            Ok(value) => node.value = value,
            Err(cause) => {
                importer.refuse(line, key, cause, "use ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign");
            }
        },
        Value::Scalar(_) => {}
    }
}

fn expand_scalar(importer: &mut Importer<'_>, key: &str, line: u32, scalar: &Scalar) -> Result<Value, String> {
    let text = &scalar.text;
    if text.starts_with("${") && expression_end(text) == Some(text.len()) {
        let found = evaluate(importer, key, line, &text[2..text.len() - 1], 0)?;
        return typed(&found, line);
    }
    let text = expand_text(importer, key, line, text, 0)?;
    // A dollar sign doubled and nothing else keeps its style; it is no number either way.
    Ok(Value::Scalar(Scalar { text, style: Style::Quoted }))
}

/// The text of an environment variable as a value: a mapping, a list, or a scalar that fits text and numbers.
fn typed(text: &str, line: u32) -> Result<Value, String> {
    let scalar = |text: &str| Value::Scalar(Scalar { text: text.to_string(), style: Style::Expanded });
    match yaml::parse(text) {
        Ok(Node { value: Value::Scalar(Scalar { style: Style::Quoted, text }), .. }) => {
            Ok(Value::Scalar(Scalar { text, style: Style::Quoted }))
        }
        Ok(Node { value: Value::Scalar(_), .. }) => Ok(scalar(text)),
        Ok(mut node) => {
            set_lines(&mut node, line);
            Ok(node.value)
        }
        // Not YAML is not wrong: it is text, a password for example.
        Err(_) => Ok(scalar(text)),
    }
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

/// Where the expression at the start of `text` ends, after its brace.
fn expression_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (index, character) in text.char_indices() {
        match character {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 1 => return Some(index + 1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        previous = character;
    }
    None
}

fn expand_text(
    importer: &mut Importer<'_>,
    key: &str,
    line: u32,
    text: &str,
    nesting: usize,
) -> Result<String, String> {
    if nesting > NESTING_MAX {
        return Err(format!("expressions nested deeper than {NESTING_MAX} levels"));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some(tail) = rest.strip_prefix("$$") {
            out.push('$');
            rest = tail;
        } else if rest.starts_with("${") {
            let end = expression_end(rest).ok_or_else(|| format!("`{}` has no closing brace", shown(rest)))?;
            out.push_str(&evaluate(importer, key, line, &rest[2..end - 1], nesting)?);
            rest = &rest[end..];
        } else {
            // A bare dollar sign is literal.
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The text of one expression, without its braces.
fn evaluate(
    importer: &mut Importer<'_>,
    key: &str,
    line: u32,
    expression: &str,
    nesting: usize,
) -> Result<String, String> {
    let expression = expand_text(importer, key, line, expression, nesting + 1)?;
    let (name, default) = match expression.strip_prefix("env:").unwrap_or(&expression).split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression.strip_prefix("env:").unwrap_or(&expression), None),
    };
    if let Some((scheme, _)) = name.split_once(':') {
        return Err(format!("`${{{}}}`: the source `{}` is not supported", shown(&expression), shown(scheme)));
    }
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err(format!("`${{{}}}`: not the name of an environment variable", shown(&expression)));
    }
    let value = importer.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    // As the Collector does: the default stands in for a variable that is not set, not for an empty one.
    match (value, default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_string()),
        (None, None) => {
            importer.note(line, key, format!("the environment variable {name} is not set and counts as empty"));
            Ok(String::new())
        }
    }
}
