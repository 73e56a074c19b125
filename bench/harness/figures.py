"""Figures: several measured values of one thing, the rows made of them, and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
"""{"id", "value", "unit", "ratio": {other: ours / theirs}} and, where measured here, "spread", "peers", "note"."""


@dataclass(slots=True)
class Series:
    """Values of one thing, one for each run."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def spread(self) -> list[float]:
        """Lowest and highest."""
        return [rounded(min(self.values)), rounded(max(self.values))]


def rounded(value: float) -> float:
    """Four significant figures are more than these measurements carry."""
    return float(f"{value:.4g}")


def row(
    name: str,
    unit: str,
    series: Mapping[str, Series],
    *,
    ours: str = "kroute",
    note: str = "",
) -> Row | None:
    """The row of ours beside the others; None if ours could not be measured at all.

    ``ratio`` is always ours divided by theirs, whatever the unit: above 1 is good for a rate, below 1 for a time.
    """
    if ours not in series or not series[ours].values:
        return None
    mine = series[ours]
    others = {name: s for name, s in series.items() if name != ours and s.values}
    found: Row = {
        "id": name,
        "value": rounded(mine.median),
        "unit": unit,
        "spread": mine.spread,
        "runs": len(mine.values),
        "ratio": {n: rounded(mine.median / s.median) for n, s in others.items() if s.median},
        "peers": {n: {"value": rounded(s.median), "spread": s.spread} for n, s in others.items()},
    }
    if note:
        found["note"] = note
    return found


def plain(name: str, unit: str, values: Sequence[float], note: str = "") -> Row:
    """A row with nothing beside it."""
    found = row(name, unit, {"kroute": Series(list(values))}, note=note)
    assert found is not None
    return found


Measure = Callable[[], float]
Complain = Callable[[str, Exception], None]
"""Takes what failed and why; the bench goes on."""


def measured(
    wanted: Mapping[str, tuple[str, Callable[[], float]]], only: str, runs: int
) -> Iterator[Row]:
    """A row for each measurement whose id contains ``only``; ``wanted``: unit and what measures, by id."""
    for name, (unit, measure) in wanted.items():
        if only in name:
            yield plain(name, unit, [measure() for _ in range(runs)])


def alternate(
    subjects: Mapping[str, Measure], runs: int, complain: Complain, once: Sequence[str] = ()
) -> dict[str, Series]:
    """Measure each in turn, ``runs`` times over, so that a slow minute of the machine hits all alike.

    One that fails is complained of and left out of later runs; the others go on. Those in ``once`` are too slow for
    more than a single run.
    """
    series = {name: Series() for name in subjects}
    failed: set[str] = set()
    for run in range(runs):
        for name, measure in subjects.items():
            if name in failed or (run and name in once):
                continue
            try:
                series[name].values.append(measure())
            except Exception as error:  # noqa: BLE001  a bench of the others is worth finishing
                complain(name, error)
                failed.add(name)
    return {name: s for name, s in series.items() if s.values}


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows with the new ones in their places, sorted by id."""
    rows = {r["id"]: r for r in old} | {r["id"]: r for r in new}
    return [rows[key] for key in sorted(rows, key=order)]


def order(name: str) -> tuple[Any, ...]:
    """Sorts 10k before 100k."""
    sizes = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}
    return tuple(
        (1, sizes.get(part, int(part) if part.isdigit() else 0), "")
        if part in sizes or part.isdigit()
        else (0, 0, part)
        for part in name.split("/")
    )
