//! Times by formats of directives. A format is written as one layout; it is read with more freedom: numbers need no zeros
//! before them, spaces may stand before them, and offsets and some dates have several forms.

use super::super::Arguments;
use super::super::zone::{Zone, day_of, seconds};
use super::{Mismatch, civil, formatted, read, translated};
use crate::error::Failure;
use crate::locale::Locale;
use crate::time_format::{self, Piece, element, pieces};
use crate::value::Value;
use std::cell::Cell;

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
pub(in super::super) fn text<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (time, zone) = arguments.time(0)?;
    let format = arguments.text(1)?;
    let format = std::str::from_utf8(&format).map_err(|_| Failure::Value)?;
    let layout: String = pieces(format)
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Directive(directive) => element(directive).unwrap_or_default(),
        })
        .collect();
    arguments.target.spend(layout.len().saturating_mul(2))?;
    Ok(Value::built(formatted(&layout, time, zone)))
}

/// `Time`
pub(in super::super) fn time<'a>(
    arguments: &Arguments<'a, '_>,
    zone: Zone,
    locale: Option<&Locale>,
) -> Result<Value<'a>, Failure> {
    let (text, format) = (arguments.text(0)?, arguments.text(1)?);
    let (text, format) = (std::str::from_utf8(&text), std::str::from_utf8(&format));
    let (text, format) = (text.map_err(|_| Failure::Value)?, format.map_err(|_| Failure::Value)?);
    if text.is_empty() {
        return Err(Failure::Value);
    }
    let reader = Reader { arguments, text, zone, locale, failure: Cell::new(None) };
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
        if let Err(failure) = self.arguments.target.spend(cost) {
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
        let zone: Zone = time_format::location(&span.name).filter(|_| span.name != "Local").ok_or_else(none)?.into();
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
