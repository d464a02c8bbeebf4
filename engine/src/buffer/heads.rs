//! What tracestates say of undecided traces: one entry for each trace with a span that has an `ot` member. There are at
//! most as many as undecided traces, and their rows take a part of what spans may take.

use crate::evidence::TraceHead;

/// The entries.
#[derive(Debug, Default)]
pub struct HeadTable {
    entries: Vec<TraceHead>,
    vacant: Vec<u32>,
    /// Bytes of all rows.
    row_bytes: usize,
}

/// The part of the arena's bound that rows may take: senders with different thresholds meet in few traces, and spans
/// are larger than what is known of them.
/// At the bound: a span counts as its neighbour; counted in `tailwater_threshold_levels_folded_spans_total`.
const ROWS_SHARE: usize = 4;

impl HeadTable {
    /// Adds an entry; returns its number.
    pub fn add(&mut self, head: TraceHead) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                debug_assert_eq!(head.row_bytes(), 0, "a new trace has one span");
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

    /// Changes the entry `number`. `change` is told whether it may add rows, where spans may take `arena_bytes_max`.
    pub fn change<T>(
        &mut self,
        number: u32,
        arena_bytes_max: usize,
        change: impl FnOnce(&mut TraceHead, bool) -> T,
    ) -> T {
        let head = &mut self.entries[number as usize];
        let others = self.row_bytes - head.row_bytes();
        let changed = change(head, self.row_bytes < arena_bytes_max / ROWS_SHARE);
        self.row_bytes = others + head.row_bytes();
        changed
    }

    /// Bytes of the entries and their rows.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<TraceHead>() + self.row_bytes
    }

    /// Gives the entry `number` back.
    pub fn free(&mut self, number: u32) {
        let head = std::mem::take(&mut self.entries[number as usize]);
        self.row_bytes -= head.row_bytes();
        self.vacant.push(number);
    }
}

#[cfg(test)]
mod tests {
    use crate::buffer::Buffer;
    use crate::buffer::arena::Arena;
    use crate::buffer::cold::ColdTable;
    use crate::buffer::envelope::EnvelopeTable;
    use crate::buffer::traces::TraceTable;
    use crate::rules::Rules;
    use crate::vocabulary::{SpanHead, SpanRecord, Unit};
    use tailwater_config::sampling::Sampling;

    const ARENA_BYTES: usize = 64 << 10;

    /// Merges a span of each of `levels` thresholds into each trace; returns how many of them had one of their own.
    fn merge(buffer: &mut Buffer, rules: &Rules, traces: &[u32], levels: u64) -> usize {
        let record = SpanRecord {
            trace_id: [0xff; 16],
            hash: 0,
            start_unix_nano: 1,
            end_unix_nano: 2,
            leaves: 0,
            offset: 0,
            length: 100,
            scope: 0,
            position: 0,
            head: 1,
            status: 1,
            is_root: false,
            is_random: false,
        };
        let mut exact = 0;
        for trace in traces {
            for level in 0..levels {
                let head = SpanHead { threshold: Some(level << 40), randomness: None };
                exact += usize::from(buffer.merge(*trace, rules, &record, &[], Some(&head)));
            }
        }
        exact
    }

    #[test]
    fn rows_take_a_part_of_the_arena_and_are_given_back() {
        let rules = Rules::compile(&Sampling::default()).unwrap();
        let traces = TraceTable::new(1000, rules.leaf_words() - 1);
        let arena = Arena::new(ARENA_BYTES, 4096);
        let mut buffer = Buffer::new(arena, ColdTable::new(0), EnvelopeTable::new([1; 4]), traces);
        let entries: Vec<u32> = (0..200).map(|_| buffer.traces.open([0xff; 16], 0, 0, 1)).collect();
        let exact = merge(&mut buffer, &rules, &entries, 8);
        assert!(
            (200..1600).contains(&exact),
            "{exact} of 1600 thresholds have a row: the first of each trace and some"
        );
        let largest_trace = 8 * size_of::<crate::evidence::Row>();
        assert!(
            buffer.heads.row_bytes <= ARENA_BYTES / super::ROWS_SHARE + largest_trace,
            "{}",
            buffer.heads.row_bytes
        );
        assert_eq!(buffer.bytes(), buffer.heads.bytes(), "they are counted where spans are");
        assert!(buffer.heads.bytes() > ARENA_BYTES / super::ROWS_SHARE);
        let scope = buffer.envelopes.intern(b"resource", b"scope");
        while buffer.append(entries[0], scope, Unit::NONE, &[7; 500]).is_ok() {}
        assert!(buffer.arena.bytes() > 0 && buffer.bytes() <= ARENA_BYTES, "{} bytes", buffer.bytes());
        let due = {
            let mut due = Vec::new();
            buffer.traces.expire(1, 1000, &mut due);
            due
        };
        buffer.release(&due, |_| {});
        assert_eq!((due.len(), buffer.heads.row_bytes), (200, 0));
        let next = buffer.traces.open([0xff; 16], 0, 0, 1);
        assert_eq!(merge(&mut buffer, &rules, &[next], 8), 8, "there is room again");
    }
}
