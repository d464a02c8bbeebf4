//! What is asked of control by hand: the query of a `POST /api/v1/control`.
//!
//! ```text
//! window=4x & drop_dimensions=a,b & mask=strong & budget=0.5 & trigger=NAME & state=on|off & ttl=5m & dry_run=true
//! ```

use std::time::Duration;
use tailwater_config::{Config, parse_duration};
use tailwater_dial::{Dial, DialError, Lever, Setting};
use thiserror::Error;

/// How long a setting holds where nothing is said.
const LASTS: Duration = Duration::from_secs(300);
/// How long one may hold: what is to stay belongs into the configuration.
/// At the bound: it is refused.
const LASTS_MAX: Duration = Duration::from_secs(86_400);

/// What is to be done.
#[derive(Debug)]
pub struct Query {
    /// What is set.
    pub settings: Vec<Setting>,
    /// For how long.
    pub lasts: Duration,
    /// Only say what would come of it.
    pub is_dry_run: bool,
}

/// Why a query is refused.
#[derive(Debug, Error)]
pub enum QueryError {
    /// What it sets is wrong.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Something that nobody knows.
    #[error("`{0}` is not known here")]
    Unknown(String),
    /// A value that does not fit.
    #[error("`{1}` is no value of `{0}`")]
    Value(&'static str, String),
    /// Nothing is set.
    #[error("nothing is to be set")]
    Nothing,
    /// An attribute tells no series apart.
    #[error("`{0}` tells no series of `summaries.span_metrics` apart")]
    Dimension(String),
}

impl QueryError {
    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::Dial(error) => error.remedy(),
            Self::Unknown(_) => {
                format!("give some of {}, trigger and state, with ttl and dry_run", Lever::WORDS.join(", "))
            }
            Self::Value("ttl", _) => "write a duration from 1s to 24h, such as 5m".to_string(),
            Self::Value("state", _) => "give trigger=NAME with state=on or state=off".to_string(),
            Self::Value(..) => "write true or false".to_string(),
            Self::Nothing => format!("give some of {}, or trigger and state", Lever::WORDS.join(", ")),
            Self::Dimension(_) => "name one of its dimensions or resource_attributes, or *".to_string(),
        }
    }
}

impl Query {
    /// Reads the query of a request's target.
    pub fn read(text: &str) -> Result<Self, QueryError> {
        let (mut settings, mut lasts, mut is_dry_run) = (Vec::new(), LASTS, false);
        let (mut trigger, mut state) = (None, None);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "ttl" => {
                    let read =
                        parse_duration(&value).filter(|lasts| (Duration::from_secs(1)..=LASTS_MAX).contains(lasts));
                    lasts = read.ok_or(QueryError::Value("ttl", value))?;
                }
                "dry_run" => is_dry_run = truth("dry_run", &value)?,
                "trigger" => trigger = Some(value),
                "state" => {
                    state = match value.as_str() {
                        "on" => Some(true),
                        "off" => Some(false),
                        _ => return Err(QueryError::Value("state", value)),
                    }
                }
                name => {
                    let lever = Lever::from_word(name).ok_or_else(|| QueryError::Unknown(decoded(name)))?;
                    let mut dial = Dial::default();
                    dial.put(lever, &value)?;
                    settings.push(Setting::Lever(lever, dial));
                }
            }
        }
        match (trigger, state) {
            (Some(name), Some(is_on)) => settings.push(Setting::Trigger { name, is_on }),
            (None, None) => {}
            (trigger, _) => return Err(QueryError::Value("state", trigger.unwrap_or_default())),
        }
        if settings.is_empty() { Err(QueryError::Nothing) } else { Ok(Self { settings, lasts, is_dry_run }) }
    }
}

/// Whether what settings name is there.
pub(super) fn check(settings: &[Setting], config: &Config) -> Result<(), QueryError> {
    for setting in settings {
        let Setting::Lever(Lever::DropDimensions, dial) = setting else { continue };
        let metrics = &config.summaries.span_metrics;
        if let Some(unknown) = dial.drop_dimensions.iter().find(|name| !metrics.tells_apart(name)) {
            return Err(QueryError::Dimension(unknown.clone()));
        }
    }
    Ok(())
}

fn truth(name: &'static str, value: &str) -> Result<bool, QueryError> {
    match value {
        "true" | "" => Ok(true),
        "false" => Ok(false),
        _ => Err(QueryError::Value(name, value.to_string())),
    }
}

/// A value of a query without its escapes.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%');
        bytes.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_sets_levers_and_triggers_for_a_time() {
        let query = Query::read("window=4x&drop_dimensions=http.route%2Ca&trigger=high+load&state=off&ttl=5m").unwrap();
        let said: Vec<String> = query.settings.iter().map(|one| format!("{}={}", one.subject(), one.value())).collect();
        assert_eq!(said, ["window=4x", "drop_dimensions=a,http.route", "trigger high load=off"]);
        assert_eq!((query.lasts, query.is_dry_run), (Duration::from_secs(300), false));
        assert!(Query::read("mask=strong&dry_run=true").unwrap().is_dry_run);
        for wrong in [
            "",
            "ttl=5m",
            "window=0",
            "windw=4",
            "trigger=a",
            "state=on",
            "state=up&trigger=a",
            "mask=strong&ttl=2d",
            "mask=strong&ttl=25h",
            "mask=strong&dry_run=maybe",
            "keep=a",
        ] {
            let error = Query::read(wrong).expect_err(wrong);
            assert!(!error.remedy().is_empty() && !error.to_string().is_empty());
        }
        assert_eq!(decoded("a%2"), "a%2");
        assert_eq!(decoded("%zz+%20"), "%zz  ");
    }
}
