//! The elements of a layout: examples of the parts of a time.

pub(super) const MONTHS: [&str; 12] = [
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
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A part of a time that an element of a layout stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
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
pub(super) struct Offset {
    /// Whether none is a `Z`.
    pub(super) has_z: bool,
    pub(super) has_minutes: bool,
    pub(super) has_seconds: bool,
    pub(super) has_colons: bool,
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
pub(super) fn next_element(layout: &str) -> Option<(usize, Element, usize)> {
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
