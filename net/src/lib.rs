//! Sockets and protocols: HTTP/1.1, HTTP/2, gRPC, TLS, compression, sealed datagrams. Knows no traces.
//!
//! # The server
//!
//! ```text
//! core 0                                   core 1
//! listener (SO_REUSEPORT)                  listener (SO_REUSEPORT)
//!    | accept                                 | accept
//!    v                                        v
//! acceptor --- to the core with the fewest ---> acceptor
//!    |              connections               |
//!    v                                        v
//! server::serve, one task a connection     ...
//!    | meter: large reads, flood protection, byte counts
//!    | h2 (gRPC, plain HTTP) or hyper (HTTP/1.1)
//!    v one task a request
//! head -> ready -> body in one piece -> Service::call -> reply
//! ```
//!
//! Make one [`acceptor::Acceptor`] per core with [`acceptor::Acceptor::for_cores`], move each to its core, make a
//! [`server::Server`] there from a [`server::Service`] and [`server::Limits`], bind listeners with
//! `SharedPort::Yes`, and await [`acceptor::Acceptor::run`]. To end: [`server::Server::drain`], then
//! [`server::Server::drained`].
//!
//! What is settled here so that services need not:
//! - sizes before decompression, framing, unknown codings and routes, each with the status OTLP 1.11 asks for;
//! - deadlines for every state a connection can be in, a cap on connections, an age;
//! - floods: control frames, resets, empty and tiny frames, header bombs, refused streams;
//! - memory: every byte a peer can make us hold is counted against a bound ([`server::Limits`] has the sum);
//! - back-pressure: a service that is not ready, or bodies beyond the budget, keep flow-control windows shut;
//! - `grpc.health.v1.Health`, drain by GOAWAY, panics contained to one request.
//!
//! # The clients
//!
//! [`client`] calls gRPC and HTTP servers from any executor; [`compression`] inflates and deflates whole bodies;
//! [`status`] is `google.rpc.Status`, shared by both sides.
//!
//! # Datagrams
//!
//! [`datagram`] seals and opens what nodes of a cluster send one another.
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod acceptor;
pub mod client;
pub mod compression;
pub mod datagram;
pub mod server;
pub mod status;
