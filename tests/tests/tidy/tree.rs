//! The files of the tree.

use std::path::{Path, PathBuf};

/// A file with its text.
pub struct File {
    /// Path from the root, with slashes.
    pub path: String,
    /// Its text; files that are not text are left out.
    pub text: String,
}

/// Directories that hold no sources of ours.
const FOREIGN: &[&str] = &["target", "node_modules", "__pycache__", "venv", "vendor"];
/// Kinds of files that are looked at.
const KINDS: &[&str] = &["rs", "toml", "md", "sh", "yaml", "yml", "py", "js"];
/// Deepest directory: more is a loop of links.
const DEPTH_MAX: usize = 16;

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the kinds looked at, and scripts without an ending, by path.
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    walk(&root(), "", 0, &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

fn walk(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<File>) {
    assert!(depth < DEPTH_MAX, "{} is nested too deeply", directory.display());
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if !name.starts_with('.') && !FOREIGN.contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), depth + 1, files);
            }
        } else if kind.is_file() && is_looked_at(&name, prefix) {
            let bytes = std::fs::read(entry.path()).unwrap();
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
    }
}

fn is_looked_at(name: &str, prefix: &str) -> bool {
    match name.rsplit_once('.') {
        Some((_, ending)) => KINDS.contains(&ending),
        // Verbs in scripts/ and perf/ have no ending.
        None => prefix.starts_with("scripts/") || prefix.starts_with("perf/"),
    }
}

#[test]
fn the_tree_is_found() {
    let files = files();
    let has = |path: &str| files.iter().any(|file| file.path == path);
    assert!(has("Cargo.toml") && has("tests/tests/tidy/tree.rs") && has("engine/src/lib.rs"));
    assert!(!files.iter().any(|file| file.path.starts_with("target/")));
}
