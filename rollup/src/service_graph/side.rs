//! One side of an edge: what a span says of its service. Spans that say the same share a side.

use super::Plan;
use crate::span_metrics::series::{self, put_attribute, put_text};
use tailwater_proto::otlp::check::AnyValue;

/// What an end is: a client or a server, of what kind, with which outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits(u8);

impl Traits {
    /// The one that asks.
    pub const CLIENT: Self = Self(1);
    /// By way of messages: a producer or a consumer.
    pub const MESSAGING: Self = Self(2);
    /// It has an error.
    pub const FAILED: Self = Self(4);
    /// It asks a database.
    pub const DATABASE: Self = Self(8);
    /// Nobody asks: a server without a parent.
    pub const ROOT: Self = Self(16);
    /// It was paired, and waits on for others.
    pub const ANSWERED: Self = Self(32);
    /// What tells sides apart.
    pub const OF_SIDE: Self = Self(1 | 8);

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn with(self, other: Self, is_so: bool) -> Self {
        if is_so { Self(self.0 | other.0) } else { self }
    }

    pub fn only(self, other: Self) -> u8 {
        self.0 & other.0
    }

    /// Whether it waits for nobody.
    pub fn is_alone(self) -> bool {
        self.has(Self::DATABASE) || self.has(Self::ROOT)
    }
}

/// What spans say of one side.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Of all the rest, by the node's seed: the same on all cores.
    pub hash: u64,
    /// What tells it apart.
    pub key: Box<[u8]>,
    pub service: Box<[u8]>,
    /// Of a client: the database that it asks, or else whoever it says that it asks; empty where it says nothing.
    pub other: Box<[u8]>,
    /// Its dimensions, as names of series have attributes.
    pub dimensions: Box<[u8]>,
}

/// How two services are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    Direct,
    Messaging,
    Database,
    Virtual,
}

impl Connection {
    const fn label(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Messaging => "messaging_system",
            Self::Database => "database",
            Self::Virtual => "virtual_node",
        }
    }
}

/// What a row counts. Names of rows begin with it, so that those that are told together are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Class {
    /// Requests that went well.
    Fine = 0,
    /// Requests of which an end has an error.
    Failed = 1,
    /// Ends without another.
    Unpaired = 2,
    /// Ends that there was no room for.
    Dropped = 3,
}

impl Class {
    pub fn byte(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Unpaired => 2,
            Self::Dropped => 3,
        }
    }

    /// What a row of that name counts.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        [Self::Fine, Self::Failed, Self::Unpaired, Self::Dropped]
            .into_iter()
            .find(|class| name.first() == Some(&class.byte()))
    }
}

/// Whoever asks a server without a parent, as the connector calls it.
const USER: &[u8] = b"user";
/// Whoever is asked by a client that does not say whom it asks.
const UNKNOWN: &[u8] = b"unknown";

/// Bytes of a row's name before the name of its series: its class.
pub(super) const CLASS_BYTES: usize = 1;

/// What a row is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'a> {
    pub class: Class,
    pub connection: Connection,
    pub client: Option<&'a Side>,
    pub server: Option<&'a Side>,
}

impl Edge<'_> {
    /// Its name: the class, then as names of series are.
    pub fn name(self, plan: &Plan) -> Box<[u8]> {
        let mut point = Vec::new();
        let is_edge = matches!(self.class, Class::Fine | Class::Failed);
        let asked = |client: &Side| if client.other.is_empty() { UNKNOWN.to_vec() } else { client.other.to_vec() };
        let (client, server) = match (self.client, self.server) {
            (Some(client), None) if is_edge => (Some(client.service.to_vec()), Some(asked(client))),
            (None, Some(server)) if is_edge => (Some(USER.to_vec()), Some(server.service.to_vec())),
            (client, server) => {
                let service = |side: &Side| side.service.to_vec();
                (client.map(service), server.map(service))
            }
        };
        for (key, service) in [("client", client), ("server", server)] {
            if let Some(service) = service {
                put_text(&mut point, key, &service);
            }
        }
        put_text(&mut point, "connection_type", self.connection.label().as_bytes());
        if is_edge {
            put_attribute(&mut point, b"failed", &AnyValue::Boolean(self.class == Class::Failed));
            if plan.has_virtual_node_label {
                let label = match (self.connection, self.client) {
                    (Connection::Virtual, None) => "client",
                    (Connection::Virtual, Some(_)) => "server",
                    _ => "",
                };
                put_text(&mut point, "virtual_node", label.as_bytes());
            }
            for side in [self.client, self.server].into_iter().flatten() {
                point.extend_from_slice(&side.dimensions);
            }
        }
        named(self.class, plan, point)
    }
}

/// The name of the row of a class for what is past the bound.
pub(super) fn overflow(class: Class, plan: &Plan) -> Box<[u8]> {
    let mut point = Vec::new();
    put_attribute(&mut point, b"otel.metric.overflow", &AnyValue::Boolean(true));
    named(class, plan, point)
}

fn named(class: Class, plan: &Plan, mut point: Vec<u8>) -> Box<[u8]> {
    if let Some(id) = &plan.instance_id {
        put_text(&mut point, "collector.instance.id", id.as_bytes());
    }
    let mut name = vec![class.byte()];
    name.extend_from_slice(&series::name(series::shape(&plan.durations), &[], &point));
    name.into()
}
