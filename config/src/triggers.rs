//! Reads `control.triggers`: when the node does less, and what, with the line of what is wrong.
//!
//! ```text
//! trigger   name, signal, service, window, on, off, for, hold, actions: {window, drop_dimensions, mask, budget, percentage}
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use crate::policies::fields::Fields;
use crate::policies::{Reader, items};
use crate::problem::{Fault, Findings, Source, shown};
use crate::value::{self, show_duration};
use crate::yaml::{Node, Value};
use tailwater_dial::{Dial, DialError, Lever, SERVICES_MAX, Signal, TRIGGERS_MAX, Trigger};
use tailwater_ottl::suggest;

const KEYS: &[&str] = &["name", "signal", "service", "window", "on", "off", "for", "hold", "actions"];
/// What is taken where nothing is written: long enough that a burst is none, short enough that memory is not gone by then.
const WINDOW: Duration = Duration::from_secs(30);
const LEAST_ON: Duration = Duration::from_secs(10);
const LEAST_OFF: Duration = Duration::from_secs(60);

/// Reads the list; what is wrong goes to `findings` and its trigger is left out.
pub(crate) fn read(key: &str, node: &Node, at: &dyn Fn(u32) -> Source, findings: &mut Findings) -> Vec<Trigger> {
    let mut reader = Reader { at, findings };
    let Some(items) = items(&mut reader, key, node, "triggers") else { return Vec::new() };
    if items.len() > TRIGGERS_MAX {
        let fault = Fault::new(format!("{} triggers", items.len()), format!("write at most {TRIGGERS_MAX}"));
        reader.problem(node.line, key, fault);
        return Vec::new();
    }
    let mut triggers: Vec<Trigger> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let Some(trigger) = trigger(&mut reader, &key, item) else { continue };
        if triggers.iter().any(|known| known.name == trigger.name) {
            let fault = Fault::new(format!("there is a trigger `{}`", trigger.name), "give each a name of its own");
            reader.problem(item.line, &key, fault);
        } else {
            triggers.push(trigger);
        }
    }
    let services: BTreeSet<&String> = triggers.iter().filter_map(|trigger| trigger.service.as_ref()).collect();
    if services.len() > SERVICES_MAX {
        let fault = Fault::new(format!("{} services", services.len()), format!("name at most {SERVICES_MAX}"));
        reader.problem(node.line, key, fault);
    }
    triggers
}

fn trigger(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Trigger> {
    let (name, (signal, service), times, levels, actions) = {
        let mut fields = Fields::of_block(key, node, KEYS, reader)?;
        let name = fields.text("name")?;
        let signal = signal(&mut fields)?;
        let service = Some(fields.text("service")?).filter(|name| !name.is_empty());
        let window = duration(&mut fields, "window", WINDOW)?;
        let least_on = duration(&mut fields, "for", LEAST_ON)?;
        let least_off = duration(&mut fields, "hold", LEAST_OFF)?;
        for level in ["on", "off"] {
            if fields.entry(level).is_none() {
                let remedy = format!("write both, such as on: 0.85 and off: 0.6; {}", signal_says(signal));
                fields.refuse(level, Fault::new("no level", remedy));
                return None;
            }
        }
        let levels = (fields.number("on")?, fields.number("off")?);
        let actions = fields.entry("actions").map(|entry| &entry.node);
        (name, (signal, service), (window, least_on, least_off), levels, actions)
    };
    let (window, least_on, least_off) = times;
    let actions = match actions {
        Some(node) => actions_of(reader, &format!("{key}.actions"), node)?,
        None => Dial::default(),
    };
    let (on, off) = levels;
    let trigger = Trigger { name, signal, service, window, on, off, least_on, least_off, actions };
    if let Err(error) = trigger.check() {
        let place = match &error {
            DialError::Level(_) | DialError::NoHysteresis => ".on",
            DialError::Window => ".window",
            DialError::Time => ".hold",
            DialError::Service => ".service",
            DialError::Name => ".name",
            _ => "",
        };
        reader.problem(node.line, &format!("{key}{place}"), fault(&error));
        return None;
    }
    Some(trigger)
}

fn fault(error: &DialError) -> Fault {
    Fault::new(error.to_string(), error.remedy())
}

fn signal_says(signal: Signal) -> &'static str {
    if signal.is_part() { "this signal is a part of a whole, from 0 to 1" } else { "this signal is no part of a whole" }
}

fn signal(fields: &mut Fields<'_, '_, '_>) -> Option<Signal> {
    let text = fields.text("signal")?;
    let found = Signal::from_word(&text);
    if found.is_none() {
        let near = suggest::nearest(&text, Signal::WORDS.iter().copied());
        let words = Signal::WORDS.join(", ");
        let remedy = near.map_or_else(
            || format!("write one of {words}"),
            |near| format!("did you mean `{near}`? write one of {words}"),
        );
        fields.refuse("signal", Fault::new(format!("`{}` is no signal", shown(&text)), remedy));
    }
    found
}

fn duration(fields: &mut Fields<'_, '_, '_>, name: &str, default: Duration) -> Option<Duration> {
    let Some(entry) = fields.entry(name) else { return Some(default) };
    let text = written(&entry.node).unwrap_or_default();
    value::duration(&text).inspect_err(|fault| fields.refuse(name, fault.clone())).ok()
}

/// A scalar as it is written; the items of a list with commas between them.
fn written(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::List(items) => items.iter().map(written).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        Value::Map(_) => None,
    }
}

fn actions_of(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Dial> {
    let mut fields = Fields::of_block(key, node, &Lever::WORDS, reader)?;
    let mut dial = Dial::default();
    for lever in Lever::ALL {
        let Some(entry) = fields.entry(lever.word()) else { continue };
        let text = written(&entry.node).unwrap_or_default();
        if let Err(error) = dial.put(lever, &text) {
            fields.refuse(lever.word(), fault(&error));
            return None;
        }
    }
    Some(dial)
}

/// A trigger as it is written.
#[must_use]
pub fn show(trigger: &Trigger) -> String {
    let Trigger { name, signal, service, window, on, off, least_on, least_off, actions } = trigger;
    let rest = Dial::default();
    let levers = actions.differing(&rest).map(|lever| match lever {
        Lever::DropDimensions => format!("drop_dimensions: {:?}", actions.drop_dimensions),
        _ => format!("{}: {}", lever.word(), actions.text(lever)),
    });
    let quoted = |name: &String| format!(", service: \"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    let service = service.as_ref().map(quoted).unwrap_or_default();
    format!(
        "{{name: \"{name}\", signal: {}{service}, window: {}, on: {on}, off: {off}, for: {}, hold: {}, actions: {{{}}}}}",
        signal.word(),
        show_duration(*window),
        show_duration(*least_on),
        show_duration(*least_off),
        levers.collect::<Vec<_>>().join(", ")
    )
}
