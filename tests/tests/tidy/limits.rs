//! The page of limits, `docs/limits.md`: every bound that is a constant of the sources, with its value and what its own
//! documentation says of it. Bounds that are knobs are in the page of the configuration.
//!
//! What happens at a bound stands in a sentence of its own, the last: `/// At the bound: the span is dropped; counted in ...`.
//! A constant that says so is a limit, whatever its name.

use crate::tree::{File, root};
use std::fmt::Write as _;

/// The crates, in the order in which a request passes them, and what their limits are about.
const CRATES: &[(&str, &str)] = &[
    ("config", "Reading the configuration"),
    ("net", "Connections, HTTP and compression"),
    ("connectors", "OTLP, exporters and files"),
    ("proto", "Wire formats"),
    ("ottl", "Conditions"),
    ("hub", "The cluster"),
    ("rollup", "Summaries"),
    ("dial", "Control"),
    ("engine", "Traces, policies and the log"),
    ("runtime", "The machine"),
    ("node", "The program"),
];

/// What a name of a bound ends with, its unit apart.
const ENDINGS: &[&str] = &["_MAX", "_TIMEOUT", "_PATIENCE"];

/// What the sentence begins with that says what happens.
const AT_THE_BOUND: &str = "At the bound: ";

const PAGE: &str = "docs/limits.md";
const WRITE: &str = "TAILWATER_WRITE_LIMITS";

const OPENING: &str = "# Limits\n\n\
What bounds tailwater, besides what is configured. A bound with a knob is in [configuration.md](configuration.md), with \
its default and range; what happens at the bounds of memory is told in [operations.md](operations.md). The bounds here are \
constants: large enough that nobody has met one by honest use. Whoever does should say so, and the bound becomes a knob. \
Where the column of what happens is empty, the bound itself says it.\n\n\
This page is made from the sources: `TAILWATER_WRITE_LIMITS=1 cargo test -p tailwater-tests --test tidy limits`.\n";

/// A bound.
struct Limit {
    name: String,
    path: String,
    value: String,
    says: String,
    at_the_bound: String,
}

/// The page as the sources have it.
fn page(files: &[File]) -> String {
    let mut page = String::from(OPENING);
    for (name, title) in CRATES {
        let prefix = format!("{name}/src/");
        let of_crate = files.iter().filter(|file| {
            file.path.starts_with(&prefix) && file.path.ends_with(".rs") && !file.path.contains("tests")
        });
        let limits: Vec<Limit> = of_crate.flat_map(limits).collect();
        if limits.is_empty() {
            continue;
        }
        write!(page, "\n## {title}\n\n| limit | value | what it bounds | at the bound | where |\n| --- | --- | --- | --- | --- |\n")
            .unwrap();
        for Limit { name, path, value, says, at_the_bound } in limits {
            assert!(
                !says.is_empty(),
                "{path}: {name} is a limit and does not say what it bounds: write a `///` line above it"
            );
            writeln!(page, "| `{name}` | {value} | {says} | {at_the_bound} | `{path}` |").unwrap();
        }
    }
    page
}

/// The bounds of a file. Constants within functions count too; those of its tests do not.
fn limits(file: &File) -> Vec<Limit> {
    let mut found = Vec::new();
    let mut says: Vec<&str> = Vec::new();
    let mut lines = file.text.lines().take_while(|line| line.trim() != "#[cfg(test)]" || !line.starts_with('#'));
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            says.push(text.trim());
            continue;
        }
        let declared = line.split_once("const ").filter(|(before, _)| before.is_empty() || before.starts_with("pub"));
        if let Some((name, _)) = declared.and_then(|(_, rest)| rest.split_once(':'))
            && (ENDINGS.iter().any(|ending| name.ends_with(ending))
                || says.iter().any(|line| line.contains(AT_THE_BOUND)))
            && !line.contains("HeaderName")
        {
            let mut declaration = line.to_string();
            while !declaration.ends_with(';') {
                let Some(more) = lines.next() else { break };
                declaration.push(' ');
                declaration.push_str(more.trim());
            }
            let value = declaration.split_once('=').map_or("", |(_, value)| value.trim().trim_end_matches(';'));
            let all = says.join(" ").replace('|', "\\|").replace("[`", "`").replace("`]", "`");
            let (says, at_the_bound) = all.split_once(AT_THE_BOUND).unwrap_or((&all, ""));
            found.push(Limit {
                name: name.to_string(),
                path: file.path.clone(),
                value: shown(name, value),
                says: says.trim().to_string(),
                at_the_bound: at_the_bound.trim().trim_end_matches('.').to_string(),
            });
        }
        says.clear();
    }
    found
}

/// A value as people read it: bytes with their unit, durations in words; what is neither as it stands.
fn shown(name: &str, value: &str) -> String {
    if let Some((unit, amount)) = value.split_once("::from_").and_then(|(_, call)| call.split_once('(')) {
        let amount = amount.trim_end_matches(')');
        let unit = match unit {
            "secs" => "s",
            "mins" => "min",
            "hours" => "h",
            "millis" => "ms",
            other => other,
        };
        return number(amount).map_or(format!("`{value}`"), |amount| format!("{amount} {unit}"));
    }
    let Some(amount) = number(value) else { return format!("`{}`", value.replace('|', "\\|")) };
    if name.contains("BYTES") && amount > 0 {
        for (unit, bytes) in [("GiB", 1_u128 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if amount.is_multiple_of(bytes) {
                return format!("{} {unit}", amount / bytes);
            }
        }
        return format!("{amount} bytes");
    }
    amount.to_string()
}

/// The value of a sum, product or shift of numbers.
fn number(text: &str) -> Option<u128> {
    let text = text.trim();
    let text = text
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
        .filter(|inner| !inner.contains('('))
        .unwrap_or(text);
    if let Some((left, right)) = text.rsplit_once(" - ") {
        return number(left)?.checked_sub(number(right)?);
    }
    if let Some((left, right)) = text.split_once(" << ") {
        return Some(number(left)? << number(right)?);
    }
    if let Some((left, right)) = text.split_once(" * ") {
        return number(left)?.checked_mul(number(right)?);
    }
    match text.rsplit("::").next()? {
        "KIB" => Some(1 << 10),
        "MIB" => Some(1 << 20),
        "GIB" => Some(1 << 30),
        digits => digits.replace('_', "").parse().ok(),
    }
}

/// The page says what the sources say; every limit in it says what it bounds.
pub fn check(files: &[File]) {
    let page = page(files);
    let path = root().join(PAGE);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == page,
        "{PAGE} is not what the sources say: {WRITE}=1 cargo test -p tailwater-tests --test tidy limits"
    );
}

#[test]
fn values_are_read_as_the_compiler_reads_them() {
    for (name, value, expected) in [
        ("A_BYTES_MAX", "4 << 20", "4 MiB"),
        ("A_BYTES_MAX", "16 * 1024", "16 KiB"),
        ("A_BYTES_MAX", "2 * super::MIB", "2 MiB"),
        ("A_BYTES_MAX", "(1 << 31) - 1", "2147483647 bytes"),
        ("A_MAX", "10_000", "10000"),
        ("A_TIMEOUT", "Duration::from_secs(5)", "5 s"),
        ("A_TIMEOUT", "Nanos::from_millis(4000)", "4000 ms"),
        ("A_MAX", "OTHER + 1", "`OTHER + 1`"),
    ] {
        assert_eq!(shown(name, value), expected, "{value}");
    }
}

#[test]
fn a_limit_is_found_with_what_it_says() {
    let text = "//! A.\n\n/// Most of\n/// it.\npub(super) const A_MAX: usize =\n    3 * 4;\n/// All.\n/// At the bound: it\n/// ends.\nconst C: u8 = 2;\n\n#[cfg(test)]\nmod tests {\n    const B_MAX: u8 = 1;\n}\n";
    let file = File { path: "net/src/a.rs".into(), text: text.into() };
    let page = page(&[file]);
    assert!(page.contains("| `A_MAX` | 12 | Most of it. |  | `net/src/a.rs` |") && !page.contains("B_MAX"), "{page}");
    assert!(page.contains("| `C` | 2 | All. | it ends | `net/src/a.rs` |"), "{page}");
}
