"""A steady stream of ICMP echo requests to one address, and what became of each: run inside a node.

    python3 probe.py ADDRESS RATE     says "probing"; until SIGINT; then one line of JSON on standard output

``ping`` cannot do it: at 100 a second iputils sends 63 (its wait is rounded up to the kernel's tick), and below an
interval of 10 ms it spins on the processor. This file stands alone (standard library only), since it is copied into
nodes whose Python may know nothing of kroute.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import time

HELLO = "probing\n"
"""Written once requests are about to go out."""

_GRACE = 1.0
"""Seconds that replies may take after the last request."""

_LATEST = 0.1
"""Seconds behind schedule beyond which the schedule is given up instead of sending a burst."""

_UNREACHABLE = {4: 3, 6: 1}
"""ICMP's and ICMPv6's type of destination unreachable."""


class Probe:
    """The stream. Requests are numbered from 1; a number leaves ``waiting`` when its reply comes."""

    def __init__(self, target: str, rate: float) -> None:
        self.family = 6 if ":" in target else 4
        self.target = target
        self.interval = 1.0 / rate
        self.ident = os.getpid() & 0xFFFF
        v6 = self.family == 6
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        self.socket = socket.socket(
            socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, protocol
        )
        self.socket.setblocking(False)
        self.waiting: set[int] = set()
        self.errors: dict[str, int] = {}
        self.sent = 0
        self.longest = 0.0
        self.last_reply = time.monotonic()
        self.stopping = False

    def run(self) -> dict[str, object]:
        """Sends until SIGINT or SIGTERM, waits for the last replies, and tells the tally."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        sys.stdout.write(HELLO)
        sys.stdout.flush()
        began = due = time.monotonic()
        while not self.stopping:
            now = time.monotonic()
            if now >= due:
                self._send()
                due = max(due + self.interval, now - _LATEST)
            self._receive(max(0.0, min(due - time.monotonic(), self.interval)))
        ended = time.monotonic()
        while self.waiting and time.monotonic() < ended + _GRACE:
            self._receive(0.02)
        if self.waiting:
            self.longest = max(self.longest, ended - self.last_reply)
        return {
            "sent": self.sent,
            "lost": sorted(self.waiting),
            "seconds": round(ended - began, 3),
            "silence": round(self.longest, 3),
            "errors": self.errors,
        }

    def _stop(self, *_: object) -> None:
        """Signal handler: no further requests."""
        self.stopping = True

    def _send(self) -> None:
        """One request; one that cannot be sent is as good as lost."""
        self.sent += 1
        self.waiting.add(self.sent)
        kind = 128 if self.family == 6 else 8
        body = struct.pack("!Q", self.sent).ljust(56, b"\0")
        head = struct.pack("!BBHHH", kind, 0, 0, self.ident, self.sent & 0xFFFF)
        if self.family == 4:
            head = struct.pack(
                "!BBHHH", kind, 0, _checksum(head + body), self.ident, self.sent & 0xFFFF
            )
        try:
            self.socket.sendto(head + body, (self.target, 0))
        except OSError as error:
            self._note(os.strerror(error.errno or 0))

    def _receive(self, seconds: float) -> None:
        """Waits that long at most, and takes in what has come."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return
        while True:
            try:
                data, source = self.socket.recvfrom(2048)
            except BlockingIOError:
                return
            except OSError as error:
                self._note(os.strerror(error.errno or 0))
                return
            self._take(data[(data[0] & 15) * 4 :] if self.family == 4 else data, source[0])

    def _take(self, message: bytes, source: str) -> None:
        """One ICMP message of whoever."""
        if len(message) < 8:
            return
        kind, code, _, ident, _ = struct.unpack_from("!BBHHH", message)
        if kind == _UNREACHABLE[self.family]:
            if self._ours(message[8:]):
                self._note(f"unreachable (code {code}), says {source}")
        elif (
            kind == (129 if self.family == 6 else 0) and ident == self.ident and len(message) >= 16
        ):
            self.waiting.discard(struct.unpack_from("!Q", message, 8)[0])
            now = time.monotonic()
            self.longest, self.last_reply = max(self.longest, now - self.last_reply), now

    def _ours(self, packet: bytes) -> bool:
        """Whether the packet that an ICMP error quotes is one of our requests, and not some other ping's."""
        start = 40 if self.family == 6 else (packet[0] & 15) * 4 if packet else 0
        quoted = packet[start : start + 6]
        return len(quoted) == 6 and struct.unpack_from("!H", quoted, 4)[0] == self.ident

    def _note(self, what: str) -> None:
        """Counts an error by its text."""
        self.errors[what] = self.errors.get(what, 0) + 1


def _checksum(data: bytes) -> int:
    """The Internet checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Probe(sys.argv[1], float(sys.argv[2])).run()) + "\n")
