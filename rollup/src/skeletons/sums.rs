//! The skeletons of a window, of one core or of all.

use super::SkeletonsPlan;
use super::emit;
use super::partial::{Counted, Partial, Shape};
use std::collections::BTreeMap;

/// Partials put together.
#[derive(Debug)]
pub struct SkeletonSums {
    shapes_max: usize,
    rows: BTreeMap<Shape, Counted>,
    overflow: Option<Counted>,
    overflowed: u64,
}

impl SkeletonSums {
    /// Nothing.
    #[must_use]
    pub fn new(plan: SkeletonsPlan) -> Self {
        Self { shapes_max: plan.shapes_max, rows: BTreeMap::new(), overflow: None, overflowed: 0 }
    }

    /// Adds what was counted. Which shapes are past the bound depends on the order, the totals do not.
    pub fn merge(&mut self, partial: Partial) {
        for (shape, row) in partial.rows {
            if let Some(known) = self.rows.get_mut(&shape) {
                known.merge(&row);
            } else if self.rows.len() < self.shapes_max {
                self.rows.insert(shape, row);
            } else {
                self.overflowed += row.traces;
                self.overflow.get_or_insert_default().merge(&row);
            }
        }
        if let Some(row) = &partial.overflow {
            self.overflow.get_or_insert_default().merge(row);
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.overflow.is_none()
    }

    /// Shapes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Traces that it has counted for the shape of what is past the bound.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// All of it, which stays.
    #[must_use]
    pub fn to_partial(&self) -> Partial {
        let rows = self.rows.iter().map(|(shape, row)| (shape.clone(), row.clone())).collect();
        Partial { rows, overflow: self.overflow.clone() }
    }

    /// All of it as requests of logs of about so many bytes, in the order of their shapes. Nothing is left.
    pub fn take_requests(&mut self, emitted_unix_nano: u64, request_bytes_max: usize) -> Vec<Vec<u8>> {
        let rows = std::mem::take(&mut self.rows);
        let known = rows.iter().map(|(shape, row)| (Some(shape), row));
        let overflow = self.overflow.take();
        let rows: Vec<_> = known.chain(overflow.iter().map(|row| (None, row))).collect();
        emit::requests(&rows, emitted_unix_nano, request_bytes_max)
    }

    /// Nothing is left.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.overflow = None;
    }
}
