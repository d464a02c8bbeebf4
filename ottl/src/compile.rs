//! Makes programs of conditions: constants are evaluated, and the commonest questions get forms of their own.

use super::compare::compare;
use super::error::{CompileError, Failure};
use super::evaluate;
use super::field::Field;
use super::function::{Form, Function, Shared, Written};
use super::note::{Attributes, Site};
use super::operator::{Comparison, Operator};
use super::program::{Call, Check, Given, Node, Step};
use super::target::Target;
use super::tree::{Argument, Expression, Key, Predicate};
use super::value::Value;
use std::borrow::Cow;

/// Compiles conditions; the keys they look up are shared through `attributes`.
pub(super) struct Builder<'r> {
    pub(super) attributes: &'r mut dyn Attributes,
    pub(super) needs_scope: bool,
    pub(super) shared: &'r mut Shared,
}

impl Builder<'_> {
    /// The check, and whether the reference knows its outcome when it reads the condition.
    pub(super) fn check(&mut self, predicate: &Predicate) -> Result<(Check, bool), CompileError> {
        Ok(match predicate {
            Predicate::Literal(value) => (Check::Constant(*value), true),
            Predicate::Not(inner) => match self.check(inner)? {
                (Check::Constant(value), is_literal) => (Check::Constant(!value), is_literal),
                (inner, _) => (Check::Not(Box::new(inner)), false),
            },
            Predicate::All(parts) => self.series(parts, false)?,
            Predicate::Any(parts) => self.series(parts, true)?,
            Predicate::Compare { comparison, left, right } => {
                let is_literal = left.is_literal() && right.is_literal();
                let (left, right) = (self.node(left)?, self.node(right)?);
                (comparison_of(*comparison, left, right), is_literal)
            }
            Predicate::Holds(expression) => match self.node(expression)? {
                Node::Constant(Value::Boolean(value)) => (Check::Constant(value), false),
                Node::Constant(_) => (Check::Failing(Failure::Type), false),
                Node::Failing(failure) => (Check::Failing(failure), false),
                Node::Call(call) if call.function.form == Form::IsRoot && call.keys.is_empty() => {
                    (Check::IsRoot, false)
                }
                Node::Call(call) => (name_end(&call).unwrap_or_else(|| Check::Holds(Node::Call(call))), false),
                node => (Check::Holds(node), false),
            },
        })
    }

    /// Parts joined by `and`, or by `or` where `ends` is true: the outcome of a part that ends the evaluation. A literal
    /// that ends it counts wherever it stands, so that no part before it is evaluated or can fail, as in the reference.
    fn series(&mut self, parts: &[Predicate], ends: bool) -> Result<(Check, bool), CompileError> {
        let mut checks = Vec::with_capacity(parts.len());
        for part in parts {
            match self.check(part)? {
                (Check::Constant(value), true) if value == ends => return Ok((Check::Constant(ends), true)),
                (Check::Constant(_), true) => {}
                (check, _) => checks.push(check),
            }
        }
        Ok(match checks.len() {
            0 => (Check::Constant(!ends), true),
            1 => (checks.remove(0), false),
            _ if ends => (Check::Any(checks.into()), false),
            _ => (Check::All(checks.into()), false),
        })
    }

    pub(super) fn node(&mut self, expression: &Expression) -> Result<Node, CompileError> {
        let (node, is_constant) = match expression {
            Expression::Nil => return Ok(Node::Constant(Value::Nil)),
            Expression::Boolean(value) => return Ok(Node::Constant(Value::Boolean(*value))),
            Expression::Integer(value) => return Ok(Node::Constant(Value::Integer(*value))),
            Expression::Double(value) => return Ok(Node::Constant(Value::Double(*value))),
            Expression::Text(text) => return Ok(Node::Constant(Value::built(text.as_bytes()))),
            Expression::Bytes(bytes) => return Ok(Node::Constant(Value::Bytes(Cow::Owned(bytes.clone())))),
            Expression::Path(field, keys) => return self.path(*field, keys),
            Expression::List(elements) => {
                let nodes = self.nodes(elements)?;
                let is_constant = nodes.iter().all(is_constant);
                (Node::List(nodes), is_constant)
            }
            Expression::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((key.as_bytes().into(), self.node(value)?)));
                let entries: Box<[(Box<[u8]>, Node)]> = entries.collect::<Result<_, _>>()?;
                let is_constant = entries.iter().all(|(_, node)| is_constant(node));
                (Node::Entries(entries), is_constant)
            }
            Expression::Call { function, arguments, keys } => self.call(function, arguments, keys)?,
            Expression::Negate(inner) => {
                let inner = self.node(inner)?;
                let is_constant = is_constant(&inner);
                (Node::Negate(Box::new(inner)), is_constant)
            }
            Expression::Arithmetic(first, rest) => {
                let first = self.node(first)?;
                let rest = rest.iter().map(|(operator, operand)| Ok((*operator, self.node(operand)?)));
                let rest: Box<[(Operator, Node)]> = rest.collect::<Result<_, _>>()?;
                let is_constant = is_constant(&first) && rest.iter().all(|(_, node)| is_constant(node));
                (Node::Arithmetic(Box::new(first), rest), is_constant)
            }
        };
        Ok(if is_constant { folded(&node) } else { node })
    }

    fn nodes(&mut self, expressions: &[Expression]) -> Result<Box<[Node]>, CompileError> {
        expressions.iter().map(|expression| self.node(expression)).collect()
    }

    fn path(&mut self, field: Field, keys: &[Key]) -> Result<Node, CompileError> {
        self.needs_scope |= matches!(
            field,
            Field::ScopeName
                | Field::ScopeVersion
                | Field::ScopeAttributes
                | Field::ScopeDroppedAttributesCount
                | Field::ScopeSchemaUrl
        );
        Ok(match (field, keys) {
            (Field::TraceStateMember, [Key::Text(key), ..]) => Node::Member(key.as_bytes().into()),
            (Field::Attributes, [Key::Text(key), rest @ ..]) => {
                let number = self.attributes.noted(key).ok_or(CompileError::TooManyKeys)?;
                Node::SpanAttribute(number, self.steps(rest)?)
            }
            (Field::ResourceAttributes, [Key::Text(key), rest @ ..]) => {
                let number = self.attributes.noted(key).ok_or(CompileError::TooManyKeys)?;
                Node::ResourceAttribute(number, self.steps(rest)?)
            }
            (_, []) => Node::Field(field),
            (_, keys) => Node::Indexed(field, self.steps(keys)?),
        })
    }

    fn steps(&mut self, keys: &[Key]) -> Result<Box<[Step]>, CompileError> {
        let steps = keys.iter().map(|key| {
            Ok(match key {
                Key::Text(text) => Step::Text(text.as_bytes().into()),
                Key::Integer(index) => Step::Integer(*index),
                Key::Expression(expression) => Step::Node(self.node(expression)?),
            })
        });
        steps.collect()
    }

    fn call(
        &mut self,
        function: &'static Function,
        arguments: &[Option<Argument>],
        keys: &[Key],
    ) -> Result<(Node, bool), CompileError> {
        let written = Written { function, arguments };
        let prepared = (function.prepare)(&written, self.shared)?;
        let given = arguments.iter().map(|argument| {
            Ok(match argument {
                None => None,
                Some(Argument::One(value)) => Some(Given::One(self.node(value)?)),
                Some(Argument::Many(values)) => Some(Given::Many(self.nodes(values)?)),
            })
        });
        let given: Box<[Option<Given>]> = given.collect::<Result<_, CompileError>>()?;
        let keys = self.steps(keys)?;
        let is_constant = !function.depends_on_span.is_some_and(|depends| depends(&written))
            && given.iter().flatten().all(|given| match given {
                Given::One(node) => is_constant(node),
                Given::Many(nodes) => nodes.iter().all(is_constant),
            })
            && keys.iter().all(|step| match step {
                Step::Node(node) => is_constant(node),
                _ => true,
            });
        Ok((Node::Call(Box::new(Call { function, arguments: given, prepared, keys })), is_constant))
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node, Node::Constant(_) | Node::Failing(_))
}

/// A node without anything of a span in it, evaluated.
fn folded(node: &Node) -> Node {
    match evaluate::value(node, &Target::none()) {
        Ok(value) => Node::Constant(value.into_owned()),
        Err(failure) => Node::Failing(failure),
    }
}

fn comparison_of(comparison: Comparison, left: Node, right: Node) -> Check {
    match (left, right) {
        (Node::Failing(failure), _) => Check::Failing(failure),
        (Node::Constant(_), Node::Failing(failure)) => Check::Failing(failure),
        (Node::Constant(left), Node::Constant(right)) => Check::Constant(compare(&left, &right, comparison)),
        (Node::Constant(left), right) => with_constant(mirrored(comparison), right, left),
        (left, Node::Constant(right)) => with_constant(comparison, left, right),
        (left, right) => Check::Compare(comparison, left, right),
    }
}

/// The comparison with its sides exchanged.
fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// The commonest comparisons have forms of their own.
fn with_constant(comparison: Comparison, node: Node, constant: Value<'static>) -> Check {
    let attribute = match &node {
        Node::SpanAttribute(number, steps) if steps.is_empty() => Some((Site::Span, *number)),
        Node::ResourceAttribute(number, steps) if steps.is_empty() => Some((Site::Resource, *number)),
        _ => None,
    };
    let is_equal = match comparison {
        Comparison::Equal => Some(true),
        Comparison::NotEqual => Some(false),
        _ => None,
    };
    match (attribute, &node, constant, is_equal) {
        (Some((site, number)), _, Value::Text(text), Some(is_equal)) => {
            Check::AttributeText { site, number, text: (&*text).into(), is_equal }
        }
        (Some((site, number)), _, Value::Integer(value), _) => {
            Check::AttributeInteger { site, number, comparison, value }
        }
        (None, Node::Field(Field::Name), Value::Text(text), Some(is_equal)) => {
            Check::Name { text: (&*text).into(), is_equal }
        }
        (None, Node::Field(field @ (Field::Kind | Field::StatusCode)), Value::Integer(value), _) => {
            Check::Number { field: *field, comparison, value }
        }
        (None, Node::Arithmetic(first, rest), Value::Duration(duration), _) if is_elapsed(first, rest) => {
            Check::Elapsed { comparison, duration }
        }
        (_, _, constant, _) => Check::Compare(comparison, node, Node::Constant(constant)),
    }
}

/// A question about the beginning or end of the span's name.
fn name_end(call: &Call) -> Option<Check> {
    let is_prefix = match call.function.form {
        Form::HasPrefix => true,
        Form::HasSuffix => false,
        _ => return None,
    };
    match (&*call.arguments, &*call.keys) {
        ([Some(Given::One(Node::Field(Field::Name))), Some(Given::One(Node::Constant(Value::Text(text))))], []) => {
            Some(Check::NameEnd { text: (&**text).into(), is_prefix })
        }
        _ => None,
    }
}

/// Whether it is `end_time - start_time`.
fn is_elapsed(first: &Node, rest: &[(Operator, Node)]) -> bool {
    matches!((first, rest), (Node::Field(Field::EndTime), [(Operator::Subtract, Node::Field(Field::StartTime))]))
}
