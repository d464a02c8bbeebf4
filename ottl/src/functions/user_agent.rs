//! `UserAgent`: the browser and the system that a user agent's text names, by the expressions of uap-core.
//!
//! The expressions are compiled once for all rules, and only when a condition calls the converter: several hundred of them
//! take some tens of mebibytes of memory and a good part of a second.

use crate::error::{CompileError, Failure};
use crate::function::{Arguments, Function, ParameterKind as Kind, Prepared, needed};
use crate::pattern;
use crate::value::{Entry, Map, Value};
use regex::Captures;
use regex_filtered::{Builder, Regexes};
use std::borrow::Cow;
use std::sync::Arc;

pub(super) static USER_AGENT: Function =
    Function::new("UserAgent", &[needed("user_agent", Kind::Text)], map).prepared(|_, shared| {
        let known = shared.once(|| {
            let failed = |reason| CompileError::Pattern { pattern: "UserAgent".to_string(), reason };
            UserAgents::compile().map_err(failed)
        });
        known.map(Prepared::own)
    });

const EXPRESSIONS: &str = include_str!("../data/user-agents.txt");

/// How often a text is read, about: once for what tells the expressions apart, and once for each that is tried.
const READS: usize = 128;

/// The expressions for one thing, in the order in which they are tried.
struct Table {
    regexes: Regexes,
    /// What becomes of the groups of each: the name and the parts of the version.
    templates: Vec<Vec<&'static str>>,
}

/// All expressions, compiled.
struct UserAgents {
    agents: Table,
    systems: Table,
}

impl std::fmt::Debug for UserAgents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = (self.agents.templates.len(), self.systems.templates.len());
        formatter.debug_tuple("UserAgents").field(&counts.0).field(&counts.1).finish()
    }
}

impl UserAgents {
    /// Compiles them.
    ///
    /// # Errors
    /// The compiler's words; a test knows that there are none.
    fn compile() -> Result<Self, String> {
        Ok(Self { agents: Table::of("agent")?, systems: Table::of("system")? })
    }
}

impl Table {
    fn of(what: &str) -> Result<Self, String> {
        let mut builder = Builder::new();
        let mut templates = Vec::new();
        for line in EXPRESSIONS.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split('\t');
            let (kind, flags, expression) = (fields.next(), fields.next(), fields.next());
            let (Some(flags), Some(expression)) = (flags, expression) else { return Err(line.to_string()) };
            if kind != Some(what) {
                continue;
            }
            let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
            let translated = pattern::translate(&format!("{flags}{expression}"))?;
            builder = builder.push(&translated).map_err(|error| error.to_string())?;
            templates.push(fields.collect());
        }
        Ok(Self { regexes: builder.build().map_err(|error| error.to_string())?, templates })
    }

    /// The name, and the version's parts behind it. Without a name the next expression is tried.
    fn find(&self, text: &str) -> (String, String) {
        // A part without a template is the group of its place.
        const GROUPS: [&str; 5] = ["$1", "$2", "$3", "$4", "$5"];
        let mut version = String::new();
        for (index, regex) in self.regexes.matching(text) {
            let (Some(templates), Some(groups)) = (self.templates.get(index), regex.captures(text)) else { continue };
            let part = |place: usize| {
                let template = templates.get(place).copied().filter(|template| !template.is_empty());
                expanded(template.or(GROUPS.get(place).copied()).unwrap_or_default(), &groups)
            };
            let parts = if self.parts() == 5 { 1..5 } else { 1..4 };
            version = part(1);
            for part in parts.skip(1).map(part).filter(|part| !part.is_empty()) {
                version.push('.');
                version.push_str(&part);
            }
            let name = part(0);
            if !name.is_empty() {
                return (name, version);
            }
        }
        ("Other".to_string(), version)
    }

    /// Systems have a part more of their version.
    fn parts(&self) -> usize {
        if self.templates.iter().any(|templates| templates.len() == 5) { 5 } else { 4 }
    }
}

/// A template with groups filled in: `$1`, `${1}`, `$$`. A name takes all letters, digits and underscores.
fn expanded(template: &str, groups: &Captures<'_>) -> String {
    let mut out = String::new();
    groups.expand(template, &mut out);
    out
}

fn map<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let known: &Arc<UserAgents> = arguments.prepared()?;
    let source = arguments.text(0)?;
    arguments.spend(source.len().saturating_mul(READS))?;
    let text = String::from_utf8_lossy(&source);
    let (name, version) = known.agents.find(&text);
    let (system, system_version) = known.systems.find(&text);
    let mut entries: Vec<Entry<'a>> = Vec::with_capacity(5);
    let mut add = |key: &'static str, value| entries.push((Cow::Borrowed(key.as_bytes()), value));
    add("user_agent.name", Value::built(name));
    add("user_agent.original", Value::Text(source.clone()));
    add("user_agent.version", Value::built(version));
    if !system.is_empty() {
        add("os.name", Value::built(system));
    }
    if !system_version.is_empty() {
        add("os.version", Value::built(system_version));
    }
    Ok(Value::Map(Map::Owned(entries)))
}
