//! Points in time as people read and write them.

use std::time::Duration;

/// Nanoseconds since 1970 as RFC 3339 in UTC, with all nine digits, so that it can be compared as text.
pub fn rfc3339(unix_nano: u64) -> String {
    let (seconds, nanos) = (unix_nano / 1_000_000_000, unix_nano % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// A point in time as a person writes it, nanoseconds since 1970: RFC 3339 with a zone, seconds since 1970, or how long ago,
/// such as `10m` or `-10m`.
pub fn parse(text: &str, now_unix_nano: u64) -> Option<u64> {
    let ago = |text: &str| now_unix_nano.checked_sub(nanos(tailwater_config::parse_duration(text)?));
    if let Some(text) = text.strip_prefix('-') {
        return ago(text);
    }
    if !text.contains('T') {
        let seconds: Option<f64> = text.parse().ok().filter(|seconds: &f64| seconds.is_finite());
        return seconds.map_or_else(|| ago(text), |seconds| Duration::try_from_secs_f64(seconds).ok().map(nanos));
    }
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    // A plus in an address is a space.
    let zone = time.find(['Z', '+', '-', ' '])?;
    let (time, zone) = time.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1970..2500).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let offset = if zone == "Z" { 0 } else { offset(zone.get(1..)?)? };
    let seconds = if zone.starts_with('-') { seconds.checked_add(offset)? } else { seconds.checked_sub(offset)? };
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Seconds of `hh:mm`.
fn offset(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Days from 1970 to a date: the way back of `date`.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a count of days since 1970. Years are counted from March, in eras of 400 years, so that the
/// leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 7), format!("{expected}.000000007Z"));
        }
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }
    #[test]
    fn what_people_write_is_read_back() {
        for seconds in [0, 951_782_400, 951_868_799, 1_709_164_800, 1_735_689_599, 4_107_542_400_u64] {
            let nanos = seconds * 1_000_000_000 + 7;
            assert_eq!(parse(&rfc3339(nanos), 0), Some(nanos));
        }
        assert_eq!(parse("2026-03-01T02:30:00.5+01:30", 0), parse("2026-03-01T01:00:00.500Z", 0));
        assert_eq!(parse("2026-03-01T02:30:00-01:30", 0), parse("2026-03-01T04:00:00Z", 0));
        assert_eq!(parse("1700000000.25", 0), Some(1_700_000_000_250_000_000));
        assert_eq!(parse("-1h30m", 6_000_000_000_000), Some(600_000_000_000));
        assert_eq!(parse("1h30m", 6_000_000_000_000), Some(600_000_000_000));
        for wrong in ["", "now", "-", "-x", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01", "T", "-9999h"]
        {
            assert_eq!(parse(wrong, 1_000_000_000), None, "{wrong}");
        }
    }
}
