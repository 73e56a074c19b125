"""What a run of UPDATEs says, in as few parts as order allows.

Most UPDATEs announce one prefix. A step for each of them would cost more than the announcement itself, here and in
every table behind, so neighbours are gathered: announcements with one path become one step, others one :class:`Row`,
which the tables take in one go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, repeat
from operator import is_, itemgetter
from typing import Generic, NamedTuple, TypeVar

from kroute.codec.bgp.problems import UpdateProblem
from kroute.model.net import Family, Nlri

P = TypeVar("P")

Step = tuple[Family, P | None, list[Nlri]]
"""Prefixes that are announced with a path, or withdrawn (None)."""

MANY = 8
"""Prefixes of one announcement from which on it is a step of its own."""


class Row(NamedTuple, Generic[P]):
    """Announcements of one family in the order of arrival: each prefix with the path in the same place."""

    family: Family
    paths: list[P]
    nlris: list[Nlri]

    def steps(self) -> Iterator[Step[P]]:
        """The same, path by path."""
        pairs = zip(self.paths, self.nlris, strict=True)
        for _, some in groupby(pairs, key=lambda pair: id(pair[0])):
            same = list(some)
            yield self.family, same[0][0], list(map(itemgetter(1), same))


def _rows() -> dict[Family, Row[P]]:
    return {family: Row(family, [], []) for family in Family}


@dataclass(slots=True)
class Decoded(Generic[P]):
    """What a run of UPDATEs says.

    ``parts`` in the order of arrival: apply them in order. ``end_of_rib`` lists the families whose initial
    table is complete after these parts (RFC 4724 §2). ``problems`` counts the errors that cost attributes
    or routes but not the session (RFC 7606); an error that only cost an attribute is told when its block is
    first seen. ``refused`` names the prefixes that an error turned into withdrawals; they are in ``parts``
    as withdrawn, too.
    """

    parts: list[Step[P] | Row[P]] = field(default_factory=list)
    end_of_rib: list[Family] = field(default_factory=list)
    problems: dict[UpdateProblem, int] = field(default_factory=dict)
    refused: list[tuple[Family, list[Nlri], UpdateProblem]] = field(default_factory=list)
    rows: dict[Family, Row[P]] = field(default_factory=_rows, repr=False, compare=False)
    """The rows in the making. Families do not mind each other, so there is one for each."""

    @property
    def steps(self) -> list[Step[P]]:
        """All parts as steps; neighbours that announce with the same path are one."""
        return [
            step
            for part in self.parts
            for step in (part.steps() if isinstance(part, Row) else (part,))
        ]

    def note(self, problem: UpdateProblem) -> None:
        """Count one problem."""
        self.problems[problem] = self.problems.get(problem, 0) + 1

    def announce(self, family: Family, path: P, nlris: list[Nlri]) -> None:
        """Prefixes with one path."""
        if len(nlris) >= MANY:
            self.close()
            self.parts.append((family, path, nlris))
        else:
            row = self.rows[family]
            row.paths.extend(repeat(path, len(nlris)))
            row.nlris.extend(nlris)

    def withdraw(self, family: Family, nlris: list[Nlri]) -> None:
        """Prefixes that are gone."""
        self.close()
        self.parts.append((family, None, nlris))

    def close(self) -> None:
        """End the rows: what comes next must be applied behind them."""
        for family, paths, nlris in self.rows.values():
            if not nlris:
                continue
            first = paths[0]
            if all(map(is_, paths, repeat(first))):
                self.parts.append((family, first, nlris[:]))
            else:
                self.parts.append(Row(family, paths[:], nlris[:]))
            paths.clear()
            nlris.clear()
