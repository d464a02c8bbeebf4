//! Reads captured traces: JSON lines as file exporters write them, protobuf requests, and the log of a data directory.

use crate::core::logged_body;
use crate::log_tool::segments_of;
use crate::survey::{Unreadable, read_segment};
use bytes::Bytes;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_connectors::otlp::receiver::Format;
use tailwater_engine::intake::IntakeError;
use tailwater_engine::log::format::{Record, parse_file_name};
use tailwater_engine::log::read::Found;
use tailwater_engine::trial::Taken;
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::Signal;

/// Largest request, as it is or inflated.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// Faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 10;
/// Bytes of the length before each message of a stream (the Collector's file exporter with `format: proto`).
const LENGTH_BYTES: usize = 4;

/// What was read so far.
#[derive(Debug, Default)]
pub struct Capture {
    /// Requests taken.
    pub requests: u64,
    /// Spans in them.
    pub spans: u64,
    /// Spans and requests that a node would have refused too.
    pub refused: u64,
    told: Vec<String>,
    faults: usize,
}

/// Takes a request.
type Take<'a> = dyn FnMut(&Bytes) -> Result<Taken, IntakeError> + 'a;

impl Capture {
    /// What could not be read, for people; the first of it and how much more there is.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.told.iter().map(String::as_str)
    }

    /// How much could not be read.
    pub fn faults_count(&self) -> usize {
        self.faults
    }

    /// Reads a file, or all segments of a log's or data directory.
    ///
    /// # Errors
    /// When it cannot be opened or read; what was read before is taken.
    pub fn read(&mut self, path: &Path, take: &mut Take<'_>) -> io::Result<()> {
        if path.is_dir() {
            for segment in segments_of(path)? {
                self.segment(&segment, take)?;
            }
            return Ok(());
        }
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(parse_file_name).is_some() {
            return self.segment(path, take);
        }
        let mut reader = BufReader::new(File::open(path)?);
        let first = reader.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        match first {
            Some(b'{') => self.lines(path, reader, take),
            _ => self.protobuf(path, reader, take),
        }
    }

    fn fault(&mut self, place: &dyn Display, cause: &dyn Display) {
        self.faults += 1;
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push(format!("{place}: {cause}; passed over"));
        }
    }

    fn give(&mut self, place: &dyn Display, body: &Bytes, take: &mut Take<'_>) {
        match take(body) {
            Ok(Taken { spans, refused }) => {
                self.requests += 1;
                self.spans += spans;
                self.refused += refused;
            }
            Err(error) => {
                self.refused += 1;
                self.fault(place, &error);
            }
        }
    }

    fn lines(&mut self, path: &Path, mut reader: impl BufRead, take: &mut Take<'_>) -> io::Result<()> {
        let mut bodies = BodyReader::new(REQUEST_BYTES_MAX);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
            if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let place = format!("{}:{number}", path.display());
            let text = Bytes::copy_from_slice(&line);
            match bodies.counted(Signal::Traces, Format::Json, Encoding::Identity, &text) {
                Ok((body, refused)) => {
                    self.refused += u64::from(refused);
                    self.give(&place, &body, take);
                }
                Err(error) => self.fault(&place, &error),
            }
        }
        Ok(())
    }

    /// One request, or a stream of them, each behind its length.
    fn protobuf(&mut self, path: &Path, mut reader: impl Read, take: &mut Take<'_>) -> io::Result<()> {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        let content = Bytes::from(content);
        let place = path.display();
        match stream(&content) {
            Some(messages) => messages.iter().for_each(|body| self.give(&place, body, take)),
            None => self.give(&place, &content, take),
        }
        Ok(())
    }

    fn segment(&mut self, path: &Path, take: &mut Take<'_>) -> io::Result<()> {
        let place = path.display();
        let mut bodies = BodyReader::new(REQUEST_BYTES_MAX);
        let outcome = read_segment(path, |found| match found {
            Found::Record { offset, record: Record::Request(request), .. } if request.signal == Signal::Traces => {
                match logged_body(&mut bodies, &request) {
                    Some(body) => self.give(&place, &body, take),
                    None => self.fault(&place, &format!("the request at {offset} cannot be read")),
                }
            }
            Found::Record { .. } => {}
            Found::Skipped { offset, bytes, .. } => self.fault(&place, &format!("{bytes} damaged bytes at {offset}")),
        });
        match outcome {
            Err(Unreadable::Io(error)) => Err(error),
            Err(Unreadable::Header(error)) => {
                self.fault(&place, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The messages of a stream; `None` when the content is none, which is known by the lengths not adding up.
fn stream(content: &Bytes) -> Option<Vec<Bytes>> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < content.len() {
        let length: [u8; LENGTH_BYTES] = content.get(at..at + LENGTH_BYTES)?.try_into().ok()?;
        let start = at + LENGTH_BYTES;
        let end = start.checked_add(usize::try_from(u32::from_be_bytes(length)).ok()?)?;
        if end > content.len() {
            return None;
        }
        messages.push(content.slice(start..end));
        at = end;
    }
    (!messages.is_empty()).then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_lengths() {
        let content = Bytes::from_static(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9]);
        let messages = stream(&content).unwrap();
        assert_eq!(messages, [&[7, 8][..], &[], &[9]]);
        assert_eq!(stream(&content.slice(..14)), None, "cut off");
        assert_eq!(stream(&Bytes::from_static(&[0x0a, 2, 1, 1])), None, "a request");
        assert_eq!(stream(&Bytes::new()), None);
    }
}
