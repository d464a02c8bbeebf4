//! The stages of the engine do not know one another: only the shard joins them, and shared words are in the vocabulary.

use crate::code::{line_of, masked};
use crate::rules::Finding;
use crate::tree::File;

/// The stages, by the name of their module.
const STAGES: &[&str] = &["intake", "route", "log", "buffer", "judge", "decide", "cluster", "rollup", "export"];

/// Meetings that are accepted: the stage, the one it knows, and why.
const ACCEPTED: &[(&str, &str, &str)] =
    &[("intake", "route", "the intake asks the pure function that says which shard owns a trace")];

/// The stage that a file of the engine belongs to.
pub fn stage_of(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("engine/src/")?;
    STAGES.iter().copied().find(|stage| rest == format!("{stage}.rs") || rest.starts_with(&format!("{stage}/")))
}

/// Checks a file of a stage.
pub fn check(file: &File) -> Vec<Finding> {
    let Some(own) = stage_of(&file.path) else { return Vec::new() };
    let accepted = |other: &str| ACCEPTED.iter().any(|(stage, known, _)| *stage == own && *known == other);
    let meetings = meetings(file, own).into_iter().filter(|(_, other)| !accepted(other));
    meetings
        .map(|(line, other)| Finding::at(line, format!("{own} knows {other}; only shard.rs joins stages")))
        .collect()
}

/// Accepted meetings that no longer happen.
pub fn stale_exceptions(files: &[File]) -> Vec<String> {
    let happens = |stage: &str, other: &str| {
        files
            .iter()
            .filter_map(|file| stage_of(&file.path).map(|own| (file, own)))
            .any(|(file, own)| own == stage && meetings(file, own).iter().any(|(_, known)| *known == other))
    };
    let stale = ACCEPTED.iter().filter(|(stage, other, _)| !happens(stage, other));
    stale.map(|(stage, other, _)| format!("{stage} knows {other}")).collect()
}

/// Other stages that a file names, with the line.
fn meetings(file: &File, own: &str) -> Vec<(usize, &'static str)> {
    let masked = masked(&file.text);
    // A file directly in src/ reaches its siblings by `super`, too.
    let is_top = !file.path.trim_start_matches("engine/src/").contains('/');
    let mut found = Vec::new();
    let mut roots: Vec<(usize, &str)> = masked.match_indices("crate::").collect();
    if is_top {
        roots.extend(masked.match_indices("super::"));
    }
    for (at, root) in roots {
        // `pub(crate)` has no colons after it; `mycrate::` is another path.
        let before = masked[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
            continue;
        }
        for name in first_names(&masked[at + root.len()..]) {
            if let Some(stage) = STAGES.iter().copied().find(|stage| *stage == name && *stage != own) {
                found.push((line_of(&masked, at), stage));
            }
        }
    }
    found
}

/// The first names of a path: one, or those of a group in braces.
fn first_names(path: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![word(path)] };
    let mut names = vec![word(group)];
    let mut depth = 1;
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(word(&group[index + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[test]
fn a_meeting_is_found() {
    let meets = |path: &str, text: &str| check(&File { path: path.to_string(), text: text.to_string() }).len();
    assert_eq!(meets("engine/src/decide.rs", "use crate::vocabulary::X;\nuse crate::host::Y;\n"), 0);
    assert_eq!(meets("engine/src/decide.rs", "use crate::decide::tree::X;\n"), 0);
    assert_eq!(meets("engine/src/decide.rs", "use crate::buffer::X;\n"), 1);
    assert_eq!(meets("engine/src/decide/tree.rs", "fn f(x: &crate::export::Y) {}\n"), 1);
    assert_eq!(meets("engine/src/decide.rs", "use crate::{vocabulary::{A, export}, rollup::B, log};\n"), 2);
    assert_eq!(meets("engine/src/decide.rs", "use super::intake;\n"), 1);
    assert_eq!(meets("engine/src/decide/tree.rs", "use super::intake;\n"), 0);
    assert_eq!(meets("engine/src/decide.rs", "// use crate::buffer::X;\n"), 0);
    assert_eq!(meets("engine/src/shard.rs", "use crate::buffer::X;\n"), 0);
}
