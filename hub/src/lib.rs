//! What the nodes of a cluster tell one another, and how it gets there: who is a member, payloads to one member that come
//! again until they are acknowledged, and payloads to all members that each of them repairs from any other. Knows nothing of
//! what a payload means. Pure: no clock, sockets, threads, environment or randomness.
//!
//! ```text
//!   tell(peer) --> link ----+                            +--> link ------> deliver
//!   say -------> streams ---+--> outbox ==datagram==> hear --> streams ---> deliver
//!   tick ------> members ---+                            +--> members ---> view
//! ```
//!
//! `frame.rs` has the words on the wire, `hub.rs` joins the rooms: `members.rs` (SWIM, by foca), `link.rs` (reliable to one),
//! `streams.rs` (repaired to all), `peer.rs` (what waits for one datagram). `probe.rs` is for who looks from outside.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss
    )
)]

mod counts;
mod frame;
mod hello;
mod hub;
mod link;
mod members;
mod peer;
mod plan;
pub mod probe;
mod streams;
mod wire;

pub use counts::HubCounts;
pub use hub::Hub;
pub use plan::HubPlan;
pub use wire::Wire;
