"""What import rules make of a path for one prefix; equal outcomes share one :class:`~kroute.plan.paths.Path`."""

from __future__ import annotations

from typing import NamedTuple

from kroute.model.bgp import Attributes
from kroute.model.fib import OWN_PLACE, Place
from kroute.model.policies import OriginState
from kroute.model.reason import Reason


class Outcome(NamedTuple):
    """The import rules' verdict on one prefix of an attribute block. A tuple, for it is made for each of many blocks.

    ``refusal`` is the reason of a no, None for a yes. ``rules`` names the rules that matched, in order, each as
    ``policy/rule``; the last one decided. ``attributes`` replace the received ones (None: as received).
    ``weight`` is that of the path's leg in an ECMP route, 1 to 256; ``place`` the kernel route's table and metric,
    which in an ECMP route are those of the best path. ``origin`` is what the origin check said, and
    ``objection`` why it called the path invalid, also where it lets it pass (mode ``warn``).
    """

    refusal: Reason | None = None
    rules: tuple[str, ...] = ()
    attributes: Attributes | None = None
    weight: int = 1
    place: Place = OWN_PLACE
    origin: OriginState = OriginState.UNKNOWN
    objection: Reason | None = None


PLAIN = Outcome()
"""Taken as it came: the outcome of a path to which no rule has anything to say."""
