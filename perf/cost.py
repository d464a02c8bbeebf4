"""What one configuration costs: processor time of a million spans in a server, or instructions of a span in a shard.

The time is read over a window in which decisions run as fast as spans arrive, with the spans of each trace spread over two
seconds. Instructions are counted in a process without sockets (`tailwater-load shard`) under `valgrind --tool=callgrind`.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import SPREAD, Process, binary, generate, note

# Longer than the spread: a trace is judged with all its spans.
DECISION_WAIT = SPREAD + 1
WARM = DECISION_WAIT + 2
POOL = "1GiB"
# Rounds of 8,000 spans under callgrind: what a start costs is in both counts and not in their difference.
ROUNDS = (4, 14)
# In short: rounds of 2,000 spans. Most of what callgrind sees is the making of the corpus, which is small then.
SHORT_ROUNDS = (4, 12)
SHORT = ["--spans-per-request", "250"]


def settle(options):
    """Fills in what a scenario of costs was not given."""
    options.window = options.window or (3 if options.quick else 6)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.sizes = [int(size) for size in (options.sizes or "384").split(",")]
    options.compressions = (options.compressions or "none").split(",")
    if options.instructions:
        needs_valgrind()
        return
    options.tailwater = binary("TAILWATER_BIN", "tailwater")
    if not options.tailwater:
        sys.exit("perf/run: no tailwater; build it: cargo build --release -p tailwater")


def with_wait(configuration):
    """The configuration of the baseline with the wait that is measured with here."""
    return configuration.replace("decision_wait: 10s", f"decision_wait: {DECISION_WAIT}s")


def seconds(name, configuration, size, compression, options):
    """CPU time per span over the window in which decisions keep pace."""
    options.quiet.before(f"{size} B {compression}, {name}")
    directory = tempfile.mkdtemp(prefix="tailwater-perf-")
    config = Path(directory) / "measured.yaml"
    config.write_text(configuration)
    sink = Process([options.load, "sink", "--listen", "%s:%d" % options.sink, "--runtime", "epoll", "--json", "--quiet"],
                   options.load_core, directory, options)
    command = [options.tailwater, "run", "--config", str(config), "--data-dir", directory, "--shards", "1",
               "--cores", str(options.server_core), "--ack", "received"]
    server = Process(command, options.server_core, directory, options)
    samples = []
    try:
        sink.wait_for(options.sink)
        server.wait_for(options.grpc)
        arguments = ["--span-bytes", str(size), "--compression", compression, "--pool-bytes", POOL, "--spread", f"{SPREAD}s",
                     "--duration", f"{WARM + options.window + 0.5}s", "--warm-up", f"{WARM}s"]
        generate(options, arguments,
                 lambda line: samples.append((line["seconds"], line["acked"], server.cpu_seconds())))
    finally:
        server.stop()
        sink.stop()
        shutil.rmtree(directory, ignore_errors=True)
    # What is sent after its end, when the last traces get the rest of their spans, is not at full rate.
    window = [line for line in samples if WARM - 0.05 <= line[0] <= WARM + options.window + 0.5]
    if len(window) < 2:
        sys.exit("perf/run: too few progress lines to measure")
    (begin, acked_before, cpu_before), (end, acked, cpu) = window[0], window[-1]
    spans = max(acked - acked_before, 1)
    row = {"spans_per_second": spans / (end - begin), "cpu_s_per_million": (cpu - cpu_before) / spans * 1e6}
    note(f"{size} B {compression}, {name}: {row['cpu_s_per_million']:.3f} CPU s per million, "
         f"{row['spans_per_second']:,.0f} spans/s")
    return row


def instructions(name, configuration, size, load, rounds=ROUNDS, keep=None, more=()):
    """Instructions a span: the difference of two runs by what one has more spans than the other."""
    directory = Path(keep or tempfile.mkdtemp(prefix="tailwater-perf-"))
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "measured.yaml"
    config.write_text(configuration)
    totals = []
    for number in rounds:
        profile = directory / f"callgrind.{name.replace(' ', '-')}.{size}.{number}"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", load, "shard", "--config", str(config),
                   "--rounds", str(number), "--span-bytes", str(size), "--json", *more]
        child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        total = re.search(r"Collected : (\d+)", child.stderr)
        if child.returncode or not total:
            sys.exit("perf/run: callgrind failed: " + child.stderr[-3000:])
        totals.append((int(total[1]), json.loads(child.stdout)["spans"]))
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    (few, few_spans), (many, many_spans) = totals
    count = (many - few) / (many_spans - few_spans)
    note(f"{size} B, {name}: {count:,.0f} instructions a span")
    return count


def needs_valgrind():
    if not shutil.which("valgrind"):
        sys.exit("perf/run: counting instructions needs valgrind: apt-get install valgrind")


def in_turn(column, configurations, options):
    """One row for each of these configurations, all compared with the one called "one". They take turns, round by round."""
    rows = []
    for size in options.sizes:
        for compression in options.compressions:
            seen = {name: [] for name in configurations}
            for turn in range(options.rounds):
                # Back and forth, so that a machine that slows down does not always meet the same one.
                for name in configurations if turn % 2 == 0 else reversed(configurations):
                    seen[name].append(seconds(f"{column} {name}", configurations[name], size, compression, options))
            for name, each in seen.items():
                ratios = sorted(mine["cpu_s_per_million"] / one["cpu_s_per_million"]
                                for mine, one in zip(each, seen["one"]))
                middle = {key: statistics.median(row[key] for row in each) for key in each[0]}
                rows.append({"span_bytes": size, "compression": compression, column: name, **middle,
                             "of_one": statistics.median(ratios), "of_one_each": ratios})
    return rows
