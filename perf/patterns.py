"""What it costs to count the pattern of a log line: processor time, and instructions, which are the same each time.

The lines are those of the tests (`rollup/tests/patterns/lines.tsv`: 27 services, 88 messages, 62 B a line, stack traces and
JSON among them), counted again and again in one process (`tailwater-load patterns --rounds`) in the profile `fast`. That
has tables that are warm and no line that is new; a line that is, costs microseconds, once.
"""

import json
import os
import re
import resource
import subprocess

import cost
from processes import ROOT, binary, note, target

LINES = ROOT / "rollup" / "tests" / "patterns" / "lines.tsv"
PROFILE = "fast"
# Rounds that are timed, and the two of which the difference is counted.
ROUNDS, QUICK_ROUNDS = 5000, 500
COUNTED = (2, 12)
TURNS = 5


def main(options):
    """Builds, times and counts; the exit status."""
    if not options.built:
        note(f"building tailwater-load in the profile {PROFILE}")
        subprocess.run(["cargo", "build", "--profile", PROFILE, "-p", "tailwater-bench", "--bin", "tailwater-load"],
                       cwd=ROOT, check=True, env={**os.environ, "CARGO_INCREMENTAL": "0"})
    load = binary("LOAD_BIN" if options.built else "", "tailwater-load", PROFILE)
    if not load:
        note(f"perf/run: no tailwater-load in {target() / PROFILE}; leave --built out to build it")
        return 2
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    times = sorted(timed(load, rounds, options.server_core) for _ in range(TURNS))
    best, median = times[0], times[len(times) // 2]
    print(f"{median:.0f} ns of a core a line (median of {TURNS}, best {best:.0f}): {1e9 / median:,.0f} lines/s")
    if options.instructions:
        cost.needs_valgrind()
        few, many = (counted(load, number) for number in COUNTED)
        print(f"{(many[0] - few[0]) / (many[1] - few[1]):,.0f} instructions a line")
    return 0


def timed(load, rounds, core):
    """Processor time of a line: what a run with these rounds takes more than one with none."""
    (none, _), (many, lines) = (processor_time(load, number, core) for number in (0, rounds))
    return (many - none) / (lines * rounds) * 1e9


def processor_time(load, rounds, core):
    """Seconds of a run, and the lines of a round. Others on the core take none of it."""
    command = ["taskset", "-c", str(core), load, "patterns", "--input", str(LINES), "--rounds", str(rounds), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, json.loads(child.stdout)["lines"]


def counted(load, rounds):
    """Instructions of a run, and the lines it counted in its rounds."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", load, "patterns", "--input", str(LINES),
               "--rounds", str(rounds), "--json"]
    child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", child.stderr)[1]), json.loads(child.stdout)["lines"] * rounds
