"""The table on the terminal, ``docs/performance.md`` for people and ``bench/results.json`` for programs."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.aims import judged
from harness.figures import Row
from harness.proc import cores
from harness.subjects import versions

COLUMNS = ("id", "kroute", "unit", "beside", "aims")

TITLES = {
    "to-kernel": "One peer announces a table: until it is in the kernel",
    "withdraw": "The same table withdrawn: until the kernel is empty",
    "rib-in": "The same without a kernel: until everything is decided",
    "fib": "The FIB driver alone",
    "mesh": "A mesh of ten nodes",
    "switch": "A mesh becomes reflectors and clients, and back, under traffic",
    "restart": "All nodes of a mesh restart at once",
    "stall": "While 100 000 prefixes arrive",
    "memory": "Memory of a node, daemon and speaker (PSS)",
    "egress": "Telling one peer and 50 peers 10 000 prefixes",
    "reflect": "A route reflector: until its last client has everything",
    "policy": "Another import policy over stored paths",
    "idle": "Doing nothing",
    "sessions": "Holding many sessions",
    "plan": "Deciding",
    "cluster": "One node of a large cluster, simulated",
    "origin": "The origin check, in a cluster of 5,000 nodes",
    "codec": "The UPDATE codec alone",
    "kni": "KNI: pods attached in process, beside the same by executed plugins",
}


def number(value: float) -> str:
    """A figure with as many digits as it carries."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value >= 1 else f"{value:.3g}"


def spread(row: Row) -> str:
    """Lowest to highest, where there was more than one run."""
    low, high = row.get("spread") or (None, None)
    return f" ({number(low)}–{number(high)})" if low is not None and low != high else ""


def beside(row: Row) -> str:
    """Ours divided by each other's, and theirs."""
    peers = row.get("peers", {})
    parts = []
    for name, ratio in row.get("ratio", {}).items():
        theirs = peers.get(name, {}).get("value")
        parts.append(f"{number(ratio)}× {name}" + (f" ({number(theirs)})" if theirs else ""))
    return ", ".join(parts)


def verdicts(row: Row) -> str:
    """Each aim of the row and whether it is met."""
    return ", ".join(f"{aim.words()} {'yes' if met else 'NO'}" for aim, met in judged(row))


def line(row: Row) -> str:
    """One row for the terminal."""
    value = number(row["value"]) + spread(row)
    return f"{row['id']:32} {value:>26} {row['unit']:12} {beside(row)}  {verdicts(row)}".rstrip()


def machine() -> dict[str, str]:
    """What the figures were measured on and with."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    found = {
        "machine": f"{cores()} cores of {model[1] if model else platform.processor() or 'unknown'}, "
        f"{int(memory[1]) / 2**20:.0f} GiB"
        if memory
        else "unknown",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
    }
    for package in ("kroute", "exabgp", "pyroute2"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | versions()


def read(path: Path) -> list[Row]:
    """Rows of an earlier run; none where there is no file."""
    found: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return found


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """One row a line, so that a diff reads well."""
    body = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{body}\n]\n")


def _table(rows: Iterable[Row]) -> list[str]:
    lines = ["| what | kroute | unit | beside (kroute ÷ theirs) | aim |", "|---|---|---|---|---|"]
    for row in rows:
        note = f"<br>{row['note']}" if row.get("note") else ""
        value = number(row["value"]) + spread(row)
        cells = (f"`{row['id']}`{note}", value, row["unit"], beside(row), verdicts(row))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def document(rows: Sequence[Row], command: str, facts: dict[str, Any]) -> str:
    """The whole of ``docs/performance.md``."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["id"].split("/")[0], []).append(row)
    text = [
        "# Performance",
        "",
        f"Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}; do not edit. How it is measured and what each"
        " figure can and cannot say: [bench/README.md](../bench/README.md).",
        "",
        "Medians of alternating runs, lowest and highest in brackets. A ratio is kroute's figure divided by the"
        " other's: above 1 is good for a rate, below 1 for a time. Feeder, subject and kernel share the machine.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    dates = {row.get("date") for row in rows}
    for group in [g for g in TITLES if g in groups] + [g for g in groups if g not in TITLES]:
        text += ["", f"## {TITLES.get(group, group)}", "", *_table(groups[group])]
    if len(dates) > 1:
        old = sorted(
            f"`{r['id']}` {r.get('date')}"
            for r in rows
            if r.get("date") != max(filter(None, dates))
        )
        text += ["", "Measured in an earlier run: " + ", ".join(old) + "."]
    return "\n".join(text) + "\n"


def progress(text: str) -> None:
    """A line about what is going on, for who waits; on standard error."""
    print(text, file=sys.stderr, flush=True)
