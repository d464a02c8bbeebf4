//! Load generator, sink, verifier and the bare HTTP/2 server that other servers are measured against.
//!
//! The corpus is planned and encoded before the clock starts ([`corpus`]); while it runs, only ids and times are patched in
//! place, so that the generator costs a fraction of the server under test.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod arguments;
pub mod bare;
pub mod cli;
pub mod corpus;
pub mod generate;
pub mod interrupt;
pub mod ledger;
pub mod listen;
pub mod metrics_rollup;
pub mod output;
pub mod patterns;
pub mod process;
pub mod receiver;
pub mod shard;
pub mod sink;
pub mod verify;
pub mod visible;
pub mod walk;
