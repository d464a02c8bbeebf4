//! One shard of tailwater, without I/O: spans come in as bytes, traces are held until they can be judged as a
//! whole, and what is kept goes out as bytes. Time and seeds are arguments; the world is `host::Host`.
//!
//! The stages are strangers to one another; `shard` composes them. What several of them speak of lies in
//! `vocabulary`, `evidence`, `rules`, `index` and `ledger`.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod vocabulary;

pub mod evidence;

pub mod host;

pub mod rules;

pub mod ledger;

pub mod randomness;

pub mod index;

pub mod explain;

pub mod reach_back;

pub mod intake;

pub mod log;

pub mod route;

pub mod buffer;

pub mod judge;

pub mod cluster;

pub mod decide;

pub mod export;

pub mod shard;

pub mod trial;

/// Spans with everything in them, as the tests of conditions have them.
#[cfg(test)]
#[path = "../../ottl/src/tests/fixture.rs"]
mod fixture;
