//! Reads the keys of one block with the Collector's strict types; what is absent is Go's zero value.

use super::Reader;
use crate::problem::{Fault, shown};
use crate::yaml::{Entry, Node, Resolved, Scalar, Value};
use tailwater_ottl::suggest;

/// A block whose keys are being read.
pub(crate) struct Fields<'a, 'r, 'f> {
    key: &'a str,
    node: &'a Node,
    reader: &'r mut Reader<'f>,
}

impl<'a, 'r, 'f> Fields<'a, 'r, 'f> {
    /// The policy itself: `name` and `type`. Its other keys are looked at elsewhere.
    pub(crate) fn of_policy(key: &'a str, node: &'a Node, reader: &'r mut Reader<'f>) -> Self {
        Self { key, node, reader }
    }

    /// The block of a policy, with every key it may have. `None` when it is not a block or has other keys.
    pub(crate) fn of_block(
        key: &'a str,
        node: &'a Node,
        known: &[&'static str],
        reader: &'r mut Reader<'f>,
    ) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            _ if node.is_null() => &[],
            _ => {
                let fault = Fault::new(format!("{} where a mapping is needed", node.kind()), "write a mapping");
                reader.problem(node.line, key, fault);
                return None;
            }
        };
        let mut sound = true;
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let near = suggest::nearest(&entry.key, known.iter().copied());
            let remedy = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "remove it".to_string(),
                None => format!("the keys here are {}", known.join(", ")),
            };
            reader.problem(entry.line, &format!("{key}.{}", entry.key), Fault::new("unknown key", remedy));
            sound = false;
        }
        sound.then_some(Self { key, node, reader })
    }

    /// The node under `name`, with its line, when something is written there.
    pub(crate) fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.node.get(name).filter(|entry| !entry.node.is_null())
    }

    /// Says that the value under `name` is not acceptable.
    pub(crate) fn refuse(&mut self, name: &str, fault: Fault) {
        let line = self.node.get(name).map_or(self.node.line, |entry| entry.line);
        self.reader.problem(line, &format!("{}.{name}", self.key), fault);
    }

    /// Says that an item of the list under `name` is not acceptable.
    pub(crate) fn refuse_item(&mut self, name: &str, index: usize, fault: Fault) {
        let list = self.node.get(name);
        let items = list.and_then(|entry| if let Value::List(items) = &entry.node.value { Some(items) } else { None });
        let line = items.and_then(|items| items.get(index)).map_or(self.node.line, |item| item.line);
        self.reader.problem(line, &format!("{}.{name}[{index}]", self.key), fault);
    }

    /// Says something about the value under `name`.
    pub(crate) fn note(&mut self, name: &str, text: &str) {
        let line = self.node.get(name).map_or(self.node.line, |entry| entry.line);
        self.reader.note(line, &format!("{}.{name}", self.key), text.to_string());
    }

    fn scalar(&mut self, name: &str, expected: &str) -> Option<Option<&'a Scalar>> {
        let Some(entry) = self.entry(name) else { return Some(None) };
        if let Value::Scalar(scalar) = &entry.node.value {
            return Some(Some(scalar));
        }
        self.refuse(name, mismatch(&entry.node, expected));
        None
    }

    /// Text, empty when absent.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.node.get(name).map(|entry| (entry.node.text(), entry.node.is_null())) {
            Some((Some(text), _)) => Some(text.to_string()),
            None | Some((None, true)) => Some(String::new()),
            Some((None, false)) => self.wrong(name, "text"),
        }
    }

    /// A boolean, false when absent.
    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        let Some(scalar) = self.scalar(name, "true or false")? else { return Some(false) };
        scalar.boolean().or_else(|| self.wrong(name, "true or false"))
    }

    /// A 64-bit integer, zero when absent. The Collector cuts off a fraction, in silence.
    pub(crate) fn integer(&mut self, name: &str) -> Option<i64> {
        let number = match self.scalar(name, "a whole number")?.map(Scalar::resolve) {
            None => return Some(0),
            Some(Resolved::Integer(number)) => i64::try_from(number).ok(),
            Some(Resolved::Float(number)) => {
                if number.fract() != 0.0 {
                    self.note(name, "has a fraction, which is cut off");
                }
                whole(number.trunc())
            }
            Some(_) => None,
        };
        number.or_else(|| self.wrong(name, "a whole number of 64 bits"))
    }

    /// A whole number that is not negative, zero when absent.
    pub(crate) fn count(&mut self, name: &str) -> Option<u64> {
        let number = self.integer(name)?;
        u64::try_from(number).ok().or_else(|| self.wrong(name, "a whole number that is not negative"))
    }

    /// A 32-bit integer, zero when absent.
    pub(crate) fn integer32(&mut self, name: &str) -> Option<i32> {
        let number = self.integer(name)?;
        i32::try_from(number).ok().or_else(|| self.wrong(name, "a whole number of 32 bits"))
    }

    /// A number, zero when absent.
    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        match self.scalar(name, "a number")? {
            None => Some(0.0),
            Some(scalar) => match scalar.resolve() {
                Resolved::Float(number) if number.is_finite() => Some(number),
                // The text of an integer reads as a number, except in other bases.
                Resolved::Integer(number) => number.to_string().parse().ok(),
                _ => self.wrong(name, "a number"),
            },
        }
    }

    /// A list of text, empty when absent; nothing is empty text, and text in place of a list is one with commas.
    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let Some(entry) = self.entry(name) else { return Some(Vec::new()) };
        let items = match &entry.node.value {
            Value::List(items) => items,
            Value::Scalar(_) if entry.node.text().is_some() => {
                let text = entry.node.text().unwrap_or_default();
                return Some(text.split(',').filter(|_| !text.is_empty()).map(str::to_string).collect());
            }
            _ => {
                self.refuse(name, mismatch(&entry.node, "a list of text, such as [a, b]"));
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if item.text().is_none() && item.is_null() {
                texts.push(String::new());
                continue;
            }
            let Some(text) = item.text() else {
                let key = format!("{}.{name}[{index}]", self.key);
                let fault = mismatch(item, "text; put numbers and booleans in quotes");
                self.reader.problem(item.line, &key, fault);
                return None;
            };
            texts.push(text.to_string());
        }
        Some(texts)
    }

    fn wrong<T>(&mut self, name: &str, expected: &str) -> Option<T> {
        if let Some(entry) = self.entry(name) {
            self.refuse(name, mismatch(&entry.node, expected));
        }
        None
    }
}

/// The integer that a floating-point number without a fraction is; none when it is out of range.
fn whole(number: f64) -> Option<i64> {
    format!("{number:.0}").parse().ok()
}

fn mismatch(node: &Node, expected: &str) -> Fault {
    let written = match &node.value {
        Value::Scalar(scalar) => format!("{} `{}`", node.kind(), shown(&scalar.text)),
        _ => node.kind().to_string(),
    };
    Fault::new(format!("{written} does not fit here"), format!("write {expected}"))
}
