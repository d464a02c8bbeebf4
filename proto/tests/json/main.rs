//! OTLP/JSON against `opentelemetry-proto` and prost, in both directions and for all three signals.

#![allow(clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod corpus;
mod properties;
mod reading;
mod writing;
