"""How long the UPDATE codec takes for a prefix: decoding each shape of table, encoding, and nothing else.

``python bench/codec.py [shape]`` prints a table; the benches' common runner calls :func:`rows`.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from struct import pack

from kroute.codec.bgp import UpdateDecoder, announce, attribute_block, withdraw
from kroute.model.bgp import Asn, AsSegment, Attributes, Negotiated, SegmentType
from kroute.model.net import Family, Nlri

V4, V6 = Family.IPV4, Family.IPV6
COUNT = 20_000
RUN = 200
"""Bodies handed over at once, as the speaker does under load."""

SESSION = Negotiated(
    asn=Asn(65001),
    router_id="192.0.2.1",
    asn4=True,
    message_size=4096,
    hold_time=90,
    families=(V4, V6),
)


def nlri4(number: int) -> Nlri:
    return b"\x18" + pack(">I", 0x14000000 + (number << 8))[:3]


def nlri6(number: int) -> Nlri:
    return b"\x40\x20\x01\x0d\xb8" + pack(">I", number)


def _path(*asns: int) -> tuple[AsSegment, ...]:
    return (AsSegment(SegmentType.AS_SEQUENCE, asns),)


def _one_each(
    family: Family, key: Callable[[int], Nlri], attributes: Callable[[int], Attributes]
) -> list[bytes]:
    """One UPDATE body for each prefix."""
    out = []
    for number in range(COUNT):
        block = attribute_block(family, attributes(number), asn4=True)
        (message,) = announce(block, [key(number)], message_size=4096)
        out.append(message[19:])
    return out


def _hop4(number: int) -> bytes:
    return pack(">I", 0x0A090000 + number)


def _hop6(number: int) -> bytes:
    return b"\x20\x01\x0d\xb8" + pack(">QI", 0, number + 1)


def _packed(family: Family) -> list[bytes]:
    hop, key = (_hop4, nlri4) if family is V4 else (_hop6, nlri6)
    block = attribute_block(family, Attributes(nexthop=hop(1), local_pref=100), asn4=True)
    return [m[19:] for m in announce(block, [key(i) for i in range(COUNT)], message_size=4096)]


def _mixed() -> list[bytes]:
    """Packed, with lengths as in the Internet's table."""
    block = attribute_block(V4, Attributes(nexthop=_hop4(1), local_pref=100), asn4=True)
    lengths = (24, 24, 24, 22, 23, 24, 20, 24, 21, 16)
    keys = []
    for number in range(COUNT):
        bits = lengths[number % 10]
        value = (number * 2654435761 & 0xFFFFFFFF) >> (32 - bits) << (32 - bits)
        keys.append(bytes((bits,)) + pack(">I", value)[: (bits + 7) // 8])
    return [m[19:] for m in announce(block, keys, message_size=4096)]


SHAPES: dict[str, Callable[[], list[bytes]]] = {
    "packed": lambda: _packed(V4),
    "packed-mixed": _mixed,
    "packed-ipv6": lambda: _packed(V6),
    "one-block": lambda: _one_each(V4, nlri4, lambda i: Attributes(nexthop=_hop4(1), local_pref=9)),
    "nodes": lambda: _one_each(V4, nlri4, lambda i: Attributes(nexthop=_hop4(i), local_pref=9)),
    "nodes-ipv6": lambda: _one_each(
        V6, nlri6, lambda i: Attributes(nexthop=_hop6(i), local_pref=9)
    ),
    "reflected": lambda: _one_each(
        V4,
        nlri4,
        lambda i: Attributes(
            nexthop=_hop4(i), local_pref=9, originator_id=_hop4(i), cluster_list=(_hop4(1),)
        ),
    ),
    "distinct": lambda: _one_each(
        V4, nlri4, lambda i: Attributes(nexthop=_hop4(1), as_path=_path(65001, 100000 + i, i + 1))
    ),
    "withdrawn": lambda: [
        m[19:] for i in range(COUNT) for m in withdraw(V4, [nlri4(i)], message_size=4096)
    ],
}
"""What a peer may send: packed; one prefix per UPDATE with the same block, a next hop or a path of its own."""


def _decode(bodies: list[bytes]) -> float:
    """Seconds to decode all bodies in runs, with a fresh decoder."""
    reader = UpdateDecoder(SESSION, internal=True, make=lambda _, attributes: attributes)
    gc.collect()
    start = time.perf_counter()
    kept = [reader.decode_run(bodies[i : i + RUN]) for i in range(0, len(bodies), RUN)]
    took = time.perf_counter() - start
    found = sum(len(step[2]) for result in kept for step in result.steps)
    assert found == COUNT, found
    return took


def _encode() -> float:
    """Seconds to encode 10,000 prefixes with equal attributes."""
    keys = [nlri4(i) for i in range(10_000)]
    attributes = Attributes(nexthop=_hop4(1), local_pref=100, communities=(1, 2))
    start = time.perf_counter()
    announce(attribute_block(V4, attributes, asn4=True), keys, message_size=4096)
    return time.perf_counter() - start


def rows(only: str = "", runs: int = 5) -> Iterator[dict[str, object]]:
    """One row for each measurement whose id contains ``only``: the median of ``runs``, and the spread."""
    for name, shape in SHAPES.items():
        if only in f"codec/decode/{name}":
            bodies = shape()
            took = [_decode(bodies) * 1e6 / COUNT for _ in range(runs)]
            yield _row(f"codec/decode/{name}", took, "us/prefix")
    if only in "codec/encode/10k":
        yield _row("codec/encode/10k", [_encode() * 1e3 for _ in range(runs)], "ms")


def _row(name: str, took: list[float], unit: str) -> dict[str, object]:
    spread = [round(min(took), 3), round(max(took), 3)]
    return {
        "id": name,
        "value": round(median(took), 3),
        "unit": unit,
        "spread": spread,
        "ratio": {},
    }


if __name__ == "__main__":
    for row in rows(sys.argv[1] if len(sys.argv) > 1 else ""):
        print(f"{row['id']:28} {row['value']:8} {row['unit']:10} {row['spread']}")
