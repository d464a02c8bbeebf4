//! Files of different ideas do not import each other in circles: whoever reads one of them would have to read all. A file
//! and those below it in the tree are one idea.

use crate::code::masked;
use crate::tree::File;
use std::collections::{BTreeMap, BTreeSet};

/// Circles that are accepted, and why. ARCHITECTURE.md names those that a newcomer meets.
const ACCEPTED: &[(&[&str], &str)] = &[
    (
        &["ottl/src/evaluate.rs", "ottl/src/function.rs", "ottl/src/program.rs", "ottl/src/tree.rs"],
        "a tree has functions, of which each checks trees and is a part of programs that evaluate it",
    ),
    (
        &["ottl/src/functions/xml/select.rs", "ottl/src/functions/xml/value.rs"],
        "a path of XPath has conditions, whose values are what paths select",
    ),
    (&["bench/src/corpus/plan.rs", "bench/src/corpus/protobuf.rs"], "what is planned is as long as its encoding"),
];

type Imports<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Each circle: the files in it.
pub fn circles(files: &[File]) -> Vec<Vec<&str>> {
    let imports = imports(files);
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (*file, reached(&imports, file))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut found: Vec<Vec<&str>> = Vec::new();
    for file in imports.keys().filter(|file| reaches(file, file)) {
        if !found.iter().any(|circle| circle.contains(file)) {
            found.push(imports.keys().copied().filter(|other| reaches(file, other) && reaches(other, file)).collect());
        }
    }
    found
}

/// Whether the circle is one of those that are accepted.
pub fn is_accepted(circle: &[&str]) -> bool {
    ACCEPTED.iter().any(|(accepted, _)| *accepted == circle)
}

/// Accepted circles that are gone.
pub fn stale_exceptions(files: &[File]) -> Vec<String> {
    let circles = circles(files);
    let stale = ACCEPTED.iter().filter(|(accepted, _)| !circles.iter().any(|circle| circle == accepted));
    stale.map(|(accepted, _)| accepted.join(" ")).collect()
}

fn reached<'a>(imports: &Imports<'a>, from: &str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_string()]);
    while let Some(file) = next.pop() {
        for other in imports.get(file.as_str()).into_iter().flatten() {
            if seen.insert(*other) {
                next.push((*other).to_string());
            }
        }
    }
    seen
}

/// What each file of the program imports, without what stands above it in the tree.
fn imports(files: &[File]) -> Imports<'_> {
    let is_source = |path: &str| path.contains("/src/") && path.ends_with(".rs") && !path.contains("test");
    let sources: Vec<&File> = files.iter().filter(|file| is_source(&file.path)).collect();
    let modules: BTreeMap<Vec<String>, &str> =
        sources.iter().map(|file| (module(&file.path), file.path.as_str())).collect();
    let of = |file: &File| {
        let own = module(&file.path);
        let targets = paths(&masked(&file.text), &own);
        // Who imports something imports the idea that it is a part of.
        let parts = targets.iter().flat_map(|path| (1..=path.len()).map(|length| &path[..length]));
        parts.filter(|module| !own.starts_with(module)).filter_map(|module| modules.get(module).copied()).collect()
    };
    sources.iter().map(|file| (file.path.as_str(), of(file))).collect()
}

/// The module that a file is, its crate first.
fn module(path: &str) -> Vec<String> {
    let names = path.trim_end_matches(".rs").split('/').filter(|name| !matches!(*name, "src" | "lib" | "main"));
    names.map(str::to_string).collect()
}

/// The modules and names that a file names by a path from the crate's root or its own place.
fn paths(text: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in text.match_indices(root) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                continue;
            }
            let mut base: Vec<String> = if root == "crate::" { own[..1].to_vec() } else { own.to_vec() };
            let mut rest = &text[at..];
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            branches(rest.strip_prefix("crate::").unwrap_or(rest), &base, &mut found);
        }
    }
    found
}

/// Every path of a tree of them, such as `a::{b, c::{d, e}}`. Returns the text behind it.
fn branches<'a>(text: &'a str, base: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = branches(rest, base, found).trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
            if let Some(after) = rest.trim_start().strip_prefix('}') {
                return after;
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut path = base.to_vec();
    path.push(text[..end].to_string());
    match text[end..].strip_prefix("::") {
        Some(rest) if end > 0 => branches(rest, &path, found),
        _ => {
            found.push(path);
            &text[end..]
        }
    }
}

#[test]
fn a_circle_is_found() {
    let file = |path: &str, text: &str| File { path: path.to_string(), text: text.to_string() };
    let files = [
        file("engine/src/a.rs", "mod below;\nuse crate::b::{self, One};\nuse self::below::Two;\n"),
        file("engine/src/a/below.rs", "use super::Three;\nuse crate::a::Three;\n"),
        file("engine/src/b.rs", "use super::c::{d::{Four, Five}, Six};\n"),
        file("engine/src/c.rs", "fn of() -> crate::a::below::Two {}\n"),
    ];
    assert_eq!(circles(&files), [["engine/src/a.rs", "engine/src/b.rs", "engine/src/c.rs"]]);
    let straight =
        [&files[0], &files[1], &files[2]].map(|file| File { path: file.path.clone(), text: file.text.clone() });
    assert!(circles(&straight).is_empty());
}
