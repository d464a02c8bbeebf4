"""Nodes, sinks and generators as processes, and what they say of themselves."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from network import ADMIN, GOSSIP, GRPC, HTTP, SINK

# Seconds for a start, a stop, or the last verdict.
PATIENCE = 90
LOOK_SECONDS = 0.1
# Two pipelines judge all spans. `judged` keeps what the generator marks, by what its spans say: a node that knows a part of a
# trace only may be wrong. `all` keeps everything, whoever judges: what does not come out there was lost.
CONFIGURATION = """
log: {{format: json}}
shards: 1
# What a rolling restart wants: a node that is stopped leaves undecided traces to its next start.
wal: {{keep_pending_at_shutdown: true}}
sampling: {{decision_wait: {wait}s, decision_wait_after_root_received: 0s}}
pipelines:
  judged:
    exporters: [otlp/judged]
    policies:{policies}
  all:
    exporters: [otlp/all]
    policies: [{{name: everything, type: always_sample}}]
exporters:
  otlp/judged: {{endpoints: ["http://{judged}"]}}
  otlp/all: {{endpoints: ["http://{all}"]}}
"""
# Nodes are near: no proxy of the environment is asked.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ERRORS = """
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}"""
# What the generator marks.
MARKED = ERRORS + """
      - {name: slow, type: latency, latency: {threshold_ms: 1000}}
      - {name: platinum, type: string_attribute, string_attribute: {key: customer.tier, values: [platinum]}}"""
SAMPLE = re.compile(r"([a-z0-9_]+)(?:\{(.*)\})? ([-+0-9.e]+)", re.IGNORECASE)


class Broken(Exception):
    """The cluster does not do what it must, or does nothing at all."""


def start(command, log):
    """A child that does not survive this process."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdin=subprocess.DEVNULL,
                            stdout=open(log, "a"), stderr=subprocess.STDOUT)


def until(condition, words, alive=(), patience=PATIENCE):
    """Looks again and again; who is named as alive must be."""
    end = time.monotonic() + patience
    while not condition():
        for each in alive:
            each.must_live()
        if time.monotonic() > end:
            raise Broken(f"{words}, after {patience} s")
        time.sleep(LOOK_SECONDS)


class Child:
    """A process with a log."""

    def __init__(self, name, directory):
        self.name, self.log, self.process = name, Path(directory) / f"{name}.log", None

    def begin(self, command):
        self.process = start(command, self.log)

    def must_live(self):
        if self.process and self.process.poll() is not None:
            raise Broken(f"{self.name} ended by itself, with {self.process.returncode}:\n{self.said()[-3000:]}")

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def send(self, which):
        self.process.send_signal(which)

    def end(self, which=signal.SIGTERM):
        """Ends it; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(which)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Broken(f"{self.name} does not end:\n{self.said()[-3000:]}") from None
        self.process = None
        return status

    def discard(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


class Node(Child):
    """A node of the cluster; its counters are added up over its runs."""

    def __init__(self, number, around, addresses, configuration):
        super().__init__(f"node-{number}", around.directory)
        self.number, self.around, self.addresses = number, around, addresses
        self.address = around.network.address(number)
        self.configuration = configuration
        self.data = Path(around.directory) / f"data-{number}"
        self.starts, self.before = 0, Counter()

    def start(self):
        at = lambda port: f"{self.address}:{port}"
        others = [address for number, address in enumerate(self.addresses) if number != self.number]
        front = "%s:%d" % self.addresses[self.number]
        self.starts += 1
        self.begin(self.around.network.inside(self.number, [
            self.around.tailwater, "run", "--config", str(self.configuration), "--data-dir", str(self.data),
            "--otlp-grpc-endpoint", at(GRPC), "--otlp-http-endpoint", at(HTTP), "--admin-endpoint", at(ADMIN),
            "--cluster-listen", at(GOSSIP), "--cluster-advertise", front,
            "--cluster-join", ",".join("%s:%d" % address for address in others),
            "--cluster-key-file", str(self.around.key)]))
        ready = lambda: self.said().count('"message":"ready"') >= self.starts
        until(ready, f"{self.name} does not get ready", [self])

    def metrics(self):
        """Samples by name and labels; nothing where it does not answer."""
        try:
            with OPENER.open(f"http://{self.address}:{ADMIN}/metrics", timeout=5) as page:
                text = page.read().decode()
        except OSError:
            return {}
        return {(found[1], found[2] or ""): float(found[3]) for found in map(SAMPLE.fullmatch, text.splitlines()) if found}

    def sum(self, name, *labels):
        return sum(value for (found, with_labels), value in self.metrics().items()
                   if found == name and all(label in with_labels for label in labels))

    def received(self):
        return self.sum("tailwater_items_received_total", 'signal="spans"')

    def members(self):
        return int(self.sum("tailwater_cluster_members"))

    def is_settled(self, members):
        samples = self.metrics()
        pending = sum(value for (name, labels), value in samples.items()
                      if name == "tailwater_items_pending" and 'signal="spans"' in labels)
        return pending == 0 and samples.get(("tailwater_cluster_members", "")) == members

    def remember(self):
        """Before its process ends: its counters go with it."""
        for (name, labels), value in self.metrics().items():
            if name.startswith("tailwater_cluster_") and 'pipeline="all"' not in labels:
                self.before[name.removeprefix("tailwater_cluster_").removesuffix("_total")] += value

    def counters(self):
        now = Counter(self.before)
        for (name, labels), value in self.metrics().items():
            if name.startswith("tailwater_cluster_") and 'pipeline="all"' not in labels:
                now[name.removeprefix("tailwater_cluster_").removesuffix("_total")] += value
        return now


class Sink(Child):
    """What stands for a tracing backend; it writes what came."""

    def __init__(self, name, around, address):
        super().__init__(f"sink-{name}", around.directory)
        self.address, self.seen = address, Path(around.directory) / f"seen-{name}"
        self.seen.unlink(missing_ok=True)
        self.begin([around.load, "sink", "--listen", address, "--allow-duplicates", "--out", str(self.seen), "--quiet"])
        until(self.listens, f"{self.name} does not listen", [self])

    def listens(self):
        host, port = self.address.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def traces(self):
        """What came of each trace: how many spans it should have, and their ids."""
        found = {}
        for line in self.seen.read_text().splitlines()[1:]:
            trace, expected, _twice, _reason, spans = line.split(" ")
            found[trace] = (int(expected), set(filter(None, spans.split(","))))
        return found


class Generator(Child):
    """Sends to all nodes in turn."""

    def __init__(self, name, around, targets, seconds, rate):
        super().__init__(f"generator-{name}", around.directory)
        self.expect = Path(around.directory) / f"expect-{name}"
        self.log.unlink(missing_ok=True)
        arguments = [word for target in targets for word in ("--target", f"http://{target}:{GRPC}")]
        self.begin([around.load, "generate", *arguments, "--rate", str(rate), "--duration", f"{seconds}s",
                    "--spans-per-request", str(max(1, rate // 16)), "--keep-share", "0.3", "--timeout", "60s",
                    "--connections", str(4 * len(targets)), "--runtime", "epoll", "--expect-out", str(self.expect),
                    "--json", "--quiet"])

    def wait(self):
        """Until all is sent and answered; what it says of it."""
        self.process.wait(PATIENCE * 4)
        self.process = None
        lines = [line for line in self.said().splitlines() if line.startswith("{")]
        if not lines or not self.expect.exists():
            raise Broken(f"the generator failed: {self.said()[-2000:]}")
        return json.loads(lines[-1])

    def demanded(self):
        """The traces that had to be kept and were acknowledged whole, and those of which something was not acknowledged."""
        keep, unsure = {}, set()
        for line in self.expect.read_text().splitlines()[1:]:
            words = line.split(" ")
            if words[0] == "keep":
                keep[words[1]] = int(words[2])
            else:
                unsure.add(words[1])
        return keep, unsure


def verify(around, generator, sinks):
    """What `tailwater-load verify` says of all sinks together."""
    command = [around.load, "verify", "--expect", str(generator.expect), "--allow-duplicates", "--json"]
    for sink in sinks:
        command += ["--seen", str(sink.seen)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        raise Broken(f"verify failed: {done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def note(text):
    print(text, file=sys.stderr, flush=True)
