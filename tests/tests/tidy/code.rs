//! Rust text with its comments and literals blanked out, so that braces and words can be counted without parsing.

/// The text with every character of comments, strings and character literals replaced by a space; lines stay.
pub fn masked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `at` when none starts there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return block_comment_end(bytes, at);
    }
    if !after_word {
        let prefix = rest.iter().take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count().min(2);
        let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
        if rest[..prefix].contains(&b'r') && rest.get(prefix + hashes) == Some(&b'"') {
            return raw_string_end(bytes, at + prefix + hashes + 1, hashes);
        }
        if prefix > 0 && hashes == 0 && rest.get(prefix) == Some(&b'"') {
            return string_end(bytes, at + prefix + 1);
        }
    }
    match rest[0] {
        b'"' => string_end(bytes, at + 1),
        b'\'' => character_end(bytes, at),
        _ => at,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], mut at: usize, hashes: usize) -> usize {
    while at < bytes.len() {
        let closes =
            bytes[at] == b'"' && bytes[at + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    bytes.len()
}

/// The end of a character literal; a lifetime has none and ends where it starts.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        // The escaped character may itself be a quote.
        let close = bytes.iter().skip(at + 3).position(|byte| *byte == b'\'');
        return close.map_or(bytes.len(), |close| at + 3 + close + 1);
    }
    // One character, of up to four bytes, then a quote.
    (2..=5)
        .find(|length| bytes.get(at + length) == Some(&b'\'') && !(*length == 2 && bytes[at + 1] == b'\''))
        .filter(|length| std::str::from_utf8(&bytes[at + 1..at + length]).is_ok_and(|text| text.chars().count() == 1))
        .map_or(at, |length| at + length + 1)
}

/// The line of a byte, 1-based.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Places where `word` stands by itself in masked text.
pub fn words(masked: &str, word: &str) -> Vec<usize> {
    let bytes = masked.as_bytes();
    let free = |at: usize| {
        let end = at + word.len();
        (at == 0 || !is_word(bytes[at - 1])) && (end >= bytes.len() || !is_word(bytes[end]))
    };
    masked.match_indices(word).map(|(at, _)| at).filter(|at| free(*at)).collect()
}

/// Name, line and length in lines of every function with a body.
pub fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let masked = masked(text);
    let bytes = masked.as_bytes();
    let mut functions = Vec::new();
    for start in words(&masked, "fn") {
        let name: String =
            masked[start + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body(bytes, start) else { continue };
        let end = closing(bytes, open);
        if !name.is_empty() {
            functions.push((name, line_of(&masked, start), 1 + masked[start..end].matches('\n').count()));
        }
    }
    functions
}

/// The brace that opens the body of the function at `start`; none for a declaration or a function type.
fn body(bytes: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (index, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(index),
            b';' | b',' | b'=' | b'}' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return index,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

#[test]
fn comments_and_literals_are_blanked() {
    for (text, expected) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"x("a\"{b", 'c', '\'', '{')"#, "x(       ,    ,     ,    )"),
        (r##"r#"{"}"# z"##, "         z"),
        ("b\"{\" br\"{\" z", "           z"),
        ("fn a<'a>(b: &'a str) {}", "fn a<'a>(b: &'a str) {}"),
        ("'\\u{7d}' z", "         z"),
        ("for\"x\"", "for   "),
    ] {
        assert_eq!(masked(text), expected, "{text}");
    }
}

#[test]
fn functions_are_measured() {
    let text = "fn a() {\n}\ntrait T { fn b(&self); }\nstruct S { f: fn(u8) -> u8 }\nfn c<F: Fn()>(f: F)\nwhere F: Fn() {\n  // }\n  \"}\";\n}\n";
    let found = functions(text);
    assert_eq!(found, [("a".to_string(), 1, 2), ("c".to_string(), 5, 5)]);
}
