//! Reads captured traces: JSON as file exporters and people write it, protobuf requests, each of them compressed or not,
//! from files and standard input; and the logs of a data directory.

use super::json::{self, Piece};
use crate::core::logged_body;
use crate::log_tool::segments_of;
use crate::progress::Progress;
use crate::survey::{Unreadable, read_segment};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_connectors::otlp::port::Format;
use tailwater_engine::intake::IntakeError;
use tailwater_engine::log::format::{HeaderError, Record, Request, parse_file_name};
use tailwater_engine::log::read::Found;
use tailwater_engine::trial::Taken;
use tailwater_net::compression::stream::{decoded, encoding_of};
use tailwater_net::compression::{Encoding, Inflater};
use tailwater_proto::otlp::Signal;

/// Largest request, as it is or inflated; and the largest file of protobuf, which is read whole.
const REQUEST_BYTES_MAX: usize = 1 << 30;
/// Faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 10;
/// Bytes of the length before each message of a stream (the Collector's file exporter with `format: proto`).
const LENGTH_BYTES: usize = 4;
/// Bytes of a file that are looked at to know what it is.
const BEGINNING_BYTES: usize = 512;
/// What stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// What was read so far.
#[derive(Debug)]
pub struct Capture {
    /// Requests taken.
    pub requests: u64,
    /// Spans in them.
    pub spans: u64,
    /// Spans and requests that a node would have refused too.
    pub refused: u64,
    told: Vec<String>,
    faults: usize,
    progress: Progress,
}

/// Takes a request.
type Take<'a> = dyn FnMut(&Bytes) -> Result<Taken, IntakeError> + 'a;

impl Capture {
    /// Nothing read yet of these files.
    pub fn of(paths: &[impl AsRef<Path>]) -> Self {
        let progress = Progress::of(paths);
        Self { requests: 0, spans: 0, refused: 0, told: Vec::new(), faults: 0, progress }
    }

    /// What could not be read, for people; the first of it and how much more there is.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let more = self.faults - self.told.len();
        let rest = (more > 0).then(|| format!("{more} more could not be read"));
        self.told.iter().cloned().chain(rest)
    }

    /// How much could not be read.
    pub fn faults_count(&self) -> usize {
        self.faults
    }

    /// Nothing more is read.
    pub fn end(&mut self) {
        self.progress.end();
    }

    /// Reads a file, standard input, or all segments of a log's or data directory.
    ///
    /// # Errors
    /// When it cannot be opened or read; what was read before is taken.
    pub fn read(&mut self, path: &Path, take: &mut Take<'_>) -> io::Result<()> {
        if path.as_os_str() == STANDARD_INPUT {
            let input = self.progress.counted(io::stdin().lock());
            return self.content("standard input", input, take);
        }
        if path.is_dir() {
            return self.logs(path, take);
        }
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(parse_file_name).is_some() {
            return self.segment(path, &mut |_| true, take);
        }
        let file = self.progress.counted(File::open(path)?);
        self.content(&path.display().to_string(), file, take)
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
        let Self { requests, spans, progress, .. } = self;
        progress.tell(|| format!("{requests} requests, {spans} spans"));
    }

    /// What a file or pipe holds, whose beginning says what it is.
    fn content(&mut self, place: &str, input: impl Read, take: &mut Take<'_>) -> io::Result<()> {
        let mut input = BufReader::new(Beginning::of(input)?);
        let encoding = encoding_of(input.fill_buf()?);
        let content = Beginning::of(decoded(encoding, input)?)?;
        if is_json(content.first.get_ref()) {
            self.objects(place, BufReader::new(content), take)
        } else {
            self.protobuf(place, content, take)
        }
    }

    fn objects(&mut self, place: &str, content: impl BufRead, take: &mut Take<'_>) -> io::Result<()> {
        let mut bodies = BodyReader::new(REQUEST_BYTES_MAX);
        json::objects(content, REQUEST_BYTES_MAX, |line, piece| {
            let place = format!("{place}:{line}");
            match piece {
                Piece::Fault(fault) => self.fault(&place, &fault),
                Piece::Object(text) => self.json(&place, &mut bodies, &text.into(), take),
            }
            Ok(())
        })
    }

    fn json(&mut self, place: &dyn Display, bodies: &mut BodyReader, text: &Bytes, take: &mut Take<'_>) {
        match bodies.counted(Signal::Traces, Format::Json, Encoding::Identity, text) {
            Ok((body, refused)) => {
                self.refused += u64::from(refused);
                self.give(place, &body, take);
            }
            Err(error) => self.fault(place, &error),
        }
    }

    /// One request, or a stream of them, each behind its length and perhaps compressed by itself.
    fn protobuf(&mut self, place: &str, content: impl Read, take: &mut Take<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
        content.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > REQUEST_BYTES_MAX {
            let cause = "more than 1 GiB of protobuf; split it, or write JSON lines";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, cause));
        }
        let content = Bytes::from(bytes);
        let Some(messages) = stream(&content) else {
            self.give(&place, &content, take);
            return Ok(());
        };
        let (mut inflater, mut bodies) = (Inflater::new(), BodyReader::new(REQUEST_BYTES_MAX));
        for (number, message) in (1_u64..).zip(messages) {
            let place = format!("{place}, message {number}");
            match inflater.inflate(encoding_of(&message), &message, REQUEST_BYTES_MAX) {
                Ok(body) if body.starts_with(b"{") => self.json(&place, &mut bodies, &body, take),
                Ok(body) => self.give(&place, &body, take),
                Err(error) => self.fault(&place, &error),
            }
        }
        Ok(())
    }

    /// The logs of a data directory, or one. Each pipeline has logged the requests that came, and lets go of them when it is
    /// done: a request that several still have is taken once.
    fn logs(&mut self, path: &Path, take: &mut Take<'_>) -> io::Result<()> {
        let logs = segments_of(path)?;
        // A sender may repeat itself: as often as a request is in one log it was received.
        let mut taken: HashMap<u64, u32> = HashMap::new();
        let has_several = logs.len() > 1;
        for segments in logs {
            let mut met: HashMap<u64, u32> = HashMap::new();
            for segment in segments {
                let mut is_new = |request: &Request<'_>| {
                    let mut hasher = DefaultHasher::new();
                    // Each log has a time of its own for it.
                    request.body.hash(&mut hasher);
                    let hash = hasher.finish();
                    let met = met.entry(hash).or_default();
                    *met += 1;
                    let taken = taken.entry(hash).or_default();
                    let is_new = *met > *taken;
                    *taken = (*taken).max(*met);
                    is_new
                };
                self.segment(&segment, &mut |request| !has_several || is_new(request), take)?;
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        path: &Path,
        is_new: &mut dyn FnMut(&Request<'_>) -> bool,
        take: &mut Take<'_>,
    ) -> io::Result<()> {
        let place = path.display();
        let mut bodies = BodyReader::new(REQUEST_BYTES_MAX);
        let outcome = read_segment(path, |found| match found {
            Found::Record { offset, record: Record::Request(request), .. } if request.signal == Signal::Traces => {
                if !is_new(&request) {
                    return;
                }
                match logged_body(&mut bodies, &request) {
                    Some(body) => self.give(&place, &body, take),
                    None => self.fault(&place, &format!("the request at {offset} cannot be read")),
                }
            }
            Found::Record { .. } => {}
            Found::Skipped { offset, bytes, .. } => self.fault(&place, &format!("{bytes} damaged bytes at {offset}")),
        });
        self.progress.add(std::fs::metadata(path).map_or(0, |metadata| metadata.len()));
        match outcome {
            // Retired since the directory was listed.
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(Unreadable::Io(error)) => Err(error),
            Err(Unreadable::Header(HeaderError::Blank)) => Ok(()),
            Err(Unreadable::Header(error)) => {
                self.fault(&place, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Whether something begins as JSON does. A request of protobuf may begin with a line's end and a brace, too, but has bytes
/// soon that no text has.
fn is_json(beginning: &[u8]) -> bool {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let text = text.strip_prefix(b"\x1e").unwrap_or(text).trim_ascii_start();
    let is_of_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n' | 0x1e);
    matches!(text.first(), Some(b'{' | b'[')) && text.iter().all(is_of_text)
}

/// A reader that gives its first bytes together, however they come: a pipe may bring them one by one.
struct Beginning<R> {
    first: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R: Read> Beginning<R> {
    fn of(mut rest: R) -> io::Result<Self> {
        let mut first = Vec::new();
        let wanted = u64::try_from(BEGINNING_BYTES).unwrap_or(u64::MAX);
        rest.by_ref().take(wanted).read_to_end(&mut first)?;
        Ok(Self { first: io::Cursor::new(first), rest })
    }
}

impl<R: Read> Read for Beginning<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buffer)? {
            0 => self.rest.read(buffer),
            read => Ok(read),
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
    fn json_is_told_from_protobuf_by_its_beginning() {
        for text in ["{\"a\":1}", "[]", " \r\n\t[\n{", "\u{feff}{}", "\u{1e}{}\n\u{1e}{}", "{broken"] {
            assert!(is_json(text.as_bytes()), "{text:?}");
        }
        // Requests of a resource of 123 or 91 bytes: a line's end, a brace or bracket.
        for bytes in [&b"\x0a\x7b\x0a\x22\x0a\x20\x0a\x0c"[..], b"\x0a\x5b\x12\x02", b"", b"text", b"\0\0\0\x01{"] {
            assert!(!is_json(bytes), "{bytes:?}");
        }
    }

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
