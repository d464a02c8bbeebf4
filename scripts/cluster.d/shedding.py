"""One node has no room for all that comes: do all give up the same traces, and does what is left stand for what came?

The node may hold fewer undecided traces than come within their wait, and holds its senders back. What leaves is read from the
files of the nodes, with the threshold in each span's tracestate.
"""

import json
import math
import re

from parts import NODES, SHOWN, Cluster
from processes import Generator, note

SECONDS, WAIT, SPANS_PER_TRACE = 24, 3, 8
# Spans a second; of the traces of these the first node may hold as many as come in two seconds.
RATE = 2_000
HELD_BY_THE_FIRST = 2 * RATE // SPANS_PER_TRACE
# How far what is left may be from what came, in standard deviations of such a draw.
DEVIATIONS_MAX = 4
CONFIGURATION = """
log: {{format: json}}
shards: 1
cluster: {{shed_halvings_max: 2}}
sampling: {{decision_wait: {wait}s, decision_wait_after_root_received: 0s, num_traces: {held}, block_on_overflow: true}}
pipelines:
  judged:
    exporters: [file]
    policies: [{{name: everything, type: always_sample}}]
exporters:
  file: {{path: {path}}}
"""
THRESHOLD = re.compile(r"\bth:([0-9a-f]{1,14})")


def run(around):
    def configure(number):
        held = HELD_BY_THE_FIRST if number == 0 else 100_000
        return CONFIGURATION.format(wait=WAIT, held=held, path=kept_file(around, number))

    with Cluster("shed", around, wait=WAIT, configure=configure) as cluster:
        generator = cluster.fault = Generator("shed", around, [node.address for node in cluster.nodes], SECONDS, RATE)
        sent = generator.wait()
        cluster.fault = None
        cluster.settle()
        shed = [node.sum("tailwater_items_dropped_total", 'reason="shed"') for node in cluster.nodes]
        counters = cluster.counters()
    traces = {}
    for number in range(NODES):
        read(kept_file(around, number), traces)
    came = sent["acked"] / SPANS_PER_TRACE
    weights = [1 / (1 - max(passed)) for passed, _ in traces.values()]
    deviation = math.sqrt(sum(weight * (weight - 1) for weight in weights))
    stands_for = sum(weights)
    partial = [trace for trace, (_, spans) in traces.items() if len(spans) != SPANS_PER_TRACE]
    torn = [trace for trace, (passed, _) in traces.items() if len(passed) != 1]
    row = {"part": f"shed: node 0 holds {HELD_BY_THE_FIRST} traces", "acknowledged": sent["acked"], "demanded": len(traces),
           "missing": 0, "partial": len(partial), "twice": 0, "lost": 0,
           "counters": {name: int(counters[name]) for name in SHOWN},
           "faults": faults(partial, torn, shed, (stands_for, came, deviation))}
    note(f"{row['part']}: {came:.0f} traces came, {len(traces)} left and stand for {stands_for:.0f}; spans shed by the nodes: "
         f"{', '.join(f'{spans:.0f}' for spans in shed)}; {len(partial)} traces partial {partial[:3]}"
         + "".join(f"\n  BROKEN: {fault}" for fault in row["faults"]))
    return [row]


def faults(partial, torn, shed, counts):
    """What must not be."""
    found = []
    if partial:
        found.append(f"{len(partial)} traces are partial")
    if torn:
        found.append(f"{len(torn)} traces left with several thresholds")
    if not all(shed):
        found.append("not all nodes shed")
    stands_for, came, deviation = counts
    if abs(stands_for - came) > DEVIATIONS_MAX * deviation:
        found.append(f"what left stands for {stands_for:.0f} traces of {came:.0f}, by chance {deviation:.0f} more or less")
    return found


def kept_file(around, number):
    return around.directory / f"kept-{number}.jsonl"


def read(path, traces):
    """Adds what a node let out: the share of traces that each span says others did not pass, and the ids of the spans."""
    for line in path.read_text().splitlines():
        for resource in json.loads(line).get("resourceSpans", ()):
            for scope in resource.get("scopeSpans", ()):
                for span in scope.get("spans", ()):
                    found = THRESHOLD.search(span.get("traceState", ""))
                    passed = int(found[1].ljust(14, "0"), 16) / 2**56 if found else 0.0
                    thresholds, spans = traces.setdefault(span["traceId"], (set(), set()))
                    thresholds.add(passed)
                    spans.add(span["spanId"])
