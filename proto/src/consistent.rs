//! Consistent probability sampling: rejection thresholds and randomness of 56 bits, and how they are written.
//! A trace of randomness R is kept by threshold T if and only if R >= T.
//!
//! Source: OTEP 235; specification, "TraceState: Probability Sampling".

/// The threshold that keeps nothing, 2^56: it has no written form. The least threshold, 0, keeps everything.
pub const NEVER: u64 = 1 << 56;

/// Hexadecimal digits of a full threshold, and of every randomness.
pub const DIGITS: usize = 14;

/// Digits of a threshold that comes from a configured probability, after leading `f`s or zeros: the default of SDKs.
pub const PRECISION_DEFAULT: usize = 4;

/// The randomness of a trace id: its last 7 bytes, big-endian.
#[inline]
#[must_use]
pub fn randomness_of(trace_id: &[u8; 16]) -> u64 {
    let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h] = *trace_id;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) & (NEVER - 1)
}

/// The probability of being kept by `threshold`, 0 to 1.
#[must_use]
pub fn probability_of(threshold: u64) -> f64 {
    ratio(NEVER.saturating_sub(threshold), NEVER)
}

/// How many arrived for each one kept by `threshold`; 0 when it keeps none.
#[must_use]
pub fn adjusted_count(threshold: u64) -> f64 {
    if threshold >= NEVER { 0.0 } else { ratio(NEVER, NEVER - threshold) }
}

fn ratio(part: u64, whole: u64) -> f64 {
    to_float(part) / to_float(whole)
}

/// A number of at most 57 bits as a float, rounded as the processor rounds.
#[must_use]
pub fn to_float(number: u64) -> f64 {
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    let [a, b, c, d, ..] = number.to_le_bytes();
    f64::from(high) * 4_294_967_296.0 + f64::from(u32::from_le_bytes([a, b, c, d]))
}

/// The threshold for a probability, with `digits` significant digits (1 to 14; 0 means 14): leading `f`s, near
/// probability 0, and leading zeros, near 1, do not count. `None` outside 2^-56 to 1.
#[must_use]
pub fn threshold_of(probability: f64, digits: usize) -> Option<u64> {
    let least = 1.0 / to_float(NEVER);
    if !(least..=1.0).contains(&probability) {
        return None;
    }
    if probability >= 1.0 {
        return Some(0);
    }
    let digits = if digits == 0 { DIGITS } else { digits };
    let leading = leading_digits(probability).max(leading_digits(1.0 - probability));
    let digits = DIGITS.min(digits + leading);
    let kept = whole_part((probability * to_float(NEVER)).round());
    let threshold = NEVER - kept;
    let shift = 4 * (DIGITS - digits);
    if shift == 0 {
        return Some(threshold);
    }
    let rounded = (threshold + (1 << (shift - 1))) >> shift << shift;
    Some(rounded.min(NEVER))
}

/// Whole hexadecimal digits between the point and the first bit of a number in (0, 1).
fn leading_digits(number: f64) -> usize {
    // The exponent of a mantissa in [0.5, 1), as frexp gives it.
    let exponent = (number.to_bits() >> 52 & 0x7ff).saturating_sub(1022);
    if exponent > 0 {
        return 0;
    }
    usize::try_from(1022 - (number.to_bits() >> 52 & 0x7ff)).unwrap_or(0) / 4
}

/// The integer that a non-negative float below 2^57 without a fraction is.
fn whole_part(number: f64) -> u64 {
    let bits = number.to_bits();
    let exponent = bits >> 52 & 0x7ff;
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    match exponent {
        0..1023 => 0,
        1023..=1075 => mantissa >> (1075 - exponent),
        1076..=1086 => mantissa << (exponent - 1075),
        _ => u64::MAX,
    }
}

/// The threshold that keeps the share `numerator / denominator`; 0 when that is the whole or more.
#[must_use]
pub fn threshold_of_share(numerator: u64, denominator: u64) -> u64 {
    if numerator >= denominator {
        return 0;
    }
    let kept = (u128::from(numerator) << 56) / u128::from(denominator);
    NEVER - u64::try_from(kept).unwrap_or(NEVER).min(NEVER)
}

/// Reads the value of `th`: 1 to 14 hexadecimal digits, filled up with zeros on the right. Capitals are taken too.
#[must_use]
pub fn read_threshold(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS {
        return None;
    }
    Some(digits(text)? << (4 * (DIGITS - text.len())))
}

/// Reads the value of `rv`: 14 hexadecimal digits. Capitals are taken too.
#[must_use]
pub fn read_randomness(text: &[u8]) -> Option<u64> {
    if text.len() == DIGITS { digits(text) } else { None }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

/// Writes a threshold below `NEVER`: lower case, without trailing zeros, `0` for 0.
pub fn put_threshold(threshold: u64, out: &mut Vec<u8>) {
    let start = out.len();
    put_randomness(threshold, out);
    while out.len() > start + 1 && out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Writes a randomness: 14 digits, lower case.
pub fn put_randomness(randomness: u64, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for digit in (0..DIGITS).rev() {
        let nibble = usize::from((randomness >> (4 * digit)).to_le_bytes()[0] & 15);
        out.push(HEX[nibble]);
    }
}

#[cfg(test)]
mod tests;
