//! The house rules as tests: which crate may use which, which stage of the engine may know which, how long files and
//! functions are, where `unsafe` is, and what a test may not do. Each rule also has a test that it can fail.
//!
//! Only the standard library is used: the rules must outlive any tool.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod arrows;
mod circles;
mod code;
mod limits;
mod rules;
mod strangers;
mod tree;

use rules::Finding;
use tree::File;

/// Applies a rule to every file of the tree that it is for and fails with all that it finds.
fn check(rule: &str, files: &[File], of: impl Fn(&File) -> bool, apply: impl Fn(&File) -> Vec<Finding>) {
    let looked_at: Vec<&File> = files.iter().filter(|file| of(file)).collect();
    assert!(!looked_at.is_empty(), "{rule}: no file to look at, so the rule is blind");
    let found: Vec<String> = looked_at
        .iter()
        .flat_map(|file| {
            apply(file).into_iter().map(|finding| format!("{}:{}: {}", file.path, finding.line, finding.text))
        })
        .collect();
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

#[test]
fn crates_use_only_what_they_may() {
    check("arrows between crates", &tree::files(), |file| file.path.ends_with("/Cargo.toml"), arrows::check);
}

#[test]
fn stages_of_the_engine_are_strangers() {
    let files = tree::files();
    check("stages are strangers", &files, |file| strangers::stage_of(&file.path).is_some(), strangers::check);
    assert_eq!(strangers::stale_exceptions(&files), [""; 0], "exceptions that are no longer needed");
}

#[test]
fn files_import_each_other_in_no_circle() {
    let files = tree::files();
    let found: Vec<String> = circles::circles(&files)
        .into_iter()
        .filter(|circle| !circles::is_accepted(circle))
        .map(|c| c.join(" "))
        .collect();
    assert!(found.is_empty(), "circles:\n  {}", found.join("\n  "));
    assert_eq!(circles::stale_exceptions(&files), [""; 0], "exceptions that are no longer needed");
}

#[test]
fn the_page_of_limits_is_what_the_sources_say() {
    limits::check(&tree::files());
}

#[test]
fn files_are_short() {
    check("file length", &tree::files(), is_rust, rules::file_length);
}

#[test]
fn functions_are_short() {
    check("function length", &tree::files(), is_rust, rules::function_length);
}

#[test]
fn unsafe_is_where_it_is_expected() {
    check("unsafe", &tree::files(), is_rust, rules::unsafe_code);
}

#[test]
fn sources_are_ascii() {
    check("ASCII", &tree::files(), |file| is_rust(file) || file.path.ends_with(".toml"), rules::ascii);
}

#[test]
fn files_say_what_they_are_for() {
    check("opening comment", &tree::files(), is_rust, rules::opening);
}

#[test]
fn nothing_is_left_for_later() {
    check("reminders", &tree::files(), |_| true, rules::reminders);
}

#[test]
fn the_tree_stands_alone() {
    check("references outside the tree", &tree::files(), |_| true, rules::outside);
}

#[test]
fn log_lines_are_for_people() {
    check("words of the source in log lines", &tree::files(), is_rust, rules::words_of_the_source);
}

#[test]
fn tests_neither_sleep_nor_fix_ports() {
    check("sleeps and fixed ports in tests", &tree::files(), is_rust, rules::tests_without_sleep_or_port);
}
