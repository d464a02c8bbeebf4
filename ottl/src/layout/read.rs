//! A time read by a layout.

use super::element::{DAYS, Element, MONTHS, Offset, next_element};
use crate::zone::{Zone, civil, day_of};

/// A text that does not match: the element of the layout it does not match, if it is one, and what of the text was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) element: String,
    pub(crate) rest: String,
}

impl Mismatch {
    /// The text matches, but is no time.
    fn none() -> Self {
        Self { element: String::new(), rest: String::new() }
    }
}

/// What an element says of the text: nothing that fits, or a number out of its range.
enum Wrong {
    Text,
    Range,
}

#[derive(Default)]
struct Time {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    is_morning: bool,
    is_afternoon: bool,
    is_utc: bool,
    offset: Option<i64>,
    abbreviation: String,
}

/// The instant that a text names by a layout, its zone, and its year; `zone` is that of a text which names none.
///
/// # Errors
/// `Mismatch`.
pub(crate) fn read(layout: &str, text: &str, zone: Zone) -> Result<(i128, Zone, i64), Mismatch> {
    let mut time = Time::default();
    let (mut layout, mut rest) = (layout, text);
    loop {
        let next = next_element(layout);
        let prefix = &layout[..next.map_or(layout.len(), |(start, ..)| start)];
        rest =
            skipped(rest, prefix).map_err(|rest| Mismatch { element: prefix.to_string(), rest: rest.to_string() })?;
        let Some((start, element, end)) = next else {
            if rest.is_empty() {
                break;
            }
            return Err(Mismatch { element: String::new(), rest: rest.to_string() });
        };
        let name = &layout[start..end];
        layout = &layout[end..];
        rest = time
            .read(element, rest, layout)
            .map_err(|_| Mismatch { element: name.to_string(), rest: rest.to_string() })?;
    }
    time.instant(zone).ok_or_else(Mismatch::none)
}

/// What is behind a prefix of the layout. Spaces match any number of spaces, but only at the end none.
fn skipped<'t>(text: &'t str, prefix: &str) -> Result<&'t str, &'t str> {
    let (mut text, mut prefix) = (text, prefix);
    while let Some(first) = prefix.chars().next() {
        if first == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return Err(text);
            }
            (prefix, text) = (prefix.trim_start_matches(' '), text.trim_start_matches(' '));
            continue;
        }
        text = text.strip_prefix(first).ok_or(text)?;
        prefix = &prefix[first.len_utf8()..];
    }
    Ok(text)
}

fn is_digit(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// One digit or two; `is_fixed` wants two.
fn number(text: &str, is_fixed: bool) -> Result<(i64, &str), Wrong> {
    let length = match (is_digit(text, 0), is_digit(text, 1)) {
        (true, true) => 2,
        (true, false) if !is_fixed => 1,
        _ => return Err(Wrong::Text),
    };
    let (digits, rest) = text.split_at(length);
    Ok((digits.parse().map_err(|_| Wrong::Text)?, rest))
}

fn ranged(found: (i64, &str), range: std::ops::RangeInclusive<i64>) -> Result<(i64, &str), Wrong> {
    if range.contains(&found.0) { Ok(found) } else { Err(Wrong::Range) }
}

/// The place of the name that a text begins with, in either case of its letters.
fn named<'t>(text: &'t str, names: &[&str], length: Option<usize>) -> Result<(i64, &'t str), Wrong> {
    let found = names.iter().position(|name| {
        let name = &name[..length.unwrap_or(name.len())];
        text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    });
    let index = found.ok_or(Wrong::Text)?;
    let rest = &text[length.unwrap_or(names[index].len())..];
    Ok((i64::try_from(index).map_err(|_| Wrong::Text)?, rest))
}

/// Nanoseconds of a separator and digits.
fn fraction(text: &str, length: usize) -> Result<i64, Wrong> {
    let digits = text.get(1..length).filter(|_| text.starts_with(['.', ','])).ok_or(Wrong::Text)?;
    let digits = &digits[..digits.len().min(9)];
    format!("{digits:0<9}").parse().ok().filter(|nanos| *nanos >= 0).ok_or(Wrong::Text)
}

impl Time {
    /// Reads one element and gives back what is behind it; `layout` is what comes after the element.
    fn read<'t>(&mut self, element: Element, text: &'t str, layout: &str) -> Result<&'t str, Wrong> {
        let rest;
        match element {
            Element::Year => {
                let digits = text.get(..2).ok_or(Wrong::Text)?;
                let year: i64 = digits.parse().map_err(|_| Wrong::Text)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
                rest = &text[2..];
            }
            Element::LongYear => {
                let digits = text.get(..4).filter(|_| is_digit(text, 0)).ok_or(Wrong::Text)?;
                self.year = digits.parse().map_err(|_| Wrong::Text)?;
                rest = &text[4..];
            }
            Element::Month | Element::LongMonth => {
                let month;
                (month, rest) = named(text, &MONTHS, (element == Element::Month).then_some(3))?;
                self.month = Some(month + 1);
            }
            Element::NumericMonth | Element::ZeroMonth => {
                let month;
                (month, rest) = ranged(number(text, element == Element::ZeroMonth)?, 1..=12)?;
                self.month = Some(month);
            }
            Element::Weekday | Element::LongWeekday => {
                (_, rest) = named(text, &DAYS, (element == Element::Weekday).then_some(3))?;
            }
            Element::Day | Element::UnderDay | Element::ZeroDay => {
                let is_under = element == Element::UnderDay;
                let text = text.strip_prefix(' ').filter(|_| is_under).unwrap_or(text);
                let day;
                (day, rest) = number(text, element == Element::ZeroDay)?;
                self.day = Some(day);
            }
            Element::UnderYearDay | Element::ZeroYearDay => rest = self.read_year_day(element, text)?,
            Element::Hour => (self.hour, rest) = ranged(number(text, false)?, 0..=23)?,
            Element::Hour12 | Element::ZeroHour12 => {
                (self.hour, rest) = ranged(number(text, element == Element::ZeroHour12)?, 0..=12)?;
            }
            Element::Minute | Element::ZeroMinute => {
                (self.minute, rest) = ranged(number(text, element == Element::ZeroMinute)?, 0..=59)?;
            }
            Element::Second | Element::ZeroSecond => {
                let second = ranged(number(text, element == Element::ZeroSecond)?, 0..=59)?;
                self.second = second.0;
                rest = self.read_odd_fraction(second.1, layout)?;
            }
            Element::Half | Element::SmallHalf => {
                let (morning, afternoon) = if element == Element::Half { ("AM", "PM") } else { ("am", "pm") };
                let half = text.get(..2).ok_or(Wrong::Text)?;
                (self.is_morning, self.is_afternoon) =
                    (self.is_morning || half == morning, self.is_afternoon || half == afternoon);
                if half != morning && half != afternoon {
                    return Err(Wrong::Text);
                }
                rest = &text[2..];
            }
            Element::Offset(form) => rest = self.read_offset(form, text)?,
            Element::Abbreviation => match text.strip_prefix("UTC") {
                Some(behind) => {
                    self.is_utc = true;
                    rest = behind;
                }
                None => {
                    let (name, behind) = text.split_at(abbreviation(text).ok_or(Wrong::Text)?);
                    self.abbreviation = name.to_string();
                    rest = behind;
                }
            },
            Element::Fraction { digits, is_trimmed: false, .. } => {
                self.nanos = fraction(text, 1 + digits)?;
                rest = text.get(1 + digits..).ok_or(Wrong::Text)?;
            }
            Element::Fraction { .. } => rest = self.read_fraction(text)?,
        }
        Ok(rest)
    }

    /// A fraction of any length, or none.
    fn read_fraction<'t>(&mut self, text: &'t str) -> Result<&'t str, Wrong> {
        if !text.starts_with(['.', ',']) || !is_digit(text, 1) {
            return Ok(text);
        }
        let length = 1 + text[1..].bytes().take_while(u8::is_ascii_digit).count();
        self.nanos = fraction(text, length)?;
        Ok(&text[length..])
    }

    /// A fraction behind seconds that the layout does not name.
    fn read_odd_fraction<'t>(&mut self, text: &'t str, layout: &str) -> Result<&'t str, Wrong> {
        match next_element(layout) {
            Some((_, Element::Fraction { .. }, _)) => Ok(text),
            _ => self.read_fraction(text),
        }
    }

    fn read_year_day<'t>(&mut self, element: Element, text: &'t str) -> Result<&'t str, Wrong> {
        let mut text = text;
        for _ in 0..2 {
            text = text.strip_prefix(' ').filter(|_| element == Element::UnderYearDay).unwrap_or(text);
        }
        let length = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
        if length == 0 || element == Element::ZeroYearDay && length != 3 {
            return Err(Wrong::Text);
        }
        self.year_day = text[..length].parse().ok();
        Ok(&text[length..])
    }

    fn read_offset<'t>(&mut self, form: Offset, text: &'t str) -> Result<&'t str, Wrong> {
        if form.has_z
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.is_utc = true;
            return Ok(rest);
        }
        let bytes = text.as_bytes();
        let mut at = 1;
        let mut seconds = 0;
        let units = [(true, 3600, 24), (form.has_minutes, 60, 60), (form.has_seconds, 1, 60)];
        for (position, (_, unit, most)) in units.into_iter().filter(|(is_there, ..)| *is_there).enumerate() {
            if form.has_colons && position > 0 {
                if bytes.get(at) != Some(&b':') {
                    return Err(Wrong::Text);
                }
                at += 1;
            }
            let (amount, _) = number(text.get(at..at + 2).ok_or(Wrong::Text)?, true)?;
            seconds += ranged((amount, ""), 0..=most)?.0 * unit;
            at += 2;
        }
        self.offset = Some(match bytes.first() {
            Some(b'+') => seconds,
            Some(b'-') => -seconds,
            _ => return Err(Wrong::Text),
        });
        Ok(&text[at..])
    }

    fn instant(mut self, zone: Zone) -> Option<(i128, Zone, i64)> {
        if self.is_afternoon && self.hour < 12 {
            self.hour += 12;
        } else if !self.is_afternoon && self.is_morning && self.hour == 12 {
            self.hour = 0;
        }
        let (month, day) = self.date()?;
        let days_in_month =
            if month == 12 { 31 } else { day_of(self.year, month + 1, 1) - day_of(self.year, month, 1) };
        if !(1..=days_in_month).contains(&day) {
            return None;
        }
        let second = day_of(self.year, month, day) * 86_400 + self.hour * 3600 + self.minute * 60 + self.second;
        let (second, zone) = self.placed(second, zone)?;
        Some((i128::from(second) * 1_000_000_000 + i128::from(self.nanos), zone, self.year))
    }

    fn date(&self) -> Option<(i64, i64)> {
        let Some(year_day) = self.year_day else { return Some((self.month.unwrap_or(1), self.day.unwrap_or(1))) };
        let start = day_of(self.year, 1, 1);
        let days = day_of(self.year + 1, 1, 1) - start;
        if !(1..=days).contains(&year_day) {
            return None;
        }
        let (_, month, day) = civil((start + year_day - 1).into());
        let (month, day) = (i64::try_from(month).ok()?, i64::try_from(day).ok()?);
        let agrees = self.month.is_none_or(|seen| seen == month) && self.day.is_none_or(|seen| seen == day);
        agrees.then_some((month, day))
    }

    /// The instant of a local time, and the zone it is told in.
    fn placed(&self, second: i64, zone: Zone) -> Option<(i64, Zone)> {
        if self.is_utc {
            return Some((second, Zone::Utc));
        }
        let name = self.abbreviation.as_bytes();
        // Go tells no offset by this value.
        if let Some(offset) = self.offset.filter(|offset| *offset != -1) {
            let second = second - offset;
            let span = zone.at(second);
            let is_local = span.offset == offset && (name.is_empty() || span.name.as_bytes() == name);
            return Some((second, if is_local { zone } else { Zone::fixed(offset, name)? }));
        }
        if !name.is_empty() {
            if let Some(offset) = zone.named(name, second) {
                return Some((second - offset, zone));
            }
            let hours = self.abbreviation.strip_prefix("GMT").filter(|hours| !hours.is_empty());
            let offset = hours.and_then(|hours| hours.parse::<i64>().ok()).unwrap_or(0) * 3600;
            // The reference does not move the time by it.
            return Some((second, Zone::fixed(offset, name)?));
        }
        let span = zone.at(second);
        if span.offset == 0 {
            return Some((second, zone));
        }
        let shifted = second - span.offset;
        let offset = if shifted < span.start || shifted >= span.end { zone.at(shifted).offset } else { span.offset };
        Some((second - offset, zone))
    }
}

/// The length of the abbreviation of a zone.
fn abbreviation(text: &str) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(rest) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours(rest).unwrap_or(0));
    }
    if text.starts_with(['+', '-']) {
        return signed_hours(text);
    }
    let letters = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    match letters {
        5 if text.as_bytes()[4] == b'T' => Some(5),
        4 if text.as_bytes()[3] == b'T' || text.starts_with("WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

/// The length of a sign and hours up to 23.
fn signed_hours(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(['+', '-'])?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let hours: u64 = rest[..digits].parse().ok()?;
    (hours <= 23).then_some(1 + digits)
}
