//! What edges count, by the names of their rows: it adds up in any order, and is stored.
//!
//! ```text
//! rows 4 | each: name's length 4, name, row (postcard: requests, first, client, server)
//! ```

use crate::rows::{self, Rows};
use crate::span_metrics::Durations;
use crate::span_metrics::sums::Duration;
use crate::telling::Counted;
use crate::windows::StateError;
use serde::{Deserialize, Serialize};

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
    rows: Rows<EdgeRow>,
}

impl EdgeSums {
    /// Adds to a row.
    pub(super) fn add(&mut self, name: &[u8], row: EdgeRow) {
        rows::add(&mut self.rows, name, row);
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

    pub(super) fn into_rows(self) -> Rows<EdgeRow> {
        self.rows
    }

    /// Appends all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        rows::write(&self.rows, out);
    }

    /// What `write` has written.
    ///
    /// # Errors
    /// `StateError::Damaged`: it was not.
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        rows::read(bytes).map(|rows| Self { rows })
    }
}
