//! Which shapes are one message.

use super::super::mask;
use super::super::token::{Shape, put_readable};
use super::*;
use proptest::prelude::*;

fn shape(line: &str) -> Vec<u8> {
    let mut shape = Shape::default();
    mask::plain(&mut shape, line.as_bytes());
    shape.finish().to_vec()
}

/// The classes of lines, as people read them.
fn merged(lines: &[&str]) -> Vec<(usize, String)> {
    let shapes: Vec<Vec<u8>> = lines.iter().map(|line| shape(line)).collect();
    let shapes: Vec<&[u8]> = shapes.iter().map(Vec::as_slice).collect();
    let readable = |class: &Class| {
        let mut out = Vec::new();
        put_readable(&mut out, &class.shape);
        (class.members.len(), String::from_utf8(out).unwrap())
    };
    classes(&shapes).iter().map(readable).collect()
}

const NAMES: [&str; 6] = ["ann", "ben", "cid", "dan", "eva", "fay"];

#[test]
fn few_words_tell_messages_apart_and_many_are_values() {
    let mut lines = Vec::new();
    for name in NAMES {
        lines.extend(["opened", "closed"].map(|word| format!("session {word} for user {name}")));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let expected = ["session closed for user <*>", "session opened for user <*>"].map(|text| (6, text.to_string()));
    assert_eq!(merged(&lines), expected);
    assert_eq!(merged(&lines[..2 * TELLING_WORDS_MAX]), [], "so few may be words");
}

/// Without `starts` in `next_split` these would be `<*> completed`.
#[test]
fn what_a_message_begins_with_seldom_varies() {
    let lines = NAMES.map(|name| format!("{name} completed"));
    assert_eq!(merged(&lines.each_ref().map(String::as_str)), []);
    let lines = NAMES.map(|name| format!("removed {name}"));
    assert_eq!(merged(&lines.each_ref().map(String::as_str)), [(6, "removed <*>".to_string())]);
}

#[test]
fn a_word_beside_a_wildcard_is_a_value() {
    assert_eq!(merged(&["read from localhost", "read from 10.0.0.1"]), [(2, "read from <*>".to_string())]);
}

#[test]
fn other_punctuation_is_another_skeleton() {
    for seed in 0..4 {
        let key = |line: &str| skeleton(&shape(line), seed);
        assert_eq!(key("a b: c"), key("x 17: z"));
        for other in ["a b c", "a b:c", "a b", "a b, c", "a b: c d", "a b: c."] {
            assert_ne!(key("a b: c"), key(other), "{other}");
        }
        // However many words there are.
        let keys: std::collections::BTreeSet<u64> = (1..20).map(|words| key(&"a ".repeat(words))).collect();
        assert_eq!(keys.len(), 19);
    }
}

proptest! {
    /// The order of shapes does not matter; every class covers its members, and no shape is in two.
    #[test]
    fn classes_depend_on_the_set_alone(words in prop::collection::vec("[a-h] [a-h] [a-h] [a-h]", 0..60).prop_shuffle()) {
        let mut sorted = words.clone();
        sorted.sort();
        sorted.dedup();
        let mut unique = words.clone();
        let mut seen = std::collections::BTreeSet::new();
        unique.retain(|line| seen.insert(line.clone()));
        let lines: Vec<&str> = unique.iter().map(String::as_str).collect();
        let other: Vec<&str> = sorted.iter().map(String::as_str).collect();
        prop_assert_eq!(merged(&lines), merged(&other));
        let shapes: Vec<Vec<u8>> = lines.iter().map(|line| shape(line)).collect();
        let shapes: Vec<&[u8]> = shapes.iter().map(Vec::as_slice).collect();
        let mut taken = std::collections::BTreeSet::new();
        for class in classes(&shapes) {
            for member in class.members {
                prop_assert!(covers(&class.shape, shapes[member]));
                prop_assert!(taken.insert(member));
            }
        }
    }
}
