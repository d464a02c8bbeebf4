//! Which crate of the workspace may use which. What is not listed is forbidden.

use crate::rules::Finding;
use crate::tree::File;

/// A crate by its directory, with the crates it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("ottl", &["proto"]),
    ("dial", &[]),
    ("config", &["ottl", "dial"]),
    ("hub", &["proto"]),
    ("rollup", &["proto"]),
    ("runtime", &[]),
    ("net", &["proto", "runtime"]),
    ("engine", &["proto", "ottl", "config", "rollup"]),
    ("connectors", &["engine", "proto", "config", "net"]),
    ("node", &["connectors", "engine", "rollup", "dial", "hub", "net", "runtime", "proto", "config"]),
    ("bench", &["engine", "rollup", "hub", "proto", "config", "net", "runtime"]),
    (
        "tests",
        &[
            "proto",
            "ottl",
            "dial",
            "config",
            "hub",
            "rollup",
            "runtime",
            "net",
            "engine",
            "connectors",
            "node",
            "bench",
        ],
    ),
];

/// Crates from outside that only one of ours may name, with the reason.
const BELONGS_TO: &[(&str, &str, &str)] = &[
    ("glommio", "runtime", "runtime hides it, so that it can be replaced"),
    ("io-uring", "runtime", "the kernel boundary is there"),
    ("hickory-resolver", "runtime", "runtime hides it, so that it can be replaced"),
    ("foca", "hub", "hub hides it, so that it can be replaced"),
];

/// Crates of ours whose package is not named after its directory.
fn directory_of(package: &str) -> Option<&str> {
    if package == "tailwater" { Some("node") } else { package.strip_prefix("tailwater-") }
}

/// Every dependency of a manifest, of any kind, with its line.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let last = section.rsplit('.').next().unwrap_or_default();
            inside = last.ends_with("dependencies");
            // [dependencies.name] is a dependency by itself.
            if let Some((parent, name)) = section.rsplit_once('.')
                && parent.ends_with("dependencies")
            {
                found.push((index + 1, name.trim_matches('"').to_string()));
            }
        } else if inside && !line.starts_with('#') {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '"')).collect();
            if !name.is_empty() {
                found.push((index + 1, name.trim_matches('"').to_string()));
            }
        }
    }
    found
}

/// Checks the manifest of a crate.
pub fn check(file: &File) -> Vec<Finding> {
    // The fuzz targets are a workspace of their own inside the tests and may use what tests may.
    let directory = file.path.trim_end_matches("/Cargo.toml").trim_end_matches("/fuzz");
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == directory) else {
        return vec![Finding::at(1, "a crate that the table of arrows does not know")];
    };
    let mut findings = Vec::new();
    for (line, package) in dependencies(&file.text) {
        if let Some(used) = directory_of(&package)
            && !allowed.contains(&used)
        {
            findings.push(Finding::at(line, format!("{directory} may not use {used}")));
        }
        for (outside, owner, reason) in BELONGS_TO {
            if package == *outside && directory != *owner {
                findings.push(Finding::at(line, format!("only {owner} may use {outside}: {reason}")));
            }
        }
    }
    findings
}

#[test]
fn a_wrong_arrow_is_found() {
    let manifest = |path: &str, text: &str| check(&File { path: path.to_string(), text: text.to_string() }).len();
    assert_eq!(manifest("engine/Cargo.toml", "[dependencies]\ntailwater-proto.workspace = true\nbytes = \"1\"\n"), 0);
    assert_eq!(manifest("engine/Cargo.toml", "[dependencies]\ntailwater-runtime.workspace = true\n"), 1);
    assert_eq!(manifest("engine/Cargo.toml", "[dev-dependencies]\ntailwater-tests = { path = \"../tests\" }\n"), 1);
    assert_eq!(manifest("net/Cargo.toml", "[dependencies.tailwater-engine]\nworkspace = true\n"), 1);
    assert_eq!(manifest("net/Cargo.toml", "[target.'cfg(unix)'.dependencies]\n\"glommio\" = \"0.9\"\n"), 1);
    assert_eq!(manifest("net/Cargo.toml", "[package]\ntailwater-engine = 1\n"), 0);
    assert_eq!(manifest("bench/Cargo.toml", "[dependencies]\ntailwater.workspace = true\n"), 1);
    assert_eq!(manifest("other/Cargo.toml", ""), 1);
}
