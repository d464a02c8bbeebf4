//! The clock of a node over the time of the world: it began at another moment and runs a little faster or slower.

use tailwater_engine::vocabulary::Nanos;

/// What a node reads instead of the world's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// What it shows when the world begins.
    pub offset: Nanos,
    /// Parts in a million by which it runs too fast.
    pub drift_ppm: i32,
}

impl Clock {
    /// What it shows at `now` of the world. It never goes back.
    #[must_use]
    pub fn read(&self, now: Nanos) -> Nanos {
        let gained = i128::from(now.0) * i128::from(self.drift_ppm) / 1_000_000;
        Nanos(u64::try_from(i128::from(self.offset.0) + i128::from(now.0) + gained).unwrap())
    }
}
