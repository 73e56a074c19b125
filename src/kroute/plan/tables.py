"""One peer's tables for people: what it has told us and what became of it, what it is told and why the rest is not.

Tables can be full ones, so answers come in pages: prefixes in order, after a given one, so many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from kroute.model.bgp import Attributes
from kroute.model.net import Family, Nlri, Prefix, family_of, nlri_of
from kroute.model.policies import OriginState
from kroute.model.reason import Reason, Why
from kroute.plan.adj_out import AdjRibOut
from kroute.plan.decision import ineligible
from kroute.plan.paths import Path
from kroute.plan.peer_page import find
from kroute.plan.policy import Told
from kroute.plan.routing import PeerState, Routing

T = TypeVar("T")


class Entry(NamedTuple):
    """A prefix in a peer's table.

    ``before`` are the attributes as they came (in) or as the Loc-RIB has them (out), ``after`` those that policy made
    of them, None where the path was rejected (in: it is not used for that, out: it is not told) with ``reason``.
    """

    family: Family
    nlri: Nlri
    before: Attributes
    after: Attributes | None
    rules: tuple[str, ...]
    origin: OriginState
    reason: Reason | None
    source: str
    """The peer that the path came from, or ``local``."""
    path_id: int | None = None
    """The path identifier that it came with, or is told with (RFC 7911); None for none."""


class Page(NamedTuple):
    """Which part of a table: prefixes behind ``after``, at most ``limit``; the rejected ones alone, or the others."""

    after: Prefix | None = None
    limit: int = 1000
    rejected: bool = False


def find_peer(routing: Routing, name: str) -> PeerState:
    """The peer of a name, with or without its ``peer/`` or ``node/``.

    Raises:
        ValueError: there is none; says which there are.
    """
    full = find(routing, name)
    if full is not None:
        return routing.peers[full]
    some = ", ".join(sorted(routing.peers)[:10]) or "none"
    raise ValueError(f"there is no peer {name!r} on this node (there is: {some})")


def rib_in(state: PeerState, page: Page) -> Iterator[Entry]:
    """What a peer has announced: of a page's last prefix all paths."""
    shown = 0
    known: dict[Family, dict[Nlri, None]] = {f: {} for f in Family}
    for family, table in state.tables:
        known[family] |= dict.fromkeys(table)
    for family, nlri, _ in _behind(known.items(), page.after):
        for path_id, path in state.places.paths_to(family, nlri):
            if path.eligible is not page.rejected:
                yield _received(family, nlri, path, path_id)
                shown += 1
        if shown >= page.limit:
            return


def _received(family: Family, nlri: Nlri, path: Path, path_id: int | None) -> Entry:
    return Entry(
        family,
        nlri,
        path.base.attributes,
        path.attributes if path.eligible else None,
        path.outcome.rules,
        path.outcome.origin,
        None if path.eligible else ineligible(path),
        path.source.name,
        path_id,
    )


def rib_out(routing: Routing, state: PeerState, page: Page) -> Iterator[Entry]:
    """What a peer has been told of the Loc-RIB, of a page's last prefix all paths; nothing while it is down."""
    if state.out is None:
        return
    # A table of its own: this may run in another thread than the one that follows the Loc-RIB.
    out = routing.announcer.made(state.out.rules)
    shown = 0
    for family, nlri, selection in _behind(routing.rib.loc.items(), page.after):
        for path, verdict in out.verdicts(family, nlri, selection):
            entry = _told(out, state, family, nlri, path, verdict)
            if (entry.after is None) is page.rejected:
                yield entry
                shown += 1
        if shown >= page.limit:
            return


def _told(
    out: AdjRibOut, state: PeerState, family: Family, nlri: Nlri, path: Path, verdict: Told
) -> Entry:
    attributes, reason = verdict.attributes, verdict.refusal
    if path.source.peer is not None and path.source.name == state.peer.name:
        attributes, reason = None, Reason(Why.NOT_PASSED_ON, "it came from this peer")
    origin = OriginState.VALID if path.is_local else path.outcome.origin
    number = int.from_bytes(path.source.path_id, "big")
    path_id = number if attributes is not None and out.rules.has_ids(family) else None
    return Entry(
        family,
        nlri,
        path.attributes,
        attributes,
        verdict.rules,
        origin,
        reason,
        path.source.name,
        path_id,
    )


def _behind(
    tables: Iterable[tuple[Family, dict[Nlri, T]]], after: Prefix | None
) -> Iterator[tuple[Family, Nlri, T]]:
    """The entries of both families in order, behind a prefix."""
    first = None if after is None else (family_of(after), *_place(nlri_of(after)))
    for family, table in tables:
        for nlri in sorted(table, key=_place):
            if (first is None or (family, *_place(nlri)) > first) and nlri in table:
                yield family, nlri, table[nlri]


def _place(nlri: Nlri) -> tuple[bytes, int]:
    return nlri[1:], nlri[0]


def rejected(state: PeerState) -> Counter[Why]:
    """How many of a peer's prefixes are not used, by the code of the reason; costs a look at each distinct path."""
    found: Counter[Why] = Counter()
    for table in (table for _, table in state.tables):
        for path, count in Counter(table.values()).items():
            if not path.eligible:
                found[ineligible(path).why] += count
    return found
