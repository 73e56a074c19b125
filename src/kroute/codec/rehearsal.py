"""A rehearsal's report as text for people: what to look at first, then what changes, alike nodes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from kroute.model.rehearsal import (
    AnnouncementChange,
    Caution,
    Change,
    NodeReport,
    RehearsalReport,
    RouteChange,
    SessionChange,
)

MARKS: Final = {
    Change.ADDED: "+",
    Change.REMOVED: "-",
    Change.RESET: "!",
    Change.REPLACED: "~",
    Change.CHANGED: "~",
    Change.SAME: "=",
}
COLOURS: Final = {"+": "32", "-": "31", "!": "35", "~": "33", "▲": "1;31"}
"""SGR colours of the marks, for a terminal."""

LINES: Final = 8
"""Entries of one kind shown for a node; the rest is counted."""

NAMES: Final = 4
"""Names shown in a row; the rest is counted."""

Paint = Callable[[str, str], str]


def plain_paint(_mark: str, text: str) -> str:
    """Text without colours."""
    return text


def colours(mark: str, text: str) -> str:
    """Text in the colour of its mark."""
    code = COLOURS.get(mark)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def report_text(
    report: RehearsalReport, *, heading: str = "", full: bool = False, paint: Paint = plain_paint
) -> str:
    """The whole report. ``full`` shows each node by itself, and every line of it."""
    lines = [heading] if heading else []
    lines += _cautions(report.cautions, paint)
    changed = [n for n in report.nodes if n.change is not Change.SAME]
    limit = len(report.nodes) + 1 << 20 if full else LINES
    for nodes in [[n] for n in changed] if full else _alike(changed):
        lines += ["", *_node(nodes, limit, paint)]
    lines += ["", *_summary(report)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _some(names: Sequence[str], shown: int = NAMES) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# --- first things first -------------------------------------------------------------------------------


def _cautions(cautions: Iterable[Caution], paint: Paint) -> Iterator[str]:
    """One line for each sentence, with the nodes that it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for caution in cautions:
        found.setdefault((caution.code, caution.text), []).append(caution.node)
    for (_, text), nodes in found.items():
        who = _some([n for n in nodes if n])
        yield paint("▲", "▲ ") + (f"{who}: {text}" if who else text)


# --- node by node -------------------------------------------------------------------------------------


def _alike(nodes: Iterable[NodeReport]) -> list[list[NodeReport]]:
    """Nodes whose changes are of one shape, so that a thousand of them are read as one."""
    groups: dict[object, list[NodeReport]] = {}
    for node in nodes:
        groups.setdefault(_shape(node), []).append(node)
    return list(groups.values())


def _shape(node: NodeReport) -> object:
    return (
        node.change,
        tuple((s.change, s.because, len(s.peers)) for s in node.sessions),
        tuple(
            (len(a.peers), len(a.announced), len(a.withdrawn), len(a.changed))
            for a in node.announcements
        ),
        tuple(sorted(Counter(r.change for r in node.routes).items())),
        tuple(line[:1] for line in node.conflist),
    )


def _node(nodes: list[NodeReport], limit: int, paint: Paint) -> Iterator[str]:
    first, rest = nodes[0], len(nodes) - 1
    words = {Change.ADDED: "  (joins)", Change.REMOVED: "  (leaves)"}.get(first.change, "")
    head = _some([n.node for n in nodes])
    yield f"{head}{words}" + (f"   each; shown for {first.node}:" if rest else "")
    if first.change is Change.REMOVED:
        yield f"  {paint('-', '-')} all of it: {_count(first.sessions_before, 'session')}"
        return
    for session in first.sessions:
        yield _session(session, paint)
    for told in first.announcements:
        yield from _told(told, limit, paint)
    yield from _routes(first.routes, limit, paint)
    yield from _conflist(first.conflist, limit * 2, paint)


def _session(session: SessionChange, paint: Paint) -> str:
    mark = MARKS[session.change]
    verb = {
        Change.ADDED: "added",
        Change.REMOVED: "removed",
        Change.RESET: "RESET",
        Change.CHANGED: "changed, stays up" if len(session.peers) == 1 else "changed, stay up",
    }[session.change]
    count = _count(len(session.peers), "session")
    why = f" ({'; '.join(session.because)})" if session.because else ""
    return f"  {paint(mark, f'{mark} {count} {verb}')}{why}: {_some(session.peers)}"


def _told(told: AnnouncementChange, limit: int, paint: Paint) -> Iterator[str]:
    peers = _some(told.peers)
    for mark, verb, prefixes in (
        ("+", "announced to", told.announced),
        ("-", "withdrawn from", told.withdrawn),
        ("~", "announced anew to", told.changed),
    ):
        if prefixes:
            count = paint(mark, f"{mark} {_count(len(prefixes), 'prefix').replace('xs', 'xes')}")
            yield f"  {count} {verb} {peers}: {_some(prefixes, limit)}"


def _routes(routes: Sequence[RouteChange], limit: int, paint: Paint) -> Iterator[str]:
    for change in (Change.REMOVED, Change.REPLACED, Change.ADDED):
        found = [r for r in routes if r.change is change]
        if not found:
            continue
        mark, count = MARKS[change], _count(len(found), "kernel route")
        yield f"  {paint(mark, f'{mark} {count} {change.value}')}"
        wide = max(len(r.prefix) for r in found[:limit])
        for route in found[:limit]:
            ways = [w for w in (", ".join(route.before), ", ".join(route.after)) if w]
            yield f"      {route.prefix:{wide}}  {' → '.join(ways)}"
        if len(found) > limit:
            yield f"      and {len(found) - limit:,} more"


def _conflist(lines: Sequence[str], limit: int, paint: Paint) -> Iterator[str]:
    if not lines:
        return
    if all(line[:1] in "+@" for line in lines):
        yield f"  {paint('+', '+ conflist written')}"
        return
    yield f"  {paint('~', '~ conflist')}"
    for line in [line for line in lines if not line.startswith("@@")][:limit]:
        yield "      " + paint(line[:1], line)


# --- in one line --------------------------------------------------------------------------------------


def _summary(report: RehearsalReport) -> Iterator[str]:
    nodes = report.nodes
    if not report.changes:
        yield f"Nothing changes on {_count(len(nodes), 'node')}."
        return
    changed = sum(n.change is not Change.SAME for n in nodes)
    sessions = Counter[Change]()
    routes = Counter[Change]()
    for node in nodes:
        for session in node.sessions:
            sessions[session.change] += len(session.peers)
        routes.update(r.change for r in node.routes)
    yield f"{changed:,} of {_count(len(nodes), 'node')} change{'s' if changed == 1 else ''}."
    before, after = sum(n.sessions_before for n in nodes), sum(n.sessions_after for n in nodes)
    kinds = (Change.ADDED, Change.REMOVED, Change.RESET, Change.CHANGED)
    yield f"Sessions, seen from each end: {before:,} → {after:,} ({_tally(sessions, *kinds)})."
    words = _tally(routes, Change.ADDED, Change.REMOVED, Change.REPLACED)
    yield f"Kernel routes: {words}."
    if report.cautions:
        yield f"{_count(len(_sentences(report.cautions)), 'warning')}, see above."


def _tally(found: Counter[Change], *kinds: Change) -> str:
    return ", ".join(f"{found[kind]:,} {kind.value}" for kind in kinds)


def _sentences(cautions: Iterable[Caution]) -> set[tuple[str, str]]:
    return {(c.code, c.text) for c in cautions}
