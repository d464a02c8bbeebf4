//! Rules that look at one file.

use crate::code::{functions, line_of, masked, words};
use crate::tree::File;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// 1-based.
    pub line: usize,
    /// What and why.
    pub text: String,
}

impl Finding {
    /// A finding at a line.
    pub fn at(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

/// Longest file: beyond it nobody reads it whole.
const FILE_LINES_MAX: usize = 800;
/// Longest function: what fits on a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Where `unsafe` may be: the kernel boundary, and the scan if a measurement asks for it.
const UNSAFE_BELOW: &[&str] = &["runtime/", "proto/src/otlp/scan"];
/// Tests whose subject is time itself, the harness that waits with patience, and simulated time, in which nobody waits.
const MAY_SLEEP: &[&str] =
    &["runtime/tests/executor.rs", "runtime/src/executor/", "tests/src/", "tests/tests/core_simulation/"];

/// Files have at most [`FILE_LINES_MAX`] lines.
pub fn file_length(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let too_long = lines > FILE_LINES_MAX;
    too_long.then(|| Finding::at(lines, format!("{lines} lines, at most {FILE_LINES_MAX}"))).into_iter().collect()
}

/// Functions have at most [`FUNCTION_LINES_MAX`] lines.
pub fn function_length(file: &File) -> Vec<Finding> {
    let long = functions(&file.text).into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    long.map(|(name, line, lines)| Finding::at(line, format!("{name} has {lines} lines, at most {FUNCTION_LINES_MAX}")))
        .collect()
}

/// `unsafe` is only where it is expected.
pub fn unsafe_code(file: &File) -> Vec<Finding> {
    if UNSAFE_BELOW.iter().any(|start| file.path.starts_with(start)) {
        return Vec::new();
    }
    let masked = masked(&file.text);
    words(&masked, "unsafe")
        .into_iter()
        .map(|at| Finding::at(line_of(&masked, at), "unsafe outside runtime/"))
        .collect()
}

/// Only US-ASCII.
pub fn ascii(file: &File) -> Vec<Finding> {
    let foreign = file.text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
    foreign.map(|(index, _)| Finding::at(index + 1, "a character that is not ASCII; write an escape")).collect()
}

/// A file opens by saying what it is for.
pub fn opening(file: &File) -> Vec<Finding> {
    let opens = file.text.starts_with("//! ") && file.text.lines().next().is_some_and(|line| line.len() > 10);
    (!opens).then(|| Finding::at(1, "does not open with a `//!` sentence")).into_iter().collect()
}

/// Nothing is left for later, in words that people search for.
pub fn reminders(file: &File) -> Vec<Finding> {
    // Put together here, or this file would break its own rule.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for mark in &marks {
        for at in words(&file.text, mark) {
            found
                .push(Finding::at(line_of(&file.text, at), format!("{mark}: do it, or file it where work is planned")));
        }
    }
    found
}

/// Lines for people say nothing in the words of the source: a value that is written as `Debug` has it is a text today and a
/// number tomorrow, and names types.
pub fn words_of_the_source(file: &File) -> Vec<Finding> {
    let masked = masked(&file.text);
    let mut found = Vec::new();
    for level in ["error", "warn", "info"] {
        let call = format!("tracing::{level}!(");
        for (at, _) in masked.match_indices(&call) {
            let arguments = masked[at..].split_once(';').map_or(&masked[at..], |(call, _)| call);
            let is_sigil = |part: &str| {
                part.trim_start()
                    .trim_start_matches(|c: char| c != '=' && c != '?')
                    .trim_start_matches(['=', ' '])
                    .starts_with('?')
            };
            if arguments[call.len()..].split(',').any(is_sigil) {
                found.push(Finding::at(line_of(&file.text, at), "a field is written as `Debug` has it: give it words"));
            }
        }
    }
    found
}

/// Nothing refers to the place where the tree happened to be made.
pub fn outside(file: &File) -> Vec<Finding> {
    let places = [["/wo", "rk/"], ["sha", "red/reference"], ["sha", "red/design"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for place in places.iter().filter(|place| line.contains(place.as_str())) {
            found.push(Finding::at(index + 1, format!("`{place}` is not in this tree")));
        }
    }
    found
}

/// Tests wait for what they wait for, not for a time, and take the port that the kernel gives.
pub fn tests_without_sleep_or_port(file: &File) -> Vec<Finding> {
    let masked = masked(&file.text);
    let Some(start) = tests_start(file, &masked) else { return Vec::new() };
    let mut found = Vec::new();
    if !MAY_SLEEP.iter().any(|path| file.path.starts_with(path)) {
        let sleeps = words(&masked, "sleep").into_iter().filter(|at| masked[at + 5..].starts_with('('));
        for at in sleeps.filter(|at| *at >= start) {
            found.push(Finding::at(line_of(&masked, at), "a sleep in a test; wait for the event itself"));
        }
    }
    for at in words(&masked, "bind").into_iter().filter(|at| *at >= start) {
        // The arguments, in the text with its literals.
        let call: String = file.text[at + 4..].chars().take_while(|c| *c != ';' && *c != '\n').collect();
        if call.starts_with('(') && has_fixed_port(&call) {
            found.push(Finding::at(line_of(&masked, at), "a fixed port in a test; bind port 0"));
        }
    }
    found
}

/// Where the tests of a file start: at once in a directory of tests, at `cfg(test)` elsewhere.
fn tests_start(file: &File, masked: &str) -> Option<usize> {
    if file.path.starts_with("tests/") || file.path.contains("/tests/") || file.path.ends_with("/tests.rs") {
        return Some(0);
    }
    masked.find("#[cfg(test)]")
}

/// Whether arguments hold `:PORT` in a literal or a port as a number, other than zero.
fn has_fixed_port(arguments: &str) -> bool {
    arguments.match_indices([':', ',', '(']).any(|(at, _)| {
        let digits: String = arguments[at + 1..].trim_start().chars().take_while(char::is_ascii_digit).collect();
        let after = arguments[at + 1..].trim_start()[digits.len()..].chars().next();
        digits.parse::<u32>().is_ok_and(|port| port > 255) && matches!(after, Some('"' | ')'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_string(), text: text.to_string() }
    }

    #[test]
    fn a_long_file_and_a_long_function_are_found() {
        assert!(file_length(&file("a.rs", &"x\n".repeat(800))).is_empty());
        assert_eq!(file_length(&file("a.rs", &"x\n".repeat(801))).len(), 1);
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "x();\n".repeat(lines - 2));
        assert!(function_length(&file("a.rs", &function(70))).is_empty());
        assert_eq!(function_length(&file("a.rs", &function(71)))[0].text, "f has 71 lines, at most 70");
    }

    #[test]
    fn unsafe_is_found_as_a_word() {
        assert_eq!(unsafe_code(&file("net/src/a.rs", "fn f() { unsafe { g() } }")).len(), 1);
        assert!(unsafe_code(&file("net/src/a.rs", "// unsafe\n#![forbid(unsafe_code)]\n\"unsafe\"")).is_empty());
        assert!(unsafe_code(&file("runtime/src/a.rs", "unsafe {}")).is_empty());
    }

    #[test]
    fn other_characters_and_missing_openings_are_found() {
        assert_eq!(ascii(&file("a.rs", "a\nb \u{e9}\n"))[0].line, 2);
        assert_eq!(opening(&file("a.rs", "use x;\n")).len(), 1);
        assert_eq!(opening(&file("a.rs", "//! x\n")).len(), 1);
        assert!(opening(&file("a.rs", "//! What it is for.\n")).is_empty());
    }

    #[test]
    fn reminders_and_outside_places_are_found() {
        let mark = ["TO", "DO"].concat();
        assert_eq!(reminders(&file("a.rs", &format!("// {mark}: later\n"))).len(), 1);
        assert!(reminders(&file("a.rs", &format!("// {mark}S\n"))).is_empty());
        let place = ["/wo", "rk/"].concat();
        assert_eq!(outside(&file("a.md", &format!("see {place}x\n"))).len(), 1);
    }

    #[test]
    fn words_of_the_source_are_found() {
        for (call, found) in [
            ("tracing::warn!(?error, \"it failed\");", 1),
            ("tracing::info!(a = 1, wait = ?wait, \"what?\");", 1),
            ("tracing::error!(%error, to = %path.display(), \"why?\");", 0),
            ("tracing::warn!(n = count()?, \"x\");", 0),
            ("tracing::debug!(?error, \"for ourselves\");", 0),
        ] {
            assert_eq!(words_of_the_source(&file("a.rs", call)).len(), found, "{call}");
        }
    }

    #[test]
    fn sleeps_and_ports_are_found_in_tests_only() {
        let sleeping = "fn f() { thread::sleep(D); }";
        assert!(tests_without_sleep_or_port(&file("net/src/a.rs", sleeping)).is_empty());
        assert_eq!(tests_without_sleep_or_port(&file("net/tests/a.rs", sleeping)).len(), 1);
        let inline = "fn f() { sleep(D) }\n#[cfg(test)]\nmod tests { fn g() { sleep(D) } }";
        assert_eq!(tests_without_sleep_or_port(&file("net/src/a.rs", inline)).len(), 1);
        assert!(tests_without_sleep_or_port(&file("runtime/tests/executor.rs", sleeping)).is_empty());
        for (call, found) in [
            ("bind(\"127.0.0.1:0\")", 0),
            ("bind(\"127.0.0.1:4317\")", 1),
            ("bind((LOCALHOST, 4317))", 1),
            ("bind((LOCALHOST, 0))", 0),
            ("bind(address)", 0),
        ] {
            assert_eq!(tests_without_sleep_or_port(&file("tests/tests/a.rs", call)).len(), found, "{call}");
        }
    }
}
