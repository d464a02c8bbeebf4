//! What a tally has counted since it last gave it away, or all that sums know. Either can be merged into sums.
//!
//! ```text
//! as bytes (postcard):  since forgotten_until  n (key head emitted)*  n (key series)*  n (input trail)*  n (input state)*
//! ```

use super::inputs::{Input, Trail};
use super::series::{Head, Key, Series};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What has been counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricsPartial {
    /// Since when sums have counted; zero in what a tally tells.
    pub(super) since: u64,
    /// The time of the last value of an input that sums have forgotten.
    pub(super) forgotten_until: u64,
    /// Heads, and when their series were told last.
    pub(super) heads: Vec<(Key, Head, u64)>,
    /// What was added to series.
    pub(super) series: Vec<(Key, Series)>,
    /// Points of cumulative series, which are not added yet.
    pub(super) trails: Vec<(Key, Trail)>,
    /// What has been counted of cumulative series, which is among what was added.
    pub(super) inputs: Vec<(Key, Input)>,
}

/// Bytes that are no partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartialError {
    /// They cannot be read.
    #[error("the bytes are no partial of metrics")]
    Damaged,
    /// A series without a head, or with an amount of another kind.
    #[error("a series does not go with its head")]
    Series,
}

impl MetricsPartial {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.trails.is_empty() && self.inputs.is_empty()
    }

    /// Reads one.
    ///
    /// # Errors
    /// Any `PartialError`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PartialError> {
        let partial: Self = postcard::from_bytes(bytes).map_err(|_| PartialError::Damaged)?;
        if partial.is_sound() { Ok(partial) } else { Err(PartialError::Series) }
    }

    /// Writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail to be written.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    fn is_sound(&self) -> bool {
        let heads: super::table::ByKey<&Head> = self.heads.iter().map(|(key, head, _)| (*key, head)).collect();
        self.series.iter().all(|(_, series)| {
            let head = heads.get(&series.head);
            head.is_some_and(|head| series.amount.as_ref().is_none_or(|amount| head.kind.holds(amount)))
        })
    }
}
