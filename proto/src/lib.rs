//! Bytes to meaning and back, without I/O: the OTLP scan and its JSON form. Pure: no clock, sockets, threads,
//! environment or randomness.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod cluster;
pub mod consistent;
pub mod otlp;
pub mod tracestate;
