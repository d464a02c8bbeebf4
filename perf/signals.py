"""What span metrics and the service graph cost: instructions of a span's way through a shard with them over those without.

The same corpus and policies as `perf/run budget`, 384 B and 794 B; counting is the same each time, whatever else the machine
does. With resources, kinds, names and statuses as the generator has them: some hundred series.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import cost
import policies
from processes import ROOT, binary, note, target

PROFILE = "fast"
SIZES = (384, 794)
# Of 100 ms each: what is counted is told to the journal every twenty.
ROUNDS = (20, 60)
KINDS = {
    "nothing": [],
    "span metrics": ["--span-metrics"],
    "the service graph": ["--service-graph"],
    "both": ["--span-metrics", "--service-graph"],
}


def main(options):
    """Builds and counts; the exit status."""
    cost.needs_valgrind()
    if not options.built:
        note(f"building tailwater-load in the profile {PROFILE}")
        subprocess.run(["cargo", "build", "--profile", PROFILE, "-p", "tailwater-bench", "--bin", "tailwater-load"],
                       cwd=ROOT, check=True, env={**os.environ, "CARGO_INCREMENTAL": "0"})
    load = binary("LOAD_BIN" if options.built else "", "tailwater-load", PROFILE)
    if not load:
        note(f"perf/run: no tailwater-load in {target() / PROFILE}; leave --built out to build it")
        return 2
    configuration = policies.configuration(policies.SETS["ten"])
    cases = [(size, more) for size in SIZES for more in KINDS.values()]

    def counted(case):
        size, more = case
        name = " ".join(more) or "ten policies"
        return cost.instructions(name, configuration, size, load, ROUNDS, more=[*cost.SHORT, *more])

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        counts = list(threads.map(counted, cases))
    for place, size in enumerate(SIZES):
        without, *with_them = counts[len(KINDS) * place:len(KINDS) * (place + 1)]
        print(f"{size} B: {without:,.0f} instructions a span")
        for kind, count in zip([*KINDS][1:], with_them):
            print(f"    {count:,.0f} with {kind}: {count / without:.3f}")
    return 0
