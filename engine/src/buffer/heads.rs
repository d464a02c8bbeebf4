//! What tracestates say of undecided traces: one entry for each trace with a span that has an `ot` member. There are at
//! most as many as undecided traces.

use crate::evidence::TraceHead;

/// The entries.
#[derive(Debug, Default)]
pub struct HeadTable {
    entries: Vec<TraceHead>,
    vacant: Vec<u32>,
}

impl HeadTable {
    /// Adds an entry; returns its number.
    pub fn add(&mut self, head: TraceHead) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                self.entries[number as usize] = head;
                number
            }
            None => {
                self.entries.push(head);
                // Traces have 32-bit numbers, and there are no more entries than traces.
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX - 1)
            }
        }
    }

    /// The entry `number`.
    #[must_use]
    pub fn get(&self, number: u32) -> &TraceHead {
        &self.entries[number as usize]
    }

    /// The entry `number`, to be changed.
    pub fn get_mut(&mut self, number: u32) -> &mut TraceHead {
        &mut self.entries[number as usize]
    }

    /// Gives the entry `number` back.
    pub fn free(&mut self, number: u32) {
        self.entries[number as usize] = TraceHead::default();
        self.vacant.push(number);
    }
}
