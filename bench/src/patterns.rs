//! `tailwater-load patterns`: lines of a file through the patterns of logs, in this process. Says how well they are grouped,
//! where the file says which lines are the same message, and how long it takes to count one.
//!
//! ```text
//! file = line*      line = service TAB message TAB text      \n, \t and \\ in the text stand for what they do in C
//! ```
//! A group is right when it has all lines of a message and no others. Grouping accuracy is the share of lines in such groups;
//! F1 of groups is the harmonic mean of the share of groups that are right and of messages that are found.

use crate::output::Line;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tailwater_proto::otlp::check::AnyValue;
use tailwater_rollup::patterns::{PatternInput, PatternSums, Patterns, PatternsPlan};

/// Options of `tailwater-load patterns`.
#[derive(Clone, Debug, clap::Args)]
pub struct PatternsOptions {
    /// Lines of service, message and text, with tabs between
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Time so many rounds, in each of which every line is counted once
    #[arg(long, default_value_t = 0)]
    pub rounds: u32,
    /// Show the messages that are not found, with what was found instead
    #[arg(long)]
    pub wrong: bool,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Of all tables: runs are the same.
const SEED: u64 = 1;
/// `SEVERITY_NUMBER_INFO`
const INFO: i32 = 9;
/// When all of it happens; nothing depends on it.
const TIME_UNIX_NANO: u64 = 1_760_000_000_000_000_000;
/// Messages that are shown at most.
const WRONG_SHOWN: usize = 40;

struct Entry {
    service: String,
    message: String,
    text: String,
}

impl Entry {
    fn input(&self) -> PatternInput<'_> {
        let body = Some(AnyValue::Text(self.text.as_bytes()));
        PatternInput { severity_number: INFO, severity_text: b"", body, time_unix_nano: TIME_UNIX_NANO }
    }
}

/// Groups the lines, and counts them again as often as is asked.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub fn run(options: &PatternsOptions) -> Result<Line, String> {
    let text = std::fs::read_to_string(&options.input)
        .map_err(|error| format!("cannot read {}: {error}", options.input.display()))?;
    let entries: Vec<Entry> = text.lines().enumerate().map(entry).collect::<Result<_, _>>()?;
    let found = patterns(&entries)?;
    let groups = Groups::of(&entries, &found);
    let time = timed(&entries, options.rounds)?;
    Ok(groups.line(&entries, &found, time, options))
}

fn entry((at, line): (usize, &str)) -> Result<Entry, String> {
    let mut parts = line.splitn(3, '\t');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(message), Some(text)) => {
            Ok(Entry { service: service.to_owned(), message: message.to_owned(), text: unescaped(text) })
        }
        _ => Err(format!("line {} is not service, message and text with tabs between", at + 1)),
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '\\' { characters.next() } else { None }) {
            (_, Some('n')) => out.push('\n'),
            (_, Some('t')) => out.push('\t'),
            (_, Some('\\')) => out.push('\\'),
            (_, Some(other)) => out.extend(['\\', other]),
            (character, None) => out.push(character),
        }
    }
    out
}

/// The pattern of each line.
fn patterns(entries: &[Entry]) -> Result<Vec<String>, String> {
    let plan = PatternsPlan::default();
    let mut tally = Patterns::new(&plan, SEED).map_err(|error| error.to_string())?;
    let mut sums = PatternSums::new(&plan, SEED).map_err(|error| error.to_string())?;
    for entry in entries {
        tally.count(entry.service.as_bytes(), &entry.input(), TIME_UNIX_NANO);
    }
    sums.merge(&tally.take());
    sums.cluster();
    Ok(entries
        .iter()
        .map(|entry| sums.pattern_of(entry.service.as_bytes(), &entry.input()).unwrap_or_default())
        .collect())
}

/// Time to count every line so many times.
fn timed(entries: &[Entry], rounds: u32) -> Result<Duration, String> {
    let mut tally = Patterns::new(&PatternsPlan::default(), SEED).map_err(|error| error.to_string())?;
    let start = Instant::now();
    for _ in 0..rounds {
        for entry in entries {
            tally.count(entry.service.as_bytes(), &entry.input(), TIME_UNIX_NANO);
        }
    }
    Ok(start.elapsed())
}

/// Lines by message and by what was found.
struct Groups<'a> {
    messages: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    found: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    right: HashSet<&'a str>,
    right_lines: usize,
    right_groups: usize,
}

impl<'a> Groups<'a> {
    fn of(entries: &'a [Entry], patterns: &'a [String]) -> Self {
        let mut groups = Self {
            messages: BTreeMap::new(),
            found: BTreeMap::new(),
            right: HashSet::new(),
            right_lines: 0,
            right_groups: 0,
        };
        for (at, (entry, pattern)) in entries.iter().zip(patterns).enumerate() {
            groups.messages.entry((&entry.service, &entry.message)).or_default().push(at);
            groups.found.entry((&entry.service, pattern)).or_default().push(at);
        }
        for lines in groups.found.values() {
            let entry = &entries[lines[0]];
            if groups.messages.get(&(entry.service.as_str(), entry.message.as_str())) == Some(lines) {
                groups.right.insert(&entry.message);
                groups.right_lines += lines.len();
                groups.right_groups += 1;
            }
        }
        groups
    }

    #[expect(clippy::cast_precision_loss, reason = "shares need no 53 bits")]
    fn line(&self, entries: &[Entry], found: &[String], time: Duration, options: &PatternsOptions) -> Line {
        let lines = entries.len().max(1);
        let accuracy = self.right_lines as f64 / lines as f64;
        let f1 = 2.0 * self.right_groups as f64 / (self.found.len() + self.messages.len()).max(1) as f64;
        let nanos = time.as_nanos() as f64 / (lines as f64 * f64::from(options.rounds.max(1)));
        let mut text = format!(
            "{} lines, {} messages, {} patterns: grouping accuracy {accuracy:.3}, F1 of groups {f1:.3}",
            entries.len(),
            self.messages.len(),
            self.found.len()
        );
        if options.rounds > 0 {
            text.push_str(&format!(", {nanos:.0} ns a line, {:.0} lines/s", 1e9 / nanos));
        }
        if options.wrong {
            let wrong = self.messages.iter().filter(|((_, message), _)| !self.right.contains(message));
            for ((_, message), lines) in wrong.take(WRONG_SHOWN) {
                text.push_str(&format!("\n{} lines: {message}\n    {}", lines.len(), found[lines[0]]));
            }
        }
        let json = json!({
            "lines": entries.len(),
            "messages": self.messages.len(),
            "patterns": self.found.len(),
            "grouping_accuracy": accuracy,
            "f1_of_groups": f1,
            "ns_per_line": if options.rounds > 0 { Some(nanos) } else { None },
        });
        Line { text, json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `unescaped` a trace in the file would be one line and no trace.
    #[test]
    fn groups_of_a_file_are_compared_with_its_messages() {
        let directory = std::env::temp_dir().join(format!("tailwater-patterns-{}", std::process::id()));
        std::fs::write(&directory, "a\t1\tuser 7 in\na\t1\tuser 8 in\na\t2\tdown\nb\t3\tX: y\\n\\tat f(a)\n").unwrap();
        let options = PatternsOptions { input: directory.clone(), rounds: 1, wrong: true, json: true };
        let line = run(&options).unwrap();
        std::fs::remove_file(&directory).unwrap();
        assert_eq!(line.json["grouping_accuracy"], 1.0);
        assert_eq!((&line.json["messages"], &line.json["patterns"]), (&json!(3), &json!(3)));
        assert!(line.json["ns_per_line"].as_f64().unwrap() > 0.0);
        assert_eq!(unescaped("a\\nb\\tc\\\\n\\d"), "a\nb\tc\\n\\d");
        assert!(entry((4, "no tabs")).err().unwrap().contains("line 5"));
    }

    #[test]
    fn a_group_that_is_not_a_message_is_wrong() {
        let entry =
            |message: &str, text: &str| Entry { service: "s".into(), message: message.into(), text: text.into() };
        let entries = [entry("1", "user 7 in"), entry("2", "user 8 in"), entry("3", "down")];
        let found = patterns(&entries).unwrap();
        let groups = Groups::of(&entries, &found);
        assert_eq!((groups.right_groups, groups.right_lines), (1, 1));
    }
}
