//! From syntax to a resolved tree: paths, enums, converters, and whatever of the types is known without a span.

use super::error::OttlError;
use super::field::{Context, Field};
use super::function::{Function, ParameterKind, Written};
use super::functions;
use super::path;
use super::syntax::{self, Node, NodeKind};
use super::tree::{Argument, Condition, Expression, Key, Predicate};
use crate::pattern;

/// Resolves a whole condition.
pub(super) fn condition(text: &str, context: Context, node: &Node) -> Result<Condition, OttlError> {
    let predicate = Checker { context }.predicate(node)?;
    Ok(Condition { text: text.to_string(), context, predicate })
}

struct Checker {
    context: Context,
}

/// Names that stand for integers.
const ENUMS: &[(&str, i64)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

impl Checker {
    fn predicate(&self, node: &Node) -> Result<Predicate, OttlError> {
        Ok(match &node.kind {
            NodeKind::Any(parts) => Predicate::Any(self.predicates(parts)?),
            NodeKind::All(parts) => Predicate::All(self.predicates(parts)?),
            NodeKind::Not(inner) => Predicate::Not(Box::new(self.predicate(inner)?)),
            NodeKind::Nested(inner) => self.predicate(inner)?,
            NodeKind::Compare(comparison, left, right) => Predicate::Compare {
                comparison: *comparison,
                left: self.expression(left)?,
                right: self.expression(right)?,
            },
            NodeKind::Boolean(value) => Predicate::Literal(*value),
            NodeKind::Call { .. } => Predicate::Holds(self.expression(node)?),
            _ => {
                return Err(OttlError::new(node.offset, "a value is no condition").hint("compare it, as in ... == ..."));
            }
        })
    }

    fn predicates(&self, nodes: &[Node]) -> Result<Vec<Predicate>, OttlError> {
        nodes.iter().map(|node| self.predicate(node)).collect()
    }

    fn expression(&self, node: &Node) -> Result<Expression, OttlError> {
        Ok(match &node.kind {
            NodeKind::Nil => Expression::Nil,
            NodeKind::Boolean(value) => Expression::Boolean(*value),
            NodeKind::Integer(value) => Expression::Integer(*value),
            NodeKind::Double(value) => Expression::Double(*value),
            NodeKind::Text(value) => Expression::Text(value.clone()),
            NodeKind::Bytes(value) => Expression::Bytes(value.clone()),
            NodeKind::Enum(name) => enumerated(node.offset, name)?,
            NodeKind::List(elements) => Expression::List(self.expressions(elements)?),
            NodeKind::Map(entries) => self.map(entries)?,
            NodeKind::Path(segments) => self.path(segments)?,
            NodeKind::Call { name, arguments, keys } => self.call(node.offset, name, arguments, keys)?,
            NodeKind::Nested(inner) => self.operand(inner)?,
            NodeKind::Plus(inner) => self.operand(inner)?,
            NodeKind::Negate(inner) => match self.operand(inner)? {
                // Only a sign directly before a number belongs to it.
                Expression::Integer(value) if !matches!(inner.kind, NodeKind::Nested(_)) => Expression::Integer(-value),
                Expression::Double(value) if !matches!(inner.kind, NodeKind::Nested(_)) => Expression::Double(-value),
                other => Expression::Negate(Box::new(other)),
            },
            NodeKind::Arithmetic(first, rest) => {
                let first = Box::new(self.operand(first)?);
                let rest = rest.iter().map(|(operator, node)| Ok((*operator, self.operand(node)?)));
                Expression::Arithmetic(first, rest.collect::<Result<_, OttlError>>()?)
            }
            NodeKind::Any(_) | NodeKind::All(_) | NodeKind::Not(_) | NodeKind::Compare(..) => {
                return Err(OttlError::new(node.offset, "a condition can't be used as a value"));
            }
        })
    }

    fn expressions(&self, nodes: &[Node]) -> Result<Vec<Expression>, OttlError> {
        nodes.iter().map(|node| self.expression(node)).collect()
    }

    /// An operand of arithmetic, or what stands in parentheses.
    fn operand(&self, node: &Node) -> Result<Expression, OttlError> {
        match &node.kind {
            NodeKind::Integer(_)
            | NodeKind::Double(_)
            | NodeKind::Path(_)
            | NodeKind::Call { .. }
            | NodeKind::Nested(_)
            | NodeKind::Plus(_)
            | NodeKind::Negate(_)
            | NodeKind::Arithmetic(..) => self.expression(node),
            NodeKind::Any(_) | NodeKind::All(_) | NodeKind::Not(_) | NodeKind::Compare(..) => {
                Err(OttlError::new(node.offset, "a condition can't be used as a value"))
            }
            _ => Err(OttlError::new(node.offset, "only numbers, paths and converters can be calculated with")),
        }
    }

    fn map(&self, entries: &[(String, Node)]) -> Result<Expression, OttlError> {
        let mut map: Vec<(String, Expression)> = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let value = self.expression(node)?;
            match map.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = value,
                None => map.push((key.clone(), value)),
            }
        }
        Ok(Expression::Map(map))
    }

    fn path(&self, segments: &[syntax::Segment]) -> Result<Expression, OttlError> {
        let (mut field, path) = path::resolve(segments, self.context)?;
        let Some((last, before)) = path.split_last() else { return Err(OttlError::new(0, "an empty path")) };
        if let Some(indexed) = before.iter().find(|segment| !segment.keys.is_empty()) {
            return Err(OttlError::new(indexed.offset, format!("{} takes no keys here", indexed.name)));
        }
        let keys = last.keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>, _>>()?;
        if field == Field::TraceState && !keys.is_empty() {
            if !matches!(keys.as_slice(), [Key::Text(_)]) {
                return Err(OttlError::new(last.offset, "trace_state takes one key, a text in double quotes"));
            }
            field = Field::TraceStateMember;
        }
        if !keys.is_empty() && !field.is_indexable() {
            return Err(OttlError::new(last.offset, format!("{} takes no keys", last.name)));
        }
        if let (Some(Key::Integer(_)), Some(node)) = (keys.first(), last.keys.first()) {
            return Err(OttlError::new(node.offset, "the first key of a map is a text"));
        }
        Ok(Expression::Path(field, keys))
    }

    fn key(&self, node: &Node) -> Result<Key, OttlError> {
        Ok(match &node.kind {
            NodeKind::Text(text) => Key::Text(text.clone()),
            NodeKind::Integer(index) => Key::Integer(*index),
            _ => Key::Expression(self.operand(node).map_err(|_| {
                OttlError::new(node.offset, "a key is a text in double quotes, an integer, a path or a converter")
            })?),
        })
    }

    fn call(
        &self,
        offset: usize,
        name: &str,
        arguments: &[syntax::Argument],
        keys: &[Node],
    ) -> Result<Expression, OttlError> {
        let Some(function) = functions::find(name, self.context) else {
            return Err(match functions::refused(name) {
                Some(reason) => OttlError::new(offset, format!("{name} {reason}")),
                None => {
                    OttlError::new(offset, format!("there is no converter {name}")).nearest(name, functions::names())
                }
            });
        };
        let mut values: Vec<Option<Argument>> = vec![None; function.parameters.len()];
        let mut are_named = false;
        for (position, argument) in arguments.iter().enumerate() {
            let position = match &argument.name {
                None if are_named => {
                    let message = "an argument without a name stands behind one with a name";
                    return Err(OttlError::new(argument.value.offset, message));
                }
                None => position,
                Some(name) => {
                    are_named = true;
                    parameter(function, name, argument.value.offset)?
                }
            };
            let (Some(parameter), Some(value)) = (function.parameters.get(position), values.get_mut(position)) else {
                return Err(OttlError::new(argument.value.offset, takes(function, arguments.len())));
            };
            if value.is_some() {
                let message = format!("the argument {} is given twice", parameter.name);
                return Err(OttlError::new(argument.value.offset, message));
            }
            *value = Some(self.argument(parameter.kind, &argument.value)?);
        }
        for (parameter, value) in function.parameters.iter().zip(&values) {
            if value.is_none() && !parameter.is_optional {
                return Err(OttlError::new(offset, takes(function, arguments.len())));
            }
        }
        let written = Written { function, arguments: &values };
        (function.check)(&written).map_err(|reason| OttlError::new(offset, reason))?;
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<_, _>>()?;
        Ok(Expression::Call { function, arguments: values, keys })
    }

    fn argument(&self, kind: ParameterKind, node: &Node) -> Result<Argument, OttlError> {
        let needs = |what: &str| OttlError::new(node.offset, format!("{what} is needed here"));
        let NodeKind::List(elements) = &node.kind else {
            return match kind {
                ParameterKind::ManyAny | ParameterKind::ManyText | ParameterKind::LiteralTexts => {
                    Err(needs("a list in brackets"))
                }
                ParameterKind::LiteralText if !matches!(node.kind, NodeKind::Text(_)) => {
                    Err(needs("a text in double quotes"))
                }
                ParameterKind::Pattern => match &node.kind {
                    NodeKind::Text(text) => match pattern::compile(text) {
                        Ok(_) => Ok(Argument::One(Expression::Text(text.clone()))),
                        Err(reason) => {
                            Err(OttlError::new(node.offset, format!("invalid regular expression {text:?}: {reason}")))
                        }
                    },
                    _ => Err(needs("a regular expression in double quotes")),
                },
                ParameterKind::LiteralBoolean if !matches!(node.kind, NodeKind::Boolean(_)) => {
                    Err(needs("true or false"))
                }
                _ => {
                    let value = self.expression(node)?;
                    check_type(kind, &value, node.offset)?;
                    Ok(Argument::One(value))
                }
            };
        };
        let element_kind = match kind {
            ParameterKind::ManyAny => ParameterKind::Any,
            ParameterKind::ManyText => ParameterKind::Text,
            ParameterKind::LiteralTexts => ParameterKind::LiteralText,
            ParameterKind::Texts => ParameterKind::TextLike,
            _ => {
                let value = self.expression(node)?;
                check_type(kind, &value, node.offset)?;
                return Ok(Argument::One(value));
            }
        };
        let values = elements.iter().map(|element| match self.argument(element_kind, element)? {
            Argument::One(value) => Ok(value),
            Argument::Many(values) => Ok(Expression::List(values)),
        });
        Ok(Argument::Many(values.collect::<Result<_, OttlError>>()?))
    }
}

fn enumerated(offset: usize, name: &str) -> Result<Expression, OttlError> {
    match ENUMS.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => Ok(Expression::Integer(*value)),
        None => Err(OttlError::new(offset, format!("there is no enum {name}"))
            .nearest(name, ENUMS.iter().map(|(known, _)| *known))),
    }
}

/// The place of the parameter called `name`; underscores and capitals don't count, as in the reference.
fn parameter(function: &Function, name: &str, offset: usize) -> Result<usize, OttlError> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let names = || function.parameters.iter().map(|parameter| parameter.name);
    names().position(|known| plain(known) == plain(name)).ok_or_else(|| {
        OttlError::new(offset, format!("{} has no parameter {name}", function.name)).nearest(name, names())
    })
}

fn takes(function: &Function, given: usize) -> String {
    let names: Vec<String> = function
        .parameters
        .iter()
        .map(|parameter| if parameter.is_optional { format!("[{}]", parameter.name) } else { parameter.name.into() })
        .collect();
    format!("{}({}) can't take {given} arguments", function.name, names.join(", "))
}

/// A literal of a type that the parameter can never take is refused, as in the reference.
fn check_type(kind: ParameterKind, value: &Expression, offset: usize) -> Result<(), OttlError> {
    use Expression::{Boolean, Bytes, Double, Integer, List, Map, Nil, Text};
    if !value.is_literal() {
        return Ok(());
    }
    let (takes, what) = match kind {
        ParameterKind::Text => (matches!(value, Text(_)), "a text"),
        ParameterKind::Integer => (matches!(value, Integer(_)), "an integer"),
        ParameterKind::Double => (matches!(value, Double(_)), "a double"),
        ParameterKind::Boolean => (matches!(value, Boolean(_)), "true or false"),
        ParameterKind::Map => (matches!(value, Map(_)), "a map"),
        ParameterKind::List => (matches!(value, List(_)) && !holds_map(value), "a list without maps"),
        ParameterKind::Time => (false, "a time"),
        ParameterKind::Duration => (false, "a duration, as in Duration(\"1s\")"),
        ParameterKind::Texts => (matches!(value, List(_) | Nil), "a list"),
        ParameterKind::BytesLike => (!matches!(value, List(_) | Map(_)), "a text or bytes"),
        ParameterKind::IntegerLike | ParameterKind::DoubleLike | ParameterKind::BooleanLike => {
            let takes = match value {
                Text(text) => converts(kind, text),
                other => !matches!(other, List(_) | Map(_) | Bytes(_)),
            };
            (takes, "what can be converted")
        }
        _ => return Ok(()),
    };
    if takes { Ok(()) } else { Err(OttlError::new(offset, format!("{what} is needed here"))) }
}

/// A list that is written out can't become one of the telemetry when it holds a map (a fault of the reference).
fn holds_map(list: &Expression) -> bool {
    match list {
        Expression::List(elements) => {
            elements.iter().any(|element| matches!(element, Expression::Map(_)) || holds_map(element))
        }
        _ => false,
    }
}

/// Whether a text is one of a number or truth value.
fn converts(kind: ParameterKind, text: &str) -> bool {
    match kind {
        ParameterKind::IntegerLike => text.parse::<i64>().is_ok(),
        // Too large a number is none; infinity is one.
        ParameterKind::DoubleLike => {
            text.parse::<f64>().is_ok_and(|number| number.is_finite() || text.contains(['i', 'I', 'n', 'N']))
        }
        _ => ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"].contains(&text),
    }
}
