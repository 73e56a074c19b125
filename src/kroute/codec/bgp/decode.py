"""UPDATE bodies → what changed, one decoder per session.

The work is done once per distinct attribute block, not once per route: a block's octets are the key of a
bounded cache, and what stands there is whatever the caller made of the block (``make``): the same object
again and again, so that import verdict, preference and next hop are computed once. Bodies are handed over
in runs and come back in as few parts as order allows (:mod:`kroute.codec.bgp.decoded`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Generic

from kroute.codec.bgp.alike import FEWEST, cut_alike
from kroute.codec.bgp.attributes import AttributeReader, Split, split
from kroute.codec.bgp.decoded import Decoded, P
from kroute.codec.bgp.multiprotocol import (
    Place,
    family_text,
    find_reach,
    not_negotiated,
    read_reach,
    read_unreach,
)
from kroute.codec.bgp.names import Code
from kroute.codec.bgp.nlri import read_nlri, read_path_nlri
from kroute.codec.bgp.plain import PlainReader
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem
from kroute.model.bgp import Attributes, Negotiated
from kroute.model.net import Family, Nlri

CACHED_BLOCKS = 16384
"""Blocks a generation of the cache holds; there are two."""

_EMPTY_UNREACH = 7
"""Octets of an attribute block that has an MP_UNREACH_NLRI without prefixes and nothing else, at most."""

_V4 = Family.IPV4
_V6 = Family.IPV6


class UpdateDecoder(Generic[P]):
    """Reads the UPDATE bodies of one session (without the 19 octets of header).

    ``internal``: the peer is in our own AS. ``make`` turns a family and the attributes of a distinct block
    into the object that stands for it in the result; it must not return None. In families with add-path (RFC 7911)
    path identifier and prefix are one. Equal blocks give the identical object as long as the cache remembers them: it
    holds at most two generations of ``cached_blocks``.
    """

    __slots__ = (
        "_add_path",
        "_around",
        "_extended_nexthop",
        "_families",
        "_limit",
        "_make",
        "_old",
        "_plain",
        "_reader",
        "_where",
        "_young",
    )

    def __init__(
        self,
        negotiated: Negotiated,
        *,
        internal: bool,
        make: Callable[[Family, Attributes], P],
        cached_blocks: int = CACHED_BLOCKS,
    ) -> None:
        self._families = frozenset(negotiated.families)
        self._add_path = frozenset(negotiated.add_path)
        self._extended_nexthop = negotiated.extended_nexthop
        self._reader = AttributeReader(asn4=negotiated.asn4, internal=internal)
        self._plain = PlainReader(internal=internal) if negotiated.asn4 else None
        self._make = make
        self._limit = cached_blocks
        self._young: dict[bytes | tuple[bytes, bytes], P] = {}
        self._old: dict[bytes | tuple[bytes, bytes], P] = {}
        self._where = Place(0, 0, 0, 0)
        """Where the MP_REACH_NLRI lay that was looked for last."""
        self._around: dict[tuple[int, bytes, bytes], tuple[Place, P]] = {}
        """Where the NLRI lie, and the path, by the length of a block and all of it but its NLRI."""

    def decode(self, body: bytes) -> Decoded[P]:
        """What one UPDATE says.

        Raises:
            UpdateError: the session must be reset.
        """
        return self.decode_run((body,))

    def decode_run(self, bodies: Iterable[bytes]) -> Decoded[P]:
        """What a run of UPDATEs says.

        Raises:
            UpdateError: the session must be reset; nothing of the run counts, for the session's routes go with it.
        """
        out: Decoded[P] = Decoded()
        if self._add_path:
            for body in bodies:
                self._update(body, out)
        else:
            self._quickly(bodies, out)
        out.close()
        return out

    def _quickly(self, bodies: Iterable[bytes], out: Decoded[P]) -> None:
        """Bodies without path identifiers; those that look alike are taken in one go."""
        for _, some in groupby(bodies, len):
            alike = list(some)
            cut = cut_alike(alike) if len(alike) >= FEWEST else None
            if cut is None or not self._row(*cut, out):
                for body in alike:
                    self._one(body, out)

    def _row(self, blocks: Sequence[bytes], nlris: Sequence[Nlri], out: Decoded[P]) -> bool:
        """Announce each of these prefixes with the block in the same place; False if one of the blocks is unusual."""
        paths: list[P] = []
        known = self._young.get
        for block in blocks:
            path = known(block)
            if path is None:
                path = self._learn(block)
                if path is None:
                    return False
                known = self._young.get
            paths.append(path)
        row = out.rows[_V4]
        row.paths.extend(paths)
        row.nlris.extend(nlris)
        return True

    def _one(self, body: bytes, out: Decoded[P]) -> None:
        """One body: nearly every one withdraws nothing, and has IPv4 prefixes or a MP_REACH_NLRI."""
        if body[:2] == b"\0\0" and len(body) > 4:
            end = 4 + (body[2] << 8 | body[3])
            nlri = body[end:]
            if nlri:
                path = self._young.get(body[4:end])
                if path is None:
                    path = self._learn(body[4:end])
                if path is not None:
                    out.announce(_V4, path, read_nlri(_V4, nlri))
                    return
            elif len(body) == end and self._multiprotocol(body[4:], out):
                return
        self._update(body, out)

    def _nlri(self, family: Family, field: bytes) -> list[Nlri]:
        """The prefixes of a field; with their path identifiers before them where the session has them."""
        return (read_path_nlri if family in self._add_path else read_nlri)(family, field)

    def _learn(self, block: bytes) -> P | None:
        """The path of a block of IPv4 routes that is not in the young generation; None if it is unusual."""
        path = self._old.get(block)
        if path is None:
            if _V4 not in self._families:
                return None
            attributes = self._plain.read(block) if self._plain else None
            if attributes is None:
                attributes = self._read_carefully(block)
                if attributes is None:
                    return None
            path = self._make(_V4, attributes)
        if len(self._young) < self._limit:
            self._young[block] = path
        else:
            self._remember(block, path)
        return path

    def _read_carefully(self, block: bytes) -> Attributes | None:
        """The attributes of a block without multiprotocol routes and without errors; None for any other."""
        parts = split(block)
        if parts.problems or 14 in parts.values or 15 in parts.values:
            return None
        attributes, problems = self._reader.read(parts)
        return None if problems else attributes

    def _recall(self, key: bytes | tuple[bytes, bytes]) -> P | None:
        """What stands for a key in the cache, either generation."""
        path = self._young.get(key)
        if path is None:
            path = self._old.get(key)
            if path is not None:
                self._remember(key, path)
        return path

    def _remember(self, key: bytes | tuple[bytes, bytes], path: P) -> None:
        """Put a path into the younger generation; the one before the last is forgotten."""
        if len(self._young) >= self._limit:
            self._old = self._young
            self._young = {}
            self._around = {}
        self._young[key] = path

    def _update(self, body: bytes, out: Decoded[P]) -> None:
        """Any UPDATE (RFC 4271 §4.3): what is withdrawn first, so that a prefix that is also announced stays."""
        withdrawn_field, block, announced_field = _fields(body)
        withdrawn, announced = self._nlri(_V4, withdrawn_field), self._nlri(_V4, announced_field)
        if len(body) == 4:
            out.end_of_rib.append(_V4)
        if (withdrawn or announced) and _V4 not in self._families:
            out.note(not_negotiated("NLRI", "ipv4 unicast"))
            withdrawn, announced = [], []
        if withdrawn:
            out.withdraw(_V4, withdrawn)
        path = None
        if announced:
            path = self._recall(block)
            if path is None:
                path = self._learn(block)
        if path is not None:
            out.announce(_V4, path, announced)
        elif announced or (block and not self._multiprotocol(block, out)):
            self._block(block, announced, bool(announced_field), out)

    def _multiprotocol(self, block: bytes, out: Decoded[P]) -> bool:
        """Take a block whose routes are in MP_REACH_NLRI, unless anything about it is unusual."""
        where = self._where
        # A block that differs from one seen before in nothing but its NLRI has them in the same place.
        known = self._around.get((len(block), block[: where.nlri], block[where.end :]))
        if known is None:
            known = self._look(block)
            if known is None:
                return False
        place, path = known
        nlri = block[place.nlri : place.end]
        if nlri:
            family = _V6 if block[place.start + 1] == 2 else _V4
            out.announce(family, path, self._nlri(family, nlri))
        return True

    def _look(self, block: bytes) -> tuple[Place, P] | None:
        """Where the MP_REACH_NLRI of a block lies, and its path; None if there is none, or anything is unusual."""
        place = find_reach(block)
        if place is None:
            return None
        head, rest = place.cut(block)
        path = self._recall((head, rest))
        if path is None:
            path = self._learn_multiprotocol(head, rest)
            if path is None:
                return None
        if len(self._around) >= self._limit:
            self._around.clear()
        self._where, known = place, (place, path)
        self._around[len(block), block[: place.nlri], block[place.end :]] = known
        return known

    def _learn_multiprotocol(self, head: bytes, rest: bytes) -> P | None:
        """The path of an MP_REACH_NLRI (up to its NLRI) and the other attributes; None if it is unusual."""
        if self._plain is None:
            return None
        reach = read_reach(head, extended_nexthop=self._extended_nexthop)
        family = reach.family
        if family is None or family not in self._families or reach.problem:
            return None
        attributes = self._plain.read(rest, reach.nexthop, reach.link_local)
        if attributes is None:
            return None
        path = self._make(family, attributes)
        self._remember((head, rest), path)
        return path

    def _block(self, block: bytes, announced: list[Nlri], located: bool, out: Decoded[P]) -> None:
        """Any attribute block, and the IPv4 prefixes behind it; ``located``: there were some, wanted or not."""
        parts = split(block)
        values = parts.values
        unreach = values.pop(Code.MP_UNREACH_NLRI, None)
        value = values.pop(Code.MP_REACH_NLRI, None)
        if unreach is not None:
            self._withdraw(unreach, out, alone=len(block) <= _EMPTY_UNREACH)
        if announced:
            key = block if unreach is None and value is None else None
            self._announce(_V4, announced, *self._reader.read(parts), out, key)
        if value is not None:
            values.pop(Code.NEXT_HOP, None)  # RFC 4760 §3: not for these routes
            self._announce_reach(value, parts, out, None if unreach or announced else block)
        elif not located:
            self._nothing_reachable(parts, out)

    def _withdraw(self, value: bytes, out: Decoded[P], *, alone: bool) -> None:
        """An MP_UNREACH_NLRI; without prefixes and ``alone`` it is End-of-RIB (RFC 4724 §2)."""
        family, nlri = read_unreach(value)
        if family is None or family not in self._families:
            out.note(not_negotiated(Code.MP_UNREACH_NLRI.name, family_text(value)))
        elif nlri:
            out.withdraw(family, self._nlri(family, nlri))
        elif alone:
            out.end_of_rib.append(family)

    def _announce_reach(
        self, value: bytes, parts: Split, out: Decoded[P], block: bytes | None
    ) -> None:
        """The routes of an MP_REACH_NLRI; ``block`` is given if their path may be remembered."""
        reach = read_reach(value, extended_nexthop=self._extended_nexthop)
        family = reach.family
        if family is None or family not in self._families:
            out.note(not_negotiated(Code.MP_REACH_NLRI.name, family_text(value)))
            return
        nlris = self._nlri(family, reach.field)
        attributes, problems = self._reader.read(parts, reach.nexthop, reach.link_local)
        if reach.problem:
            problems = [*problems, reach.problem]
        place = None if block is None else find_reach(block)
        key = None if block is None or place is None else place.cut(block)
        self._announce(family, nlris, attributes, problems, out, key)

    def _announce(
        self,
        family: Family,
        nlris: list[Nlri],
        attributes: Attributes,
        problems: list[UpdateProblem],
        out: Decoded[P],
        key: bytes | tuple[bytes, bytes] | None,
    ) -> None:
        """Announce prefixes, or withdraw them if their attributes are wrong (RFC 7606 §2)."""
        for problem in problems:
            out.note(problem)
        worst = max(problems, key=lambda p: p.action, default=None)
        if worst is not None and worst.action >= Action.WITHDRAW:
            if nlris:
                out.withdraw(family, nlris)
                out.refused.append((family, nlris, worst))
            return
        path = self._make(family, attributes)
        if key is not None:
            self._remember(key, path)
        if nlris:
            out.announce(family, path, nlris)

    def _nothing_reachable(self, parts: Split, out: Decoded[P]) -> None:
        """Attributes without routes: an error among them may have hidden the routes (RFC 7606 §5.2).

        Without routes no attribute is mandatory (RFC 4271 §5).

        Raises:
            UpdateError: there is such an error.
        """
        if not (parts.values or parts.unknown or parts.problems):
            return
        _, found = self._reader.read(parts)
        problems = [p for p in found if p.subcode is not Subcode.MISSING_WELL_KNOWN]
        for problem in problems:
            out.note(problem)
        worst = max(problems, key=lambda p: p.action, default=None)
        if worst is not None and worst.action >= Action.WITHDRAW:
            reason = f"no routes found, and {worst.name}: {worst.reason}"
            raise UpdateError(worst.subcode, reason, "RFC 7606 §5.2")


def _fields(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Withdrawn routes, attribute block and NLRI of a body.

    Raises:
        UpdateError: the lengths do not fit into the body (RFC 4271 §6.3).
    """
    size = len(body)
    if size >= 4:
        block = 4 + (body[0] << 8 | body[1])
        if block <= size:
            end = block + (body[block - 2] << 8 | body[block - 1])
            if end <= size:
                return body[2 : block - 2], body[block:end], body[end:]
    reason = f"field lengths do not fit into a body of {size} octets"
    raise UpdateError(Subcode.MALFORMED_ATTRIBUTE_LIST, reason, "RFC 4271 §6.3")
