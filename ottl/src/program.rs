//! Conditions, compiled: attribute look-ups by number, expressions built, constants folded.

use super::error::Failure;
use super::field::Field;
use super::function::{Function, Prepared};
use super::note::Site;
use super::operator::{Comparison, Operator};
use super::value::Value;

/// A condition or a part of one.
#[derive(Debug)]
pub(super) enum Check {
    Constant(bool),
    Failing(Failure),
    Not(Box<Check>),
    All(Box<[Check]>),
    Any(Box<[Check]>),
    Compare(Comparison, Node, Node),
    /// An attribute and a text, equal or not: what is no text is unequal.
    AttributeText {
        site: Site,
        number: usize,
        text: Box<[u8]>,
        is_equal: bool,
    },
    /// An attribute and an integer.
    AttributeInteger {
        site: Site,
        number: usize,
        comparison: Comparison,
        value: i64,
    },
    /// The span's kind or status code, and an integer.
    Number {
        field: Field,
        comparison: Comparison,
        value: i64,
    },
    /// The time from the span's start to its end, and a duration in nanoseconds.
    Elapsed {
        comparison: Comparison,
        duration: i64,
    },
    IsRoot,
    /// The span's name and a text, equal or not.
    Name {
        text: Box<[u8]>,
        is_equal: bool,
    },
    /// The span's name begins with a text, or ends with it.
    NameEnd {
        text: Box<[u8]>,
        is_prefix: bool,
    },
    Holds(Node),
}

/// What has a value.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value<'static>),
    Failing(Failure),
    SpanAttribute(usize, Box<[Step]>),
    ResourceAttribute(usize, Box<[Step]>),
    Field(Field),
    /// A map of the telemetry, looked up by keys that are only known with the span.
    Indexed(Field, Box<[Step]>),
    /// A member of the tracestate.
    Member(Box<[u8]>),
    Call(Box<Call>),
    Negate(Box<Node>),
    Arithmetic(Box<Node>, Box<[(Operator, Node)]>),
    List(Box<[Node]>),
    Entries(Box<[(Box<[u8]>, Node)]>),
}

/// A key in brackets.
#[derive(Debug)]
pub(super) enum Step {
    Text(Box<[u8]>),
    Integer(i64),
    Node(Node),
}

/// A converter and what it is called with.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: &'static Function,
    pub(super) arguments: Box<[Option<Given>]>,
    /// What was made of the arguments that are written out.
    pub(super) prepared: Prepared,
    pub(super) keys: Box<[Step]>,
}

#[derive(Debug)]
pub(super) enum Given {
    One(Node),
    Many(Box<[Node]>),
}
