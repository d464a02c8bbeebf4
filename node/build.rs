//! Tells a program (`tailwater`, `tailwater-load`) which commit it is built from: `TAILWATER_COMMIT`, or what git says, or "unknown".

use std::path::Path;
use std::process::Command;

/// Letters of a commit's hash that are shown.
const SHOWN: &str = "--short=12";

fn main() {
    println!("cargo::rerun-if-env-changed=TAILWATER_COMMIT");
    let given = std::env::var("TAILWATER_COMMIT").ok().filter(|commit| is_word(commit));
    let commit = given.or_else(|| git(&["rev-parse", SHOWN, "HEAD"])).unwrap_or_else(|| "unknown".to_string());
    println!("cargo::rustc-env=TAILWATER_COMMIT={commit}");
    // Built anew when another commit is checked out, or one is made.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    // From the package of either program.
    println!("cargo::rerun-if-changed=../node/build.rs");
}

/// What git prints; none without git or outside of a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_string();
    is_word(&text).then_some(text)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}
