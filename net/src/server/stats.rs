//! Counters of one core's connections and requests. Plain cells: one core writes and reads them.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What happened on one core since it started.
        #[derive(Debug, Default)]
        pub struct ConnectionStats {
            $($(#[$doc])* pub $name: Cell<u64>,)*
        }

        /// The values of [`ConnectionStats`] at one moment, to be sent to whoever adds the cores up.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ConnectionCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl ConnectionStats {
            /// The values now.
            #[must_use]
            pub fn counts(&self) -> ConnectionCounts {
                ConnectionCounts { $($name: self.$name.get(),)* }
            }
        }

        impl ConnectionCounts {
            /// Every value with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Adds another core's values.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)*
            }
        }
    };
}

counters! {
    /// connections accepted by this core's listeners
    accepted,
    /// of these, handed to a core with fewer connections
    handed_off,
    /// of these, closed at once: every core is at `connections_max`
    refused_at_connections_max,
    /// of these, closed at once: the remaining file descriptors are for the log
    refused_at_descriptors_max,
    /// times that the system could not accept a connection (out of descriptors or memory)
    accept_errors,
    /// connections open now on this core
    open,
    /// connections closed because the handshake did not end in time
    handshake_timeouts,
    /// connections closed because no first request came
    first_request_timeouts,
    /// connections closed because no further request came
    idle_timeouts,
    /// connections asked to go away for their age
    age_closes,
    /// connections closed because the peer gave no sign of life
    keepalive_timeouts,
    /// connections asked to go away that had to be cut off
    cut_off,
    /// connections ended by a violation of HTTP
    protocol_errors,
    /// connections ended by an error of the transport, such as a reset by the peer
    transport_errors,
    /// connections closed for too many control frames
    control_frame_floods,
    /// gRPC requests begun
    requests_grpc,
    /// plain HTTP requests begun
    requests_http,
    /// bytes of complete request bodies, as received
    request_body_bytes,
    /// requests answered by their head alone (unknown path, wrong method or type)
    requests_refused_by_head,
    /// requests over `request_bytes_max`
    requests_too_large,
    /// requests with an unknown content coding
    requests_unknown_encoding,
    /// requests with broken framing, or none
    requests_malformed,
    /// requests whose body did not arrive in time
    request_timeouts,
    /// requests given up by the peer before their end
    requests_abandoned,
    /// requests whose body waited for memory
    body_waits,
    /// requests refused at once, because too many others were open or waiting
    requests_without_room,
    /// requests given up because their body came too slowly while others waited for its memory
    requests_too_slow,
    /// replies that could not be delivered any more
    replies_undelivered,
    /// calls of the health service
    health_checks,
}

/// Adds one.
pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_named_and_added() {
        let stats = ConnectionStats::default();
        count(&stats.accepted);
        count(&stats.accepted);
        count(&stats.health_checks);
        let mut sum = stats.counts();
        sum.add(&stats.counts());
        let named = sum.named();
        assert!(named.contains(&("accepted", 4)) && named.contains(&("health_checks", 2)));
        assert_eq!(named.iter().map(|(_, value)| value).sum::<u64>(), 6);
    }
}
