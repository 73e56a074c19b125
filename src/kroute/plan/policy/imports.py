"""The import pipeline of a peer: what becomes of a path, prefix by prefix.

::

    attribute block ─ loops ─ policy, as far as it looks at attributes ─▶ Path     once for each block
    prefix ─ origin check ─ policy, the rest ─ acceptance ─▶ Outcome               only where a stage asks

A refusal of the origin check is final. What no rule of the named policy decides is decided by the policy's default, and
where it has none by the acceptance: what the peer's `accept` names. A rule that accepts needs no `accept`.

Outcomes are frozen and shared; :meth:`kroute.plan.paths.Path.variant` gives the one path that stands in the tables
for all prefixes of a block with equal outcomes. A peer whose stages ask nothing (``is_plain``, and no origin check
applies) never comes here: its paths stand for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kroute.model.bgp import PeerKind
from kroute.model.config_peering import Accept
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginClass, OriginState
from kroute.model.reason import Reason, Why
from kroute.plan.outcome import PLAIN, Outcome
from kroute.plan.paths import Path
from kroute.plan.policy.classes import DEFAULT_ROUTE, NOTHING, Classes
from kroute.plan.policy.matching import Place, PrefixSet
from kroute.plan.policy.origin import UNASKED, OriginCheck, OriginVerdict
from kroute.plan.policy.rules import UNDECIDED, Node, Policy, Verdict, follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Which prefixes of a peer are taken: those in ``exact`` and ``within``; ``exact`` None takes all."""

    exact: frozenset[tuple[Family, Nlri]] | None
    words: str
    within: PrefixSet = NOTHING

    def refusal(self) -> Reason | None:
        """The reason that a prefix which it does not name is refused with."""
        return None if self.exact is None else Reason(Why.NOT_ACCEPTED, self.words)

    def names(self, family: Family, nlri: Nlri) -> bool:
        """Whether a prefix is taken."""
        exact = self.exact
        return exact is None or (family, nlri) in exact or self.within.holds(family, nlri)


EVERYTHING = Acceptance(exact=None, words="")


def acceptance(
    kind: PeerKind,
    internal: bool,
    accept: Accept,
    named: frozenset[tuple[Family, Nlri]],
    owners: Mapping[tuple[Family, Nlri], str],
    hosts: PrefixSet = NOTHING,
) -> Acceptance:
    """What is taken from a peer: all from internal ones, the configured preset from external ones.

    ``hosts`` are the single addresses that ``accept: anycast`` takes.
    """
    if accept is Accept.ALL or (internal and kind is not PeerKind.EXTERNAL):
        return EVERYTHING
    preset: frozenset[tuple[Family, Nlri]] = frozenset()
    if accept is Accept.DEFAULT_ROUTE:
        preset = frozenset((f, DEFAULT_ROUTE) for f in Family)
    elif accept is Accept.POD_CIDRS:
        preset = frozenset(owners)
    words = f"accept: {accept.value} of this external peer does not name the prefix (RFC 8212)"
    within = hosts if accept is Accept.ANYCAST else NOTHING
    return Acceptance(exact=preset | named, words=words, within=within)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """What is configured for the paths of one peer; equal values decide alike."""

    acceptance: Acceptance = EVERYTHING
    policy: Policy | None = None

    @property
    def is_plain(self) -> bool:
        """Whether every path is taken as it comes."""
        return self.acceptance.exact is None and self.policy is None

    @property
    def asks_kind(self) -> bool:
        """Whether a rule asks what a prefix is to this node."""
        return self.policy is not None and self.policy.asks_kind

    def outcomes(
        self,
        path: Path,
        check: OriginCheck | None,
        classes: Classes,
        family: Family,
        nlris: Sequence[Nlri],
    ) -> Iterable[tuple[Outcome, Sequence[Nlri]]]:
        """The prefixes of one announcement by what becomes of them. ``check``: None where it does not apply."""
        root, origins = self._root(path, family), _origins(path, check, family, nlris)
        if not origins and isinstance(root, Verdict) and not self._asks_acceptance(root):
            return ((_outcome(path, root, UNASKED, None), nlris),)
        groups: dict[tuple[int, OriginVerdict, bool], tuple[Verdict, list[Nlri]]] = {}
        asks_kind, accepted = self.asks_kind, self.acceptance.names
        kind, refusal = OriginClass.EXTERNAL, self.acceptance.refusal()
        for nlri in nlris:
            said = origins.get(nlri, UNASKED)
            verdict = root
            if not isinstance(verdict, Verdict):
                kind = classes.kind(path, family, nlri) if asks_kind else kind
                verdict = follow(verdict, Place(family, nlri, kind, said.state))
            taken = verdict.accepted is not None or accepted(family, nlri)
            groups.setdefault((id(verdict), said, taken), (verdict, []))[1].append(nlri)
        return [
            (_outcome(path, verdict, said, None if taken else refusal), some)
            for (_, said, taken), (verdict, some) in groups.items()
        ]

    def _root(self, path: Path, family: Family) -> Node:
        """Where the walk of a block's prefixes begins, remembered by the block."""
        if self.policy is None:
            return UNDECIDED
        known = path.walk
        if known is not None and known[0] is self.policy and known[1] is family:
            return known[2]
        root = self.policy.start(family, path.attributes)
        path.walk = (self.policy, family, root)
        return root

    def _asks_acceptance(self, verdict: Verdict) -> bool:
        return verdict.accepted is None and self.acceptance.exact is not None


def _outcome(
    path: Path, verdict: Verdict, said: OriginVerdict, not_accepted: Reason | None
) -> Outcome:
    """The outcome of a walk, with what the stages around it said."""
    draft = verdict.draft
    refusal = not_accepted or (said.reason if said.refused else None) or verdict.refusal
    if draft is None or not draft.rules:
        if refusal is None and said.state is OriginState.UNKNOWN:
            return PLAIN
        return Outcome(refusal=refusal, origin=said.state, objection=said.reason)
    return Outcome(
        refusal=refusal,
        rules=draft.rules,
        attributes=None if draft.attributes is path.attributes else draft.attributes,
        weight=draft.weight,
        place=draft.place,
        origin=said.state,
        objection=said.reason,
    )


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
