//! Membership as peers and a view: who comes gets a link and a stream, who goes keeps both for a while.

use super::{Hub, PEERS_MAX, own_member};
use crate::peer::Peer;
use crate::wire::Wire;
use rand::RngExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::view::{Member, View};

/// Who finds the cluster full within so long of meeting it is the one too many.
const JOINING: Duration = Duration::from_secs(10);
/// It tries again after so long: somebody may have gone.
const FULL_PAUSE: Duration = Duration::from_secs(30);

impl Hub {
    /// Takes over what has changed among the members.
    pub(super) fn refresh_view(&mut self, now: Duration, wire: &mut impl Wire) {
        let mut changed = self.members.take_changed();
        changed.extend(self.leaving.drain(..));
        if changed.is_empty() || self.farewells.is_some() {
            return;
        }
        let met_at = *self.met_at.get_or_insert(now);
        if self.members.live().len() >= self.plan.members_max && now < met_at + JOINING {
            self.stay_alone(now, wire);
            return;
        }
        if std::mem::take(&mut self.is_full) {
            // There may be room now for those that there was none for.
            changed.extend(self.members.live());
        }
        let stays = |member: &&Member| !changed.contains(&member.node);
        let mut members: Vec<Member> = self.view.members().iter().filter(stays).copied().collect();
        if changed.remove(&self.plan.node) {
            members.push(own_member(&self.plan));
        }
        // Who is a member stays one where there are too many.
        let (known, new): (Vec<_>, Vec<_>) = changed.into_iter().partition(|node| self.view.member(*node).is_some());
        for node in known.into_iter().chain(new) {
            let found = self.members.member(node);
            self.part(now, node, found.map(|(member, _)| member));
            let Some((member, address)) = found else { continue };
            if members.len() >= self.plan.members_max {
                self.counts.members_refused += 1;
                self.is_full = true;
                continue;
            }
            self.join(now, member, address);
            let is_leaving = self.peers.get(&member.node).is_some_and(|peer| peer.is_leaving);
            members.push(Member { is_leaving, ..member });
        }
        let view = self.view.followed_by(members);
        if view.members() != self.view.members() {
            self.view = Arc::new(view);
            wire.view(&self.view);
        }
    }

    /// The cluster is full.
    fn stay_alone(&mut self, now: Duration, wire: &mut impl Wire) {
        self.counts.members_refused += 1;
        self.counts.turned_away += 1;
        self.leave(now, wire);
        self.again_at = Some(now + FULL_PAUSE);
        self.view = Arc::new(View::new(self.view.number + 1, self.plan.node, vec![own_member(&self.plan)]));
        wire.view(&self.view);
    }

    /// There may be room in the cluster by now: this node is one that has met nobody, to be announced.
    pub(super) fn begin_again(&mut self, now: Duration) {
        (self.again_at, self.farewells, self.met_at) = (None, None, None);
        self.is_full = false;
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            peer.go(now);
            self.streams.close(now, peer.run);
            self.counts.members_gone += 1;
        }
        self.members.begin_again(self.rng.random());
    }

    /// Who is no longer among the members, or in another run, goes.
    fn part(&mut self, now: Duration, node: NodeId, found: Option<Member>) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_live()) else { return };
        if found.is_none_or(|member| member.incarnation != peer.run.1) {
            peer.go(now);
            self.streams.close(now, peer.run);
            self.counts.members_gone += 1;
        }
    }

    /// A member is there: for the first time, in a new run, or again.
    fn join(&mut self, now: Duration, member: Member, address: SocketAddr) {
        let run = (member.node, member.incarnation);
        if let Some(peer) = self.peers.get_mut(&member.node)
            && peer.run == run
        {
            peer.address = address;
            if peer.gone_at.take().is_some() {
                // It was not dead: what was told to it goes on, and what was said meanwhile it pulls.
                if std::mem::take(&mut peer.is_given_up) {
                    // It may not know this stream yet.
                    peer.since = peer.since.max(self.streams.own_low());
                }
                self.counts.members_joined += 1;
                self.counts.false_deaths += u64::from(!std::mem::take(&mut peer.has_left));
                self.streams.open(run);
                (peer.heard_at, peer.doubted_at, peer.report_at) = (now, None, now);
                self.peers_due = now;
            }
            return;
        }
        self.forget_one();
        self.epoch += 1;
        let mut peer = Peer::new(run, address, self.streams.next(), self.waits(), self.epoch, now);
        // Many that come at once are not all greeted in one moment.
        let spread = self.plan.gather_wait.as_micros().min(u128::from(u32::MAX));
        peer.report_at += Duration::from_micros(self.rng.random_range(0..=u64::try_from(spread).unwrap_or(u64::MAX)));
        self.peers_due = self.peers_due.min(peer.report_at);
        if let Some(former) = self.peers.insert(member.node, peer) {
            self.counts.told_given_up += former.link.unacknowledged();
        }
        self.streams.open(run);
        self.counts.members_joined += 1;
    }

    fn forget_one(&mut self) {
        if self.peers.len() < PEERS_MAX {
            return;
        }
        let gone = self.peers.iter().filter_map(|(node, peer)| Some((peer.gone_at?, *node))).min();
        if let Some(former) = gone.and_then(|(_, node)| self.peers.remove(&node)) {
            self.counts.told_given_up += former.link.unacknowledged();
        }
    }
}
