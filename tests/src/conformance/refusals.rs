//! What is refused: processors with something wrong in them, made from sound ones by small changes. The Collector is
//! started with each; it listens, or ends and says why.

use super::collector::is_accepted;
use super::{Scenario, engine, policies, recorded};
use fastrand::Rng;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;

/// The file among the recordings.
pub const FILE: &str = "refusals.jsonl.gz";

/// The processor of a seed, with something changed.
#[must_use]
pub fn processor(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed ^ 0xbad);
    let mut processor = policies::processor(&mut random);
    // Every second one has a change in a condition, when it has conditions.
    if random.bool() && change_condition(&mut random, &mut processor) {
        return processor;
    }
    let places = count(&processor);
    let mut place = random.usize(0..places);
    change_at(&mut random, &mut processor, &mut place);
    processor
}

/// Whether tailwater takes a processor.
///
/// # Errors
/// What it has against it.
pub fn takes(processor: &Value) -> Result<(), String> {
    let scenario = Scenario { name: String::new(), processor: processor.clone(), requests: Vec::new() };
    engine::sampling(&scenario).map(drop)
}

/// Where the two differ on purpose, and why; see `docs/collector-compatibility.md`.
#[must_use]
pub fn is_on_purpose(refusal: &str) -> bool {
    [
        // It would end at the first trace.
        "at least one of min_value and max_value",
        // A duration without a unit is nanoseconds there, and a negative one is none.
        "write a duration",
        "negative duration",
        // Less than nothing remembered is nothing there.
        "not a whole number of zero or more",
        // Sizes that no machine has, and half an entry.
        "out of bounds",
        "write a whole number, such as",
        // What is left of it in 32 bits is another number there.
        "write a whole number of 32 bits",
        // Converters that are left out.
        "is not supported",
    ]
    .iter()
    .any(|cause| refusal.contains(cause))
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Object(map) => map.values().map(count).sum(),
        Value::Array(list) => list.iter().map(count).sum(),
        _ => 0,
    }
}

/// Changes the value of that number, counted in order.
fn change_at(random: &mut Rng, value: &mut Value, place: &mut usize) -> bool {
    if *place == 0 {
        change(random, value);
        return true;
    }
    *place -= 1;
    match value {
        Value::Object(map) => map.values_mut().any(|value| change_at(random, value, place)),
        Value::Array(list) => list.iter_mut().any(|value| change_at(random, value, place)),
        _ => false,
    }
}

fn change(random: &mut Rng, value: &mut Value) {
    const WORDS: &[&str] =
        &["", "x", "not", "composite", "trace_flags", "ERROR", "error", "10s", "(", "*", "ignore", "5"];
    const NUMBERS: &[i64] = &[0, -1, 1, i64::MAX, 1 << 40];
    match value {
        Value::Object(map) if !map.is_empty() && random.bool() => {
            let key = map.keys().nth(random.usize(0..map.len())).cloned().unwrap_or_default();
            let inner = map.remove(&key).unwrap_or_default();
            if random.bool() {
                map.insert(format!("{key}_"), inner);
            }
        }
        Value::Array(list) if !list.is_empty() && random.bool() => {
            let again = list[random.usize(0..list.len())].clone();
            list.push(again);
        }
        _ => {
            *value = match random.u8(0..7) {
                0 => Value::Null,
                1 => json!(random.bool()),
                2 => json!(NUMBERS[random.usize(0..NUMBERS.len())]),
                3 => json!(0.5),
                4 => json!([]),
                5 => json!({}),
                _ => json!(WORDS[random.usize(0..WORDS.len())]),
            }
        }
    }
}

/// Changes one condition; false when there is none.
fn change_condition(random: &mut Rng, processor: &mut Value) -> bool {
    let mut conditions = Vec::new();
    find_conditions(processor, &mut conditions);
    if conditions.is_empty() {
        return false;
    }
    let number = random.usize(0..conditions.len());
    if let Value::String(text) = &mut *conditions[number] {
        for _ in 0..random.usize(1..3) {
            change_text(random, text);
        }
    }
    true
}

fn find_conditions<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if !matches!(key.as_str(), "span" | "spanevent") {
                    find_conditions(value, found);
                } else if let Value::Array(list) = value {
                    found.extend(list);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| find_conditions(value, found)),
        _ => {}
    }
}

fn change_text(random: &mut Rng, text: &mut String) {
    const PIECES: &[&str] = &[
        "(", ")", "[", "]", "\"", ",", ".", "=", "<", "!", "+", "-", "*", "/", " and ", " or ", " not ", " nil ",
        "true", "0", "1", "0x", "1.5", "a", "A", "{", "}", "span.", "IsMatch(", "KIND", ":", "resource", " ", "\\",
        "==", "_", "1e3",
    ];
    let characters: Vec<char> = text.chars().collect();
    let at = random.usize(0..=characters.len());
    let until = (at + random.usize(0..3)).min(characters.len());
    let piece = if random.u8(0..3) == 0 { "" } else { PIECES[random.usize(0..PIECES.len())] };
    let before: String = characters[..at].iter().collect();
    let after: String = characters[until..].iter().collect();
    *text = format!("{before}{piece}{after}");
}

/// Starts a Collector for each processor.
#[must_use]
pub fn play_collector(binary: &Path, processors: &[Value]) -> Vec<bool> {
    processors.iter().map(|processor| is_accepted(binary, processor)).collect()
}

/// Writes what was taken.
///
/// # Panics
/// When it can't be written.
pub fn write(path: &Path, all: &[(Value, bool)]) {
    let mut encoder = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::best());
    writeln!(encoder, "{}", json!({"collector": recorded::COLLECTOR_VERSION})).unwrap();
    for (processor, is_accepted) in all {
        writeln!(encoder, "{}", json!({"processor": processor, "accepted": is_accepted})).unwrap();
    }
    encoder.finish().unwrap();
}

/// Reads what was taken.
///
/// # Panics
/// When it is no such file, or of another version.
#[must_use]
pub fn read(path: &Path) -> Vec<(Value, bool)> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap()["collector"], recorded::COLLECTOR_VERSION);
    lines.map(|line| (line["processor"].clone(), line["accepted"].as_bool().unwrap())).collect()
}

/// One line for each processor that only one of the two takes, but for those that differ on purpose.
#[must_use]
pub fn differences(all: &[(Value, bool)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (processor, is_accepted) in all {
        match (takes(processor), is_accepted) {
            // Nothing behind a key is its default here, whatever the key.
            (Ok(()), false) if !processor.to_string().contains(":null") => {
                lines.push(format!("only tailwater takes {processor}"))
            }
            (Err(refusal), true) if !is_on_purpose(&refusal) => {
                lines.push(format!("only the Collector takes {processor}\n  {refusal}"));
            }
            _ => {}
        }
    }
    lines
}
