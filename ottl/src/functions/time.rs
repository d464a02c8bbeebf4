//! Functions about times and durations.

use crate::error::Failure;
use crate::function::{Arguments, Function, Parameter, ParameterKind as Kind, needed, optional};
use crate::value::Value;
use crate::zone::{Zone, civil};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECOND: i128 = 1_000_000_000;
const NANOS_PER_DAY: i128 = 86_400 * SECOND;

const TIME: Parameter = needed("time", Kind::Time);
const DURATION: Parameter = needed("duration", Kind::Duration);

pub(super) static YEAR: Function =
    Function::new("Year", &[TIME], |arguments| Parts::of(arguments).map(|parts| integer(parts.date.0)));

pub(super) static MONTH: Function =
    Function::new("Month", &[TIME], |arguments| Parts::of(arguments).map(|parts| integer(parts.date.1)));

pub(super) static DAY: Function =
    Function::new("Day", &[TIME], |arguments| Parts::of(arguments).map(|parts| integer(parts.date.2)));

// The first of January 1970 was a Thursday.
pub(super) static WEEKDAY: Function = Function::new("Weekday", &[TIME], |arguments| {
    Parts::of(arguments).map(|parts| integer((parts.days + 4).rem_euclid(7)))
});

pub(super) static HOUR: Function = Function::new("Hour", &[TIME], |arguments| {
    Parts::of(arguments).map(|parts| integer(parts.nanos / (3600 * SECOND)))
});

pub(super) static MINUTE: Function = Function::new("Minute", &[TIME], |arguments| {
    Parts::of(arguments).map(|parts| integer(parts.nanos / (60 * SECOND) % 60))
});

pub(super) static SECOND_OF_MINUTE: Function =
    Function::new("Second", &[TIME], |arguments| Parts::of(arguments).map(|parts| integer(parts.nanos / SECOND % 60)));

pub(super) static NANOSECOND: Function =
    Function::new("Nanosecond", &[TIME], |arguments| Parts::of(arguments).map(|parts| integer(parts.nanos % SECOND)));

pub(super) static UNIX_SECONDS: Function = Function::new("UnixSeconds", &[TIME], |arguments| {
    arguments.time(0).map(|(time, _)| integer(time.div_euclid(SECOND)))
});

pub(super) static UNIX_MILLI: Function = Function::new("UnixMilli", &[TIME], |arguments| {
    arguments.time(0).map(|(time, _)| integer(time.div_euclid(1_000_000)))
});

pub(super) static UNIX_MICRO: Function =
    Function::new("UnixMicro", &[TIME], |arguments| arguments.time(0).map(|(time, _)| integer(time.div_euclid(1_000))));

pub(super) static UNIX_NANO: Function =
    Function::new("UnixNano", &[TIME], |arguments| arguments.time(0).map(|(time, _)| integer(time)));

pub(super) static UNIX: Function =
    Function::new("Unix", &[needed("seconds", Kind::Integer), optional("nanoseconds", Kind::Integer)], |arguments| {
        let seconds = i128::from(arguments.integer(0)?) * SECOND;
        let nanos = if arguments.is_given(1) { arguments.integer(1)? } else { 0 };
        Ok(Value::Time(seconds + i128::from(nanos), Zone::Utc))
    });

pub(super) static TRUNCATE_TIME: Function = Function::new("TruncateTime", &[TIME, DURATION], |arguments| {
    let ((time, zone), unit) = (arguments.time(0)?, i128::from(arguments.duration(1)?));
    Ok(Value::Time(if unit <= 0 { time } else { time - (time + YEAR_ONE).rem_euclid(unit) }, zone))
});

pub(super) static PARSED_DURATION: Function =
    Function::new("Duration", &[needed("duration", Kind::Text)], |arguments| {
        duration(&arguments.text(0)?).map(Value::Duration)
    });

pub(super) static HOURS: Function = Function::new("Hours", &[DURATION], |arguments| {
    arguments.duration(0).map(|duration| Value::Double(in_units(duration, 3600 * NANOS_PER_SECOND)))
});

pub(super) static MINUTES: Function = Function::new("Minutes", &[DURATION], |arguments| {
    arguments.duration(0).map(|duration| Value::Double(in_units(duration, 60 * NANOS_PER_SECOND)))
});

pub(super) static SECONDS: Function = Function::new("Seconds", &[DURATION], |arguments| {
    arguments.duration(0).map(|duration| Value::Double(in_units(duration, NANOS_PER_SECOND)))
});

pub(super) static MILLISECONDS: Function = Function::new("Milliseconds", &[DURATION], |arguments| {
    arguments.duration(0).map(|duration| Value::Integer(duration / 1_000_000))
});

pub(super) static MICROSECONDS: Function = Function::new("Microseconds", &[DURATION], |arguments| {
    arguments.duration(0).map(|duration| Value::Integer(duration / 1_000))
});

pub(super) static NANOSECONDS: Function =
    Function::new("Nanoseconds", &[DURATION], |arguments| arguments.duration(0).map(Value::Integer));

/// A time as its zone tells it.
struct Parts {
    /// Year, month and day.
    date: (i128, i128, i128),
    /// Since 1970.
    days: i128,
    /// Since the day began.
    nanos: i128,
}

impl Parts {
    fn of(arguments: &Arguments<'_, '_>) -> Result<Self, Failure> {
        let (time, zone) = arguments.time(0)?;
        let local = time + i128::from(zone.offset(time)) * SECOND;
        let days = local.div_euclid(NANOS_PER_DAY);
        Ok(Self { date: civil(days), days, nanos: local.rem_euclid(NANOS_PER_DAY) })
    }
}

fn integer<'a>(number: i128) -> Value<'a> {
    Value::Integer(wrapped(number))
}

/// From the first of January of the year 1 to that of 1970, nanoseconds: where the reference begins to count.
const YEAR_ONE: i128 = 62_135_596_800 * 1_000_000_000;

/// Whole units and the rest of one are made doubles apart, as in the reference.
#[expect(clippy::cast_precision_loss, reason = "the nearest double is what the reference takes")]
fn in_units(duration: i64, unit: i64) -> f64 {
    (duration / unit) as f64 + (duration % unit) as f64 / unit as f64
}

/// The low 64 bits.
fn wrapped(number: i128) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = number.to_le_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
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
