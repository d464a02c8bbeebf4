//! The write-ahead log: what was received is in a file before the sender hears that it was accepted, and a node that
//! starts again finds there what it still owes. This stage is pure: it turns requests, verdicts and settled spans into
//! bytes and back; whoever runs a shard writes those bytes and makes them durable.
//!
//! `format` is what stands on disk, byte by byte; `docs/format-log.md` draws it. `read` goes through a segment file as
//! a crash or a fault of the disk has left it.

pub mod format;

pub mod read;

pub mod bitmap;

pub mod books;

pub mod done;

pub mod flush;

pub mod filter;

pub mod steps;

pub mod segments;

pub mod stream;

pub mod takers;

pub mod tally;

pub mod told;

pub mod past;

pub mod journal;

pub mod lane;
