//! Go's regular expressions (RE2 syntax) as the `regex` crate understands them. The two are one family; what
//! differs is rewritten here: Go's `\d \w \s \b` are ASCII, `\Q...\E` quotes, and inside a class `[`, `&` and `~`
//! are plain characters.

use regex::bytes::{Regex, RegexBuilder};

/// Largest compiled program, bytes: a pattern from the configuration can't cost more memory than this.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Compiles a Go pattern; the search is unanchored.
///
/// # Errors
/// The reason, in one line, when the pattern is no regular expression or its program is too large.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern)).size_limit(PROGRAM_BYTES_MAX).build().map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or("not a regular expression").trim().trim_start_matches("error: ").to_string()
    })
}

/// Rewrites what Go and Rust read differently.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars();
    let mut class = Class::Outside;
    while let Some(character) = rest.next() {
        match (character, class) {
            ('\\', _) => match rest.next() {
                Some('Q') => quote(&mut rest, &mut out),
                Some(escaped) => escape(escaped, class != Class::Outside, &mut out),
                None => out.push('\\'),
            },
            ('[', Class::Outside) => {
                class = Class::Start;
                out.push('[');
                continue;
            }
            ('^', Class::Start) => {
                out.push('^');
                continue;
            }
            (']', Class::Start) => out.push_str("\\]"),
            (']', Class::Inside) => {
                class = Class::Outside;
                out.push(']');
                continue;
            }
            ('[', _) if rest.as_str().starts_with(':') => named_class(&mut rest, &mut out),
            ('[' | '&' | '~', Class::Start | Class::Inside) => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
        if class == Class::Start {
            class = Class::Inside;
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    /// Right behind `[` or `[^`, where `]` is a plain character.
    Start,
    Inside,
}

/// `\Q` up to `\E` or the end: every character stands for itself.
fn quote(rest: &mut std::str::Chars<'_>, out: &mut String) {
    let text = rest.as_str();
    let (quoted, after) = text.split_once("\\E").unwrap_or((text, ""));
    out.push_str(&regex::escape(quoted));
    *rest = after.chars();
}

/// `[:name:]` is copied as it is.
fn named_class(rest: &mut std::str::Chars<'_>, out: &mut String) {
    let text = rest.as_str();
    let end = text.find(":]").map_or(0, |end| end + 2);
    if end == 0 {
        out.push_str("\\[");
        return;
    }
    out.push('[');
    out.push_str(&text[..end]);
    *rest = text[end..].chars();
}

/// What follows a backslash.
fn escape(escaped: char, in_class: bool, out: &mut String) {
    match escaped {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\x0c\\r ]"),
        'S' => out.push_str("[^\\t\\n\\x0c\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        _ => {
            out.push('\\');
            out.push(escaped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn the_search_is_unanchored_and_classes_are_ascii() {
        assert!(matches("v.l", "a value"));
        assert!(!matches("^val$", "a value"));
        assert!(matches(r"^\d+$", "0123"));
        assert!(!matches(r"\d", "\u{0663}"), "Arabic three is no Go digit");
        assert!(!matches(r"\w", "\u{e9}"));
        assert!(!matches(r"\s", "\u{a0}"));
        assert!(matches(r"[\d\-x]+", "3-x"));
        assert!(matches(r"\bfoo\b", "a foo b"));
        assert!(matches(r"^.$", "\u{e9}"), "a dot is a character, not a byte");
    }

    #[test]
    fn quotes_and_plain_brackets_in_classes() {
        assert!(matches(r"\Qa.b(\E+", "a.b(("));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches("^[[&~]+$", "[&~["));
        assert!(matches("^[]a]+$", "]a"));
        assert!(matches("^[^]a]+$", "bc"));
        assert!(matches("^[[:alpha:]]+$", "abc"));
        assert!(matches(r"^\/health$", "/health"));
    }

    #[test]
    fn a_bad_or_huge_pattern_is_an_error() {
        assert!(compile("[").is_err());
        assert!(compile("(a{1000}){1000}").is_err());
    }
}
