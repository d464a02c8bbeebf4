//! Where the records of a segment are, by unit and by time: one entry for each `INDEX_STEP_BYTES` of it. Units and times
//! both rise along a segment, so either is found by halving.

use super::format::BLOCK_BYTES;

/// Bytes of log from one entry of a segment's index to the next: reading one unit again costs about as much.
pub const INDEX_STEP_BYTES: u64 = 64 << 10;

#[derive(Debug, Clone, Copy)]
struct Step {
    first_unit: u32,
    offset: u64,
    unix_nano: u64,
}

/// The index of one segment.
#[derive(Debug, Default)]
pub struct Steps {
    steps: Vec<Step>,
    /// When its first and its last request came; 0 before there is one.
    first_unix_nano: u64,
    last_unix_nano: u64,
}

impl Steps {
    /// The next record has the units from `first_unit` on, was received then, and is behind `offset`.
    pub fn note(&mut self, first_unit: u32, offset: u64, unix_nano: u64) {
        let is_far = self.steps.last().is_none_or(|last| offset >= last.offset + INDEX_STEP_BYTES);
        if is_far {
            self.steps.push(Step { first_unit, offset, unix_nano });
        }
        if self.first_unix_nano == 0 {
            self.first_unix_nano = unix_nano;
        }
        self.last_unix_nano = self.last_unix_nano.max(unix_nano);
    }

    /// When the first request came, nanoseconds since 1970; 0 before.
    #[must_use]
    pub fn first_unix_nano(&self) -> u64 {
        self.first_unix_nano
    }

    /// When the last request came.
    #[must_use]
    pub fn last_unix_nano(&self) -> u64 {
        self.last_unix_nano
    }

    /// Where reading may start to find the record of `unit`.
    #[must_use]
    pub fn offset_before(&self, unit: u32) -> u64 {
        self.offset_at(self.steps.partition_point(|step| step.first_unit <= unit))
    }

    /// Where reading may start to find all that was received from `unix_nano` on.
    #[must_use]
    pub fn offset_since(&self, unix_nano: u64) -> u64 {
        // Of several that came at the same time all are meant.
        self.offset_at(self.steps.partition_point(|step| step.unix_nano < unix_nano))
    }

    fn offset_at(&self, after: usize) -> u64 {
        self.steps.get(after.wrapping_sub(1)).map_or(BLOCK_BYTES as u64, |step| step.offset)
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the strict comparison in `offset_since` requests that came in the same moment as a later step are missed.
    #[test]
    fn what_came_from_a_time_on_stands_behind_the_offset() {
        let mut steps = Steps::default();
        assert_eq!((steps.offset_before(7), steps.offset_since(7)), (4096, 4096));
        let records: Vec<(u32, u64, u64)> =
            (0..1000).map(|number| (number * 3, 4096 + u64::from(number) * 9000, 50 + u64::from(number / 7))).collect();
        records.iter().for_each(|(unit, offset, time)| steps.note(*unit, *offset, *time));
        assert_eq!((steps.first_unix_nano(), steps.last_unix_nano()), (50, 50 + 999 / 7));
        for time in 0..250 {
            let from = steps.offset_since(time);
            let first = records.iter().find(|(.., at)| *at >= time);
            assert!(first.is_none_or(|(_, offset, _)| from <= *offset), "{time}: {from} is behind {first:?}");
            let near = first.map_or(0, |(_, offset, _)| offset.saturating_sub(2 * INDEX_STEP_BYTES));
            assert!(from >= near, "{time}: {from} is far before {first:?}");
        }
        for (unit, offset, _) in &records {
            assert!(steps.offset_before(*unit) <= *offset && steps.offset_before(*unit) + 80_000 > *offset);
        }
    }
}
