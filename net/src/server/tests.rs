//! The server over real sockets, on both backends.

mod abuse;
mod frames;
mod grpc;
mod harness;
mod lifecycle;
mod plain;
mod strangers;
