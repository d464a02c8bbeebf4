//! What a function of the language is: its name and parameters, what is wrong with arguments that are written out, what is
//! made of them once, and its value for a span. Each family of functions in `functions/` fills this in for its own.
//!
//! All are converters, as the language calls functions that change nothing, and as what is said to people calls them.

use super::convert;
use super::error::{CompileError, Failure};
use super::evaluate;
use super::program::{Call, Given, Node};
use super::target::Target;
use super::tree::{Argument, Expression};
use super::value::{Chars, Entry, List, Map, Value};
use super::zone::Zone;
use crate::pattern::{Expressions, Pattern};
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

/// What a parameter takes. "Like" kinds convert what they get; the others fail on another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A value of any type.
    Any,
    Text,
    TextLike,
    Integer,
    IntegerLike,
    Double,
    DoubleLike,
    Boolean,
    BooleanLike,
    BytesLike,
    Map,
    List,
    Time,
    Duration,
    /// A regular expression; written out, so that it is compiled once.
    Pattern,
    /// Written out: known when the condition is read.
    LiteralText,
    LiteralBoolean,
    /// A list of texts, written out.
    LiteralTexts,
    /// A list, written out, of values of any type.
    ManyAny,
    /// A list, written out, of texts.
    ManyText,
    /// A list of any origin whose elements become texts.
    Texts,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, for `name=value`.
    pub name: &'static str,
    /// What it takes.
    pub kind: ParameterKind,
    /// Whether it may be left out.
    pub is_optional: bool,
}

/// A parameter that is always given.
pub const fn needed(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, is_optional: false }
}

/// A parameter that may be left out.
pub const fn optional(name: &'static str, kind: ParameterKind) -> Parameter {
    Parameter { name, kind, is_optional: true }
}

/// Functions that are asked so often that a compiled condition has a form of its own for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// None: it is called.
    Call,
    /// Whether the span is a root.
    IsRoot,
    /// Whether a text begins with another.
    HasPrefix,
    /// Whether a text ends with another.
    HasSuffix,
    /// Whether an expression matches a text.
    IsMatch,
}

type Check = fn(&Written<'_>) -> Result<(), String>;
type Prepare = fn(&Written<'_>, &mut Shared) -> Result<Prepared, CompileError>;
type Evaluate = for<'a, 't> fn(&Arguments<'a, 't>) -> Result<Value<'a>, Failure>;

/// A function. It follows the reference's converter of the same name in `ottlfuncs`.
#[derive(Clone, Copy)]
pub struct Function {
    pub(super) name: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// What is wrong with arguments that are written out, in words.
    pub(super) check: Check,
    /// What is made of them once.
    pub(super) prepare: Prepare,
    /// Its value, without the keys behind the call.
    pub(super) evaluate: Evaluate,
    pub(super) form: Form,
    /// Whether conditions on events don't have it.
    pub(super) is_of_spans: bool,
    /// None where its value is that of its arguments alone. Else whether, called with constants, it may have another value
    /// for another span.
    pub(super) depends_on_span: Option<fn(&Written<'_>) -> bool>,
}

impl Function {
    /// A function of its arguments alone, of which nothing is prepared and nothing is checked but their types.
    pub(super) const fn new(name: &'static str, parameters: &'static [Parameter], evaluate: Evaluate) -> Self {
        Self {
            name,
            parameters,
            check: |_| Ok(()),
            prepare: |_, _| Ok(Prepared::Nothing),
            evaluate,
            form: Form::Call,
            is_of_spans: false,
            depends_on_span: None,
        }
    }

    /// With a check of arguments that are written out.
    pub(super) const fn checked(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// With something made of arguments that are written out.
    pub(super) const fn prepared(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
    }

    /// With a form of its own.
    pub(super) const fn formed(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// For conditions on spans alone.
    pub(super) const fn of_spans(self) -> Self {
        Self { is_of_spans: true, ..self }
    }

    /// With a value that may depend on the span.
    pub(super) const fn depending_on_span(self, depends: fn(&Written<'_>) -> bool) -> Self {
        Self { depends_on_span: Some(depends), ..self }
    }
}

// Names are unique.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A call as it is written: what is known of it without a span.
pub struct Written<'c> {
    pub(super) function: &'static Function,
    /// One for each parameter.
    pub(super) arguments: &'c [Option<Argument>],
}

impl<'c> Written<'c> {
    fn argument(&self, name: &str) -> Option<&'c Argument> {
        let position = self.function.parameters.iter().position(|parameter| parameter.name == name)?;
        self.arguments.get(position)?.as_ref()
    }

    /// An argument that is no list of parts.
    pub(super) fn one(&self, name: &str) -> Option<&'c Expression> {
        match self.argument(name) {
            Some(Argument::One(expression)) => Some(expression),
            _ => None,
        }
    }

    /// The elements of a list that is written out.
    pub(super) fn many(&self, name: &str) -> Option<&'c [Expression]> {
        match self.argument(name) {
            Some(Argument::Many(expressions)) => Some(expressions),
            _ => None,
        }
    }

    /// An argument that is written out.
    pub(super) fn literal(&self, name: &str) -> Option<&'c Expression> {
        self.one(name).filter(|expression| expression.is_literal())
    }

    /// A text that is written out.
    pub(super) fn text(&self, name: &str) -> Option<&'c str> {
        match self.one(name) {
            Some(Expression::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A text that is written out is one of those that are known.
    pub(super) fn one_of(&self, name: &str, known: &[&str]) -> Result<(), String> {
        match self.text(name) {
            Some(value) if !known.contains(&value) => {
                Err(format!("{}: {value:?} is none of {}", self.function.name, known.join(", ")))
            }
            _ => Ok(()),
        }
    }

    /// Words, behind the function's name.
    pub(super) fn named(&self, reason: impl std::fmt::Display) -> String {
        format!("{}: {reason}", self.function.name)
    }
}

/// What a call needs besides its arguments, made of those that are written out.
#[derive(Debug)]
pub enum Prepared {
    /// Nothing.
    Nothing,
    /// An expression.
    Pattern(Pattern),
    /// What only the function knows.
    Own(Box<dyn Any + Send + Sync>),
}

impl Prepared {
    /// What only the function knows.
    pub(super) fn own(made: impl Any + Send + Sync) -> Self {
        Self::Own(Box::new(made))
    }
}

/// What the calls of all conditions share, because it takes much to make it.
#[derive(Debug, Default)]
pub struct Shared {
    made: Vec<Arc<dyn Any + Send + Sync>>,
    expressions: Expressions,
}

impl Shared {
    /// How much memory the expressions of all calls take, but for those that are shared.
    #[must_use]
    pub fn expressions(&self) -> Expressions {
        self.expressions
    }

    /// Takes an expression's memory in.
    pub(super) fn count(&mut self, pattern: &Pattern) {
        self.expressions.add(pattern);
    }

    /// What is of this type, made when it is asked for first.
    pub(super) fn once<T: Any + Send + Sync>(
        &mut self,
        make: impl FnOnce() -> Result<T, CompileError>,
    ) -> Result<Arc<T>, CompileError> {
        if let Some(known) = self.made.iter().find_map(|made| Arc::clone(made).downcast().ok()) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        self.made.push(Arc::<T>::clone(&made));
        Ok(made)
    }
}

/// What a function is called with for a span.
pub struct Arguments<'a, 't> {
    pub(super) call: &'a Call,
    pub(super) target: &'t Target<'a>,
}

impl<'a> Arguments<'a, '_> {
    fn given(&self, index: usize) -> Option<&'a Given> {
        self.call.arguments.get(index)?.as_ref()
    }

    /// A value of any type.
    pub(super) fn any(&self, index: usize) -> Result<Value<'a>, Failure> {
        match self.given(index) {
            Some(Given::One(node)) => evaluate::value(node, self.target),
            _ => Err(Failure::Type),
        }
    }

    /// The elements of a list that is written out.
    pub(super) fn many(&self, index: usize) -> Option<&'a [Node]> {
        match self.given(index) {
            Some(Given::Many(nodes)) => Some(nodes),
            _ => None,
        }
    }

    /// The value of such an element.
    pub(super) fn value(&self, node: &'a Node) -> Result<Value<'a>, Failure> {
        evaluate::value(node, self.target)
    }

    pub(super) fn is_given(&self, index: usize) -> bool {
        self.given(index).is_some()
    }

    pub(super) fn text(&self, index: usize) -> Result<Chars<'a>, Failure> {
        match self.any(index)? {
            Value::Text(text) => Ok(text),
            _ => Err(Failure::Type),
        }
    }

    /// A text, or what an optional parameter is when it is left out.
    pub(super) fn text_or(&self, index: usize, default: &'static [u8]) -> Result<Chars<'a>, Failure> {
        if self.is_given(index) { self.text(index) } else { Ok(Cow::Borrowed(default)) }
    }

    pub(super) fn boolean_or(&self, index: usize, default: bool) -> Result<bool, Failure> {
        match self.given(index) {
            None => Ok(default),
            Some(_) => match self.any(index)? {
                Value::Boolean(value) => Ok(value),
                _ => Err(Failure::Type),
            },
        }
    }

    pub(super) fn text_like(&self, index: usize) -> Result<Option<Chars<'a>>, Failure> {
        convert::text_like(self.any(index)?)
    }

    pub(super) fn integer(&self, index: usize) -> Result<i64, Failure> {
        match self.any(index)? {
            Value::Integer(value) => Ok(value),
            _ => Err(Failure::Type),
        }
    }

    pub(super) fn time(&self, index: usize) -> Result<(i128, Zone), Failure> {
        match self.any(index)? {
            Value::Time(time, zone) => Ok((time, zone)),
            _ => Err(Failure::Type),
        }
    }

    pub(super) fn duration(&self, index: usize) -> Result<i64, Failure> {
        match self.any(index)? {
            Value::Duration(duration) => Ok(duration),
            _ => Err(Failure::Type),
        }
    }

    pub(super) fn map(&self, index: usize) -> Result<Map<'a>, Failure> {
        match self.any(index)? {
            // As a map of the telemetry, which has integers of one type.
            Value::Map(Map::Owned(entries)) => Ok(Map::Owned(entries.into_iter().map(plain_port).collect())),
            Value::Map(map) => Ok(map),
            _ => Err(Failure::Type),
        }
    }

    pub(super) fn list(&self, index: usize) -> Result<List<'a>, Failure> {
        match self.any(index)? {
            Value::List(list) => convert::slice(list),
            _ => Err(Failure::Type),
        }
    }

    /// The expression that was prepared.
    pub(super) fn pattern(&self) -> Result<&'a Pattern, Failure> {
        match &self.call.prepared {
            Prepared::Pattern(pattern) => Ok(pattern),
            _ => Err(Failure::Value),
        }
    }

    /// What the function has prepared for itself.
    pub(super) fn prepared<T: Any>(&self) -> Result<&'a T, Failure> {
        match &self.call.prepared {
            Prepared::Own(made) => made.downcast_ref().ok_or(Failure::Value),
            _ => Err(Failure::Value),
        }
    }

    /// Takes `amount` from the work that is left.
    pub(super) fn spend(&self, amount: usize) -> Result<(), Failure> {
        self.target.spend(amount)
    }

    /// Reading a text once costs its length.
    pub(super) fn read(&self, text: &[u8]) -> Result<(), Failure> {
        self.target.spend(text.len())
    }
}

fn plain_port<'a>((key, value): Entry<'a>) -> Entry<'a> {
    match value {
        Value::Port(port) => (key, Value::Integer(port)),
        value => (key, value),
    }
}
