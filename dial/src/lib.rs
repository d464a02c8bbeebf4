//! What a node does less of under load, and when. Signals are read each second; a trigger is on while its signal is past a
//! level; each trigger that is on has actions, and what they come to together is the *dial* that the cores follow.
//!
//! ```text
//! reading --> history --value over a window--> trigger: off <-> on --its actions--+
//!                                                                                 +--> dial --> cores
//!                                   a setting by hand, until its time is over  ---+
//! ```
//!
//! A dial says which series an item counts for and how much of it is kept, never whether it is counted. Pure: time is an
//! argument; there are no sockets, threads, environment or randomness.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod dial;
mod error;
mod history;
mod lever;
mod machine;
mod signal;
mod trigger;

pub use dial::{DIMENSIONS_MAX, Dial, STEP_FACTOR};
pub use error::DialError;
pub use history::{Flow, Reading, SAMPLES_MAX};
pub use lever::{Lever, WINDOW_FACTOR_MAX};
pub use machine::{Cause, Machine, Plan, STEPS_KEPT_MAX, Setting, Step, TRIGGERS_MAX, TriggerView};
pub use signal::Signal;
pub use trigger::{SERVICES_MAX, Trigger, WINDOW_MAX};
