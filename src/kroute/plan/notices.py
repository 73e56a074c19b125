"""Which problems are told to Kubernetes as Events, and when: once for each object and field, and not in a loop.

Every node sees what is wrong with a node or a service, but one Event suffices. All give it the same name, so that the
server keeps the first; and those whose node it is not about wait, each for a time of its own, so that a cluster does
not ask the server all at once. A problem that has gone and comes back within the hour is not told again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from kroute.model.problem import Problem

LONGEST_MESSAGE: Final = 1000
"""Characters of a message; the API takes 1024."""

STEADY: Final = 10.0
"""Seconds that something must be wrong with another's object before it is told: nodes learn of changes one by one."""

SPREAD: Final = 60.0
"""Seconds over which the nodes of a cluster spread what they tell of others."""

FORGET: Final = 3600.0
"""Seconds without a problem after which it is news again; as long as API servers keep Events."""

OF_SESSIONS: Final = frozenset({"session", "update", "maxPrefixes"})
"""Fields of a problem of a peer: its node's object is not to blame for those."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Notice:
    """What is to be told of one object. ``namespace`` is empty for nodes; ``reason`` is the problem's field as one
    word; ``id`` is the same on every node that tells it."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    own: bool
    """Whether it is about the node that tells it."""

    @property
    def id(self) -> str:
        """The Event's name: the object's and a hash of what is told of it, but for the words."""
        key = "\0".join((self.kind, self.namespace, self.name, self.reason))
        return f"{self.name}.{blake2b(key.encode(), digest_size=8).hexdigest()}"


def notices(problems: Iterable[Problem], me: str) -> tuple[Notice, ...]:
    """What there is to tell: one notice for each object of Kubernetes and field, worst problem first.

    What the origin check says of a peer that is no object is told of the own node, as is what fails its pods' ranges.
    """
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for problem in sorted(problems, key=lambda p: (p.severity, p)):
        if (about := _about(problem, me)) is not None:
            kind, namespace, name, text = about
            reason = _one_word(problem.field)
            grouped.setdefault((kind, namespace, name, reason), []).append(text)
    return tuple(
        Notice(
            kind=kind,
            namespace=namespace,
            name=name,
            reason=reason,
            message="; ".join(texts)[:LONGEST_MESSAGE],
            own=kind == "Node" and name == me,
        )
        for (kind, namespace, name, reason), texts in sorted(grouped.items())
    )


def _about(problem: Problem, me: str) -> tuple[str, str, str, str] | None:
    """Kind, namespace and name of the object that a problem is about, and the words; None if it is about none."""
    match problem.object.split("/"):
        case ["node", name, *_] if name != "?" and problem.field not in OF_SESSIONS:
            return "Node", "", name, _words(problem)
        case ["service", namespace, name]:
            return "Service", namespace, name, _words(problem)
        case ["peer", *_] if problem.field == "origin":
            return "Node", "", me, f"{problem.object}: {problem.reason}"
        case ["range", *_]:
            return "Node", "", me, f"{problem.object}: {problem.reason}"
    return None


def _words(problem: Problem) -> str:
    return f"{problem.field}: {problem.reason}" if problem.field else problem.reason


def _one_word(field: str) -> str:
    """``spec.podCIDRs`` as ``SpecPodCIDRs``: reasons of Events are words in CamelCase."""
    parts = "".join(c if c.isascii() and c.isalnum() else " " for c in field).split()
    return "".join(part[0].upper() + part[1:] for part in parts)[:128] or "Problem"


class Ledger:
    """What has been seen and told. Time is told with every call, in seconds."""

    def __init__(self, me: str) -> None:
        digest = blake2b(me.encode(), digest_size=4).digest()
        self._wait = STEADY + SPREAD * int.from_bytes(digest, "big") / (1 << 32)
        self._since: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._told: set[str] = set()

    def due(self, present: Iterable[Notice], now: float) -> list[Notice]:
        """Of the notices there are, those that have not been told and whose time has come."""
        found = []
        for notice in present:
            since = self._since.setdefault(notice.id, now)
            self._seen[notice.id] = now
            waited = notice.own or now - since >= self._wait
            if waited and notice.id not in self._told:
                found.append(notice)
        for gone in [name for name, seen in self._seen.items() if now - seen >= FORGET]:
            del self._seen[gone], self._since[gone]
            self._told.discard(gone)
        return found

    def told(self, notice: Notice) -> None:
        """A notice has been told, by us or by another node."""
        self._told.add(notice.id)
