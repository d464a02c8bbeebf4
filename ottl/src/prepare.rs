//! What converters make of the arguments that are written out, once: expressions, tables, zones.

use super::error::{CompileError, Failure};
use super::evaluate;
use super::functions::{Levels, UserAgents, Zone};
use super::program::Node;
use super::target::Target;
use super::value::Value;
use crate::grok::Grok;
use crate::locale::{self, Locale};
use crate::pattern::{self, Pattern};
use crate::xpath::{self, Plan};
use crate::{Argument, Expression, Function, grok_of, time_format};
use std::sync::Arc;

/// What the conditions of all policies share.
#[derive(Debug, Default)]
pub struct Shared {
    user_agents: Option<Arc<UserAgents>>,
}

impl Shared {
    fn user_agents(&mut self) -> Result<Arc<UserAgents>, CompileError> {
        let known = match self.user_agents.take() {
            Some(known) => known,
            None => {
                let compiled = UserAgents::compile();
                Arc::new(compiled.map_err(|reason| CompileError::Pattern { pattern: "UserAgent".to_string(), reason })?)
            }
        };
        self.user_agents = Some(Arc::clone(&known));
        Ok(known)
    }
}

/// What a call needs besides its arguments.
#[derive(Debug)]
pub(super) enum Prepared {
    Nothing,
    Pattern(Pattern),
    Grok(Box<Grok>),
    Levels(Result<Levels, Failure>),
    UserAgents(Arc<UserAgents>),
    Clock(Zone, Option<Locale>),
    Path(Plan),
}

impl Prepared {
    pub(super) fn of(
        function: Function,
        arguments: &[Option<Argument>],
        shared: &mut Shared,
    ) -> Result<Self, CompileError> {
        let literal = |index: usize| match arguments.get(index) {
            Some(Some(Argument::One(expression))) if expression.is_literal() => Some(expression),
            _ => None,
        };
        let text = |index: usize| match literal(index) {
            Some(Expression::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let failed = |text: &str, reason| CompileError::Pattern { pattern: text.to_string(), reason };
        Ok(match (function, text(1)) {
            (Function::IsMatch | Function::ExtractPatterns, Some(text)) => {
                Self::Pattern(pattern::compile(text).map_err(|reason| failed(text, reason))?)
            }
            (Function::ExtractGrokPatterns, Some(text)) => {
                Self::Grok(Box::new(grok_of(arguments).map_err(|reason| failed(text, reason))?))
            }
            // A mapping with anything of a span in it is none, as in the reference.
            (Function::ParseSeverity, _) => Self::Levels(literal(1).ok_or(Failure::Value).and_then(levels)),
            (Function::Time, _) => {
                let location = text(2).and_then(time_format::location);
                Self::Clock(location.map_or(Zone::Utc, Zone::from), text(3).and_then(locale::locale))
            }
            (Function::ConvertAttributesToElementsXML, None | Some("")) => Self::Path(path("//@*")?),
            (Function::ConvertTextToElementsXML, None | Some("")) => Self::Path(path("/")?),
            (
                Function::ConvertAttributesToElementsXML
                | Function::ConvertTextToElementsXML
                | Function::GetXML
                | Function::InsertXML
                | Function::RemoveXML,
                text,
            ) => Self::Path(path(text.unwrap_or_default())?),
            (Function::UserAgent, _) => Self::UserAgents(shared.user_agents()?),
            _ => Self::Nothing,
        })
    }
}

/// Whether a call with constant arguments may have another value for another span.
pub(super) fn depends_on_span(function: Function, arguments: &[Option<Argument>]) -> bool {
    match (function, arguments.get(1)) {
        (Function::IsRootSpan, _) => true,
        // A year that is not told is that of the span.
        (Function::Time, Some(Some(Argument::One(Expression::Text(format))))) => !time_format::has_year(format),
        _ => false,
    }
}

fn path(text: &str) -> Result<Plan, CompileError> {
    xpath::compile(text).map_err(|reason| CompileError::Pattern { pattern: text.to_string(), reason })
}

fn levels(mapping: &Expression) -> Result<Levels, Failure> {
    Levels::of(&constant(mapping)?)
}

/// The value of an expression that is written out.
fn constant(expression: &Expression) -> Result<Value<'static>, Failure> {
    let node = plain(expression).ok_or(Failure::Value)?;
    evaluate::value(&node, &Target::none()).map(Value::into_owned)
}

fn plain(expression: &Expression) -> Option<Node> {
    Some(match expression {
        Expression::Nil => Node::Constant(Value::Nil),
        Expression::Boolean(value) => Node::Constant(Value::Boolean(*value)),
        Expression::Integer(value) => Node::Constant(Value::Integer(*value)),
        Expression::Double(value) => Node::Constant(Value::Double(*value)),
        Expression::Text(text) => Node::Constant(Value::built(text.as_bytes())),
        Expression::Bytes(bytes) => Node::Constant(Value::Bytes(bytes.clone().into())),
        Expression::List(elements) => Node::List(elements.iter().map(plain).collect::<Option<_>>()?),
        Expression::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Some((key.as_bytes().into(), plain(value)?)));
            Node::Entries(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
