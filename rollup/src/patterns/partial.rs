//! What was counted since the last time, as it is handed to the sums and stored: postcard's form of these fields.
//!
//! ```text
//! Partial  services: texts*   rows: Row*   overflowed: number
//! Row      service: its place   severity   shape   merged   count   first   last   samples: texts*   values: (count, text)* *
//! ```

use super::row::{Row, SAMPLE_BYTES_MAX};
use super::severity::Severity;
use super::token::{VALUE_BYTES_MAX, WILDCARDS_MAX, is_shape};
use super::values::Values;
use super::{PatternsError, SAMPLES_MAX, VALUES_MAX};
use serde::{Deserialize, Serialize};

/// Patterns that were counted, to be added to sums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Partial {
    pub(super) services: Vec<Vec<u8>>,
    pub(super) rows: Vec<PartialRow>,
    pub(super) overflowed: u64,
}

/// A pattern that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartialRow {
    pub(super) service: u32,
    pub(super) severity: Severity,
    pub(super) shape: Vec<u8>,
    pub(super) merged: bool,
    pub(super) count: u64,
    pub(super) first_unix_nano: u64,
    pub(super) last_unix_nano: u64,
    pub(super) samples: Vec<Vec<u8>>,
    pub(super) values: Vec<Vec<(u64, Vec<u8>)>>,
}

/// As it is read, not looked at yet.
#[derive(Deserialize)]
struct Raw {
    services: Vec<Vec<u8>>,
    rows: Vec<PartialRow>,
    overflowed: u64,
}

impl TryFrom<Raw> for Partial {
    type Error = PatternsError;

    fn try_from(raw: Raw) -> Result<Self, PatternsError> {
        let Raw { services, rows, overflowed } = raw;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if !services.iter().all(|service| text(service)) {
            return Err(PatternsError::Service);
        }
        for row in &rows {
            if row.service as usize >= services.len() {
                return Err(PatternsError::Service);
            }
            if !is_shape(&row.shape) {
                return Err(PatternsError::Shape);
            }
            let sample_is_sound = |sample: &Vec<u8>| sample.len() <= SAMPLE_BYTES_MAX && text(sample);
            if row.samples.len() > SAMPLES_MAX || !row.samples.iter().all(sample_is_sound) {
                return Err(PatternsError::Samples);
            }
            let values_are_sound = |values: &Vec<(u64, Vec<u8>)>| {
                values.len() <= VALUES_MAX && values.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX)
            };
            if row.values.len() > WILDCARDS_MAX || !row.values.iter().all(values_are_sound) {
                return Err(PatternsError::Values);
            }
        }
        Ok(Self { services, rows, overflowed })
    }
}

impl PartialRow {
    pub(super) fn of(row: Row, service: u32, severity: Severity) -> Self {
        let told =
            |values: &Values| values.sorted().iter().map(|slot| (slot.count, slot.value.bytes().to_vec())).collect();
        Self {
            service,
            severity,
            shape: row.shape.into_vec(),
            merged: row.merged,
            count: row.count,
            first_unix_nano: row.first_unix_nano,
            last_unix_nano: row.last_unix_nano,
            samples: row.samples.into_iter().map(<[u8]>::into_vec).collect(),
            values: row.values.iter().map(told).collect(),
        }
    }
}

impl Partial {
    /// As it is stored.
    ///
    /// # Errors
    /// `Stored`.
    pub fn encode(&self) -> Result<Vec<u8>, PatternsError> {
        postcard::to_allocvec(self).map_err(|_| PatternsError::Stored)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// `Stored` where the bytes are not such, or are not sound.
    pub fn decode(bytes: &[u8]) -> Result<Self, PatternsError> {
        postcard::from_bytes(bytes).map_err(|_| PatternsError::Stored)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.overflowed == 0
    }

    /// The lines counted, of each service and severity.
    pub fn totals(&self) -> impl Iterator<Item = (&[u8], Severity, u64)> {
        self.rows.iter().filter_map(|row| {
            let service = self.services.get(row.service as usize)?;
            Some((service.as_slice(), row.severity, row.count))
        })
    }

    /// Lines whose pattern did not fit.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}
