"""The same without a kernel: until the subject has decided on the whole table."""

from __future__ import annotations

from collections.abc import Iterator

from harness.figures import Complain, Row, Series, alternate, row
from harness.transfer import rib_in
from harness.wire import SHAPES

SUBJECTS = ("kroute", "bird", "frr", "gobgp")
COUNTS = {"10k": 10_000, "100k": 100_000}


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``rib-in/{shape}/{count}`` in routes/s."""
    for label, count in COUNTS.items():
        if quick and label != "10k":
            continue
        for shape in SHAPES:
            name = f"rib-in/{shape}/{label}"
            if not only or name.startswith(only):
                yield from _shape(name, shape, count, runs, complain)


def _shape(name: str, shape: str, count: int, runs: int, complain: Complain) -> Iterator[Row]:
    cpu: dict[str, Series] = {s: Series() for s in SUBJECTS}

    def measure(subject: str) -> float:
        found = rib_in(subject, shape, count)
        cpu[subject].values.append(found.cpu / count * 1e6)
        return count / found.seconds

    jobs = {s: (lambda s=s: measure(s)) for s in SUBJECTS}
    series = alternate(jobs, runs, lambda s, e: complain(f"{name}: {s}", e))
    found = row(name, "routes/s", series)
    if found:
        found["cpu"] = {s: round(c.median, 2) for s, c in cpu.items() if c.values}
        yield found
