"""Answers as text for people (tables) and for programs (JSON, YAML). Pure; the CLI, tests and docs share it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import yaml

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]

MOST_ROWS: Final = 100_000
"""Entries of a peer's table in one answer at most."""


def text(value: Any) -> str:
    """A value as a table cell: nothing is a dash, a list is joined, a truth is a word."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(v) for v in value)
    return str(value)


def duration(seconds: float | None) -> str:
    """Seconds as operators read them: ``42s``, ``3m12s``, ``5h07m``, ``12d03h``."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit, sub, size, step in (("d", "h", 86400, 3600), ("h", "m", 3600, 60), ("m", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // step:02d}{sub}"
    return f"{whole}s"


def _role(row: Row) -> str:
    """A node's part, and why it is that."""
    return text(row.get("role")) + (f": {row['why']}" if row.get("why") else "")


def _key(name: str) -> Callable[[Row], str]:
    return lambda row: text(row.get(name))


def _legs(row: Row) -> str:
    hops = [leg["gateway"] or f"oif {leg['oif']}" for leg in row.get("nexthops", ())]
    return ", ".join(hops) or ("local" if row.get("local") else "-")


def _several(names: Sequence[str]) -> str:
    """A few names, or how many there are."""
    return text(list(names)) if len(names) <= 3 else f"{len(names)} peers"


def _attributes(row: Row) -> str:
    return ", ".join(f"{name} {value}".rstrip() for name, value in row["attributes"].items())


def _changed(row: Row) -> str:
    changes = row.get("changed", {}).items()
    return ", ".join(f"{name} {text(a)} -> {text(b)}" for name, (a, b) in changes) or "-"


VIEWS: Final[Mapping[str, Sequence[Column]]] = {
    "peers": (
        ("PEER", _key("name")),
        ("ADDRESS", _key("address")),
        ("AS", _key("asn")),
        ("KIND", _key("kind")),
        ("STATE", _key("state")),
        ("FOR", lambda r: duration(r.get("uptime"))),
        ("RECEIVED", _key("received")),
        ("STALE", _key("stale")),
        ("ANNOUNCED", _key("announced")),
        ("WHY NOT", _key("reason")),
    ),
    "routes": (
        ("PREFIX", _key("prefix")),
        ("NEXT HOPS", _legs),
        ("FROM", _key("from")),
        ("PATHS", _key("paths")),
        ("STALE", _key("stale")),
        ("WHY", _key("reason")),
    ),
    "rejected": (
        ("PREFIX", _key("prefix")),
        ("FROM", _key("from")),
        ("NEXT HOP", _key("nexthop")),
        ("RULE", _key("rule")),
        ("WHY NOT", _key("reason")),
    ),
    "rib": (
        ("PREFIX", _key("prefix")),
        ("PATH ID", _key("pathId")),
        ("FROM", _key("from")),
        ("ATTRIBUTES", _attributes),
        ("ORIGIN", _key("origin")),
        ("RULES", _key("rules")),
        ("CHANGED", _changed),
        ("WHY NOT", _key("reason")),
    ),
    "nodes": (
        ("NODE", _key("name")),
        ("ADDRESSES", _key("addresses")),
        ("POD CIDRS", _key("podCIDRs")),
        ("ROLE", _role),
        (
            "SESSIONS",
            lambda r: "own node" if r.get("own") else f"{r['established']}/{r['sessions']}",
        ),
        ("ROUTED", lambda r: f"{r['routed']}/{len(r['podCIDRs'])}"),
        ("SEEDED", _key("seeded")),
    ),
    "fib": (
        ("PREFIX", _key("prefix")),
        ("NEXT HOPS", lambda r: _legs(r) if r["nexthops"] else "blackhole"),
        ("TABLE", _key("table")),
        ("METRIC", _key("metric")),
        ("DESIRED", _key("desired")),
        ("INSTALLED", _key("installed")),
        ("NOTE", _key("note")),
    ),
    "services": (
        ("ADDRESS", _key("address")),
        ("SERVICE", _key("service")),
        ("CLASS", _key("class")),
        ("POLICY", lambda r: text(r.get("policy") or r.get("check"))),
        ("ENDPOINTS", lambda r: f"{r['local']}/{r['total']}"),
        ("ANNOUNCED", lambda r: text(r["as"] if r["announced"] else False)),
        ("TO", lambda r: _several(r["to"])),
        ("WHY", _key("reason")),
    ),
    "pods": (
        ("POD", _key("pod")),
        ("ID", lambda r: str(r["id"])[:13]),
        ("ADDRESSES", _key("addresses")),
        ("INTERFACES", _key("interfaces")),
        ("NETNS", _key("netns")),
        ("AGE", lambda r: duration(r.get("age"))),
        ("PHASE", _key("phase")),
        ("GENERATION", _key("generation")),
        ("HOW", _key("how")),
    ),
    "problems": (
        ("SEVERITY", _key("severity")),
        ("OBJECT", _key("object")),
        ("FIELD", _key("field")),
        ("WHAT IS WRONG", _key("reason")),
    ),
}
"""Columns of each table: heading and cell."""


def table(view: str, rows: Sequence[Row]) -> str:
    """Rows as an aligned table with headings; a sentence where there is nothing to show."""
    if not rows:
        return f"no {view}\n"
    columns = VIEWS[view]
    cells = [[heading for heading, _ in columns]]
    cells += [[cell(row) for _, cell in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = (
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )
    return "\n".join(lines) + "\n"


def as_json(value: Any) -> str:
    """Stable JSON for programs."""
    return json.dumps(value, indent=2) + "\n"


def as_yaml(value: Any) -> str:
    """The same as YAML."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
