"""The origin check stage of the import pipeline: a place that another module fills.

The check is asked once for each prefix and attribute block of a peer that it :meth:`~OriginCheck.applies` to, before
the named import policy, which can match on the state. A refusal of the check is final: no policy can overrule it.
Paths of peers that it does not apply to are ``unknown`` and stay on the fast road.

To put one in force, or to replace it when its data changed: :meth:`kroute.plan.routing.Routing.set_origin_check`.
It judges again what :meth:`~OriginCheck.differs` names, of the stored announcements, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kroute.model.bgp import Attributes, Peer
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginState
from kroute.model.reason import Reason


class OriginVerdict(NamedTuple):
    """The state of a path, and the reason where the check itself refuses it (mode ``enforce``).

    Make few of them and hand out the same ones again: paths of equal verdicts share their memory.
    """

    state: OriginState
    refusal: Reason | None = None


UNASKED = OriginVerdict(OriginState.UNKNOWN)


class OriginCheck(Protocol):
    """Says who may announce what. An implementation is a value: its answers never change, new data is a new one."""

    def applies(self, peer: Peer) -> bool:
        """Whether paths of a peer are checked at all."""

    def judge(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri
    ) -> OriginVerdict:
        """The verdict on one prefix, with the attributes as received. Asked often: microseconds count."""

    def differs(self, before: OriginCheck) -> frozenset[tuple[Family, Nlri]] | None:
        """The prefixes that this check may judge differently than the one before it; None: any."""


class Unchecked:
    """The check of a node that checks nothing."""

    def applies(self, peer: Peer) -> bool:
        """No peer."""
        return False

    def judge(
        self,
        attributes: Attributes,
        peer: Peer,
        family: Family,
        nlri: Nlri,
    ) -> OriginVerdict:
        """Always unknown."""
        return UNASKED

    def differs(self, before: OriginCheck) -> frozenset[tuple[Family, Nlri]] | None:
        """None, unless nothing was checked before either."""
        return frozenset() if isinstance(before, Unchecked) else None


UNCHECKED = Unchecked()
