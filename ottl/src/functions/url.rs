//! `URL`: the parts of a URL or of a query, as Go's `net/url` takes them apart and writes them again.

use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, needed};
use crate::value::{Entry, List, ListKind, Map, Value};
use std::borrow::Cow;
use std::net::Ipv6Addr;

pub(super) static URL: Function = Function::new("URL", &[needed("uri", Kind::Text)], map);

/// The parts take no more than so many bytes for each byte of the URL: it is written again, and a query's parameters are
/// lists of their own.
const BUILT_PER_READ: usize = 64;

/// Most parameters of a query that begins with a question mark: Go's own bound.
const PARAMETERS_MAX: usize = 10_000;

fn map<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let text = arguments.text(0)?;
    arguments.spend(text.len().saturating_mul(BUILT_PER_READ))?;
    let entries = match text.strip_prefix(b"?") {
        _ if text.is_empty() => return Err(Failure::Value),
        Some(query) => parameters(query, arguments)?,
        None => Url::parse(&text).ok_or(Failure::Value)?.entries()?,
    };
    Ok(Value::Map(Map::Owned(entries)))
}

/// Where in a URL a text stands: what may stand there unescaped differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Host,
    Zone,
    UserInfo,
    Query,
    Fragment,
}

#[derive(Default)]
struct Url {
    scheme: Vec<u8>,
    opaque: Vec<u8>,
    user: Option<(Vec<u8>, Option<Vec<u8>>)>,
    host: Vec<u8>,
    path: Vec<u8>,
    raw_path: Vec<u8>,
    query: Vec<u8>,
    fragment: Vec<u8>,
    raw_fragment: Vec<u8>,
    /// A question mark without anything behind it.
    has_empty_query: bool,
    /// A scheme, and a path without a host before it.
    omits_host: bool,
}

impl Url {
    fn parse(text: &[u8]) -> Option<Self> {
        let (text, fragment) = cut(text, b'#');
        let mut url = Self::default();
        if text.iter().any(|byte| *byte < b' ' || *byte == 0x7f) {
            return None;
        }
        if text == b"*" {
            url.path = text.to_vec();
        } else {
            url.read(text)?;
        }
        if let Some(fragment) = fragment {
            url.fragment = unescaped(fragment, Part::Fragment)?;
            if escaped(&url.fragment, Part::Fragment) != fragment {
                url.raw_fragment = fragment.to_vec();
            }
        }
        Some(url)
    }

    fn read(&mut self, text: &[u8]) -> Option<()> {
        let (scheme, rest) = scheme(text)?;
        self.scheme = scheme.to_ascii_lowercase();
        let mut rest = match cut(rest, b'?') {
            (rest, Some(b"")) => {
                self.has_empty_query = true;
                rest
            }
            (rest, query) => {
                self.query = query.unwrap_or_default().to_vec();
                rest
            }
        };
        if !rest.starts_with(b"/") {
            if !scheme.is_empty() {
                self.opaque = rest.to_vec();
                return Some(());
            }
            if cut(rest, b'/').0.contains(&b':') {
                return None;
            }
        }
        if (!scheme.is_empty() || !rest.starts_with(b"///")) && rest.starts_with(b"//") {
            let end = rest[2..].iter().position(|byte| *byte == b'/').map_or(rest.len(), |at| at + 2);
            self.read_authority(&rest[2..end])?;
            rest = &rest[end..];
        } else if !scheme.is_empty() && rest.starts_with(b"/") {
            self.omits_host = true;
        }
        self.path = unescaped(rest, Part::Path)?;
        if escaped(&self.path, Part::Path) != rest {
            self.raw_path = rest.to_vec();
        }
        Some(())
    }

    fn read_authority(&mut self, authority: &[u8]) -> Option<()> {
        let at = authority.iter().rposition(|byte| *byte == b'@');
        self.host = host(&self.scheme, at.map_or(authority, |at| &authority[at + 1..]))?;
        let Some(at) = at else { return Some(()) };
        let info = &authority[..at];
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
        if !info.iter().all(fits) {
            return None;
        }
        let (name, password) = cut(info, b':');
        let name = unescaped(name, Part::UserInfo)?;
        let password = match password {
            Some(password) => Some(unescaped(password, Part::UserInfo)?),
            None => None,
        };
        self.user = Some((name, password));
        Some(())
    }

    fn user_info(&self) -> Option<Vec<u8>> {
        let (name, password) = self.user.as_ref()?;
        let mut info = escaped(name, Part::UserInfo);
        if let Some(password) = password {
            info.push(b':');
            info.extend(escaped(password, Part::UserInfo));
        }
        Some(info)
    }

    /// The URL written again.
    fn text(&self) -> Vec<u8> {
        let mut out = self.scheme.clone();
        if !self.scheme.is_empty() {
            out.push(b':');
        }
        if self.opaque.is_empty() {
            let is_bare = self.host.is_empty() && self.user.is_none();
            let has_authority = !is_bare || !self.scheme.is_empty() && !self.omits_host;
            if has_authority {
                if !is_bare || !self.path.is_empty() {
                    out.extend_from_slice(b"//");
                }
                if let Some(info) = self.user_info() {
                    out.extend(info);
                    out.push(b'@');
                }
                out.extend(escaped(&self.host, Part::Host));
            }
            let path = written(&self.path, &self.raw_path, Part::Path);
            if !path.is_empty() && !path.starts_with(b"/") && !self.host.is_empty() {
                out.push(b'/');
            }
            // Without it the segment would be read as a scheme.
            if out.is_empty() && cut(&path, b'/').0.contains(&b':') {
                out.extend_from_slice(b"./");
            }
            out.extend(path);
        } else {
            out.extend_from_slice(&self.opaque);
        }
        if self.has_empty_query || !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        if !self.fragment.is_empty() {
            out.push(b'#');
            out.extend(written(&self.fragment, &self.raw_fragment, Part::Fragment));
        }
        out
    }

    fn entries<'a>(&self) -> Result<Vec<Entry<'a>>, Failure> {
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(11);
        let mut add = |name: &'static str, value: Value<'a>| entries.push((Cow::Borrowed(name.as_bytes()), value));
        let (domain, port) = domain_and_port(&self.host);
        add("url.original", Value::built(self.text()));
        add("url.domain", Value::built(domain));
        add("url.scheme", Value::built(self.scheme.clone()));
        add("url.path", Value::built(self.path.clone()));
        if !port.is_empty() {
            let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
            add("url.port", Value::Port(port.ok_or(Failure::Value)?));
        }
        if !self.fragment.is_empty() {
            add("url.fragment", Value::built(self.fragment.clone()));
        }
        if let Some(info) = self.user_info() {
            add("url.user_info", Value::built(info));
        }
        if let Some((name, password)) = &self.user {
            if !name.is_empty() {
                add("url.username", Value::built(name.clone()));
            }
            if let Some(password) = password {
                add("url.password", Value::built(password.clone()));
            }
        }
        if !self.query.is_empty() {
            add("url.query", Value::built(self.query.clone()));
        }
        if let Some(at) = self.path.iter().rposition(|byte| *byte == b'.').filter(|at| at + 1 < self.path.len()) {
            add("url.extension", Value::built(&self.path[at + 1..]));
        }
        Ok(entries)
    }
}

/// What is before the first `byte`, and behind it.
fn cut(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(byte, text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A scheme, if there is one, and what is behind it.
fn scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Some((&[], text))
}

/// A host with its port, unescaped.
fn host(scheme: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    match text.iter().rposition(|byte| *byte == b'[') {
        Some(0) => return address(text),
        Some(_) => return None,
        None => {}
    }
    if let Some(first) = memchr::memchr(b':', text) {
        // Only these two schemes are strict about colons.
        let is_strict = matches!(scheme, b"http" | b"https");
        let colon = if is_strict { first } else { memchr::memrchr(b':', text).unwrap_or(first) };
        is_port(&text[colon..]).then_some(())?;
    }
    unescaped(text, Part::Host)
}

/// An IPv6 address in brackets, perhaps with a zone and a port.
fn address(text: &[u8]) -> Option<Vec<u8>> {
    let close = memchr::memrchr(b']', text)?;
    let port = &text[close + 1..];
    is_port(port).then_some(())?;
    let name = &text[1..close];
    let name = match memchr::memmem::find(name, b"%25") {
        Some(at) => [unescaped(&name[..at], Part::Host)?, unescaped(&name[at..], Part::Zone)?].concat(),
        None => unescaped(name, Part::Host)?,
    };
    let (base, zone) = cut(&name, b'%');
    std::str::from_utf8(base).ok()?.parse::<Ipv6Addr>().ok()?;
    // A zone is not empty.
    (zone != Some(b"")).then_some(())?;
    Some([b"[", &name[..], b"]", port].concat())
}

/// Nothing, or a colon and digits or nothing.
fn is_port(text: &[u8]) -> bool {
    text.split_first().is_none_or(|(colon, digits)| *colon == b':' && digits.iter().all(u8::is_ascii_digit))
}

fn domain_and_port(host: &[u8]) -> (&[u8], &[u8]) {
    let (domain, port) = match memchr::memrchr(b':', host).filter(|at| is_port(&host[*at..])) {
        Some(at) => (&host[..at], &host[at + 1..]),
        None => (host, &[][..]),
    };
    (domain.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]")).unwrap_or(domain), port)
}

/// Whether a byte is written as a percent sign and two digits.
fn is_escaped(byte: u8, part: Part) -> bool {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
        return false;
    }
    if matches!(part, Part::Host | Part::Zone) {
        return !b"!$&'()*+,;=:[]<>\"".contains(&byte);
    }
    if b"$&+,/:;=?@".contains(&byte) {
        return match part {
            Part::Path => byte == b'?',
            Part::UserInfo => b"@/?:".contains(&byte),
            Part::Query => true,
            _ => false,
        };
    }
    !(part == Part::Fragment && b"!()*".contains(&byte))
}

fn escaped(text: &[u8], part: Part) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if is_escaped(*byte, part) {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
    out
}

/// A text as it was written where that is fit to be written again, else escaped anew.
fn written(plain: &[u8], raw: &[u8], part: Part) -> Vec<u8> {
    let fits = |byte: &u8| b"!$&'()*+,;=:@[]%".contains(byte) || !is_escaped(*byte, part);
    if !raw.is_empty() && raw.iter().all(fits) {
        return raw.to_vec();
    }
    if part == Part::Path && plain == b"*" { plain.to_vec() } else { escaped(plain, part) }
}

fn unescaped(text: &[u8], part: Part) -> Option<Vec<u8>> {
    let is_host = matches!(part, Part::Host | Part::Zone);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = (digit(*tail.first()?)?, digit(*tail.get(1)?)?);
                let byte = high << 4 | low;
                let is_fit = match part {
                    Part::Host => high >= 8 || byte == b'%',
                    Part::Zone => byte == b'%' || byte == b' ' || !is_escaped(byte, Part::Host),
                    _ => true,
                };
                is_fit.then_some(())?;
                out.push(byte);
                rest = &tail[2..];
            }
            b'+' if part == Part::Query => out.push(b' '),
            byte if is_host && byte.is_ascii() && is_escaped(*byte, part) => return None,
            byte => out.push(*byte),
        }
    }
    Some(out)
}

/// A query's parameters: lists of texts, by name, under `query`; nothing of an empty query.
fn parameters<'a>(query: &[u8], arguments: &Arguments<'a, '_>) -> Result<Vec<Entry<'a>>, Failure> {
    if memchr::memchr_iter(b'&', query).count() >= PARAMETERS_MAX {
        return Err(Failure::Value);
    }
    let mut known: Vec<(Vec<u8>, Vec<Value<'a>>)> = Vec::new();
    for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pair.contains(&b';') {
            return Err(Failure::Value);
        }
        let (name, value) = cut(pair, b'=');
        let name = unescaped(name, Part::Query).ok_or(Failure::Value)?;
        let value = unescaped(value.unwrap_or_default(), Part::Query).ok_or(Failure::Value)?;
        arguments.spend(known.len())?;
        match known.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(Value::built(value)),
            None => known.push((name, vec![Value::built(value)])),
        }
    }
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let lists =
        known.into_iter().map(|(name, values)| (Cow::Owned(name), Value::List(List::Owned(values, ListKind::Plain))));
    Ok(vec![(Cow::Borrowed(&b"query"[..]), Value::Map(Map::Owned(lists.collect())))])
}
