//! Spans of undecided traces whose bytes were given up in memory: only their place in the log is kept, 16 bytes a
//! span, linked like fragments of the arena. When the trace is kept they are read from the log again.
//!
//! ```text
//! node   older fragment of the same trace: 8 bytes | segment u32 | unit u32
//! ```

use super::arena::Reference;
use crate::vocabulary::Unit;

/// One span.
#[derive(Debug, Clone, Copy)]
struct Node {
    older: Reference,
    unit: Unit,
}

/// Nodes allocated at once; they are reused and not given back, so that nothing is moved while the table grows.
const STEP_NODES: usize = 4096;

/// The nodes of one shard.
#[derive(Debug)]
pub struct ColdTable {
    steps: Vec<Vec<Node>>,
    vacant: Vec<u32>,
    nodes_max: usize,
    live: usize,
}

/// The table holds all it may. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdFull;

impl ColdTable {
    /// A table of at most `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { steps: Vec::new(), vacant: Vec::new(), nodes_max: bytes_max / size_of::<Node>(), live: 0 }
    }

    /// Bytes allocated: nodes in use and those to be used again.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.steps.len() * STEP_NODES * size_of::<Node>()
    }

    /// Spans in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// True when no span is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Most spans in it.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.nodes_max
    }

    /// Whether `count` more spans fit.
    #[must_use]
    pub fn has_room_for(&self, count: usize) -> bool {
        self.live + count <= self.nodes_max
    }

    /// Adds a span behind `older` of the same trace.
    ///
    /// # Errors
    /// `ColdFull`.
    pub fn add(&mut self, older: Reference, unit: Unit) -> Result<Reference, ColdFull> {
        if self.live >= self.nodes_max {
            return Err(ColdFull);
        }
        let node = Node { older, unit };
        let number = match self.vacant.pop() {
            Some(number) => {
                *self.node_mut(number).ok_or(ColdFull)? = node;
                number
            }
            None => {
                if self.steps.last().is_none_or(|step| step.len() == STEP_NODES) {
                    self.steps.push(Vec::with_capacity(STEP_NODES));
                }
                let steps = self.steps.len();
                let step = self.steps.last_mut().ok_or(ColdFull)?;
                step.push(node);
                u32::try_from((steps - 1) * STEP_NODES + step.len() - 1).map_err(|_| ColdFull)?
            }
        };
        self.live += 1;
        Ok(Reference::cold(number))
    }

    fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.steps.get_mut(number as usize / STEP_NODES)?.get_mut(number as usize % STEP_NODES)
    }

    /// The span's place in the log and the fragment before it.
    #[inline]
    #[must_use]
    pub fn get(&self, reference: Reference) -> (Unit, Reference) {
        let number = reference.cold_number() as usize;
        let node = &self.steps[number / STEP_NODES][number % STEP_NODES];
        (node.unit, node.older)
    }

    /// Gives back a node.
    pub fn release(&mut self, reference: Reference) {
        self.live -= 1;
        self.vacant.push(reference.cold_number());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::SegmentHandle;

    #[test]
    fn nodes_are_linked_bounded_and_reused() {
        let mut table = ColdTable::new(2 * size_of::<Node>());
        let unit = |number| Unit { segment: SegmentHandle::new(1, 2), number };
        let first = table.add(Reference::NONE, unit(7)).unwrap();
        let second = table.add(first, unit(8)).unwrap();
        assert!(table.add(second, unit(9)).is_err(), "the bound");
        assert_eq!(table.get(second), (unit(8), first));
        assert_eq!(table.get(first), (unit(7), Reference::NONE));
        table.release(first);
        let again = table.add(second, unit(9)).unwrap();
        assert_eq!(again, first, "the place of the released one");
        assert_eq!((table.len(), table.has_room_for(1)), (2, false));
    }
}
