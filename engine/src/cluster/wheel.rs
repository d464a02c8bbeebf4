//! The deadlines of a docket: a wheel of lists. An entry whose deadline moves is listed again; where it stood before it is
//! passed over when that comes up.

/// Slots of the wheel. With ticks of 10 ms one turn is 41 s; later deadlines stay in their slot for another turn.
const SLOTS: u32 = 4096;

/// Deadlines by tick.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The next tick to expire.
    cursor: u32,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], cursor: 0 }
    }

    /// Lists an entry; one whose deadline is past is due at once.
    pub(super) fn list(&mut self, entry: u32, deadline: u32) {
        let at = deadline.max(self.cursor);
        self.slots[(at % SLOTS) as usize].push(entry);
    }

    /// Up to `count_max` entries that are due at `tick` leave the wheel, into `out`. `deadline` says when an entry is due;
    /// `None` where nothing is any more. True when more may be due.
    pub(super) fn expire(
        &mut self,
        tick: u32,
        count_max: usize,
        deadline: impl Fn(u32) -> Option<u32>,
        out: &mut Vec<u32>,
    ) -> bool {
        if tick.saturating_sub(self.cursor) > SLOTS {
            self.cursor = tick - SLOTS;
        }
        while self.cursor <= tick {
            let slot = (self.cursor % SLOTS) as usize;
            let mut kept = 0;
            for at in 0..self.slots[slot].len() {
                let entry = self.slots[slot][at];
                let due = deadline(entry);
                let is_due = due.is_some_and(|due| due <= tick) && out.len() < count_max;
                // One turn later is in the same slot; what moved elsewhere is listed there.
                let stays = due.is_some_and(|due| due <= tick || due % SLOTS == self.cursor % SLOTS);
                if is_due {
                    out.push(entry);
                } else if stays {
                    self.slots[slot][kept] = entry;
                    kept += 1;
                }
            }
            self.slots[slot].truncate(kept);
            if out.len() >= count_max {
                return true;
            }
            self.cursor += 1;
        }
        false
    }

    /// The first entries that are due, whatever the time; they stay listed.
    pub(super) fn soonest(&self, deadline: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        (0..SLOTS).find_map(|ahead| {
            let at = self.cursor.wrapping_add(ahead);
            self.slots[(at % SLOTS) as usize].iter().copied().find(|entry| deadline(*entry).is_some())
        })
    }
}
