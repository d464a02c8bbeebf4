//! Patterns of a corpus of 27 services: right groups, the same whichever core saw which line, in little memory.
//!
//! `lines.tsv` has a service, the number of the message it is an instance of, and the text, with `\n` and `\t` for what they
//! stand for.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tailwater_proto::otlp::check::AnyValue;
use tailwater_rollup::patterns::{PatternInput, PatternSums, Patterns, PatternsPartial, PatternsPlan, Severity};

const LINES: &str = include_str!("lines.tsv");
const SEED: u64 = 7;

struct Line {
    service: &'static [u8],
    message: &'static str,
    text: String,
}

fn corpus() -> Vec<Line> {
    let line = |line: &'static str| {
        let mut parts = line.splitn(3, '\t');
        let (service, message, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        Line { service: service.as_bytes(), message, text: text.replace("\\n", "\n").replace("\\t", "\t") }
    };
    LINES.lines().map(line).collect()
}

fn input(text: &str) -> PatternInput<'_> {
    let body = Some(AnyValue::Text(text.as_bytes()));
    PatternInput { severity_number: 9, severity_text: b"", body, time_unix_nano: 5 }
}

fn tally(lines: &[&Line]) -> PatternsPartial {
    let mut patterns = Patterns::new(&PatternsPlan::default(), SEED).unwrap();
    lines.iter().for_each(|line| patterns.count(line.service, &input(&line.text), 1));
    assert_eq!(patterns.overflowed(), 0);
    patterns.take()
}

fn sums(partials: &[PatternsPartial]) -> PatternSums {
    let mut sums = PatternSums::new(&PatternsPlan::default(), SEED).unwrap();
    partials.iter().for_each(|partial| sums.merge(partial));
    sums.cluster();
    sums
}

fn totals(partial: &PatternsPartial) -> BTreeMap<(Vec<u8>, Severity), u64> {
    let mut totals = BTreeMap::new();
    for (service, severity, count) in partial.totals() {
        *totals.entry((service.to_vec(), severity)).or_default() += count;
    }
    totals
}

/// Share of the lines that are in a group which is exactly a message, and the F1 of groups that are.
fn accuracy(lines: &[Line], found: &[String]) -> (f64, f64) {
    let mut messages: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut groups: BTreeMap<(&[u8], &str), BTreeSet<usize>> = BTreeMap::new();
    for (at, (line, pattern)) in lines.iter().zip(found).enumerate() {
        messages.entry(line.message).or_default().insert(at);
        groups.entry((line.service, pattern)).or_default().insert(at);
    }
    let right: Vec<&BTreeSet<usize>> =
        groups.values().filter(|group| messages.values().any(|message| message == *group)).collect();
    let lines_right: usize = right.iter().map(|group| group.len()).sum();
    let f1 = 2.0 * right.len() as f64 / (groups.len() + messages.len()) as f64;
    (lines_right as f64 / lines.len() as f64, f1)
}

/// Without the clustering of `PatternSums::cluster` names of users and hosts make groups of their own, and this fails.
#[test]
fn lines_are_grouped_by_their_messages() {
    let lines = corpus();
    let sums = sums(&[tally(&lines.iter().collect::<Vec<_>>())]);
    let found: Vec<String> =
        lines.iter().map(|line| sums.pattern_of(line.service, &input(&line.text)).unwrap()).collect();
    let (grouping_accuracy, f1) = accuracy(&lines, &found);
    assert!(grouping_accuracy >= 0.95, "grouping accuracy {grouping_accuracy}");
    assert!(f1 >= 0.90, "F1 of groups {f1}");
    assert_eq!(sums.counts().0, lines.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However lines are spread over cores, and in whatever order partials come, sums are the same.
    #[test]
    fn any_split_gives_the_same(cores in prop::collection::vec(0..4usize, 1200), order in Just(vec![0usize, 1, 2, 3]).prop_shuffle()) {
        let lines = corpus();
        let whole = sums(&[tally(&lines.iter().collect::<Vec<_>>())]);
        let mut split: Vec<Vec<&Line>> = vec![Vec::new(); 4];
        for (line, core) in lines.iter().zip(cores.iter().cycle()) {
            split[*core].push(line);
        }
        let partials: Vec<PatternsPartial> = order.iter().map(|core| tally(&split[*core])).collect();
        let merged = sums(&partials);
        prop_assert_eq!(totals(&merged.to_partial()), totals(&whole.to_partial()));
        let patterns = |sums: &PatternSums| -> Vec<String> {
            lines.iter().map(|line| sums.pattern_of(line.service, &input(&line.text)).unwrap()).collect()
        };
        prop_assert_eq!(patterns(&merged), patterns(&whole));
        prop_assert_eq!(merged.counts(), whole.counts());
    }

    /// What is stored in between is counted as if it had not been.
    #[test]
    fn sums_that_were_stored_are_the_same(cut in 0..400usize) {
        let lines = corpus();
        let (first, second) = lines.split_at(cut);
        let (first, second) = (tally(&first.iter().collect::<Vec<_>>()), tally(&second.iter().collect::<Vec<_>>()));
        let stored = sums(std::slice::from_ref(&first)).to_partial().encode().unwrap();
        let read = PatternsPartial::decode(&stored).unwrap();
        let again = sums(&[read, second.clone()]);
        let direct = sums(&[first, second]);
        prop_assert_eq!(totals(&again.to_partial()), totals(&direct.to_partial()));
        prop_assert_eq!(again.counts(), direct.counts());
    }

    /// Damage is an error, or harmless.
    #[test]
    fn damaged_partials_are_no_panic(at in any::<prop::sample::Index>(), byte: u8, length in any::<prop::sample::Index>()) {
        let lines = corpus();
        let mut bytes = tally(&lines[..60].iter().collect::<Vec<_>>()).encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if byte.is_multiple_of(3) {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(partial) = PatternsPartial::decode(&bytes) {
            let mut sums = sums(&[partial.clone(), partial]);
            sums.take_requests(9, 1 << 20);
            sums.to_partial().encode().unwrap();
        }
    }
}

/// Lines that have nothing in common: memory stays in its bound, every line is counted, and what did not fit is told.
#[test]
fn random_text_stays_within_its_memory() {
    let plan = PatternsPlan { bytes_max: 256 << 10, ..PatternsPlan::default() };
    let mut patterns = Patterns::new(&plan, SEED).unwrap();
    let mut sums = PatternSums::new(&plan, SEED).unwrap();
    let mut state = 1u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (0..3 + (state >> 60)).map(|at| char::from(b'a' + ((state >> (at * 3 + 7)) % 26) as u8)).collect::<String>()
    };
    let mut counted = 0;
    for window in 0..3 {
        for line in 0..20_000 {
            let text: Vec<String> = (0..1 + line % 17).map(|_| word()).collect();
            patterns.count(word().as_bytes().split_at(1).0, &input(&text.join(" = (")), 1);
            counted += 1;
            assert!(patterns.bytes() <= plan.bytes_max, "window {window}, line {line}");
        }
        assert!(patterns.overflowed() > 0);
        sums.merge(&patterns.take());
        assert!(sums.bytes() <= plan.bytes_max);
    }
    assert_eq!(sums.counts().0, counted);
    assert!(sums.overflowed() > 0);
    assert!(!sums.take_requests(9, 1 << 20).is_empty());
    assert_eq!(sums.counts().0, 0);
}

/// What was seen to vary still does in the next window, however few lines there are; `IDLE_WINDOWS_MAX` later it is gone.
#[test]
fn shapes_are_remembered_from_window_to_window() {
    let names = ["ann", "ben", "cid", "dan", "eva", "fay"];
    let mut sums = PatternSums::new(&PatternsPlan::default(), SEED).unwrap();
    let line = |name: &str| Line { service: b"s", message: "", text: format!("session of {name} opened") };
    let lines = names.map(line);
    sums.merge(&tally(&lines.iter().collect::<Vec<_>>()));
    sums.take_requests(9, 1 << 20);
    sums.merge(&tally(&[&line("gus"), &line("hal")]));
    sums.cluster();
    assert_eq!(sums.counts(), (2, 1));
    assert_eq!(sums.pattern_of(b"s", &input("session of ida opened")).as_deref(), Some("session of <*> opened"));
    for _ in 0..62 {
        sums.take_requests(9, 1 << 20);
    }
    assert_eq!(sums.pattern_of(b"s", &input("session of ida opened")), None);
}
