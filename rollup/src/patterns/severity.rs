//! The severities that patterns are told apart by: the ranges of `SeverityNumber`.

use serde::{Deserialize, Serialize};

/// A range of severity numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// 0, or none that is known.
    Unspecified,
    /// 1 to 4
    Trace,
    /// 5 to 8
    Debug,
    /// 9 to 12
    Info,
    /// 13 to 16
    Warn,
    /// 17 to 20
    Error,
    /// 21 to 24
    Fatal,
}

impl Severity {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// The range of a record's number; where it has none, what its text begins with.
    #[must_use]
    pub fn of(number: i32, text: &[u8]) -> Self {
        match number {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => Self::of_text(text),
        }
    }

    fn of_text(text: &[u8]) -> Self {
        let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let known: [(&[u8], Self); 12] = [
            (b"trace", Self::Trace),
            (b"debug", Self::Debug),
            (b"verbose", Self::Debug),
            (b"info", Self::Info),
            (b"notice", Self::Info),
            (b"warn", Self::Warn),
            (b"err", Self::Error),
            (b"severe", Self::Error),
            (b"fatal", Self::Fatal),
            (b"crit", Self::Fatal),
            (b"alert", Self::Fatal),
            (b"panic", Self::Fatal),
        ];
        known.iter().find(|(word, _)| begins(word)).map_or(Self::Unspecified, |(_, severity)| *severity)
    }

    /// The first number of the range.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::Trace => 1,
            Self::Debug => 5,
            Self::Info => 9,
            Self::Warn => 13,
            Self::Error => 17,
            Self::Fatal => 21,
        }
    }

    /// Its name, as people write it; empty where none is specified.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "",
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}
