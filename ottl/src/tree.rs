//! A condition, resolved: every name has its meaning, every literal its value.

use super::field::{Context, Field};
use super::function::Function;
use super::operator::{Comparison, Operator};

/// A condition that passed all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As it was written.
    pub text: String,
    /// What it is evaluated on.
    pub context: Context,
    /// What it says.
    pub predicate: Predicate,
}

/// What is true or false of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// Always the same.
    Literal(bool),
    /// The opposite.
    Not(Box<Predicate>),
    /// All hold; evaluated in order up to the first that does not.
    All(Vec<Predicate>),
    /// Any holds; evaluated in order up to the first that does.
    Any(Vec<Predicate>),
    /// Two values compared.
    Compare {
        /// How.
        comparison: Comparison,
        /// The value on the left, evaluated first.
        left: Expression,
        /// The value on the right.
        right: Expression,
    },
    /// A converter whose value must be a truth value.
    Holds(Expression),
}

/// What has a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// No value.
    Nil,
    /// A truth value.
    Boolean(bool),
    /// An integer; enums are integers.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Expression>),
    /// A map; of equal keys the last is kept.
    Map(Vec<(String, Expression)>),
    /// A path into the telemetry, with the keys behind it.
    Path(Field, Vec<Key>),
    /// A function's value, with the keys behind it. The arguments stand in the order of its parameters.
    Call {
        /// Which function.
        function: &'static Function,
        /// One for each parameter; none for an optional one that is left out.
        arguments: Vec<Option<Argument>>,
        /// The keys behind the call.
        keys: Vec<Key>,
    },
    /// A value with the opposite sign.
    Negate(Box<Expression>),
    /// A chain of operations, evaluated from left to right.
    Arithmetic(Box<Expression>, Vec<(Operator, Expression)>),
}

impl Expression {
    /// Whether the reference knows its value when the condition is read. Converters and arithmetic are none of these.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        match self {
            Self::Nil | Self::Boolean(_) | Self::Integer(_) | Self::Double(_) | Self::Text(_) | Self::Bytes(_) => true,
            Self::List(elements) => elements.iter().all(Self::is_literal),
            Self::Map(entries) => entries.iter().all(|(_, value)| value.is_literal()),
            Self::Path(..) | Self::Call { .. } | Self::Negate(_) | Self::Arithmetic(..) => false,
        }
    }
}

/// An argument, as its parameter takes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A value.
    One(Expression),
    /// The elements of a list that is written out.
    Many(Vec<Expression>),
}

/// A key in brackets.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// `["name"]`
    Text(String),
    /// `[0]`
    Integer(i64),
    /// Any other expression.
    Expression(Expression),
}
