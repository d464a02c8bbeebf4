//! Loading a configuration, from the outside: text in, typed values or problems out.

#![allow(clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod cluster;
mod collector;
mod connectors;
mod control;
mod documents;
mod every_policy;
mod layers;
mod native;
mod pasted;
mod pipelines;
mod policies;
mod service_graph;
mod support;
mod wal;
