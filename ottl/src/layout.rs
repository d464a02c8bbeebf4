//! Times written and read by Go's layouts, where an example of a time stands for its parts.

mod element;
mod locale;
mod read;
mod translate;

pub(super) use locale::{Locale, locale};
pub(super) use read::{Mismatch, read};
pub(super) use translate::translated;

use super::zone::{Zone, civil, day_of, seconds};
use element::{DAYS, Element, MONTHS, Offset, next_element};

/// A time by a layout.
pub(super) fn formatted(layout: &str, nanos: i128, zone: Zone) -> String {
    let mut out = String::with_capacity(layout.len() + 10);
    let span = zone.at(seconds(nanos));
    let local = nanos + i128::from(span.offset) * 1_000_000_000;
    let (days, of_day) = (local.div_euclid(86_400_000_000_000), local.rem_euclid(86_400_000_000_000));
    let date = civil(days);
    let parts = Parts { date, days, of_day, name: span.name, offset: span.offset };
    let mut rest = layout;
    while let Some((start, element, end)) = next_element(rest) {
        out.push_str(&rest[..start]);
        parts.write(element, &mut out);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

struct Parts {
    date: (i128, i128, i128),
    days: i128,
    of_day: i128,
    name: String,
    offset: i64,
}

impl Parts {
    fn write(&self, element: Element, out: &mut String) {
        let (year, month, day) = self.date;
        let second = self.of_day / 1_000_000_000;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let hour_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let name = |names: &[&'static str], index: i128| {
            usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
        };
        let month_name = name(&MONTHS, month - 1);
        let weekday_name = name(&DAYS, (self.days + 4).rem_euclid(7));
        let year_day = || self.days - year_start(year) + 1;
        out.push_str(&match element {
            Element::Year => format!("{:02}", year.abs() % 100),
            Element::LongYear if year < 0 => format!("-{:04}", year.abs()),
            Element::LongYear => format!("{year:04}"),
            Element::Month => month_name[..3].to_string(),
            Element::LongMonth => month_name.to_string(),
            Element::NumericMonth => month.to_string(),
            Element::ZeroMonth => format!("{month:02}"),
            Element::Weekday => weekday_name[..3].to_string(),
            Element::LongWeekday => weekday_name.to_string(),
            Element::Day => day.to_string(),
            Element::UnderDay => format!("{day:2}"),
            Element::ZeroDay => format!("{day:02}"),
            Element::UnderYearDay => format!("{:3}", year_day()),
            Element::ZeroYearDay => format!("{:03}", year_day()),
            Element::Hour => format!("{hour:02}"),
            Element::Hour12 => hour_12.to_string(),
            Element::ZeroHour12 => format!("{hour_12:02}"),
            Element::Minute => minute.to_string(),
            Element::ZeroMinute => format!("{minute:02}"),
            Element::Second => second.to_string(),
            Element::ZeroSecond => format!("{second:02}"),
            Element::Half => if hour >= 12 { "PM" } else { "AM" }.to_string(),
            Element::SmallHalf => if hour >= 12 { "pm" } else { "am" }.to_string(),
            Element::Abbreviation if self.name.is_empty() => offset_text(
                self.offset,
                Offset { has_z: false, has_minutes: true, has_seconds: false, has_colons: false },
            ),
            Element::Abbreviation => self.name.clone(),
            Element::Offset(form) => offset_text(self.offset, form),
            Element::Fraction { separator, digits, is_trimmed } => {
                let nanos = self.of_day % 1_000_000_000;
                let text = format!("{nanos:09}");
                let text = format!("{text:0<digits$}");
                match &text[..digits] {
                    text if is_trimmed && text.bytes().all(|digit| digit == b'0') => String::new(),
                    text if is_trimmed => format!("{separator}{}", text.trim_end_matches('0')),
                    text => format!("{separator}{text}"),
                }
            }
        });
    }
}

fn year_start(year: i128) -> i128 {
    i64::try_from(year).map_or(0, |year| day_of(year, 1, 1).into())
}

fn offset_text(offset: i64, form: Offset) -> String {
    if form.has_z && offset == 0 {
        return "Z".to_string();
    }
    // Minutes are cut, and their sign is that of the offset.
    let minutes = offset / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let colon = if form.has_colons { ":" } else { "" };
    let mut text = format!("{sign}{:02}", minutes.abs() / 60);
    if form.has_minutes {
        text.push_str(&format!("{colon}{:02}", minutes.abs() % 60));
    }
    if form.has_seconds {
        text.push_str(&format!("{colon}{:02}", offset.abs() % 60));
    }
    text
}

/// A time as RFC 3339 has it, with as many digits of the second as it needs; none of a year with more than four digits or
/// an offset of a day.
pub(super) fn rfc3339(time: i128, zone: Zone) -> Option<String> {
    let text = formatted("2006-01-02T15:04:05.999999999Z07:00", time, zone);
    let has_year = text.as_bytes().get(4) == Some(&b'-') && !text.starts_with('-');
    (has_year && zone.offset(time).abs() < 86_400).then_some(text)
}
