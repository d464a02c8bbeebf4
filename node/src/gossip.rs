//! The gossip thread: the node's end of the cluster. It drives the hub with a socket, a clock and what the cores say, and has
//! what others say taken to the cores. It has an executor of its own, so that nothing a core does makes the node look dead.
//!
//! ```text
//! cores == Told ==> hub == sealed datagrams ==> other nodes
//! cores <== Heard, Members == hub <== opened datagrams == other nodes
//! ```

pub mod asking;
mod finding;
mod told;
mod wire;

use self::asking::{Asked, Question, QuestionCounts, Questions};
use self::told::ToldByCores;
use self::wire::NodeWire;
use crate::core::Message;
use crate::identity::Identity;
use async_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tailwater_config::{Cluster, JoinName};
use tailwater_hub::{Hub, HubCounts, HubPlan};
use tailwater_net::datagram::{Keyring, Opener, Refusal, Sealer};
use tailwater_proto::cluster::view::{MEMBERS_MAX, Member};
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::{sleep, spawn};
use tailwater_runtime::mesh::MeshPort;
use tailwater_runtime::net::UdpSocket;

/// How often the hub is called while it knows others, and while it knows none.
const TICK_TOGETHER: Duration = Duration::from_millis(10);
const TICK_ALONE: Duration = Duration::from_millis(100);
/// Largest datagram that IP carries.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Pause after the network has refused something.
const NETWORK_PAUSE: Duration = Duration::from_millis(20);

/// What the gossip thread is made of.
pub struct Gossip {
    /// Who this node is.
    pub identity: Identity,
    /// What it and the others trust each other by.
    pub keyring: Keyring,
    /// Waits, bounds, and where others may be.
    pub settings: Cluster,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, if not there.
    pub advertise: Option<SocketAddr>,
    /// Its end of the mesh of each pipeline, with the hash of the pipeline's name.
    pub pipelines: Vec<(u64, MeshPort<Message>)>,
    /// Shards of the node.
    pub shards: u16,
    /// Seed of the hub's draws.
    pub seed: u64,
    /// What is told to others of this node.
    pub tags: Vec<u8>,
    /// What others may ask of the thread.
    pub shared: Shared,
    /// The way of what other nodes ask to the side thread.
    pub asked: Sender<Asked>,
    /// Told once it listens, dropped if it cannot.
    pub bound: Sender<()>,
}

/// What the thread is doing, for who asks.
#[derive(Debug, Clone, Default)]
pub struct GossipState {
    /// Where it listens.
    pub listens: Option<SocketAddr>,
    /// This node.
    pub own: Option<(NodeId, Incarnation)>,
    /// The members, with where they are and the round trip to them.
    pub members: Vec<(Member, Option<SocketAddr>, Option<Duration>)>,
    /// The cluster is full, and this node by itself.
    pub is_turned_away: bool,
    /// What the hub counts.
    pub counts: HubCounts,
    /// Datagrams that did not open, by reason.
    pub refused: Vec<(Refusal, u64)>,
    /// Datagrams that the network did not take.
    pub unsent: u64,
    /// Messages for cores that were of no pipeline here, or no messages.
    pub strange: u64,
    /// What is counted of questions about traces.
    pub questions: QuestionCounts,
}

/// What the gossip thread and others share.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<GossipState>>);

impl Shared {
    /// The state as of the last tick.
    pub fn get(&self) -> GossipState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: GossipState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// What the thread is asked.
pub enum Wish {
    /// To own nothing any more: the node is about to leave.
    Leave,
    /// To trust others by these from now on.
    Keys(Keyring),
    /// To ask all other nodes about a trace.
    Ask(Question),
    /// To tell another node what it has asked for.
    Answer(Asked, Vec<u8>),
    /// To be no member any more, and to end. Closed when it is done.
    End(Sender<()>),
}

/// Wishes that wait.
pub const WISHES_MAX: usize = 4;

/// The thread's state, shared by its tasks.
struct State {
    hub: RefCell<Hub>,
    wire: RefCell<NodeWire>,
    opener: RefCell<Opener>,
    told: RefCell<ToldByCores>,
    socket: UdpSocket,
    outgoing: (Sender<()>, Receiver<()>),
    shared: Shared,
    own: (NodeId, Incarnation),
    was_turned_away: Cell<bool>,
    payload_bytes_max: usize,
}

impl Gossip {
    /// Runs until it is asked to end.
    ///
    /// # Errors
    /// The socket cannot be had.
    pub async fn run(self, wishes: Receiver<Wish>) -> Result<(), String> {
        let Self { identity, keyring, settings, listen, advertise, pipelines, .. } = self;
        let Self { shards, seed, tags, shared, asked, bound, .. } = self;
        let socket = UdpSocket::bind(listen).map_err(|error| {
            format!("cluster.listen: cannot listen on udp {listen}: {error}; choose another address")
        })?;
        let address = advertise.map_or(socket.local_addr(), |mut advertise: SocketAddr| {
            if advertise.port() == 0 {
                advertise.set_port(socket.local_addr().port());
            }
            advertise
        });
        let own = (identity.node(), identity.incarnation());
        let datagram_bytes_max = usize::try_from(settings.datagram_bytes_max).unwrap_or(usize::MAX);
        let plan = HubPlan { datagram_bytes_max, tags, ..HubPlan::new(own.0, own.1, address, shards) };
        let payload_bytes_max = plan.payload_bytes_max();
        let questions = Questions::new(asked, payload_bytes_max);
        let sealer = Sealer::new(own, keyring.clone());
        let state = Rc::new(State {
            hub: RefCell::new(Hub::new(plan, seed)),
            wire: RefCell::new(NodeWire::new(sealer, pipelines, shards, questions)),
            opener: RefCell::new(Opener::new(own, keyring)),
            told: RefCell::default(),
            socket,
            outgoing: bounded(1),
            shared,
            own,
            was_turned_away: Cell::new(false),
            payload_bytes_max,
        });
        tracing::info!(node = %own.0, listens = %state.socket.local_addr(), tells = %address, "cluster");
        _ = bound.try_send(());
        spawn(state.clone().hear());
        spawn(state.clone().send());
        spawn(state.clone().take_told());
        spawn(state.clone().find(settings.join, settings.dns_server));
        state.tick_until_end(wishes).await;
        Ok(())
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_nanos())
}

impl State {
    /// Calls the hub, then has sent what it wants to be sent.
    fn with_hub<T>(&self, call: impl FnOnce(&mut Hub, Duration, &mut NodeWire) -> T) -> T {
        let result = call(&mut self.hub.borrow_mut(), now(), &mut self.wire.borrow_mut());
        if self.wire.borrow().has_datagrams() {
            _ = self.outgoing.0.try_send(());
        }
        result
    }

    async fn hear(self: Rc<Self>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok(received) = self.socket.receive_from(&mut buffer).await else {
                sleep(NETWORK_PAUSE).await;
                continue;
            };
            let Some(datagram) = buffer.get_mut(..received.bytes) else { continue };
            let mut opener = self.opener.borrow_mut();
            // Who cannot be understood is not answered; it is counted.
            if let Ok(opened) = opener.open(datagram) {
                let sender = (opened.sender, opened.incarnation);
                self.with_hub(|hub, now, wire| match opened.is_bound {
                    true => hub.hear(now, received.from, sender, opened.frames, wire),
                    false => hub.hear_unbound(now, received.from, sender, opened.frames, wire),
                });
            }
        }
    }

    async fn send(self: Rc<Self>) {
        while self.outgoing.1.recv().await.is_ok() {
            loop {
                let Some((address, datagram)) = self.wire.borrow_mut().take_datagram() else { break };
                let sent = self.socket.send_to(&datagram, address).await;
                self.wire.borrow_mut().note_sent(&sent);
            }
        }
    }

    async fn tick_until_end(self: Rc<Self>, wishes: Receiver<Wish>) {
        let mut told_at = Duration::ZERO;
        loop {
            self.with_hub(|hub, now, wire| hub.tick(now, wire));
            self.tell_again();
            self.wire.borrow_mut().questions.expire(now());
            if now() >= told_at {
                told_at = now() + Duration::from_millis(500);
                self.share();
            }
            while let Ok(wish) = wishes.try_recv() {
                match wish {
                    Wish::Leave => self.with_hub(|hub, now, wire| hub.set_leaving(now, wire)),
                    Wish::Keys(keyring) => {
                        self.wire.borrow_mut().replace_keys(keyring.clone());
                        self.opener.borrow_mut().replace(keyring);
                    }
                    Wish::Ask(question) => self.ask(question),
                    Wish::Answer(asked, text) => self.answer(&asked, &text),
                    Wish::End(done) => return self.end(done).await,
                }
            }
            let is_alone = self.hub.borrow().view().members().len() < 2;
            sleep(if is_alone { TICK_ALONE } else { TICK_TOGETHER }).await;
        }
    }

    async fn end(&self, done: Sender<()>) {
        self.with_hub(|hub, now, wire| hub.leave(now, wire));
        let end = now() + FAREWELL;
        while now() < end {
            self.with_hub(|hub, now, wire| hub.tick(now, wire));
            sleep(TICK_TOGETHER).await;
        }
        drop(done);
    }

    fn share(&self) {
        let hub = self.hub.borrow();
        let was_turned_away = self.was_turned_away.replace(hub.is_turned_away());
        if hub.is_turned_away() && !was_turned_away {
            tracing::warn!(
                members_max = MEMBERS_MAX,
                "the cluster is full: this node works by itself and judges what comes to it alone, and tries again every 30 s; \
                stop another node, or form a second cluster with a cluster.name of its own"
            );
        }
        let member = |member: &Member| (*member, hub.address(member.node), hub.round_trip(member.node));
        let (unsent, strange) = self.wire.borrow().counts();
        self.shared.set(GossipState {
            listens: Some(self.socket.local_addr()),
            own: Some(self.own),
            members: hub.view().members().iter().map(member).collect(),
            is_turned_away: hub.is_turned_away(),
            counts: hub.counts().clone(),
            refused: self.opener.borrow().refused().collect(),
            unsent,
            strange,
            questions: self.wire.borrow().questions.counts,
        });
        let view = hub.view().clone();
        self.opener.borrow_mut().retain(|node| view.member(node).is_some());
    }
}

/// How long a node that leaves says so.
const FAREWELL: Duration = Duration::from_millis(300);

/// The names of `cluster.join`.
type Names = Vec<JoinName>;

/// The state as `/api/v1/cluster` tells it.
pub fn told(state: &GossipState) -> Value {
    let members = state.members.iter().map(|(member, address, round_trip)| {
        json!({
            "node": member.node.to_string(),
            "incarnation": member.incarnation.0,
            "address": address.map(|address| address.to_string()),
            "shards": member.shards,
            "is_leaving": member.is_leaving,
            "round_trip_ms": round_trip.map(|wait| wait.as_secs_f64() * 1e3),
        })
    });
    json!({
        "node": state.own.map(|(node, _)| node.to_string()),
        "listens": state.listens.map(|address| address.to_string()),
        "is_turned_away": state.is_turned_away,
        "members": members.collect::<Vec<_>>(),
    })
}
