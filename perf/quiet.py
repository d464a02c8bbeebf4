"""Whether the machine was left alone while something was measured.

Before each round a fixed piece of work runs many times on each core that is measured on. Its own best of the whole run says
how fast the machine is when nobody else uses it, and its median at the moment how fast it is now. From one such probe to the
next, `/proc/stat` says how much time a hypervisor took away (steal), and how much of the busy time was not that of this
process and its children.
"""

import os
import statistics
import time
from pathlib import Path

from processes import TICKS, note

# Pieces of work of a probe on one core, and additions in each, about 4 ms: a probe of two cores takes a quarter of a second.
PIECES = 30
ADDITIONS = 400_000
# The median piece, over the best one of the run.
SLOWDOWN_MAX = 1.15
# Of the probe's time, what it was ready to run and did not.
WAITING_MAX = 0.05
# Of one core, over a window.
STEAL_MAX = 0.02
OTHERS_MAX = 0.10
# The kernel counts in ticks of 10 ms: over a shorter window they say nothing.
WINDOW_SECONDS_MIN = 1.0


class Quiet:
    """Probes before each round, and remembers what was found."""

    def __init__(self, cores):
        self.cores = sorted(set(cores))
        self.best, self.probes, self.findings = {}, [], []
        self.label, self.begin = None, None

    def before(self, label, cores=None):
        """A round begins: what came since the last one is judged, and the machine is probed on these cores."""
        self.close()
        self.probe(f"before {label}", self.cores if cores is None else cores)
        self.label, self.begin = label, snapshot()

    def end(self):
        """Says what disturbed the run; nothing if it was quiet."""
        self.close()
        self.probe("at the end", self.cores)
        return self.findings + slow(self.probes, self.best)

    def close(self):
        if self.begin is None:
            return
        found = disturbed(self.begin, snapshot())
        for text in found:
            note(f"disturbed: {self.label}: {text}")
        self.findings += [f"{self.label}: {text}" for text in found]
        self.begin = None

    def probe(self, label, cores):
        for core in cores:
            pieces, waiting = spin(core)
            self.best[core] = min(self.best.get(core, pieces[0]), *pieces)
            self.probes.append((label, core, statistics.median(pieces), waiting))


def spin(core):
    """Seconds of each piece of work on this core, and the share of the time in which it had to wait for the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        wall, cpu, pieces = time.perf_counter(), time.thread_time(), []
        for _ in range(PIECES):
            begun = time.perf_counter()
            sum(range(ADDITIONS))
            pieces.append(time.perf_counter() - begun)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    finally:
        os.sched_setaffinity(0, before)
    return pieces, max(0.0, 1 - cpu / wall)


def slow(probes, best):
    """The probes that were not as fast as the best, or had to wait."""
    found = []
    for label, core, middle, waiting in probes:
        if middle > SLOWDOWN_MAX * best[core]:
            found.append(f"{label}: core {core} took {middle / best[core]:.2f} of its best for the same work")
        if waiting > WAITING_MAX:
            found.append(f"{label}: core {core} was busy for {waiting:.0%} of the probe")
    return found


def snapshot():
    """The time, and the CPU seconds until now: of the machine, stolen from it, and our own."""
    fields = [int(field) / TICKS for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _wait, hard, soft, steal = fields[:8]
    return {"time": time.monotonic(), "busy": user + nice + system + hard + soft, "steal": steal, "own": own_seconds()}


def own_seconds():
    """CPU seconds of this process, of its children that have ended and of those that live, down to theirs."""
    parents, seconds = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            # It ended meanwhile.
            continue
        parents[int(entry.name)] = int(fields[1])
        # Its own and those of its ended children, user and system.
        seconds[int(entry.name)] = sum(int(field) for field in fields[11:15]) / TICKS
    return sum(seconds[process] for process in descendants(os.getpid(), parents))


def descendants(root, parents):
    """The process and all that come from it."""
    found = {root}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found & (set(parents) | {root})
        found |= more


def disturbed(begin, end):
    """What was not ours between two snapshots, in words; nothing if little."""
    seconds = end["time"] - begin["time"]
    if seconds < WINDOW_SECONDS_MIN:
        return []
    passed = {key: (end[key] - begin[key]) / seconds for key in ("busy", "steal", "own")}
    found = []
    if passed["steal"] > STEAL_MAX:
        found.append(f"the hypervisor took {passed['steal']:.0%} of a core away")
    if passed["busy"] - passed["own"] > OTHERS_MAX:
        found.append(f"other processes used {passed['busy'] - passed['own']:.0%} of a core")
    return found
