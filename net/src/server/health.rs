//! The gRPC health service, `grpc.health.v1.Health`: state, and the two messages by hand.
//!
//! ```text
//! HealthCheckRequest { 1: string service }      HealthCheckResponse { 1: enum status }
//! ```

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::broadcast::{Broadcast, Subscription};

/// The path of the unary call.
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";
/// The path of the streaming call.
pub(super) const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingStatus {
    /// `SERVING`, 1
    Up,
    /// `NOT_SERVING`, 2
    Down,
    /// `SERVICE_UNKNOWN`, 3, with `Watch` only
    Unknown,
}

impl ServingStatus {
    /// The response message.
    pub(super) fn message(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Up => b"\x08\x01",
            Self::Down => b"\x08\x02",
            Self::Unknown => b"\x08\x03",
        })
    }
}

/// What the health service of this core answers: for the whole server (the empty name) and for the services named.
/// Begins as not serving.
#[derive(Debug, Default)]
pub struct Health {
    serving: Cell<bool>,
    draining: Cell<bool>,
    services: RefCell<Vec<String>>,
    changed: Rc<Broadcast>,
}

impl Health {
    /// Names the services that exist, such as `opentelemetry.proto.collector.trace.v1.TraceService`.
    pub fn set_services(&self, services: impl IntoIterator<Item = impl Into<String>>) {
        *self.services.borrow_mut() = services.into_iter().map(Into::into).collect();
        self.changed.announce();
    }

    /// Says whether requests are welcome. While draining they are not, whatever is said here.
    pub fn set_serving(&self, serving: bool) {
        if self.serving.replace(serving) != serving {
            self.changed.announce();
        }
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving.get() && !self.draining.get()
    }

    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.changed.announce();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn status(&self, service: &str) -> ServingStatus {
        if !service.is_empty() && !self.services.borrow().iter().any(|known| known == service) {
            ServingStatus::Unknown
        } else if self.is_serving() {
            ServingStatus::Up
        } else {
            ServingStatus::Down
        }
    }

    pub(super) fn watch(&self) -> Subscription {
        self.changed.subscribe()
    }
}

/// The service that a `HealthCheckRequest` asks for; `None` if it is not such a message. Unknown fields are not looked
/// for: the message has had one field since it was published.
pub(super) fn service_asked_for(message: &[u8]) -> Option<&str> {
    match message {
        [] => Some(""),
        // Names up to 127 bytes have a length of one byte; longer ones do not exist here.
        [0x0a, length, name @ ..] if usize::from(*length) == name.len() && *length < 0x80 => {
            std::str::from_utf8(name).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_what_is_set_and_a_drain_is_final() {
        let health = Health::default();
        health.set_services(["a.B"]);
        assert_eq!(health.status(""), ServingStatus::Down);
        health.set_serving(true);
        assert_eq!([health.status(""), health.status("a.B")], [ServingStatus::Up; 2]);
        assert_eq!(health.status("a.C"), ServingStatus::Unknown);
        health.drain();
        health.set_serving(true);
        assert_eq!(health.status("a.B"), ServingStatus::Down);
    }

    #[test]
    fn the_request_message_is_read() {
        assert_eq!(service_asked_for(b""), Some(""));
        assert_eq!(service_asked_for(b"\x0a\x03a.B"), Some("a.B"));
        for bad in [&b"\x0a"[..], b"\x0a\x04a.B", b"\x0a\x02a.B", b"\x08\x01", b"\x0a\x01\xff"] {
            assert_eq!(service_asked_for(bad), None, "{bad:?}");
        }
    }
}
