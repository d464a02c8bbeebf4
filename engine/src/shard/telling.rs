//! What a shard in a cluster writes to other nodes: entries to owners, questions to those who may remember, rulings.

use crate::cluster::Cluster;
use crate::cluster::mail::Recipient;
use crate::route::shard_among;
use crate::vocabulary::Nanos;
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::message::{Header, Kind};
use tailwater_proto::cluster::{NodeId, ruling};

/// A trace has come onto the docket that others may have judged before this node owned it.
pub(super) fn ask_who_may_remember(cluster: &mut Cluster, now: Nanos, (fingerprint, hash): (u64, u64), entry: &Entry) {
    let nodes = cluster.who_may_remember(now, hash);
    if nodes.is_empty() {
        return;
    }
    let question = Entry { source: None, asks: true, is_relayed: true, ..entry.clone() };
    for node in nodes {
        write_entry(cluster, (node, fingerprint, hash), &question);
    }
}

/// Writes an entry to a member: its fingerprint is of the rules that it was gathered under.
pub(super) fn write_entry(cluster: &mut Cluster, (node, fingerprint, hash): (NodeId, u64, u64), entry: &Entry) {
    let Some(member) = cluster.view.member(node) else { return };
    let (shards, shard) = (member.shards, shard_among(hash, member.shards).0);
    let recipient = Recipient { node: Some(node), shards, shard, fingerprint, is_ruling: false };
    let header = Header { kind: Kind::Evidence, pipeline: cluster.plan.pipeline, fingerprint, shards, shard };
    let base = entry.facts.start_unix_nano;
    cluster.mail.write(recipient, header, base, |base, out| entry.put(base, out));
}

/// Writes a ruling to a member, or to all that have so many shards.
pub(super) fn write_ruling(
    cluster: &mut Cluster,
    (node, shards, fingerprint): (Option<NodeId>, u16, u64),
    told: &ruling::Ruling,
) {
    let shard = shard_among(told.hash, shards).0;
    let recipient = Recipient { node, shards, shard, fingerprint, is_ruling: true };
    let header = Header { kind: Kind::Rulings, pipeline: cluster.plan.pipeline, fingerprint, shards, shard };
    cluster.counts.rulings_sent += 1;
    cluster.mail.write(recipient, header, 0, |_, out| told.put(out));
}
