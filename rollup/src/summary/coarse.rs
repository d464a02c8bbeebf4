//! Summaries made coarser for a time, and as they were again. What is counted and what it adds up to stays the same: only
//! which series and patterns it counts for is another matter.

use super::{LogTally, Outputs, Summary, Tallies};

/// How much coarser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coarseness {
    /// Span metrics are without these attributes; `*` is all further dimensions.
    pub drop_dimensions: Vec<String>,
    /// Patterns of logs are shorter, without samples and values.
    pub has_strong_masks: bool,
}

impl Tallies {
    /// What comes from now on is counted as coarsely as that. What was counted before goes into `summary`, that of the open
    /// window.
    pub fn coarsen(&mut self, coarseness: &Coarseness, summary: &mut Summary) {
        if let Some(spans) = &mut self.spans.metrics {
            spans.leave_out(&coarseness.drop_dimensions, &mut summary.spans);
        }
        if let Some(LogTally { tally, .. }) = &mut self.logs {
            tally.set_strong(coarseness.has_strong_masks);
        }
    }
}

impl Outputs {
    /// While series are fewer, those that nothing comes for any more are not told again and again.
    pub fn coarsen(&mut self, coarseness: &Coarseness) {
        if let Some(spans) = &mut self.spans {
            spans.tell_idle(coarseness.drop_dimensions.is_empty());
        }
    }
}
