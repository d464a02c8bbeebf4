//! What is wrong with what is asked for.

use crate::lever::{Lever, WINDOW_FACTOR_MAX};
use thiserror::Error;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DialError {
    /// A lever has no such place.
    #[error("`{value}` is no value of `{}`", lever.word())]
    Value {
        /// The lever.
        lever: Lever,
        /// What was written.
        value: String,
    },
    /// There is no trigger of that name.
    #[error("there is no trigger `{0}`")]
    UnknownTrigger(String),
    /// A level is none of its signal.
    #[error("{0} is no level of its signal")]
    Level(f64),
    /// On and off at the same level is flapping.
    #[error("`on` and `off` are the same")]
    NoHysteresis,
    /// The window is too short or too long.
    #[error("the window is shorter than a second or longer than what is remembered")]
    Window,
    /// A time is too long.
    #[error("a time of more than a day")]
    Time,
    /// What it watches is of all services, or the name is none.
    #[error("this signal has no such service")]
    Service,
    /// It does nothing.
    #[error("a trigger without actions")]
    NoActions,
    /// It has no name, or a long one.
    #[error("a trigger has a name of 1 to 64 letters, digits, `_`, `-`, `.` or spaces")]
    Name,
}

impl DialError {
    /// What to write instead.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Value { lever, .. } => match lever {
                Lever::Window => format!("write a whole number from 1x to {WINDOW_FACTOR_MAX}x"),
                Lever::DropDimensions => "write names of attributes with commas between them, or *".to_string(),
                Lever::Mask => "write usual or strong".to_string(),
                Lever::Budget | Lever::Percentage => "write a number from 0.001 to 1".to_string(),
            },
            Self::UnknownTrigger(_) => "name one that GET /api/v1/control shows".to_string(),
            Self::Level(_) => "write a number above 0, and at most 1 where the signal is a part of a whole".to_string(),
            Self::NoHysteresis => {
                "let `off` be below `on`, or above it where the trigger is for low values".to_string()
            }
            Self::Window => "write 1s to 10m".to_string(),
            Self::Time => "write at most 24h".to_string(),
            Self::Service => {
                "name a service for arrival_rate, bytes_rate, error_rate or error_ratio; the others are of all of them"
                    .to_string()
            }
            Self::NoActions => "write what it does, such as actions: {window: 4x}".to_string(),
            Self::Name => "give it one".to_string(),
        }
    }
}
