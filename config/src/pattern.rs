//! Regular expressions with the meaning they have in Go's RE2, on Rust's `regex`, its nearest relative.
//!
//! The differences that matter: Go's `\d`, `\w`, `\s` and `\b` are ASCII; inside a class Go knows no nested class and no
//! set operators; Go has `\Q...\E`. All of it is rewritten here. What is left is refused by one of the two, never read
//! in two ways.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Bytes a compiled expression may take: ten times `regex`'s lazy cache, far above any expression written by hand.
const COMPILED_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Compiles an expression written for Go's `regexp` package. It is unanchored.
///
/// # Errors
/// The compiler's words, in one line, when the expression is not valid.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    let built = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).build();
    let regex = built.map_err(|error| match error {
        // The full text draws the expression over several lines; its last line is the cause.
        regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string(),
        other => other.to_string(),
    })?;
    let is_word = |name: &str| name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    match regex.capture_names().flatten().find(|name| !is_word(name)) {
        Some(name) => Err(format!("invalid name of a group: {name}")),
        None => Ok(regex),
    }
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut repeated = Repeated::No;
    while let Some(character) = rest.next() {
        let repeats = matches!(character, '*' | '+' | '?') || character == '{' && is_repetition(rest.clone());
        repeated = match repeated {
            _ if !repeats => Repeated::No,
            Repeated::No => Repeated::Once,
            Repeated::Once if character == '?' => Repeated::Lazily,
            Repeated::Once | Repeated::Lazily => return Err("invalid nested repetition operator".to_string()),
        };
        match character {
            '{' if repeats => {
                out.push(character);
                out.extend(rest.by_ref().take_while(|inside| *inside != '}'));
                out.push('}');
            }
            '\\' => escape(&mut rest, &mut out, false)?,
            '[' => class(&mut rest, &mut out)?,
            '{' => out.push_str(r"\{"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// What the last character did to what is before it.
#[derive(Clone, Copy)]
enum Repeated {
    No,
    Once,
    Lazily,
}

/// Whether what comes behind an opening brace makes it a repetition: `2}`, `2,}` or `2,3}`. Any other brace is literal.
fn is_repetition(rest: Peekable<Chars<'_>>) -> bool {
    let is_number = |digits: &str| {
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'))
    };
    let inside: String = rest.take(REPETITION_CHARACTERS_MAX).collect();
    let Some((inside, _)) = inside.split_once('}') else { return false };
    match inside.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(inside),
    }
}

/// Longest repetition looked at: its numbers are far below, or refused for their size.
const REPETITION_CHARACTERS_MAX: usize = 64;

/// One escape sequence, the backslash already taken.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) -> Result<(), String> {
    let Some(character) = rest.next() else { return Err("trailing backslash".to_string()) };
    match character {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str(r"[\t\n\f\r ]"),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        'b' | '<' | '>' => return Err(format!("invalid escape sequence \\{character}")),
        'Q' if !in_class => quoted(rest, out),
        '0'..='7' => octal(character, rest, out)?,
        other => {
            out.push('\\');
            out.push(other);
            // The braces of a code point or of a Unicode class are no repetition.
            if matches!(other, 'x' | 'p' | 'P') && rest.next_if_eq(&'{').is_some() {
                if other != 'x' && rest.next_if_eq(&'^').is_some() {
                    out.pop();
                    out.push(if other == 'p' { 'P' } else { 'p' });
                }
                out.push('{');
                out.extend(rest.by_ref().take_while(|inside| *inside != '}'));
                out.push('}');
            }
        }
    }
    Ok(())
}

/// A character by its octal code, of which the first digit is taken: three digits at most, and a digit other than 0 is
/// none of it alone.
fn octal(first: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let mut code = first.to_digit(8).unwrap_or(0);
    let mut digits = 1;
    while let Some(digit) = rest.peek().and_then(|next| next.to_digit(8)).filter(|_| digits < 3) {
        rest.next();
        code = code * 8 + digit;
        digits += 1;
    }
    if digits == 1 && first != '0' {
        return Err(format!("invalid escape sequence \\{first}"));
    }
    out.push_str(&format!("\\x{{{code:x}}}"));
    Ok(())
}

/// The literal text between `\Q` and `\E`.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut literal = String::new();
    while let Some(character) = rest.next() {
        if character == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            break;
        }
        literal.push(character);
    }
    out.push_str(&regex::escape(&literal));
}

/// A bracketed class, the opening bracket already taken.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // A closing bracket in first place is a literal one.
    if rest.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    while let Some(character) = rest.next() {
        match character {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '\\' => escape(rest, out, true)?,
            '[' if rest.peek() == Some(&':') => named_class(rest, out),
            '[' => out.push_str(r"\["),
            // Set operators of the other language: a doubled one is two literals here.
            '&' | '~' => {
                out.push('\\');
                out.push(character);
            }
            '-' if rest.peek() == Some(&'-') => out.push_str(r"\-"),
            other => out.push(other),
        }
    }
    Err("missing closing ]".to_string())
}

/// `[:name:]` inside a class, the first bracket already taken; without its end it is literal text.
fn named_class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let ahead: String = rest.clone().take(12).collect();
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '^';
    // The colon before the name may be the one of the end, as in `[[:]`.
    let is_name = |end: usize| ahead.get(1..end).is_some_and(|name| !name.is_empty() && name.chars().all(is_letter));
    match ahead.find(":]").filter(|end| is_name(*end)) {
        Some(end) => {
            out.push('[');
            out.extend(rest.by_ref().take(end + 2));
        }
        None => out.push_str(r"\["),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text)
    }

    #[test]
    fn a_class_that_only_looks_named_is_literal() {
        for (pattern, text) in [(r"^[[:]+$", "[:"), (r"^[[:]:$", "[:"), (r"^[[::]+$", ":["), (r"^[[:x]+$", "x:[")] {
            assert!(matches(pattern, text), "{pattern}");
        }
        assert!(matches(r"^[[:alpha:]]$", "a") && !matches(r"^[[:^alpha:]]$", "a"));
    }

    #[test]
    fn characters_are_named_as_in_go() {
        for (pattern, text) in [
            (r"^\x{e9}$", "\u{e9}"),
            (r"^\x{1F600}{2}$", "\u{1f600}\u{1f600}"),
            (r"^\x41{2}$", "AA"),
            (r"^[\x{e9}-\x{eb}]$", "\u{ea}"),
            (r"^\p{Greek}+$", "\u{3b1}\u{3b2}"),
            (r"^\P{Lu}\pL$", "ab"),
            (r"^\p{^Lu}$", "a"),
            (r"^[\p{Lu}\d]+$", "A1"),
            (r"^\101\0\07$", "A\u{0}\u{7}"),
            (r"^\1018$", "A8"),
            (r"^[\101]$", "A"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text:?}");
        }
        for pattern in [r"\1", r"\18", r"\x{", r"\x{110000}", r"\p{Nothing}", r"\8", "(?P<a.b>c)"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn classes_are_ascii_as_in_go() {
        assert!(matches(r"^\d+$", "123"));
        assert!(!matches(r"^\d+$", "\u{663}"));
        assert!(!matches(r"^\w$", "\u{e9}"));
        assert!(matches(r"^\W$", "\u{e9}"));
        assert!(matches(r"^[\w.]+$", "a.b"));
        assert!(matches(r"^[^\s]+$", "ab"));
        assert!(matches(r"\bfoo\b", "a foo b"));
        assert!(matches(r"\bfoo\b", "\u{e9}foo"));
        assert!(!matches(r"^\s$", "\u{b}"));
    }

    #[test]
    fn brackets_in_a_class_are_literal() {
        assert!(matches(r"^[[a]+$", "[a"));
        assert!(matches(r"^[]a]+$", "]a"));
        assert!(matches(r"^[^]a]+$", "bc"));
        assert!(matches(r"^[a&&b]+$", "a&b"));
        assert!(matches(r"^[[:alpha:]]+$", "abc"));
        assert!(matches(r"^[a~~b]+$", "a~b"));
    }

    #[test]
    fn a_brace_that_repeats_nothing_is_literal() {
        assert!(matches("^{a}$", "{a}"));
        assert!(matches("^a{,2}$", "a{,2}"));
        assert!(matches("^a{02}$", "a{02}"));
        assert!(matches("^a{2,}$", "aaa"));
        assert!(matches("^a{1,2}$", "aa"));
        assert!(matches("{", "{"));
        assert!(matches("^a{2}?$", "aa"));
        assert!(matches("^a*?(?:b)?$", "aab"));
    }

    #[test]
    fn quoted_text_and_escaped_slashes_are_literal() {
        assert!(matches(r"^\Qa.b\E$", "a.b"));
        assert!(!matches(r"^\Qa.b\E$", "axb"));
        assert!(matches(r"^\/health$", "/health"));
        assert!(matches(r"\Qa.b", "a.b"));
    }

    #[test]
    fn search_is_unanchored_and_errors_are_one_line() {
        assert!(matches("b", "abc"));
        for bad in ["(", "[a", "a{2,1}", r"\", r"(?=a)", r"\1", "a**", "a*+", "a{2}{3}", "a??*"] {
            let Err(error) = compile(bad) else { panic!("{bad} is accepted") };
            assert!(!error.contains('\n') && !error.is_empty(), "{bad}: {error}");
        }
    }

    #[test]
    fn a_huge_expression_is_refused() {
        assert!(compile("(((a{100}){100}){100}){100}").is_err());
    }
}
