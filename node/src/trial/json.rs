//! Splits a text into the JSON objects in it: one a line, several in a row, spread over lines, or the elements of an array.
//! An object that never ends costs itself: a line that begins a request begins anew.

use std::io::{self, BufRead};

/// The first keys of requests. A line that begins with one of them is the beginning of a request, whatever came before it.
const REQUESTS: [&str; 6] =
    ["resourceSpans", "resource_spans", "resourceMetrics", "resource_metrics", "resourceLogs", "resource_logs"];
/// Bytes of a line that are looked at to know a request by.
const BEGINNING_BYTES_MAX: usize = 64;

/// One object, or what is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// From the brace that opens it to the one that closes it.
    Object(Vec<u8>),
    /// Something that is no object, or one without an end; passed over.
    Fault(&'static str),
}

/// The state of the walk.
#[derive(Debug, Default)]
struct Splitter {
    object: Vec<u8>,
    /// Braces and brackets that are open; 0 between objects.
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// Where the last line begins in `object`; none when that is known to begin no request.
    line_start: Option<usize>,
    /// The rest of this line is passed over.
    is_skipping: bool,
    /// Lines from 1.
    line: u64,
    first_line: u64,
}

/// Gives each object in `reader` to `take`, with the line that it begins at. Those of more than `bytes_max` bytes are
/// faults.
///
/// # Errors
/// Of the reader, and of `take`.
pub fn objects(
    mut reader: impl BufRead,
    bytes_max: usize,
    mut take: impl FnMut(u64, Piece) -> io::Result<()>,
) -> io::Result<()> {
    let mut splitter = Splitter { line: 1, ..Splitter::default() };
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        for byte in chunk {
            splitter.byte(*byte, bytes_max, &mut take)?;
        }
        reader.consume(length);
    }
    if splitter.depth > 0 {
        take(splitter.first_line, Piece::Fault("an object without an end"))?;
    }
    Ok(())
}

impl Splitter {
    fn byte(
        &mut self,
        byte: u8,
        bytes_max: usize,
        take: &mut impl FnMut(u64, Piece) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.is_skipping {
            self.is_skipping = byte != b'\n';
        } else if self.depth == 0 {
            self.between(byte, take)?;
        } else {
            self.within(byte, take)?;
            if self.object.len() > bytes_max {
                self.depth = 0;
                self.object = Vec::new();
                self.is_skipping = byte != b'\n';
                take(self.first_line, Piece::Fault("an object that is too large"))?;
            }
        }
        self.line += u64::from(byte == b'\n');
        Ok(())
    }

    fn between(&mut self, byte: u8, take: &mut impl FnMut(u64, Piece) -> io::Result<()>) -> io::Result<()> {
        match byte {
            b'{' => {
                (self.depth, self.is_in_string, self.is_escaped) = (1, false, false);
                (self.line_start, self.first_line) = (None, self.line);
                self.object.push(byte);
            }
            // Of an array around the objects, of a byte order mark, and what RFC 7464 puts before each.
            b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf | 0x1e => {}
            _ => {
                self.is_skipping = true;
                take(self.line, Piece::Fault("no JSON object"))?;
            }
        }
        Ok(())
    }

    fn within(&mut self, byte: u8, take: &mut impl FnMut(u64, Piece) -> io::Result<()>) -> io::Result<()> {
        self.object.push(byte);
        if byte == b'\n' {
            self.line_start = Some(self.object.len());
        } else if let Some(start) = self.line_start {
            if byte == b':' && is_request(&self.object[start..]) {
                take(self.first_line, Piece::Fault("an object without an end"))?;
                self.object.drain(..start);
                (self.depth, self.is_in_string, self.is_escaped) = (1, false, false);
                (self.line_start, self.first_line) = (None, self.line);
                return Ok(());
            }
            if byte == b':' || self.object.len() - start > BEGINNING_BYTES_MAX {
                self.line_start = None;
            }
        }
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth == 0 {
            take(self.first_line, Piece::Object(std::mem::take(&mut self.object)))?;
        }
        Ok(())
    }
}

/// Whether a line up to its first colon is the beginning of a request.
fn is_request(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let key = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let key = key.and_then(|key| key.strip_prefix(b"\"")).and_then(|key| key.strip_suffix(b":"));
    let key = key.map(<[u8]>::trim_ascii_end).and_then(|key| key.strip_suffix(b"\""));
    key.is_some_and(|key| REQUESTS.iter().any(|name| name.as_bytes() == key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn split(text: &str) -> Vec<(u64, Result<String, &'static str>)> {
        // Whatever the reads bring, the objects are the same.
        let with = |bytes: usize| {
            let mut pieces = Vec::new();
            let reader = BufReader::with_capacity(bytes, text.as_bytes());
            objects(reader, 1000, |line, piece| {
                pieces.push(match piece {
                    Piece::Object(bytes) => (line, Ok(String::from_utf8(bytes).unwrap())),
                    Piece::Fault(fault) => (line, Err(fault)),
                });
                Ok(())
            })
            .unwrap();
            pieces
        };
        assert_eq!(with(1), with(4096));
        with(7)
    }

    fn object(text: &str) -> Result<String, &'static str> {
        Ok(text.to_string())
    }

    #[test]
    fn objects_are_found_in_every_layout() {
        let two = [(1, object("{\"a\":1}")), (2, object("{\"b\":[{}]}"))];
        assert_eq!(split("{\"a\":1}\n{\"b\":[{}]}\n"), two);
        assert_eq!(split("[{\"a\":1},\n{\"b\":[{}]}]"), two);
        assert_eq!(split("\u{feff}{\"a\":1} \r\n\u{1e}{\"b\":[{}]}"), two);
        assert_eq!(split("{\"a\":1}{\"b\":2}").len(), 2);
        assert_eq!(split("\n{\n  \"a\": {\n    \"b\": 1\n  }\n}\n")[0].0, 2);
        assert_eq!(split("{\n\"a\":\n[\n{\"key\":\"x\"},\n{\"key\":\"y\"}\n]\n}").len(), 1, "without an indentation");
        assert_eq!(split(""), []);
    }

    #[test]
    fn braces_in_texts_are_texts() {
        for text in [r#"{"a":"}"}"#, r#"{"a":"\"}{"}"#, r#"{"a":"\\"}"#, r#"{"{[":"]"}"#] {
            assert_eq!(split(text), [(1, object(text))]);
        }
    }

    #[test]
    fn what_is_broken_costs_itself() {
        let good = "{\"resourceSpans\":[]}";
        let end = || Err("an object without an end");
        assert_eq!(split(&format!("{{broken\n{good}\n")), [(1, end()), (2, object(good))]);
        assert_eq!(split(&format!("{{\"a\":\"b\n{good}\n{{")), [(1, end()), (2, object(good)), (3, end())]);
        assert_eq!(split(&format!("garbage {{\n{good}")), [(1, Err("no JSON object")), (2, object(good))]);
        let large = format!("{{\"a\":\"{}\"}}\n{good}", "x".repeat(1000));
        assert_eq!(split(&large), [(1, Err("an object that is too large")), (2, object(good))]);
    }
}
