//! Texts in another case.

use crate::error::Failure;
use crate::function::{Arguments, Function, Parameter, ParameterKind as Kind, needed};
use crate::value::{Chars, Value};

const TARGET: Parameter = needed("target", Kind::Text);

pub(super) static CONVERT_CASE: Function =
    Function::new("ConvertCase", &[TARGET, needed("to_case", Kind::LiteralText)], convert_case)
        .checked(|written| written.one_of("to_case", &["lower", "upper", "snake", "camel"]));

pub(super) static TO_LOWER_CASE: Function =
    Function::new("ToLowerCase", &[TARGET], |arguments| Ok(Value::built(lower(&text(arguments)?))));

pub(super) static TO_UPPER_CASE: Function =
    Function::new("ToUpperCase", &[TARGET], |arguments| Ok(Value::built(upper(&text(arguments)?))));

pub(super) static TO_SNAKE_CASE: Function =
    Function::new("ToSnakeCase", &[TARGET], |arguments| Ok(Value::built(snake(&text(arguments)?))));

pub(super) static TO_CAMEL_CASE: Function =
    Function::new("ToCamelCase", &[TARGET], |arguments| Ok(Value::built(camel(&text(arguments)?))));

fn text<'a>(arguments: &Arguments<'a, '_>) -> Result<Chars<'a>, Failure> {
    let text = arguments.text(0)?;
    arguments.read(&text)?;
    Ok(text)
}

fn convert_case<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let text = text(arguments)?;
    Ok(match &*arguments.text(1)? {
        b"lower" => Value::built(lower(&text)),
        b"upper" => Value::built(upper(&text)),
        b"snake" => Value::built(snake(&text)),
        _ => Value::built(camel(&text)),
    })
}

pub(super) fn lower(text: &[u8]) -> String {
    let lowered = |character: char| character.to_lowercase().next().unwrap_or(character);
    String::from_utf8_lossy(text).chars().map(lowered).collect()
}

fn upper(text: &[u8]) -> String {
    // One character for one: what has no single capital keeps its form.
    let raised = |character: char| {
        let mut capitals = character.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => character,
        }
    };
    String::from_utf8_lossy(text).chars().map(raised).collect()
}

/// Words at each change of case or to and from digits, joined by underscores.
fn snake(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let mut out = Vec::with_capacity(text.len() + 2);
    for (position, byte) in text.iter().enumerate() {
        let (is_capital, is_small) = (byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
        let is_digit = byte.is_ascii_digit();
        let written = byte.to_ascii_lowercase();
        if let Some(next) = text.get(position + 1) {
            let (to_capital, to_small) = (next.is_ascii_uppercase(), next.is_ascii_lowercase());
            let to_digit = next.is_ascii_digit();
            let changes = is_capital && (to_small || to_digit)
                || is_small && (to_capital || to_digit)
                || is_digit && (to_capital || to_small);
            if changes {
                let after_capital = position > 0 && text[position - 1].is_ascii_uppercase();
                if is_capital && to_small && after_capital {
                    out.push(b'_');
                }
                out.push(written);
                if is_small || is_digit || to_digit {
                    out.push(b'_');
                }
                continue;
            }
        }
        out.push(if matches!(byte, b' ' | b'_' | b'-' | b'.') { b'_' } else { written });
    }
    out
}

/// Words begun with a capital and joined; a run of capitals is one word.
fn camel(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let mut out = Vec::with_capacity(text.len());
    let (mut capital_next, mut after_capital) = (true, false);
    for byte in text {
        let is_capital = byte.is_ascii_uppercase();
        let written = match () {
            () if capital_next => byte.to_ascii_uppercase(),
            () if after_capital && is_capital => byte.to_ascii_lowercase(),
            () => *byte,
        };
        after_capital = is_capital;
        if byte.is_ascii_alphabetic() {
            out.push(written);
            capital_next = false;
        } else if byte.is_ascii_digit() {
            out.push(written);
            capital_next = true;
        } else {
            capital_next = matches!(byte, b'_' | b' ' | b'-' | b'.');
        }
    }
    out
}
