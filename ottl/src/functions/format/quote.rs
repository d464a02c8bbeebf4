//! Texts and characters in quotes, as Go's source has them.

use super::flags::Flags;

/// Whether Go calls a character printable: letters, marks, numbers, punctuation, symbols and the space.
fn is_printable(character: char) -> bool {
    // Behind another one a mark is not escaped for being a mark.
    let pair: String = ['a', character].into_iter().collect();
    matches!(character, '"' | '\'' | '\\') || pair.escape_debug().eq(pair.chars())
}

fn escape(character: char, quote: char, is_ascii: bool, out: &mut String) {
    match character {
        '\\' => out.push_str("\\\\"),
        _ if character == quote => {
            out.push('\\');
            out.push(quote);
        }
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if (character.is_ascii() || !is_ascii) && is_printable(character) => out.push(character),
        _ if character < ' ' || character == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
        _ if u32::from(character) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(character))),
    }
}

/// A text in double quotes; in backquotes where that is asked for and possible.
pub(super) fn quoted(text: &[u8], flags: Flags) -> Vec<u8> {
    let is_plain = |character: char| {
        character == '\t' || !character.is_ascii_control() && !matches!(character, '`' | '\u{feff}' | '\u{fffd}')
    };
    if flags.sharp && std::str::from_utf8(text).is_ok_and(|text| text.chars().all(is_plain)) {
        return [b"`", text, b"`"].concat();
    }
    let mut out = String::from("\"");
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape(character, '"', flags.plus, &mut out);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out.into_bytes()
}

/// A character in single quotes.
pub(super) fn quoted_character(character: char, is_ascii: bool) -> String {
    let mut out = String::from("'");
    escape(character, '\'', is_ascii, &mut out);
    out.push('\'');
    out
}

/// `U+0041`, and the character itself behind it where that is asked for.
pub(super) fn code_point(number: i64, flags: Flags) -> String {
    let mut text = format!("{:0width$X}", number, width = flags.precision.unwrap_or(0).max(4));
    text.insert_str(0, "U+");
    match u32::try_from(number).ok().and_then(char::from_u32) {
        Some(character) if flags.sharp && is_printable(character) => format!("{text} '{character}'"),
        _ => text,
    }
}
