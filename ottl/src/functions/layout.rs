//! Times written and read by Go's layouts, where an example of a time stands for its parts.

pub(super) mod format;
mod read;
mod translate;

pub(super) use read::{Mismatch, read};
pub(super) use translate::translated;

use super::time::civil;
use super::zone::{Zone, seconds};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A part of a time that an element of a layout stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Year,
    LongYear,
    Month,
    LongMonth,
    NumericMonth,
    ZeroMonth,
    Weekday,
    LongWeekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    Half,
    SmallHalf,
    Abbreviation,
    Offset(Offset),
    /// Digits behind a separator: as many as there are, or as many as are not zero.
    Fraction {
        separator: char,
        digits: usize,
        is_trimmed: bool,
    },
}

/// How an offset from universal time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset {
    /// Whether none is a `Z`.
    has_z: bool,
    has_minutes: bool,
    has_seconds: bool,
    has_colons: bool,
}

impl Offset {
    /// The forms behind the sign or the `Z`, the longest of those with the same start first.
    const FORMS: [(&'static str, bool, bool, bool); 5] = [
        ("070000", true, true, false),
        ("07:00:00", true, true, true),
        ("0700", true, false, false),
        ("07:00", true, false, true),
        ("07", false, false, false),
    ];

    fn of(layout: &str) -> Option<(Self, usize)> {
        let has_z = layout.starts_with('Z');
        let (form, has_minutes, has_seconds, has_colons) =
            Self::FORMS.into_iter().find(|(form, ..)| layout[1..].starts_with(form))?;
        Some((Self { has_z, has_minutes, has_seconds, has_colons }, 1 + form.len()))
    }
}

/// The first element of a layout, where it begins and where it ends.
fn next_element(layout: &str) -> Option<(usize, Element, usize)> {
    layout.char_indices().find_map(|(start, _)| {
        let (element, length) = element_at(&layout[start..])?;
        // An underscore before a year is text.
        let skipped = usize::from(element == Element::LongYear && layout[start..].starts_with('_'));
        Some((start + skipped, element, start + length))
    })
}

fn element_at(layout: &str) -> Option<(Element, usize)> {
    let is_lower = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    let fixed: &[(&str, Element)] = match layout.chars().next()? {
        'J' if layout.starts_with("Jan") => {
            return match layout.starts_with("January") {
                true => Some((Element::LongMonth, 7)),
                false => (!is_lower(&layout[3..])).then_some((Element::Month, 3)),
            };
        }
        'M' if layout.starts_with("Mon") => {
            return match layout.starts_with("Monday") {
                true => Some((Element::LongWeekday, 6)),
                false => (!is_lower(&layout[3..])).then_some((Element::Weekday, 3)),
            };
        }
        '-' | 'Z' => return Offset::of(layout).map(|(offset, length)| (Element::Offset(offset), length)),
        '.' | ',' => return fraction(layout),
        'M' => &[("MST", Element::Abbreviation)],
        '0' => &[
            ("01", Element::ZeroMonth),
            ("02", Element::ZeroDay),
            ("03", Element::ZeroHour12),
            ("04", Element::ZeroMinute),
            ("05", Element::ZeroSecond),
            ("06", Element::Year),
            ("002", Element::ZeroYearDay),
        ],
        '1' => &[("15", Element::Hour), ("1", Element::NumericMonth)],
        '2' => &[("2006", Element::LongYear), ("2", Element::Day)],
        '_' => &[("_2006", Element::LongYear), ("_2", Element::UnderDay), ("__2", Element::UnderYearDay)],
        '3' => &[("3", Element::Hour12)],
        '4' => &[("4", Element::Minute)],
        '5' => &[("5", Element::Second)],
        'P' => &[("PM", Element::Half)],
        'p' => &[("pm", Element::SmallHalf)],
        _ => return None,
    };
    fixed.iter().find(|(text, _)| layout.starts_with(text)).map(|(text, element)| (*element, text.len()))
}

/// A separator and zeros or nines, with no other digit behind them.
fn fraction(layout: &str) -> Option<(Element, usize)> {
    let mut characters = layout.chars();
    let (separator, digit) = (characters.next()?, characters.next()?);
    if !matches!(digit, '0' | '9') {
        return None;
    }
    let digits = layout[1..].chars().take_while(|character| *character == digit).count();
    let is_end = !layout[1 + digits..].starts_with(|c: char| c.is_ascii_digit());
    is_end.then_some((Element::Fraction { separator, digits, is_trimmed: digit == '9' }, 1 + digits))
}

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
    i64::try_from(year).map_or(0, |year| super::zone::day_of(year, 1, 1).into())
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
