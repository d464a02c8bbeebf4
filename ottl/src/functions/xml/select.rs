//! Nodes of a document found by an XPath expression, one after the other, in the order and with the positions that the
//! reference's `antchfx/xpath` has.

use super::tree::{Document, Id, Kind};
use super::value::{Value, call, compare, compute, number_of};
use super::xpath::{Axis, Plan, Test, Type};
use crate::error::Failure;
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};

/// A place in a document: a node, or one of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: Id,
    pub(super) attribute: Option<usize>,
}

/// What a step costs of the work that is left: about what it takes in time beside a byte that is read.
const STEP_COST: usize = 64;

/// Where an evaluation is.
pub(super) struct Walk<'d, 't, 'a> {
    pub(super) document: &'d Document,
    pub(super) target: &'t Target<'a>,
    /// The node that the expression is evaluated at. Predicates move it, and it stays moved, as in the reference.
    pub(super) at: Place,
}

impl Walk<'_, '_, '_> {
    fn spend(&self) -> Result<(), Failure> {
        self.target.spend(STEP_COST)
    }

    pub(super) fn kind(&self, place: Place) -> Type {
        match self.document.nodes[place.node].kind {
            Kind::Comment => Type::Comment,
            Kind::Text | Kind::Raw | Kind::Notation => Type::Text,
            Kind::Declaration | Kind::Document => Type::Root,
            Kind::Element if place.attribute.is_some() => Type::Attribute,
            Kind::Element | Kind::Instruction => Type::Element,
        }
    }

    pub(super) fn local_name(&self, place: Place) -> &str {
        let node = &self.document.nodes[place.node];
        match place.attribute {
            Some(index) => node.attributes.get(index).map_or("", |attribute| &attribute.local),
            None => &node.data,
        }
    }

    pub(super) fn prefix(&self, place: Place) -> &str {
        let node = &self.document.nodes[place.node];
        match place.attribute.filter(|_| node.kind == Kind::Element) {
            Some(index) => node.attributes.get(index).map_or("", |attribute| &attribute.prefix),
            None => &node.prefix,
        }
    }

    pub(super) fn namespace(&self, place: Place) -> &str {
        let node = &self.document.nodes[place.node];
        match place.attribute {
            Some(index) => node.attributes.get(index).map_or("", |attribute| &attribute.namespace),
            None => &node.namespace,
        }
    }

    pub(super) fn text(&self, place: Place) -> Result<String, Failure> {
        let node = &self.document.nodes[place.node];
        Ok(match (node.kind, place.attribute) {
            (Kind::Comment | Kind::Text, _) => node.data.clone(),
            (Kind::Element, Some(index)) => {
                node.attributes.get(index).map_or(String::new(), |found| found.value.clone())
            }
            (Kind::Element, None) => self.document.inner_text(place.node, self.target)?,
            _ => String::new(),
        })
    }

    fn passes(&self, place: Place, test: &Test) -> bool {
        if test.kind != Type::Any && test.kind != self.kind(place) {
            return false;
        }
        match &test.name {
            Some((prefix, name)) => name == self.local_name(place) && prefix == self.prefix(place),
            None => true,
        }
    }

    fn to_parent(&self, place: &mut Place) -> bool {
        if place.attribute.take().is_some() {
            return true;
        }
        let parent = self.document.nodes[place.node].parent;
        place.node = parent.unwrap_or(place.node);
        parent.is_some()
    }

    fn to_child(&self, place: &mut Place) -> bool {
        let child = self.document.nodes[place.node].first.filter(|_| place.attribute.is_none());
        place.node = child.unwrap_or(place.node);
        child.is_some()
    }

    /// The next sibling that is not mere space, or the one before. Without one the place is the last that was looked at.
    fn to_sibling(&self, place: &mut Place, is_next: bool) -> Result<bool, Failure> {
        if place.attribute.is_some() {
            return Ok(false);
        }
        loop {
            let node = &self.document.nodes[place.node];
            let Some(sibling) = (if is_next { node.next } else { node.previous }) else { return Ok(false) };
            self.spend()?;
            place.node = sibling;
            let node = &self.document.nodes[sibling];
            if node.kind != Kind::Text || !node.data.trim().is_empty() {
                return Ok(true);
            }
        }
    }

    fn to_first(&self, place: &mut Place) -> Result<(), Failure> {
        while let (None, Some(previous)) = (place.attribute, self.document.nodes[place.node].previous) {
            self.spend()?;
            place.node = previous;
        }
        Ok(())
    }

    /// What the reference tells nodes apart by: name, text and the positions on the way up.
    fn identity(&self, place: Place) -> Result<Vec<u8>, Failure> {
        let mut identity = match self.kind(place) {
            Type::Attribute | Type::Text | Type::Comment => {
                format!("{}={}", self.local_name(place), self.text(place)?).into_bytes()
            }
            Type::Element => format!("{}{}", self.prefix(place), self.local_name(place)).into_bytes(),
            _ => return Ok(Vec::new()),
        };
        let mut place = place;
        loop {
            let mut position = 1;
            while self.to_sibling(&mut place, false)? {
                position += 1;
            }
            identity.extend_from_slice(format!("-{position}").as_bytes());
            if !self.to_parent(&mut place) {
                break;
            }
        }
        self.target.spend(identity.len())?;
        Ok(identity)
    }
}

/// How far an axis has been walked from one node.
#[derive(Debug, Clone)]
struct Course {
    place: Place,
    /// Nothing has been looked at yet.
    is_fresh: bool,
    level: usize,
    /// The walk below a node that `following` and `preceding` have come to.
    below: Option<Box<Course>>,
}

impl Course {
    fn at(place: Place) -> Self {
        Self { place, is_fresh: true, level: 0, below: None }
    }
}

/// A plan while it is walked.
#[derive(Debug)]
pub(super) enum Query<'p> {
    /// The context, the document, or an axis from them.
    Once {
        is_root: bool,
        is_done: bool,
    },
    Axis(Box<AxisQuery<'p>>),
    Filter {
        input: Box<Query<'p>>,
        condition: Box<Query<'p>>,
        position: usize,
        /// By depth, how many nodes have passed.
        positions: BTreeMap<usize, usize>,
    },
    Merge {
        input: Box<Query<'p>>,
        child: Box<Query<'p>>,
        found: Option<std::vec::IntoIter<Place>>,
    },
    Group {
        input: Box<Query<'p>>,
        position: usize,
    },
    /// A union, or the nodes of both sides of `and` and `or`.
    Pair {
        plan: &'p Plan,
        left: Box<Query<'p>>,
        right: Box<Query<'p>>,
        found: Option<std::vec::IntoIter<Place>>,
    },
    Operator {
        plan: &'p Plan,
        left: Box<Query<'p>>,
        right: Box<Query<'p>>,
    },
    Reverse {
        input: Box<Query<'p>>,
        found: Option<std::vec::IntoIter<Place>>,
    },
    Total {
        input: Box<Query<'p>>,
        count: Option<usize>,
    },
    /// What has a value and no nodes.
    Plain(&'p Plan),
}

#[derive(Debug)]
pub(super) struct AxisQuery<'p> {
    axis: Axis,
    test: &'p Test,
    input: Query<'p>,
    course: Option<Course>,
    position: usize,
    /// What has been found, on the axes that find a node from several.
    seen: BTreeSet<Vec<u8>>,
}

type Found = Result<Option<Place>, Failure>;

impl<'p> Query<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let boxed = |plan: &'p Plan| Box::new(Self::new(plan));
        match plan {
            Plan::Context => Self::Once { is_root: false, is_done: false },
            Plan::Root => Self::Once { is_root: true, is_done: false },
            Plan::Axis { axis, test, input } => Self::Axis(Box::new(AxisQuery {
                axis: *axis,
                test,
                input: Self::new(input),
                course: None,
                position: 0,
                seen: BTreeSet::new(),
            })),
            Plan::Filter { input, condition } => Self::Filter {
                input: boxed(input),
                condition: boxed(condition),
                position: 0,
                positions: BTreeMap::new(),
            },
            Plan::Merge { input, child } => Self::Merge { input: boxed(input), child: boxed(child), found: None },
            Plan::Group(input) => Self::Group { input: boxed(input), position: 0 },
            Plan::Union(left, right) | Plan::Boolean { left, right, .. } => {
                Self::Pair { plan, left: boxed(left), right: boxed(right), found: None }
            }
            Plan::Compare(_, left, right) | Plan::Compute(_, left, right) => {
                Self::Operator { plan, left: boxed(left), right: boxed(right) }
            }
            Plan::Reverse(input) => Self::Reverse { input: boxed(input), found: None },
            Plan::Total(input) => Self::Total { input: boxed(input), count: None },
            Plan::Text(_)
            | Plan::Number(_)
            | Plan::Position(_)
            | Plan::Last(_)
            | Plan::Count(_)
            | Plan::Matches(..)
            | Plan::Call(..) => Self::Plain(plan),
        }
    }

    /// The next node.
    pub(super) fn select(&mut self, walk: &mut Walk<'_, '_, '_>) -> Found {
        walk.spend()?;
        match self {
            Self::Once { is_done: true, .. } | Self::Operator { .. } | Self::Total { .. } | Self::Plain(_) => Ok(None),
            Self::Once { is_root, is_done } => {
                *is_done = true;
                Ok(Some(if *is_root { Place { node: Document::ROOT, ..walk.at } } else { walk.at }))
            }
            Self::Axis(query) => query.select(walk),
            Self::Filter { input, condition, position, positions } => loop {
                let Some(place) = input.select(walk)? else { return Ok(None) };
                walk.at = place;
                if holds(condition, input, walk)? {
                    let count = positions.entry(input.depth()).or_default();
                    *count += 1;
                    *position = *count;
                    return Ok(Some(place));
                }
            },
            Self::Merge { input, child, found } => loop {
                if let Some(place) = found.as_mut().and_then(Iterator::next) {
                    return Ok(Some(place));
                }
                let Some(place) = input.select(walk)? else { return Ok(None) };
                child.evaluate(walk)?;
                walk.at = place;
                *found = Some(all(child, walk)?.into_iter());
            },
            Self::Group { input, position } => {
                let found = input.select(walk)?;
                *position += usize::from(found.is_some());
                Ok(found)
            }
            Self::Pair { plan, left, right, found } => {
                let places = match found {
                    Some(places) => places,
                    None => found.insert(pair(plan, left, right, walk)?.into_iter()),
                };
                Ok(places.next())
            }
            Self::Reverse { input, found } => {
                let places = match found {
                    Some(places) => places,
                    None => {
                        let mut places = all(input, walk)?;
                        places.reverse();
                        found.insert(places.into_iter())
                    }
                };
                Ok(places.next())
            }
        }
    }

    /// Begins anew; the value, or that there are nodes to select.
    pub(super) fn evaluate(&mut self, walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
        walk.spend()?;
        match self {
            Self::Once { is_done, .. } => *is_done = false,
            Self::Axis(query) => {
                query.input.evaluate(walk)?;
                // These two go on where they are.
                let goes_on = matches!(
                    query.axis,
                    Axis::Following | Axis::FollowingSibling | Axis::Preceding | Axis::PrecedingSibling
                ) || matches!(query.axis, Axis::Below { .. });
                if !goes_on {
                    query.course = None;
                }
                query.seen.clear();
            }
            Self::Filter { input, positions, .. } => {
                input.evaluate(walk)?;
                positions.clear();
            }
            Self::Merge { input, found, .. } => {
                input.evaluate(walk)?;
                *found = None;
            }
            Self::Group { input, .. } => return input.evaluate(walk),
            Self::Pair { plan: Plan::Boolean { is_or, .. }, left, right, .. } => {
                let at = walk.at;
                let value = left.evaluate(walk)?;
                if truth(left, value, walk)? == *is_or {
                    return Ok(Value::Boolean(*is_or));
                }
                walk.at = at;
                let value = right.evaluate(walk)?;
                return truth(right, value, walk).map(Value::Boolean);
            }
            Self::Pair { left, right, found, .. } => {
                *found = None;
                left.evaluate(walk)?;
                right.evaluate(walk)?;
            }
            Self::Operator { plan, left, right } => return operated(plan, left, right, walk),
            Self::Reverse { input, found } => {
                input.evaluate(walk)?;
                *found = None;
            }
            Self::Total { input, count } => {
                let count = match count {
                    Some(count) => *count,
                    None => *count.insert(all(input, walk)?.len()),
                };
                return Ok(Value::count(count));
            }
            Self::Plain(plan) => return plain(plan, walk),
        }
        Ok(Value::Nodes)
    }

    fn position(&self) -> usize {
        match self {
            Self::Axis(query) if !matches!(query.axis, Axis::Attribute | Axis::Parent | Axis::SelfOnly) => {
                query.position
            }
            Self::Filter { position, .. } | Self::Group { position, .. } => *position,
            _ => 1,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Axis(query) if matches!(query.axis, Axis::Descendant { .. }) => {
                query.course.as_ref().map_or(0, |course| course.level)
            }
            _ => 0,
        }
    }
}

/// All nodes that are left.
pub(super) fn all(query: &mut Query<'_>, walk: &mut Walk<'_, '_, '_>) -> Result<Vec<Place>, Failure> {
    let mut places = Vec::new();
    while let Some(place) = query.select(walk)? {
        places.push(place);
    }
    Ok(places)
}

/// Whether a value counts as true.
pub(super) fn truth(query: &mut Query<'_>, value: Value, walk: &mut Walk<'_, '_, '_>) -> Result<bool, Failure> {
    Ok(match value {
        Value::Boolean(value) => value,
        Value::Number(value) => value != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Nodes => query.select(walk)?.is_some(),
    })
}

/// Whether a predicate holds for the node at hand.
fn holds(condition: &mut Query<'_>, input: &Query<'_>, walk: &mut Walk<'_, '_, '_>) -> Result<bool, Failure> {
    Ok(match condition.evaluate(walk)? {
        Value::Number(number) => is_position(number, input.position()),
        value => truth(condition, value, walk)?,
    })
}

/// Whether a number without its fraction is a position.
fn is_position(number: f64, position: usize) -> bool {
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    crate::convert::truncated(number) == position
}

fn pair(
    plan: &Plan,
    left: &mut Query<'_>,
    right: &mut Query<'_>,
    walk: &mut Walk<'_, '_, '_>,
) -> Result<Vec<Place>, Failure> {
    let at = walk.at;
    let mut places = all(left, walk)?;
    walk.at = at;
    let more = all(right, walk)?;
    match plan {
        Plan::Boolean { is_or: true, .. } => places.extend(more),
        // The last one alone, by a fault of the reference.
        Plan::Boolean { .. } => places = more.last().or(places.last()).copied().into_iter().collect(),
        _ => {
            let mut seen = BTreeSet::new();
            let mut distinct = Vec::new();
            for place in places.into_iter().chain(more) {
                if seen.insert(walk.identity(place)?) {
                    distinct.push(place);
                }
            }
            places = distinct;
        }
    }
    Ok(places)
}

fn operated(
    plan: &Plan,
    left: &mut Query<'_>,
    right: &mut Query<'_>,
    walk: &mut Walk<'_, '_, '_>,
) -> Result<Value, Failure> {
    match plan {
        Plan::Compute(operator, ..) => {
            // Each side is calculated where the whole is.
            let at = walk.at;
            let value = left.evaluate(walk)?;
            let first = number_of(left, value, walk)?;
            walk.at = at;
            let value = right.evaluate(walk)?;
            let second = number_of(right, value, walk)?;
            walk.at = at;
            Ok(Value::Number(compute(*operator, first, second)))
        }
        Plan::Compare(comparison, ..) => {
            let first = left.evaluate(walk)?;
            let second = right.evaluate(walk)?;
            compare(*comparison, (left, first), (right, second), walk).map(Value::Boolean)
        }
        _ => Ok(Value::Nodes),
    }
}

/// The value of what has no nodes.
fn plain(plan: &Plan, walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let passes =
        |walk: &Walk<'_, '_, '_>, place, test: &Option<Test>| test.as_ref().is_none_or(|test| walk.passes(place, test));
    Ok(match plan {
        Plan::Text(text) => Value::Text(text.clone().into_bytes()),
        Plan::Number(number) => Value::Number(*number),
        Plan::Position(test) => {
            let (mut place, mut count) = (walk.at, 1);
            while walk.to_sibling(&mut place, false)? {
                count += usize::from(passes(walk, place, test));
            }
            Value::count(count)
        }
        Plan::Last(test) => {
            let (mut place, mut count) = (walk.at, 0);
            walk.to_first(&mut place)?;
            loop {
                count += usize::from(passes(walk, place, test));
                if !walk.to_sibling(&mut place, true)? {
                    break;
                }
            }
            Value::count(count)
        }
        Plan::Count(input) => {
            let test = match &**input {
                Plan::Axis { axis, test, .. } if !matches!(axis, Axis::Below { .. }) => Some(test.clone()),
                _ => None,
            };
            let mut query = Query::new(input);
            let mut count = 0;
            if matches!(query.evaluate(walk)?, Value::Nodes) {
                while let Some(place) = query.select(walk)? {
                    count += usize::from(passes(walk, place, &test));
                }
            }
            Value::count(count)
        }
        Plan::Matches(text, pattern) => {
            let mut query = Query::new(text);
            let text = match query.evaluate(walk)? {
                Value::Text(text) => text,
                Value::Nodes => match query.select(walk)? {
                    Some(place) => walk.text(place)?.into_bytes(),
                    None => return Ok(Value::Text(Vec::new())),
                },
                _ => Vec::new(),
            };
            walk.target.spend(text.len())?;
            Value::Boolean(pattern.is_match(&text))
        }
        Plan::Call(function, arguments) => call(*function, arguments, walk)?,
        _ => Value::Nodes,
    })
}

impl AxisQuery<'_> {
    fn select(&mut self, walk: &mut Walk<'_, '_, '_>) -> Found {
        if let Axis::Parent | Axis::SelfOnly = self.axis {
            return self.select_near(walk);
        }
        if let Axis::Below { and_self } = self.axis {
            return self.select_below(and_self, walk);
        }
        loop {
            let mut course = match self.course.take() {
                Some(course) => course,
                None => {
                    self.position = 0;
                    let Some(place) = self.input.select(walk)? else { return Ok(None) };
                    Course::at(place)
                }
            };
            while let Some(place) = self.next(&mut course, walk)? {
                if matches!(self.axis, Axis::Ancestor { .. }) && !self.seen.insert(walk.identity(place)?) {
                    continue;
                }
                if !matches!(self.axis, Axis::Following | Axis::Preceding) {
                    self.position += 1;
                }
                self.course = Some(course);
                return Ok(Some(place));
            }
        }
    }

    fn select_near(&mut self, walk: &mut Walk<'_, '_, '_>) -> Found {
        loop {
            let Some(mut place) = self.input.select(walk)? else { return Ok(None) };
            let is_there = self.axis == Axis::SelfOnly || walk.to_parent(&mut place);
            if is_there && walk.passes(place, self.test) {
                return Ok(Some(place));
            }
        }
    }

    /// The next node below one of the input, by a walk that leaves a node of the input as soon as that passes itself, and
    /// that takes one without children for its own child.
    fn select_below(&mut self, and_self: bool, walk: &mut Walk<'_, '_, '_>) -> Found {
        loop {
            walk.spend()?;
            let mut course = match self.course.take() {
                Some(mut course) => {
                    if !up_to_next(&mut course, walk)? {
                        continue;
                    }
                    course
                }
                None => {
                    let Some(place) = self.input.select(walk)? else { return Ok(None) };
                    self.position = 0;
                    if and_self && walk.passes(place, self.test) {
                        self.position = 1;
                        return Ok(Some(place));
                    }
                    let mut course = Course::at(place);
                    course.level += usize::from(walk.to_child(&mut course.place));
                    course
                }
            };
            loop {
                walk.spend()?;
                if walk.passes(course.place, self.test) {
                    self.position += 1;
                    let place = course.place;
                    self.course = Some(course).filter(|course| course.level > 0);
                    return Ok(Some(place));
                }
                if !walk.to_child(&mut course.place) {
                    break;
                }
                course.level += 1;
            }
            self.course = Some(course).filter(|course| course.level > 0);
        }
    }

    /// The next node of the course that passes the test.
    fn next(&mut self, course: &mut Course, walk: &mut Walk<'_, '_, '_>) -> Found {
        loop {
            walk.spend()?;
            let was_fresh = std::mem::replace(&mut course.is_fresh, false);
            let place = &mut course.place;
            let goes_on = match self.axis {
                Axis::Ancestor { and_self: true } | Axis::Descendant { and_self: true } if was_fresh => true,
                Axis::Ancestor { .. } => walk.to_parent(place),
                Axis::Attribute => {
                    let index = place.attribute.map_or(0, |index| index + 1);
                    let is_there = index < walk.document.nodes[place.node].attributes.len();
                    if is_there {
                        place.attribute = Some(index);
                    }
                    is_there
                }
                Axis::Child if was_fresh => walk.to_child(place),
                Axis::Child | Axis::FollowingSibling => walk.to_sibling(place, true)?,
                Axis::PrecedingSibling => walk.to_sibling(place, false)?,
                Axis::Descendant { .. } => down(course, walk)?,
                Axis::Following | Axis::Preceding => return self.beside(course, walk),
                Axis::Below { .. } | Axis::Parent | Axis::SelfOnly => false,
            };
            if !goes_on {
                return Ok(None);
            }
            if walk.passes(course.place, self.test) {
                return Ok(Some(course.place));
            }
        }
    }

    /// The next node of what follows a node or comes before it, with all below.
    fn beside(&mut self, course: &mut Course, walk: &mut Walk<'_, '_, '_>) -> Found {
        let is_following = self.axis == Axis::Following;
        loop {
            let mut inner = match course.below.take() {
                Some(inner) => inner,
                None => {
                    while !walk.to_sibling(&mut course.place, is_following)? {
                        if !walk.to_parent(&mut course.place) {
                            return Ok(None);
                        }
                        if !is_following {
                            self.position = 0;
                        }
                    }
                    walk.at = course.place;
                    if is_following {
                        self.position = 0;
                    }
                    Box::new(Course::at(course.place))
                }
            };
            loop {
                walk.spend()?;
                let was_fresh = std::mem::replace(&mut inner.is_fresh, false);
                if !was_fresh && !down(&mut inner, walk)? {
                    break;
                }
                if walk.passes(inner.place, self.test) {
                    self.position += 1;
                    let place = inner.place;
                    course.below = Some(inner);
                    return Ok(Some(place));
                }
            }
        }
    }
}

/// Moves to the next node below the one that the course began at.
fn down(course: &mut Course, walk: &mut Walk<'_, '_, '_>) -> Result<bool, Failure> {
    if walk.to_child(&mut course.place) {
        course.level += 1;
        return Ok(true);
    }
    loop {
        if course.level == 0 {
            return Ok(false);
        }
        if walk.to_sibling(&mut course.place, true)? {
            return Ok(true);
        }
        walk.to_parent(&mut course.place);
        course.level -= 1;
    }
}

/// Moves to the next sibling of the node or of one that it is in, below the one that the course began at.
fn up_to_next(course: &mut Course, walk: &mut Walk<'_, '_, '_>) -> Result<bool, Failure> {
    while !walk.to_sibling(&mut course.place, true)? {
        course.level -= 1;
        if course.level == 0 {
            return Ok(false);
        }
        walk.to_parent(&mut course.place);
    }
    Ok(true)
}
