//! From tokens to a tree without meaning. Conditions and values share one grammar here, so that nothing is read twice
//! however deep the parentheses; which of the two stands where is checked afterwards.
//!
//! ```text
//! any     = all { "or" all }            all  = single { "and" single }
//! single  = ["not"] comparison          comparison = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
//! sum     = product { ("+" | "-") product }
//! product = signed { ("*" | "/") signed }         signed = ["+" | "-"] value
//! value   = literal | ENUM | path | Converter "(" arguments ")" keys | "(" any ")" | list | map
//! ```

use super::error::OttlError;
use super::operator::{Comparison, Operator};
use super::token::{Kind, Token};

/// Deepest nesting of parentheses, calls, lists and maps: what recursion over a tree costs in stack.
/// At the bound: the configuration is refused.
pub const NESTING_MAX: usize = 48;

/// Most elements of a list or map, and most arguments of a call.
/// At the bound: the configuration is refused.
pub const ELEMENTS_MAX: usize = 1024;

/// A part of a condition and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) offset: usize,
    pub(super) kind: NodeKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeKind {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Nested(Box<Node>),
    Nil,
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Double(f64),
    Enum(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    Path(Vec<Segment>),
    Call { name: String, arguments: Vec<Argument>, keys: Vec<Node> },
    Negate(Box<Node>),
    Plus(Box<Node>),
    Arithmetic(Box<Node>, Vec<(Operator, Node)>),
}

/// One name of a path with the keys behind it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) name: String,
    pub(super) keys: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    pub(super) name: Option<String>,
    pub(super) value: Node,
}

/// Reads a whole condition.
pub(super) fn condition(text: &str, tokens: &[Token]) -> Result<Node, OttlError> {
    let mut parser = Parser { text, tokens, at: 0, nesting: 0 };
    let node = parser.any()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("and, or, or the end of the condition")),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'a Kind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| token.start)
    }

    fn take(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == Some(kind);
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: char) -> bool {
        self.take(&Kind::Mark(mark))
    }

    fn expect(&mut self, mark: char) -> Result<(), OttlError> {
        if self.mark(mark) { Ok(()) } else { Err(self.unexpected(&format!("{mark:?}"))) }
    }

    fn unexpected(&self, wanted: &str) -> OttlError {
        let Some(token) = self.tokens.get(self.at) else {
            return OttlError::new(self.text.len(), format!("the condition ends where {wanted} is expected"));
        };
        let found = &self.text[token.start..token.end];
        let error = OttlError::new(token.start, format!("unexpected {found:?}, expected {wanted}"));
        match token.kind {
            Kind::Mark('=') => error.hint("write == to compare"),
            _ => error,
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, OttlError>) -> Result<T, OttlError> {
        if self.nesting >= NESTING_MAX {
            return Err(OttlError::new(self.offset(), format!("nested deeper than {NESTING_MAX} levels")));
        }
        self.nesting += 1;
        let result = inner(self)?;
        self.nesting -= 1;
        Ok(result)
    }

    fn any(&mut self) -> Result<Node, OttlError> {
        self.series(&Kind::Or, NodeKind::Any, Self::all)
    }

    fn all(&mut self) -> Result<Node, OttlError> {
        self.series(&Kind::And, NodeKind::All, Self::single)
    }

    fn series(
        &mut self,
        joint: &Kind,
        join: fn(Vec<Node>) -> NodeKind,
        part: fn(&mut Self) -> Result<Node, OttlError>,
    ) -> Result<Node, OttlError> {
        let offset = self.offset();
        let first = part(self)?;
        if self.peek() != Some(joint) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(joint) {
            parts.push(part(self)?);
        }
        Ok(Node { offset, kind: join(parts) })
    }

    fn single(&mut self) -> Result<Node, OttlError> {
        let offset = self.offset();
        if self.take(&Kind::Not) {
            let inner = self.comparison()?;
            return Ok(Node { offset, kind: NodeKind::Not(Box::new(inner)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node, OttlError> {
        let offset = self.offset();
        let left = self.sum()?;
        let Some(Kind::Comparison(comparison)) = self.peek() else { return Ok(left) };
        self.at += 1;
        let right = self.sum()?;
        Ok(Node { offset, kind: NodeKind::Compare(*comparison, Box::new(left), Box::new(right)) })
    }

    fn sum(&mut self) -> Result<Node, OttlError> {
        self.chain(&[Operator::Add, Operator::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Node, OttlError> {
        self.chain(&[Operator::Multiply, Operator::Divide], Self::signed)
    }

    fn chain(
        &mut self,
        operators: &[Operator],
        part: fn(&mut Self) -> Result<Node, OttlError>,
    ) -> Result<Node, OttlError> {
        let offset = self.offset();
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Some(Kind::Operator(operator)) = self.peek() {
            if !operators.contains(operator) {
                break;
            }
            self.at += 1;
            rest.push((*operator, part(self)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Node { offset, kind: NodeKind::Arithmetic(Box::new(first), rest) })
    }

    fn signed(&mut self) -> Result<Node, OttlError> {
        let offset = self.offset();
        let sign = match self.peek() {
            Some(Kind::Operator(Operator::Add)) => NodeKind::Plus,
            Some(Kind::Operator(Operator::Subtract)) => NodeKind::Negate,
            _ => return self.value(),
        };
        self.at += 1;
        let inner = self.value()?;
        Ok(Node { offset, kind: sign(Box::new(inner)) })
    }

    fn value(&mut self) -> Result<Node, OttlError> {
        let offset = self.offset();
        let kind = match self.peek() {
            Some(Kind::Upper | Kind::Lower) => return self.named(),
            Some(Kind::Mark('(')) => {
                self.refuse_lambda()?;
                self.at += 1;
                let inner = self.deeper(Self::any)?;
                self.expect(')')?;
                return Ok(Node { offset, kind: NodeKind::Nested(Box::new(inner)) });
            }
            Some(Kind::Mark('[')) => {
                self.at += 1;
                NodeKind::List(self.deeper(|parser| parser.elements(']', Self::sum))?)
            }
            Some(Kind::Mark('{')) => {
                self.at += 1;
                NodeKind::Map(self.deeper(Self::entries)?)
            }
            Some(Kind::Nil) => NodeKind::Nil,
            Some(Kind::Boolean(value)) => NodeKind::Boolean(*value),
            Some(Kind::Text(value)) => NodeKind::Text(value.clone()),
            Some(Kind::Bytes(value)) => NodeKind::Bytes(value.clone()),
            Some(Kind::Integer(value)) => NodeKind::Integer(*value),
            Some(Kind::Double(value)) => NodeKind::Double(*value),
            Some(Kind::Not) => return Err(self.unexpected("a value").hint("put the negation in parentheses")),
            _ => return Err(self.unexpected("a value")),
        };
        if !matches!(kind, NodeKind::List(_) | NodeKind::Map(_)) {
            self.at += 1;
        }
        Ok(Node { offset, kind })
    }

    /// `(a, b) =>` begins a lambda.
    fn refuse_lambda(&self) -> Result<(), OttlError> {
        let mut ahead = 1;
        while matches!(self.peek_at(ahead), Some(Kind::Lower | Kind::Underscore | Kind::Mark(','))) {
            ahead += 1;
        }
        if self.peek_at(ahead) == Some(&Kind::Mark(')')) && self.peek_at(ahead + 1) == Some(&Kind::Arrow) {
            return Err(OttlError::new(self.offset(), "lambdas are not supported"));
        }
        Ok(())
    }

    /// A list's elements or a call's arguments, up to `end`.
    fn elements<T>(&mut self, end: char, element: fn(&mut Self) -> Result<T, OttlError>) -> Result<Vec<T>, OttlError> {
        let mut elements = Vec::new();
        if self.mark(end) {
            return Ok(elements);
        }
        loop {
            if elements.len() >= ELEMENTS_MAX {
                return Err(OttlError::new(self.offset(), format!("more than {ELEMENTS_MAX} elements")));
            }
            elements.push(element(self)?);
            if self.mark(end) {
                return Ok(elements);
            }
            if !self.mark(',') {
                return Err(self.unexpected(&format!("',' or {end:?}")));
            }
        }
    }

    /// A map's entries; the commas between them may be left out.
    fn entries(&mut self) -> Result<Vec<(String, Node)>, OttlError> {
        let mut entries = Vec::new();
        while !self.mark('}') {
            let Some(Kind::Text(key)) = self.peek() else { return Err(self.unexpected("a key in double quotes")) };
            if entries.len() >= ELEMENTS_MAX {
                return Err(OttlError::new(self.offset(), format!("more than {ELEMENTS_MAX} entries")));
            }
            self.at += 1;
            self.expect(':')?;
            entries.push((key.clone(), self.sum()?));
            self.mark(',');
        }
        Ok(entries)
    }

    /// A converter, an enum or a path. A converter's name may take several tokens.
    fn named(&mut self) -> Result<Node, OttlError> {
        let offset = self.offset();
        let is_upper = self.peek() == Some(&Kind::Upper);
        let mut length = 1;
        while matches!(self.peek_at(length), Some(Kind::Upper | Kind::Lower)) {
            length += 1;
        }
        if self.peek_at(length) == Some(&Kind::Mark('(')) {
            let name = self.name(length);
            if !is_upper {
                return Err(OttlError::new(
                    offset,
                    format!("{name} is no converter: a condition must not change data"),
                )
                .hint("converters begin with a capital letter"));
            }
            self.at += length + 1;
            let arguments = self.deeper(|parser| parser.elements(')', Self::argument))?;
            let keys = self.keys()?;
            return Ok(Node { offset, kind: NodeKind::Call { name, arguments, keys } });
        }
        if !is_upper {
            return self.path();
        }
        if length > 1 {
            let name = self.name(length);
            self.at += length;
            return Err(self.unexpected("'('").hint(format!("a converter is called, as in {name}(...)")));
        }
        let name = self.name(1);
        self.at += 1;
        Ok(Node { offset, kind: NodeKind::Enum(name) })
    }

    /// The text of the next `length` tokens.
    fn name(&self, length: usize) -> String {
        let tokens = self.tokens.get(self.at..self.at + length).unwrap_or_default();
        tokens.iter().map(|token| &self.text[token.start..token.end]).collect()
    }

    fn argument(&mut self) -> Result<Argument, OttlError> {
        let mut length = 0;
        if self.peek() == Some(&Kind::Lower) {
            length = 1;
            while matches!(self.peek_at(length), Some(Kind::Upper | Kind::Lower)) {
                length += 1;
            }
        }
        let is_named = length > 0 && self.peek_at(length) == Some(&Kind::Mark('='));
        let name = is_named.then(|| self.name(length));
        if is_named {
            self.at += length + 1;
        }
        Ok(Argument { name, value: self.sum()? })
    }

    fn path(&mut self) -> Result<Node, OttlError> {
        let start = self.offset();
        let mut segments = Vec::new();
        loop {
            let offset = self.offset();
            if self.peek() != Some(&Kind::Lower) {
                return Err(self.unexpected("the name of a field"));
            }
            let name = self.name(1);
            self.at += 1;
            segments.push(Segment { offset, name, keys: self.keys()? });
            if !self.mark('.') {
                return Ok(Node { offset: start, kind: NodeKind::Path(segments) });
            }
        }
    }

    /// The keys in brackets behind a path or a call.
    fn keys(&mut self) -> Result<Vec<Node>, OttlError> {
        let mut keys = Vec::new();
        while self.mark('[') {
            if keys.len() >= NESTING_MAX {
                return Err(OttlError::new(self.offset(), format!("more than {NESTING_MAX} keys")));
            }
            // A key that begins with a text or an integer is that alone.
            let is_plain = matches!(self.peek(), Some(Kind::Text(_) | Kind::Integer(_)));
            keys.push(self.deeper(if is_plain { Self::value } else { Self::sum })?);
            self.expect(']')?;
        }
        Ok(keys)
    }
}
