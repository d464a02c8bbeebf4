"""Where nodes live: each in a network namespace of its own, whose links the kernel cuts, or all on loopback behind a relay."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from relay import Relay

GRPC, HTTP, ADMIN, GOSSIP, SINK, FRONT = 4317, 4318, 8898, 7946, 14317, 17946
# Of a namespace's name; the number of the process that made it follows.
PREFIX = "tailwater"
CLONE_NEWNET = 0x4000_0000


def missing():
    """Why there can be no namespaces here; None where there can."""
    if os.geteuid() != 0:
        return "not root (network namespaces need it: sudo scripts/cluster)"
    for tool in ("ip", "iptables"):
        if not shutil.which(tool):
            return f"no {tool} (scripts/setup cluster installs it)"
    if tool_fails("ip", "netns", "list"):
        return "this kernel has no network namespaces"
    return None


def tool_fails(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"cluster: {' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Namespaces:
    """A bridge, a namespace for each node, and one for what sends and receives, in which this process is from then on."""

    words = "network namespaces, faults by iptables"

    def __init__(self, count):
        remove_those_of_the_dead()
        self.count, self.relay = count, None
        self.names = [f"{PREFIX}-{os.getpid()}-{number}" for number in range(count)]
        self.switch, self.load = (f"{PREFIX}-{os.getpid()}-{name}" for name in ("switch", "load"))
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            self.make()
        except BaseException:
            self.close()
            raise

    def make(self):
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        for number, name in enumerate([*self.names, self.load]):
            run("ip", "netns", "add", name)
            run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"s{number}", "netns", self.switch)
            run("ip", "-n", self.switch, "link", "set", f"s{number}", "master", "br0", "up")
            run("ip", "-n", name, "address", "add", f"{self.address(number)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        enter(f"/run/netns/{self.load}")

    def outside(self, work):
        """Does something where this machine's own network is."""
        enter(f"/proc/self/fd/{self.home}")
        try:
            return work()
        finally:
            enter(f"/run/netns/{self.load}")

    @staticmethod
    def address(number):
        return f"10.213.77.{number + 1}"

    def own_address(self):
        """Of what sends and receives."""
        return self.address(self.count)

    def inside(self, number, command):
        """The command in the namespace of a node."""
        return ["ip", "netns", "exec", self.names[number], *command]

    def begin(self, with_delay):
        """Addresses by which nodes find each other; through a relay where datagrams are to be delayed."""
        self.heal()
        self.end()
        nodes = [(self.address(number), GOSSIP) for number in range(self.count)]
        if not with_delay:
            return nodes
        fronts = [(self.own_address(), FRONT + number) for number in range(self.count)]
        self.relay = Relay(nodes, fronts)
        return fronts

    def iptables(self, number, *rule):
        run("ip", "netns", "exec", self.names[number], "iptables", "-w", *rule)

    def weather(self, loss, delay=None):
        """Of datagrams so many are lost (a share) and so long delayed (seconds, from and to)."""
        self.heal()
        if delay and self.relay:
            self.relay.delay = delay
        for number in range(self.count if loss else 0):
            self.iptables(number, "-A", "INPUT", "-p", "udp", "--dport", str(GOSSIP), "-m", "statistic", "--mode", "random",
                          "--probability", str(loss), "-j", "DROP")

    def cut(self, sender, receiver):
        """Nothing of the one comes to the other."""
        self.iptables(receiver, "-A", "INPUT", "-s", self.address(sender), "-j", "DROP")

    def heal(self):
        for number in range(self.count):
            self.iptables(number, "-F")

    def end(self):
        if self.relay:
            self.relay.close()
            self.relay = None

    def close(self):
        self.end()
        enter(f"/proc/self/fd/{self.home}")
        for name in [*self.names, self.load, self.switch]:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


class Loopback:
    """Nodes at loopback addresses that only this run has, behind a relay: needs no root."""

    words = "loopback, faults by a relay"

    def __init__(self, count):
        self.count, self.relay = count, None
        self.middle = f"{64 + os.getpid() // 250 % 128}.{1 + os.getpid() % 250}"

    def address(self, number):
        return f"127.{self.middle}.{number + 1}"

    def own_address(self):
        return self.address(self.count)

    @staticmethod
    def outside(work):
        return work()

    @staticmethod
    def inside(_number, command):
        return command

    def begin(self, with_delay):
        del with_delay
        self.end()
        fronts = [(self.own_address(), FRONT + number) for number in range(self.count)]
        self.relay = Relay([(self.address(number), GOSSIP) for number in range(self.count)], fronts)
        return fronts

    def weather(self, loss, delay=None):
        self.relay.loss, self.relay.delay = loss, delay or (0.0, 0.0)

    def cut(self, sender, receiver):
        self.relay.cuts.add((sender, receiver))

    def heal(self):
        self.relay.cuts, self.relay.loss = set(), 0.0

    def end(self):
        if self.relay:
            self.relay.close()
            self.relay = None

    close = end


def enter(path):
    """This thread, and what it starts, is in that network namespace from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(path, os.O_RDONLY)
    try:
        if libc.setns(file, CLONE_NEWNET) != 0:
            raise SystemExit(f"cluster: cannot enter {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(file)


def remove_those_of_the_dead():
    """Namespaces of runs that were killed and could not clean up."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            subprocess.run(["ip", "netns", "del", path.name], stderr=subprocess.DEVNULL)
