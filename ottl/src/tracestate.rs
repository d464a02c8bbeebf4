//! One member of a W3C tracestate, read as the reference reads it: a text that breaks any rule has no members at all.

/// Most members of a tracestate.
const MEMBERS_MAX: usize = 32;

/// What looking up a member comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member<'a> {
    /// The tracestate is not valid.
    Invalid,
    /// Valid and without the member.
    Absent,
    /// The member's value.
    Value(&'a [u8]),
}

/// The value of member `key`.
#[must_use]
pub fn member<'a>(tracestate: &'a [u8], key: &[u8]) -> Member<'a> {
    if tracestate.is_empty() {
        return Member::Absent;
    }
    let mut found = Member::Absent;
    let (mut seen, mut count): ([&[u8]; MEMBERS_MAX], usize) = ([&[]; MEMBERS_MAX], 0);
    for mut piece in tracestate.split(|byte| *byte == b',') {
        if piece.is_empty() {
            continue;
        }
        while let [b' ' | b'\t', rest @ ..] = piece {
            piece = rest;
        }
        while let [rest @ .., b' ' | b'\t'] = piece {
            piece = rest;
        }
        let Some(at) = piece.iter().position(|byte| *byte == b'=') else { return Member::Invalid };
        let (name, value) = (&piece[..at], &piece[at + 1..]);
        if !is_key(name) || !is_value(value) || seen[..count].contains(&name) || count == MEMBERS_MAX {
            return Member::Invalid;
        }
        if name == key {
            found = Member::Value(value);
        }
        seen[count] = name;
        count += 1;
    }
    found
}

fn is_key_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/')
}

/// `[a-z][_0-9a-z-*/]{0,255}`, or a tenant of 241 before `@` and a system of 14 behind it.
fn is_key(key: &[u8]) -> bool {
    let is_part = |part: &[u8], length_max: usize, digit_first: bool| match part {
        [first, rest @ ..] => {
            (first.is_ascii_lowercase() || digit_first && first.is_ascii_digit())
                && rest.len() < length_max
                && rest.iter().all(|byte| is_key_byte(*byte))
        }
        [] => false,
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_part(key, 256, false),
        Some(at) => is_part(&key[..at], 241, true) && is_part(&key[at + 1..], 14, false),
    }
}

/// Up to 256 printable ASCII characters but `,` and `=`, the last of them no space.
fn is_value(value: &[u8]) -> bool {
    let is_byte = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    value.len() <= 256 && value.iter().all(is_byte) && value.last().is_some_and(|last| *last != b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_any_fault_hides_all() {
        let is = |text: &str, key: &str| member(text.as_bytes(), key.as_bytes()) == Member::Value(b"1");
        assert!(is("a=1", "a"));
        assert!(is("b=2, a=1 ,,c=3", "a"));
        assert!(is("1t@sys=1", "1t@sys"));
        assert_eq!(member(b"", b"a"), Member::Absent);
        assert_eq!(member(b"b=1", b"a"), Member::Absent);
        for bad in ["a", "a=1,b", "A=1", "a=", "a=1,a=1", "1a=1", "a= ", "a=1, ", "a@=1", "a =1", "a=b=c", "a=\u{e9}"] {
            assert_eq!(member(bad.as_bytes(), b"a"), Member::Invalid, "{bad}");
        }
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        assert!(is(&many(32), "k31"));
        assert_eq!(member(many(33).as_bytes(), b"k0"), Member::Invalid);
        assert_eq!(member(format!("{}=1", "a".repeat(256)).as_bytes(), b"a"), Member::Absent);
        assert_eq!(member(format!("{}=1", "a".repeat(257)).as_bytes(), b"a"), Member::Invalid);
    }
}
