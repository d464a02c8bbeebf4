//! What is walked to find an expression's nodes, and in which order: the reference's own order, which is seen in what it
//! finds first and in what positions count.

use super::syntax::{Node, NodeTest};
use crate::function::Shared;
use crate::pattern::{self, Pattern};

/// What an expression is evaluated by.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The node that the evaluation is at.
    Context,
    /// The document.
    Root,
    /// Nodes along an axis from those of `input`.
    Axis {
        axis: Axis,
        test: Test,
        input: Box<Plan>,
    },
    /// Those of `input` for which `condition` holds.
    Filter {
        input: Box<Plan>,
        condition: Box<Plan>,
    },
    /// The nodes of `child` from each of `input`.
    Merge {
        input: Box<Plan>,
        child: Box<Plan>,
    },
    Group(Box<Plan>),
    Union(Box<Plan>, Box<Plan>),
    /// Whether either holds, or both.
    Boolean {
        is_or: bool,
        left: Box<Plan>,
        right: Box<Plan>,
    },
    Compare(Compare, Box<Plan>, Box<Plan>),
    Compute(Compute, Box<Plan>, Box<Plan>),
    Text(String),
    Number(f64),
    /// The position of the node among its siblings that pass the test.
    Position(Option<Test>),
    /// How many siblings pass the test.
    Last(Option<Test>),
    /// How many nodes there are.
    Count(Box<Plan>),
    /// The same, counted once and remembered: `last()` behind a predicate or parentheses.
    Total(Box<Plan>),
    /// The nodes in reverse.
    Reverse(Box<Plan>),
    Matches(Box<Plan>, Pattern),
    Call(Function, Vec<Plan>),
}

/// An axis. `Below` is the one that the reference takes below another of its kind: it leaves out no node twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Ancestor { and_self: bool },
    Attribute,
    Child,
    Descendant { and_self: bool },
    Below { and_self: bool },
    Following,
    FollowingSibling,
    Parent,
    Preceding,
    PrecedingSibling,
    SelfOnly,
}

/// What a step takes of the nodes along its axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The kind of node.
    pub kind: Type,
    /// Prefix and name; none takes any name.
    pub name: Option<(String, String)>,
}

/// Kinds of nodes that steps tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Any,
    Root,
    Element,
    Attribute,
    Text,
    Comment,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A calculation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A function that takes values and gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Boolean,
    Ceiling,
    Concat,
    Contains,
    EndsWith,
    False,
    Floor,
    LocalName,
    LowerCase,
    Name,
    NamespaceUri,
    NormalizeSpace,
    Not,
    Number,
    Round,
    StartsWith,
    String,
    StringJoin,
    StringLength,
    Substring,
    SubstringAfter,
    SubstringBefore,
    Sum,
    Translate,
    True,
}

/// Names, fewest and most arguments. What is given beyond `most` is read and left out where the reference does so.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("boolean", Function::Boolean, 0, 1),
    ("ceiling", Function::Ceiling, 1, usize::MAX),
    ("concat", Function::Concat, 2, usize::MAX),
    ("contains", Function::Contains, 2, usize::MAX),
    ("ends-with", Function::EndsWith, 2, usize::MAX),
    ("false", Function::False, 0, usize::MAX),
    ("floor", Function::Floor, 1, usize::MAX),
    ("local-name", Function::LocalName, 0, 1),
    ("lower-case", Function::LowerCase, 1, usize::MAX),
    ("name", Function::Name, 0, 1),
    ("namespace-uri", Function::NamespaceUri, 0, 1),
    ("normalize-space", Function::NormalizeSpace, 0, usize::MAX),
    ("not", Function::Not, 1, usize::MAX),
    ("number", Function::Number, 0, 1),
    ("round", Function::Round, 1, usize::MAX),
    ("starts-with", Function::StartsWith, 2, usize::MAX),
    ("string", Function::String, 0, 1),
    ("string-join", Function::StringJoin, 2, 2),
    ("string-length", Function::StringLength, 1, usize::MAX),
    ("substring", Function::Substring, 2, usize::MAX),
    ("substring-after", Function::SubstringAfter, 2, 2),
    ("substring-before", Function::SubstringBefore, 2, 2),
    ("sum", Function::Sum, 1, usize::MAX),
    ("translate", Function::Translate, 3, 3),
    ("true", Function::True, 0, usize::MAX),
];

/// How many arguments a function looks at.
fn looks_at(function: Function, given: usize) -> usize {
    match function {
        Function::True | Function::False => 0,
        Function::Concat => given,
        Function::Substring if given != 3 => 2,
        Function::Substring | Function::Translate => 3,
        Function::Contains
        | Function::EndsWith
        | Function::StartsWith
        | Function::StringJoin
        | Function::SubstringAfter
        | Function::SubstringBefore => 2,
        _ => given.min(1),
    }
}

pub(super) fn plan(node: &Node) -> Result<Plan, String> {
    Planner { latest: None, last_input: None }.plan(node, Place::default()).map(|(plan, _)| plan)
}

/// Where in an expression a node stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Before a predicate.
    is_filtered: bool,
    /// Below a step that walks all below its nodes.
    is_below: bool,
}

/// What a part of an expression asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Asks {
    has_positions: bool,
    position: bool,
    last: bool,
}

struct Planner {
    /// The nodes that were planned last: what `position()` and `last()` are about.
    latest: Option<Plan>,
    /// The same where `last()` was called last.
    last_input: Option<Plan>,
}

impl Planner {
    fn plan(&mut self, node: &Node, place: Place) -> Result<(Plan, Asks), String> {
        match node {
            Node::Text(text) => Ok((Plan::Text(text.clone()), Asks::default())),
            Node::Number(number) => Ok((Plan::Number(*number), Asks::default())),
            Node::Root => Ok((Plan::Root, Asks::default())),
            Node::Step { .. } => self.step(node, place).inspect(|(plan, _)| self.latest = Some(plan.clone())),
            Node::Filter { input, condition } => {
                let (plan, asks) = self.filter(input, condition, place)?;
                self.latest = Some(plan.clone());
                Ok((plan, asks))
            }
            Node::Group(inner) => {
                let (plan, asks) = self.plan(inner, Place::default())?;
                let plan = Plan::Group(Box::new(plan));
                self.latest = Some(plan.clone());
                Ok((plan, asks))
            }
            Node::Operator { sign, left, right } => self.operator(sign, left, right),
            Node::Call { name, arguments } => self.call(name, arguments),
        }
    }

    fn boxed(&mut self, node: &Node) -> Result<(Box<Plan>, Asks), String> {
        self.plan(node, Place::default()).map(|(plan, asks)| (Box::new(plan), asks))
    }

    fn step(&mut self, node: &Node, place: Place) -> Result<(Plan, Asks), String> {
        let Node::Step { axis: axis_name, test, prefix, name, input } = node else { return Err(String::new()) };
        self.latest = None;
        let kind = match test {
            NodeTest::Any => Type::Any,
            NodeTest::Element => Type::Element,
            NodeTest::Attribute => Type::Attribute,
            NodeTest::Text => Type::Text,
            NodeTest::Comment => Type::Comment,
        };
        let is_named = !name.is_empty() || !prefix.is_empty();
        let test = Test { kind, name: is_named.then(|| (prefix.clone(), name.clone())) };
        let axis = axis(axis_name, place.is_below)?;
        let Some(input) = input.as_deref() else {
            return Ok((Plan::Axis { axis, test, input: Box::new(Plan::Context) }, Asks::default()));
        };
        let mut before = Place::default();
        if !place.is_filtered {
            // All below and then their children are all descendants.
            if let (Axis::Child, Node::Step { axis: above, input: grand, .. }) = (axis, input)
                && above == "descendant-or-self"
            {
                let (grand, asks) = match grand {
                    Some(grand) => self.plan(grand, Place { is_below: true, is_filtered: false })?,
                    None => (Plan::Context, Asks::default()),
                };
                let axis = Axis::Descendant { and_self: false };
                return Ok((Plan::Axis { axis, test, input: Box::new(grand) }, asks));
            }
            before.is_below = matches!(axis_name.as_str(), "descendant" | "descendant-or-self");
        }
        let (input, asks) = self.plan(input, before)?;
        Ok((Plan::Axis { axis, test, input: Box::new(input) }, asks))
    }

    fn filter(&mut self, input: &Node, condition: &Node, place: Place) -> Result<(Plan, Asks), String> {
        let is_nodes = |node: &Node| matches!(node, Node::Step { .. } | Node::Filter { .. } | Node::Group(_));
        if !is_nodes(input) {
            return Err("a predicate behind what is no path is not supported".to_string());
        }
        let (plan, mut asks) = self.plan(input, Place { is_filtered: true, ..place })?;
        // The place goes on into the condition, as in the reference.
        let (mut condition, mut asked) = self.plan(condition, place)?;
        let last_input = self.last_input.take();
        asked.position |= may_be_number(&condition) || asked.last;
        if !matches!(input, Node::Filter { .. }) {
            asks.has_positions = false;
        }
        asks.has_positions |= asked.position;
        if let (true, Plan::Last(_), Some(latest @ (Plan::Filter { .. } | Plan::Group(_)))) =
            (asked.last, &condition, last_input)
        {
            condition = Plan::Total(Box::new(latest));
        }
        let filtered = |input: Plan| Plan::Filter { input: Box::new(input), condition: Box::new(condition.clone()) };
        if place.is_filtered || !asks.has_positions || !merges(&plan) {
            return Ok((filtered(plan), asks));
        }
        // Positions count from each node that the step starts at.
        Ok(match plan {
            Plan::Axis { axis, test, input } if !matches!(*input, Plan::Context) => {
                let child = filtered(Plan::Axis { axis, test, input: Box::new(Plan::Context) });
                (Plan::Merge { input, child: Box::new(child) }, asks)
            }
            plan => (filtered(plan), asks),
        })
    }

    fn operator(&mut self, sign: &str, left: &Node, right: &Node) -> Result<(Plan, Asks), String> {
        let (left, asks) = self.boxed(left)?;
        let (right, more) = self.boxed(right)?;
        let asks = Asks {
            has_positions: asks.has_positions || more.has_positions,
            position: asks.position || more.position,
            last: asks.last || more.last,
        };
        Ok((
            match sign {
                "or" | "and" => Plan::Boolean { is_or: sign == "or", left, right },
                "|" => Plan::Union(left, right),
                "+" => Plan::Compute(Compute::Add, left, right),
                "-" => Plan::Compute(Compute::Subtract, left, right),
                "*" => Plan::Compute(Compute::Multiply, left, right),
                "div" => Plan::Compute(Compute::Divide, left, right),
                "mod" => Plan::Compute(Compute::Remainder, left, right),
                "=" => Plan::Compare(Compare::Equal, left, right),
                "!=" => Plan::Compare(Compare::NotEqual, left, right),
                "<" => Plan::Compare(Compare::Less, left, right),
                "<=" => Plan::Compare(Compare::LessOrEqual, left, right),
                ">" => Plan::Compare(Compare::Greater, left, right),
                _ => Plan::Compare(Compare::GreaterOrEqual, left, right),
            },
            asks,
        ))
    }

    fn call(&mut self, name: &str, arguments: &[Node]) -> Result<(Plan, Asks), String> {
        match (name, arguments) {
            ("position", _) => {
                let asks = Asks { position: true, ..Asks::default() };
                return Ok((Plan::Position(self.latest_test()), asks));
            }
            ("last", _) => {
                let asks = Asks { last: true, ..Asks::default() };
                self.last_input = self.latest.clone();
                return Ok((Plan::Last(self.latest_test()), asks));
            }
            ("count", [first, ..]) => return self.boxed(first).map(|(plan, asks)| (Plan::Count(plan), asks)),
            ("reverse", [first, ..]) => return self.boxed(first).map(|(plan, asks)| (Plan::Reverse(plan), asks)),
            ("matches", [text, expression]) => {
                let (text, _) = self.boxed(text)?;
                let Node::Text(expression) = expression else {
                    return Err("the expression of matches() must be written out".to_string());
                };
                return Ok((Plan::Matches(text, pattern::compile(expression)?), Asks::default()));
            }
            ("replace", _) => return Err("replace() is not supported".to_string()),
            _ => {}
        }
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some((_, function, least, most)) = found else { return Err(format!("there is no function {name}()")) };
        if arguments.len() < *least || arguments.len() > *most {
            return Err(format!("{name}() can't take {} arguments", arguments.len()));
        }
        let mut asks = Asks::default();
        let mut plans = Vec::with_capacity(arguments.len());
        for argument in &arguments[..looks_at(*function, arguments.len())] {
            let plan;
            // Only the last argument's are remembered.
            (plan, asks) = self.plan(argument, Place::default())?;
            plans.push(plan);
        }
        if *function == Function::NormalizeSpace && plans.is_empty() {
            let test = Test { kind: Type::Any, name: None };
            let itself = Plan::Axis { axis: Axis::SelfOnly, test, input: Box::new(Plan::Context) };
            self.latest = Some(itself.clone());
            plans.push(itself);
        }
        Ok((Plan::Call(*function, plans), asks))
    }

    /// The test of the step that was planned last.
    fn latest_test(&self) -> Option<Test> {
        match &self.latest {
            Some(Plan::Axis { axis, test, .. }) if !matches!(axis, Axis::Below { .. }) => Some(test.clone()),
            _ => None,
        }
    }
}

fn axis(name: &str, is_below: bool) -> Result<Axis, String> {
    Ok(match name {
        "ancestor" => Axis::Ancestor { and_self: false },
        "ancestor-or-self" => Axis::Ancestor { and_self: true },
        "attribute" => Axis::Attribute,
        "child" => Axis::Child,
        "descendant" if is_below => Axis::Below { and_self: false },
        "descendant" => Axis::Descendant { and_self: false },
        "descendant-or-self" if is_below => Axis::Below { and_self: true },
        "descendant-or-self" => Axis::Descendant { and_self: true },
        "following" => Axis::Following,
        "following-sibling" => Axis::FollowingSibling,
        "parent" => Axis::Parent,
        "preceding" => Axis::Preceding,
        "preceding-sibling" => Axis::PrecedingSibling,
        "self" => Axis::SelfOnly,
        "namespace" => return Err("the axis namespace is not supported".to_string()),
        _ => return Err(format!("there is no axis {name}")),
    })
}

impl Plan {
    /// Takes in the expressions of `matches()`. As deep as the text is nested, which its parser bounds.
    pub fn count_expressions(&self, all: &mut Shared) {
        match self {
            Self::Matches(text, pattern) => {
                all.count(pattern);
                text.count_expressions(all);
            }
            Self::Filter { input: left, condition: right }
            | Self::Merge { input: left, child: right }
            | Self::Union(left, right)
            | Self::Boolean { left, right, .. }
            | Self::Compare(_, left, right)
            | Self::Compute(_, left, right) => {
                left.count_expressions(all);
                right.count_expressions(all);
            }
            Self::Group(inner) | Self::Count(inner) | Self::Total(inner) | Self::Reverse(inner) => {
                inner.count_expressions(all);
            }
            Self::Axis { input, .. } => input.count_expressions(all),
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.count_expressions(all)),
            Self::Root | Self::Context | Self::Text(_) | Self::Number(_) | Self::Position(_) | Self::Last(_) => {}
        }
    }
}

/// Whether a predicate may be a position.
fn may_be_number(plan: &Plan) -> bool {
    match plan {
        Plan::Number(_)
        | Plan::Compute(..)
        | Plan::Position(_)
        | Plan::Last(_)
        | Plan::Count(_)
        | Plan::Total(_)
        | Plan::Reverse(_)
        | Plan::Matches(..)
        | Plan::Call(..) => true,
        Plan::Group(inner) => may_be_number(inner),
        _ => false,
    }
}

/// Whether a predicate counts from each node that its step starts at: not behind parentheses.
fn merges(plan: &Plan) -> bool {
    match plan {
        Plan::Group(_) => false,
        Plan::Filter { input, .. } => merges(input),
        _ => true,
    }
}
