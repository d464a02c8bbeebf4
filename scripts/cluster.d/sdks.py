"""One trace through three programs, each with another SDK and another node: whole at the sink, or not there at all.

The programs are those of tests/clients. The first begins the traces, each hands the next the header that it would send along
(traceparent). Every third trace has an error, in turn in the spans of each program: what one node knows decides for all.
"""

import os
import shutil
import subprocess
from pathlib import Path

from network import GRPC, HTTP
from parts import NODES, SHOWN, Cluster
from processes import ERRORS, Broken, Sink, note

TRACES = 60
ERROR_EVERY = 3
WAIT = 15


def clients():
    """Where `scripts/setup tests` puts the SDKs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TAILWATER_CACHE") or Path(home) / "tailwater") / "clients"


def environment():
    """Programs talk to nodes of this machine, not to a proxy."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def hops(around):
    """The commands, in the order in which a request goes through them; the address of a node is still to come."""
    sources, installed = around.root / "tests/clients", clients()
    subprocess.run([around.root / "scripts/setup", "tests"], check=True)
    # Its imports are found beside the script.
    script = installed / "javascript/hop.mjs"
    shutil.copy(sources / "hop.mjs", script)
    found = [("Python", [installed / "python/bin/python", sources / "hop.py"], "http://{address}:%d" % GRPC),
             ("JavaScript", ["node", script], "http://{address}:%d" % HTTP)]
    if not shutil.which("go"):
        note("left out: the Go SDK, because there is no go; a second Python program stands in for it")
        return [*found, ("Python again", *found[0][1:])]
    program = installed / "hop-go"
    subprocess.run(["go", "build", "-o", program, "."], cwd=sources / "hop", check=True)
    return [*found, ("Go", [program], "{address}:%d" % GRPC)]


def run(around):
    # Built and fetched outside the namespaces, which have no network.
    programs = around.network.outside(lambda: hops(around))
    with Cluster("sdks", around, wait=WAIT, policies=ERRORS) as cluster:
        cluster.sinks = [Sink(f"{number}", around, cluster.sink(number)) for number in range(NODES + 1)]
        expected = {}
        lines = ["-"] * TRACES
        for turn, (name, command, endpoint) in enumerate(programs):
            is_error = lambda number: number % ERROR_EVERY == 0 and number // ERROR_EVERY % len(programs) == turn
            given = "".join(f"{line}{' error' if is_error(number) else ''}\n" for number, line in enumerate(lines))
            target = endpoint.format(address=cluster.nodes[turn].address)
            done = subprocess.run([*map(str, command), target], input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, env=environment(), timeout=60)
            answers = done.stdout.split("\n")[:-1]
            if done.returncode != 0 or len(answers) != TRACES:
                raise Broken(f"the {name} program failed: {done.stderr[-2000:]}")
            lines = [answer.split(" ")[0] for answer in answers]
            for number, answer in enumerate(answers):
                expected.setdefault((number, answer.split("-")[1]), set()).update(answer.split(" ")[1].split(","))
        cluster.settle()
        for sink in cluster.sinks:
            sink.end()
        row = judged(cluster, expected)
        cluster.sinks = []
    names = ", ".join(name for name, *_ in programs)
    row["part"] = f"sdks: {TRACES} traces through {names}"
    note(f"{row['part']}: {row['demanded']} demanded, {row['missing']} missing, {row['partial']} partial, "
         f"{row['lost']} spans lost")
    return [row]


def judged(cluster, expected):
    """Every trace went through all programs; those with an error come out with all spans, no other does."""
    kept, whole = {}, cluster.sinks[NODES].traces()
    for sink in cluster.sinks[:NODES]:
        for trace, (_, spans) in sink.traces().items():
            kept.setdefault(trace, set()).update(spans)
    demanded = {trace: spans for (number, trace), spans in expected.items() if number % ERROR_EVERY == 0}
    missing = [trace for trace in demanded if trace not in kept]
    partial = [trace for trace, spans in kept.items() if spans != demanded.get(trace)]
    lost = sum(len(spans - whole.get(trace, (0, set()))[1]) for (_, trace), spans in expected.items())
    counters = cluster.counters()
    wrong = missing or partial or lost or len(expected) != TRACES
    return {"acknowledged": sum(map(len, expected.values())), "demanded": len(demanded), "missing": len(missing),
            "partial": len(partial), "twice": 0, "lost": lost, "counters": {name: int(counters[name]) for name in SHOWN},
            "faults": ["a trace is not whole"] if wrong else []}
