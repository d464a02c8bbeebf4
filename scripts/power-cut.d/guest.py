"""Runs as the first process of the guest of scripts/power-cut: starts the node, sends, checks what was delivered.

Reports to /run/shared/state, a directory of the host, one line at a time. The id of each acknowledged span is appended
to /run/shared/acknowledged-<boot> and synced there after the answer came, so that the record is never ahead of the
acknowledgement. Reads the environment that the script has set.
"""

import ctypes
import fcntl
import glob
import gzip
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

SHARED = "/run/shared"
DATA = "/run/disk/data"
KEPT = f"{DATA}/kept.jsonl"
THREADS = 6
SPANS_PER_REQUEST_MAX = 12
PADDING_BYTES_MAX = 600
RECENT_TRACES = 32
PATIENCE = float(os.environ["patience"])
NUMBER = int(os.environ["number"])

CONFIGURATION = """
otlp:
  grpc: {endpoint: "127.0.0.1:0", request_bytes_max: 1MiB}
  http: {endpoint: "127.0.0.1:0", request_bytes_max: 1MiB}
admin: {endpoint: "127.0.0.1:0"}
log: {format: json}
memory: {bytes_max: 256MiB}
wal: {bytes_max: 64MiB, segment_bytes_max: 1MiB}
sampling:
  decision_wait: 1s
  decision_wait_after_root_received: 0s
  policies: [{name: all, type: always_sample}]
"""


def append(name, text):
    """Appends to a file of the host; returns when the host has it."""
    handle = os.open(f"{SHARED}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(handle, text.encode())
    os.fsync(handle)
    os.close(handle)


def report(text):
    append("state", text + "\n")


def bring_loopback_up():
    """`ip link set lo up`, where there may be no ip."""
    set_flags, up_and_running = 0x8914, 0x1 | 0x40
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", up_and_running))


def start_node():
    """Returns the process and the address of OTLP/HTTP once it is ready."""
    with open("/run/tailwater.yaml", "w") as file:
        file.write(CONFIGURATION)
    command = [os.environ["program"], "run", "--config", "/run/tailwater.yaml", "--data-dir", DATA]
    command += ["--runtime", "epoll", "--shards", "2", "--ack", os.environ["ack"]]
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    report(f"started {node.pid}")
    ready = threading.Event()
    address = []

    def read_log():
        for line in node.stderr:
            append(f"node-{NUMBER}.log", line.decode(errors="replace"))
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("message") == "ready":
                address.append(event["http"])
                ready.set()
        ready.set()

    threading.Thread(target=read_log, daemon=True).start()
    if not ready.wait(PATIENCE) or not address:
        raise RuntimeError(f"the node did not get ready, see node-{NUMBER}.log")
    return node, address[0]


class Sender(threading.Thread):
    """Sends traces until the power goes, in requests of some spans; a trace may go on in later requests."""

    def __init__(self, address, index):
        super().__init__(daemon=True)
        self.address = address
        self.random = random.Random(f"{os.environ['seed']}/{index}")
        self.handle = os.open(f"{SHARED}/acknowledged-{NUMBER}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.recent = []

    def request(self):
        """The ids of a request's spans and its body."""
        ids, spans = [], []
        for _ in range(self.random.randint(1, SPANS_PER_REQUEST_MAX)):
            if self.recent and self.random.random() < 0.3:
                trace = self.random.choice(self.recent)
            else:
                trace = self.random.randbytes(16).hex()
                self.recent = [*self.recent[-RECENT_TRACES:], trace]
            span = self.random.randbytes(8).hex()
            padding = self.random.randbytes(self.random.randint(0, PADDING_BYTES_MAX) // 2).hex()
            now = time.time_ns()
            ids.append(f"{trace}:{span}")
            spans.append(
                {
                    "traceId": trace,
                    "spanId": span,
                    "name": "work",
                    "kind": 2,
                    "startTimeUnixNano": str(now - 1_000_000),
                    "endTimeUnixNano": str(now),
                    "attributes": [{"key": "padding", "value": {"stringValue": padding}}],
                }
            )
        service = {"attributes": [{"key": "service.name", "value": {"stringValue": "power-cut"}}]}
        return ids, json.dumps({"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": spans}]}]}).encode()

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        while True:
            ids, body = self.request()
            headers = {"content-type": "application/json"}
            if self.random.random() < 0.5:
                body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
            try:
                connection.request("POST", "/v1/traces", body, headers)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.1)
                continue
            if answer.status == 200 and b"rejected" not in text:
                os.write(self.handle, "".join(f"{NUMBER} {id}\n" for id in ids).encode())
                os.fsync(self.handle)
            else:
                append(f"refused-{NUMBER}", f"{answer.status} {text[:200]!r}\n")
                time.sleep(0.1)


def acknowledged_before():
    """Boot by id of all spans that were acknowledged in earlier boots. A line that the cut has torn does not count."""
    ids = {}
    for path in glob.glob(f"{SHARED}/acknowledged-*"):
        if path == f"{SHARED}/acknowledged-{NUMBER}":
            continue
        with open(path) as file:
            for line in file:
                boot, _, id = line.rstrip("\n").partition(" ")
                if line.endswith("\n") and len(id) == 32 + 1 + 16:
                    ids[id] = boot
    return ids


class Delivered:
    """What the exporter's file has, read on as it grows."""

    def __init__(self):
        self.offset = 0
        self.count = 0
        self.unreadable = 0
        self.ids = set()

    def read_on(self):
        try:
            file = open(KEPT, "rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.offset += len(line)
                try:
                    request = json.loads(line)
                except ValueError:
                    # A line that was being written when the power went was not settled, so it comes again.
                    self.unreadable += 1
                    continue
                for resource in request["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        for span in scope["spans"]:
                            self.count += 1
                            self.ids.add(f"{span['traceId']}:{span['spanId']}")


def check(node):
    """Waits until all that was acknowledged before this boot is delivered, and reports it."""
    wanted = acknowledged_before()
    delivered = Delivered()
    deadline = time.monotonic() + PATIENCE
    while True:
        delivered.read_on()
        missing = wanted.keys() - delivered.ids
        if not missing:
            duplicates = delivered.count - len(delivered.ids)
            text = f"{len(wanted)} acknowledged, all delivered, {duplicates} duplicates"
            report(f"checked {text}, {delivered.unreadable} torn lines")
            return
        if node.poll() is not None:
            raise RuntimeError(f"the node ended with {node.returncode}, see node-{NUMBER}.log")
        if time.monotonic() > deadline:
            append("missing", "".join(f"{wanted[id]} {id}\n" for id in sorted(missing)))
            by_boot = sorted({int(wanted[id]) for id in missing})
            raise RuntimeError(
                f"{len(missing)} of {len(wanted)} acknowledged spans are missing, acknowledged before cuts {by_boot};"
                " shared/missing has their ids"
            )
        time.sleep(0.05)


def check_again():
    """Nothing is gone from the file after the stop."""
    delivered = Delivered()
    delivered.read_on()
    missing = acknowledged_before().keys() - delivered.ids
    if missing:
        raise RuntimeError(f"{len(missing)} spans were delivered and are gone")


def stop(node):
    """Drains the node and has its log checked."""
    node.terminate()
    status = node.wait(PATIENCE)
    verify = subprocess.run([os.environ["program"], "log", "verify", DATA], capture_output=True, text=True, check=False)
    append(f"verify-{NUMBER}", verify.stdout + verify.stderr)
    last = (verify.stdout.strip().splitlines() or [verify.stderr.strip()])[-1]
    if status != 0 or verify.returncode != 0:
        raise RuntimeError(f"the node ended with {status}, log verify with {verify.returncode}: {last}")
    report(f"stopped with status 0; log verify: {last}")


def main():
    bring_loopback_up()
    node, address = start_node()
    if os.environ["mode"] == "last":
        check(node)
        stop(node)
        check_again()
        report("done 0")
        return
    for index in range(THREADS):
        Sender(address, index).start()
    check(node)
    while node.poll() is None:
        time.sleep(0.05)
    raise RuntimeError(f"the node ended with {node.returncode}, see node-{NUMBER}.log")


try:
    main()
except BaseException as error:
    traceback.print_exc()
    report(f"failed {error}")
finally:
    sys.stdout.flush()
    subprocess.run(["umount", "/run/disk"], check=False)
    # Power off; to return would make the kernel panic.
    ctypes.CDLL(None).reboot(0x4321FEDC)
