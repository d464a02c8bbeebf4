"""The table of README: bare yardstick, tailwater, OpenTelemetry Collector, one after the other.

First the server gets all that it acknowledges (peak), with CPU time and memory read over a window in which decisions
run as fast as spans arrive; then half of the peak at an open-loop rate, for the latencies. The spans of a trace arrive
over two seconds (`generate --spread`).
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time

from processes import PERF, SPREAD, Process, binary, generate, note

CONFIG = PERF / "baseline.yaml"
DECISION_WAIT = 10
OPEN_LOOP_MAX = 2_000_000


def add_arguments(parser):
    """The options of this scenario."""
    parser.add_argument("--servers", default="bare,bare-defaults,tailwater,collector",
                        help="comma-separated, in this order; bare-defaults has h2's default frames and windows")


def settle(options):
    """Fills in what was not given."""
    options.window = options.window or (5 if options.quick else 20)
    options.sizes = [int(size) for size in (options.sizes or ("384" if options.quick else "384,794")).split(",")]
    options.compressions = (options.compressions or "none,gzip").split(",")


def run(options):
    """The rows of the table."""
    rows = []
    for name in options.servers.split(","):
        server = SERVERS[name](options)
        if not server:
            continue
        for size in options.sizes:
            for compression in options.compressions:
                note(f"{name}, {size} B a span, {compression}")
                rows.append(measure(name, server, size, compression, options))
    return {"rows": rows}


# -- servers -----------------------------------------------------------------------------------------------------------


def bare(options):
    return [options.load, "bare", "--listen", "%s:%d" % options.grpc, "--core", str(options.server_core), "--json"]


def bare_defaults(options):
    return [*bare(options), "--default-windows"]


def tailwater(options):
    path = binary("TAILWATER_BIN", "tailwater")
    if not path:
        note("no tailwater binary (TAILWATER_BIN or target/release/tailwater): left out")
        return None
    return [path, "run", "--config", str(CONFIG), "--data-dir", "DATA_DIR", "--shards", "1",
            "--cores", str(options.server_core), "--ack", "received"]


def collector(_options):
    built = subprocess.run([PERF / "peers"], stdout=subprocess.PIPE, text=True)
    if built.returncode:
        note("the Collector could not be built (perf/peers): left out")
        return None
    return [built.stdout.strip(), "--config", str(CONFIG)]


SERVERS = {"bare": bare, "bare-defaults": bare_defaults, "tailwater": tailwater, "collector": collector}


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure(name, command, size, compression, options):
    """One row of the table: peak, then half of it."""
    options.quiet.before(f"{name}, {size} B {compression}")
    directory = tempfile.mkdtemp(prefix="tailwater-perf-")
    command = [directory if word == "DATA_DIR" else word for word in command]
    expected = [f"{directory}/expect-{part}" for part in ("peak", "half")]
    sink = Process([options.load, "sink", "--listen", "%s:%d" % options.sink, "--runtime", "epoll", "--json",
                    "--quiet", "--allow-duplicates", "--expect", expected[0], "--expect", expected[1]],
                   options.load_core, directory, options)
    sink.wait_for(options.sink)
    server = Process(command, options.server_core, directory, options)
    decides = not name.startswith("bare")
    try:
        server.wait_for(options.grpc)
        time.sleep(1)
        idle = server.resident_bytes()
        peak, summary = observe(name, server, decides, size, compression, options, expected[0])
        # What is pending from the peak is decided before the latencies are taken.
        time.sleep(DECISION_WAIT + 3 if decides else 1)
        # The generator shares its core with the sink: what only counts takes more than it can send on time.
        rate = min(peak["spans_per_second"] / 2, OPEN_LOOP_MAX)
        half, half_summary = observe(name, server, decides, size, compression, options, expected[1], rate)
        # The server decides what is pending and sends it on before it ends; then the sink judges.
        server.stop()
        sink.stop()
        judged = json.loads(sink.log.read_text().strip().splitlines()[-1]) if decides else None
    finally:
        server.stop()
        sink.stop()
        shutil.rmtree(directory, ignore_errors=True)
    failed = sum(each["refused"] + each["unsent"] for each in (summary, half_summary))
    row = {"server": name, "span_bytes": size, "compression": compression, "idle_bytes": idle, "peak": peak,
           "half": half, "spans_refused": failed}
    if decides:
        row["resident_over_wire"] = peak["resident_bytes"] / max(peak["pending_wire_bytes"], 1)
        row["resident_less_idle_over_wire"] = (peak["resident_bytes"] - idle) / max(peak["pending_wire_bytes"], 1)
    # Where the pool of compressed bodies repeats, a trace comes twice by design and nothing can be judged.
    if judged and not (summary["ids_repeated"] or half_summary["ids_repeated"]):
        row.update(traces_kept=judged["traces"], traces_demanded=judged["demanded"],
                   traces_missing=judged["missing"]["count"], traces_partial=judged["partial"]["count"],
                   traces_with_duplicates=judged["duplicates"]["count"])
    note(f"  {peak['spans_per_second']:,.0f} spans/s, {peak['cpu_s_per_million']:.3f} CPU s per million, "
         f"ack p99 {half['ack_ms']['p99']:.1f} ms")
    return row


def observe(name, server, decides, size, compression, options, expect, rate=None):
    """Loads the server; CPU, memory and latencies over the window in which decisions keep pace."""
    warm = DECISION_WAIT + 3 if decides else 2
    samples = []

    def sample(progress):
        samples.append((progress["seconds"], progress["acked"], server.cpu_seconds(), server.resident_bytes()))

    summary = load(name, options, size, compression, warm, expect, rate, sample)
    # What is sent after the end, when the last traces get the rest of their spans, is not at full rate.
    window = [line for line in samples if warm - 0.05 <= line[0] <= warm + options.window + 0.5]
    if len(window) < 2:
        sys.exit(f"perf/run: too few progress lines to measure; first error: {summary['first_error']}")
    (begin, acked_before, cpu_before, _), (end, acked, cpu, resident) = window[0], window[-1]
    spans = acked - acked_before
    pending_since = max([line for line in samples if line[0] <= end - DECISION_WAIT] or [(0, 0)])
    per_span = summary["body_bytes_plain"] / max(summary["acked"], 1)
    return {
        "spans_per_second": spans / (end - begin),
        "cpu_s_per_million": (cpu - cpu_before) / max(spans, 1) * 1e6,
        "cpu_share": (cpu - cpu_before) / (end - begin),
        "resident_bytes": resident,
        "pending_wire_bytes": (acked - pending_since[1]) * per_span,
        "generator_ns_per_span": summary["cpu_ns_per_span"],
        "ack_ms": summary["ack_ms"],
    }, summary


def load(name, options, size, compression, warm, expect, rate, on_progress):
    """Runs the generator against a server of the table; its summary is returned."""
    # Trace ids repeat once the pool is used up. Where that matters it must last well beyond the decision; the pool of a
    # server that only counts may repeat, and the Collector does not get that far.
    pool = "2GiB" if name == "tailwater" else "256MiB"
    arguments = ["--span-bytes", str(size), "--compression", compression, "--pool-bytes", pool, "--expect-out", expect,
                 "--spread", f"{SPREAD}s",
                 "--duration", f"{warm + options.window + 0.5}s", "--warm-up", f"{warm}s"]
    return generate(options, arguments + (["--rate", f"{rate:.0f}"] if rate else []), on_progress)


# -- showing -----------------------------------------------------------------------------------------------------------


def print_table(results, facts, options):
    """Shows the table, and what went wrong."""
    rows = results["rows"]
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, one core for the server, generator and sink on another; "
          f"8-span traces over 8 services and {SPREAD} s, 5 % kept, window {options.window} s, commit {facts['commit']}\n")
    print("| span | server | spans/s | CPU s per million | at half of peak | resident / pending wire "
          "| ack at half of peak: p50, p99, max |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for row in sorted(rows, key=lambda row: (row["compression"] != "none", row["span_bytes"])):
        wire = f"{row['resident_over_wire']:.2f}" if "resident_over_wire" in row else "-"
        peak, half = row["peak"], row["half"]
        ack = half["ack_ms"]
        kind = f"{row['span_bytes']} B" + (f" {row['compression']}" if row["compression"] != "none" else "")
        print(f"| {kind} | {row['server']} | {peak['spans_per_second']:,.0f} | {peak['cpu_s_per_million']:.3f} "
              f"| {half['cpu_s_per_million']:.3f} | {wire} | {ack['p50']:.2f}, {ack['p99']:.2f}, {ack['max']:.1f} ms |")
    print()
    for compression in options.compressions:
        for size in options.sizes:
            # The Collector at its limit spends most of its time on garbage: it is compared at its better point.
            cost = {row["server"]: min(row[point]["cpu_s_per_million"] for point in ("peak", "half")) for row in rows
                    if row["span_bytes"] == size and row["compression"] == compression}
            if "tailwater" in cost:
                ratios = [f"{cost['tailwater'] / cost[other]:.2f} x {text}" for other, text in (
                    ("bare", "the bare server's"), ("bare-defaults", "that with h2's defaults")) if cost.get(other)]
                if "collector" in cost:
                    ratios.append(f"1/{cost['collector'] / cost['tailwater']:.1f} of the Collector's")
                print(f"{size} B {compression}: tailwater's CPU is " + ", ".join(ratios) + " (each at its better point)")
    for row in rows:
        faults = (("spans_refused", "spans refused or not sent in time"), ("traces_missing", "traces missing"),
                  ("traces_partial", "traces half kept"), ("traces_with_duplicates", "traces with a span twice"))
        wrong = [f"{row[key]} {text}" for key, text in faults if row.get(key)]
        if wrong:
            print(f"{row['server']} {row['span_bytes']} B {row['compression']}: " + ", ".join(wrong))
