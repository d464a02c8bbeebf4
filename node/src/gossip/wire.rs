//! The hub's seam to the world: datagrams are sealed and queued, what was said is given to the cores that it is for.

use super::asking::Questions;
use crate::core::Message;
use crate::core::peers::port;
use crate::numbers::CoreNumber;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use tailwater_hub::Wire;
use tailwater_net::datagram::{Keyring, Sealer};
use tailwater_proto::cluster::message::Header;
use tailwater_proto::cluster::question::Asking;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_runtime::clock::unix_nanos;
use tailwater_runtime::mesh::MeshPort;
use tailwater_runtime::net::Sent;

/// Datagrams that wait for the socket.
/// At the bound: new ones are dropped, as the network drops them, and counted; what matters comes again.
const DATAGRAMS_MAX: usize = 4_096;

/// The seam.
pub(super) struct NodeWire {
    sealer: Sealer,
    datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    pipelines: Vec<(u64, MeshPort<Message>)>,
    shards: u16,
    unsent: u64,
    strange: u64,
    members: Vec<Member>,
    pub(super) questions: Questions,
}

impl NodeWire {
    pub(super) fn new(
        sealer: Sealer,
        pipelines: Vec<(u64, MeshPort<Message>)>,
        shards: u16,
        questions: Questions,
    ) -> Self {
        let (datagrams, members) = (VecDeque::new(), Vec::new());
        Self { sealer, datagrams, pipelines, shards, unsent: 0, strange: 0, members, questions }
    }

    pub(super) fn replace_keys(&mut self, keyring: Keyring) {
        self.sealer.replace(keyring);
    }

    pub(super) fn has_datagrams(&self) -> bool {
        !self.datagrams.is_empty()
    }

    pub(super) fn take_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.datagrams.pop_front()
    }

    pub(super) fn note_sent(&mut self, sent: &Sent) {
        self.unsent += u64::from(!matches!(sent, Sent::Whole));
    }

    /// Datagrams that nobody took, and messages that are for nobody here.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.unsent, self.strange)
    }

    /// A message was for nobody, or for no datagram.
    pub(super) fn note_strange(&mut self) {
        self.strange += 1;
    }

    /// The next message of a core.
    pub(super) fn take_told(&self) -> Option<Message> {
        self.pipelines.iter().find_map(|(_, port)| port.try_receive())
    }

    /// The ends of the meshes.
    pub(super) fn ports(&self) -> impl Iterator<Item = &MeshPort<Message>> {
        self.pipelines.iter().map(|(_, port)| port)
    }
}

impl NodeWire {
    /// Says who came and who went.
    fn log_change(&mut self, view: &View) {
        let before = std::mem::replace(&mut self.members, view.members().to_vec());
        let members = self.members.len();
        let is_in = |list: &[Member], one: &Member| list.iter().any(|other| other.node == one.node);
        for member in self.members.iter().filter(|member| !is_in(&before, member) && member.node != view.own) {
            tracing::info!(node = %member.node, members, "a node has joined the cluster");
        }
        for member in before.iter().filter(|member| !is_in(&self.members, member)) {
            tracing::info!(node = %member.node, members, "a node has left the cluster, or is not heard any more");
        }
    }
}

impl Wire for NodeWire {
    fn send(&mut self, address: SocketAddr, to: Option<(NodeId, Incarnation)>, frames: &[u8]) {
        let mut datagram = Vec::with_capacity(frames.len() + tailwater_net::datagram::OVERHEAD_BYTES);
        if self.datagrams.len() >= DATAGRAMS_MAX || self.sealer.seal(to, frames, &mut datagram).is_err() {
            self.unsent += 1;
            return;
        }
        self.datagrams.push_back((address, datagram));
    }

    fn deliver(&mut self, from: (NodeId, Incarnation), payload: &[u8]) -> bool {
        if let Ok(Some(asking)) = Asking::read(payload) {
            self.questions.hear(super::now(), from.0, &asking);
            return true;
        }
        let header = Header::read(payload).ok().map(|(header, _)| header);
        let named = |header: &Header| self.pipelines.iter().find(|(pipeline, _)| *pipeline == header.pipeline);
        let Some((header, (_, mesh))) = header.and_then(|header| Some((header, named(&header)?))) else {
            self.strange += 1;
            return true;
        };
        let message: Arc<[u8]> = payload.into();
        let is_for = |core: CoreNumber| header.shards != self.shards || core.shard().0 == header.shard;
        let cores = CoreNumber::all(self.shards).filter(|core| is_for(*core));
        // A core that has it already has it twice, which changes nothing.
        let mut is_taken = true;
        for core in cores {
            is_taken &= mesh.try_send(port(core), Message::Heard(from, message.clone())).is_ok();
        }
        is_taken
    }

    fn unix_ms(&self) -> u64 {
        unix_nanos() / 1_000_000
    }

    fn view(&mut self, view: &Arc<View>) {
        self.log_change(view);
        for (_, mesh) in &self.pipelines {
            for core in CoreNumber::all(self.shards) {
                // A core that takes nothing for so long has missed a view; the next change, or the next second, brings it.
                if mesh.try_send(port(core), Message::Members(view.clone())).is_err() {
                    self.strange += 1;
                }
            }
        }
    }
}
