"""One node before and after: what differs, and what an operator should be told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import unified_diff
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from kroute.codec.config.decode import camel
from kroute.codec.frames import SessionParameters
from kroute.daemon.control import RESTART_ONLY
from kroute.daemon.rehearsal.alike import Comparison
from kroute.daemon.rehearsal.cluster import Cluster
from kroute.daemon.rehearsal.crowd import Crowd
from kroute.daemon.rehearsal.stage import Said, Stage, Voice
from kroute.model.bgp import Peer, PeerKind, PeerName
from kroute.model.fib import Nexthops, place_of, place_words
from kroute.model.net import Family, Nlri, address_of, prefix_of
from kroute.model.rehearsal import (
    AnnouncementChange,
    Caution,
    Change,
    NodeReport,
    RouteChange,
    SessionChange,
)

SECRET = ("password",)
"""Parameters whose values are never shown."""

ALONE = (None,)
"""As many as a peer stands for that stands for nobody else."""

T = TypeVar("T")

SHARE = 0.1
"""Share of a node's routes that may go without a word of its own."""


def report(
    old: Stage | None,
    new: Stage | None,
    before: Cluster | None,
    after: Cluster,
    comparison: Comparison,
    crowd: Crowd,
    *,
    counted: bool,
) -> NodeReport:
    """All that changes on a node that is there in one cluster at least.

    ``counted``: it has heard everybody, as it may have other routes than before. ``crowd``: for whom its sessions
    stand.
    """
    either = new or old
    assert either is not None
    sessions = tuple(_sessions(old, new, crowd))
    routes = tuple(_routes(old, new, comparison)) if counted else ()
    told, conflist = tuple(_announcements(old, new, crowd)), _conflist(old, new)
    changed = bool(sessions or routes or told or conflist)
    change = Change.CHANGED if changed else Change.SAME
    if old is None or new is None:
        change = Change.ADDED if old is None else Change.REMOVED
    return NodeReport(
        node=either.name,
        change=change,
        sessions_before=_size(_held(old), crowd),
        sessions_after=_size(_held(new), crowd),
        routes_before=_count(old) if counted else None,
        routes_after=_count(new) if counted else None,
        sessions=sessions,
        announcements=told,
        routes=routes,
        conflist=conflist,
        cautions=tuple(sorted(_cautions(old, new, before, after, sessions, crowd))),
    )


def _size(names: Iterable[PeerName], crowd: Crowd) -> int:
    return sum(len(crowd.get(name, ALONE)) for name in names)


def _held(stage: Stage | None) -> dict[PeerName, SessionParameters]:
    return stage.sessions() if stage is not None else {}


def _count(stage: Stage | None) -> int:
    return sum(map(len, stage.kernel.values())) if stage is not None else 0


# --- sessions -----------------------------------------------------------------------------------------


def _sessions(old: Stage | None, new: Stage | None, crowd: Crowd) -> Iterator[SessionChange]:
    """Sessions that differ, those that differ alike together."""
    was, will = _held(old), _held(new)
    groups: dict[tuple[Change, tuple[str, ...]], list[str]] = {}
    for name in sorted({*was, *will}):
        if name not in was:
            assert new is not None
            found = Change.ADDED, _described(new.peers[name])
        elif name not in will:
            assert old is not None
            found = Change.REMOVED, _described(old.peers[name])
        else:
            assert old is not None
            assert new is not None
            found = _differing(was[name], will[name], old.peers[name], new.peers[name])
        if found[0] is not Change.SAME:
            groups.setdefault(found, []).extend(crowd.get(name, (name,)))
    for (change, because), names in _in_order(groups):
        yield SessionChange(change=change, peers=names, because=because)


def _in_order(groups: Mapping[T, Iterable[str]]) -> list[tuple[T, tuple[str, ...]]]:
    """Names sorted in each group, and groups by their first one."""
    found = [(key, tuple(sorted(names))) for key, names in groups.items()]
    return sorted(found, key=lambda group: group[1][0])


def _described(peer: Peer) -> tuple[str, ...]:
    if peer.node:
        return (f"{peer.kind.value}, {peer.as_words}",)
    return (f"{peer.kind.value}, {peer.address}, {peer.as_words}",)


def _differing(
    was: SessionParameters, will: SessionParameters, peer: Peer, now: Peer
) -> tuple[Change, tuple[str, ...]]:
    """Whether a session is reset is the daemon's own answer; which parameters differ is added to it."""
    if was == will and peer == now:
        return Change.SAME, ()
    differing = tuple(_differences(was, will))
    if not was.same_session(will):
        return Change.RESET, differing
    words = {w.split(" ", 1)[0] for w in differing}
    more = (d for d in _differences(peer, now) if d.split(" ", 1)[0] not in words)
    return Change.CHANGED, (*differing, *more)


def _differences(was: Any, will: Any) -> Iterator[str]:
    names, values = _parts(was.__class__)
    for name, one, two in zip(names, values(was), values(will), strict=True):
        if one == two:
            continue
        key = camel(name)
        yield key if name in SECRET else f"{key} {_words(one)} → {_words(two)}"


@cache
def _parts(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The names of a dataclass' fields, and how to read them all at once: a million sessions are compared so."""
    names = tuple(f.name for f in fields(kind))
    return names, attrgetter(*names)


def _words(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "none"
    if isinstance(value, tuple):
        return "+".join(map(_words, value))
    if isinstance(value, Family):
        return value.label
    return str(value)


# --- what is told -------------------------------------------------------------------------------------


def _announcements(
    old: Stage | None, new: Stage | None, crowd: Crowd
) -> Iterator[AnnouncementChange]:
    """What peers with a session before and after are told anew, those who are told alike together."""
    if old is None or new is None:
        return
    pairs: dict[tuple[Voice, Voice], list[str]] = {}
    for name in sorted(old.sessions().keys() & new.sessions().keys()):
        pair = old.voice(name), new.voice(name)
        pairs.setdefault(pair, []).extend(crowd.get(name, (name,)))
    for (was, will), names in _in_order(pairs):
        if was.blocks == will.blocks:
            continue
        before, now = was.announced(), will.announced()
        yield from _told(names, before, now)


def _told(names: tuple[str, ...], before: Said, now: Said) -> Iterator[AnnouncementChange]:
    announced, withdrawn = now.keys() - before.keys(), before.keys() - now.keys()
    changed = {k for k in before.keys() & now.keys() if before[k] != now[k]}
    if announced or withdrawn or changed:
        yield AnnouncementChange(
            peers=names,
            announced=_prefixes(announced),
            withdrawn=_prefixes(withdrawn),
            changed=_prefixes(changed),
        )


def _prefixes(keys: Iterable[tuple[Family, Nlri, bytes]]) -> tuple[str, ...]:
    """The prefixes, paths besides the best one with their next hop."""
    return tuple(
        f"{prefix_of(family, nlri)} via {address_of(hop)}" if hop else str(prefix_of(family, nlri))
        for family, nlri, hop in sorted(keys, key=_order)
    )


def _order(key: tuple[Family, Nlri, bytes]) -> tuple[int, bytes, int, bytes]:
    return int(key[0]), key[1][1:], key[1][0], key[2]


# --- what is installed --------------------------------------------------------------------------------


def _routes(old: Stage | None, new: Stage | None, comparison: Comparison) -> Iterator[RouteChange]:
    for family in Family:
        was = old.kernel[family] if old is not None else {}
        will = new.kernel[family] if new is not None else {}
        if was == will:
            continue
        for nlri in sorted(was.keys() | will.keys(), key=lambda n: (n[1:], n[0])):
            before, now = was.get(nlri), will.get(nlri)
            if before == now:
                continue
            key = family, nlri, before, now
            found = comparison.routes.get(key)
            if found is None:
                found = comparison.routes[key] = _route(*key)
            yield found


def _route(
    family: Family, nlri: Nlri, before: Nexthops | None, now: Nexthops | None
) -> RouteChange:
    change = Change.REPLACED
    if before is None or now is None:
        change = Change.ADDED if before is None else Change.REMOVED
    prefix = str(prefix_of(family, nlri))
    return RouteChange(change=change, prefix=prefix, before=_legs(before), after=_legs(now))


def _legs(nexthops: Nexthops | None) -> tuple[str, ...]:
    if nexthops == ():
        return ("blackhole",)
    legs = tuple(
        f"via {address_of(leg.gateway)}" if leg.gateway else "on link" for leg in nexthops or ()
    )
    words = place_words(place_of(nexthops))
    return (*legs, words) if words else legs


def _conflist(old: Stage | None, new: Stage | None) -> tuple[str, ...]:
    """The conflist's own lines that differ. A node that leaves keeps its file."""
    if new is None:
        return ()
    was, will = old.conflist_text() if old is not None else "", new.conflist_text()
    if was == will:
        return ()
    lines = unified_diff(was.splitlines(), will.splitlines(), "before", "after", n=1, lineterm="")
    return tuple(line for line in lines if line[:3] not in ("---", "+++"))


# --- what to think of it ------------------------------------------------------------------------------


def _cautions(
    old: Stage | None,
    new: Stage | None,
    before: Cluster | None,
    after: Cluster,
    sessions: tuple[SessionChange, ...],
    crowd: Crowd,
) -> Iterator[Caution]:
    if new is None:
        return
    name = new.name

    def caution(code: str, text: str) -> Caution:
        return Caution(node=name, code=code, text=text)

    for code, text in (
        *_lost_peers(old, new, crowd),
        *_lost_routes(old, new),
        *_one_sided(new, after, crowd),
        *_all_reset(old, new, sessions, crowd),
        *_restart(name, before, after),
        *_new_problems(old, new),
    ):
        yield caution(code, text)


def _lost_peers(old: Stage | None, new: Stage, crowd: Crowd) -> Iterator[tuple[str, str]]:
    if old is None:
        return
    had, has = _size(old.sessions(), crowd), _size(new.sessions(), crowd)
    if had and not has:
        yield "no-peer-left", f"would have no session left (has {had})"
    clients = [
        _size((n for n, p in s.peers.items() if p.kind is PeerKind.CLIENT), crowd)
        for s in (old, new)
    ]
    if clients[0] and not clients[1]:
        yield "no-client", f"would reflect for nobody any more (has {clients[0]} clients)"


def _lost_routes(old: Stage | None, new: Stage) -> Iterator[tuple[str, str]]:
    """Routes that go, but for those to nodes that go themselves: to nodes that stay, or a share of all."""
    if old is None:
        return
    owned, owns = old.control.desired.owners, new.control.desired.owners
    lost = [
        k
        for k in ((f, n) for f in Family for n in old.kernel[f] if n not in new.kernel[f])
        if k not in owned or k in owns
    ]
    nodes = {owns[k] for k in lost if k in owns}
    share = f"{len(lost)} of its {_count(old)} kernel routes go"
    if nodes:
        who = next(iter(nodes)) if len(nodes) == 1 else f"{len(nodes)} other nodes"
        yield "unreachable", f"would no longer reach {who}: {share}"
    elif lost and len(lost) >= SHARE * _count(old):
        yield "routes-lost", f"would lose routes: {share}"


def _one_sided(new: Stage, after: Cluster, crowd: Crowd) -> Iterator[tuple[str, str]]:
    """Sessions that one end wants and the other does not, or not so."""
    unwanted: list[PeerName] = []
    mismatched: list[PeerName] = []
    for name, peer in new.peers.items():
        if not after.is_played(peer):
            continue
        end = after.other_end(peer)
        if end is None:
            unwanted.append(name)
        elif not end.agrees(peer):
            mismatched.append(name)
    if unwanted:
        who = _some(_all_of(unwanted, new, crowd))
        yield "one-sided", f"would wait in vain for {who}: no session wanted there"
    if mismatched:
        who = _some(_all_of(mismatched, new, crowd))
        yield "one-sided", f"would disagree about AS numbers with {who}"


def _all_of(names: list[PeerName], stage: Stage, crowd: Crowd) -> list[str]:
    """Peers and those for whom they stand, as they follow each other in a plan: explicit ones, then nodes by name."""
    found = [(n, stage.peers[name].node) for name in names for n in crowd.get(name, (name,))]
    if len(found) > len(names):
        found.sort(key=lambda one: one[0].split("/")[1] if one[1] else "")
    return [name.removeprefix("node/") for name, _ in found]


def _all_reset(
    old: Stage | None, new: Stage, sessions: tuple[SessionChange, ...], crowd: Crowd
) -> Iterator[tuple[str, str]]:
    if old is None:
        return
    kept = old.sessions().keys() & new.sessions().keys()
    reset = [name for s in sessions if s.change is Change.RESET for name in s.peers]
    if len(reset) > 1 and len(reset) == _size(kept, crowd):
        helped = all(new.peers[name].graceful_restart for name in kept)
        stay = "; graceful restart keeps its routes meanwhile" if helped else ""
        yield "all-reset", f"all its {len(reset)} sessions would start again at once{stay}"


def _restart(name: str, before: Cluster | None, after: Cluster) -> Iterator[tuple[str, str]]:
    if before is None:
        return
    old, new = before.setting.config(name), after.setting.config(name)
    parts = [camel(p) for p in RESTART_ONLY if getattr(old, p) != getattr(new, p)]
    if parts:
        yield "restart-needed", f"{_some(parts)}: read at start only, needs a restart of the daemon"


def _new_problems(old: Stage | None, new: Stage) -> Iterator[tuple[str, str]]:
    """Problems of the plan that there are not now; those about the cluster are seen by every node alike."""
    known = set(old.control.desired.problems) if old is not None else set()
    for problem in new.control.desired.problems:
        if problem not in known:
            where = f"{problem.object} {problem.field}".strip()
            yield "problem", f"{where}: {problem.reason}"


def _some(names: Iterable[str], shown: int = 3) -> str:
    """A few names, and how many more."""
    found = list(names)
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    return ", ".join(found[:shown]) + more
