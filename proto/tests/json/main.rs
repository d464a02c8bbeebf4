//! OTLP/JSON against `opentelemetry-proto` and prost, in both directions and for all three signals.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "generated values are cut to the width of their field on purpose"
)]

mod corpus;
mod properties;
mod reading;
mod writing;
