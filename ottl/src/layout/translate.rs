//! Names of another language made English, so that a layout can read them. The text is walked beside the layout, one byte
//! for one where the layout has no name, as the reference's `elastic/lunes` does it.

use super::element::{DAYS, MONTHS};
use super::locale::Locale;
use super::read::Mismatch;

/// The English text.
///
/// # Errors
/// `Mismatch`: without an element where the language does not have its names.
pub(crate) fn translated(layout: &str, text: &str, locale: &Locale) -> Result<String, Mismatch> {
    let mut translation = Translation { layout: layout.as_bytes(), text, at: 0, element: 0, out: String::new() };
    while translation.element < translation.layout.len() {
        translation.step(locale)?;
    }
    let rest = text.as_bytes().get(translation.at..).unwrap_or_default();
    translation.out.push_str(&String::from_utf8_lossy(rest));
    Ok(translation.out)
}

struct Translation<'l, 't> {
    layout: &'l [u8],
    text: &'t str,
    /// Where the text is.
    at: usize,
    /// Where the layout is.
    element: usize,
    out: String,
}

fn mismatch(element: &str) -> Mismatch {
    Mismatch { element: element.to_string(), rest: "unknown".to_string() }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0x85 | 0xa0)
}

impl Translation<'_, '_> {
    fn step(&mut self, locale: &Locale) -> Result<(), Mismatch> {
        let rest = &self.layout[self.element..];
        let is_lower = |at: usize| rest.get(at).is_some_and(u8::is_ascii_lowercase);
        let three = |names: &[&'static str]| names.iter().map(|name| &name[..3]).collect::<Vec<_>>();
        match rest[0] {
            b'J' if rest.starts_with(b"January") => self.name("January", &locale.long_months, &MONTHS),
            b'J' if rest.starts_with(b"Jan") && !is_lower(3) => self.name("Jan", &locale.short_months, &three(&MONTHS)),
            b'M' if rest.starts_with(b"Monday") => self.name("Monday", &locale.long_days, &DAYS),
            b'M' if rest.starts_with(b"Mon") && !is_lower(3) => self.name("Mon", &locale.short_days, &three(&DAYS)),
            b'P' if matches!(rest.get(1), Some(b'M' | b'm')) => self.name("PM", &locale.halves, &["AM", "PM"]),
            b'p' if matches!(rest.get(1), Some(b'M' | b'm')) => self.name("pm", &locale.halves, &["am", "pm"]),
            b'_' if rest.starts_with(b"_2006") && self.text.len() >= self.at + 5 => self.word("_2006"),
            b'_' if rest.starts_with(b"_2") && !rest.starts_with(b"_2006") && self.text.len() >= self.at + 2 => {
                self.word("_2")
            }
            b'_' if rest.starts_with(b"__2") && self.text.len() >= self.at + 3 => self.word("__2"),
            digit @ b'3'..=b'5' if self.element == 0 || self.layout[self.element - 1] != b'0' => self.digits(digit),
            _ => {
                self.element += 1;
                if let Some(byte) = self.text.as_bytes().get(self.at) {
                    // A byte that is no character becomes the one of its number, by a fault of the reference.
                    let character = char::from(*byte);
                    self.out.push(character);
                    self.at += character.len_utf8();
                }
                Ok(())
            }
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// Where the text goes on behind spaces, and how many there are.
    fn behind_spaces(&self) -> (usize, usize) {
        let spaces = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let spaces = spaces.iter().take_while(|byte| is_space(**byte)).count();
        (self.at + spaces, spaces)
    }

    fn put(&mut self, spaces: usize, text: &str) {
        self.out.push_str(&" ".repeat(spaces));
        self.out.push_str(text);
    }

    /// The longest of the names that the text goes on with, in English.
    fn name(&mut self, element: &str, names: &[&str], english: &[&str]) -> Result<(), Mismatch> {
        if names.is_empty() {
            return Err(Mismatch { element: String::new(), rest: String::new() });
        }
        let (start, spaces) = self.behind_spaces();
        let folded = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
        let mut found: Option<(usize, &str)> = None;
        for (name, meaning) in names.iter().zip(english) {
            let is_longer = found.is_none_or(|(length, _)| name.len() > length);
            let candidate = self.text.get(start..start + name.len());
            if is_longer && start < self.text.len() && candidate.is_some_and(|text| folded(text) == folded(name)) {
                found = Some((name.len(), meaning));
            }
        }
        let (length, meaning) = found.ok_or_else(|| mismatch(element))?;
        self.put(spaces, meaning);
        self.at = start + length;
        self.element += element.len();
        Ok(())
    }

    /// As many bytes as the element has, up to a space.
    fn word(&mut self, element: &str) -> Result<(), Mismatch> {
        let (start, spaces) = self.behind_spaces();
        if start >= self.text.len() {
            return Err(mismatch(element));
        }
        let bytes = self.text.as_bytes()[start..].iter().take(element.len());
        let word: Vec<u8> = bytes.copied().take_while(|byte| !is_space(*byte)).collect();
        self.put(spaces, &String::from_utf8_lossy(&word));
        self.at = start + word.len();
        self.element += element.len();
        Ok(())
    }

    /// One digit or two.
    fn digits(&mut self, digit: u8) -> Result<(), Mismatch> {
        let (start, spaces) = self.behind_spaces();
        let is_digit = |at: usize| self.byte(at).is_some_and(|byte| byte.is_ascii_digit());
        if !is_digit(start) {
            return Err(mismatch(&char::from(digit).to_string()));
        }
        let end = start + 1 + usize::from(is_digit(start + 1));
        let text = self.text.get(start..end).unwrap_or_default().to_string();
        self.put(spaces, &text);
        self.at = end;
        self.element += 1;
        Ok(())
    }
}
