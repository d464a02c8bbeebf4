//! The two clocks: one that never goes back, for intervals and deadlines, and the wall clock, for time stamps.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The origin of [`monotonic_nanos`]: the first call in this process.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Both clocks at the first call of [`steady_unix_nanos`].
static STEADY: OnceLock<(u64, u64)> = OnceLock::new();

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

/// The wall clock as it was when this was first called, with what the monotonic clock says has passed since: for the age of
/// what this process itself has stamped. It does not follow when somebody sets the clock.
#[must_use]
pub fn steady_unix_nanos() -> u64 {
    let (unix, monotonic) = *STEADY.get_or_init(|| (unix_nanos(), monotonic_nanos()));
    steady(unix, monotonic, monotonic_nanos())
}

const fn steady(unix: u64, monotonic: u64, now: u64) -> u64 {
    unix.saturating_add(now.saturating_sub(monotonic))
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
    fn steady_time_passes_as_the_monotonic_clock_says() {
        assert_eq!(steady(1_000, 50, 80), 1_030);
        let (before, monotonic) = (steady_unix_nanos(), monotonic_nanos());
        let (after, later) = (steady_unix_nanos(), monotonic_nanos());
        assert!(after >= before && after - before <= later - monotonic + 1_000_000_000);
    }

    #[test]
    fn unix_time_is_after_this_was_written() {
        assert!(unix_nanos() > 1_735_689_600_000_000_000);
    }
}
