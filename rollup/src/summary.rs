//! All that a node sums up, put together: what a core counts, what was counted in a window, and what leaves of it.
//!
//! ```text
//! summary as bytes:  each: kind 1, length 4, its bytes      kinds: 1 span metrics
//! ```

use crate::span_metrics;
use crate::windows::{Body, Counts, StateError};
use std::sync::Arc;

/// What is summed up.
#[derive(Debug, Clone, Default)]
pub struct SummaryPlan {
    /// Of spans.
    pub spans: Option<Arc<span_metrics::Plan>>,
}

impl SummaryPlan {
    /// Whether anything is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_none()
    }
}

/// What one core counts.
#[derive(Debug)]
pub struct Tallies {
    /// Of spans.
    pub spans: Option<span_metrics::Tally>,
}

impl Tallies {
    /// Nothing counted.
    #[must_use]
    pub fn new(plan: &SummaryPlan, seed: u64) -> Self {
        Self { spans: plan.spans.clone().map(|plan| span_metrics::Tally::new(plan, seed)) }
    }

    /// Adds what was counted since the last call.
    pub fn take_into(&mut self, summary: &mut Summary) {
        if let Some(spans) = &mut self.spans {
            spans.take_into(&mut summary.spans);
        }
    }
}

/// What was counted in a window.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Of spans.
    pub spans: span_metrics::Sums,
}

const KIND_SPANS: u8 = 1;

impl Counts for Summary {
    fn merge(&mut self, other: Self) {
        self.spans.merge(other.spans);
    }

    fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if !self.spans.is_empty() {
            put_part(out, KIND_SPANS, |out| self.spans.write(out));
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let (mut summary, mut rest) = (Self::default(), bytes);
        while let Some((kind, after)) = rest.split_first() {
            let (length, after) = after.split_first_chunk().ok_or(StateError::Damaged)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
            let (part, after) = after.split_at_checked(length).ok_or(StateError::Damaged)?;
            match *kind {
                KIND_SPANS => summary.spans.merge(span_metrics::Sums::read(part)?),
                _ => return Err(StateError::Damaged),
            }
            rest = after;
        }
        Ok(summary)
    }
}

fn put_part(out: &mut Vec<u8>, kind: u8, put: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// What leaves the node, with what was told before.
#[derive(Debug)]
pub struct Outputs {
    /// Of spans.
    pub spans: Option<span_metrics::Output>,
}

impl Outputs {
    /// Nothing told yet.
    #[must_use]
    pub fn new(plan: &SummaryPlan) -> Self {
        Self { spans: plan.spans.clone().map(span_metrics::Output::new) }
    }

    /// A window is over that came to `summary`. What leaves of it.
    pub fn emit(&mut self, summary: Summary, now_unix_nano: u64) -> Vec<Body> {
        let mut bodies = Vec::new();
        if let Some(spans) = &mut self.spans {
            bodies.extend(spans.emit(summary.spans, now_unix_nano));
        }
        bodies
    }
}
