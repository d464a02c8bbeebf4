//! How many spans one stands for that was sampled before it came.

use twox_hash::XxHash3_64;

/// Thresholds have so many bits.
const THRESHOLD_BITS: u32 = 56;

/// How many spans one stands for that was kept by this threshold: 2^56 / (2^56 - threshold). What is past the whole number
/// decides with the span's id whether it is one more, so that sums are unbiased, and the same span counts the same again.
#[must_use]
pub fn weight(threshold: u64, span_id: &[u8; 8]) -> u64 {
    const ALL: u64 = 1 << THRESHOLD_BITS;
    let kept = ALL.saturating_sub(threshold);
    if kept == 0 {
        return 1;
    }
    let (whole, rest) = (ALL / kept, ALL % kept);
    let drawn = (u128::from(XxHash3_64::oneshot(span_id)) * u128::from(kept)) >> 64;
    whole + u64::from(drawn < u128::from(rest))
}
