//! A shape: a text with its variable parts taken out, as tokens. Lines of one shape are counted together.
//!
//! ```text
//! shape = token*        token = kind text
//! kind    1 word         2 word after a space
//!         3 wildcard     4 wildcard after a space      no text
//!         5 named mask   6 named mask after a space    the text is its name
//! ```
//! A kind is one byte below 0x20. Such bytes count as spaces in what is read, so that a shape needs no lengths. This is what
//! a partial holds on disk.

/// Most tokens of a shape. A sentence has twenty; a line of many key-value pairs has a hundred.
/// At the bound: the rest of the text is one wildcard.
pub(super) const TOKENS_MAX: usize = 96;

/// Bytes of a value of a wildcard. Names, addresses and most ids fit.
/// At the bound: the rest is cut off, and values that begin alike count as one.
pub(super) const VALUE_BYTES_MAX: usize = 24;

/// Tokens of a shape that is coarse: what a message begins with, before what it is about.
const COARSE_TOKENS: usize = 8;

/// Most wildcards of a shape whose values are told.
/// At the bound: values of later wildcards are not told.
pub(super) const WILDCARDS_MAX: usize = 8;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Word,
    Wildcard,
    Named,
}

/// A token of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) spaced: bool,
    pub(super) text: &'a [u8],
}

impl Token<'_> {
    /// Whether it may be anything.
    pub(super) fn is_wild(&self) -> bool {
        self.kind != Kind::Word
    }

    /// Whether it is punctuation: shapes are never merged over it.
    pub(super) fn is_structure(&self) -> bool {
        self.kind == Kind::Word && !self.text.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
    }

    /// Appends it to a shape.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(code(self.kind, self.spaced));
        out.extend_from_slice(self.text);
    }
}

fn code(kind: Kind, spaced: bool) -> u8 {
    let base = match kind {
        Kind::Word => 1,
        Kind::Wildcard => 3,
        Kind::Named => 5,
    };
    base + u8::from(spaced)
}

/// The tokens of a shape.
pub(super) fn tokens(shape: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut rest = shape;
    std::iter::from_fn(move || {
        let (code, behind) = rest.split_first()?;
        let length = behind.iter().position(|byte| *byte < 0x20).unwrap_or(behind.len());
        let (text, behind) = behind.split_at(length);
        rest = behind;
        let kind = match code {
            3 | 4 => Kind::Wildcard,
            5 | 6 => Kind::Named,
            _ => Kind::Word,
        };
        Some(Token { kind, spaced: code.is_multiple_of(2), text })
    })
}

/// Whether bytes from elsewhere are a shape.
pub(super) fn is_shape(bytes: &[u8]) -> bool {
    let starts_with_kind = bytes.first().is_some_and(|code| (1..=6).contains(code));
    let kinds_are_known = bytes.iter().all(|byte| *byte >= 0x20 || (1..=6).contains(byte));
    starts_with_kind
        && kinds_are_known
        && std::str::from_utf8(bytes).is_ok()
        && tokens(bytes).take(TOKENS_MAX + 2).count() <= TOKENS_MAX + 1
        && tokens(bytes).all(|token| (token.kind == Kind::Wildcard) == token.text.is_empty())
}

/// A shape as people read it: words as they are, `<*>` for what varies, `<NAME>` for what a named mask took out.
pub(super) fn put_readable(out: &mut Vec<u8>, shape: &[u8]) {
    for (index, token) in tokens(shape).enumerate() {
        if token.spaced && index > 0 {
            out.push(b' ');
        }
        match token.kind {
            Kind::Word => out.extend_from_slice(token.text),
            Kind::Wildcard => out.extend_from_slice(b"<*>"),
            Kind::Named => {
                out.push(b'<');
                out.extend_from_slice(token.text);
                out.push(b'>');
            }
        }
    }
}

/// What a wildcard stands for in one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    length: u8,
    bytes: [u8; VALUE_BYTES_MAX],
}

impl Value {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut value = Self { length: 0, bytes: [0; VALUE_BYTES_MAX] };
        value.append(text);
        value
    }

    fn append(&mut self, text: &[u8]) {
        let start = usize::from(self.length);
        let length = text.len().min(VALUE_BYTES_MAX - start);
        self.bytes[start..start + length].copy_from_slice(&text[..length]);
        self.length = u8::try_from(start + length).unwrap_or(0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What came last, for runs of wildcards become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Other,
    Wildcard,
    /// A comma behind a wildcard; where it starts.
    Comma(usize),
}

/// A shape that is being made, with the values of its wildcards. One is used for all lines.
#[derive(Debug)]
pub(super) struct Shape {
    bytes: Vec<u8>,
    tokens: usize,
    values: Vec<Value>,
    /// Whether the value of the last wildcard is among them.
    is_told: bool,
    last: Last,
    spaced: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            bytes: Vec::with_capacity(512),
            tokens: 0,
            values: Vec::with_capacity(WILDCARDS_MAX),
            is_told: false,
            last: Last::Other,
            spaced: false,
        }
    }
}

impl Shape {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.tokens = 0;
        self.values.clear();
        self.last = Last::Other;
        self.spaced = false;
    }

    /// The shape; a wildcard where there was nothing.
    pub(super) fn finish(&mut self) -> &[u8] {
        if self.bytes.is_empty() {
            self.spaced = false;
            self.wildcard(b"");
        }
        &self.bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What its first wildcards stand for.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(super) fn is_full(&self) -> bool {
        self.tokens >= TOKENS_MAX
    }

    #[inline]
    pub(super) fn space(&mut self) {
        self.spaced = true;
    }

    /// Adds a word, or punctuation; `text` has no byte below 0x20.
    #[inline]
    pub(super) fn word(&mut self, text: &[u8]) {
        if self.tokens >= TOKENS_MAX {
            return self.wildcard(b"");
        }
        self.last = match (self.last, text) {
            (Last::Wildcard, b",") => Last::Comma(self.bytes.len()),
            _ => Last::Other,
        };
        self.bytes.push(1 + u8::from(self.spaced));
        self.bytes.extend_from_slice(text);
        self.tokens += 1;
        self.spaced = false;
    }

    /// Adds something that varies. Runs of such, and lists of them, become one.
    #[inline]
    pub(super) fn wildcard(&mut self, value: &[u8]) {
        match self.last {
            Last::Other => {}
            Last::Wildcard => return self.append_value(value),
            Last::Comma(at) => {
                self.bytes.truncate(at);
                self.tokens -= 1;
                self.last = Last::Wildcard;
                return self.append_value(value);
            }
        }
        self.bytes.push(3 + u8::from(self.spaced));
        self.tokens += 1;
        self.spaced = false;
        self.last = Last::Wildcard;
        self.is_told = self.values.len() < WILDCARDS_MAX;
        if self.is_told {
            self.values.push(Value::of(value));
        }
    }

    /// Adds what a mask of the configuration took out.
    pub(super) fn named(&mut self, name: &[u8], value: &[u8]) {
        if self.tokens >= TOKENS_MAX {
            return self.wildcard(value);
        }
        Token { kind: Kind::Named, spaced: self.spaced, text: name }.put(&mut self.bytes);
        self.tokens += 1;
        self.spaced = false;
        self.last = Last::Other;
        if self.values.len() < WILDCARDS_MAX {
            self.values.push(Value::of(value));
        }
    }

    /// Leaves the tokens that it begins with, and no values: what is behind them is one wildcard.
    pub(super) fn coarsen(&mut self) {
        self.values.clear();
        let starts = self.bytes.iter().enumerate().filter(|(_, byte)| **byte < 0x20);
        let Some((cut, _)) = starts.clone().nth(COARSE_TOKENS) else { return };
        let is_wild = starts.take(COARSE_TOKENS).last().is_some_and(|(_, code)| matches!(code, 3 | 4));
        self.bytes.truncate(cut);
        if !is_wild {
            self.bytes.push(code(Kind::Wildcard, true));
        }
    }

    /// Takes more into the value of the last wildcard, if that is one whose values are told.
    fn append_value(&mut self, value: &[u8]) {
        if !value.is_empty()
            && self.is_told
            && let Some(last) = self.values.last_mut()
        {
            if self.spaced {
                last.append(b" ");
            }
            last.append(value);
        }
        self.spaced = false;
    }
}
