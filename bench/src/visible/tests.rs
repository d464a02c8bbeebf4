//! Kinds of lines are told apart and known again in their patterns, and what is lost is found.

use super::*;
use crate::corpus::logs::FAMILIES;

#[test]
fn a_kind_of_line_is_known_again_in_a_line_and_in_its_pattern() {
    let template = "request GET /api/v1/products/# took % ms";
    for line in ["request GET /api/v1/products/812 took 3.4 ms", "request GET <*> took <num> ms"] {
        assert_eq!(literal_words(line), literal_words(template));
    }
    // A pattern of two kinds at once is neither.
    assert_ne!(literal_words("<*> GET <*> took <num> ms"), literal_words(template));
}

#[test]
fn the_kinds_of_lines_of_the_corpus_differ() {
    let kinds: BTreeSet<_> = FAMILIES.iter().map(|((_, severity), line)| (severity, literal_words(line))).collect();
    assert_eq!(kinds.len(), FAMILIES.len());
}

#[test]
fn lines_of_a_file_come_back_and_what_was_not_seen_is_named() {
    let mut wanted = Visible::default();
    for kind in Kind::ALL {
        wanted.see(kind, "cart", "a name of words");
    }
    let mut read = Visible::default();
    for line in wanted.lines() {
        read.add_line(line.strip_prefix("see ").unwrap()).unwrap();
    }
    assert_eq!(read, wanted);
    assert_eq!(read.add_line("nothing cart x"), None);
    assert_eq!(read.add_line("route cart"), None);

    let mut seen = Visible::default();
    seen.see(Kind::Route, "cart", "a name of words");
    let judgement = seen.judge(&wanted);
    assert_eq!((judgement.missing, judgement.demanded), (5, [1; 6]));
    assert!(!judgement.is_clean() && judgement.listed.contains(&"line cart a name of words".to_owned()));
    assert!(wanted.judge(&wanted).is_clean());
}
