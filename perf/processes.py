"""The parts that scenarios have in common: pinned children, the generator, the facts of the machine."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PERF = Path(__file__).resolve().parent
ROOT = PERF.parent
TICKS = os.sysconf("SC_CLK_TCK")
# Seconds over which the spans of a trace arrive, as those of services that send every few seconds do. Together, a trace is
# still in the processor's caches when its next span comes.
SPREAD = 2


def binary(variable, name, profile="release"):
    """The path in the environment variable, else the build in this profile, else None."""
    given = os.environ.get(variable)
    path = Path(given) if given else target() / profile / name
    return str(path) if path.is_file() else None


def target():
    """Where cargo puts what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def pinned(core, options):
    return ["nice", "-n", str(options.nice), "taskset", "-c", str(core)]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [each.getsockname() for each in sockets]
    for each in sockets:
        each.close()
    return addresses


class Process:
    """A child pinned to a core with all its threads, its output in a file, stopped by SIGTERM."""

    def __init__(self, command, core, directory, options):
        self.log = Path(directory) / f"{Path(command[0]).name}-{command[1].strip('-')}.log"
        with open(self.log, "w") as log:
            self.child = subprocess.Popen([*pinned(core, options), *command], stdout=log, stderr=log, cwd=directory)

    def wait_for(self, address, pause=0.1, patience=30):
        """Returns once something listens there."""
        for _ in range(int(patience / pause)):
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(address, timeout=1).close()
                return
            except OSError:
                time.sleep(pause)
        text = self.log.read_text()[-3000:]
        self.stop()
        sys.exit(f"perf/run: nothing listens on {address[0]}:{address[1]}; the server said:\n{text}")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def written_bytes(self):
        """What it has sent to disks."""
        lines = Path(f"/proc/{self.child.pid}/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))

    def resident_bytes(self):
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def kill(self, address):
        """Ends it as a crash would, and returns once nothing listens there any more."""
        self.child.kill()
        self.child.wait()
        # What io_uring holds is released a while after the process.
        for _ in range(500):
            try:
                socket.create_connection(address, timeout=1).close()
            except ConnectionRefusedError:
                return
            except OSError:
                pass
            time.sleep(0.02)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        # What io_uring holds is released a moment after the process: the next server needs the ports.
        time.sleep(0.3)


def generate(options, arguments, on_progress=lambda _line: None):
    """Runs the generator on the load core; its summary is returned."""
    command = [*pinned(options.load_core, options), options.load, "generate", "--target", "http://%s:%d" % options.grpc,
               "--runtime", "epoll", "--timeout", "60s", "--keep-share", "0.05", "--json", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    other = []

    def read():
        for line in child.stderr:
            if line.startswith("{"):
                on_progress(json.loads(line))
            else:
                other.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        text = child.stdout.read()
    finally:
        if sys.exc_info()[0]:
            child.kill()
        child.wait()
        reader.join()
    if not text.strip():
        sys.exit("perf/run: the generator failed: " + "".join(other))
    return json.loads(text.strip().splitlines()[-1])


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal:"))) >> 20
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpu": model, "cores": os.cpu_count(),
            "memory_gib": memory, "kernel": platform.release(), "load_before": os.getloadavg()[0]}


def note(text):
    print(text, file=sys.stderr, flush=True)
