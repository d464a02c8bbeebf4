//! `Time` and `FormatTime`: times by formats of directives. A directive stands for an element of Go's layouts, by which the
//! reference reads and writes times.
//!
//! A format is written as one layout; it is read with more freedom: numbers need no zeros before them, spaces may stand
//! before them, and offsets and some dates have several forms.

use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, Prepared, Written, needed, optional};
use crate::layout::{Locale, Mismatch, formatted, locale, read, translated};
use crate::value::Value;
use crate::zone::{Zone, civil, day_of, seconds};
use std::cell::Cell;

pub(super) static TIME: Function = Function::new(
    "Time",
    &[
        needed("time", Kind::Text),
        needed("format", Kind::LiteralText),
        optional("location", Kind::LiteralText),
        optional("locale", Kind::LiteralText),
    ],
    time,
)
.checked(check_call)
.prepared(|written, _| {
    let zone = written.text("location").and_then(Zone::of_name).unwrap_or(Zone::Utc);
    Ok(Prepared::own((zone, written.text("locale").and_then(locale))))
})
// A year that is not told is that of the span.
.depending_on_span(|written| written.text("format").is_some_and(|format| !has_year(format)));

pub(super) static FORMAT_TIME: Function =
    Function::new("FormatTime", &[needed("time", Kind::Time), needed("format", Kind::LiteralText)], text)
        .checked(check_call);

fn check_call(written: &Written<'_>) -> Result<(), String> {
    check(written.text("format").unwrap_or_default()).map_err(|reason| written.named(reason))?;
    match (written.text("location"), written.text("locale")) {
        (Some(name), _) if Zone::of_name(name).is_none() => {
            Err(written.named(format_args!("there is no time zone {name:?}")))
        }
        (_, Some(tag)) if locale(tag).is_none() => Err(written.named(format_args!("there is no locale {tag:?}"))),
        _ => Ok(()),
    }
}

/// Directives and the layout elements that they stand for.
const DIRECTIVES: &[(char, &str)] = &[
    ('Y', "2006"),
    ('y', "06"),
    ('m', "01"),
    ('o', "_1"),
    ('q', "1"),
    ('b', "Jan"),
    ('h', "Jan"),
    ('B', "January"),
    ('d', "02"),
    ('e', "_2"),
    ('g', "2"),
    ('a', "Mon"),
    ('A', "Monday"),
    ('H', "15"),
    ('l', "3"),
    ('I', "03"),
    ('p', "PM"),
    ('P', "pm"),
    ('M', "04"),
    ('S', "05"),
    ('L', "999"),
    ('f', "999999"),
    ('s', "999999999"),
    ('Z', "MST"),
    ('z', "Z0700"),
    ('w', "-070000"),
    ('i', "-07"),
    ('j', "-07:00"),
    ('k', "-07:00:00"),
    ('D', "01/02/2006"),
    ('x', "01/02/2006"),
    ('F', "2006-01-02"),
    ('T', "15:04:05"),
    ('X', "15:04:05"),
    ('r', "03:04:05 pm"),
    ('R', "15:04"),
    ('n', "\n"),
    ('t', "\t"),
    ('%', "%"),
    ('c', "Mon Jan 02 15:04:05 2006"),
];

/// Most directives of a format: a text is read by one after the other, each below the one before. No time has so many
/// parts.
/// At the bound: the configuration is refused.
const DIRECTIVES_MAX: usize = 64;

/// The layout element of a directive.
fn element(directive: char) -> Option<&'static str> {
    DIRECTIVES.iter().find(|(known, _)| *known == directive).map(|(_, element)| *element)
}

/// A piece of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'f> {
    /// Text between directives. It may hold elements of a layout too, as `Jan` or `MST`.
    Text(&'f str),
    /// The character behind a percent sign.
    Directive(char),
}

/// The pieces of a format. A percent sign before a line feed or at the end is text.
fn pieces(format: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = format;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let directive = |at: &usize| rest[at + 1..].chars().next().is_some_and(|directive| directive != '\n');
        let start = percent_signs(rest).find(directive);
        match start {
            Some(0) => {
                let directive = rest[1..].chars().next()?;
                rest = &rest[1 + directive.len_utf8()..];
                Some(Piece::Directive(directive))
            }
            start => {
                let (text, behind) = rest.split_at(start.unwrap_or(rest.len()));
                rest = behind;
                Some(Piece::Text(text))
            }
        }
    })
}

fn percent_signs(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.match_indices('%').map(|(at, _)| at)
}

/// What is wrong with a format, in words.
///
/// # Errors
/// Those words.
fn check(format: &str) -> Result<(), String> {
    if format.is_empty() {
        return Err("a format must not be empty".to_string());
    }
    if format.contains(|character: char| character.is_ascii_digit()) {
        return Err("a format must not contain digits".to_string());
    }
    for (at, _) in format.match_indices('%') {
        let before = format[..at].chars().last();
        let directive = format[at + 1..].chars().next();
        if let (Some(before), Some(directive @ ('L' | 'f' | 's'))) = (before, directive)
            && !matches!(before, '.' | ',')
        {
            return Err(format!("a point or a comma must stand before %{directive}"));
        }
    }
    let directives = pieces(format).filter_map(|piece| match piece {
        Piece::Directive(directive) => Some(directive),
        Piece::Text(_) => None,
    });
    let mut count = 0;
    for directive in directives {
        if element(directive).is_none() {
            return Err(format!("there is no directive %{directive}"));
        }
        count += 1;
    }
    if count > DIRECTIVES_MAX {
        return Err(format!("a format must not have more than {DIRECTIVES_MAX} directives"));
    }
    Ok(())
}

/// Whether a format says the year.
fn has_year(format: &str) -> bool {
    pieces(format).any(|piece| matches!(piece, Piece::Directive('Y' | 'y' | 'D' | 'x' | 'F' | 'c')))
}

/// The forms of a directive when it is read, where they are others than when it is written: each in elements that may have
/// spaces before them.
fn forms(directive: char) -> Option<&'static [&'static [&'static str]]> {
    Some(match directive {
        'm' | 'o' | 'q' => &[&["1"]],
        'd' | 'e' | 'g' => &[&["2"]],
        'I' => &[&["3"]],
        'M' => &[&["4"]],
        'S' => &[&["5"]],
        'D' | 'x' => &[&["1", "/", "2", "/", "2006"], &["1", "/", "2", "/", "06"]],
        'F' => &[&["2006", "-", "1", "-", "2"]],
        'T' | 'X' => &[&["15", ":", "4", ":", "5"]],
        'r' => &[&["3", ":", "4", ":", "5", " ", "pm"]],
        'R' => &[&["15", ":", "4"]],
        'c' => &[&["Mon", " ", "Jan", " ", "2", " ", "15", ":", "4", ":", "5", " ", "2006"]],
        'z' => &[&["Z0700"], &["Z07:00"], &["Z07"]],
        _ => return None,
    })
}

/// `FormatTime`
fn text<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (time, zone) = arguments.time(0)?;
    let format = arguments.text(1)?;
    let format = std::str::from_utf8(&format).map_err(|_| Failure::Value)?;
    let layout: String = pieces(format)
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Directive(directive) => element(directive).unwrap_or_default(),
        })
        .collect();
    arguments.spend(layout.len().saturating_mul(2))?;
    Ok(Value::built(formatted(&layout, time, zone)))
}

/// `Time`
fn time<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (zone, locale): &(Zone, Option<Locale>) = arguments.prepared()?;
    let (text, format) = (arguments.text(0)?, arguments.text(1)?);
    let (text, format) = (std::str::from_utf8(&text), std::str::from_utf8(&format));
    let (text, format) = (text.map_err(|_| Failure::Value)?, format.map_err(|_| Failure::Value)?);
    if text.is_empty() {
        return Err(Failure::Value);
    }
    let reader = Reader { arguments, text, zone: *zone, locale: locale.as_ref(), failure: Cell::new(None) };
    let pieces: Vec<Piece<'_>> = pieces(format).collect();
    match reader.read("", &pieces) {
        Ok((time, zone, year)) if year > 0 => Ok(Value::Time(time, zone)),
        Ok((time, zone, _)) => {
            // The year of the clock is that of the span here.
            let now = arguments.target.facts.ok_or(Failure::Missing)?.start_unix_nano.cast_signed().into();
            Ok(Value::Time(in_year(time, zone, now), zone))
        }
        Err(_) => Err(reader.failure.get().unwrap_or(Failure::Value)),
    }
}

struct Reader<'r, 'a, 't> {
    arguments: &'r Arguments<'a, 't>,
    text: &'r str,
    zone: Zone,
    /// The language of the text's names.
    locale: Option<&'r Locale>,
    /// Why nothing more is tried.
    failure: Cell<Option<Failure>>,
}

type Found = Result<(i128, Zone, i64), Mismatch>;

impl Reader<'_, '_, '_> {
    /// Reads the text by a layout and the pieces behind it. As deep as there are pieces, which their check bounds.
    fn read(&self, layout: &str, pieces: &[Piece<'_>]) -> Found {
        let Some((piece, behind)) = pieces.split_first() else { return self.read_once(layout) };
        let directive = match piece {
            Piece::Text(text) => return self.read(&format!("{layout}{text}"), behind),
            Piece::Directive(directive) => *directive,
        };
        let written = [element(directive).unwrap_or_default()];
        let only: &[&[&str]] = &[&written];
        let mut found = Err(Mismatch { element: String::new(), rest: String::new() });
        for form in forms(directive).unwrap_or(only) {
            let is_mismatch;
            (found, is_mismatch) = self.read_form(layout, form, directive, behind);
            if !is_mismatch {
                break;
            }
        }
        found
    }

    /// Reads the text by one form of a directive, with as many spaces before its parts as there are; and whether it was this
    /// form that did not match.
    fn read_form(&self, layout: &str, form: &[&str], directive: char, behind: &[Piece<'_>]) -> (Found, bool) {
        let mut elements: Vec<String> = form.iter().map(|element| (*element).to_string()).collect();
        loop {
            let mut found = self.read(&format!("{layout}{}", elements.concat()), behind);
            let Err(mismatch) = &mut found else { return (found, false) };
            let place = elements.iter().position(|element| !element.is_empty() && *element == mismatch.element);
            let Some(place) = place else { return (found, false) };
            mismatch.element = format!("%{directive}");
            let is_space = |character: char| matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{c}');
            let trimmed = mismatch.rest.trim_start_matches(is_space).len();
            let spaces = mismatch.rest[..mismatch.rest.len() - trimmed].to_string();
            let takes_spaces = elements[place].starts_with(|first: char| first.is_ascii_digit() || first == 'Z');
            if !takes_spaces || spaces.is_empty() || self.failure.get().is_some() {
                return (found, true);
            }
            elements.insert(place, spaces);
        }
    }

    fn read_once(&self, layout: &str) -> Found {
        let cost = layout.len().saturating_add(self.text.len()).saturating_mul(4);
        if let Err(failure) = self.arguments.spend(cost) {
            self.failure.set(Some(failure));
            return Err(Mismatch { element: String::new(), rest: String::new() });
        }
        let english;
        let text = match self.locale {
            Some(locale) => {
                english = translated(layout, self.text, locale)?;
                &english
            }
            None => self.text,
        };
        let found = read(layout, text, self.zone)?;
        let span = found.1.at(seconds(found.0));
        let default = self.zone.at(seconds(found.0)).name;
        if span.offset != 0 || span.name == "UTC" || span.name == default {
            return Ok(found);
        }
        // An abbreviation that the zone does not know: perhaps it is the name of a zone itself.
        let none = || Mismatch { element: String::new(), rest: String::new() };
        let zone = Zone::of_name(&span.name).filter(|_| span.name != "Local").ok_or_else(none)?;
        Ok(read(layout, text, zone).unwrap_or(found))
    }
}

/// A time in the year of `now`, or in the year before where it would be more than a week ahead.
fn in_year(time: i128, zone: Zone, now: i128) -> i128 {
    const DAY: i128 = 86_400_000_000_000;
    let local = time + i128::from(zone.offset(time)) * 1_000_000_000;
    let (_, month, day) = civil(local.div_euclid(DAY));
    let (year, _, _) = civil(now.div_euclid(DAY));
    let of_year = |year: i128| {
        let date = |part: i128| i64::try_from(part).unwrap_or(0);
        let days = day_of(date(year), date(month), date(day));
        let local = i128::from(days) * DAY + local.rem_euclid(DAY);
        let guess = local - i128::from(zone.offset(local)) * 1_000_000_000;
        local - i128::from(zone.offset(guess)) * 1_000_000_000
    };
    let found = of_year(year);
    if found > now + 7 * DAY { of_year(year - 1) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_cut_at_its_directives() {
        let cut: Vec<Piece<'_>> = pieces("a%Y-%%%\n%").collect();
        let text = Piece::Text;
        assert_eq!(cut, [text("a"), Piece::Directive('Y'), text("-"), Piece::Directive('%'), text("%\n%")]);
        assert!(pieces("").next().is_none());
    }

    #[test]
    fn formats_are_bounded_and_checked() {
        assert!(check(&"%d".repeat(DIRECTIVES_MAX)).is_ok());
        for (format, words) in [
            (&*"%d".repeat(DIRECTIVES_MAX + 1), "more than 64"),
            ("", "empty"),
            ("%Y2", "digits"),
            ("%Q", "no directive %Q"),
            ("a%L", "point or a comma"),
            ("%%f", "point or a comma"),
        ] {
            assert!(check(format).unwrap_err().contains(words), "{format}");
        }
    }
}
