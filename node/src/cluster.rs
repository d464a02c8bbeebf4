//! What a node needs to be one of a cluster, prepared before anything runs: who it is, what it trusts the others by, where it
//! listens and how its hashes are seeded.

use crate::control::{Control, Cores};
use crate::gossip::asking::{Asked, asked};
use crate::gossip::{Gossip, GossipState, Shared, WISHES_MAX, Wish};
use crate::identity::{Identity, draw};
use crate::sockets::resolve;
use async_channel::{Receiver, Sender, bounded};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::{Cluster, Config};
use tailwater_engine::cluster::{ClusterPlan, pipeline_id};
use tailwater_engine::route::seed_of;
use tailwater_engine::vocabulary::Nanos;
use tailwater_net::datagram::Keyring;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, sleep, start, timeout};
use tailwater_runtime::{Backend, clock};
use thiserror::Error;

/// Why a node cannot be one of a cluster. It does not start.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The configuration asks for what cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Something on this machine is in the way.
    #[error("{0}")]
    Machine(String),
}

/// How long a node that leaves may take to say so.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether others have judged what it has.
const LEAVING_RECHECK: Duration = Duration::from_millis(50);

/// A node that is about to join a cluster.
pub struct Prepared {
    identity: Identity,
    keyring: Keyring,
    settings: Cluster,
    listen: SocketAddr,
    advertise: Option<SocketAddr>,
}

impl Prepared {
    /// Which node it is.
    pub fn node(&self) -> NodeId {
        self.identity.node()
    }
}

/// The gossip thread, once it runs.
pub struct GossipHandle {
    /// Its thread.
    pub thread: ExecutorHandle<Result<(), String>>,
    /// To ask it something.
    pub wishes: Sender<Wish>,
    /// What it does.
    pub shared: Shared,
    /// What other nodes ask of this one.
    pub asked: Receiver<Asked>,
}

impl GossipHandle {
    /// What it does, as of a moment ago.
    pub fn state(&self) -> GossipState {
        self.shared.get()
    }

    /// Has other nodes judge what lies here, which they own from now on; for half of `budget` at most. Nobody sends any more.
    pub async fn leave(&self, cores: &Cores, budget: Duration) {
        if self.state().members.len() < 2 {
            return;
        }
        cores.ask(|answer| Control::StopIntake(budget / 3, answer)).await;
        if self.wishes.send(Wish::Leave).await.is_err() {
            return;
        }
        let settled = timeout(budget / 2, async {
            while cores.snapshots().await.iter().any(|snapshot| snapshot.ledger.traces.pending > 0) {
                sleep(LEAVING_RECHECK).await;
            }
        });
        _ = settled.await;
    }

    /// Is no member any more, and says so.
    pub async fn part(&self) {
        let (done, is_done) = bounded::<()>(1);
        if self.wishes.send(Wish::End(done)).await.is_ok() {
            _ = timeout(FAREWELL_MAX, is_done.recv()).await;
        }
    }
}

/// Prepares what the configuration says; `None` for a node by itself.
pub fn prepare(config: &Config) -> Result<Option<Prepared>, ClusterError> {
    let settings = config.cluster.clone();
    let Some(listen) = &settings.listen else { return Ok(None) };
    let told = |key: &str, cause: String| ClusterError::Configuration(format!("{key}: {cause}"));
    let first = |key: &str, endpoint| {
        let found = resolve(endpoint).map_err(|cause| told(key, cause))?;
        found.first().copied().ok_or_else(|| told(key, "it has no address".into()))
    };
    let listen = first("cluster.listen", listen)?;
    let advertise = match &settings.advertise {
        None => None,
        // The address of a load balancer or a node port is not one of this machine's.
        Some(endpoint) => match endpoint.ip() {
            Some(ip) => Some(SocketAddr::new(ip, endpoint.port())),
            None => Some(first("cluster.advertise", endpoint)?),
        },
    };
    let keyring = keyring(&settings)?;
    let identity = Identity::of_directory(&config.node.data_directory, clock::unix_nanos(), draw())
        .map_err(|error| ClusterError::Machine(error.to_string()))?;
    if keyring.is_plaintext() {
        tracing::warn!(
            "cluster.allow_plaintext: whoever reaches {listen}/udp may join, read and write; set cluster.key_file"
        );
    }
    Ok(Some(Prepared { identity, keyring, settings, listen, advertise }))
}

/// The keys that the configuration names, or none.
pub fn keyring(settings: &Cluster) -> Result<Keyring, ClusterError> {
    let told = |key: &str, error: String| ClusterError::Configuration(format!("{key}: {error}"));
    if let Some(path) = &settings.key_file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            told("cluster.key_file", format!("cannot read {}: {error}; make it readable for this user", path.display()))
        })?;
        return Keyring::read(&settings.name, &text)
            .map_err(|error| told("cluster.key_file", format!("{}: {error}", path.display())));
    }
    match &settings.key {
        Some(key) => {
            Keyring::new(&settings.name, &[key.reveal()]).map_err(|error| told("cluster.key", error.to_string()))
        }
        // Checked when the configuration was read.
        None => Ok(Keyring::plaintext()),
    }
}

impl Prepared {
    /// The seed of the hashes: the same on all nodes, so that they agree on owners and know traces by their hashes.
    pub fn hash_seed(&self) -> [u64; 4] {
        seed_of(&self.settings.name)
    }

    /// The members before it has heard of others.
    pub fn alone(&self, shards: u16) -> Arc<View> {
        let (node, incarnation) = (self.identity.node(), self.identity.incarnation());
        let own = Member { node, incarnation, shards, is_leaving: false };
        Arc::new(View::new(1, node, vec![own]))
    }

    /// What the shards of a pipeline are to do, of which there are so many.
    pub fn plan(&self, pipeline: &str, shards: u16, docket_traces_max: u64) -> ClusterPlan {
        let Cluster {
            evidence_delay, answer_wait, hold_max, rules_wait, datagram_bytes_max, shed_halvings_max, ..
        } = self.settings;
        let nanos = |wait: Duration| Nanos(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        ClusterPlan {
            pipeline: pipeline_id(pipeline),
            evidence_delay: nanos(evidence_delay),
            answer_wait: nanos(answer_wait),
            hold_max: nanos(hold_max),
            rules_wait: nanos(rules_wait),
            docket_traces_max: size(docket_traces_max.div_ceil(u64::from(shards.max(1)))).max(1),
            shed_level_max: u8::try_from(shed_halvings_max).unwrap_or(u8::MAX),
            message_bytes_max: size(datagram_bytes_max).saturating_sub(MESSAGE_MARGIN_BYTES),
        }
    }

    /// Starts the gossip thread, and waits until it listens.
    pub fn start(
        self,
        core: Option<usize>,
        pipelines: Vec<(u64, tailwater_runtime::mesh::MeshPort<crate::core::Message>)>,
        shards: u16,
    ) -> Result<GossipHandle, String> {
        let shared = Shared::default();
        let (wishes, wished): (_, Receiver<Wish>) = bounded(WISHES_MAX);
        let (to_side, asked) = asked();
        let (bound, is_bound) = bounded(1);
        let Self { identity, keyring, settings, listen, advertise } = self;
        let (seed, tags) = (draw(), Vec::new());
        let state = shared.clone();
        let gossip = Gossip {
            identity,
            keyring,
            settings,
            listen,
            advertise,
            pipelines,
            shards,
            seed,
            tags,
            shared: state,
            asked: to_side,
            bound,
        };
        let options = ExecutorOptions { name: "gossip".into(), core, backend: Backend::Epoll };
        let thread = start(options, move || gossip.run(wished)).map_err(|error| error.to_string())?;
        match is_bound.recv_blocking() {
            Ok(()) => Ok(GossipHandle { thread, wishes, shared, asked }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                Ok(Ok(())) => Err("the gossip thread ended".into()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// What the hub puts around a message in a datagram.
const MESSAGE_MARGIN_BYTES: usize = 98;
