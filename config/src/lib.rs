//! The one catalogue of knobs: file, environment and flags become typed, checked values. Pure: the text of the
//! file, the environment and the size of the machine are arguments.
//!
//! [`load`] layers defaults, file, `TAILWATER_*` variables and flags, in that order, and returns a [`Config`] or every
//! problem at once. The file is the native one or the OpenTelemetry Collector's.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::float_cmp)
)]

mod assign;
mod catalogue;
mod changed;
mod choices;
mod collector;
mod draft;
mod effective;
mod explain;
mod finish;
mod foreign;
mod layers;
mod load;
mod memory_plan;
mod metric_rules;
mod native;
mod otel_environment;
mod policies;
mod problem;
mod provenance;
mod reference;
pub mod sampling;
mod settings;
mod substitution;
mod triggers;
mod value;
mod wal_plan;
mod yaml;

pub use catalogue::{Kind, Knob, knobs};
pub use changed::{is_same, needs_restart, with_changes};
pub use effective::{conditions_of_policy, conditions_of_rule, effective, effective_sampling, type_of};
pub use explain::explain;
pub use finish::further_section;
pub use load::{Form, Inputs, Loaded, Refusal, load, load_reading};
pub use memory_plan::{
    CALLS_PER_CONNECTION, DOCKETED_TRACE_BYTES, EXPLAINED_ORIGINS_BYTES, EXPLAINED_VERDICT_BYTES,
    MERGED_REQUEST_BYTES_MAX, MemoryPlan, MemoryRow, PARTLY_DONE_BYTES, RANKED_BYTES, RANKED_KEYS_BYTES,
    REACH_BACK_ANSWER_BYTES, RELATIVE_LATENCY_BYTES, SKETCH_BYTES, SKETCH_NAMES_BYTES, WAITING_SPAN_BYTES,
    large_request_bytes, memory_plan, memory_plan_with,
};
pub use problem::{Note, Problem, Source};
pub use reference::reference_page;
pub use settings::*;
pub use substitution::ReadFile;
pub use triggers::show as shown_trigger;
pub use value::{GIB, KIB, MIB, parse_duration};
pub use wal_plan::{WalPlan, wal_plan};
