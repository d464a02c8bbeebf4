//! Stack traces: the type of the exception and the functions of its first frames, without messages, lines, addresses and
//! files, so that one fault at one place is one pattern.
//!
//! | language | a frame | the exception |
//! | --- | --- | --- |
//! | Java, Kotlin, Scala | `at a.B.c(B.java:7)` | `a.X: message`, `Caused by: a.Y: message` |
//! | .NET | `at A.B.C(Int32 d) in file:line 7` | `A.X: message` |
//! | JavaScript | `at f (file.js:7:3)`, `at file.js:7:3` | `TypeError: message` |
//! | Python | `File "a.py", line 7, in f` | the last line |
//! | Go | `main.f(0xc000, ...)`, before a line that starts with a tab | `panic: message` |

use super::mask::{self, NamedMask};
use super::token::Shape;

/// Frames that are told: where it happened and who called.
/// At the bound: further frames count for nothing, so that callers far up do not make another pattern.
const FRAMES_MAX: usize = 8;

/// Exceptions that are told, with their causes.
/// At the bound: further causes count for nothing.
const CAUSES_MAX: usize = 4;

/// Adds a stack trace; false if the text is none, and nothing was added.
pub(super) fn stack_trace(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) -> bool {
    if memchr::memmem::find(text, b"Traceback (most recent call last)").is_some() {
        python(shape, text, masks);
        return true;
    }
    if memchr::memmem::find(text, b"\ngoroutine ").is_some() {
        go(shape, text, masks);
        return true;
    }
    if lines(text).skip(1).any(|line| line.trim_ascii_start().starts_with(b"at ")) {
        frames_behind_at(shape, text, masks);
        return true;
    }
    false
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The line that tells of an exception, up to its type; all of it where it tells of none.
fn exception(shape: &mut Shape, line: &[u8], masks: &[NamedMask]) {
    mask::text(shape, &line[..type_end(line).unwrap_or(line.len())], masks);
}

/// Where the type of an exception ends: a word of this ending before a colon or the end of the line.
fn type_end(line: &[u8]) -> Option<usize> {
    let endings: [&[u8]; 5] = [b"Exception", b"Error", b"Throwable", b"Failure", b"Warning"];
    let mut at = 0;
    while let Some(colon) = memchr::memchr(b':', &line[at..]).map(|found| at + found) {
        if endings.iter().any(|ending| line[..colon].ends_with(ending)) {
            return Some(colon);
        }
        at = colon + 1;
    }
    None
}

/// Java, .NET and JavaScript.
fn frames_behind_at(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) {
    let (mut frames, mut causes) = (0, 0);
    for (index, line) in lines(text).enumerate() {
        let line = line.trim_ascii();
        if let Some(frame) = line.strip_prefix(b"at ") {
            frames += 1;
            if frames <= FRAMES_MAX {
                put_frame(shape, frame);
            }
        } else if index == 0 || line.starts_with(b"Caused by: ") || line.starts_with(b"---> ") {
            causes += 1;
            if causes <= CAUSES_MAX {
                // A cause brings frames of its own.
                frames = 0;
                shape.space();
                exception(shape, line, masks);
            }
        }
    }
}

/// The function of a frame: up to its arguments, or its file.
fn put_frame(shape: &mut Shape, frame: &[u8]) {
    let frame = frame.strip_prefix(b"async ").unwrap_or(frame);
    let end = frame.iter().position(|byte| matches!(byte, b'(' | b' ')).unwrap_or(frame.len());
    shape.space();
    shape.word(b"at");
    shape.space();
    function(shape, &frame[..end]);
}

/// A name of a function is no sentence: only numbers in it vary.
fn function(shape: &mut Shape, name: &[u8]) {
    let digits = name.iter().filter(|byte| byte.is_ascii_digit()).count();
    if name.is_empty() || digits > 1 || name.contains(&b'/') || name.iter().any(|byte| *byte < 0x20) {
        shape.wildcard(name);
    } else {
        shape.word(name);
    }
}

/// The exception stands in the last line; what is before the trace is the message that was logged.
fn python(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) {
    let mut frames = 0;
    let mut is_before = true;
    let mut last: &[u8] = &[];
    for line in lines(text) {
        if line.starts_with(b"Traceback ") {
            is_before = false;
        } else if is_before {
            shape.space();
            mask::text(shape, line, masks);
        } else if let Some(at) = memchr::memmem::find(line, b", in ")
            && line.trim_ascii_start().starts_with(b"File ")
        {
            frames += 1;
            if frames <= FRAMES_MAX {
                put_frame(shape, line[at + 5..].trim_ascii());
            }
        } else if !line.is_empty() && !line.starts_with(b" ") {
            last = line;
        }
    }
    shape.space();
    let end = type_end(last).or_else(|| memchr::memchr(b':', last)).unwrap_or(last.len());
    mask::text(shape, &last[..end], masks);
}

/// The panic, and the functions of the first goroutine: each stands before a line with its file.
fn go(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) {
    let mut all = lines(text).peekable();
    let (mut frames, mut goroutines) = (0, 0);
    while let Some(line) = all.next() {
        if line.starts_with(b"goroutine ") {
            goroutines += 1;
        } else if goroutines == 0 {
            shape.space();
            mask::text(shape, line, masks);
        } else if goroutines == 1 && all.peek().is_some_and(|next| next.starts_with(b"\t")) && frames < FRAMES_MAX {
            frames += 1;
            let name = line.strip_prefix(b"created by ").unwrap_or(line);
            let end = memchr::memrchr(b'(', name).filter(|at| *at > 0).unwrap_or(name.len());
            put_go_frame(shape, &name[..end]);
        }
    }
}

/// The package's path is part of a Go function's name; it is told as far as its last part.
fn put_go_frame(shape: &mut Shape, name: &[u8]) {
    let name = name.split(|byte| *byte == b' ').next().unwrap_or(name);
    let start = memchr::memrchr(b'/', name).map_or(0, |at| at + 1);
    put_frame_name(shape, &name[start..]);
}

fn put_frame_name(shape: &mut Shape, name: &[u8]) {
    shape.space();
    shape.word(b"at");
    shape.space();
    function(shape, name);
}

#[cfg(test)]
mod tests;
