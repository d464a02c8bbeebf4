//! Finds which shapes are the same message: shapes of the same punctuation are split by the columns that tell messages
//! apart, until those left differ only in columns that vary.
//!
//! ```text
//!   session opened for user root        column 1 has few words: it tells messages apart
//!   session closed for user news        column 4 has many: it varies
//!   session opened for user guest  ...
//! ```
//! The outcome depends on the set of shapes alone, not on their order.

use super::token::{Kind, Token, tokens};
use std::collections::BTreeMap;
use std::hash::Hasher as _;

/// Words of a column up to which they tell messages apart. More than so many are values.
const TELLING_WORDS_MAX: usize = 4;

/// Id of a wildcard in a column.
const WILD: u32 = 0;

/// Shapes that are the same message, and what they have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) members: Vec<usize>,
    pub(super) shape: Vec<u8>,
}

/// What shapes have in common that may become one.
pub(super) fn skeleton(shape: &[u8], seed: u64) -> u64 {
    let mut hash = twox_hash::XxHash3_64::with_seed(seed);
    for token in tokens(shape) {
        hash.write_u8(u8::from(token.spaced));
        if token.is_structure() || token.kind == Kind::Named {
            hash.write(token.text);
        }
    }
    hash.finish()
}

/// Whether a general shape covers another of the same skeleton.
pub(super) fn covers(general: &[u8], shape: &[u8]) -> bool {
    tokens(general).zip(tokens(shape)).all(|(a, b)| a.kind == Kind::Wildcard || (a.kind == b.kind && a.text == b.text))
}

/// The classes of more than one shape. All shapes have the same skeleton.
pub(super) fn classes(shapes: &[&[u8]]) -> Vec<Class> {
    let split: Vec<Vec<Token<'_>>> = shapes.iter().map(|shape| tokens(shape).collect()).collect();
    let Some(width) = split.first().map(Vec::len) else { return Vec::new() };
    let columns: Vec<usize> = (0..width).filter(|at| !split[0][*at].is_structure()).collect();
    let mut ids: BTreeMap<(Kind, &[u8]), u32> = BTreeMap::new();
    let rows: Vec<Vec<u32>> = split
        .iter()
        .map(|row| {
            let id_of = |at: &usize| match row.get(*at) {
                None => WILD,
                Some(token) if token.kind == Kind::Wildcard => WILD,
                Some(token) => {
                    let next = u32::try_from(ids.len() + 1).unwrap_or(u32::MAX);
                    *ids.entry((token.kind, token.text)).or_insert(next)
                }
            };
            columns.iter().map(id_of).collect()
        })
        .collect();
    let mut found = Vec::new();
    // Others of another width are here by a collision of hashes.
    let members = (0..rows.len()).filter(|row| split[*row].len() == width).collect();
    let mut open = vec![Part { members, varies: vec![false; columns.len()] }];
    while let Some(part) = open.pop() {
        if part.members.len() < 2 {
            continue;
        }
        match part.next_split(&rows) {
            Some(column) => open.extend(part.split(&rows, column)),
            None => found.push(Class { shape: general(&split, &part.members), members: part.members }),
        }
    }
    found.sort_unstable_by(|a, b| a.shape.cmp(&b.shape));
    found
}

/// The shape of all: a wildcard where they differ.
fn general(split: &[Vec<Token<'_>>], members: &[usize]) -> Vec<u8> {
    let first = &split[members[0]];
    let mut shape = Vec::new();
    for (at, token) in first.iter().enumerate() {
        let same = members.iter().all(|row| split[*row][at].kind == token.kind && split[*row][at].text == token.text);
        let token = if same { *token } else { Token { kind: Kind::Wildcard, text: &[], ..*token } };
        token.put(&mut shape);
    }
    shape
}

/// Shapes that may be the same message.
struct Part {
    members: Vec<usize>,
    /// Columns that were seen to vary before it was split.
    varies: Vec<bool>,
}

/// What there is in a column of a part.
struct Column {
    at: usize,
    words: usize,
    has_wildcard: bool,
}

impl Part {
    fn columns(&self, rows: &[Vec<u32>]) -> Vec<Column> {
        let mut seen: Vec<u32> = Vec::with_capacity(self.members.len());
        (0..self.varies.len())
            .map(|at| {
                seen.clear();
                seen.extend(self.members.iter().map(|row| rows[*row][at]));
                seen.sort_unstable();
                seen.dedup();
                Column { at, words: seen.len(), has_wildcard: seen.first() == Some(&WILD) }
            })
            .collect()
    }

    /// The column that tells these apart; `None` where they are one message.
    fn next_split(&self, rows: &[Vec<u32>]) -> Option<usize> {
        let columns = self.columns(rows);
        let same = columns.iter().filter(|column| column.words == 1 && !column.has_wildcard).count();
        let differing: Vec<&Column> = columns.iter().filter(|column| column.words > 1).collect();
        let telling = differing
            .iter()
            .filter(|column| !self.varies[column.at] && !column.has_wildcard && column.words <= TELLING_WORDS_MAX)
            .min_by_key(|column| (column.words, column.at));
        if let Some(column) = telling {
            return Some(column.at);
        }
        // What a message begins with seldom varies, if it is a word.
        let starts = differing.first().is_some_and(|column| column.at == 0 && !column.has_wildcard);
        if same >= differing.len() + usize::from(starts) && same > 0 {
            return None;
        }
        // Too little in common: the column of the fewest words is taken for one that tells.
        differing.iter().min_by_key(|column| (column.has_wildcard, column.words, column.at)).map(|column| column.at)
    }

    /// One part for each word of a column.
    fn split(self, rows: &[Vec<u32>], column: usize) -> Vec<Self> {
        let columns = self.columns(rows);
        let same = columns.iter().filter(|column| column.words == 1 && !column.has_wildcard).count();
        let differing = columns.iter().filter(|column| column.words > 1).count();
        let mut varies = self.varies.clone();
        if same >= differing {
            for known in columns.iter().filter(|known| known.words > TELLING_WORDS_MAX && known.at != column) {
                varies[known.at] = true;
            }
        }
        let mut parts: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for row in self.members {
            parts.entry(rows[row][column]).or_default().push(row);
        }
        parts.into_values().map(|members| Self { members, varies: varies.clone() }).collect()
    }
}

#[cfg(test)]
mod tests;
