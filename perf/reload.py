"""What a change of the rules costs those who send: acknowledgement latencies with a file of 500 policies, left alone and
changed every second.

One server takes an open-loop rate throughout. Rounds in which the file is left alone take turns with rounds in which it
is replaced and read again (`POST /api/v1/reload`) every second: each time the policies have other keys and other names,
so that every pending trace must be scanned again. At the end every span must be accounted for.
"""

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

from processes import SPREAD, Process, binary, generate, note

POLICIES = 500
# Keys of which each version takes some; neighbours differ in one.
KEYS = 700
DECISION_WAIT = 4
WARM = 2
RATE = 20_000
# Seconds between two changes.
PAUSE = 1.0
PATIENCE = 60


def add_arguments(parser):
    """The options of this scenario."""
    parser.add_argument("--rate", type=int, default=RATE, help=f"spans a second (default {RATE})")


def settle(options):
    """Fills in what was not given."""
    options.window = options.window or (5 if options.quick else 20)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.tailwater = binary("TAILWATER_BIN", "tailwater")
    if not options.tailwater:
        sys.exit("perf/run: no tailwater; build it: cargo build --release -p tailwater")


def write(path, version):
    """Replaces the file as a whole, as editors and orchestrators do."""
    policies = [{"name": f"p{index}-{version % 2}", "type": "string_attribute",
                 "string_attribute": {"key": f"no.such.key.{(index + version) % KEYS}", "values": ["x", "y"]}}
                for index in range(POLICIES)]
    policies.append({"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}})
    sampling = {"decision_wait": f"{DECISION_WAIT}s", "decision_wait_after_root_received": "0s", "policies": policies}
    beside = path.with_suffix(".new")
    # JSON is YAML.
    beside.write_text(json.dumps({"sampling": sampling}))
    os.replace(beside, path)


def ask(options, path, method="GET"):
    request = urllib.request.Request("http://%s:%d%s" % (*options.admin, path), method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


class Changes:
    """Changes the file and has it read, until stopped."""

    def __init__(self, path, options):
        self.path, self.options = path, options
        self.version, self.seconds, self.failures = 0, [], []
        self.stopping = None

    def __enter__(self):
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def work(self):
        while not self.stopping.wait(PAUSE):
            self.version += 1
            write(self.path, self.version)
            begin = time.monotonic()
            try:
                said = json.loads(ask(self.options, "/api/v1/reload", "POST"))
            except OSError as error:
                self.failures.append(str(error))
                return
            self.seconds.append(time.monotonic() - begin)
            if said["outcome"] != "applied":
                self.failures.append(said)


def run(options):
    """One row for each kind of round, and the books."""
    directory = tempfile.mkdtemp(prefix="tailwater-perf-")
    config = Path(directory) / "reload.yaml"
    write(config, 0)
    address = lambda pair: "%s:%d" % pair
    command = [options.tailwater, "run", "--config", str(config), "--data-dir", directory, "--shards", "1", "--cores",
               str(options.server_core), "--ack", "received", "--otlp-grpc-endpoint", address(options.grpc),
               "--admin-endpoint", address(options.admin), "--otlp-http-endpoint", "127.0.0.1:0",
               "--reload-interval", "0s"]
    server = Process(command, options.server_core, directory, options)
    changes = Changes(config, options)
    seen = {"left alone": [], "changed": []}
    arguments = ["--rate", str(options.rate), "--duration", f"{WARM + options.window}s", "--warm-up", f"{WARM}s",
                 "--spread", f"{SPREAD}s"]
    try:
        server.wait_for(options.grpc)
        for turn in range(options.rounds):
            for kind in seen if turn % 2 == 0 else reversed(seen):
                # The server still judges what is pending: only the other core is idle.
                options.quiet.before(f"round {turn + 1}, {kind}", [options.load_core])
                if kind == "changed":
                    with changes:
                        summary = generate(options, arguments)
                else:
                    summary = generate(options, arguments)
                seen[kind].append(summary["ack_ms"])
                note(f"round {turn + 1}, {kind}: ack p50 {summary['ack_ms']['p50']:.2f}, "
                     f"p99 {summary['ack_ms']['p99']:.2f}, max {summary['ack_ms']['max']:.1f} ms")
        books = settled(options)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if changes.failures:
        sys.exit(f"perf/run: a change failed: {changes.failures[0]}")
    rows = [{"rounds": kind, "each_p99": sorted(ack["p99"] for ack in each),
             **{key: statistics.median(ack[key] for ack in each) for key in ("p50", "p99", "max")}}
            for kind, each in seen.items()]
    return {"rows": rows, "reloads": len(changes.seconds), "reload_seconds_max": max(changes.seconds, default=0), **books}


def settled(options):
    """The books, once nothing is pending."""
    for _ in range(PATIENCE):
        lines = (line.rsplit(" ", 1) for line in ask(options, "/metrics").splitlines() if not line.startswith("#"))
        metrics = {name: float(value) for name, value in lines}
        spans = lambda family: sum(value for name, value in metrics.items()
                                   if name.startswith(f'tailwater_items_{family}{{signal="spans"'))
        if spans("pending") == 0:
            break
        time.sleep(1)
    received, exported, dropped = spans("received_total"), spans("exported_total"), spans("dropped_total")
    if received != exported + dropped:
        sys.exit(f"perf/run: {received:.0f} spans received, {exported:.0f} exported and {dropped:.0f} dropped")
    judged = metrics["tailwater_traces_kept_total"] + metrics["tailwater_traces_dropped_total"]
    return {"spans": received, "judged": judged, "scanned_again": metrics["tailwater_traces_scanned_again_total"]}


def print_table(results, facts, options):
    """Shows both kinds of round."""
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, {POLICIES} policies, {options.rate:,} spans/s, one core for the "
          f"server, the generator on another; medians of {options.rounds} rounds of {options.window} s, "
          f"commit {facts['commit']}\n")
    print("| the file is | ack p50 | p99 | max | p99 of each round |")
    print("| --- | ---: | ---: | ---: | --- |")
    for row in results["rows"]:
        each = ", ".join(f"{p99:.2f}" for p99 in row["each_p99"])
        print(f"| {row['rounds']} | {row['p50']:.2f} ms | {row['p99']:.2f} ms | {row['max']:.1f} ms | {each} |")
    print(f"\n{results['reloads']} changes, the slowest in force after {results['reload_seconds_max'] * 1000:.0f} ms; "
          f"{results['judged']:,.0f} traces judged, {results['scanned_again']:,.0f} of them scanned again; all of "
          f"{results['spans']:,.0f} spans accounted for")
