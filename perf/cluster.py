"""What it costs that several nodes judge each trace as one: the same spans to one node, and scattered over three.

All nodes share one core, so that what is compared is the work, not how much of it goes on at a time. Two kinds of rounds: in
the one spans come at a fixed rate, to ten policies, and the processor time of all nodes and what they send one another is
read over a window in which verdicts keep pace; in the other traces of one span a node are sent beside a little load, all
spans at once, and it is seen when the last of them is at the next hop. One node and three take turns, round by round.
"""

import http.client
import http.server
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import cost
from processes import PERF, SPREAD, Process, free_ports, generate, note

CONFIG = PERF / "baseline.yaml"
NODES = (1, 3)
# Spans a second in all: a core carries it on three nodes, and what nodes do without spans is little beside it.
RATE = 100_000
WARM = cost.WARM
# The other kind of round.
PROBE_RATE, PROBE_WAIT, PROBE_PAUSE = 5_000, 2, 0.1
PROBES, PROBES_QUICK = 150, 30
PROBE_CONFIGURATION = """
sampling:
  decision_wait: {wait}s
  decision_wait_after_root_received: 0s
  policies: [{{name: probes, type: string_attribute, string_attribute: {{key: probe, values: ["yes"]}}}}]
exporters:
  otlp: {{endpoints: ["http://{sink}"], protocol: http/protobuf, compression: none}}
"""
PATIENCE = 60
KEY = "a key for nodes of one machine that are measured\n"


def settle(options):
    """Fills in what the scenario was not given."""
    options.instructions = False
    cost.settle(options)


def run(options):
    """A row for each number of nodes."""
    seen = {count: [] for count in NODES}
    for turn in range(options.rounds):
        # Back and forth, so that a machine that slows down does not always meet the same one.
        for count in NODES if turn % 2 == 0 else reversed(NODES):
            seen[count].append(load(count, options))
    rows = []
    for count, each in seen.items():
        middle = {key: statistics.median(row[key] for row in each) for key in each[0]}
        ratios = sorted(mine["cpu_s_per_million"] / one["cpu_s_per_million"] for mine, one in zip(each, seen[1]))
        rows.append({"nodes": count, **middle, "of_one": statistics.median(ratios), "of_one_each": ratios,
                     **probe(count, options)})
    return {"rows": rows}


def named(count):
    return f"{count} node{'s' if count > 1 else ''}"


class Nodes:
    """So many nodes that know one another, pinned to the core of the server."""

    def __init__(self, count, configuration, options):
        self.directories = [tempfile.mkdtemp(prefix="tailwater-perf-") for _ in range(count)]
        ports = ["%s:%d" % address for address in free_ports(4 * count)]
        self.grpc, self.http, self.admin, self.gossip = (ports[kind::4] for kind in range(4))
        self.processes = []
        try:
            for number, directory in enumerate(self.directories):
                (Path(directory) / "config.yaml").write_text(configuration)
                (Path(directory) / "key").write_text(KEY)
                command = [options.tailwater, "run", "--config", f"{directory}/config.yaml", "--data-dir", directory,
                           "--shards", "1", "--cores", str(options.server_core), "--ack", "received",
                           "--otlp-grpc-endpoint", self.grpc[number], "--otlp-http-endpoint", self.http[number],
                           "--admin-endpoint", self.admin[number]]
                if count > 1:
                    command += ["--cluster-listen", self.gossip[number], "--cluster-key-file", f"{directory}/key",
                                "--cluster-join", ",".join(self.gossip)]
                process = Process(command, options.server_core, directory, options)
                self.processes.append(process)
                process.wait_for(pair(self.grpc[number]))
            self.until(lambda: count == 1 or all(self.sum(admin, "tailwater_cluster_members ") == count for admin in self.admin))
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def until(condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                sys.exit("perf/run: the nodes do not find each other")
            time.sleep(0.2)

    @staticmethod
    def sum(admin, prefix):
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(prefix))

    def sent(self):
        """Bytes and datagrams that nodes have sent one another."""
        return tuple(sum(self.sum(admin, f"tailwater_cluster_{name}_sent_total") for admin in self.admin)
                     for name in ("bytes", "datagrams"))

    def cpu_seconds(self):
        return sum(process.cpu_seconds() for process in self.processes)

    def stop(self):
        for process in self.processes:
            process.stop()
        for directory in self.directories:
            shutil.rmtree(directory, ignore_errors=True)


def pair(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def load(count, options):
    """Processor time of a million spans, and what nodes send one another, over the window."""
    name = named(count)
    options.quiet.before(name)
    directory = tempfile.mkdtemp(prefix="tailwater-perf-")
    sink = Process([options.load, "sink", "--listen", "%s:%d" % options.sink, "--runtime", "epoll", "--json", "--quiet"],
                   options.load_core, directory, options)
    nodes, samples = None, []
    try:
        sink.wait_for(options.sink)
        nodes = Nodes(count, cost.with_wait(CONFIG.read_text()), options)

        def sample(line):
            # Pages of metrics cost nodes time, too: only at the two ends.
            if line["seconds"] >= WARM - 0.05 and (not samples or line["seconds"] >= WARM + options.window - 0.05):
                samples.append((line["seconds"], line["acked"], nodes.cpu_seconds(), nodes.sent()))

        options.grpc = pair(nodes.grpc[0])
        more = [word for address in nodes.grpc[1:] for word in ("--target", f"http://{address}")]
        # A request in three must find its node: as many connections to each.
        summary = generate(options, [*more, "--rate", str(RATE), "--spread", f"{SPREAD}s", "--connections", "12",
                                     "--duration", f"{WARM + options.window + 1.5}s", "--warm-up", f"{WARM}s"], sample)
    finally:
        if nodes:
            nodes.stop()
        sink.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if len(samples) < 2 or summary["refused"] or summary["unsent"]:
        sys.exit("perf/run: the nodes did not carry the load, or too few progress lines to measure")
    (begin, acked_before, cpu_before, sent_before), (end, acked, cpu, sent) = samples[:2]
    spans, seconds = max(acked - acked_before, 1), end - begin
    bytes_sent, datagrams = (now - before for now, before in zip(sent, sent_before))
    row = {"spans_per_second": spans / seconds, "cpu_s_per_million": (cpu - cpu_before) / spans * 1e6,
           "gossip_bytes_per_second_and_node": bytes_sent / seconds / count, "gossip_bytes_per_span": bytes_sent / spans,
           "datagrams_per_second_and_node": datagrams / seconds / count}
    note(f"{name}: {row['cpu_s_per_million']:.3f} CPU s per million, {row['spans_per_second']:,.0f} spans/s, "
         f"{row['gossip_bytes_per_second_and_node'] / 1024:,.0f} KiB/s and {row['datagrams_per_second_and_node']:,.0f} "
         f"datagrams/s sent by each node")
    return row


# -- from the last span to the next hop --------------------------------------------------------------------------------------


class NextHop(http.server.ThreadingHTTPServer):
    """Notes when each trace that it is asked about has come, span by span."""

    daemon_threads = True

    def __init__(self, address):
        super().__init__(address, Hop)
        self.bodies, self.lock = [], threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Hop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.bodies.append((time.monotonic(), body))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def probe(count, options):
    """Milliseconds from the last span of a trace to its export at the last node, beyond the wait of traces."""
    options.quiet.before(f"{named(count)}, probes", [options.load_core])
    hop = NextHop(options.sink)
    nodes = Nodes(count, PROBE_CONFIGURATION.format(wait=PROBE_WAIT, sink="%s:%d" % options.sink), options)
    number = PROBES_QUICK if options.quick else PROBES
    try:
        options.grpc = pair(nodes.grpc[0])
        more = [word for address in nodes.grpc[1:] for word in ("--target", f"http://{address}")]
        duration = int(number * PROBE_PAUSE * 1.5) + 3
        background = threading.Thread(target=generate, args=(options, [
            *more, "--rate", str(PROBE_RATE), "--spans-per-request", "200", "--connections", "12", "--duration", f"{duration}s"]))
        background.start()
        time.sleep(1)
        sent = dict(send(nodes) for _ in range(number))
        time.sleep(PROBE_WAIT + 2)
        background.join()
    finally:
        nodes.stop()
        hop.shutdown()
        hop.server_close()
    waits = []
    for trace, at in sent.items():
        spans = [when for when, body in hop.bodies for _ in range(body.count(trace))]
        if len(spans) != max(NODES):
            sys.exit(f"perf/run: {len(spans)} of {max(NODES)} spans of a trace came to the next hop")
        waits.append((max(spans) - at - PROBE_WAIT) * 1000)
    waits.sort()
    at = lambda share: waits[min(len(waits) - 1, int(share * len(waits)))]
    note(f"{named(count)}: export at the last node {at(0.5):.0f} ms (p50), {at(0.99):.0f} ms (p99) after the wait of "
         f"{PROBE_WAIT} s")
    return {"export_after_wait_ms_p50": at(0.5), "export_after_wait_ms_p99": at(0.99), "export_after_wait_ms_max": waits[-1]}


def send(nodes):
    """Sends a trace of as many spans as there are nodes at most, one to each in turn; its id and when the last was taken."""
    trace = os.urandom(16)
    for number in range(max(NODES)):
        is_root = number + 1 == max(NODES)
        span = {"traceId": trace.hex(), "spanId": os.urandom(8).hex(), "name": "probe",
                "attributes": [{"key": "probe", "value": {"stringValue": "yes" if is_root else "no"}}]}
        if not is_root:
            span["parentSpanId"] = "0000000000000001"
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
        connection = http.client.HTTPConnection(*pair(nodes.http[number % len(nodes.http)]), timeout=PATIENCE)
        connection.request("POST", "/v1/traces", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            sys.exit(f"perf/run: a probe was answered by {answer.status}")
    at = time.monotonic()
    time.sleep(PROBE_PAUSE)
    return trace, at


def print_table(results, facts, options):
    """Shows one node and three."""
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, one core for all nodes, generator and sink on another; {RATE:,} spans/s, "
          f"medians of {options.rounds} rounds of {options.window} s; export: {PROBE_WAIT} s of wait taken off; "
          f"commit {facts['commit']}\n")
    print("| nodes | CPU s per million | of one | each round | gossip a node | a span | datagrams/s a node | export p50 | p99 |")
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in results["rows"]:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["of_one_each"])
        print(f"| {row['nodes']} | {row['cpu_s_per_million']:.3f} | {row['of_one']:.2f} | {each} | "
              f"{row['gossip_bytes_per_second_and_node'] / 1024:,.0f} KiB/s | {row['gossip_bytes_per_span']:.1f} B | "
              f"{row['datagrams_per_second_and_node']:,.0f} | {row['export_after_wait_ms_p50']:.0f} ms | "
              f"{row['export_after_wait_ms_p99']:.0f} ms |")
