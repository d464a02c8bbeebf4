//! What edges count, by the names of their rows: it adds up in any order, and is stored.
//!
//! ```text
//! rows 4 | each: name's length 4, name, row (postcard: requests, first, client, server)
//! ```

use crate::span_metrics::Durations;
use crate::span_metrics::sums::Duration;
use crate::telling::Counted;
use crate::windows::StateError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is counted of one edge, or of ends without another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeRow {
    /// Requests, or ends.
    pub requests: u64,
    /// When the first of them was counted, nanoseconds since the Unix epoch.
    pub first_unix_nano: u64,
    /// How long they took as the client and as the server sees it.
    pub client: Duration,
    pub server: Duration,
}

impl EdgeRow {
    /// Nothing counted; with durations where there are any.
    pub(super) fn new(durations: Option<&Durations>) -> Self {
        let duration = || durations.map_or(Duration::None, Duration::new);
        Self { requests: 0, first_unix_nano: u64::MAX, client: duration(), server: duration() }
    }

    pub(super) fn count(&mut self, weight: u64, now_unix_nano: u64) {
        self.requests = self.requests.saturating_add(weight);
        self.first_unix_nano = self.first_unix_nano.min(now_unix_nano);
    }

    /// Gives away what is counted and is empty.
    pub(super) fn take(&mut self) -> Self {
        Self {
            requests: std::mem::take(&mut self.requests),
            first_unix_nano: std::mem::replace(&mut self.first_unix_nano, u64::MAX),
            client: self.client.take(),
            server: self.server.take(),
        }
    }
}

impl Counted for EdgeRow {
    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.first_unix_nano = self.first_unix_nano.min(other.first_unix_nano);
        self.client.merge(&other.client);
        self.server.merge(&other.server);
    }

    fn first_unix_nano(&self) -> u64 {
        self.first_unix_nano
    }

    fn number(&self) -> u64 {
        self.requests
    }
}

/// All rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EdgeSums {
    rows: BTreeMap<Box<[u8]>, EdgeRow>,
}

impl EdgeSums {
    /// Adds to a row.
    pub(super) fn add(&mut self, name: &[u8], row: EdgeRow) {
        match self.rows.get_mut(name) {
            Some(known) => known.merge(&row),
            None => _ = self.rows.insert(name.into(), row),
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: Self) {
        other.rows.into_iter().for_each(|(name, row)| self.add(&name, row));
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn into_rows(self) -> BTreeMap<Box<[u8]>, EdgeRow> {
        self.rows
    }

    /// Appends all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(self.rows.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (name, row) in &self.rows {
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
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let (count, mut rest) = bytes.split_first_chunk().ok_or(StateError::Damaged)?;
        let mut sums = Self::default();
        for _ in 0..u32::from_le_bytes(*count) {
            let (length, after) = rest.split_first_chunk().ok_or(StateError::Damaged)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
            let (name, after) = after.split_at_checked(length).ok_or(StateError::Damaged)?;
            let (row, after) = postcard::take_from_bytes(after).map_err(|_| StateError::Damaged)?;
            sums.add(name, row);
            rest = after;
        }
        if rest.is_empty() { Ok(sums) } else { Err(StateError::Damaged) }
    }
}
