//! The members of a JSON object as slices of its text. What is no object is none; nothing is decoded that is not shown.

/// Members of an object that are told.
/// At the bound: the rest of them count for nothing.
const MEMBERS_MAX: usize = 24;

/// A member: its key without quotes, its value as it stands.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The first members of an object, by key, for senders write them in any order.
#[derive(Debug)]
pub(super) struct Members<'a> {
    members: [Member<'a>; MEMBERS_MAX],
    count: usize,
}

impl<'a> Members<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members[..self.count].iter()
    }
}

/// The members of a text that is an object and nothing else.
pub(super) fn whole_object(text: &[u8]) -> Option<Members<'_>> {
    let mut found = Members { members: [Member::default(); MEMBERS_MAX], count: 0 };
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(text, at + 1);
    while text.get(at) != Some(&b'}') {
        let key_end = string_end(text, at)?;
        let key = &text[at + 1..key_end - 1];
        at = skip_space(text, key_end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        let start = skip_space(text, at + 1);
        at = value_end(text, start)?;
        if found.count < MEMBERS_MAX {
            found.members[found.count] = Member { key, value: &text[start..at] };
            found.count += 1;
        }
        at = skip_space(text, at);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b'}') => {}
            _ => return None,
        }
    }
    let ends = skip_space(text, at + 1) == text.len();
    found.members[..found.count].sort_by(|a, b| a.key.cmp(b.key));
    (ends && found.count > 0).then_some(found)
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Behind the quote that ends the string which starts here.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    if text.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

fn value_end(text: &[u8], start: usize) -> Option<usize> {
    match text.get(start)? {
        b'"' => string_end(text, start),
        b'{' | b'[' => brackets_end(text, start),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            let length = text[start..].iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']') && **byte > b' ');
            Some(start + length.count())
        }
        _ => None,
    }
}

/// Behind the bracket that closes the one which stands here.
fn brackets_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut open) = (start, 0usize);
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open -= 1;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// A value without its quotes.
pub(super) fn bare(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// A string without its escapes; a `\u` stays as it is.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        match rest.get(at + 1) {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b' | b'f') => out.push(b' '),
            Some(b'u') => out.extend_from_slice(b"\\u"),
            Some(byte) => out.push(*byte),
            None => {}
        }
        rest = rest.get(at + 2..).unwrap_or(&[]);
    }
    out.extend_from_slice(rest);
}
