//! The cluster in the exposition, for a node that is in one.

use super::{Books, Page, Type, number};
use crate::control::Snapshot;
use crate::gossip::GossipState;
use crate::gossip::asking::QuestionCounts;
use serde_json::Value;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_hub::HubCounts;

/// A counter: its name without what all have, its help, and how to read it.
type Counter<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Counted by the shards.
const SHARDS: [Counter<ClusterCounts>; 22] = [
    ("evidence_sent", "Entries told to owners on other nodes.", |counts| counts.evidence_sent),
    ("evidence_asked", "Of them, those sent again because nothing was heard.", |counts| counts.evidence_asked),
    (
        "evidence_held_back",
        "Times that an entry could not be told because there was no room on the way to its owner.",
        |counts| counts.evidence_held_back,
    ),
    ("evidence_heard", "Entries heard.", |counts| counts.evidence_heard),
    (
        "evidence_timed",
        "Of them, those told because of a new span: tailwater_cluster_evidence_lag_seconds_total is of these.",
        |counts| counts.evidence_timed,
    ),
    ("evidence_foreign_rules", "Entries heard that were made under other rules: only their numbers count.", |counts| {
        counts.evidence_foreign_rules
    }),
    ("evidence_relayed", "Entries passed on to whom this node takes for the owner.", |counts| counts.evidence_relayed),
    ("evidence_stray", "Entries that came for another owner for the second time.", |counts| counts.evidence_stray),
    (
        "evidence_late",
        "Entries of traces that had been dropped without them: their node stood still, was cut off, or got the spans late.",
        |counts| counts.evidence_late,
    ),
    (
        "memories_asked",
        "Questions to nodes that may remember what came of a trace that this node owns now.",
        |counts| counts.memories_asked,
    ),
    ("judged", "Traces judged for the cluster.", |counts| counts.judged),
    ("docket_full", "Of them, those that were judged early because the docket was full.", |counts| counts.docket_full),
    ("rulings_sent", "Rulings said or told.", |counts| counts.rulings_sent),
    ("rulings_held_back", "Rulings that found no room on the way: whoever misses one asks.", |counts| {
        counts.rulings_held_back
    }),
    ("rulings_heard", "Rulings heard.", |counts| counts.rulings_heard),
    (
        "rulings_disobeyed",
        "Drops that were not obeyed, because they came from a node that does not own the trace.",
        |counts| counts.rulings_disobeyed,
    ),
    (
        "judged_alone",
        "Traces judged by what lies here alone, because no owner answered or because there was no room.",
        |counts| counts.judged_alone,
    ),
    (
        "judged_foreign_rules",
        "Traces judged although some of it had been told under other rules: what those meant is not in the verdict.",
        |counts| counts.judged_foreign_rules,
    ),
    (
        "judged_unremembered",
        "Traces judged whose owner before is gone, with what it remembered, or before this node has found any other: spans of them that came earlier may have had another verdict.",
        |counts| counts.judged_unremembered,
    ),
    ("torn", "Traces that one node dropped a part of and another kept.", |counts| counts.torn),
    ("malformed", "Messages that were no messages of this version, or ended early.", |counts| counts.malformed),
    ("standstills", "Times that this node stood still for so long that others may have taken it for dead.", |counts| {
        counts.standstills
    }),
];

/// Counted by the gossip thread.
const GOSSIP: [Counter<HubCounts>; 36] = [
    ("datagrams_heard", "Datagrams that were heard.", |counts| counts.datagrams_heard),
    ("datagrams_sent", "Datagrams that were sent.", |counts| counts.datagrams_sent),
    ("bytes_sent", "Bytes of frames that were sent.", |counts| counts.bytes_sent),
    ("swim_bytes_sent", "Bytes of frames that were sent for membership alone.", |counts| counts.swim_bytes_sent),
    ("frames_malformed", "Frames that could not be read.", |counts| counts.frames_malformed),
    ("frames_unknown", "Frames of a kind that this version does not know.", |counts| counts.frames_unknown),
    (
        "frames_from_strangers",
        "Frames of somebody who is not a live member, other than those by which one becomes a member.",
        |counts| counts.frames_from_strangers,
    ),
    ("hellos_refused", "Greetings of nodes that speak no version of the wire that this one does.", |counts| {
        counts.hellos_refused
    }),
    ("hellos_unanswered", "Greetings of strangers that were not answered since too many came at once.", |counts| {
        counts.hellos_unanswered
    }),
    (
        "frames_unbound",
        "Frames other than greetings and probes in datagrams that are for no run in particular: they count for nothing.",
        |counts| counts.frames_unbound,
    ),
    ("probes_heard", "Probes, such as of tailwater doctor.", |counts| counts.probes_heard),
    (
        "probes_unanswered",
        "Of them, those that too many came before, or that are smaller than their answer.",
        |counts| counts.probes_unanswered,
    ),
    ("twins_heard", "Datagrams of another process that has the same node id.", |counts| counts.twins_heard),
    ("members_joined", "Members that came.", |counts| counts.members_joined),
    ("members_gone", "Members that went, by themselves or since they were not heard.", |counts| counts.members_gone),
    ("members_doubted", "Members that were suspected since nothing was heard of them.", |counts| {
        counts.members_doubted
    }),
    ("members_refused", "Members that there was no room for, this node among them.", |counts| counts.members_refused),
    ("turned_away", "Times that this node found the cluster full and stayed alone.", |counts| counts.turned_away),
    (
        "false_deaths",
        "Times that this node took a member for dead that came back in the same run: it was not.",
        |counts| counts.false_deaths,
    ),
    ("rejoined", "Times that this node was taken for dead and came back.", |counts| counts.rejoined),
    ("told", "Payloads that were told to a member.", |counts| counts.told),
    ("told_refused", "Payloads that could not be told: the window is full, or the member is not one.", |counts| {
        counts.told_refused
    }),
    ("told_given_up", "Payloads that were told and not acknowledged when their member was given up.", |counts| {
        counts.told_given_up
    }),
    ("bundles_sent_again", "Bundles of told payloads that were sent again.", |counts| counts.bundles_sent_again),
    ("bundles_duplicate", "Bundles that came more than once.", |counts| counts.bundles_duplicate),
    ("payloads_too_long", "Payloads longer than a datagram has room for.", |counts| counts.payloads_too_long),
    ("said", "Payloads that were said to all.", |counts| counts.said),
    ("said_heard", "Said payloads of others that were taken.", |counts| counts.said_heard),
    ("said_repaired", "Of them, those that another member gave because they had not come.", |counts| {
        counts.said_repaired
    }),
    ("said_duplicate", "Said payloads that came more than once.", |counts| counts.said_duplicate),
    ("said_missed", "Said payloads of others that never came and are no longer asked for.", |counts| {
        counts.said_missed
    }),
    ("deliveries_refused", "Payloads that there was no room for when they came.", |counts| counts.deliveries_refused),
    ("ranges_pulled", "Ranges of said payloads that were asked for.", |counts| counts.ranges_pulled),
    ("pushed", "Said payloads that were given to others that asked.", |counts| counts.pushed),
    (
        "ranges_held_back",
        "Ranges that were asked of this node and not given whole: the bound of what is given was reached.",
        |counts| counts.ranges_held_back,
    ),
    (
        "remembered_evicted",
        "Remembered payloads that went before their time: the bound of their bytes was reached.",
        |counts| counts.remembered_evicted,
    ),
];

/// Counted of questions about traces.
const QUESTIONS: [Counter<QuestionCounts>; 5] = [
    ("questions_asked", "Questions about traces to other nodes, for who asked this one.", |counts| counts.asked),
    ("questions_heard", "Questions about traces of other nodes.", |counts| counts.heard),
    ("questions_passed_over", "Of them, those that too many waited before.", |counts| counts.passed_over),
    ("answers_heard", "Answers of other nodes.", |counts| counts.answers_heard),
    ("questions_unanswered", "Questions that another node did not answer within a second.", |counts| counts.unanswered),
];

/// All that is counted, by the names of the metrics without what they have in common, summed over pipelines.
pub fn counted(snapshots: &[Snapshot], gossip: &GossipState) -> serde_json::Map<String, Value> {
    let mut shards = ClusterCounts::default();
    snapshots.iter().filter_map(|core| core.cluster.as_ref()).for_each(|cluster| shards.add(&cluster.counts));
    let of_gossip = GOSSIP.iter().map(|(name, _, read)| (*name, read(&gossip.counts)));
    let of_questions = QUESTIONS.iter().map(|(name, _, read)| (*name, read(&gossip.questions)));
    let all = shards.list().into_iter().chain(of_gossip).chain(of_questions);
    all.map(|(name, count)| (name.to_string(), count.into())).collect()
}

/// The families of the cluster.
pub(super) fn cluster(page: &mut Page, books: &[Books<'_>], gossip: Option<&GossipState>) {
    let Some(gossip) = gossip else { return };
    let members = u64::try_from(gossip.members.len()).unwrap_or(u64::MAX);
    let help = "Members of the cluster as this node sees them, itself among them.";
    page.single("tailwater_cluster_members", Type::Gauge, help, number(members));
    let docket = |books: &Books<'_>| books.total(|core| core.cluster.map_or(0, |cluster| cluster.docket_traces));
    page.each("tailwater_cluster_docket_traces", Type::Gauge, "Traces that this node is to judge.", books, docket);
    let help = "Messages of shards that were lost on the way to the gossip thread: who misses a ruling asks.";
    let lost = |books: &Books<'_>| books.total(|core| core.cluster.map_or(0, |cluster| cluster.told_lost));
    page.each("tailwater_cluster_told_lost_total", Type::Counter, help, books, lost);
    for (name, help, read) in SHARDS {
        let sum = |books: &Books<'_>| {
            let clusters = books.snapshots.iter().filter_map(|core| core.cluster.as_ref());
            number(clusters.map(|cluster| read(&cluster.counts)).sum())
        };
        page.each(&format!("tailwater_cluster_{name}_total"), Type::Counter, help, books, sum);
    }
    let help = "From the latest span of those entries to their being told, summed; on the way they are for a round trip besides.";
    let lag = |books: &Books<'_>| {
        let clusters = books.snapshots.iter().filter_map(|core| core.cluster.as_ref());
        number(clusters.map(|cluster| cluster.counts.evidence_lag_ms).sum()) / 1e3
    };
    page.each("tailwater_cluster_evidence_lag_seconds_total", Type::Counter, help, books, lag);
    for (name, help, read) in GOSSIP {
        let name = format!("tailwater_cluster_{name}_total");
        page.single(&name, Type::Counter, help, number(read(&gossip.counts)));
    }
    let help = "Datagrams that did not open: not sealed by a key of this cluster, or not for this run, or not for the first time.";
    let refused =
        gossip.refused.iter().map(|(reason, count)| (vec![("reason", reason.name().to_owned())], number(*count)));
    page.family("tailwater_cluster_datagrams_refused_total", Type::Counter, help, refused);
    let help = "Datagrams that the network of this machine did not take.";
    page.single("tailwater_cluster_datagrams_unsent_total", Type::Counter, help, number(gossip.unsent));
    let help = "Messages of other nodes for no pipeline of this one, and views that a core had no room for.";
    page.single("tailwater_cluster_messages_stray_total", Type::Counter, help, number(gossip.strange));
    for (name, help, read) in QUESTIONS {
        page.single(&format!("tailwater_cluster_{name}_total"), Type::Counter, help, number(read(&gossip.questions)));
    }
}
