//! Converters about times and durations.

use super::Arguments;
use super::zone::Zone;
use crate::Function;
use crate::error::Failure;
use crate::value::Value;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 86_400 * 1_000_000_000;

pub(super) fn make<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    Ok(match arguments.function() {
        Function::Duration => Value::Duration(duration(&arguments.text(0)?)?),
        Function::Hours => Value::Double(in_units(arguments.duration(0)?, 3600 * NANOS_PER_SECOND)),
        Function::Minutes => Value::Double(in_units(arguments.duration(0)?, 60 * NANOS_PER_SECOND)),
        Function::Seconds => Value::Double(in_units(arguments.duration(0)?, NANOS_PER_SECOND)),
        Function::Milliseconds => Value::Integer(arguments.duration(0)? / 1_000_000),
        Function::Microseconds => Value::Integer(arguments.duration(0)? / 1_000),
        Function::Nanoseconds => Value::Integer(arguments.duration(0)?),
        Function::TruncateTime => {
            let ((time, zone), unit) = (arguments.time(0)?, i128::from(arguments.duration(1)?));
            Value::Time(if unit <= 0 { time } else { time - (time + YEAR_ONE).rem_euclid(unit) }, zone)
        }
        // Unix
        _ => {
            let seconds = i128::from(arguments.integer(0)?) * i128::from(NANOS_PER_SECOND);
            let nanos = if arguments.is_given(1) { arguments.integer(1)? } else { 0 };
            Value::Time(seconds + i128::from(nanos), Zone::Utc)
        }
    })
}

/// From the first of January of the year 1 to that of 1970, nanoseconds: where the reference begins to count.
const YEAR_ONE: i128 = 62_135_596_800 * 1_000_000_000;

/// Whole units and the rest of one are made doubles apart, as in the reference.
#[expect(clippy::cast_precision_loss, reason = "the nearest double is what the reference takes")]
fn in_units(duration: i64, unit: i64) -> f64 {
    (duration / unit) as f64 + (duration % unit) as f64 / unit as f64
}

pub(super) fn part(arguments: &Arguments<'_, '_>) -> Result<i64, Failure> {
    let (time, zone) = arguments.time(0)?;
    let local = time + i128::from(zone.offset(time)) * i128::from(NANOS_PER_SECOND);
    let (days, nanos) = (local.div_euclid(NANOS_PER_DAY), local.rem_euclid(NANOS_PER_DAY));
    let (year, month, day) = civil(days);
    let second = i128::from(NANOS_PER_SECOND);
    Ok(wrapped(match arguments.function() {
        Function::Year => year,
        Function::Month => month,
        Function::Day => day,
        // The first of January 1970 was a Thursday.
        Function::Weekday => (days + 4).rem_euclid(7),
        Function::Hour => nanos / (3600 * second),
        Function::Minute => nanos / (60 * second) % 60,
        Function::Second => nanos / second % 60,
        Function::Nanosecond => nanos % second,
        Function::UnixSeconds => time.div_euclid(second),
        Function::UnixMilli => time.div_euclid(1_000_000),
        Function::UnixMicro => time.div_euclid(1_000),
        // UnixNano
        _ => time,
    }))
}

/// The low 64 bits.
fn wrapped(number: i128) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = number.to_le_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Year, month and day of a day counted from 1970. Source: Hinnant, chrono-compatible low-level date algorithms.
pub(super) fn civil(days: i128) -> (i128, i128, i128) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i128::from(month <= 2), month, day)
}

/// A time as RFC 3339 has it, with as many digits of the second as it needs; none of a year with more than four digits or
/// an offset of a day.
pub fn rfc3339(time: i128, zone: Zone) -> Option<String> {
    let text = super::layout::formatted("2006-01-02T15:04:05.999999999Z07:00", time, zone);
    let has_year = text.as_bytes().get(4) == Some(&b'-') && !text.starts_with('-');
    (has_year && zone.offset(time).abs() < 86_400).then_some(text)
}

/// Go's `time.ParseDuration`: signed decimal numbers with units, such as `1h15m30.918s`.
fn duration(text: &[u8]) -> Result<i64, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| Failure::Value)?;
    let (is_negative, mut rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(Failure::Value);
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, tail) = digits(rest);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Failure::Value);
        }
        let unit_end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = unit_nanos(unit).ok_or(Failure::Value)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Failure::Value)? };
        // More digits than a unit has nanoseconds change nothing.
        let fraction = &fraction[..fraction.len().min(18)];
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| Failure::Value)? };
        let scale = (0..fraction.len()).fold(1i128, |scale, _| scale * 10);
        let nanos = whole.checked_mul(unit).ok_or(Failure::Value)?.saturating_add(part * unit / scale);
        total = total.checked_add(nanos).filter(|total| *total <= 1 << 63).ok_or(Failure::Value)?;
        rest = tail;
    }
    let signed = if is_negative { -total } else { total };
    i64::try_from(signed).map_err(|_| Failure::Value)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}
