//! Other systems behind the engine's ports: OTLP in and out, and the file that stands in for a next hop.
//!
//! A connector knows no executor: whoever runs it passes how to wait, and spawns its workers.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod debug;
pub mod delivery;
pub mod file;
pub mod otlp;
