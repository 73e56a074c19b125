"""The origin check stage of the import pipeline: a place that :mod:`kroute.plan.origin` fills.

The check is asked once for each :meth:`~OriginCheck.related` prefix and attribute block of a peer that it
:meth:`~OriginCheck.applies` to, before the named import policy, which can match on the state. A refusal of the check
is final: no policy can overrule it. All else is ``unknown``, and stays on the fast road.

To put one in force, or to replace it when its data changed: :meth:`kroute.plan.routing.Routing.set_origin_check`.
It judges again what :meth:`~OriginCheck.differs` names, of the stored announcements, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from kroute.model.bgp import Attributes, Peer
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginState
from kroute.model.reason import Reason

if TYPE_CHECKING:
    from kroute.plan.paths import Path


class OriginVerdict(NamedTuple):
    """The state of a path, why it is invalid, and whether the check itself refuses it for that (mode ``enforce``).

    Make few of them and hand out the same ones again: paths of equal verdicts share their memory.
    """

    state: OriginState
    reason: Reason | None = None
    refused: bool = False


UNASKED = OriginVerdict(OriginState.UNKNOWN)


class Concern(Protocol):
    """Which stored announcements two checks may judge differently."""

    def among(self, family: Family, table: Mapping[Nlri, Path]) -> Sequence[Nlri]:
        """Those prefixes of a peer's table."""


class OriginCheck(Protocol):
    """Says who may announce what. An implementation is a value: its answers never change, new data is a new one."""

    def applies(self, peer: Peer) -> bool:
        """Whether paths of a peer are checked at all."""

    def related(self, family: Family, nlris: Collection[Nlri]) -> Sequence[Nlri]:
        """The prefixes that may be anything but unknown. Asked of whole tables: nanoseconds count."""

    def judge(
        self, attributes: Attributes, peer: Peer, family: Family, nlri: Nlri
    ) -> OriginVerdict:
        """The verdict on one prefix, with the attributes as received. Asked often: microseconds count."""

    def differs(self, before: OriginCheck) -> Concern | None:
        """What this check may judge differently than the one before it; None: anything."""


class Unchecked:
    """The check of a node that checks nothing."""

    def applies(self, peer: Peer) -> bool:
        """No peer."""
        return False

    def related(self, family: Family, nlris: Collection[Nlri]) -> Sequence[Nlri]:
        """None of them."""
        return ()

    def judge(
        self,
        attributes: Attributes,
        peer: Peer,
        family: Family,
        nlri: Nlri,
    ) -> OriginVerdict:
        """Always unknown."""
        return UNASKED

    def differs(self, before: OriginCheck) -> Concern | None:
        """Anything may differ; peers that neither check applies to are not looked at."""
        return None


UNCHECKED = Unchecked()
