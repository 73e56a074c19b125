"""BGP messages of the feeder, made before the clock starts. IPv4 unicast, 4-octet AS numbers."""

from __future__ import annotations

import socket
import struct

FEEDER_ASN = 65001
FEEDER = "10.9.0.2"
SHAPES = ("packed", "nodes", "distinct")
"""About 1000 prefixes to an UPDATE; one to an UPDATE, each with its node's next hop; one to an UPDATE, each with an
AS_PATH of its own."""

NODES = 100
"""Next hops of the shape "nodes" on its way into a kernel. The kernel finds equal next hops in a hash that leaves the
gateway out (fib_info hashes protocol, metric and device), so each added route walks all gateways of its device: with
250 that is as dear as the rest of the work, with 60 000 a kernel takes 3000 routes/s from anybody."""

EACH_ITS_OWN = 60_000
"""Next hops of the same shape where no kernel is in the way: as many as the wire's network has addresses for."""

_BASE = 0x14000000
_LONGEST = 4096


def message(kind: int, body: bytes = b"") -> bytes:
    """A message with its header (RFC 4271 §4.1)."""
    return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body


KEEPALIVE = message(4)
END_OF_RIB = message(2, bytes(4))
ROUTE_REFRESH = message(5, b"\0\1\0\1")


def open_message(asn: int, hold: int, router_id: str, *, several: bool = False) -> bytes:
    """OPEN that offers IPv4 unicast, route refresh and 4-octet AS numbers; ``several``: and to take several paths to a
    prefix (RFC 7911).
    """
    capabilities = b"\x01\x04\0\x01\0\x01" + b"\x02\x00" + b"\x41\x04" + struct.pack("!I", asn)
    capabilities += b"\x45\x04\0\x01\x01\x01" * several
    as2 = asn if asn < 65536 else 23456
    fixed = struct.pack("!BHH4s", 4, as2, hold, socket.inet_aton(router_id))
    options = bytes((2, len(capabilities))) + capabilities
    return message(1, fixed + bytes((len(options),)) + options)


def prefix_address(number: int) -> int:
    """The address of the table's so-manyth prefix, a /24 from 20.0.0.0 on."""
    return _BASE + (number << 8)


def nlri(number: int) -> bytes:
    """The same as NLRI."""
    return b"\x18" + struct.pack("!I", prefix_address(number))[:3]


def _attribute(flags: int, code: int, value: bytes) -> bytes:
    return bytes((flags, code, len(value))) + value


def attributes(nexthop: str, path: tuple[int, ...], local_pref: int | None = None) -> bytes:
    """ORIGIN, AS_PATH, NEXT_HOP and, towards an internal peer, LOCAL_PREF."""
    segment = struct.pack(f"!BB{len(path)}I", 2, len(path), *path) if path else b""
    block = _attribute(0x40, 1, b"\0") + _attribute(0x40, 2, segment)
    block += _attribute(0x40, 3, socket.inet_aton(nexthop))
    if local_pref is not None:
        block += _attribute(0x40, 5, struct.pack("!I", local_pref))
    return block


def update(block: bytes, prefixes: bytes) -> bytes:
    """An UPDATE that announces prefixes."""
    return message(2, struct.pack("!HH", 0, len(block)) + block + prefixes)


def packed(block: bytes, count: int, first: int = 0) -> bytes:
    """``count`` prefixes with equal attributes, as many to an UPDATE as go in."""
    room = (_LONGEST - 23 - len(block)) // 4
    end = first + count
    return b"".join(
        update(block, b"".join(map(nlri, range(at, min(end, at + room)))))
        for at in range(first, end, room)
    )


def table(shape: str, count: int, nodes: int = NODES) -> bytes:
    """The whole table of one shape, ready to be written to the socket."""
    if shape == "packed":
        return packed(attributes(FEEDER, (FEEDER_ASN,)), count)
    if shape == "nodes":
        hosts = (socket.inet_ntoa(struct.pack("!I", 0x0A0903E8 + i % nodes)) for i in range(count))
        return b"".join(
            update(attributes(host, (FEEDER_ASN,)), nlri(i)) for i, host in enumerate(hosts)
        )
    paths = ((FEEDER_ASN, 100_000 + i, 200_000 + i * 7 % 50_021) for i in range(count))
    return b"".join(update(attributes(FEEDER, path), nlri(i)) for i, path in enumerate(paths))


def withdrawals(count: int) -> bytes:
    """UPDATEs that withdraw the table."""
    room = (_LONGEST - 23) // 4
    parts = []
    for at in range(0, count, room):
        gone = b"".join(map(nlri, range(at, min(count, at + room))))
        parts.append(message(2, struct.pack("!H", len(gone)) + gone + b"\0\0"))
    return b"".join(parts)
