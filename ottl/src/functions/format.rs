//! `Format`: Go's `fmt.Sprintf` over the values of a condition, its words for what does not fit included.

mod flags;
mod number;
mod quote;

use crate::convert::hexadecimal;
use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, needed};
use crate::layout;
use crate::target::Target;
use crate::value::{ListKind, Value};
use flags::Flags;
use number::{double, hexadecimal_text, integer};
use quote::{quoted, quoted_character};
use std::ops::ControlFlow;

pub(super) static FORMAT: Function =
    Function::new("Format", &[needed("format", Kind::LiteralText), needed("vals", Kind::ManyAny)], text);

/// Largest width, precision or index of an argument: Go's own bound.
const NUMBER_MAX: usize = 1_000_000;

fn text<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let format = arguments.text(0)?;
    let values = arguments.many(1).unwrap_or_default().iter().map(|node| arguments.value(node));
    let values: Vec<Value<'a>> = values.collect::<Result<_, _>>()?;
    let mut printer = Printer { target: arguments.target, out: Vec::with_capacity(format.len() + 32) };
    Directives { format: &format, at: 0, values: &values, next: 0, is_reordered: false, is_good: true }
        .print(&mut printer)?;
    Ok(Value::built(printer.out))
}

/// The format while it is read.
struct Directives<'f, 'v, 'a> {
    format: &'f [u8],
    at: usize,
    values: &'v [Value<'a>],
    /// The value that the next verb takes.
    next: usize,
    is_reordered: bool,
    /// Whether the index of the verb at hand is one.
    is_good: bool,
}

impl Directives<'_, '_, '_> {
    fn print(mut self, printer: &mut Printer<'_, '_>) -> Result<(), Failure> {
        while self.at < self.format.len() {
            let rest = &self.format[self.at..];
            let Some(percent) = memchr::memchr(b'%', rest) else {
                printer.write(rest)?;
                break;
            };
            printer.write(&rest[..percent])?;
            self.at += percent + 1;
            self.is_good = true;
            if self.directive(printer)?.is_break() {
                break;
            }
        }
        if !self.is_reordered && self.next < self.values.len() {
            printer.write(b"%!(EXTRA ")?;
            for (position, value) in self.values[self.next..].iter().enumerate() {
                printer.write(if position > 0 { b", " } else { b"" })?;
                if matches!(value, Value::Nil) {
                    printer.write(b"<nil>")?;
                } else {
                    printer.write(format!("{}=", type_name(value)).as_bytes())?;
                    printer.value(value, 'v', Flags::default(), Place::TOP)?;
                }
            }
            printer.write(b")")?;
        }
        Ok(())
    }

    /// What is behind a percent sign; breaks when the format ends there.
    fn directive(&mut self, printer: &mut Printer<'_, '_>) -> Result<ControlFlow<()>, Failure> {
        let mut flags = self.flags();
        let mut after_index = self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.integer_argument() {
                Some(width) if width < 0 => {
                    (flags.minus, flags.zero) = (true, false);
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                Some(width) => flags.width = usize::try_from(width).ok(),
                None => printer.write(b"%!(BADWIDTH)")?,
            }
            after_index = false;
        } else {
            flags.width = self.number(self.format.len());
            self.is_good &= !(after_index && flags.width.is_some());
        }
        if self.peek() == Some(b'.') && self.at + 1 < self.format.len() {
            self.at += 1;
            self.is_good &= !after_index;
            after_index = self.index();
            if self.peek() == Some(b'*') {
                self.at += 1;
                flags.precision = self.integer_argument().and_then(|precision| usize::try_from(precision).ok());
                if flags.precision.is_none() {
                    printer.write(b"%!(BADPREC)")?;
                }
                after_index = false;
            } else {
                flags.precision = Some(self.number(self.format.len()).unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        let Some(verb) = self.verb() else {
            printer.write(b"%!(NOVERB)")?;
            return Ok(ControlFlow::Break(()));
        };
        let wrong = |words: &str| format!("%!{verb}({words})").into_bytes();
        match self.values.get(self.next) {
            _ if verb == '%' => printer.write(b"%")?,
            _ if !self.is_good => printer.write(&wrong("BADINDEX"))?,
            None => printer.write(&wrong("MISSING"))?,
            Some(value) => {
                self.next += 1;
                if verb == 'v' {
                    (flags.is_source, flags.sharp, flags.plus) = (flags.sharp, false, false);
                }
                printer.value(value, verb, flags, Place::TOP)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        flags
    }

    /// The verb; a byte that is no character is the replacement character, and one byte long.
    fn verb(&mut self) -> Option<char> {
        let rest = self.format.get(self.at..).filter(|rest| !rest.is_empty())?;
        let chunk = rest.utf8_chunks().next()?;
        let verb = chunk.valid().chars().next();
        self.at += verb.map_or(1, char::len_utf8);
        Some(verb.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Digits up to `end`. A number that is too large is none, and nothing behind it is read.
    fn number(&mut self, end: usize) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.peek().filter(|byte| self.at < end && byte.is_ascii_digit()) {
            let before = number.unwrap_or(0);
            if before > NUMBER_MAX {
                self.at = end;
                return None;
            }
            number = Some(before * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    /// An index in brackets, from one; whether there was one.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.is_reordered = true;
        let rest = &self.format[self.at..];
        let Some(close) = memchr::memchr(b']', rest).filter(|_| rest.len() >= 3) else {
            self.is_good = false;
            self.at += 1;
            return false;
        };
        let end = self.at + close;
        self.at += 1;
        let number = self.number(end).filter(|_| self.at == end);
        self.at = end + 1;
        match number.map(|number| number.checked_sub(1)) {
            Some(Some(index)) if index < self.values.len() => {
                self.next = index;
                true
            }
            found => {
                self.is_good = false;
                found.is_some()
            }
        }
    }

    /// A width or precision from the values.
    fn integer_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value {
            Value::Integer(number) | Value::Port(number) | Value::Duration(number) => {
                (number.unsigned_abs() <= NUMBER_MAX as u64).then_some(*number)
            }
            _ => None,
        }
    }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    is_element: bool,
    /// In the words about a verb that does not fit, where values don't speak for themselves.
    is_error: bool,
}

impl Place {
    const TOP: Self = Self { is_element: false, is_error: false };
}

struct Printer<'a, 't> {
    target: &'t Target<'a>,
    out: Vec<u8>,
}

impl Printer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.target.spend(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes a text in its width.
    fn pad(&mut self, text: &[u8], flags: Flags) -> Result<(), Failure> {
        let width = flags.width.unwrap_or(0).saturating_sub(characters(text));
        self.target.spend(width)?;
        let filler = if flags.zero && !flags.minus { b'0' } else { b' ' };
        if flags.minus {
            self.write(text)?;
        }
        self.out.resize(self.out.len() + width, filler);
        if !flags.minus {
            self.write(text)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Value<'_>, verb: char, flags: Flags, place: Place) -> Result<(), Failure> {
        match (value, verb) {
            (Value::Nil, 'T' | 'v') if !place.is_element => self.pad(b"<nil>", flags),
            (Value::Nil, _) if place.is_element => {
                self.write(if flags.is_source { b"interface {}(nil)" } else { b"<nil>" })
            }
            (_, 'T') if !place.is_element => self.text(type_name(value).as_bytes(), 's', value, flags),
            // Addresses have no meaning here.
            (Value::List(_) | Value::Map(_) | Value::Bytes(_), 'p') if !place.is_element => Err(Failure::Type),
            (Value::Nil, _) | (_, 'w') => self.bad(value, verb, flags),
            (_, 'p') if !place.is_element => self.bad(value, verb, flags),
            (Value::Boolean(truth), 't' | 'v') => self.pad(if *truth { b"true" } else { b"false" }, flags),
            (Value::Integer(number) | Value::Port(number), _) => self.integer(*number, verb, value, flags),
            (Value::Double(number), _) => match double(*number, verb, flags)? {
                Some((text, flags)) => self.pad(&text, flags),
                None => self.bad(value, verb, flags),
            },
            (Value::Text(text), _) => self.text(text, verb, value, flags),
            (Value::Bytes(bytes), _) => self.bytes(bytes, verb, value, flags, place),
            (Value::Duration(number), _) => match own_words(verb, flags, place) {
                true => self.text(duration(*number).as_bytes(), verb, value, flags),
                false => self.integer(*number, verb, value, flags),
            },
            (Value::Time(time, zone), _) if own_words(verb, flags, place) => {
                let text = layout::formatted("2006-01-02 15:04:05.999999999 -0700 MST", *time, *zone);
                self.text(text.as_bytes(), verb, value, flags)
            }
            (Value::TraceId(id) | Value::ProfileId(id), _) => self.id(id, verb, value, flags, place),
            (Value::SpanId(id), _) => self.id(id, verb, value, flags, place),
            (Value::List(list), _) if list.kind() != ListKind::Slice => {
                let (separator, open, close): (&[u8], _, &[u8]) = match flags.is_source {
                    true => (b", ", format!("{}{{", type_name(value)), b"}"),
                    false => (b" ", "[".to_string(), b"]"),
                };
                self.write(open.as_bytes())?;
                for (position, element) in list.iter().enumerate() {
                    self.write(if position > 0 { separator } else { b"" })?;
                    self.value(&element, verb, flags, Place { is_element: true, ..place })?;
                }
                self.write(close)
            }
            (Value::Boolean(_), _) => self.bad(value, verb, flags),
            // The reference writes the insides of its own types: addresses in memory.
            _ => Err(Failure::Type),
        }
    }

    fn integer(&mut self, number: i64, verb: char, value: &Value<'_>, flags: Flags) -> Result<(), Failure> {
        let character = || u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        match verb {
            'c' => self.pad(character().to_string().as_bytes(), flags),
            'q' => self.pad(quoted_character(character(), flags.plus).as_bytes(), flags),
            _ => match integer(number, verb, flags, self.target)? {
                Some((text, flags)) => self.pad(&text, flags),
                None => self.bad(value, verb, flags),
            },
        }
    }

    fn text(&mut self, text: &[u8], verb: char, value: &Value<'_>, flags: Flags) -> Result<(), Failure> {
        let cut = |text: &[u8]| match flags.precision {
            Some(precision) => first_characters(text, precision).to_vec(),
            None => text.to_vec(),
        };
        match verb {
            'v' if flags.is_source => self.pad(&quoted(&cut(text), flags), flags),
            'v' | 's' => self.pad(&cut(text), flags),
            'q' => self.pad(&quoted(&cut(text), flags), flags),
            'x' | 'X' => self.pad(&hexadecimal_text(text, verb == 'X', flags), flags),
            _ => self.bad(value, verb, flags),
        }
    }

    fn bytes(
        &mut self,
        bytes: &[u8],
        verb: char,
        value: &Value<'_>,
        flags: Flags,
        place: Place,
    ) -> Result<(), Failure> {
        match verb {
            's' | 'q' | 'x' | 'X' => self.text(bytes, verb, value, flags),
            'v' if flags.is_source => {
                self.write(if place.is_element { b"[]uint8{" } else { b"[]byte{" })?;
                self.digits(bytes)
            }
            _ => self.numbers(bytes, verb, flags),
        }
    }

    fn id(&mut self, id: &[u8], verb: char, value: &Value<'_>, flags: Flags, place: Place) -> Result<(), Failure> {
        if own_words(verb, flags, place) {
            let is_empty = id.iter().all(|byte| *byte == 0);
            let text = if is_empty { Vec::new() } else { hexadecimal(id) };
            return self.text(&text, verb, value, flags);
        }
        match verb {
            's' | 'q' | 'x' | 'X' => self.text(id, verb, value, flags),
            'v' if flags.is_source => {
                self.write(format!("{}{{", type_name(value)).as_bytes())?;
                self.digits(id)
            }
            _ => self.numbers(id, verb, flags),
        }
    }

    /// The rest of a list of bytes in Go's source.
    fn digits(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
        self.write(format!("{}}}", digits.join(", ")).as_bytes())
    }

    /// Bytes one by one.
    fn numbers(&mut self, bytes: &[u8], verb: char, flags: Flags) -> Result<(), Failure> {
        self.write(b"[")?;
        for (position, byte) in bytes.iter().enumerate() {
            self.write(if position > 0 { b" " } else { b"" })?;
            match integer(i64::from(*byte), verb, flags, self.target)? {
                Some((text, flags)) => self.pad(&text, flags)?,
                None if verb == 'c' => self.pad(char::from(*byte).to_string().as_bytes(), flags)?,
                None => {
                    self.write(format!("%!{verb}(uint8=").as_bytes())?;
                    if let Some((text, flags)) = integer(i64::from(*byte), 'v', flags, self.target)? {
                        self.pad(&text, flags)?;
                    }
                    self.write(b")")?;
                }
            }
        }
        self.write(b"]")
    }

    /// The words about a verb that does not suit a value.
    fn bad(&mut self, value: &Value<'_>, verb: char, flags: Flags) -> Result<(), Failure> {
        if matches!(value, Value::Nil) {
            return self.write(format!("%!{verb}(<nil>)").as_bytes());
        }
        self.write(format!("%!{verb}({}=", type_name(value)).as_bytes())?;
        self.value(value, 'v', flags, Place { is_element: false, is_error: true })?;
        self.write(b")")
    }
}

/// Whether a value of a type with words of its own is written with them.
fn own_words(verb: char, flags: Flags, place: Place) -> bool {
    !place.is_error && !flags.is_source && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
}

fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Boolean(_) => "bool",
        Value::Integer(_) => "int64",
        Value::Port(_) => "int",
        Value::Double(_) => "float64",
        Value::Text(_) => "string",
        Value::Bytes(_) => "[]uint8",
        Value::TraceId(_) => "pcommon.TraceID",
        Value::SpanId(_) => "pcommon.SpanID",
        Value::ProfileId(_) => "pprofile.ProfileID",
        Value::Time(..) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Map(_) => "pcommon.Map",
        Value::List(list) => match list.kind() {
            ListKind::Slice => "pcommon.Slice",
            ListKind::Plain => "[]interface {}",
            ListKind::Texts => "[]string",
        },
        Value::Messages(crate::value::Messages::Events, _) => "ptrace.SpanEventSlice",
        Value::Messages(..) => "ptrace.SpanLinkSlice",
        Value::Status => "ptrace.Status",
    }
}

/// Characters of a text; each byte that belongs to none counts as one.
fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

fn first_characters(text: &[u8], count: usize) -> &[u8] {
    let mut left = count;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        let lengths = chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1));
        for length in lengths {
            if left == 0 {
                return &text[..end];
            }
            left -= 1;
            end += length;
        }
    }
    text
}

/// A duration as Go writes it: `1h2m3.5s`, and below a second in the largest unit that is not below one.
fn duration(nanos: i64) -> String {
    let (sign, all) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let decimal = |whole: u64, part: u64, digits: usize| {
        let part = format!("{part:0digits$}");
        match part.trim_end_matches('0') {
            "" => whole.to_string(),
            part => format!("{whole}.{part}"),
        }
    };
    match all {
        0 => "0s".to_string(),
        1..1_000 => format!("{sign}{all}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(all / 1_000, all % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(all / 1_000_000, all % 1_000_000, 6)),
        _ => {
            let seconds = all / 1_000_000_000;
            let rest = decimal(seconds % 60, all % 1_000_000_000, 9);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{sign}{rest}s"),
                (0, minutes) => format!("{sign}{minutes}m{rest}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}s"),
            }
        }
    }
}
