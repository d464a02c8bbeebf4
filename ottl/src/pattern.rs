//! Regular expressions with the meaning they have in Go's RE2, on Rust's `regex`, its nearest relative.
//!
//! The differences that matter: Go's `\d`, `\w`, `\s` and `\b` are ASCII; inside a class Go knows no nested class and no
//! set operators; Go has `\Q...\E`. All of it is rewritten here. What is left is refused by one of the two, never read
//! in two ways.

use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Captures, Regex, RegexBuilder};
use regex_automata::meta;
use regex_automata::util::syntax;

/// Bytes a compiled expression may take: ten times `regex`'s lazy cache, far above any expression written by hand.
/// At the bound: the configuration is refused.
const COMPILED_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Bytes that an expression with named groups of any number may take: patterns of grok are built of dozens of others.
/// At the bound: the configuration is refused.
const NESTED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes that searching for one expression fills on each thread for each of its two directions: what was found out about its
/// states. Past it that is found out again.
const STATES_BYTES_MAX: usize = 64 * 1024;

/// Bytes that searching for one expression takes at most on each thread.
pub const SEARCH_BYTES_MAX: usize = 2 * STATES_BYTES_MAX;

/// How much memory expressions take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expressions {
    /// How many they are: each takes `SEARCH_BYTES_MAX` on each thread that searches.
    pub count: u64,
    /// Bytes of their programs, which all threads share.
    pub program_bytes: u64,
}

impl Expressions {
    /// Takes in one more.
    pub fn add(&mut self, pattern: &Pattern) {
        self.merge(Self { count: 1, program_bytes: u64::try_from(pattern.program_bytes).unwrap_or(u64::MAX) });
    }

    /// Takes in others.
    pub fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.program_bytes = self.program_bytes.saturating_add(other.program_bytes);
    }
}

/// An expression over texts as they lie in telemetry: bytes, nearly always UTF-8. It is unanchored.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// Bytes of its program.
    program_bytes: usize,
    /// Whether it may match the nothing between two bytes of one character, which is no place for Go.
    may_split: bool,
}

impl Pattern {
    /// The expression as it was rewritten.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether it matches anywhere in a text.
    #[inline]
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        if self.may_split { self.captures(text).is_some() } else { self.regex.is_match(text) }
    }

    /// The groups of its first match.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        if !self.may_split {
            return self.regex.captures(text);
        }
        let is_start = |at: usize| text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let is_whole =
            |captures: &Captures<'t>| captures.get(0).is_some_and(|found| !found.is_empty() || is_start(found.start()));
        self.regex.captures_iter(text).find(is_whole)
    }

    /// The names of its groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

/// Compiles an expression written for Go's `regexp` package.
///
/// # Errors
/// The compiler's words, in one line, when the expression is not valid.
pub fn compile(pattern: &str) -> Result<Pattern, String> {
    let (compiled, _) = build(Translation::of(pattern, false)?, COMPILED_BYTES_MAX)?;
    let wrong = compiled.names().find(|name| !is_word(name)).map(str::to_string);
    match wrong {
        Some(name) => Err(format!("invalid name of a group: {name}")),
        None => Ok(compiled),
    }
}

/// Compiles an expression whose groups may share names, as Go lets them: the groups that have one, by number.
///
/// # Errors
/// As `compile`.
pub fn compile_groups(pattern: &str) -> Result<(Pattern, Vec<(usize, String)>), String> {
    let (compiled, groups) = build(Translation::of(pattern, true)?, NESTED_BYTES_MAX)?;
    match groups.iter().find(|(_, name)| !is_word(name)) {
        Some((_, name)) => Err(format!("invalid name of a group: {name:?}")),
        None => Ok((compiled, groups)),
    }
}

/// The same expression for Rust's `regex` over text.
///
/// # Errors
/// What is wrong with it, in words.
pub fn translate(pattern: &str) -> Result<String, String> {
    Translation::of(pattern, false).map(|translation| translation.out)
}

fn build(translation: Translation, bytes_max: usize) -> Result<(Pattern, Vec<(usize, String)>), String> {
    let built = RegexBuilder::new(&translation.out).size_limit(bytes_max).dfa_size_limit(STATES_BYTES_MAX).build();
    let regex = built.map_err(|error| match error {
        // The full text draws the expression over several lines; its last line is the cause.
        regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string(),
        other => other.to_string(),
    })?;
    let program_bytes = program_bytes(&translation.out).unwrap_or(bytes_max);
    Ok((Pattern { regex, program_bytes, may_split: translation.has_inside }, translation.groups))
}

/// What the expression's program takes, which `regex` makes in the same way and does not tell.
fn program_bytes(expression: &str) -> Option<usize> {
    let configuration = meta::Config::new().utf8_empty(false).hybrid_cache_capacity(STATES_BYTES_MAX);
    let syntax = syntax::Config::new().utf8(false);
    let program = meta::Builder::new().configure(configuration).syntax(syntax).build(expression).ok()?;
    Some(program.memory_usage())
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// An expression rewritten.
struct Translation {
    out: String,
    /// Whether it asks for a place that is no word boundary.
    has_inside: bool,
    /// How many groups have been opened.
    opened: usize,
    /// Whether names are taken off the groups.
    takes_names: bool,
    /// The names that were taken off.
    groups: Vec<(usize, String)>,
}

impl Translation {
    fn of(pattern: &str, takes_names: bool) -> Result<Self, String> {
        let out = String::with_capacity(pattern.len() + 16);
        let mut translation = Self { out, has_inside: false, opened: 0, takes_names, groups: Vec::new() };
        translation.read(pattern)?;
        Ok(translation)
    }

    fn read(&mut self, pattern: &str) -> Result<(), String> {
        let out = &mut self.out;
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
                '\\' if rest.next_if_eq(&'B').is_some() => {
                    self.has_inside = true;
                    out.push_str(r"(?-u:\B)");
                }
                '\\' => escape(&mut rest, out, false)?,
                '[' => class(&mut rest, out)?,
                '{' => out.push_str(r"\{"),
                '(' if self.takes_names => {
                    out.push('(');
                    let is_plain = rest.peek() != Some(&'?');
                    let name = group_name(&mut rest);
                    self.opened += usize::from(is_plain || name.is_some());
                    self.groups.extend(name.map(|name| (self.opened, name)));
                }
                other => out.push(other),
            }
        }
        Ok(())
    }
}

/// The name of a group whose parenthesis is taken, as in `?P<name>` or `?<name>`.
fn group_name(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let ahead: String = rest.clone().take(3).collect();
    let opening = ["?P<", "?<"].into_iter().find(|opening| ahead.starts_with(opening))?;
    rest.nth(opening.len() - 1);
    Some(rest.by_ref().take_while(|character| *character != '>').collect())
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
        'b' | 'B' => return Err(format!("invalid escape sequence \\{character}")),
        // Itself, whatever it may mean to the other language.
        other if other.is_ascii() && !other.is_ascii_alphanumeric() => {
            out.push_str(&format!("\\x{{{:x}}}", u32::from(other)));
        }
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

    /// Without `dfa_size_limit` a search would fill four megabytes.
    #[test]
    fn a_search_takes_no_more_than_it_is_said_to() {
        for expression in ["^/api/v[0-9]+/(users|orders)/.*$", r"(?i)\p{L}+\s\p{L}{3,20}x", r"[a-q][^u-z]{13}x", "a|b"]
        {
            let pattern = compile(expression).unwrap();
            let configuration = meta::Config::new().utf8_empty(false).hybrid_cache_capacity(STATES_BYTES_MAX);
            let syntax = syntax::Config::new().utf8(false);
            let built = meta::Builder::new().configure(configuration).syntax(syntax).build(pattern.as_str()).unwrap();
            let mut cache = built.create_cache();
            let mut state = 1_u64;
            for _ in 0..300 {
                let text: Vec<u8> = (0..200)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        b"abcdefghijklmnopqrstuvwxyz /0189ABCX"[usize::try_from(state >> 33).unwrap() % 36]
                    })
                    .collect();
                _ = built.search_with(&mut cache, &(&text).into());
                assert_eq!(built.is_match(&text), pattern.is_match(&text));
            }
            let (taken, said) = (cache.memory_usage(), SEARCH_BYTES_MAX + pattern.program_bytes);
            assert!(taken <= said, "{expression}: {taken} of {said} bytes");
            assert!(pattern.program_bytes > 0 || expression == "a|b", "two texts need no program");
        }
    }

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).unwrap().is_match(text.as_bytes())
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
    fn what_is_no_word_boundary_is_ascii_and_between_characters() {
        for (pattern, text, expected) in [
            (r"\B", "\u{e9}", true),
            (r"\B", "a\u{e9}b", false),
            (r"\B", "a", false),
            (r"\B", "", true),
            (r"\B\x{e9}", "a\u{e9}", false),
            (r"\B\x{e9}", "\u{e9}\u{e9}", true),
            (r"\x{e9}\B", "\u{e9}a", false),
            (r"a\B", "a\u{e9}", false),
            (r"a\B", "ab", true),
            (r"\B\z", "a\u{e9}", true),
            (r"\By\B", "xyz", true),
            (r"\B|b\z", "a\u{e9}b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text:?}");
        }
        assert!(compile(r"[\B]").is_err());
    }

    #[test]
    fn groups_may_share_a_name() {
        let (pattern, groups) = compile_groups(r"(?P<a>x)([(])(?:\()(?<b>y)|(?P<a>z)[^](?P<c>]").unwrap();
        assert_eq!(groups, [(1, "a".to_string()), (3, "b".to_string()), (4, "a".to_string())]);
        assert_eq!(pattern.captures(b"x((y").unwrap().get(3).unwrap().as_bytes(), b"y");
        assert!(compile_groups("(?P<a.b>x)").is_err() && compile_groups("(?P<>x)").is_err());
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
