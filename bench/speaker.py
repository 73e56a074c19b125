"""Loads the speaker and its driver: python bench/speaker.py [ingest|egress|idle|stall|memory]... (root).

Two namespaces and one veth. The process under test runs the driver in one; this process holds every
session of the other side in one epoll loop, so it shares the cores with what it measures. The speaker
connects to (peer address, 179).
"""

import asyncio
import ctypes
import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

MARKER = b"\xff" * 16
LOCAL = "10.9.0.1"


def message(kind, body=b""):
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


KEEPALIVE = message(4)


def attribute(flags, code, value):
    return bytes((flags, code, len(value))) + value


def update(nexthop, nlri):
    attributes = attribute(0x40, 1, b"\0") + attribute(0x40, 2, b"\2\1" + struct.pack("!I", 65001))
    attributes += attribute(0x40, 3, socket.inet_aton(nexthop))
    return message(2, struct.pack("!HH", 0, len(attributes)) + attributes + nlri)


def prefix(number):
    return b"\x18" + struct.pack("!I", 0x14000000 + (number << 8))[:3]


def table(shape, count):
    if shape == "nodes":
        hosts = (socket.inet_ntoa(struct.pack("!I", 0x0A091000 + i % 60000)) for i in range(count))
        return b"".join(update(host, prefix(i)) for i, host in enumerate(hosts))
    rows = range(0, count, 1000)
    return b"".join(
        update("10.9.0.2", b"".join(map(prefix, range(s, min(count, s + 1000))))) for s in rows
    )


def addresses(count):
    return [f"10.9.{1 + i // 250}.{1 + i % 250}" for i in range(count)]


class Link:
    """One session of the other side."""

    def __init__(self, sock, me):
        self.sock, self.me = sock, me
        self.buffer, self.out = b"", memoryview(b"")
        self.up = False
        self.prefixes = 0
        self.last = 0.0
        self.keepalives = []


class Farm:
    """Every session of the other side."""

    def __init__(self, hold):
        self.hold, self.links, self.up = hold, {}, {}
        self.epoll = select.epoll()
        self.listener = socket.create_server(("0.0.0.0", 179), backlog=1024)
        self.listener.setblocking(False)
        self.epoll.register(self.listener, select.EPOLLIN)
        self.next_keepalive = 0.0

    def open(self, me):
        capabilities = b"\x01\x04\0\x01\0\x01" + b"\x41\x04" + struct.pack("!I", 65001)
        fixed = struct.pack("!BHH4s", 4, 65001, self.hold, socket.inet_aton(me))
        return message(
            1, fixed + bytes((len(capabilities) + 2, 2, len(capabilities))) + capabilities
        )

    def send(self, link, data):
        link.out = memoryview(bytes(link.out) + data)
        self.push(link)

    def push(self, link):
        try:
            while link.out:
                link.out = link.out[link.sock.send(link.out[: 1 << 20]) :]
        except BlockingIOError:
            pass
        self.epoll.modify(link.sock, select.EPOLLIN | (select.EPOLLOUT if link.out else 0))

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = self.links[sock.fileno()] = Link(sock, sock.getsockname()[0])
            self.epoll.register(sock, select.EPOLLIN)
            self.send(link, self.open(link.me))

    def turn(self, timeout):
        if (now := time.monotonic()) >= self.next_keepalive:
            self.next_keepalive = now + self.hold / 3
            for link in self.up.values():
                self.send(link, KEEPALIVE)
        for fd, events in self.epoll.poll(timeout):
            if fd == self.listener.fileno():
                self.accept()
                continue
            link = self.links[fd]
            if events & select.EPOLLOUT:
                self.push(link)
            if events & select.EPOLLIN:
                self.feed(link)

    def feed(self, link):
        data = link.sock.recv(1 << 20)
        if not data:
            raise SystemExit(f"{link.me}: the speaker closed the session")
        data, at, now = link.buffer + data, 0, time.monotonic()
        while len(data) - at >= 19 and len(data) - at >= (
            length := data[at + 16] << 8 | data[at + 17]
        ):
            self.read(link, data[at + 18], data[at + 19 : at + length], now)
            at += length
        link.buffer = data[at:]

    def read(self, link, kind, body, now):
        if kind == 2:
            skip = 4 + int.from_bytes(body[2:4], "big")
            link.prefixes += (len(body) - skip) // 4
            link.last = now
        elif kind == 4:
            link.keepalives.append(now)
            if not link.up:
                link.up = True
                self.up[link.me] = link
        elif kind == 1:
            self.send(link, KEEPALIVE)

    def run(self, until, limit=60.0, step=0.05):
        end = time.monotonic() + limit
        while not until():
            if time.monotonic() > end:
                raise SystemExit("not within the time")
            self.turn(step)

    def rest(self, seconds):
        end = time.monotonic() + seconds
        self.run(lambda: time.monotonic() >= end, seconds + 5)


# -- the process under test


async def under_test(peers, hold):
    """Runs the driver; answers commands on standard input, one JSON object per line."""
    from kroute.codec.frames import SessionParameters
    from kroute.drivers.speaker import Speaker, Updates

    seen = {"updates": 0, "first": None, "last": None, "batches": 0}

    def events(batch):
        now = time.monotonic()
        for event in batch:
            if type(event) is Updates:
                seen["first"] = seen["first"] or now
                seen["updates"] += len(event.bodies)
                seen["last"] = time.monotonic()
                seen["batches"] += 1

    speaker = Speaker(events)
    await speaker.start()
    speaker.set_peers(
        {
            i: SessionParameters(
                address=a,
                local_address=LOCAL,
                asn=65001,
                local_asn=65000,
                router_id=LOCAL,
                hold_time=hold,
                multihop=64,
            )
            for i, a in enumerate(peers, 1)
        }
    )
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        if "send" in command:
            data = bytes.fromhex(command["send"])
            begun = time.monotonic()
            speaker.send(range(1, len(peers) + 1), data)
            print(json.dumps({"begun": begun}), flush=True)
        else:
            print(json.dumps({**seen, "daemon": os.getpid(), "speaker": speaker.pid}), flush=True)
    await speaker.stop()


class UnderTest:
    def __init__(self, namespace, peers, hold):
        command = [
            "ip",
            "netns",
            "exec",
            namespace,
            sys.executable,
            __file__,
            "under-test",
            str(hold),
            *peers,
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def cpu(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9


def pss(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


class Bed:
    """Two namespaces, the farm in one of them, the process under test in the other."""

    def __init__(self, peers, hold=90):
        self.here, self.there = f"kb-{os.getpid()}-d", f"kb-{os.getpid()}-f"
        self.peers, self.hold = peers, hold

    def __enter__(self):
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.home = home
        for name in (self.here, self.there):
            self.sh(f"netns add {name}")
            self.sh(f"-n {name} link set lo up")
        self.sh(f"-n {self.here} link add v0 type veth peer name v1 netns {self.there}")
        self.sh(f"-n {self.here} addr add {LOCAL}/16 dev v0")
        self.sh(f"-n {self.here} link set v0 up")
        self.sh(f"-n {self.there} addr add 10.9.0.2/16 dev v1")
        self.sh(f"-n {self.there} link set v1 up")
        batch = "".join(f"addr add {a}/32 dev v1\n" for a in self.peers if a != "10.9.0.2")
        subprocess.run(["ip", "-n", self.there, "-batch", "-"], input=batch, text=True, check=True)
        there = os.open(f"/run/netns/{self.there}", os.O_RDONLY)
        setns(there)
        os.close(there)
        self.farm = Farm(self.hold)
        begun = time.monotonic()
        self.test = UnderTest(self.here, self.peers, self.hold)
        self.farm.run(lambda: len(self.farm.up) == len(self.peers))
        self.took = time.monotonic() - begun
        self.farm.rest(1.0)
        return self

    def __exit__(self, *_):
        self.test.stop()
        setns(self.home)
        os.close(self.home)
        for name in (self.here, self.there):
            self.sh(f"netns del {name}")

    @staticmethod
    def sh(command):
        subprocess.run(["ip", *command.split()], check=True)


def setns(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def ingest():
    for shape, count in (("nodes", 100_000), ("packed", 100_000), ("packed", 1_000_000)):
        data = table(shape, count)
        expected = count if shape == "nodes" else -(-count // 1000)
        with Bed(["10.9.0.2"]) as bed:
            state = bed.test.ask()
            before = [cpu(state[p]) for p in ("daemon", "speaker")]
            begun = time.monotonic()
            bed.farm.send(bed.farm.up["10.9.0.2"], data)
            bed.farm.run(lambda: not bed.farm.up["10.9.0.2"].out, step=0.2)
            while (state := bed.test.ask())["updates"] < expected:
                bed.farm.turn(0.02)
            took = state["last"] - begun
            used = [cpu(state[p]) - b for p, b in zip(("daemon", "speaker"), before, strict=True)]
            each = ", ".join(f"{u / count * 1e6:.2f}" for u in used)
            print(
                f"ingest {shape} {count}: {count / took / 1e3:.0f} k routes/s, CPU us/route daemon, speaker {each},"
                f" {state['batches']} batches, PSS MiB {pss(state['daemon']):.1f}, {pss(state['speaker']):.1f}"
            )


def egress():
    data = table("packed", 10_000)
    for count in (1, 50):
        with Bed(addresses(count)) as bed:
            begun = bed.test.ask(send=data.hex())["begun"]
            links = bed.farm.up.values()
            bed.farm.run(lambda: all(link.prefixes >= 10_000 for link in links), step=0.01)  # noqa: B023
            took = max(link.last for link in links) - begun
            print(f"egress 10000 prefixes to {count} peers: {took * 1e3:.1f} ms")


def idle():
    for count in (1, 50, 200):
        with Bed(addresses(count)) as bed:
            state = bed.test.ask()
            bed.farm.rest(1.0)
            before = [cpu(state[p]) for p in ("daemon", "speaker")]
            bed.farm.rest(10.0)
            used = [cpu(state[p]) - b for p, b in zip(("daemon", "speaker"), before, strict=True)]
            print(
                f"idle {count} sessions: up after {bed.took:.2f} s, CPU % of a core daemon, speaker"
                f" {used[0] * 10:.2f}, {used[1] * 10:.2f}, PSS MiB {pss(state['daemon']):.1f},"
                f" {pss(state['speaker']):.1f}"
            )


def stall():
    count = 1_000_000
    data = table("nodes", count)
    with Bed(["10.9.0.2", "10.9.1.1"], hold=3) as bed:
        daemon = bed.test.ask()["daemon"]
        quiet = bed.farm.up["10.9.1.1"]
        known = len(quiet.keepalives)
        os.kill(daemon, signal.SIGSTOP)
        bed.farm.send(bed.farm.up["10.9.0.2"], data)
        bed.farm.rest(5.0)
        os.kill(daemon, signal.SIGCONT)
        begun = time.monotonic()
        while bed.test.ask()["updates"] < count:
            bed.farm.turn(0.02)
        caught_up = time.monotonic() - begun
        times = quiet.keepalives[known - 1 :]
        gap = max(b - a for a, b in itertools.pairwise(times))
        print(
            f"stall 5 s: longest KEEPALIVE gap {gap:.2f} s of 1, caught up with {count} UPDATEs in {caught_up:.2f} s"
        )


BENCHES = {"ingest": ingest, "egress": egress, "idle": idle, "stall": stall}

if __name__ == "__main__":
    if sys.argv[1:2] == ["under-test"]:
        asyncio.run(under_test(sys.argv[3:], int(sys.argv[2])))
    else:
        for name in sys.argv[1:] or BENCHES:
            BENCHES[name]()
