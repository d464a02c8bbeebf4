//! The two clocks: one that never goes back, for intervals and deadlines, and the wall clock, for time stamps.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The origin of [`monotonic_nanos`]: the first call in this process.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call in this process. Never goes back; the same origin on every core.
///
/// Starts at 1, not at 0, so that 0 is free to mean "never".
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let origin = *ORIGIN.get_or_init(Instant::now);
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Nanoseconds since the Unix epoch, UTC. Follows the wall clock, so it may jump; 0 before 1970.
#[must_use]
pub fn unix_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_never_goes_back_and_is_never_zero() {
        let mut last = 0;
        for _ in 0..10_000 {
            let now = monotonic_nanos();
            assert!(now > 0 && now >= last);
            last = now;
        }
    }

    #[test]
    fn unix_time_is_after_this_was_written() {
        assert!(unix_nanos() > 1_735_689_600_000_000_000);
    }
}
