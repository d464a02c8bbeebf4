//! Rows by their names, as tallies have them: they add up in any order, and are stored.
//!
//! ```text
//! rows 4 | each: name's length 4, name, row (postcard)
//! ```

use crate::telling::Counted;
use crate::windows::StateError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Rows by their names.
pub type Rows<R> = BTreeMap<Box<[u8]>, R>;

/// Adds to a row.
pub fn add<R: Counted>(rows: &mut Rows<R>, name: &[u8], row: R) {
    match rows.get_mut(name) {
        Some(known) => known.merge(&row),
        None => _ = rows.insert(name.into(), row),
    }
}

/// Appends all of them.
pub fn write<R: Serialize>(rows: &Rows<R>, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (name, row) in rows {
        out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(name);
        // Writing to memory can't fail, nor do these types refuse to be written.
        let written = postcard::to_extend(row, std::mem::take(out));
        *out = written.unwrap_or_default();
    }
}

/// What `write` has written.
///
/// # Errors
/// `StateError::Damaged`: it was not.
pub fn read<R: Counted + DeserializeOwned>(bytes: &[u8]) -> Result<Rows<R>, StateError> {
    let (count, mut rest) = bytes.split_first_chunk().ok_or(StateError::Damaged)?;
    let mut rows = Rows::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (length, after) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
        let (name, after) = after.split_at_checked(length).ok_or(StateError::Damaged)?;
        let (row, after) = postcard::take_from_bytes(after).map_err(|_| StateError::Damaged)?;
        add(&mut rows, name, row);
        rest = after;
    }
    if rest.is_empty() { Ok(rows) } else { Err(StateError::Damaged) }
}
