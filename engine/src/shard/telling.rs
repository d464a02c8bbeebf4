//! What a shard in a cluster writes to other nodes: entries to owners, questions to those who may remember, rulings.

use crate::cluster::Cluster;
use crate::cluster::mail::{Mail, Recipient};
use crate::route::shard_among;
use crate::vocabulary::Nanos;
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::message::Kind;
use tailwater_proto::cluster::view::Member;
use tailwater_proto::cluster::{NodeId, ruling};
use tailwater_proto::otlp::wire::put_varint;

/// A trace has come onto the docket that others may have judged before this node owned it.
pub(super) fn ask_who_may_remember(cluster: &mut Cluster, now: Nanos, entry: u32) {
    if cluster.is_long_settled(now) {
        return;
    }
    let hash = cluster.docket.get(entry).hash;
    let nodes = cluster.who_may_remember(now, hash);
    ask(cluster, hash, &nodes);
    cluster.docket.note_asked(entry, nodes, None);
}

/// Asks nodes what they remember of a trace: each answers, if it is nothing.
pub(super) fn ask(cluster: &mut Cluster, hash: u64, nodes: &[NodeId]) {
    for node in nodes {
        let Some(member) = cluster.view.member(*node) else { continue };
        let (shards, shard) = (member.shards, shard_among(hash, member.shards).0);
        let recipient = Recipient { node: Some(*node), shards, shard, fingerprint: 0, kind: Kind::Memories };
        cluster.counts.memories_asked += 1;
        cluster.mail.write(recipient, 0, |_, out| out.extend_from_slice(&hash.to_le_bytes()));
    }
}

/// Writes an entry to a member: its fingerprint is of the rules that it was gathered under.
#[inline]
pub(super) fn write_entry(mail: &mut Mail, to: &Member, (fingerprint, hash): (u64, u64), entry: &Entry) {
    let (shards, shard) = (to.shards, shard_among(hash, to.shards).0);
    let recipient = Recipient { node: Some(to.node), shards, shard, fingerprint, kind: Kind::Evidence };
    mail.write(recipient, entry.facts.start_unix_nano, |base, out| entry.put(base, out));
}

/// Says to all members how much this node wants to shed and what holds for traces under way, and what wanted to pass the limits of the rules of that fingerprint:
/// to each of their shards, however many.
pub(super) fn write_load(cluster: &mut Cluster, fingerprint: u64, ([level, lately], demand): ([u8; 2], &[u64])) {
    let recipient = Recipient { node: None, shards: 0, shard: 0, fingerprint, kind: Kind::Load };
    cluster.mail.write(recipient, 0, |_, out| {
        out.extend_from_slice(&[level, lately]);
        demand.iter().for_each(|demand| put_varint(out, *demand));
    });
}

/// Writes a ruling to a member, or to all that have so many shards.
pub(super) fn write_ruling(
    cluster: &mut Cluster,
    (node, shards, fingerprint): (Option<NodeId>, u16, u64),
    told: &ruling::Ruling,
) {
    let shard = shard_among(told.hash, shards).0;
    cluster.counts.rulings_sent += 1;
    let recipient = Recipient { node, shards, shard, fingerprint, kind: Kind::Rulings };
    cluster.mail.write(recipient, 0, |_, out| told.put(out));
}
