//! The W3C tracestate header: finding the `ot` member with its `th` and `rv`, and writing it anew with all else kept.
//!
//! ```text
//! tracestate  member *( "," member )           spaces and tabs around members are skipped, empty members allowed
//! member      key "=" value
//! ot's value  pair *( ";" pair )               at most 256 bytes
//! pair        key ":" value                    th, rv, and what others may add
//! ```
//! Source: W3C Trace Context Level 2; specification, "TraceState Handling"; OTEP 235.

use crate::consistent::{put_randomness, put_threshold, read_randomness, read_threshold};
use thiserror::Error;

/// Why a tracestate is left as it is. Nothing was changed; the span goes on with what it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TraceStateError {
    /// A member is no `key=value`, or has characters that are not allowed.
    #[error("the tracestate has a malformed member")]
    Member,
    /// More members than W3C allows.
    #[error("the tracestate has more than 32 members")]
    TooMany,
    /// The value of `ot` is no list of `key:value`, or too long.
    #[error("the `ot` member of the tracestate is malformed")]
    Ot,
    /// With the change the value of `ot` would be longer than 256 bytes.
    #[error("the `ot` member of the tracestate would be longer than 256 bytes")]
    TooLong,
}

/// What a tracestate says about sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SamplingState {
    /// Rejection threshold of `ot`'s `th`; `None` when absent or malformed.
    pub threshold: Option<u64>,
    /// Randomness of `ot`'s `rv`; `None` when absent or malformed.
    pub randomness: Option<u64>,
    /// True when `th` or `rv` is there and malformed: it counts as absent, and goes when `ot` is written again.
    pub is_faulty: bool,
}

/// Most members of a header (W3C).
const MEMBERS_MAX: usize = 32;
/// Longest key of a member, bytes (W3C).
const KEY_BYTES_MAX: usize = 256;
/// Longest value of a member, bytes (W3C).
const VALUE_BYTES_MAX: usize = 256;

/// Reads a header's `ot` member. Of several the last counts.
///
/// # Errors
/// `TraceStateError` when the header or the member is malformed.
pub fn read(header: &[u8]) -> Result<SamplingState, TraceStateError> {
    last_ot(header)?.map_or(Ok(SamplingState::default()), read_ot)
}

/// The value of the last `ot` member.
fn last_ot(header: &[u8]) -> Result<Option<&[u8]>, TraceStateError> {
    let mut ot = None;
    for member in Members::new(header) {
        let (key, value) = member?;
        if key == b"ot" {
            ot = Some(value);
        }
    }
    Ok(ot)
}

fn read_ot(value: &[u8]) -> Result<SamplingState, TraceStateError> {
    let mut state = SamplingState::default();
    for pair in Pairs::new(value)? {
        let (key, text) = pair?;
        match key {
            b"th" => {
                state.threshold = read_threshold(text);
                state.is_faulty |= state.threshold.is_none();
            }
            b"rv" => {
                state.randomness = read_randomness(text);
                state.is_faulty |= state.randomness.is_none();
            }
            _ => {}
        }
    }
    Ok(state)
}

/// Writes the header to `out` with `state`'s threshold and randomness in `ot`, which comes first; what they do not name is
/// removed. The other pairs of `ot` and the other members follow in their order; past 32 members the last ones go.
/// Nothing is written when nothing is left.
///
/// # Errors
/// `TraceStateError`; `out` is as it was then.
pub fn rewrite(header: &[u8], state: SamplingState, out: &mut Vec<u8>) -> Result<(), TraceStateError> {
    let start = out.len();
    let written = put_header(header, state, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_header(header: &[u8], state: SamplingState, out: &mut Vec<u8>) -> Result<(), TraceStateError> {
    let start = out.len();
    put_ot(last_ot(header)?, state, out)?;
    let mut members = usize::from(out.len() > start);
    for member in Members::new(header) {
        let (key, value) = member?;
        if key == b"ot" || members == MEMBERS_MAX {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
        members += 1;
    }
    Ok(())
}

/// Writes `ot=` and its pairs, or nothing when there are none.
fn put_ot(value: Option<&[u8]>, state: SamplingState, out: &mut Vec<u8>) -> Result<(), TraceStateError> {
    let start = out.len();
    out.extend_from_slice(b"ot=");
    let first = out.len();
    if let Some(randomness) = state.randomness {
        out.extend_from_slice(b"rv:");
        put_randomness(randomness, out);
    }
    if let Some(threshold) = state.threshold {
        separate(first, out);
        out.extend_from_slice(b"th:");
        put_threshold(threshold, out);
    }
    for pair in value.map(Pairs::new).transpose()?.into_iter().flatten() {
        let (key, text) = pair?;
        if key != b"th" && key != b"rv" {
            separate(first, out);
            out.extend_from_slice(key);
            out.push(b':');
            out.extend_from_slice(text);
        }
    }
    if out.len() - first > VALUE_BYTES_MAX {
        return Err(TraceStateError::TooLong);
    }
    if out.len() == first {
        out.truncate(start);
    }
    Ok(())
}

fn separate(first: usize, out: &mut Vec<u8>) {
    if out.len() > first {
        out.push(b';');
    }
}

/// The members of a header, empty ones left out.
struct Members<'a> {
    rest: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Members<'a> {
    fn new(header: &'a [u8]) -> Self {
        Self { rest: Some(header), count: 0 }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), TraceStateError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let (member, after) = cut(rest, b',').map_or((rest, None), |(member, after)| (member, Some(after)));
            self.rest = after;
            let member = trim(member);
            if member.is_empty() {
                continue;
            }
            self.count += 1;
            if self.count > MEMBERS_MAX {
                self.rest = None;
                return Some(Err(TraceStateError::TooMany));
            }
            let sound = cut(member, b'=').filter(|(key, value)| is_key(key) && is_value(value));
            if sound.is_none() {
                self.rest = None;
            }
            return Some(sound.ok_or(TraceStateError::Member));
        }
    }
}

/// The pairs of an `ot` member.
struct Pairs<'a>(Option<&'a [u8]>);

impl<'a> Pairs<'a> {
    fn new(value: &'a [u8]) -> Result<Self, TraceStateError> {
        if value.len() > VALUE_BYTES_MAX { Err(TraceStateError::Ot) } else { Ok(Self(Some(value))) }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), TraceStateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0?;
        let (pair, after) = cut(rest, b';').map_or((rest, None), |(pair, after)| (pair, Some(after)));
        self.0 = after;
        let sound = cut(pair, b':').filter(|(key, value)| {
            key.first().is_some_and(u8::is_ascii_lowercase)
                && key.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        });
        if sound.is_none() {
            self.0 = None;
        }
        Some(sound.ok_or(TraceStateError::Ot))
    }
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    Some((&text[..position], &text[position + 1..]))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= KEY_BYTES_MAX
        && key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && key.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte))
}

fn is_value(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len() <= VALUE_BYTES_MAX
        && value.iter().all(|byte| (0x20..=0x7e).contains(byte) && *byte != b'=')
}

/// The value of the member `key`, read as the Collector reads a tracestate (W3C Level 1, all members sound, none twice,
/// a member of spaces an error). `None` when it is not there or the header is malformed.
#[must_use]
pub fn collector_member<'a>(header: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    let mut keys: [&[u8]; MEMBERS_MAX] = [&[]; MEMBERS_MAX];
    let members = header.split(|byte| *byte == b',').filter(|member| !member.is_empty());
    for (count, member) in members.enumerate() {
        let (name, value) = cut(member, b'=')?;
        let name = trim_start(name);
        let value = trim_end(value);
        if !is_level_1_key(name) || !is_value(value) || count == MEMBERS_MAX || keys[..count].contains(&name) {
            return None;
        }
        keys[count] = name;
        if name == key {
            found = Some(value);
        }
    }
    found
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// `simple`, or `tenant@system`: Level 1 wants a letter first, except of a tenant.
fn is_level_1_key(key: &[u8]) -> bool {
    let is_rest = |part: &[u8]| {
        part.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte))
    };
    let is_letter_first = |part: &[u8]| part.first().is_some_and(u8::is_ascii_lowercase);
    match cut(key, b'@') {
        None => key.len() <= KEY_BYTES_MAX && is_letter_first(key) && is_rest(key),
        Some((tenant, system)) => {
            let is_tenant_first = tenant.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            tenant.len() <= TENANT_BYTES_MAX
                && is_tenant_first
                && is_rest(tenant)
                && system.len() <= SYSTEM_BYTES_MAX
                && is_letter_first(system)
                && is_rest(system)
        }
    }
}

/// Longest tenant of a key that has one, bytes (W3C Level 1).
const TENANT_BYTES_MAX: usize = 241;
/// Longest system of such a key.
const SYSTEM_BYTES_MAX: usize = 14;

#[cfg(test)]
mod tests;
