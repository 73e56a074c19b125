"""``make bench``: kroute beside BIRD, FRR, GoBGP and the naive way, in one run.

    python bench/run.py [--only PREFIX] [--runs N] [--quick]

Prints a table as it goes, then writes docs/performance.md and bench/results.json. With --only, the rows measured
replace those of the same id in results.json and the rest stays. --quick is a short look: small tables, one run,
written to build/bench/ and not to the repository.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.bed import sweep
from harness.figures import Row, merged
from harness.report import document, line, machine, progress, read, write_rows

ROOT = Path(__file__).resolve().parent.parent
BENCHES = {
    "plan": ("plan", "rib/", "policy/"),
    "cluster": ("cluster",),
    "origin": ("origin",),
    "codec": ("codec",),
    "fib": ("fib",),
    "to_kernel": ("to-kernel", "withdraw"),
    "rib_in": ("rib-in",),
    "mesh": ("mesh",),
    "switch": ("switch",),
    "restart": ("restart",),
    "stall": ("stall",),
    "egress": ("egress", "idle"),
    "reflect": ("reflect",),
    "sessions": ("sessions",),
    "memory": ("memory",),
    "kni": ("kni",),
}
"""Each module beside this one that has ``rows()``, and how its row ids begin."""


class Complaints:
    """Collects what could not be measured."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, what: str, error: Exception) -> None:
        self.texts.append(f"{what}: {error}")
        progress(f"bench: {what}: {error}")
        if os.environ.get("BENCH_DEBUG"):
            traceback.print_exception(error)


def wanted(prefixes: tuple[str, ...], only: str | None) -> bool:
    """Whether a bench may have rows whose id begins with ``only``."""
    return not only or any(p.startswith(only) or only.startswith(p) for p in prefixes)


def measured(only: str | None, runs: int, quick: bool, complain: Complaints) -> Iterator[Row]:
    """The rows of every bench that is there, as they are ready."""
    for name, prefixes in BENCHES.items():
        if not wanted(prefixes, only):
            continue
        try:
            yield from _rows(importlib.import_module(name).rows, only, runs, quick, complain)
        except Exception as error:  # noqa: BLE001  the other benches go on
            complain(name, error)


def _rows(
    bench: Any, only: str | None, runs: int, quick: bool, complain: Complaints
) -> Iterator[Row]:
    """Call a bench with what it takes: all take ``only`` and ``runs``."""
    takes = inspect.signature(bench).parameters
    more = {k: v for k, v in {"quick": quick, "complain": complain}.items() if k in takes}
    wish = only if only is not None or takes["only"].default != "" else ""
    for row in bench(only=wish, runs=runs, **more):
        if not only or row["id"].startswith(only):
            yield row


def write(rows: list[Row], *, only: str | None, quick: bool, whole: bool) -> None:
    """Both files. A whole run replaces all rows, a part only those of the same id."""
    folder = ROOT / "build" / "bench"
    results = folder / "results.json" if quick else ROOT / "bench" / "results.json"
    text = folder / "performance.md" if quick else ROOT / "docs" / "performance.md"
    results.parent.mkdir(parents=True, exist_ok=True)
    together = merged([] if whole else read(results), rows)
    write_rows(results, together)
    command = "make bench" + (f" ONLY={only}" if only else "")
    text.write_text(document(together, command, machine()))
    progress(f"bench: wrote {text} and {results}")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="kroute beside its peers")
    parser.add_argument(
        "--only", metavar="PREFIX", help="rows whose id begins so, as to-kernel/packed"
    )
    parser.add_argument("--runs", type=int, help="runs of each subject (5; --quick: 1)")
    parser.add_argument("--quick", action="store_true", help="small tables, one run, no files kept")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 5)
    if os.geteuid():
        parser.error("root is needed: the benches make network namespaces")
    return options


def main() -> int:
    """Run; 1 if anything could not be measured, 130 if interrupted. What was measured is kept in any case."""
    options = parsed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    complain, rows = Complaints(), []
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    interrupted = False
    try:
        for row in measured(options.only, options.runs, options.quick, complain):
            rows.append(dict(row) | {"date": today})
            print(line(row), flush=True)
    except KeyboardInterrupt:
        progress("bench: interrupted; what was measured is kept")
        interrupted = True
    if rows:
        whole = not (options.only or interrupted)
        write(rows, only=options.only, quick=options.quick, whole=whole)
    for text in complain.texts:
        progress(f"bench: not measured: {text}")
    if interrupted:
        return 130
    return 1 if complain.texts or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
