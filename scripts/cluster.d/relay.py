"""The datagrams of nodes through one thread, which loses, delays and cuts them: where the kernel cannot.

Each node tells the others the address of its *front* here. What comes to the front of node b from node a goes on to b from
the front of a, so that nodes see fronts only, and answer to them.
"""

import heapq
import random
import select
import socket
import threading
import time

# Largest datagram of UDP.
DATAGRAM_BYTES_MAX = 65_536
# How long the thread sleeps at most, to see that it is to end.
LOOK_SECONDS = 0.2


class Relay:
    """Fronts for nodes; `nodes` and `fronts` are addresses (host, port) by the number of the node."""

    def __init__(self, nodes, fronts):
        self.nodes = nodes
        self.numbers = {address: number for number, address in enumerate(nodes)}
        self.sockets = [self.listen(address) for address in fronts]
        self.loss, self.delay, self.cuts = 0.0, (0.0, 0.0), set()
        self.passed, self.lost = 0, 0
        self.random = random.Random(1)
        self.is_over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @staticmethod
    def listen(address):
        front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        front.bind(address)
        front.setblocking(False)
        return front

    def run(self):
        by_front = {front.fileno(): number for number, front in enumerate(self.sockets)}
        poll = select.poll()
        for front in self.sockets:
            poll.register(front, select.POLLIN)
        # Datagrams on their way: when they arrive, and their number, so that equal times keep their order.
        queue, count = [], 0
        while not self.is_over:
            wait = min(LOOK_SECONDS, max(0.0, queue[0][0] - time.monotonic())) if queue else LOOK_SECONDS
            for file, _ in poll.poll(wait * 1000):
                to = by_front[file]
                for sender, datagram in self.take(to):
                    count += 1
                    arrives = time.monotonic() + self.random.uniform(*self.delay)
                    heapq.heappush(queue, (arrives, count, sender, to, datagram))
            while queue and queue[0][0] <= time.monotonic():
                _, _, sender, to, datagram = heapq.heappop(queue)
                try:
                    self.sockets[sender].sendto(datagram, self.nodes[to])
                    self.passed += 1
                except OSError:
                    # The node is down, or its buffer is full.
                    self.lost += 1

    def take(self, to):
        """What came to a front and is not lost."""
        while True:
            try:
                datagram, address = self.sockets[to].recvfrom(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            sender = self.numbers.get(address)
            is_lost = sender is None or (sender, to) in self.cuts or self.random.random() < self.loss
            if is_lost:
                self.lost += 1
            else:
                yield sender, datagram

    def close(self):
        self.is_over = True
        self.thread.join()
        for front in self.sockets:
            front.close()
