"""Whole tables for peers that begin to follow an Adj-RIB-Out: slice by slice, so that nobody is held up.

The law that makes any order right: of each prefix a peer has been told what its Adj-RIB-Out says, or it is in the part
that the peer still waits for, and what the peer knows of it is what it knew before. A prefix that changes before its
slice is told there and then, once, as it is now; what went before its slice is told to nobody. Peers that begin at one
moment to follow the same table share each slice and its encoding. Tables that are told at the same time take turns.

Where nobody has followed rules like these before, their table takes in the Loc-RIB first, in slices as well.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kroute.model.bgp import PeerName
from kroute.model.net import Family, Nlri
from kroute.plan.adj_out import AdjRibOut, Change, Tell, Words
from kroute.plan.paths import Selection
from kroute.plan.rib import Rib

SWITCH = 8
"""What a prefix costs that has another path than its neighbour in the table: as much as so many that have the same."""

UNTOLD: Final[Mapping[Family, Words]] = {}
"""What a peer knows that has just come."""


class Stretch:
    """Prefixes of one family that are gone through in slices."""

    __slots__ = ("_at", "_keys", "family")

    def __init__(self, family: Family, keys: list[Nlri]) -> None:
        self.family = family
        self._keys = keys
        self._at = 0

    @property
    def left(self) -> int:
        """How many are left."""
        return len(self._keys) - self._at

    def rest(self) -> list[Nlri]:
        """Those that are left."""
        return self._keys[self._at :]

    def cut(self, loc: Mapping[Nlri, Selection], room: float) -> tuple[list[Nlri], float]:
        """The next slice, and what it leaves of the room."""
        begin, end, keys = self._at, len(self._keys), self._keys
        if room != math.inf:
            last = None
            for place in range(begin, end):
                if room <= 0:
                    end = place
                    break
                found = loc.get(keys[place])
                room -= 1 if found is last else SWITCH
                last = found
        self._at = end
        return keys[begin:end], room


class Joining:
    """Some of a table's peers that are told the whole of it from one moment on, and how far that is."""

    __slots__ = ("_done", "_known", "_waiting", "again", "begun", "out", "peers", "refreshes")

    def __init__(
        self, out: AdjRibOut, known: Mapping[Family, Words] = UNTOLD, *, refreshes: bool = False
    ) -> None:
        """``known``: what the peers were told earlier in their session, by other rules; ours from now on.
        ``refreshes``: they know the table, and are told everything again.
        """
        self.out = out
        self.refreshes = refreshes
        self.peers: set[PeerName] = set()
        self.again: set[PeerName] = set()
        """Of these, who has asked meanwhile to be told everything again."""
        self.begun = False
        self._known = known
        self._waiting: deque[Stretch] = deque()
        """The table as it was at the beginning, and what was known besides."""
        self._done: dict[Family, set[Nlri]] = {}

    @property
    def left(self) -> int:
        """How many prefixes are still to be looked at, or more: some come twice."""
        if not self.begun:
            return sum(map(len, self.out.words.values()))
        return sum(stretch.left for stretch in list(self._waiting))

    def shares(self, other: Joining) -> bool:
        """Whether the peers of another one can come along."""
        alike = self._known is other._known and self.refreshes is other.refreshes
        return alike and not self.begun

    def catch(self, family: Family, changes: Iterable[Change]) -> Iterator[Change]:
        """Changes of the table as these peers see them."""
        if not self.begun:
            if self.refreshes:
                yield from changes
            return
        done, known = self._done[family], self._known.get(family, {})
        for nlri, old, new in changes:
            before = old
            if nlri not in done:
                done.add(nlri)
                before = old if self.refreshes else known.get(nlri)
            if before != new and (before or new):
                yield nlri, before, new

    def advance(
        self, loc: Mapping[Family, Mapping[Nlri, Selection]], room: float
    ) -> tuple[list[Tell], float]:
        """What to tell next, and what that leaves of the room."""
        if not self.begun:
            self._begin()
        tells: list[Tell] = []
        while self._waiting and room > 0:
            stretch = self._waiting[0]
            family = stretch.family
            part, room = stretch.cut(loc[family], room)
            tells += self.out.messages(family, self._slice(family, part), self.peers)
            if not stretch.left:
                self._waiting.popleft()
        return tells, room

    @property
    def tells_all_yet(self) -> bool:
        """Whether the peers will be told the table from its beginning to its end, whatever they know."""
        return not self.begun and (self.refreshes or not self._known)

    @property
    def owed_again(self) -> set[PeerName]:
        """The peers that are still owed what they know already."""
        return self.peers if self.refreshes else self.again

    @property
    def is_over(self) -> bool:
        """Whether the peers know the table."""
        return self.begun and not self._waiting

    def told(self) -> Mapping[Family, Words]:
        """What the peers have been told so far, in this session; the caller's own."""
        if not (self.begun or self.refreshes):
            return {family: table.copy() for family, table in self._known.items()}
        found = {family: dict(table) for family, table in self.out.words.items()}
        for stretch in () if self.refreshes else self._waiting:
            family = stretch.family
            table, known = found.setdefault(family, {}), self._known.get(family, {})
            for nlri in stretch.rest():
                if nlri in self._done[family]:
                    continue
                if nlri in known:
                    table[nlri] = known[nlri]
                else:
                    table.pop(nlri, None)
        return found

    @property
    def scraps(self) -> list[Words]:
        """What is of no use when it is over."""
        return list(self._known.values())

    def _begin(self) -> None:
        self.begun = True
        for tables in (self.out.words, self._known):
            for family, table in tables.items():
                self._done.setdefault(family, set())
                if table:
                    self._waiting.append(Stretch(family, list(table)))

    def _slice(self, family: Family, nlris: Sequence[Nlri]) -> Iterator[Change]:
        done, known = self._done[family], self._known.get(family)
        table = self.out.words.get(family, {})
        if not done.isdisjoint(nlris):
            nlris = [nlri for nlri in nlris if nlri not in done]
        done.update(nlris)
        if not known:
            return ((nlri, None, now) for nlri in nlris if (now := table.get(nlri)))
        both = ((nlri, known.get(nlri), table.get(nlri)) for nlri in nlris)
        return (change for change in both if change[1] != change[2])


class Joinings:
    """All that are going on, in the order of their turns."""

    def __init__(self, rib: Rib) -> None:
        self._rib = rib
        self._turns: deque[Joining] = deque()
        self._scraps: list[dict[Any, Any]] = []
        """Tables of no use any more. To free a full one takes its time as well, so it goes in slices."""

    @property
    def going_on(self) -> bool:
        """Whether anybody waits for a part of a table, or one is left to be thrown away."""
        return bool(self._turns or self._scraps)

    @property
    def left(self) -> int:
        """Prefixes that are still to be told, or to be taken in by the table that is; 0 when everybody knows all."""
        filling = {id(j.out): j.out.unfilled for j in list(self._turns)}
        unfilled = sum(stretch.left for parts in filling.values() for stretch in list(parts))
        return unfilled + sum(joining.left for joining in list(self._turns))

    def of(self, name: PeerName, out: AdjRibOut) -> Joining | None:
        """The one that a follower of a table is in; None: it knows the table."""
        return next((joining for joining in out.joinings if name in joining.peers), None)

    def begin(self, wanted: Joining, names: Iterable[PeerName]) -> Joining:
        """Peers, of whom none is in a joining, are to be told the whole table; in which one they are."""
        out = wanted.out
        joining = next((j for j in out.joinings if j.shares(wanted)), None)
        if joining is None:
            joining = wanted
            out.joinings.append(joining)
            self._turns.append(joining)
        joining.peers.update(names)
        return joining

    def repeat(self, out: AdjRibOut, name: PeerName) -> None:
        """A follower asks to be told everything again; who is being told just now, when that is over."""
        joining = self.of(name, out)
        if joining is None:
            self.begin(Joining(out, refreshes=True), [name])
        elif not joining.tells_all_yet:
            joining.again.add(name)

    def leave(self, out: AdjRibOut, name: PeerName) -> None:
        """A follower goes; what it still waits for is dropped."""
        joining = self.of(name, out)
        if joining is not None:
            joining.peers.discard(name)
            joining.again.discard(name)
            if not joining.peers:
                self._turns.remove(joining)
                out.joinings.remove(joining)
                self.discard(joining.scraps)

    def discard(self, scraps: Iterable[dict[Any, Any]]) -> None:
        """Tables are of no use to anybody any more."""
        self._scraps += filter(None, scraps)

    def advance(self, most: int | None) -> list[Tell]:
        """What to tell next: so many prefixes with a path of their own, or :data:`SWITCH` times as many with the same;
        None: all.
        """
        self._clear(most)
        room = math.inf if most is None else float(most * SWITCH)
        tells: list[Tell] = []
        while self._turns and room > 0:
            joining = self._turns.popleft()
            # Those that have nothing to tell take their place as well.
            room = self._fill(joining.out, room - 1)
            if not joining.out.unfilled:
                found, room = joining.advance(self._rib.loc, room)
                tells += found
            if joining.is_over:
                joining.out.joinings.remove(joining)
                self.discard(joining.scraps)
                if joining.again:
                    self.begin(Joining(joining.out, refreshes=True), joining.again)
            else:
                self._turns.append(joining)
        return tells

    def _clear(self, most: int | None) -> None:
        count = sum(map(len, self._scraps)) if most is None else most * SWITCH
        while self._scraps and count > 0:
            scrap = self._scraps[-1]
            some = min(count, len(scrap))
            for _ in range(some):
                scrap.popitem()
            count -= some
            if not scrap:
                self._scraps.pop()

    def _fill(self, out: AdjRibOut, room: float) -> float:
        """Let a new table take in some of the Loc-RIB; what is left of the room."""
        while out.unfilled and room > 0:
            stretch = out.unfilled[0]
            loc = self._rib.loc[stretch.family]
            part, room = stretch.cut(loc, room)
            out.fill(stretch.family, part, loc)
            if not stretch.left:
                out.unfilled.popleft()
        return room
