//! Tokens of XML, as Go's `encoding/xml` reads them in its strict mode: what is in force of the specification is what it
//! checks, and no entity is known but the five.

use super::xpath::names::is_name;
use crate::error::Failure;
use std::collections::BTreeMap;

/// Deepest nesting of elements. The reference reads ten thousand levels; here values of that depth would take a stack
/// that an evaluation does not have, and no telemetry nests so deep.
/// At the bound: the condition fails.
pub(super) const DEPTH_MAX: usize = 128;

/// A name: the namespace, its prefix as it was written, and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) space: String,
    pub(super) prefix: String,
    pub(super) local: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) name: Name,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Start(Name, Vec<Attribute>),
    End,
    Text(String),
    /// Text between the brackets of CDATA, or what begins as if it were.
    Raw(String),
    Comment(String),
    /// A target and what is behind it.
    Instruction(String, String),
    Directive(String),
}

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

/// An element that is open: its name as it was written and the namespaces that it has changed.
struct Open {
    prefix: String,
    local: String,
    changed: Vec<(String, Option<String>)>,
}

pub(super) struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    open: Vec<Open>,
    namespaces: BTreeMap<String, String>,
    /// An element that closed itself: its end comes next.
    closes: bool,
}

type Read<T> = Result<T, Failure>;

/// What ends a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Markup,
    Quote(u8),
    Cdata,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, open: Vec::new(), namespaces: BTreeMap::new(), closes: false }
    }

    /// Whether all of the text has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte, of which there must be one.
    fn byte(&mut self) -> Read<u8> {
        let byte = self.peek().ok_or(Failure::Value)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\r' | b'\n' | b'\t')) {
            self.at += 1;
        }
    }

    /// What is before `end`, which is skipped.
    fn take_until(&mut self, end: &[u8]) -> Read<&'t [u8]> {
        let rest = self.rest();
        let found = memchr::memmem::find(rest, end).ok_or(Failure::Value)?;
        self.at += found + end.len();
        Ok(&rest[..found])
    }

    /// The next token; none at the end.
    pub(super) fn token(&mut self) -> Read<Option<Token>> {
        if std::mem::take(&mut self.closes) {
            self.close()?;
            return Ok(Some(Token::End));
        }
        let Some(first) = self.peek() else {
            return if self.open.is_empty() { Ok(None) } else { Err(Failure::Value) };
        };
        if first != b'<' {
            let is_like_cdata = self.rest().get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"![CDATA["));
            let text = self.text(Until::Markup)?;
            return Ok(Some(if is_like_cdata { Token::Raw(text) } else { Token::Text(text) }));
        }
        self.at += 1;
        Ok(Some(match self.byte()? {
            b'/' => {
                let name = self.qualified_name()?;
                self.skip_space();
                if self.byte()? != b'>' {
                    return Err(Failure::Value);
                }
                let open = self.open.last().ok_or(Failure::Value)?;
                if open.local != name.local || open.prefix != name.prefix {
                    return Err(Failure::Value);
                }
                self.close()?;
                Token::End
            }
            b'?' => self.instruction()?,
            b'!' => self.declaration()?,
            _ => {
                self.at -= 1;
                self.element()?
            }
        }))
    }

    fn close(&mut self) -> Read<()> {
        let open = self.open.pop().ok_or(Failure::Value)?;
        for (prefix, before) in open.changed.into_iter().rev() {
            match before {
                Some(before) => self.namespaces.insert(prefix, before),
                None => self.namespaces.remove(&prefix),
            };
        }
        Ok(())
    }

    /// A name's bytes: ASCII that names may have, and whatever is not ASCII.
    fn name_bytes(&mut self) -> &'t [u8] {
        let is_part = |byte: &u8| !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"_:.-".contains(byte);
        let rest = self.rest();
        let name = &rest[..rest.iter().take_while(|byte| is_part(byte)).count()];
        self.at += name.len();
        name
    }

    fn name(&mut self) -> Read<&'t str> {
        let name = std::str::from_utf8(self.name_bytes()).map_err(|_| Failure::Value)?;
        // A name is never the last thing.
        if is_name(name) && !self.is_at_end() { Ok(name) } else { Err(Failure::Value) }
    }

    fn qualified_name(&mut self) -> Read<Name> {
        let name = self.name()?;
        let whole = || Name { local: name.to_string(), ..Name::default() };
        match name.split_once(':') {
            Some((_, local)) if local.contains(':') => Err(Failure::Value),
            Some((prefix, local)) if !prefix.is_empty() && !local.is_empty() => {
                Ok(Name { space: String::new(), prefix: prefix.to_string(), local: local.to_string() })
            }
            _ => Ok(whole()),
        }
    }

    fn instruction(&mut self) -> Read<Token> {
        let target = self.name()?;
        self.skip_space();
        let content = std::str::from_utf8(self.take_until(b"?>")?);
        // What is no UTF-8 can't be a text here.
        let content = content.map_err(|_| Failure::Value)?;
        if target == "xml" {
            let version = declared("version=", content);
            let encoding = declared("encoding=", content);
            let is_known = |encoding: &str| encoding.is_empty() || encoding.eq_ignore_ascii_case("utf-8");
            if !matches!(version, "" | "1.0") || !is_known(encoding) {
                return Err(Failure::Value);
            }
        }
        Ok(Token::Instruction(target.to_string(), content.to_string()))
    }

    /// What is behind `<!`: a comment, CDATA, or a directive.
    fn declaration(&mut self) -> Read<Token> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| Failure::Value);
        if self.rest().starts_with(b"-") {
            if !self.rest().starts_with(b"--") {
                return Err(Failure::Value);
            }
            self.at += 2;
            let comment = self.take_until(b"--")?;
            return if self.byte()? == b'>' { Ok(Token::Comment(text(comment)?)) } else { Err(Failure::Value) };
        }
        if self.rest().starts_with(b"[") {
            if !self.rest().starts_with(b"[CDATA[") {
                return Err(Failure::Value);
            }
            self.at += 7;
            return self.text(Until::Cdata).map(Token::Raw);
        }
        let mut out = vec![self.byte()?];
        let (mut quote, mut depth) = (None, 0usize);
        loop {
            let byte = self.byte()?;
            match (byte, quote) {
                (b'>', None) if depth == 0 => return Ok(Token::Directive(text(&out)?)),
                (byte, Some(open)) if byte == open => quote = None,
                (_, Some(_)) => {}
                (b'"' | b'\'', None) => quote = Some(byte),
                (b'>', None) => depth -= 1,
                (b'<', None) if self.rest().starts_with(b"!--") => {
                    self.at += 3;
                    self.take_until(b"-->")?;
                    out.push(b' ');
                    continue;
                }
                (b'<', None) => depth += 1,
                _ => {}
            }
            out.push(byte);
        }
    }

    fn element(&mut self) -> Read<Token> {
        let mut name = self.qualified_name()?;
        let mut attributes = Vec::new();
        loop {
            self.skip_space();
            match self.byte()? {
                b'/' if self.byte()? == b'>' => {
                    self.closes = true;
                    break;
                }
                b'/' => return Err(Failure::Value),
                b'>' => break,
                _ => self.at -= 1,
            }
            let name = self.qualified_name()?;
            self.skip_space();
            if self.byte()? != b'=' {
                return Err(Failure::Value);
            }
            self.skip_space();
            let value = match self.byte()? {
                quote @ (b'"' | b'\'') => self.text(Until::Quote(quote))?,
                _ => return Err(Failure::Value),
            };
            attributes.push(Attribute { name, value });
        }
        let mut changed = Vec::new();
        for attribute in &attributes {
            let prefix = match (attribute.name.prefix.as_str(), attribute.name.local.as_str()) {
                ("xmlns", prefix) => prefix,
                ("", "xmlns") => "",
                _ => continue,
            };
            let before = self.namespaces.insert(prefix.to_string(), attribute.value.clone());
            changed.push((prefix.to_string(), before));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Failure::Value);
        }
        self.open.push(Open { prefix: name.prefix.clone(), local: name.local.clone(), changed });
        name.space = self.namespace(&name, true);
        for attribute in &mut attributes {
            attribute.name.space = self.namespace(&attribute.name, false);
        }
        Ok(Token::Start(name, attributes))
    }

    /// What a prefix stands for; itself when it is not declared. The default is for elements only.
    fn namespace(&self, name: &Name, is_element: bool) -> String {
        let prefix = name.prefix.as_str();
        let is_plain = prefix.is_empty() && (!is_element || name.local == "xmlns");
        if prefix == "xmlns" || is_plain {
            return prefix.to_string();
        }
        let prefix = if prefix == "xml" { XML_NAMESPACE } else { prefix };
        self.namespaces.get(prefix).map_or(prefix, String::as_str).to_string()
    }

    /// Text up to what ends it, with entities filled in and line ends made one character.
    fn text(&mut self, until: Until) -> Read<String> {
        let mut out: Vec<u8> = Vec::new();
        // The last two bytes that were read, but for those of an entity.
        let mut before = (0u8, 0u8);
        loop {
            let Some(byte) = self.peek() else {
                match until {
                    Until::Cdata => return Err(Failure::Value),
                    // The reference takes the end of the input for the closing quote, and fails behind it.
                    _ => break,
                }
            };
            self.at += 1;
            if !matches!(until, Until::Quote(_)) && before == (b']', b']') && byte == b'>' {
                if until == Until::Cdata {
                    out.truncate(out.len() - 2);
                    break;
                }
                return Err(Failure::Value);
            }
            match (byte, until) {
                (b'<', Until::Quote(_)) => return Err(Failure::Value),
                (b'<', Until::Markup) => {
                    self.at -= 1;
                    break;
                }
                (byte, Until::Quote(quote)) if byte == quote => break,
                (b'&', Until::Markup | Until::Quote(_)) => {
                    let character = self.entity()?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    before = (0, 0);
                    continue;
                }
                (b'\r', _) => out.push(b'\n'),
                (b'\n', _) if before.1 == b'\r' => {}
                (byte, _) => out.push(byte),
            }
            before = (before.1, byte);
        }
        let text = String::from_utf8(out).map_err(|_| Failure::Value)?;
        let is_allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        if text.chars().all(is_allowed) { Ok(text) } else { Err(Failure::Value) }
    }

    /// What is behind an ampersand.
    fn entity(&mut self) -> Read<char> {
        if self.peek() == Some(b'#') {
            self.at += 1;
            let is_hexadecimal = self.peek() == Some(b'x');
            self.at += usize::from(is_hexadecimal);
            let radix = if is_hexadecimal { 16 } else { 10 };
            let digits: Vec<u8> =
                self.rest().iter().copied().take_while(|byte| char::from(*byte).is_digit(radix)).collect();
            self.at += digits.len();
            let digits = String::from_utf8(digits).map_err(|_| Failure::Value)?;
            let code = u64::from_str_radix(&digits, radix).ok().filter(|code| *code <= 0x10_ffff);
            let code = code.and_then(|code| u32::try_from(code).ok()).ok_or(Failure::Value)?;
            if self.byte()? != b';' {
                return Err(Failure::Value);
            }
            // Half of a pair is the replacement character.
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let character = match self.name_bytes() {
            b"lt" => '<',
            b"gt" => '>',
            b"amp" => '&',
            b"apos" => '\'',
            b"quot" => '"',
            _ => return Err(Failure::Value),
        };
        if self.byte()? == b';' { Ok(character) } else { Err(Failure::Value) }
    }
}

/// The value in quotes behind `name=` in a declaration; empty when there is none.
fn declared<'c>(name: &str, content: &'c str) -> &'c str {
    let mut rest = content;
    while let Some(at) = rest.find(name) {
        rest = &rest[at + name.len()..];
        let Some(quote @ ('"' | '\'')) = rest.chars().next() else {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        };
        return rest[1..].split_once(quote).map_or("", |(value, _)| value);
    }
    ""
}
