"""Instructions of a span's way through a shard beside what perf/budget.toml allows.

Counting is the same each time, whatever else the machine does, so that a change that costs a few instructions a span is
seen where a clock sees nothing. The program is built in the profile `fast`, which needs no link over all crates. Requests
are small here, so that it takes seconds; the counts are not those of `perf/run policies --instructions`.
"""

import os
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor

import cost
import policies
from processes import PERF, ROOT, binary, note, target

FILE = PERF / "budget.toml"
PROFILE = "fast"
# Above it a count fails, and as far below it the budget is too high to see the next regression.
TOLERANCE = 0.03
FIELDS = {"policies": str, "span_bytes": int, "instructions_per_span": int, "why": str}
# Of a case in which spans are scattered over the nodes of a cluster: a span's part of all that these do.
MORE_FIELDS = {"nodes": int}


def add_arguments(group):
    group.add_argument("--built", action="store_true",
                       help="count what is built already, in the profile fast or as LOAD_BIN says")


def main(options):
    """Builds, counts and compares; the exit status."""
    cost.needs_valgrind()
    cases = read(FILE.read_text())
    if not options.built:
        note(f"building tailwater-load in the profile {PROFILE}")
        # In increments the compiler makes other code, a sixth more of it.
        subprocess.run(["cargo", "build", "--profile", PROFILE, "-p", "tailwater-bench", "--bin", "tailwater-load"],
                       cwd=ROOT, check=True, env={**os.environ, "CARGO_INCREMENTAL": "0"})
    load = binary("LOAD_BIN" if options.built else "", "tailwater-load", PROFILE)
    if not load:
        note(f"perf/run: no tailwater-load in {target() / PROFILE}; leave --built out to build it")
        return 2
    # Processes do the work: threads wait for them, one a core.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        counts = list(threads.map(lambda case: count(case, load), cases))
    lines, fails = compare(zip(cases, counts))
    print(*lines, sep="\n")
    return int(fails)


def count(case, load):
    configuration = policies.configuration(policies.SETS[case["policies"]])
    nodes = case.get("nodes", 1)
    more = cost.SHORT if nodes == 1 else [*cost.SHORT, "--nodes", str(nodes)]
    return cost.instructions(words(case), configuration, case["span_bytes"], load, cost.SHORT_ROUNDS, more=more)


def words(case):
    """The policies of a case, and its nodes where they are several."""
    return case["policies"] + (f", {case['nodes']} nodes" if "nodes" in case else "")


def read(text):
    """The cases of the budget's file, each with all its fields."""
    cases = tomllib.loads(text)["case"]
    for case in cases:
        fields = {**FIELDS, **{key: kind for key, kind in MORE_FIELDS.items() if key in case}}
        wrong = [key for key, kind in fields.items() if not isinstance(case.get(key), kind) or not case[key]]
        if wrong or set(case) - set(fields) or case["policies"] not in policies.SETS:
            raise SystemExit(f"perf/budget.toml: {case}: each case has {', '.join(FIELDS)}, and policies of perf/policies.py")
    return cases


def compare(rows):
    """The table, with what is to be done where a count is not within the budget; and whether a case fails."""
    lines = ["", "| span | policies | budget | now | |", "| --- | --- | ---: | ---: | ---: |"]
    advice, fails = [], False
    for case, count in rows:
        name, allowed = f"{case['span_bytes']} B, {words(case)}", case["instructions_per_span"]
        change = count / allowed - 1
        lines.append(f"| {case['span_bytes']} B | {words(case)} | {allowed:,} | {count:,.0f} | {change:+.1%} |")
        if change > TOLERANCE:
            fails = True
            advice.append(f"{name}: {change:.1%} above the budget. Make it cheaper, or raise it in perf/budget.toml to "
                          f"{count:.0f} and say there why")
        elif change < -TOLERANCE:
            advice.append(f"{name}: {-change:.1%} below the budget. Lower it in perf/budget.toml to {count:.0f}")
    return lines + [""] * bool(advice) + advice, fails
