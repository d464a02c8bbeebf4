"""What the log costs, and how fast it is read again.

Each round starts tailwater anew with `--ack received`, `written` and `synced` on the same configuration and gives it all
that it acknowledges (peak). The rounds are interleaved and the medians compared, because a virtual machine is not
equally fast from minute to minute. Then each level gets half of what `synced` took, at an open-loop rate, for the
latencies. At last a log is filled, the process killed, and the next start timed: once with everything undecided, and
once with all judged and only what was kept waiting for its exporter. The disk's own abilities are measured beside,
before and after: they bound what any log can do.

A hypervisor may take a guest's free memory back, and gives it again at its first touch, on the time of whoever touches it.
A start that fills a gigabyte is mostly that, so memory is touched and freed right before it, and both costs are shown.
"""

import json
import mmap
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from processes import PERF, SPREAD, Process, binary, generate, note, target

CONFIG = PERF / "baseline.yaml"
ACKS = ("received", "written", "synced")
# Short, so that the log turns over and its segments are recycled within a run, but longer than the spread.
DECISION_WAIT = SPREAD + 1
# Until decisions keep pace with arrivals and memory grows no more.
WARM = DECISION_WAIT + 2
# Compressed bodies of a whole run, whose trace ids must not repeat before they were judged.
POOL = "1GiB"
# Seconds that a start may take, with a full log to be read.
READY_PATIENCE = 120
# tmpfs and its like have no disk behind them.
VOLATILE = ("tmpfs", "ramfs")
PROBE_BYTES = 512 << 20
# Memory touched before a start is timed: that of the spans with their headers and tables, and as much again for page sizes
# that do not fit.
TOUCHED_TIMES = 2.5
# Of what is available, at most.
TOUCHED_SHARE = 0.5


def add_arguments(parser):
    """The options of this scenario."""
    parser.add_argument("--data-directory", type=Path, help="on the disk to be measured (default target/perf-log)")
    parser.add_argument("--rounds", type=int, help="rounds of which the medians are taken (default 3, quick 1)")
    parser.add_argument("--recovery-mib", type=int, help="MiB of spans in the log that is read again (default 1024)")
    parser.add_argument("--in-flight", type=int, default=64,
                        help="requests unanswered at peak (default 64): few, and the core waits for the disk with them")
    parser.add_argument("--parts", default="disk,peak,half,recovery", help="comma-separated; half needs peak")
    parser.add_argument("--wal", default="", help="further options of tailwater in all runs, separated by spaces")


def settle(options):
    """Fills in what was not given, and refuses what cannot be measured."""
    options.window = options.window or (3 if options.quick else 6)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.recovery_mib = options.recovery_mib or (256 if options.quick else 1024)
    options.sizes = [int(size) for size in (options.sizes or "384").split(",")]
    options.compressions = (options.compressions or "none,gzip").split(",")
    options.parts = options.parts.split(",")
    options.tailwater = binary("TAILWATER_BIN", "tailwater")
    if not options.tailwater:
        sys.exit("perf/run: no tailwater; build it: cargo build --release -p tailwater")
    given = options.data_directory or target() / "perf-log"
    given.mkdir(parents=True, exist_ok=True)
    options.data_directory = given.resolve()
    options.file_system = file_system(options.data_directory)
    if options.file_system in VOLATILE:
        sys.exit(f"perf/run: {given} is on {options.file_system}, which has no disk; give --data-directory")


def run(options):
    """Everything, in the order of the module's text."""
    results = {"file_system": options.file_system, "disk": [], "rows": [], "recovery": []}
    with_disk = "disk" in options.parts
    if with_disk:
        results["disk"].append(probe_disk(options.data_directory))
    for size in options.sizes:
        for compression in options.compressions:
            if "peak" in options.parts:
                results["rows"] += levels(size, compression, options)
            if "recovery" in options.parts:
                results["recovery"] += [recover(kind, size, compression, options) for kind in ("undecided", "kept")]
    if with_disk:
        results["disk"].append(probe_disk(options.data_directory))
    return results


# -- levels ------------------------------------------------------------------------------------------------------------


def levels(size, compression, options):
    """One row for each level."""
    peaks = {ack: [] for ack in ACKS}
    for number in range(options.rounds):
        # Back and forth, so that a machine that slows down does not always meet the same level.
        for ack in ACKS if number % 2 == 0 else reversed(ACKS):
            peak = measure(ack, size, compression, options)
            peaks[ack].append(peak)
            note(f"{size} B {compression}, round {number + 1}, {ack}: {peak['spans_per_second']:,.0f} spans/s, "
                 f"{peak['cpu_s_per_million']:.3f} CPU s per million, {peak['syncs_per_second']:.0f} syncs/s")
    rows = []
    for ack in ACKS:
        middle = {key: statistics.median(each[key] for each in peaks[ack]) for key in peaks[ack][0] if key != "ack_ms"}
        rates = sorted(each["spans_per_second"] for each in peaks[ack])
        ratios = sorted(one["spans_per_second"] / other["spans_per_second"]
                        for one, other in zip(peaks[ack], peaks["received"]))
        rows.append({"span_bytes": size, "compression": compression, "ack": ack, "peak": middle,
                     "spans_per_second_each": rates, "of_received": statistics.median(ratios),
                     "of_received_each": ratios})
    if "half" in options.parts:
        rate = rows[-1]["peak"]["spans_per_second"] / 2
        for row in rows:
            row["half"] = measure(row["ack"], size, compression, options, rate)
            ack = row["half"]["ack_ms"]
            note(f"{size} B {compression}, {rate:,.0f} spans/s, {row['ack']}: ack p50 {ack['p50']:.2f}, "
                 f"p99 {ack['p99']:.2f}, p99.9 {ack['p999']:.2f} ms")
    return rows


def measure(ack, size, compression, options, rate=None):
    """Loads a fresh server: rates over the window, latencies after the warm-up."""
    options.quiet.before(f"{size} B {compression}, {ack}" + (", half" if rate else ""))
    directory = tempfile.mkdtemp(prefix="run-", dir=options.data_directory)
    sink = start_sink(directory, options)
    server = Process(command(ack, directory, options, DECISION_WAIT), options.server_core, directory, options)
    samples = []

    def sample(line):
        samples.append((line["seconds"], line["acked"], server.cpu_seconds(), server.written_bytes(), counters(options)))

    in_flight = [] if rate else ["--in-flight", str(options.in_flight)]
    arguments = ["--span-bytes", str(size), "--compression", compression, "--compression-level", "1",
                 "--pool-bytes", POOL, *in_flight, "--spread", f"{SPREAD}s", "--duration", f"{WARM + options.window + 0.5}s", "--warm-up", f"{WARM}s"]
    try:
        wait_until_ready(server, options)
        summary = generate(options, arguments + (["--rate", f"{rate:.0f}"] if rate else []), sample)
    finally:
        server.kill(options.grpc)
        sink.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if summary["refused"] + summary["unsent"]:
        note(f"  {summary['refused']} spans refused, {summary['unsent']} not sent in time: {summary['first_error']}")
    # What is sent after the end, when the last traces get the rest of their spans, is not at full rate.
    window = [line for line in samples if WARM - 0.05 <= line[0] <= WARM + options.window + 0.5]
    if len(window) < 2:
        sys.exit(f"perf/run: too few progress lines to measure; first error: {summary['first_error']}")
    (begin, acked_before, cpu_before, bytes_before, counts_before), (end, acked, cpu, written, counts) = window[0], window[-1]
    seconds, spans = end - begin, max(acked - acked_before, 1)
    gone = {name: counts.get(name, 0) - counts_before.get(name, 0) for name in counts}
    return {
        "spans_per_second": spans / seconds,
        "cpu_s_per_million": (cpu - cpu_before) / spans * 1e6,
        "cpu_share": (cpu - cpu_before) / seconds,
        "body_bytes_per_span": summary["body_bytes"] / max(summary["acked"], 1),
        "log_bytes_per_span": (written - bytes_before) / spans,
        "writes_per_second": gone.get("writes", 0) / seconds,
        "syncs_per_second": gone.get("syncs", 0) / seconds,
        "spans_refused": summary["refused"] + summary["unsent"],
        "ids_repeated": int(summary["ids_repeated"]),
        "ack_ms": summary["ack_ms"],
    }


def command(ack, directory, options, decision_wait):
    return [options.tailwater, "run", "--config", str(CONFIG), "--data-dir", directory, "--shards", "1",
            "--cores", str(options.server_core), "--ack", ack, "--admin-endpoint", "%s:%d" % options.admin,
            "--sampling-decision-wait", f"{decision_wait}s", *options.wal.split()]


def start_sink(directory, options):
    sink = Process([options.load, "sink", "--listen", "%s:%d" % options.sink, "--runtime", "epoll", "--json", "--quiet"],
                   options.load_core, directory, options)
    sink.wait_for(options.sink)
    return sink


def wait_until_ready(server, options):
    """Returns once requests are accepted. The port alone tells nothing: the start tries for a moment whether it is free."""
    begun = time.monotonic()
    while time.monotonic() < begun + READY_PATIENCE and server.child.poll() is None:
        try:
            urllib.request.urlopen("http://%s:%d/health/ready" % options.admin, timeout=5).close()
            return
        except OSError:
            time.sleep(0.002)
    sys.exit("perf/run: the server does not become ready; it said:\n" + server.log.read_text()[-3000:])


def metrics(options):
    with urllib.request.urlopen("http://%s:%d/metrics" % options.admin, timeout=5) as answer:
        return answer.read().decode()


def counters(options):
    """The log's counters; none with `--ack received`."""
    return {name: float(value) for name, value in re.findall(
        r'^tailwater_wal_(\w+?)_total\{stage="log"\} (\S+)$', metrics(options), re.MULTILINE)}


# -- recovery ----------------------------------------------------------------------------------------------------------


def recover(kind, size, compression, options):
    """Fills a log, kills the process, and times the next start. Traces come together here: with `kept` they wait a second."""
    options.quiet.before(f"{size} B {compression}, recovery of {kind}")
    directory = tempfile.mkdtemp(prefix="run-", dir=options.data_directory)
    # Undecided: nothing of it is done with. Kept: all but what was kept is, and that waits, for nothing takes it.
    wait = 3600 if kind == "undecided" else 1
    start = command("synced", directory, options, wait)
    spans = (options.recovery_mib << 20) // size
    arguments = ["--span-bytes", str(size), "--compression", compression, "--compression-level", "1",
                 "--pool-bytes", POOL, "--traces", str(spans // 8), "--quiet"]
    server = Process(start, options.server_core, directory, options)
    try:
        wait_until_ready(server, options)
        summary = generate(options, arguments)
        time.sleep(1 if kind == "undecided" else 3)
        body_bytes = counters(options)["body_bytes"]
        server.kill(options.grpc)
        touch = touch_memory(int(options.recovery_mib * TOUCHED_TIMES) << 20)
        begun = time.monotonic()
        server = Process(start, options.server_core, directory, options)
        wait_until_ready(server, options)
        seconds, cpu = time.monotonic() - begun, server.cpu_seconds()
        recovered = counters(options)["recovered_units"]
        told = re.search(r"seconds=([0-9.e-]+)", told_line(server))
    finally:
        server.kill(options.grpc)
        shutil.rmtree(directory, ignore_errors=True)
    row = {"kind": kind, "span_bytes": size, "compression": compression, "log_bytes": body_bytes,
           "spans": summary["acked"], "spans_recovered": recovered, "seconds": seconds, "cpu_seconds": cpu,
           "seconds_told": float(told.group(1)) if told else None, "gb_per_second": body_bytes / 1e9 / seconds,
           "gb_per_cpu_second": body_bytes / 1e9 / cpu,
           "spans_per_second": summary["acked"] / seconds, "touch_s_per_gib": touch}
    note(f"{size} B {compression}, {kind}: {body_bytes / 1e9:.2f} GB read again in {seconds:.2f} s, "
         f"{row['gb_per_second']:.2f} GB/s, {row['gb_per_cpu_second']:.2f} GB a CPU second, {recovered:,.0f} of {summary['acked']:,} spans were open")
    return row


def touch_memory(size):
    """Seconds a GiB to touch free memory, as it is and right after that."""
    available = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemAvailable:"))
    size = min(size, int(available * TOUCHED_SHARE)) & -mmap.PAGESIZE
    seconds = []
    for _ in range(2):
        # As the allocator of the server asks for it: what is shared gets no large pages.
        block = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.madvise(mmap.MADV_HUGEPAGE)
        begun = time.process_time()
        for place in range(0, size, mmap.PAGESIZE):
            block[place] = 1
        seconds.append((time.process_time() - begun) / (size / (1 << 30)))
        block.close()
    return seconds


def told_line(server):
    """What the node says itself; the line comes a moment after the listeners open."""
    for _ in range(100):
        lines = [line for line in server.log.read_text().splitlines() if "the log of the last run is taken over" in line]
        if lines:
            return lines[-1]
        time.sleep(0.05)
    return ""


# -- the disk ----------------------------------------------------------------------------------------------------------


def file_system(path):
    """The kind of the file system that holds the path."""
    mounts = [line.split()[1:3] for line in open("/proc/mounts")]
    holds = [(len(mount), kind) for mount, kind in mounts if path == Path(mount) or Path(mount) in path.parents]
    return max(holds)[1]


def probe_disk(directory):
    """Direct writes to a preallocated file, the first time and again: what a fresh and a recycled segment offer."""
    path = directory / "probe"
    result = {}
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DIRECT, 0o600)
    try:
        os.posix_fallocate(file, 0, PROBE_BYTES)
        os.fsync(file)
        for state in ("fresh", "recycled"):
            small = timed_writes(file, 4096, 500, 0, syncs=True)
            # Far from what was written before.
            large = timed_writes(file, 64 << 10, 300, 64 << 20, syncs=True)
            stream = timed_writes(file, 512 << 10, 500, 128 << 20, syncs=False)
            result[state] = {"sync_4k_ms": quantiles(small), "sync_64k_ms": quantiles(large),
                             "write_mb_per_second": (512 << 10) / 1e6 * len(stream) / sum(stream)}
        result["read_mb_per_second"] = timed_reads(file, 512 << 10, 500, 128 << 20)
    finally:
        os.close(file)
        path.unlink()
    text = ", ".join(f"{state}: 4 KiB write+sync p50 {each['sync_4k_ms']['p50']:.2f} p99 {each['sync_4k_ms']['p99']:.2f} ms, "
                     f"{each['write_mb_per_second']:,.0f} MB/s" for state, each in result.items() if isinstance(each, dict))
    note(f"disk, {text}; read {result['read_mb_per_second']:,.0f} MB/s")
    return result


def timed_writes(file, size, count, offset, syncs):
    """Seconds of each of `count` writes in a row."""
    # Anonymous memory is aligned to pages, which direct I/O asks for.
    block = mmap.mmap(-1, size)
    block.write(os.urandom(size))
    times = []
    for number in range(count):
        begun = time.perf_counter()
        os.pwrite(file, block, offset + number * size)
        if syncs:
            os.fdatasync(file)
        times.append(time.perf_counter() - begun)
    return times


def timed_reads(file, size, count, offset):
    block = mmap.mmap(-1, size)
    begun = time.perf_counter()
    for number in range(count):
        os.preadv(file, [block], offset + number * size)
    return size / 1e6 * count / (time.perf_counter() - begun)


def quantiles(seconds):
    ordered = sorted(seconds)
    return {name: ordered[int(len(ordered) * share)] * 1e3 for name, share in (("p50", 0.5), ("p99", 0.99))}


# -- showing -----------------------------------------------------------------------------------------------------------


def print_table(results, facts, options):
    """Shows everything, with the disk beside."""
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, {results['file_system']}; one core for the server, generator and "
          f"sink on another; 8-span traces over 8 services and {SPREAD} s, 1000 spans a request, 5 % kept, traces wait {DECISION_WAIT} s, "
          f"medians of {options.rounds} rounds of {options.window} s, commit {facts['commit']}\n")
    if results["rows"]:
        print("| requests | ack | spans/s at peak (each round) | of received | CPU s per million | bytes written a span (body) "
              "| writes/s, syncs/s | ack at half of synced's peak: p50, p99, p99.9 |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in results["rows"]:
        peak = row["peak"]
        ack = row.get("half", {}).get("ack_ms")
        latency = f"{ack['p50']:.2f}, {ack['p99']:.2f}, {ack['p999']:.2f} ms" if ack else "-"
        each = "-".join(f"{rate / 1e3:,.0f}k" for rate in (row["spans_per_second_each"][0], row["spans_per_second_each"][-1]))
        print(f"| {row['span_bytes']} B {row['compression']} | {row['ack']} | {peak['spans_per_second']:,.0f} ({each}) "
              f"| {row['of_received']:.2f} | {peak['cpu_s_per_million']:.3f} "
              f"| {peak['log_bytes_per_span']:.0f} ({peak['body_bytes_per_span']:.0f}) "
              f"| {peak['writes_per_second']:.0f}, {peak['syncs_per_second']:.0f} | {latency} |")
    print()
    for row in results["recovery"]:
        rate = row["log_bytes"] / 1e9
        told = f"; by its own clock {rate / row['seconds_told']:.2f} GB/s" if row["seconds_told"] else ""
        print(f"recovery, {row['span_bytes']} B {row['compression']}, {row['kind']}: {rate:.2f} GB in {row['seconds']:.2f} s from "
              f"start to ready = {row['gb_per_second']:.2f} GB/s, {row['gb_per_cpu_second']:.2f} GB a CPU second "
              f"({row['cpu_seconds']:.2f} CPU s){told}; "
              f"{row['spans_recovered']:,.0f} of {row['spans']:,} spans were open; a GiB of memory was touched in "
              f"{row['touch_s_per_gib'][0]:.2f} s before, {row['touch_s_per_gib'][1]:.2f} s once more")
    for moment, disk in zip(("before", "after"), results["disk"]):
        for state in ("fresh", "recycled"):
            each = disk[state]
            print(f"disk {moment}, {state} blocks: 4 KiB write+fdatasync p50 {each['sync_4k_ms']['p50']:.3f}, p99 "
                  f"{each['sync_4k_ms']['p99']:.3f} ms; 64 KiB p50 {each['sync_64k_ms']['p50']:.3f}, p99 "
                  f"{each['sync_64k_ms']['p99']:.3f} ms; direct writes {each['write_mb_per_second']:,.0f} MB/s")
        print(f"disk {moment}: direct reads {disk['read_mb_per_second']:,.0f} MB/s")
    wrong = [row for row in results["rows"] if row["peak"]["spans_refused"] or row.get("half", {}).get("spans_refused")]
    for row in wrong:
        print(f"{row['span_bytes']} B {row['compression']} {row['ack']}: spans were refused or not sent in time")
