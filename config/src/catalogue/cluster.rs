//! The knobs of a node among others: `cluster.` in the file.

use std::time::Duration;

use super::node::{ENTRIES, from_to};
use super::{Key, Kind, Slot};
use crate::draft::Draft;

const fn between(min_millis: u64, max_seconds: u64) -> Kind {
    Kind::Duration { min: Duration::from_millis(min_millis), max: Duration::from_secs(max_seconds) }
}

/// Most frames that fit into a datagram of UDP over IPv4, less header and tag.
const DATAGRAM_BYTES_MAX: u64 = 65_465;
/// What fits into the smallest packet that IPv6 promises.
const DATAGRAM_BYTES_MIN: u64 = 1190;

/// Past ten halvings a thousandth passes: then something else is wrong.
const SHED_HALVINGS_MAX: u64 = 10;

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "cluster.listen",
        Kind::Address,
        |d| Slot::OptionalAddress(&mut d.config.cluster.listen),
        "UDP address for datagrams of the other nodes, such as `10.0.0.1:7946`. `none` for a node by itself; then no other key of `cluster` has an effect.",
    ),
    Key::<Draft>::new(
        "cluster.join",
        Kind::Addresses,
        |d| Slot::Addresses(&mut d.config.cluster.join),
        "Where other nodes may be found, one that is up suffices. A name stands for all its addresses, such as those of a headless service, and is looked up again every 10 s. `dnssrv+NAME` stands for the hosts and ports of the SRV records of a name, such as `dnssrv+_tailwater._udp.tailwater`. This node's own address may be among them.",
    ),
    Key::<Draft>::new(
        "cluster.dns_server",
        Kind::Address,
        |d| Slot::OptionalAddress(&mut d.config.cluster.dns_server),
        "DNS server that is asked for the SRV records of `cluster.join`, such as `127.0.0.1:8600` of Consul. `none` is those of `/etc/resolv.conf`.",
    ),
    Key::<Draft>::new(
        "cluster.advertise",
        Kind::Address,
        |d| Slot::OptionalAddress(&mut d.config.cluster.advertise),
        "What other nodes are told to send to. Port 0 is the port that is listened on. `none` is the address of `cluster.listen`, which can't be told where it is `0.0.0.0` or `[::]`: then write the address that others reach this node by, such as the pod's.",
    ),
    Key::<Draft>::new(
        "cluster.name",
        Kind::Text,
        |d| Slot::Text(&mut d.config.cluster.name),
        "Name of the cluster, the same on all of its nodes. Nodes of another name are strangers, also with the same key.",
    ),
    Key::<Draft>::new(
        "cluster.key_file",
        Kind::Path,
        |d| Slot::OptionalPath(&mut d.config.cluster.key_file),
        "File of the keys that nodes know each other by, one a line of at least 32 bytes, such as `openssl rand -base64 32` prints. The first seals, all open. To replace a key write the new one behind the old one on every node, then before it on every node; the old one may go after that. The file is read again at a reload; which file it is takes a restart.",
    ),
    Key::<Draft>::new(
        "cluster.key",
        Kind::Secret,
        |d| Slot::Secret(&mut d.config.cluster.key),
        "The key itself, in place of `cluster.key_file`, at least 32 bytes. Never printed. Write it as the variable: who may list processes sees flags.",
    ),
    Key::<Draft>::new(
        "cluster.allow_plaintext",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.cluster.allow_plaintext),
        "Without a key: who reaches the port may join, read and write. For trying things out.",
    ),
    Key::<Draft>::new(
        "cluster.evidence_delay",
        between(10, 60),
        |d| Slot::Duration(&mut d.config.cluster.evidence_delay),
        "How long news of a trace wait for more before its owner is told. Longer is fewer datagrams; what comes later than this before the verdict is not in it.",
    ),
    Key::<Draft>::new(
        "cluster.answer_wait",
        between(100, 60),
        |d| Slot::Duration(&mut d.config.cluster.answer_wait),
        "How long a node waits for the owner's verdict, from when it would have judged the trace itself, before it asks for it.",
    ),
    Key::<Draft>::new(
        "cluster.hold_max",
        between(100, 3600),
        |d| Slot::Duration(&mut d.config.cluster.hold_max),
        "How long a node holds a trace for a verdict, from when it would have judged the trace itself, while no owner answers. Then it judges alone.",
    ),
    Key::<Draft>::new(
        "cluster.docket_traces_max",
        ENTRIES,
        |d| Slot::Count(&mut d.config.cluster.docket_traces_max),
        "Most traces that this node is to judge for the cluster, in equal parts on its shards. At the bound the trace due next is judged early. `0` takes as many as it may hold itself.",
    )
    .default("the sum of num_traces"),
    Key::<Draft>::new(
        "cluster.datagram_bytes_max",
        from_to(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX),
        |d| Slot::Count(&mut d.config.cluster.datagram_bytes_max),
        "Most bytes in a datagram before 42 are added for its seal, and 28 (IPv6: 48) for UDP and IP. Datagrams are never fragmented: what is larger than the network takes is lost.",
    ),
    Key::<Draft>::new(
        "cluster.rules_wait",
        between(0, 3600),
        |d| Slot::Duration(&mut d.config.cluster.rules_wait),
        "How long changed rules wait until every node has them, so that no trace is judged by two sets of rules. Then those that have them go ahead.",
    ),
    Key::<Draft>::new(
        "cluster.shed_halvings_max",
        from_to(0, SHED_HALVINGS_MAX),
        |d| Slot::Count(&mut d.config.cluster.shed_halvings_max),
        "While this node holds senders back: how often the share of traces that pass may be halved, on all nodes alike, until it need not any more. `3` lets an eighth through at least. `0` sheds nothing: senders are held back, then refused.",
    ),
];
