//! Puts a written value into a knob: strict types from a file, text from flags and the environment.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::{Kind, Slot};
use crate::problem::{Fault, Findings, Source, shown};
use crate::settings::{JoinName, ListenAddress, Secret};
use crate::value;
use crate::yaml::{self, Node, Resolved, Scalar, Style, Value};
use crate::{metric_rules, native, policies, triggers};
use tailwater_ottl::suggest;

/// Where a value is assigned from, for what is said about it.
pub(crate) struct Place<'a> {
    /// Dotted path of the key.
    pub(crate) key: &'a str,
    /// Name of the file, for policies inside a value.
    pub(crate) file: &'a str,
    /// Where the value was written.
    pub(crate) source: Source,
}

/// Assigns a node of a file. What is wrong goes to `findings`.
pub(crate) fn from_node(place: &Place<'_>, kind: Kind, slot: Slot<'_>, node: &Node, findings: &mut Findings) {
    if matches!(kind, Kind::Policies | Kind::Rules | Kind::MetricRules | Kind::Triggers) {
        assign_rules(place, slot, node, findings);
        return;
    }
    if let Err(fault) = node_value(kind, slot, node) {
        let value = node.written().filter(|_| !is_secret(kind)).map(shown);
        findings.problem(place.source.clone(), place.key, value, fault);
    }
}

/// Assigns the text of a flag or an environment variable. What is wrong goes to `findings`.
pub(crate) fn from_text(place: &Place<'_>, kind: Kind, slot: Slot<'_>, text: &str, findings: &mut Findings) {
    if matches!(kind, Kind::Policies | Kind::Rules | Kind::MetricRules | Kind::Triggers) {
        match yaml::parse(text) {
            Ok(node) => assign_rules(place, slot, &node, findings),
            Err(error) => {
                let example = match kind {
                    Kind::Rules => "write the rules as YAML, such as [{name: all, sampler: always_on}]",
                    Kind::MetricRules => "write the rules as YAML, such as [{metric: http.*, drop_attributes: [pid]}]",
                    Kind::Triggers => {
                        "write the triggers as YAML, such as [{name: busy, signal: cpu, on: 0.85, off: 0.6, actions: {window: 4x}}]"
                    }
                    _ => "write the policies as YAML, such as [{name: all, type: always_sample}]",
                };
                let fault = Fault::new(error.cause, format!("{}; {example}", error.remedy));
                findings.problem(place.source.clone(), place.key, None, fault);
            }
        }
        return;
    }
    if let Err(fault) = text_value(kind, slot, text) {
        let value = (!is_secret(kind)).then(|| shown(text));
        findings.problem(place.source.clone(), place.key, value, fault);
    }
}

/// Whether values of that kind are not to be repeated.
fn is_secret(kind: Kind) -> bool {
    matches!(kind, Kind::Headers | Kind::Secret)
}

fn assign_rules(place: &Place<'_>, slot: Slot<'_>, node: &Node, findings: &mut Findings) {
    let from_file = matches!(place.source, Source::File { .. });
    let at =
        |line: u32| if from_file { Source::File { name: place.file.to_string(), line } } else { place.source.clone() };
    // The lines of a flag's text are not those of a file.
    match slot {
        Slot::Policies(target) => {
            *target = policies::read(place.key, node, &at, findings);
            if !from_file {
                policies::forget_lines(target);
            }
        }
        Slot::MetricRules(target) => *target = metric_rules::read(place.key, node, &at, findings),
        Slot::Triggers(target) => *target = triggers::read(place.key, node, &at, findings),
        Slot::Rules(target) => {
            *target = native::read(place.key, node, &at, findings);
            if !from_file {
                native::forget_lines(target);
            }
        }
        _ => {}
    }
}

fn node_value(kind: Kind, slot: Slot<'_>, node: &Node) -> Result<(), Fault> {
    let takes_text = matches!(kind, Kind::Text | Kind::Secret | Kind::Path | Kind::Address | Kind::Choice(_));
    if let Some(original) = node.original.as_deref().filter(|_| takes_text) {
        return text_value(kind, slot, original);
    }
    match (&node.value, kind) {
        (Value::List(items), Kind::List) => {
            let texts = items.iter().map(|item| text_of(item).map(ToString::to_string)).collect::<Result<_, _>>()?;
            if let Slot::List(target) = slot {
                *target = texts;
            }
            Ok(())
        }
        (Value::List(items), Kind::Addresses) => {
            put_addresses(slot, items.iter().map(text_of).collect::<Result<Vec<_>, _>>()?)
        }
        (Value::List(items), Kind::Statuses) => {
            let texts = items.iter().map(|item| match &item.value {
                Value::Scalar(scalar) => Ok(scalar.text.as_str()),
                _ => Err(mismatch(kind, item)),
            });
            put_statuses(slot, texts.collect::<Result<Vec<_>, _>>()?)
        }
        (Value::Map(entries), Kind::Headers) => {
            let headers = entries
                .iter()
                .map(|entry| text_of(&entry.node).map(|text| (entry.key.clone(), text.to_string())))
                .collect::<Result<_, _>>()?;
            put_headers(slot, headers)
        }
        (Value::Scalar(scalar), _) => scalar_value(kind, slot, scalar, node),
        _ => Err(mismatch(kind, node)),
    }
}

fn scalar_value(kind: Kind, slot: Slot<'_>, scalar: &Scalar, node: &Node) -> Result<(), Fault> {
    let resolved = scalar.resolve();
    if let (Kind::Count { .. } | Kind::Bytes { .. }, Resolved::Float(number)) = (kind, &resolved)
        && number.fract() == 0.0
        && *number >= 0.0
    {
        // Such as 1e6. A byte count of more than all memory is told from its digits.
        return text_value(kind, slot, &format!("{number:.0}"));
    }
    let typed = match kind {
        Kind::Bool => scalar.boolean().is_some(),
        Kind::Count { .. } => matches!(resolved, Resolved::Integer(_)),
        Kind::Number { .. } => matches!(resolved, Resolved::Integer(_) | Resolved::Float(_)),
        Kind::Bytes { .. } => !matches!(resolved, Resolved::Null | Resolved::Bool(_) | Resolved::Float(_)),
        Kind::Duration { .. } => matches!(resolved, Resolved::Text(_) | Resolved::Integer(0)),
        Kind::List | Kind::Addresses | Kind::Statuses => matches!(resolved, Resolved::Text(_)),
        Kind::Headers => node.original.is_some(),
        Kind::Policies | Kind::Rules | Kind::MetricRules | Kind::Triggers => false,
        // A path or a core list such as `2` may look like a number.
        Kind::Text | Kind::Secret | Kind::Path => resolved != Resolved::Null,
        Kind::Address | Kind::Choice(_) => matches!(resolved, Resolved::Text(_)),
    };
    if typed { text_value(kind, slot, &scalar.text) } else { Err(mismatch(kind, node)) }
}

/// The text of a scalar that is meant as text.
fn text_of(node: &Node) -> Result<&str, Fault> {
    node.text().ok_or_else(|| {
        let is_written = matches!(&node.value, Value::Scalar(_)) && !node.is_null();
        let remedy = if is_written { "put the value in quotes" } else { "write text" };
        Fault::new(format!("{} where text is needed", node.kind()), remedy)
    })
}

/// What a kind of key takes, for messages.
pub(crate) fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Count { .. } => "a whole number, such as 100_000",
        Kind::Bytes { .. } => "a size, such as 64MiB",
        Kind::Duration { .. } => "a duration, such as 500ms, 10s or 1m30s",
        Kind::Number { .. } => "a number, such as 1.5",
        Kind::Text | Kind::Secret => "text",
        Kind::Path => "a path",
        Kind::Address => "an address, such as 127.0.0.1:4317",
        Kind::Addresses => "a list of addresses, such as [tailwater-0:7946, tailwater-1:7946]",
        Kind::Choice(_) => "one of its words",
        Kind::List => "a list, such as [a, b]",
        Kind::Statuses => "a list of HTTP statuses, such as [401, 403]",
        Kind::Headers => "a mapping, such as {name: value}",
        Kind::Policies => "a list of policies",
        Kind::Rules | Kind::MetricRules => "a list of rules",
        Kind::Triggers => "a list of triggers",
    }
}

fn mismatch(kind: Kind, node: &Node) -> Fault {
    let quoted = match &node.value {
        Value::Scalar(scalar) if scalar.style == Style::Quoted => " without quotes",
        _ => "",
    };
    Fault::new(format!("{} does not fit here", node.kind()), format!("write {}{quoted}", expected(kind)))
}

fn text_value(kind: Kind, slot: Slot<'_>, text: &str) -> Result<(), Fault> {
    match slot {
        Slot::Bool(target) => *target = value::boolean(text)?,
        Slot::Count(target) => *target = count(kind, text)?,
        Slot::OptionalCount(target) => {
            let number = count(kind, text)?;
            *target = Some(usize::try_from(number).map_err(|_| Fault::new("too large", "write a smaller number"))?);
        }
        Slot::Number(target) => *target = number(kind, text)?,
        Slot::Duration(target) => *target = duration(kind, text)?,
        Slot::Text(target) if text.is_empty() => {
            return Err(Fault::new("nothing written", format!("write something in place of `{target}`")));
        }
        Slot::Text(target) => *target = text.to_string(),
        // A file that the value comes from ends with a line end.
        Slot::Secret(target) => *target = Some(text.trim()).filter(|text| !text.is_empty()).map(Secret::new),
        Slot::OptionalText(target) => *target = (!text.is_empty()).then(|| text.to_string()),
        Slot::Path(target) => *target = path(text)?,
        Slot::OptionalPath(target) => *target = if text.is_empty() { None } else { Some(path(text)?) },
        Slot::Address(target) => *target = address(text)?,
        Slot::OptionalAddress(target) => *target = if text == "none" { None } else { Some(address(text)?) },
        Slot::Addresses(_) => {
            return put_addresses(slot, text.split(',').map(str::trim).filter(|part| !part.is_empty()));
        }
        Slot::Choice(target) => {
            if !target.choose(text) {
                return Err(no_such_choice(kind, text));
            }
        }
        Slot::List(target) => {
            *target = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ToString::to_string).collect();
        }
        Slot::Statuses(_) => {
            return put_statuses(slot, text.split(',').map(str::trim).filter(|part| !part.is_empty()));
        }
        Slot::Headers(_) => return put_headers(slot, headers(text)?),
        Slot::Policies(_) | Slot::Rules(_) | Slot::MetricRules(_) | Slot::Triggers(_) => {}
    }
    Ok(())
}

fn put_addresses<'a>(slot: Slot<'_>, texts: impl IntoIterator<Item = &'a str>) -> Result<(), Fault> {
    let address = |text: &str| {
        JoinName::parse(text).ok_or_else(|| {
            let remedy = "write HOST:PORT with a name or an IP address, such as tailwater-0.tailwater:7946, or dnssrv+NAME \
                          for SRV records, such as dnssrv+_tailwater._udp.tailwater";
            Fault::new(format!("`{}` is not an address to send to", shown(text)), remedy)
        })
    };
    if let Slot::Addresses(target) = slot {
        *target = texts.into_iter().map(address).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn put_statuses<'a>(slot: Slot<'_>, texts: impl IntoIterator<Item = &'a str>) -> Result<(), Fault> {
    let status = |text: &str| {
        let number = text.parse::<u16>().ok().filter(|number| (400..=599).contains(number));
        number.ok_or_else(|| {
            Fault::new(format!("`{text}` is no HTTP status of a refusal"), "write numbers of 400 to 599")
        })
    };
    if let Slot::Statuses(target) = slot {
        *target = texts.into_iter().map(status).collect::<Result<_, _>>()?;
    }
    Ok(())
}

fn no_such_choice(kind: Kind, text: &str) -> Fault {
    let choices = if let Kind::Choice(choices) = kind { choices } else { &[] };
    let mut remedy = format!("write one of {}", choices.join(", "));
    if let Some(nearest) = suggest::nearest(text, choices.iter().copied()) {
        remedy = format!("did you mean `{nearest}`? {remedy}");
    }
    Fault::new("not one of the words this key takes", remedy)
}

fn count(kind: Kind, text: &str) -> Result<u64, Fault> {
    let (number, min, max) = match kind {
        Kind::Bytes { min, max } => (value::bytes(text)?, min, max),
        Kind::Count { min, max } => (value::count(text)?, min, max),
        _ => (value::count(text)?, 0, u64::MAX),
    };
    if number < min || number > max {
        let show = if matches!(kind, Kind::Bytes { .. }) { value::show_bytes } else { |n: u64| n.to_string() };
        return Err(Fault::new("out of bounds", format!("write {} to {}", show(min), show(max))));
    }
    Ok(number)
}

fn number(kind: Kind, text: &str) -> Result<f64, Fault> {
    let number: f64 =
        text.replace('_', "").parse().map_err(|_| Fault::new("not a number", "write a number, such as 1.5"))?;
    match kind {
        Kind::Number { min, max } if !(min..=max).contains(&number) => {
            Err(Fault::new("out of bounds", format!("write {min} to {max}")))
        }
        _ => Ok(number),
    }
}

fn duration(kind: Kind, text: &str) -> Result<Duration, Fault> {
    let duration = value::duration(text)?;
    match kind {
        Kind::Duration { min, max } if !(min..=max).contains(&duration) => {
            let (min, max) = (value::show_duration(min), value::show_duration(max));
            Err(Fault::new("out of bounds", format!("write {min} to {max}")))
        }
        _ => Ok(duration),
    }
}

fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new("not a path", "write the path of a file or directory"));
    }
    Ok(PathBuf::from(text))
}

/// An address to listen on: a name or an IP address, or nothing before the port for all addresses.
pub(crate) fn address(text: &str) -> Result<ListenAddress, Fault> {
    let remedy = "write HOST:PORT with a name or an IP address, such as 127.0.0.1:4317, or :4317 for all addresses";
    ListenAddress::parse(text).ok_or_else(|| Fault::new("not an address to listen on", remedy))
}

fn headers(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| Fault::new("a header without a value", "write name=value, separated by commas"))?;
            Ok((name.trim().to_string(), value.trim().to_string()))
        })
        .collect()
}

fn put_headers(slot: Slot<'_>, headers: Vec<(String, String)>) -> Result<(), Fault> {
    for (name, value) in &headers {
        check_header(name, value)?;
    }
    if let Slot::Headers(target) = slot {
        *target = headers;
    }
    Ok(())
}

/// Refuses what HTTP refuses, before a request is built from it (RFC 9110, 5.1 and 5.5).
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), Fault> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Fault::new(format!("`{}` is not a header name", shown(name)), "use letters, digits and dashes"));
    }
    if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
        return Err(Fault::new(format!("the value of header `{name}` holds control characters"), "remove them"));
    }
    Ok(())
}
