//! The tokens of a condition, by the rules of the Collector's lexer, in their order: the first rule that fits wins.

use super::error::OttlError;
use super::operator::{Comparison, Operator};
use winnow::combinator::{alt, opt};
use winnow::prelude::*;
use winnow::token::{any, literal, one_of, take_while};

/// One token and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Bytes(Vec<u8>),
    Double(f64),
    Integer(i64),
    Text(String),
    Nil,
    Not,
    Or,
    And,
    Boolean(bool),
    Comparison(Comparison),
    Operator(Operator),
    Arrow,
    /// One of `= ( ) { } : , . [ ]`.
    Mark(char),
    /// Part of the name of a converter, or of an enum.
    Upper,
    /// Part of a path or of a converter's name.
    Lower,
    Underscore,
}

/// What a piece of text is before its value is computed.
#[derive(Clone, Copy)]
enum Shape {
    Bytes,
    Double,
    Integer,
    Text,
    Space,
    Done(fn() -> Kind),
    Mark(char),
    Upper,
    Lower,
}

/// All tokens of `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, OttlError> {
    let mut rest = text;
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let found = shape.with_taken().parse_next(&mut rest);
        let Ok((shape, piece)) = found else { return Err(unknown(&text[start..], start)) };
        let end = text.len() - rest.len();
        let kind = match shape {
            Shape::Space => continue,
            Shape::Bytes => bytes(&piece[2..], start)?,
            Shape::Double => Kind::Double(piece.parse().map_err(|_| OttlError::new(start, "not a number"))?),
            Shape::Integer => integer(piece, start)?,
            Shape::Text => Kind::Text(unquote(&piece[1..piece.len() - 1], start + 1)?),
            Shape::Done(kind) => kind(),
            Shape::Mark(mark) => Kind::Mark(mark),
            Shape::Upper => Kind::Upper,
            Shape::Lower => Kind::Lower,
        };
        tokens.push(Token { kind, start, end });
    }
    Ok(tokens)
}

fn unknown(rest: &str, start: usize) -> OttlError {
    match rest.chars().next() {
        Some('"') => OttlError::new(start, "this text has no closing quote"),
        Some('\'' | '`') => OttlError::new(start, "a text stands in double quotes"),
        Some('&' | '|') => OttlError::new(start, "unexpected character").hint("write and, or"),
        Some('!') => OttlError::new(start, "unexpected character").hint("write not, or !="),
        _ => OttlError::new(start, "unexpected character"),
    }
}

fn shape(input: &mut &str) -> winnow::Result<Shape> {
    alt((literals, words, signs, names, take_while(1.., space).value(Shape::Space))).parse_next(input)
}

/// Go's `\s`.
fn space(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\x0c' | '\r' | ' ')
}

fn literals(input: &mut &str) -> winnow::Result<Shape> {
    let digits = |least: usize| take_while(least.., |c: char| c.is_ascii_digit());
    let exponent = || opt((one_of(['e', 'E']), opt(one_of(['+', '-'])), take_while(1.., |c: char| c.is_ascii_digit())));
    alt((
        ("0x", take_while(1.., |c: char| c.is_ascii_hexdigit())).value(Shape::Bytes),
        (digits(1), '.', digits(0), exponent()).value(Shape::Double),
        (digits(0), '.', digits(1), exponent()).value(Shape::Double),
        digits(1).value(Shape::Integer),
        quoted.value(Shape::Text),
    ))
    .parse_next(input)
}

/// `"`, anything but an unescaped quote, `"`.
fn quoted(input: &mut &str) -> winnow::Result<()> {
    literal("\"").parse_next(input)?;
    loop {
        match any.parse_next(input)? {
            '"' => return Ok(()),
            '\\' => _ = any.verify(|c| *c != '\n').parse_next(input)?,
            _ => {}
        }
    }
}

/// Keywords are whole words.
fn words(input: &mut &str) -> winnow::Result<Shape> {
    let shape = |word: &str| -> Option<Shape> {
        Some(Shape::Done(match word {
            "nil" => || Kind::Nil,
            "not" => || Kind::Not,
            "or" => || Kind::Or,
            "and" => || Kind::And,
            "true" => || Kind::Boolean(true),
            "false" => || Kind::Boolean(false),
            "_" => || Kind::Underscore,
            _ => return None,
        }))
    };
    take_while(1.., |c: char| c.is_ascii_alphanumeric() || c == '_').verify_map(shape).parse_next(input)
}

fn signs(input: &mut &str) -> winnow::Result<Shape> {
    let done = |kind: fn() -> Kind| move |_: &str| Shape::Done(kind);
    alt((
        alt((
            literal("==").map(done(|| Kind::Comparison(Comparison::Equal))),
            literal("!=").map(done(|| Kind::Comparison(Comparison::NotEqual))),
            literal(">=").map(done(|| Kind::Comparison(Comparison::GreaterOrEqual))),
            literal("<=").map(done(|| Kind::Comparison(Comparison::LessOrEqual))),
            literal(">").map(done(|| Kind::Comparison(Comparison::Greater))),
            literal("<").map(done(|| Kind::Comparison(Comparison::Less))),
        )),
        literal("=>").map(done(|| Kind::Arrow)),
        literal("+").map(done(|| Kind::Operator(Operator::Add))),
        literal("-").map(done(|| Kind::Operator(Operator::Subtract))),
        literal("*").map(done(|| Kind::Operator(Operator::Multiply))),
        literal("/").map(done(|| Kind::Operator(Operator::Divide))),
        one_of(['=', '(', ')', '{', '}', ':', ',', '.', '[', ']']).map(Shape::Mark),
    ))
    .parse_next(input)
}

fn names(input: &mut &str) -> winnow::Result<Shape> {
    let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    alt((
        (one_of('A'..='Z'), take_while(0.., upper)).value(Shape::Upper),
        (one_of('a'..='z'), take_while(0.., lower)).value(Shape::Lower),
    ))
    .parse_next(input)
}

fn bytes(digits: &str, start: usize) -> Result<Kind, OttlError> {
    if !digits.len().is_multiple_of(2) {
        return Err(OttlError::new(start, "a byte literal must have an even number of hexadecimal digits"));
    }
    let pairs = digits.as_bytes().chunks_exact(2).filter_map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    Ok(Kind::Bytes(pairs.collect()))
}

/// A leading zero makes an integer octal, as in Go.
fn integer(digits: &str, start: usize) -> Result<Kind, OttlError> {
    let (digits, radix) = match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    i64::from_str_radix(digits, radix).map(Kind::Integer).map_err(|_| {
        let message = if radix == 8 { "not an octal number" } else { "the number needs more than 64 bits" };
        OttlError::new(start, message)
    })
}

/// Go's escapes. A byte escape stands for the code point of that number.
fn unquote(text: &str, start: usize) -> Result<String, OttlError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let offset = start + (text.len() - rest.len()) + at;
        let tail = &rest[at + 1..];
        let Some(character) = tail.chars().next() else { break };
        let digits = match character {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => 3,
            _ => 0,
        };
        let (value, taken) = match character {
            'a' => ('\x07', 1),
            'b' => ('\x08', 1),
            'f' => ('\x0c', 1),
            'n' => ('\n', 1),
            'r' => ('\r', 1),
            't' => ('\t', 1),
            'v' => ('\x0b', 1),
            '\\' | '"' => (character, 1),
            _ if digits == 0 => return Err(invalid_escape(offset, character)),
            _ => {
                let (skip, radix) = if digits == 3 { (0, 8) } else { (1, 16) };
                let code = tail.get(skip..skip + digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
                let code = code.and_then(|code| u32::from_str_radix(code, radix).ok());
                let code = code.filter(|code| digits != 3 || *code <= 255).and_then(char::from_u32);
                (code.ok_or_else(|| invalid_escape(offset, character))?, skip + digits)
            }
        };
        out.push(value);
        rest = &tail[taken..];
    }
    out.push_str(rest);
    Ok(out)
}

fn invalid_escape(offset: usize, character: char) -> OttlError {
    OttlError::new(offset, format!("\\{character} is not an escape of OTTL"))
        .hint("write a backslash of a regular expression twice")
}
