//! The written forms of values: durations as Go writes them, sizes with units, integers with underscores.

use std::time::Duration;

use crate::problem::Fault;
use crate::yaml;

/// Bytes in a kibibyte.
pub const KIB: u64 = 1024;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1024 * KIB;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1024 * MIB;

/// Units of a Go duration in nanoseconds, longest first.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];

/// Units of a size in bytes, in small letters. A letter alone is binary, as with containers and the JVM.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("gib", GIB),
    ("mib", MIB),
    ("kib", KIB),
    ("gi", GIB),
    ("mi", MIB),
    ("ki", KIB),
    ("g", GIB),
    ("m", MIB),
    ("k", KIB),
    ("tib", 1024 * GIB),
    ("ti", 1024 * GIB),
    ("t", 1024 * GIB),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// What a size looks like, for messages.
const SIZE_REMEDY: &str = "write bytes, or a number with one of the units KiB, MiB, GiB, TiB (also K, M, G, T and Ki, Mi, \
                           Gi, Ti: powers of 1024), KB, MB, GB, TB (powers of 1000), such as 64MiB or 1.5GiB";

/// A duration as Go's `time.ParseDuration` reads it: `1m30s`, `500ms`, `1.5h`, `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let fault = || Fault::new("not a duration", "write a number with a unit, such as 500ms, 10s or 1m30s");
    if text == "0" || text == "+0" || text == "-0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(Fault::new("a negative duration", "write zero or more, such as 10s"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(fault());
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fault)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
        nanoseconds = nanoseconds.checked_add(scaled(number, *scale).ok_or_else(fault)?).ok_or_else(fault)?;
        rest = tail;
    }
    // Go's durations are 63-bit nanoseconds: about 292 years.
    let nanoseconds = i64::try_from(nanoseconds).map_err(|_| fault())?;
    Ok(Duration::from_nanos(nanoseconds.unsigned_abs()))
}

/// A duration as `duration` reads it, if the text is one.
#[must_use]
pub fn parsed_duration(text: &str) -> Option<Duration> {
    duration(text).ok()
}

/// `number`, digits with at most one point, times `scale`, rounded down.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(u128::from(scale))?;
    let mut unit = u128::from(scale);
    for digit in fraction.chars() {
        let digit = u128::from(digit.to_digit(10)?);
        // Digits beyond a nanosecond add nothing.
        total = total.checked_add(digit * unit / 10)?;
        unit /= 10;
    }
    Some(total)
}

/// A duration as Go writes it, which `duration` reads back exactly.
pub(crate) fn show_duration(value: Duration) -> String {
    let nanoseconds = value.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_string();
    }
    let mut out = String::new();
    let mut rest = nanoseconds;
    for (unit, scale) in DURATION_UNITS.iter().filter(|(unit, _)| unit.is_ascii()) {
        let count = rest / u128::from(*scale);
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            rest %= u128::from(*scale);
        }
    }
    out
}

/// A size: `67108864`, `64MiB`, `64 MiB`, `64MB`, `1.5GiB`, `8g`.
pub(crate) fn bytes(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::new("not a size", SIZE_REMEDY);
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_' && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let (number, unit) = (number.replace('_', ""), unit.trim().to_ascii_lowercase());
    if unit.is_empty() {
        return number.parse().map_err(|_| fault());
    }
    let (_, scale) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
    scaled(&number, *scale).and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(fault)
}

/// A size with the largest unit that leaves no fraction.
pub(crate) fn show_bytes(value: u64) -> String {
    for (unit, scale) in [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)] {
        if value > 0 && value.is_multiple_of(scale) {
            return format!("{}{unit}", value / scale);
        }
    }
    value.to_string()
}

/// A whole number of zero or more, with underscores.
pub(crate) fn count(text: &str) -> Result<u64, Fault> {
    let number = yaml::integer(text).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| Fault::new("not a whole number of zero or more", "write digits, such as 1000 or 100_000"))
}

/// true or false, as files, flags and environment variables write them.
pub(crate) fn boolean(text: &str) -> Result<bool, Fault> {
    yaml::boolean(text).ok_or_else(|| Fault::new("not a boolean", "write true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let good: [(&str, u64); 12] = [
            ("0", 0),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+2s", 2_000_000_000),
            ("3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("7ns", 7),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("1.0000000001s", 1_000_000_000),
        ];
        for (text, nanoseconds) in good {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for text in ["", "+", "1", "s", ".s", "1.2.3s", "1d", "1s ", " 1s", "-1s", "1e3s", "9999999999h", "1_000s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_are_written_as_they_are_read() {
        for text in ["0s", "1m30s", "500ms", "1h", "1s1ns", "2m0"] {
            if let Ok(value) = duration(text) {
                assert_eq!(show_duration(value), text);
            }
        }
        for (text, value) in [("64MiB", 64 * MIB), ("1KiB", 1024), ("1000", 1000), ("0", 0), ("3GiB", 3 * GIB)] {
            assert_eq!((bytes(text), show_bytes(value).as_str()), (Ok(value), text));
        }
        assert_eq!(bytes("64 MB"), Ok(64_000_000));
        assert_eq!(bytes("1_024"), Ok(1024));
        let sizes = [("8G", 8 * GIB), ("8g", 8 * GIB), ("1.5GiB", GIB * 3 / 2), ("512M", 512 * MIB), ("2Ki", 2 * KIB)];
        let sizes = sizes.into_iter().chain([
            ("100KB", 100_000),
            ("100kb", 100_000),
            ("1mib", MIB),
            ("0.5 TB", 500_000_000_000),
        ]);
        for (text, value) in sizes.chain([("7b", 7), (".5k", 512)]) {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "MiB", "1.5", "1.2.3G", ".G", "-1", "-1G", "99999999999GiB", "1 apple"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        assert_eq!(count("100_000"), Ok(100_000));
        for text in ["", "-1", "1.5", "ten", "99999999999999999999"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}
