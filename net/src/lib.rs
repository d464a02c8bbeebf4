//! Sockets and protocols: HTTP/1.1, HTTP/2, gRPC, TLS, compression. Knows no traces.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod acceptor;
pub mod client;
pub mod compression;
pub mod server;
pub mod status;
