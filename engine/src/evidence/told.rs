//! Evidence as nodes tell it one another: to the wire's form and back. What was gathered under other rules keeps its
//! numbers; its leaves and keys mean nothing here.

use super::head::{Row, TraceHead};
use super::{Gathered, Part, Size, Summary};
use tailwater_proto::cluster::evidence::{Facts, Head};

/// What spans say, in place of what is in `out`.
pub fn tell(part: Part<'_>, out: &mut Facts) {
    let Summary { start_unix_nano, end_unix_nano, leaves, status, root_seen, is_random } = *part.seen;
    out.words.clear();
    out.words.push(leaves);
    out.words.extend_from_slice(part.more);
    let last = out.words.iter().rposition(|word| *word != 0);
    out.words.truncate(last.map_or(0, |last| last + 1));
    *out = Facts {
        start_unix_nano,
        end_unix_nano,
        status,
        root_seen,
        is_random,
        spans: part.size.spans,
        bytes: part.size.bytes,
        words: std::mem::take(&mut out.words),
    };
}

/// What tracestates say.
#[must_use]
pub fn tell_head(head: &TraceHead) -> Box<Head> {
    let rows = head.rows.iter().map(|row| {
        let mut facts = Facts::default();
        tell(Part { seen: &row.seen, size: row.size, more: &row.more }, &mut facts);
        (row.level, facts)
    });
    Box::new(Head {
        randomness: head.randomness,
        level: head.level,
        has_threshold: head.has_threshold,
        coarse: u8::try_from(head.coarse).unwrap_or(u8::MAX),
        rows: rows.collect(),
    })
}

/// What was told, for rules with `words_more` words past the first leaves; without leaves and keys where it was told under
/// other rules.
#[must_use]
pub fn hear(facts: &Facts, head: Option<&Head>, words_more: usize, has_words: bool) -> Gathered {
    let (seen, more) = heard(facts, words_more, has_words);
    let size = Size { spans: facts.spans, bytes: facts.bytes };
    let head = head.map(|head| Box::new(hear_head(head, words_more, has_words)));
    Gathered { seen, size, more, head }
}

fn heard(facts: &Facts, words_more: usize, has_words: bool) -> (Summary, Box<[u64]>) {
    let words: &[u64] = if has_words { &facts.words } else { &[] };
    let mut more: Box<[u64]> = vec![0; words_more].into();
    more.iter_mut().zip(words.iter().skip(1)).for_each(|(place, word)| *place = *word);
    let seen = Summary {
        start_unix_nano: facts.start_unix_nano,
        end_unix_nano: facts.end_unix_nano,
        leaves: words.first().copied().unwrap_or(0),
        status: facts.status,
        root_seen: facts.root_seen,
        is_random: facts.is_random,
    };
    (seen, more)
}

fn hear_head(head: &Head, words_more: usize, has_words: bool) -> TraceHead {
    let row = |(level, facts): &(u64, Facts)| {
        let (seen, more) = heard(facts, words_more, has_words);
        Row { level: *level, seen, size: Size { spans: facts.spans, bytes: facts.bytes }, more }
    };
    let mut rows: Vec<Row> = head.rows.iter().map(row).collect();
    // Whoever sent it: rows are in the order of their thresholds, each once.
    rows.sort_by_key(|row| row.level);
    rows.dedup_by_key(|row| row.level);
    TraceHead {
        randomness: head.randomness,
        level: head.level,
        has_threshold: head.has_threshold,
        coarse: u32::from(head.coarse.min(63)),
        rows,
    }
}

impl Gathered {
    /// Rules have changed: leaves and keys mean nothing any more, and there is room for others.
    pub fn forget_words(&mut self, words_more: usize) {
        self.seen.leaves = 0;
        self.more = vec![0; words_more].into();
        for row in self.head.iter_mut().flat_map(|head| &mut head.rows) {
            row.seen.leaves = 0;
            row.more = vec![0; words_more].into();
        }
    }
}
