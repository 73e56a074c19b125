"""UPDATEs that look alike, cut in one go.

Nodes tell a podCIDR each, so what comes from a reflector is UPDATE after UPDATE with one prefix behind a block of one
size. To cut such a body costs a third of what is done with it; many of one length are cut at the speed of C instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from struct import iter_unpack

from kroute.codec.bgp.nlri import IPV4_SIZE, UNUSED
from kroute.model.net import Nlri

FEWEST = 8
"""Bodies of one length from which on it pays."""

_LONGEST = IPV4_SIZE[32]
_bits = itemgetter(0)


def cut_alike(bodies: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[Nlri]] | None:
    """The attribute blocks of bodies that are all of one length, and the IPv4 prefixes behind them.

    None unless each body announces one canonical prefix and nothing else, behind a block of the same length.
    """
    head, size = bodies[0][:4], len(bodies[0])
    block = int.from_bytes(
        head, "big"
    )  # withdrawn routes, of which there must be none, and then the block's length
    rest = size - 4 - block
    if not 0 < rest <= _LONGEST:
        return None
    cut = iter_unpack(f"4s{block}s{rest}s", b"".join(bodies))
    heads, blocks, nlris = zip(*cut, strict=True)
    if heads.count(head) != len(heads):
        return None
    lengths = set(map(_bits, nlris))
    if any(IPV4_SIZE[bits] != rest for bits in lengths):
        return None
    if any(UNUSED[bits] for bits in lengths) and any(n[-1] & UNUSED[n[0]] for n in nlris):
        return None
    return blocks, nlris
