//! Summaries follow the dial: longer windows, fewer series, coarser patterns. What they add up to is not the dial's business.

use super::{State, Summaries};
use tailwater_dial::Dial;
use tailwater_rollup::summary::Coarseness;

impl Summaries {
    /// Counts and tells as the dial says from now on.
    pub fn follow(&self, dial: &Dial) {
        let coarseness =
            Coarseness { drop_dimensions: dial.drop_dimensions.clone(), has_strong_masks: dial.has_strong_masks };
        let mut state = self.state.borrow_mut();
        let State { tallies, counting, first, .. } = &mut *state;
        tallies.coarsen(&coarseness, counting.open());
        if let Some(first) = first {
            first.outputs.coarsen(&coarseness);
        }
        self.widening.set(dial.window);
    }
}
