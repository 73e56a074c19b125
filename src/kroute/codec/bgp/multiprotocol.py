"""MP_REACH_NLRI and MP_UNREACH_NLRI: families and next hops of RFC 4760, RFC 2545 and RFC 8950.

These attributes carry the routes themselves. What cannot be located in them ends the session (RFC 7606
§5.3, §7.11); a next hop that can be located but not used costs only the routes.
"""

from __future__ import annotations

from typing import NamedTuple

from kroute.codec.bgp.names import EXTENDED_LENGTH, FLAGS, OPTIONAL_TRANSITIVE, Code
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem
from kroute.model.net import SAFI_UNICAST, Family

HOST = bytes(1 if 0 < octet < 224 else 0 for octet in range(256))
"""First octets that an IPv4 host address may have (RFC 4271 §6.3: a next hop must be one)."""

_FAMILIES = {(int(f), SAFI_UNICAST): f for f in Family}
_HEAD = 5
"""Octets of an MP_REACH_NLRI besides next hop and NLRI: AFI, SAFI, next hop length, reserved."""
_NEXTHOP_SIZES = {Family.IPV4: (4, 16, 32), Family.IPV6: (16, 32)}


class Reach(NamedTuple):
    """An MP_REACH_NLRI taken apart; ``family`` is None for one that kroute does not know."""

    family: Family | None
    nexthop: bytes
    link_local: bytes
    field: bytes
    """The NLRI, unread."""
    problem: UpdateProblem | None = None


class Place(NamedTuple):
    """Where an MP_REACH_NLRI lies in its block: its header, its value, the NLRI in there, and its end."""

    at: int
    start: int
    nlri: int
    end: int

    def cut(self, block: bytes) -> tuple[bytes, bytes]:
        """What is before the NLRI in the attribute, and all other attributes.

        Both together decide the path, whatever the NLRI: they are its key.
        """
        return block[self.start : self.nlri], block[: self.at] + block[self.end :]


def find_reach(block: bytes) -> Place | None:
    """Where the MP_REACH_NLRI of a block lies. None if there is none, or anything is wrong with its header."""
    at, size = 0, len(block)
    while at + 8 < size:
        if block[at] & EXTENDED_LENGTH:
            start = at + 4
            end = start + (block[at + 2] << 8 | block[at + 3])
        else:
            start = at + 3
            end = start + block[at + 2]
        if block[at + 1] == Code.MP_REACH_NLRI:
            nlri = start + _HEAD + block[start + 3]
            if (
                nlri > end
                or end > size
                or block[at] & OPTIONAL_TRANSITIVE != FLAGS[Code.MP_REACH_NLRI]
            ):
                return None
            return Place(at, start, nlri, end)
        at = end
    return None


def read_reach(value: bytes, *, extended_nexthop: bool) -> Reach:
    """Take an MP_REACH_NLRI apart.

    Raises:
        UpdateError: its NLRI cannot be located (RFC 7606 §5.3, §7.11).
    """
    if len(value) < _HEAD:
        raise _malformed(f"MP_REACH_NLRI of {len(value)} octets", "RFC 7606 §5.3")
    start = _HEAD + value[3]
    if start > len(value):
        raise _malformed("MP_REACH_NLRI ends inside its next hop", "RFC 7606 §7.11")
    family = _FAMILIES.get((value[0] << 8 | value[1], value[2]))
    nexthop, field = value[4 : start - 1], value[start:]
    if family is None:
        return Reach(None, b"", b"", field)
    if len(nexthop) not in _NEXTHOP_SIZES[family]:
        words = f"MP_REACH_NLRI for {family.label} has a next hop of {len(nexthop)} octets"
        raise _malformed(words, "RFC 7606 §7.11")
    problem = _check_nexthop(family, nexthop, extended_nexthop)
    return Reach(family, *_addresses(nexthop), field, problem)


def read_unreach(value: bytes) -> tuple[Family | None, bytes]:
    """Family and NLRI of an MP_UNREACH_NLRI; None for a family that kroute does not know.

    Raises:
        UpdateError: it is too short (RFC 7606 §5.3).
    """
    if len(value) < 3:
        raise _malformed(f"MP_UNREACH_NLRI of {len(value)} octets", "RFC 7606 §5.3")
    return _FAMILIES.get((value[0] << 8 | value[1], value[2])), value[3:]


def not_negotiated(name: str, what: str) -> UpdateProblem:
    """Routes of a family that the session does not carry: they are ignored (RFC 4760 §7)."""
    return UpdateProblem(Action.DISCARD, name, f"{what} was not negotiated", "RFC 4760 §7")


def family_text(value: bytes) -> str:
    """AFI and SAFI of a multiprotocol attribute in words; ``ipv6 unicast`` for a family that kroute knows."""
    afi, safi = value[0] << 8 | value[1], value[2]
    family = _FAMILIES.get((afi, safi))
    return f"AFI {afi} SAFI {safi}" if family is None else f"{family.label} unicast"


def _addresses(nexthop: bytes) -> tuple[bytes, bytes]:
    """Global and link-local next hop (RFC 2545 §3).

    Speakers without a global address send the link-local one alone, after ``::`` or twice; then it is the
    next hop.
    """
    if len(nexthop) != 32:
        return nexthop, b""
    first, second = nexthop[:16], nexthop[16:]
    if not _is_link_local(second):
        return first, b""
    return (second, b"") if not any(first) or first == second else (first, second)


def _is_link_local(address: bytes) -> bool:
    """Whether it lies in fe80::/10."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _is_host(nexthop: bytes) -> bool:
    """Whether a next hop can be a host: not unspecified, not multicast."""
    if len(nexthop) == 4:
        return bool(HOST[nexthop[0]])
    return nexthop[0] != 0xFF and any(_addresses(nexthop)[0])


def _check_nexthop(family: Family, nexthop: bytes, extended: bool) -> UpdateProblem | None:
    """A next hop that is where it belongs but cannot be used costs the routes (RFC 7606 §7.3 by analogy)."""
    usable = _is_host(nexthop)
    if usable and (family is Family.IPV6 or len(nexthop) == 4 or extended):
        return None
    reason = "IPv6 next hop for IPv4 without RFC 8950" if usable else "next hop is no host address"
    return UpdateProblem(
        Action.WITHDRAW, "MP_REACH_NLRI", reason, "RFC 7606 §7.11", Subcode.INVALID_NEXT_HOP
    )


def _malformed(reason: str, rule: str) -> UpdateError:
    return UpdateError(Subcode.OPTIONAL_ATTRIBUTE, reason, rule)
