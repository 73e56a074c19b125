"""A path as the decision process sees it, and the peer it came from.

These objects are mutable and have identity: one :class:`Path` is shared by all prefixes that a peer announced
with the same attribute block, so that policy, next-hop resolution and ranking are computed once for each block
and not once for each route. People and policies see the frozen :class:`~kroute.model.bgp.Attributes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

from kroute.model.bgp import Attributes, Peer
from kroute.model.fib import Nexthops
from kroute.model.net import Family, address_of
from kroute.model.reason import Reason
from kroute.model.state import Origination
from kroute.plan.outcome import PLAIN, Outcome
from kroute.plan.resolve import scoped

if TYPE_CHECKING:
    from kroute.plan.policy.rules import Node, Policy

DEFAULT_LOCAL_PREF = 100
LAST_RESORT = 0
"""LOCAL_PREF of what is about to be withdrawn (RFC 8326 §4)."""


class Source:
    """Where paths come from: a peer's session; with ``peer`` None the inventory (``seeded``) or the node itself."""

    __slots__ = (
        "address",
        "interface",
        "internal",
        "leaving",
        "pass_on",
        "path_id",
        "peer",
        "place",
        "router_id",
        "seeded",
    )

    def __init__(
        self, peer: Peer | None, router_id: bytes = bytes(4), *, seeded: bool = False
    ) -> None:
        self.adopt(peer)
        self.router_id = router_id
        self.seeded = seeded
        self.leaving = False
        """Whether its session is only held until others have its routes, too."""
        self.pass_on = False
        """Whether internal peers are told what this external peer has told us."""
        self.place = 0
        """Which of the peer's paths to a prefix come from here, if it tells several (:mod:`kroute.plan.add_path`)."""
        self.path_id = b""
        """Path identifier of its paths where several are told (RFC 7911); empty until one is told."""

    def adopt(self, peer: Peer | None) -> None:
        """Take over the peer's present parameters."""
        self.peer = peer
        self.internal = peer is None or peer.internal
        self.address = peer.address.packed if peer else b""
        self.interface = peer.interface.encode() if peer else b""
        """The interface that link-local next hops of its paths belong to."""

    @property
    def name(self) -> str:
        """The peer's name, or ``local`` or ``inventory``."""
        return self.peer.name if self.peer else "inventory" if self.seeded else "local"

    @property
    def is_local(self) -> bool:
        """Whether it is the node itself."""
        return self.peer is None and not self.seeded


class Path:
    """Attributes announced by one source, with all that follows from them.

    A block as received is a path; where import rules look at prefixes or change attributes, what stands in the tables
    is one of its variants, one for each ``outcome``. ``attributes`` are those in force, after import policy.
    ``refusal`` is the import policy's reason if it said no. ``nexthops`` are the kernel legs of the resolved next
    hop; None while it is unreachable, and for local paths, which are not installed but for blackholes (no legs).
    ``eligible`` is what the decision process looks at first.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_variants",
        "attributes",
        "eligible",
        "epoch",
        "igp_metric",
        "nexthops",
        "origination",
        "outcome",
        "refusal",
        "source",
        "walk",
    )

    def __init__(self, source: Source, attributes: Attributes) -> None:
        self.source = source
        self.attributes = attributes
        self.refusal: Reason | None = None
        self.nexthops: Nexthops | None = None
        self.igp_metric = 0
        self.eligible = False
        self.epoch: object = None
        """When it was judged last: the token of the Rib's surroundings at that time."""
        self.outcome = PLAIN
        self.walk: tuple[Policy, Family, Node] | None = None
        """The import policy's memory of this block (:meth:`kroute.plan.policy.imports.ImportRules.outcomes`)."""
        self._base: Path | None = None
        self._variants: dict[Outcome, ReferenceType[Path]] | None = None
        self.origination: Origination | None = None
        """For a local path: the first of the wishes that it stands for; all agree but for prefix and source."""

    def variant(self, outcome: Outcome) -> Path:
        """The path that stands for all prefixes of this block, as received, with an equal outcome.

        Variants refer to their block, and the block only weakly to them: no cycle for the garbage collector.
        """
        if outcome == PLAIN:
            return self
        known = self._variants
        found = known.get(outcome) if known else None
        path = None if found is None else found()
        if path is None:
            path = Path(self.source, outcome.attributes or self.attributes)
            path._base, path.outcome = self, outcome
            self._remember(path)
        return path

    def _remember(self, variant: Path) -> None:
        known = self._variants
        if known is None:
            known = self._variants = {}
        elif not len(known) & (len(known) - 1):  # as their number doubles, lest each looks at all
            for gone in [o for o, r in known.items() if r() is None]:
                del known[gone]
        known[variant.outcome] = ref(variant)

    @property
    def base(self) -> Path:
        """The path as received that it is a variant of, or itself. (No reference to itself: that would be a cycle for
        the garbage collector, for each of a full table's paths.)
        """
        return self._base or self

    @property
    def best(self) -> Path:
        """The path that is announced on: itself (see :class:`Multipath`)."""
        return self

    @property
    def local_pref(self) -> int:
        """The degree of preference (RFC 4271 §9.1.1). Like the length below computed when compared: most never are."""
        pref = self.attributes.local_pref
        return DEFAULT_LOCAL_PREF if pref is None else pref

    @property
    def as_path_length(self) -> int:
        """The length of its AS_PATH."""
        return self.attributes.as_path_length

    @property
    def hop(self) -> bytes:
        """What to ask the resolver for: the next hop, a link-local one with the interface that it belongs to. Over a
        link-local session the link-local half of the next hop is the one to use (RFC 2545 §3).
        """
        interface, attributes = self.source.interface, self.attributes
        if not interface:
            return attributes.nexthop
        if attributes.link_local:
            return attributes.link_local + interface
        return scoped(attributes.nexthop, interface)

    @property
    def is_local(self) -> bool:
        """Whether this node originates it."""
        return self.source.is_local

    @property
    def is_seeded(self) -> bool:
        """Whether nobody has announced it and the inventory alone vouches for it."""
        return self.source.seeded

    @property
    def originator(self) -> bytes:
        """The BGP identifier that breaks ties: ORIGINATOR_ID where there is one (RFC 4456 §9)."""
        return self.attributes.originator_id or self.source.router_id

    def describe(self) -> str:
        """The path in words: its source and next hop."""
        hop = self.attributes.nexthop
        return f"{self.source.name} via {address_of(hop)}" if hop else self.source.name


class Multipath:
    """Several equally good paths: the best one is announced, the legs of all are installed."""

    __slots__ = ("best", "nexthops", "paths")

    def __init__(self, best: Path, paths: tuple[Path, ...], nexthops: Nexthops) -> None:
        self.best = best
        self.paths = paths
        self.nexthops: Nexthops | None = nexthops


Selection = Path | Multipath
"""What the Loc-RIB holds for a prefix."""
