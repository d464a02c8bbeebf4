//! Numbers as Go's `fmt` writes them.

use super::flags::Flags;
use super::quote::code_point;
use crate::error::Failure;
use crate::target::Target;

/// A text and the flags it is padded with.
type Padded = Option<(Vec<u8>, Flags)>;

/// An integer by its verb; none for a verb that integers don't have.
pub(super) fn integer(number: i64, verb: char, flags: Flags, target: &Target<'_>) -> Result<Padded, Failure> {
    let magnitude = number.unsigned_abs();
    let digits = match verb {
        'v' | 'd' => magnitude.to_string(),
        'b' => format!("{magnitude:b}"),
        'o' | 'O' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'U' => {
            target.spend(flags.precision.unwrap_or(0))?;
            return Ok(Some((code_point(number, flags).into_bytes(), Flags { zero: false, ..flags })));
        }
        _ => return Ok(None),
    };
    let unpadded = Flags { zero: false, ..flags };
    if flags.precision == Some(0) && number == 0 {
        return Ok(Some((Vec::new(), unpadded)));
    }
    // Zeros before the number stand between it and its sign.
    let zeros = match (flags.precision, flags.width) {
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero && !flags.minus => {
            width.saturating_sub(usize::from(number < 0 || flags.plus || flags.space))
        }
        _ => 0,
    };
    target.spend(zeros)?;
    let digits = format!("{digits:0>zeros$}");
    let prefix = match verb {
        'b' if flags.sharp => "0b",
        'o' | 'O' if flags.sharp && !digits.starts_with('0') => "0",
        'x' if flags.sharp => "0x",
        'X' if flags.sharp => "0X",
        _ => "",
    };
    let octal = if verb == 'O' { "0o" } else { "" };
    let sign = match () {
        () if number < 0 => "-",
        () if flags.plus => "+",
        () if flags.space => " ",
        () => "",
    };
    Ok(Some((format!("{sign}{octal}{prefix}{digits}").into_bytes(), unpadded)))
}

/// Bytes as hexadecimal digits, as many bytes as the precision says.
pub(super) fn hexadecimal_text(text: &[u8], is_upper: bool, flags: Flags) -> Vec<u8> {
    let text = &text[..flags.precision.unwrap_or(text.len()).min(text.len())];
    let prefix = match (flags.sharp, is_upper) {
        (true, true) => "0X",
        (true, false) => "0x",
        _ => "",
    };
    let mut out = String::with_capacity(text.len() * 2 + 2);
    for (position, byte) in text.iter().enumerate() {
        if flags.space && position > 0 {
            out.push(' ');
        }
        if flags.space || position == 0 {
            out.push_str(prefix);
        }
        out.push_str(&if is_upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
    }
    out.into_bytes()
}

/// Most digits behind a point that are written out: a double has no more than 1,074 that are not zero.
const DOUBLE_DIGITS_MAX: usize = 1_100;

/// A double by its verb; none for a verb that doubles don't have.
///
/// # Errors
/// `Value` for a precision beyond `DOUBLE_DIGITS_MAX`.
pub(super) fn double(number: f64, verb: char, flags: Flags) -> Result<Padded, Failure> {
    if flags.precision.is_some_and(|precision| precision > DOUBLE_DIGITS_MAX) {
        return Err(Failure::Value);
    }
    let precision = flags.precision;
    let magnitude = number.abs();
    let mut text = match verb {
        _ if number.is_nan() => "NaN".to_string(),
        _ if number.is_infinite() => "Inf".to_string(),
        'v' | 'g' => general(magnitude, precision),
        'G' => general(magnitude, precision).to_uppercase(),
        'f' | 'F' => format!("{magnitude:.*}", precision.unwrap_or(6)),
        'e' => exponential(magnitude, precision.unwrap_or(6)),
        'E' => exponential(magnitude, precision.unwrap_or(6)).to_uppercase(),
        'b' => binary(magnitude),
        'x' => hexadecimal(magnitude, precision),
        'X' => hexadecimal(magnitude, precision).to_uppercase(),
        _ => return Ok(None),
    };
    if !matches!(verb, 'v' | 'g' | 'G' | 'f' | 'F' | 'e' | 'E' | 'b' | 'x' | 'X') {
        return Ok(None);
    }
    if number.is_finite() && flags.sharp && verb != 'b' {
        text = with_point(text, verb, precision);
    }
    let is_negative = number.is_sign_negative() && !number.is_nan();
    let sign = match () {
        () if is_negative => "-",
        () if flags.plus => "+",
        () if flags.space => " ",
        () if number.is_infinite() => "+",
        () => "",
    };
    let fill = if number.is_finite() { flags } else { Flags { zero: false, ..flags } };
    // Zeros stand between the sign and the number.
    let width = flags.width.unwrap_or(0);
    if fill.zero && !fill.minus && !sign.is_empty() && width > text.len() + 1 {
        text = format!("{text:0>width$}", width = width - 1);
    }
    Ok(Some((format!("{sign}{text}").into_bytes(), fill)))
}

/// With two digits of the exponent at least, and its sign.
fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

fn exponential(magnitude: f64, precision: usize) -> String {
    let text = format!("{magnitude:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => with_exponent(mantissa, exponent.parse().unwrap_or(0)),
        None => text,
    }
}

/// The shorter of the two forms, without zeros at its end.
fn general(magnitude: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{magnitude:.*e}", precision.max(1) - 1),
        None => format!("{magnitude:e}"),
    };
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(|character| *character != '.').collect();
    let digits = digits.trim_end_matches('0');
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if digits.is_empty() {
        return "0".to_string();
    }
    let limit = match precision.map(|precision| i32::try_from(precision.max(1)).unwrap_or(i32::MAX)) {
        None => 6,
        Some(limit) if limit > count && count > exponent => count,
        Some(limit) => limit,
    };
    if exponent < -4 || exponent >= limit {
        let (first, rest) = digits.split_at(1);
        let mantissa = if rest.is_empty() { first.to_string() } else { format!("{first}.{rest}") };
        return with_exponent(&mantissa, exponent);
    }
    let behind = usize::try_from(count - 1 - exponent).unwrap_or(0);
    match precision {
        None => format!("{magnitude}"),
        // Rounded already: the digits are placed about the point.
        Some(_) => placed(digits, exponent, behind),
    }
}

fn placed(digits: &str, exponent: i32, behind: usize) -> String {
    match usize::try_from(exponent) {
        Ok(exponent) if digits.len() <= exponent + 1 => format!("{digits:0<width$}", width = exponent + 1),
        Ok(exponent) => format!("{}.{}", &digits[..=exponent], &digits[exponent + 1..]),
        Err(_) => format!("0.{digits:0>behind$}"),
    }
}

/// With a point, and zeros up to the precision, as `%#` wants it.
fn with_point(text: String, verb: char, precision: Option<usize>) -> String {
    let is_hexadecimal = matches!(verb, 'x' | 'X');
    let tail = text.find(|c: char| matches!(c, 'p' | 'P') || !is_hexadecimal && matches!(c, 'e' | 'E'));
    let (number, tail) = text.split_at(tail.unwrap_or(text.len()));
    let mut digits = match verb {
        'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = number.trim_start_matches(['0', '.']).chars().filter(|character| *character != '.').count();
    digits = digits.saturating_sub(significant);
    let mut number = number.to_string();
    if !number.contains('.') {
        if number == "0" {
            digits = digits.saturating_sub(1);
        }
        number.push('.');
    }
    format!("{number}{}{tail}", "0".repeat(digits))
}

/// The mantissa as an integer, and the power of two.
fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts(magnitude);
    format!("{mantissa}p{exponent:+}")
}

/// The mantissa as an integer and its exponent, as the bits have them.
fn parts(magnitude: f64) -> (u64, i64) {
    let bits = magnitude.to_bits();
    let exponent = i64::try_from(bits >> 52).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) }
}

/// `0x1.8p+01`, rounded to even.
fn hexadecimal(magnitude: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(magnitude);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The first digit is one: 52 bits behind it, and eight more to tell where to round.
        exponent += 52;
        while mantissa & 1 << 52 == 0 {
            mantissa <<= 1;
            exponent -= 1;
        }
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let cut = 52 - precision * 4;
        let (kept, rest, half) = (mantissa >> cut, mantissa & ((1 << cut) - 1), 1 << (cut - 1));
        let is_up = rest > half || rest == half && kept & 1 == 1;
        mantissa = (kept + u64::from(is_up)) << cut;
        if mantissa >> 53 > 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_string(),
        Some(precision) => format!("{digits:0<precision$}")[..precision].to_string(),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{digits}p{sign}{:02}", mantissa >> 52, exponent.unsigned_abs())
}
