//! Several nodes as one sampler: where they hear and find each other, what they trust each other by, and how long they wait
//! for one another.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{JoinName, ListenAddress};

/// This node among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Where datagrams of other nodes come in, over UDP; `None` for a node by itself.
    pub listen: Option<ListenAddress>,
    /// Where other nodes may be found, each name with all its addresses.
    pub join: Vec<JoinName>,
    /// The DNS server that is asked for services; `None` for those of the system.
    pub dns_server: Option<ListenAddress>,
    /// What others are told to send to, when that is not where this node listens. Port 0 is the port that it listens on.
    pub advertise: Option<ListenAddress>,
    /// Nodes of another name are strangers, whatever their key.
    pub name: String,
    /// File of the join keys, one a line. The first seals, all open.
    pub key_file: Option<PathBuf>,
    /// The join key, where there is no file of them.
    pub key: Option<Secret>,
    /// Without a key: let anyone join who reaches the port.
    pub allow_plaintext: bool,
    /// How long a change of what is known of a trace waits for more before its owner is told.
    pub evidence_delay: Duration,
    /// How long past its own deadline of a trace a node waits for the owner's verdict before it asks.
    pub answer_wait: Duration,
    /// How long past that deadline it waits for any owner before it judges alone.
    pub hold_max: Duration,
    /// Most traces that this node owes a verdict, as their owner. Set by `load` to what it may hold itself when not
    /// configured.
    pub docket_traces_max: u64,
    /// Most bytes of frames in a datagram.
    pub datagram_bytes_max: u64,
    /// How long changed rules wait until every node has them.
    pub rules_wait: Duration,
    /// How often the share of traces that pass may be halved on all nodes while this one is under pressure; 0 sheds none.
    pub shed_halvings_max: u64,
}

impl Cluster {
    /// Shortest key: what 32 random bytes have, which nobody guesses.
    pub const KEY_BYTES_MIN: usize = 32;

    /// What others are told to send to, before ports and names are known.
    #[must_use]
    pub fn advertised(&self) -> Option<&ListenAddress> {
        self.advertise.as_ref().or(self.listen.as_ref())
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            listen: None,
            join: Vec::new(),
            dns_server: None,
            advertise: None,
            name: "tailwater".to_string(),
            key_file: None,
            key: None,
            allow_plaintext: false,
            evidence_delay: Duration::from_millis(250),
            answer_wait: Duration::from_secs(1),
            hold_max: Duration::from_secs(10),
            // As many as a node holds itself.
            docket_traces_max: 1_000_000,
            // 1,340 bytes of payload with header and tag: one packet on every usual network, tunnels included.
            datagram_bytes_max: 1298,
            rules_wait: Duration::from_secs(30),
            shed_halvings_max: 0,
        }
    }
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_string())
    }

    /// The text, for whoever has a use for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}
