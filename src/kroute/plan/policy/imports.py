"""The import pipeline of a peer: what becomes of a path, prefix by prefix.

::

    attribute block ─ loops, next hop ─▶ Path          once for each block (kroute.plan.policy.loops)
    prefix ─ origin check ─ acceptance ─▶ Outcome      only where a stage looks at prefixes

Outcomes are frozen and shared; :meth:`kroute.plan.paths.Path.variant` gives the one path that stands in the tables
for all prefixes of a block with equal outcomes. A peer whose stages look at nothing (``is_plain``, and no origin check
applies) never comes here: its paths stand for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kroute.model.bgp import PeerKind
from kroute.model.config import Accept
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginState
from kroute.model.reason import Reason, Why
from kroute.plan.outcome import PLAIN, Outcome
from kroute.plan.paths import Path
from kroute.plan.policy.origin import UNASKED, OriginCheck, OriginVerdict

DEFAULT_ROUTE: Nlri = b"\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Which prefixes of a peer are taken; ``exact`` None takes all."""

    exact: frozenset[tuple[Family, Nlri]] | None
    words: str

    def refusal(self) -> Reason | None:
        """The reason that a prefix outside ``exact`` is refused with."""
        return None if self.exact is None else Reason(Why.NOT_ACCEPTED, self.words)


EVERYTHING = Acceptance(exact=None, words="")


def acceptance(
    kind: PeerKind,
    internal: bool,
    accept: Accept,
    named: frozenset[tuple[Family, Nlri]],
    owners: Mapping[tuple[Family, Nlri], str],
) -> Acceptance:
    """What is taken from a peer: all from internal ones, the configured preset from external ones."""
    if accept is Accept.ALL or (internal and kind is not PeerKind.EXTERNAL):
        return EVERYTHING
    preset: frozenset[tuple[Family, Nlri]] = frozenset()
    if accept is Accept.DEFAULT_ROUTE:
        preset = frozenset((f, DEFAULT_ROUTE) for f in Family)
    elif accept is Accept.POD_CIDRS:
        preset = frozenset(owners)
    words = f"accept: {accept.value} of this external peer does not name the prefix (RFC 8212)"
    return Acceptance(exact=preset | named, words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """What is configured for the paths of one peer; equal values decide alike."""

    acceptance: Acceptance = EVERYTHING

    @property
    def is_plain(self) -> bool:
        """Whether every path is taken as it comes."""
        return self.acceptance.exact is None

    def outcomes(
        self, path: Path, check: OriginCheck | None, family: Family, nlris: Sequence[Nlri]
    ) -> Iterable[tuple[Outcome, Sequence[Nlri]]]:
        """The prefixes of one announcement by what becomes of them. ``check``: None where it does not apply."""
        origins = _origins(path, check, family, nlris)
        if not origins and self.is_plain:
            return ((PLAIN, nlris),)
        groups: dict[Outcome, list[Nlri]] = {}
        exact, refusal = self.acceptance.exact, self.acceptance.refusal()
        for nlri in nlris:
            said = origins.get(nlri, UNASKED)
            no = said.reason if said.refused else None
            if exact is not None and (family, nlri) not in exact:
                no = refusal
            if no is None and said.state is OriginState.UNKNOWN:
                outcome = PLAIN
            else:
                outcome = Outcome(refusal=no, origin=said.state, objection=said.reason)
            groups.setdefault(outcome, []).append(nlri)
        return groups.items()


def _origins(
    path: Path, check: OriginCheck | None, family: Family, nlris: Sequence[Nlri]
) -> dict[Nlri, OriginVerdict]:
    """What the origin check says of those prefixes that it knows something about."""
    peer, attributes = path.source.peer, path.attributes
    if check is None or peer is None:
        return {}
    return {n: check.judge(attributes, peer, family, n) for n in check.related(family, nlris)}


TAKE_ALL = ImportRules()
"""The rules of internal peers, unless configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRules:
    """All that policy says about one peer, both ways."""

    imports: ImportRules = TAKE_ALL


UNRULED = PeerRules()
