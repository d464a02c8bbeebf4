"""What happens to the nodes while spans come to all of them, and what has to come out."""

import signal
import time
from collections import Counter

from network import SINK
from processes import CONFIGURATION, MARKED, Broken, Generator, Node, Sink, note, until, verify

NODES = 3
# Seconds of a trace's wait; nodes that are away come back within it, but for those that stand still or are cut off.
WAIT, WAIT_SHORT = 6, 3
# Of datagrams so many are lost (a share), the others so late (seconds, from and to).
WEATHER = ((0.1, (0.0, 0.02)), (0.2, (0.02, 0.08)), (0.3, (0.05, 0.2)))
WEATHER_SHORT = ((0.2, (0.01, 0.05)),)
# Counters that say why a trace may be in pieces: nodes had different verdicts, or did not hear of the others.
EXCUSES = ("torn", "judged_alone", "judged_unremembered", "evidence_late")
# And what else is shown.
SHOWN = (*EXCUSES, "rejoined", "members_gone", "standstills", "said_missed", "told_given_up", "bundles_sent_again")


class Cluster:
    """Nodes with their sinks, and what was found in each phase of a part."""

    def __init__(self, part, around, with_delay=False, wait=None, policies=MARKED, configure=None):
        self.part, self.around, self.network = part, around, around.network
        self.addresses = self.network.begin(with_delay)
        self.wait = wait or (WAIT_SHORT if around.is_short else WAIT)
        self.nodes, self.sinks, self.rows, self.fault = [], [], [], None
        for number in range(NODES):
            file = around.directory / f"node-{number}.yaml"
            usual = CONFIGURATION.format(wait=self.wait, policies=policies, judged=self.sink(number), all=self.sink(NODES))
            file.write_text(configure(number) if configure else usual)
            self.nodes.append(Node(number, around, self.addresses, file))

    def sink(self, number):
        return f"{self.network.own_address()}:{SINK + number}"

    def __enter__(self):
        try:
            for node in self.nodes:
                node.start()
            self.until_together()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        self.network.heal()
        for child in [*self.nodes, *self.sinks, *([self.fault] if self.fault else [])]:
            child.discard()

    def until_together(self):
        for node in self.nodes:
            until(lambda node=node: node.members() == NODES, f"{node.name} does not know the others", [node])

    def settle(self):
        """All is judged and gone, and all know one another."""
        for node in self.nodes:
            until(lambda node=node: node.is_settled(NODES), f"spans are still pending on {node.name}", [node])

    def counters(self):
        return sum((node.counters() for node in self.nodes), Counter())

    def phase(self, name, seconds, happen=lambda: None, is_connected=True):
        """Load of so many seconds on all nodes, and what happens meanwhile; then what came of it."""
        before, received = self.counters(), [node.received() for node in self.nodes]
        self.sinks = [Sink(f"{number}", self.around, self.sink(number)) for number in range(NODES + 1)]
        generator = self.fault = Generator(self.part, self.around, [node.address for node in self.nodes], seconds,
                                           self.around.rate)
        # It connects once it has made what it sends.
        until(lambda: any(node.received() > had for node, had in zip(self.nodes, received)), "nothing comes", self.nodes)
        happen()
        sent = generator.wait()
        self.fault = None
        self.settle()
        for sink in self.sinks:
            sink.end()
        row = judged(self.around, generator, self.sinks, sent)
        self.sinks = []
        counters = self.counters()
        counters.subtract(before)
        row.update(part=f"{self.part}: {name}", counters={name: int(counters[name]) for name in SHOWN})
        row["faults"] = faults(row, is_connected)
        self.rows.append(row)
        note(words(row))

    # -- what happens ------------------------------------------------------------------------------------------------------

    def kill(self, number):
        """The process is gone at once, and starts again with its log."""
        node = self.nodes[number]
        node.remember()
        node.process.kill()
        node.process.wait()
        node.start()

    def restart(self, number):
        node = self.nodes[number]
        node.must_live()
        # Its counters are read as late as can be: what it counts while it ends is lost.
        node.remember()
        status = node.end()
        if status != 0:
            raise Broken(f"{node.name} ended with {status}:\n{node.said()[-2000:]}")
        node.start()
        self.until_together()


def judged(around, generator, sinks, sent):
    """What came of what was sent: by `verify` over the sinks of all nodes, and of the pipeline that keeps everything."""
    verdict = verify(around, generator, sinks[:NODES])
    keep, unsure = generator.demanded()
    kept = sinks[NODES].traces()
    lost = sum(spans - len(kept.get(trace, (0, ()))[1]) for trace, spans in keep.items())
    lost += sum(expected - len(spans) for trace, (expected, spans) in kept.items() if trace not in keep and trace not in unsure)
    return {"acknowledged": sent["acked"], "unsent": sent["refused"] + sent["unsent"], "demanded": verdict["demanded"],
            "missing": verdict["missing"]["count"], "partial": verdict["partial"]["count"],
            "twice": verdict["duplicates"]["count"], "unsure": verdict["unsure"], "lost": lost,
            "listed": verdict["partial"]["listed"][:3] + verdict["missing"]["listed"][:3]}


def faults(row, is_connected):
    """What must not be."""
    found = []
    if row["acknowledged"] == 0 or row["demanded"] == 0:
        found.append("nothing was sent, or nothing demanded")
    if row["lost"]:
        found.append(f"{row['lost']} acknowledged spans are lost")
    wrong = row["partial"] + row["missing"]
    if is_connected and wrong:
        found.append(f"{row['partial']} traces are partial and {row['missing']} missing although nodes were connected")
    excuses = sum(row["counters"][name] for name in EXCUSES)
    if not is_connected and wrong > excuses:
        found.append(f"{wrong} traces are partial or missing, and the nodes count {excuses}")
    return found


def words(row):
    counters = ", ".join(f"{name} {count}" for name, count in row["counters"].items() if count)
    text = (f"{row['part']}: {row['acknowledged']} spans acknowledged, {row['unsent']} not; traces: {row['demanded']} demanded, "
            f"{row['missing']} missing, {row['partial']} partial, {row['twice']} twice, {row['unsure']} unsure; "
            f"{row['lost']} acknowledged spans lost; {counters or 'no counter'}")
    listed = "".join(f"\n    {trace} {what}" for trace, what in row["listed"])
    return text + listed + "".join(f"\n  BROKEN: {fault}" for fault in row["faults"])


# -- the parts -------------------------------------------------------------------------------------------------------------


def loss(around):
    """Datagrams are lost and come late."""
    seconds = 4 if around.is_short else 12
    with Cluster("loss", around, with_delay=True) as cluster:
        for share, delay in WEATHER_SHORT if around.is_short else WEATHER:
            cluster.network.weather(share, delay)
            late = f"{delay[0] * 1000:.0f}-{delay[1] * 1000:.0f} ms late"
            cluster.phase(f"{share:.0%} of datagrams lost, the others {late}", seconds)
    return cluster.rows


def kill(around):
    """One node after the other is killed under load, and is back at once with its log."""
    seconds = 4 if around.is_short else 20
    killed = (2,) if around.is_short else (2, 0)

    def happen():
        for number in killed:
            time.sleep(seconds / (len(killed) + 1))
            cluster.kill(number)

    with Cluster("kill", around) as cluster:
        cluster.phase(f"kill -9 of node {' and '.join(map(str, killed))}", seconds, happen)
    return cluster.rows


def pause(around):
    """A node stands still for longer than others wait for it. What it alone knew is not in verdicts of that time."""
    still = 20

    def happen():
        time.sleep(4)
        cluster.nodes[2].send(signal.SIGSTOP)
        time.sleep(still)
        cluster.nodes[2].send(signal.SIGCONT)

    with Cluster("pause", around) as cluster:
        cluster.phase(f"node 2 stands still for {still} s", still + 8, happen, is_connected=False)
        cluster.phase("after it", 6)
    return cluster.rows


def partition(around):
    """Datagrams of a node do not get through, first one way, then both; then all is as before."""
    cut_off = 7 if around.is_short else 15

    def happen(cuts):
        time.sleep(2)
        for sender, receiver in cuts:
            cluster.network.cut(sender, receiver)
        time.sleep(cut_off)
        cluster.network.heal()

    one_way, both = [(2, 0), (2, 1)], [(2, 0), (2, 1), (0, 2), (1, 2)]
    with Cluster("partition", around) as cluster:
        if not around.is_short:
            cluster.phase(f"node 2 is not heard for {cut_off} s", cut_off + 3, lambda: happen(one_way), is_connected=False)
        cluster.phase(f"nothing from or to node 2 for {cut_off} s", cut_off + 3, lambda: happen(both), is_connected=False)
        cluster.phase("after it", 2 if around.is_short else 6)
    return cluster.rows


def rolling(around):
    """Every node is stopped and started, one after the other, under load."""
    def happen():
        for number in range(NODES):
            time.sleep(3)
            cluster.restart(number)

    with Cluster("rolling", around) as cluster:
        cluster.phase("restart of one node after the other", 20, happen)
    return cluster.rows


PARTS = {"loss": loss, "kill": kill, "pause": pause, "partition": partition, "rolling": rolling}
SHORT = ("loss", "kill", "partition")
