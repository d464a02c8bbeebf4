//! `ParseCSV`: one row of fields under the names of a header. Rules of quotes are those of Go's `encoding/csv`, several
//! lines are one row as in the reference.

use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, Written, needed, optional};
use crate::value::{Entry, Map, Value, put};

pub(super) static PARSE_CSV: Function = Function::new(
    "ParseCSV",
    &[
        needed("target", Kind::Text),
        needed("header", Kind::Text),
        optional("delimiter", Kind::LiteralText),
        optional("header_delimiter", Kind::LiteralText),
        optional("mode", Kind::LiteralText),
    ],
    map,
)
.checked(check);

fn check(written: &Written<'_>) -> Result<(), String> {
    written.one_of("mode", &["strict", "lazyQuotes", "ignoreQuotes"])?;
    let is_wrong = |name: &&str| written.text(name).is_some_and(|text| text.chars().count() != 1);
    match ["delimiter", "header_delimiter"].into_iter().find(is_wrong) {
        Some(name) => Err(written.named(format_args!("{name} must be one character"))),
        None => Ok(()),
    }
}

/// A field, the separators behind it and its list take no more than so many bytes for each byte of text.
const BUILT_PER_READ: usize = 32;

fn map<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (target, header) = (arguments.text(0)?, arguments.text(1)?);
    arguments.spend(target.len().saturating_add(header.len()).saturating_mul(BUILT_PER_READ))?;
    let delimiter = arguments.text_or(2, b",")?;
    let header_delimiter = if arguments.is_given(3) { arguments.text(3)? } else { delimiter.clone() };
    if header.is_empty() {
        return Err(Failure::Value);
    }
    let names = pieces(&header, &header_delimiter);
    let fields = match &*arguments.text_or(4, b"strict")? {
        b"ignoreQuotes" => pieces(&target, &delimiter).into_iter().map(<[u8]>::to_vec).collect(),
        mode => row(&target, &delimiter, mode == b"lazyQuotes")?,
    };
    if names.len() != fields.len() {
        return Err(Failure::Value);
    }
    let mut entries: Vec<Entry<'a>> = Vec::with_capacity(names.len());
    for (name, field) in names.into_iter().zip(fields) {
        arguments.spend(entries.len())?;
        put(&mut entries, name, Value::built(field));
    }
    Ok(Value::Map(Map::Owned(entries)))
}

fn pieces<'t>(text: &'t [u8], delimiter: &[u8]) -> Vec<&'t [u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in memchr::memmem::find_iter(text, delimiter) {
        pieces.push(&text[start..at]);
        start = at + delimiter.len();
    }
    pieces.push(&text[start..]);
    pieces
}

/// The fields of all lines: the first of a line continues the last of the line before it.
fn row(text: &[u8], delimiter: &[u8], is_lazy: bool) -> Result<Vec<Vec<u8>>, Failure> {
    if matches!(delimiter, b"\"" | b"\r" | b"\n" | b"\0" | b"\xef\xbf\xbd") {
        return Err(Failure::Value);
    }
    let mut lines = Lines { rest: text };
    let mut row: Option<Vec<Vec<u8>>> = None;
    while let Some(line) = lines.next() {
        if matches!(&line[..], b"" | b"\n") {
            continue;
        }
        let (fields, is_whole) = record(line, &mut lines, delimiter, is_lazy);
        if !is_whole && fields.is_empty() {
            return Err(Failure::Value);
        }
        match &mut row {
            None => row = Some(fields),
            Some(row) => {
                let mut fields = fields.into_iter();
                if let (Some(last), Some(first)) = (row.last_mut(), fields.next()) {
                    last.push(b'\n');
                    last.extend_from_slice(&first);
                }
                row.extend(fields);
            }
        }
    }
    row.ok_or(Failure::Value)
}

/// Lines with their ends, which are a line feed whatever they were; the last one may have none.
struct Lines<'t> {
    rest: &'t [u8],
}

impl Lines<'_> {
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(at) = memchr::memchr(b'\n', self.rest) else {
            let line = self.rest.strip_suffix(b"\r").unwrap_or(self.rest);
            self.rest = &[];
            return Some(line.to_vec());
        };
        let line = &self.rest[..at];
        let line = [line.strip_suffix(b"\r").unwrap_or(line), b"\n"].concat();
        self.rest = &self.rest[at + 1..];
        Some(line)
    }
}

/// The fields of a record that begins with `line` and goes on in `lines` as long as a quote is open; those before what is
/// wrong, and whether nothing was.
fn record(mut line: Vec<u8>, lines: &mut Lines<'_>, delimiter: &[u8], is_lazy: bool) -> (Vec<Vec<u8>>, bool) {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if line.get(at) != Some(&b'"') {
            let rest = &line[at..];
            let end = memchr::memmem::find(rest, delimiter);
            let field = end.map_or(rest.strip_suffix(b"\n").unwrap_or(rest), |end| &rest[..end]);
            if !is_lazy && field.contains(&b'"') {
                return (fields, false);
            }
            fields.push(field.to_vec());
            match end {
                Some(end) => at += end + delimiter.len(),
                None => return (fields, true),
            }
            continue;
        }
        at += 1;
        let mut field = Vec::new();
        let is_last = loop {
            let rest = &line[at..];
            match memchr::memchr(b'"', rest) {
                Some(quote) => {
                    field.extend_from_slice(&rest[..quote]);
                    at += quote + 1;
                    let behind = &line[at..];
                    if behind.first() == Some(&b'"') {
                        field.push(b'"');
                        at += 1;
                    } else if behind.starts_with(delimiter) {
                        at += delimiter.len();
                        break false;
                    } else if matches!(behind, b"" | b"\n") {
                        break true;
                    } else if is_lazy {
                        field.push(b'"');
                    } else {
                        return (fields, false);
                    }
                }
                None if !rest.is_empty() => {
                    field.extend_from_slice(rest);
                    line = lines.next().unwrap_or_default();
                    at = 0;
                }
                None if is_lazy => break true,
                None => return (fields, false),
            }
        };
        fields.push(field);
        if is_last {
            return (fields, true);
        }
    }
}
