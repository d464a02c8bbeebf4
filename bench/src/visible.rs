//! What can be told apart in telemetry: services, their operations, those that fail, exceptions, routes of metrics, and kinds
//! of log lines. The generator writes what it sent of these (`--expect-out`), a sink collects them from all that comes, be it
//! kept as it was or told by a summary (`--visible`), and none may be lost on the way.
//!
//! A line of the file is `see KIND SERVICE NAME`; a name may hold spaces, a service may not.

mod collect;

use std::collections::BTreeSet;

/// Things remembered, about 100 MB.
/// At the bound: further ones are counted in `overflow` and the judgement says so.
const THINGS_MAX: usize = 1 << 20;
/// Missing things listed; all are counted.
const LISTED_MAX: usize = 20;
/// Letters of the words by which a kind of line is known: shorter and longer ones may be values.
const WORD_LETTERS: std::ops::RangeInclusive<usize> = 3..=12;

/// Kinds of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// a `service.name`
    Service,
    /// a span's name
    Operation,
    /// the name of a span whose status is an error
    Failing,
    /// an exception's type
    Exception,
    /// the `http.route` of a metric point
    Route,
    /// severity and literal words of a log line
    Line,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Service, Self::Operation, Self::Failing, Self::Exception, Self::Route, Self::Line];

    /// The word in files and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Operation => "operation",
            Self::Failing => "failing",
            Self::Exception => "exception",
            Self::Route => "route",
            Self::Line => "line",
        }
    }
}

/// One thing: its kind, its service, its name.
type Thing = (Kind, String, String);

/// Everything that can be told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    things: BTreeSet<Thing>,
    overflow: u64,
}

impl Visible {
    /// Notes a thing.
    pub fn see(&mut self, kind: Kind, service: &str, name: &str) {
        let thing = (kind, service.to_owned(), name.to_owned());
        if self.things.len() < THINGS_MAX || self.things.contains(&thing) {
            self.things.insert(thing);
        } else {
            self.overflow += 1;
        }
    }

    /// Notes a log line, or the pattern of many, by its literal words.
    pub fn see_line(&mut self, service: &str, severity: &str, text: &str) {
        self.see(Kind::Line, service, &format!("{severity} {}", literal_words(text)));
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: Self) {
        self.overflow += other.overflow;
        for (kind, service, name) in other.things {
            self.see(kind, &service, &name);
        }
    }

    /// Nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// The lines of a file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.things.iter().map(|(kind, service, name)| format!("see {} {service} {name}", kind.word()))
    }

    /// Notes the thing of such a line, without its `see`; `None` where it is none.
    pub fn add_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.splitn(3, ' ');
        let word = words.next()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let (service, name) = (words.next()?, words.next()?);
        self.see(kind, service, name);
        Some(())
    }

    /// What of `wanted` was not seen.
    #[must_use]
    pub fn judge(&self, wanted: &Self) -> Judgement {
        let mut judgement = Judgement { overflow: self.overflow + wanted.overflow, ..Judgement::default() };
        for thing in &wanted.things {
            let (kind, service, name) = thing;
            let at = Kind::ALL.iter().position(|other| other == kind).unwrap_or(0);
            judgement.demanded[at] += 1;
            if !self.things.contains(thing) {
                judgement.missing += 1;
                if judgement.listed.len() < LISTED_MAX {
                    judgement.listed.push(format!("{} {service} {name}", kind.word()));
                }
            }
        }
        judgement
    }
}

/// The comparison's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// what had to be visible, by kind as in [`Kind::ALL`]
    pub demanded: [u64; 6],
    /// how much of it was not
    pub missing: u64,
    /// the first of that
    pub listed: Vec<String>,
    /// things beyond what can be remembered
    pub overflow: u64,
}

impl Judgement {
    /// Whether all that had to be visible was.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.missing == 0 && self.overflow == 0
    }

    /// The outcome for people and for programs.
    #[must_use]
    pub fn line(&self) -> crate::output::Line {
        let by_kind: serde_json::Map<_, _> =
            Kind::ALL.iter().zip(self.demanded).map(|(kind, count)| (kind.word().to_owned(), count.into())).collect();
        let [services, operations, failing, exceptions, routes, lines] = self.demanded;
        let mut text = format!(
            "visible  {} of what must be is not: {services} services, {operations} operations, {failing} that fail, \
             {exceptions} exceptions, {routes} routes, {lines} kinds of log lines",
            self.missing,
        );
        self.listed.iter().for_each(|thing| text.push_str(&format!("\n  {thing}")));
        let json = serde_json::json!({
            "demanded": by_kind, "missing": self.missing, "listed": self.listed, "overflow": self.overflow,
        });
        crate::output::Line { text, json }
    }
}

/// The words of a line, or of a pattern of lines, that are no values: of letters only, neither short nor long.
fn literal_words(text: &str) -> String {
    let words = text.split(' ').map(|word| word.trim_end_matches([',', ':', '.']));
    let literal = words
        .filter(|word| WORD_LETTERS.contains(&word.len()) && word.bytes().all(|letter| letter.is_ascii_alphabetic()));
    literal.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
