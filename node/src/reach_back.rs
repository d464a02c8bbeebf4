//! `recall`: what a person asks of the log, by id, time and attribute. `asking` has the cores of a running node look,
//! `directory` reads the log of one that does not run, `answer` writes what was found, `client` is the command.

pub mod answer;
pub mod asking;
pub mod client;
mod directory;

use crate::explain::trace_id;
use crate::log_tool::moment;
use std::collections::BTreeSet;
use std::time::Duration;
use tailwater_config::{Config, REACH_BACK_ANSWER_BYTES};
use tailwater_engine::reach_back::{ATTRIBUTES_MAX, Conditions, Sought, What};
use tailwater_engine::vocabulary::TraceId;

/// Traces of an answer where nothing is said.
const LIMIT: usize = 100;
/// Traces of an answer at most: a person reads no more.
/// At the bound: the question is refused.
const LIMIT_MAX: usize = 1000;
/// Bytes of the spans of an answer, as protobuf: an answer is in memory as a whole, as JSON some three times as large, and the
/// memory plan counts eight times as much.
/// At the bound: fewer traces are given, each whole, and the answer says so; counted in
/// `tailwater_recall_answers_cut_total`.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The same where `wal.reach_back` is off and the memory plan knows nothing of it.
const SMALL_ANSWER_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(8 * ANSWER_BYTES_MAX as u64 <= REACH_BACK_ANSWER_BYTES, "the memory plan counts no less");
/// The spans of a trace come within so long of one another: those of one that matches within a range of times are looked for
/// so much before and after it.
const SPREAD: Duration = Duration::from_secs(600);

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// These traces; none where conditions say which.
    pub ids: BTreeSet<TraceId>,
    /// What one of a trace's spans is to be like.
    pub conditions: Conditions,
    /// When they were received, from and to, nanoseconds since 1970.
    pub times: (u64, u64),
    /// Most traces.
    pub limit: usize,
    /// The pipeline that is to keep them; all where it is not named.
    pub pipeline: Option<String>,
    /// Whether what a person has recalled before is sent once more.
    pub again: bool,
}

impl Question {
    /// Reads the query of an address: `trace_id`, `since`, `until`, `service`, `name`, `match=KEY=VALUE`, `limit`,
    /// `pipeline`, `again`.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn of_query(query: &str, now_unix_nano: u64) -> Result<Self, String> {
        let parameters = query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(key)?, decoded(value)?))
        });
        let parameters: Result<Vec<(String, String)>, String> = parameters.collect();
        Self::of(&parameters?, now_unix_nano)
    }

    /// Of names and values.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn of(parameters: &[(String, String)], now_unix_nano: u64) -> Result<Self, String> {
        let (ids, conditions) = (BTreeSet::new(), Conditions::default());
        let mut question = Self { ids, conditions, times: (0, u64::MAX), limit: LIMIT, pipeline: None, again: false };
        let time = |value: &str| {
            moment::parse(value, now_unix_nano).ok_or_else(|| {
                format!(
                    "{value:?} is no time; give RFC 3339 with a zone, seconds since 1970, or 10m for ten minutes ago"
                )
            })
        };
        for (key, value) in parameters {
            match &**key {
                "trace_id" => {
                    let id = trace_id(value);
                    let id = id.ok_or_else(|| format!("{value:?} is no trace id; give 32 hexadecimal digits"))?;
                    question.ids.insert(id);
                }
                "since" => question.times.0 = time(value)?,
                "until" => question.times.1 = time(value)?,
                "service" => question.conditions.service = Some(value.clone()),
                "name" => question.conditions.name = Some(value.clone()),
                "match" => {
                    let (name, wanted) = value
                        .split_once('=')
                        .filter(|(name, _)| !name.is_empty())
                        .ok_or_else(|| format!("match: {value:?} is no attribute; give its name, =, and its value"))?;
                    question.conditions.attributes.push((name.to_string(), wanted.to_string()));
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    question.limit = limit.ok_or_else(|| format!("limit is 1 to {LIMIT_MAX}, not {value:?}"))?;
                }
                "pipeline" => question.pipeline = Some(value.clone()),
                "again" => {
                    let again = value.parse().ok();
                    question.again = again.ok_or_else(|| format!("again is true or false, not {value:?}"))?;
                }
                other => {
                    return Err(format!(
                        "{other:?} is not known; there are trace_id, since, until, service, name, match, limit, pipeline, \
                         again"
                    ));
                }
            }
        }
        question.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.ids.is_empty() && self.conditions.is_empty() && self.times == (0, u64::MAX) {
            return Err("say which traces: trace_id, since, until, service, name or match".to_string());
        }
        if !self.ids.is_empty() && !self.conditions.is_empty() {
            return Err("give trace_id, or service, name and match, not both".to_string());
        }
        if self.times.0 > self.times.1 {
            return Err("since is later than until".to_string());
        }
        if self.ids.len() > self.limit {
            return Err(format!("{} ids are more than limit, which is {}", self.ids.len(), self.limit));
        }
        if self.conditions.attributes.len() > ATTRIBUTES_MAX {
            return Err(format!("match is given at most {ATTRIBUTES_MAX} times"));
        }
        Ok(self)
    }

    /// What finds the traces that match; `None` where they are named.
    fn matching(&self) -> Option<Sought> {
        let what = What::Matching(self.conditions.clone(), self.limit);
        self.ids.is_empty().then_some(Sought { times: self.times, what })
    }

    /// What finds all of these traces, in so many bytes.
    fn traces(&self, ids: &BTreeSet<TraceId>, bytes_max: usize) -> Sought {
        let spread = u64::try_from(SPREAD.as_nanos()).unwrap_or(u64::MAX);
        let times = match self.ids.is_empty() {
            true => (self.times.0.saturating_sub(spread), self.times.1.saturating_add(spread)),
            false => self.times,
        };
        Sought { times, what: What::Traces(ids.clone(), bytes_max) }
    }
}

/// Most bytes of the spans of an answer.
fn answer_bytes_max(config: &Config) -> usize {
    if config.wal.reach_back.is_zero() { SMALL_ANSWER_BYTES_MAX } else { ANSWER_BYTES_MAX }
}

/// Text as it was before it was written into an address.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
                let [Some(high), Some(low)] = digits else { return Err(format!("{text:?} is not percent-encoded")) };
                bytes.extend(u8::try_from(high << 4 | low));
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

/// Text to be written into an address.
fn encoded(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().fold(String::new(), |mut out, byte| {
        if is_plain(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000_000_000;

    #[test]
    fn a_question_is_read_from_an_address() {
        let id = "000102030405060708090a0b0c0d0e0f";
        let question = Question::of_query(&format!("trace_id={id}&limit=7"), NOW).unwrap();
        assert_eq!((question.ids.len(), question.limit, question.times), (1, 7, (0, u64::MAX)));
        assert!(question.matching().is_none());
        let query = "since=-10m&until=1800000000&service=a%20b&match=k=v=w&match=http.route=%2Fx&pipeline=p&again=true";
        let question = Question::of_query(query, NOW).unwrap();
        assert!(question.again);
        assert_eq!(question.times, (NOW - 600_000_000_000, NOW));
        assert_eq!(question.conditions.service.as_deref(), Some("a b"));
        assert_eq!(question.conditions.attributes[0], ("k".to_string(), "v=w".to_string()));
        assert_eq!(question.conditions.attributes[1].1, "/x");
        // What matches within the times is given whole.
        let Sought { times, .. } = question.traces(&BTreeSet::new(), 1);
        assert!(times.0 < question.times.0 && times.1 > question.times.1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, part) in [
            ("", "say which"),
            ("trace_id=12", "32 hexadecimal"),
            ("service=a&limit=0", "limit"),
            ("service=a&limit=100000", "limit"),
            ("since=yesterday", "RFC 3339"),
            ("since=1m&until=2m", "later"),
            ("match=novalue", "no attribute"),
            ("colour=red", "not known"),
            ("service=%zz", "percent"),
            ("trace_id=000102030405060708090a0b0c0d0e0f&name=x", "not both"),
        ] {
            let wrong = Question::of_query(query, NOW).unwrap_err();
            assert!(wrong.contains(part), "{query}: {wrong}");
        }
    }

    #[test]
    fn text_survives_an_address() {
        for text in ["", "a b+c", "k\u{e4}se=1&2", "100%"] {
            assert_eq!(decoded(&encoded(text)).unwrap(), text);
        }
    }
}
