"""Nodes that hardly get to run: is one said to be dead that lives?

First every core has a process that never rests beside the nodes, then each node may use a part of a core only (cgroup v1
`cpu.cfs_quota_us`, where there is one and this is root). Nobody is ended: whoever is said to be gone is so falsely.
"""

import os
import sys
from pathlib import Path

from parts import Cluster
from processes import note, start

RATE = 1_000
# Busy processes for each core.
BUSY_PER_CORE = 2
# A node may run so many microseconds in each period.
PERIOD_MICROSECONDS, QUOTA_MICROSECONDS = 100_000, 4_000
SPIN = "while True: pass"
CPU = Path("/sys/fs/cgroup/cpu")


class Quota:
    """A control group for each node."""

    def __init__(self, nodes):
        self.paths = []
        try:
            for node in nodes:
                path = CPU / f"tailwater-{os.getpid()}-{node.number}"
                path.mkdir()
                self.paths.append(path)
                (path / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
                (path / "cpu.cfs_quota_us").write_text(str(QUOTA_MICROSECONDS))
                (path / "cgroup.procs").write_text(str(node.process.pid))
        except BaseException:
            self.close()
            raise

    def throttled(self):
        """Periods in which nodes had to stand still, of all."""
        pairs = [dict(line.split() for line in (path / "cpu.stat").read_text().splitlines()) for path in self.paths]
        return sum(int(each["nr_throttled"]) for each in pairs), sum(int(each["nr_periods"]) for each in pairs)

    def close(self):
        for path in self.paths:
            for process in (path / "cgroup.procs").read_text().split():
                (CPU / "cgroup.procs").write_text(process)
            path.rmdir()
        self.paths = []


def run(around):
    around.rate = min(around.rate, RATE)
    has_quota = os.geteuid() == 0 and (CPU / "cpu.cfs_quota_us").exists() or os.access(CPU, os.W_OK)
    seconds = max(10, int(around.minutes * 60 / (2 if has_quota else 1)))
    with Cluster("starved", around) as cluster:
        busy(cluster, around, seconds)
        if has_quota:
            quota(cluster, seconds)
        else:
            note("left out: a quota of processor time, because there is no cgroup v1 for it, or this is not root")
    for row in cluster.rows:
        gone, rejoined = row["counters"]["members_gone"], row["counters"]["rejoined"]
        if gone or rejoined:
            row["faults"].append(f"{gone} times a member was said to be gone, {rejoined} times one had to come back")
    return cluster.rows


def busy(cluster, around, seconds):
    """Processes that never rest."""
    count = BUSY_PER_CORE * (os.cpu_count() or 1)
    spinning = [start([sys.executable, "-c", SPIN], around.directory / "busy.log") for _ in range(count)]
    try:
        cluster.phase(f"{count} busy processes on {os.cpu_count()} cores for {seconds} s", seconds, is_connected=False)
    finally:
        for each in spinning:
            each.kill()
            each.wait()


def quota(cluster, seconds):
    """Nodes that may use a part of a core."""
    quotas = Quota(cluster.nodes)
    try:
        share = QUOTA_MICROSECONDS / PERIOD_MICROSECONDS
        cluster.phase(f"{share:.0%} of a core for each node, {seconds} s", seconds, is_connected=False)
        throttled, periods = quotas.throttled()
        cluster.rows[-1]["part"] += f" (throttled in {throttled} of {periods} periods)"
    finally:
        quotas.close()
