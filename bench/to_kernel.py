"""One peer announces a table: until the subject's kernel holds all of it, and until all of it is gone again."""

from __future__ import annotations

from collections.abc import Iterator

from harness.figures import Complain, Row, Series, alternate, row
from harness.transfer import Result, to_kernel
from harness.wire import NODES, SHAPES

SUBJECTS = ("kroute", "bird", "frr", "naive")
COUNTS = {"10k": 10_000, "100k": 100_000}
NAIVE_AT_MOST = 10_000
"""The naive way's rate does not depend on the size of the table, and 100 000 routes would take it a minute."""

NOTES = {
    "packed": "as many prefixes to an UPDATE as go in",
    "nodes": f"one prefix to an UPDATE, {NODES} next hops",
    "distinct": "one prefix to an UPDATE, each with an AS_PATH of its own",
}


def rows(only: str | None, runs: int, complain: Complain, *, quick: bool = False) -> Iterator[Row]:
    """``to-kernel/{shape}/{count}`` and ``withdraw/{shape}/{count}`` in routes/s."""
    for label, count in COUNTS.items():
        if quick and label != "10k":
            continue
        for shape in SHAPES:
            name, back = f"to-kernel/{shape}/{label}", f"withdraw/{shape}/{label}"
            if only and not (name.startswith(only) or back.startswith(only)):
                continue
            yield from _shape(name, back, shape, count, runs, complain)


def _shape(
    name: str, back: str, shape: str, count: int, runs: int, complain: Complain
) -> Iterator[Row]:
    withdrawals: dict[str, Series] = {s: Series() for s in SUBJECTS}
    cpu: dict[str, Series] = {s: Series() for s in SUBJECTS}

    def measure(subject: str) -> float:
        size = min(count, NAIVE_AT_MOST) if subject == "naive" else count
        found: Result = to_kernel(subject, shape, size, withdraw=subject != "naive")
        cpu[subject].values.append(found.cpu / size * 1e6)
        if found.withdrawal:
            withdrawals[subject].values.append(size / found.withdrawal)
        return size / found.seconds

    jobs = {s: (lambda s=s: measure(s)) for s in SUBJECTS}
    once = ("naive",)
    series = alternate(jobs, runs, lambda s, e: complain(f"{name}: {s}", e), once=once)
    found = row(name, "routes/s", series, note=NOTES[shape])
    if found:
        found["cpu"] = {s: round(c.median, 2) for s, c in cpu.items() if c.values}
        yield found
    gone = row(back, "routes/s", withdrawals, note="withdrawn in full UPDATEs")
    if gone:
        yield gone
