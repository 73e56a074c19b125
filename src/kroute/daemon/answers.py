"""The information desk: health, readiness, and answers to `kroute show` and the looking glass.

Called from the threads of the HTTP servers. It only reads; what it walks over is copied first (a `list()` of a
dict is atomic in CPython), so that an answer of many routes never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any, TypeVar

from kroute import __version__
from kroute.codec.bgp.text import render
from kroute.codec.config import plain
from kroute.codec.show import MOST_ROWS
from kroute.drivers.fib import problems_of
from kroute.drivers.http import Answer
from kroute.model.bgp import PeerName
from kroute.model.errors import DriverError
from kroute.model.fib import FibState, Nexthops, place_of
from kroute.model.net import Address, Family, Nlri, nlri_of, prefix_of
from kroute.model.problem import Problem, Severity
from kroute.model.topology import Role
from kroute.plan import queries, tables
from kroute.plan.lookup_queries import beside_ours, can_be_looked_up, without_ours
from kroute.plan.peer_page import find, peer_page
from kroute.plan.policy.assemble import effective_rules
from kroute.plan.service_queries import services

if TYPE_CHECKING:
    from kroute.daemon import Daemon

T = TypeVar("T")

PEER_PATIENCE = 15.0
"""Seconds after which a session that does not come up is given up for readiness, and called a problem."""

KERNEL_PATIENCE = 10.0
"""Seconds that a dump of the kernel's table may take."""

LONGEST_SILENCE = 30.0
"""Seconds without a turn of the event loop after which the daemon is not healthy."""

MAIN_TABLE = 254
"""The kernel's table that packets are looked up in unless a rule says otherwise."""

READINGS = 5
"""Attempts at an answer while the tables move under the reader."""


class Desk:
    """Answers questions about one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._resources: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
            "peers": lambda _q: list(
                queries.peers(daemon.routing, daemon.clock(), daemon.control.desired.roles)
            ),
            "peer": self._peer,
            "rib-in": lambda q: self._rib(q, outward=False),
            "rib-out": lambda q: self._rib(q, outward=True),
            "routes": lambda q: list(queries.routes(daemon.routing, rejected="rejected" in q)),
            "nodes": lambda _q: list(
                queries.nodes(daemon.control.observed, daemon.control.desired, daemon.routing)
            ),
            "services": lambda q: list(
                services(
                    daemon.control.observed,
                    daemon.control.desired,
                    daemon.routing,
                    everything="all" in q,
                )
            ),
            "fib": lambda _q: self.fib(),
            "config": lambda q: self._config("effective" in q),
            "problems": lambda _q: [asdict(p) for p in self.problems()],
            "status": lambda _q: self.status(),
            "pods": lambda _q: self._pods(),
            "why": self._why,
            "trial": lambda _q: daemon.door.trials.state(daemon.door),
        }

    def respond(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to a GET, or None where there is nothing."""
        if path == "/healthz":
            return self._health()
        if path == "/readyz":
            missing = unmoved(self.missing)
            status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
            return _json({"ready": not missing, "missing": missing}, status)
        if path == "/metrics":
            from kroute.daemon.metrics import exposition

            text = unmoved(lambda: exposition(self._daemon))
            return Answer(HTTPStatus.OK, text, "text/plain; version=0.0.4; charset=utf-8")
        resource = self._resources.get(path.removeprefix("/v1/"))
        if resource is None or not path.startswith("/v1/"):
            return None
        try:
            return _json(unmoved(lambda: resource(query)))
        except ValueError as error:
            return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    def _pods(self) -> list[dict[str, Any]]:
        kni = self._daemon.kni
        if kni is not None:
            return kni.pods()
        if self._daemon.config.kni.enabled:
            raise ValueError("KNI has not started yet; `kroute show problems` says why")
        raise ValueError(
            "KNI is off (kni.enabled): the runtime's CNI plugins attach this node's pods"
        )

    def _health(self) -> Answer:
        """Alive is who turns his event loop, however much is missing."""
        silence = self._daemon.clock() - self._daemon.ticked
        if silence > LONGEST_SILENCE:
            said = {"ok": False, "error": f"the event loop has not turned for {int(silence)} s"}
            return _json(said, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"ok": True})

    # --- readiness ------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What keeps the node from being ready, in words; empty when it is."""
        daemon = self._daemon
        control, now = daemon.control, daemon.clock()
        missing = []
        if not control.observed.listed:
            missing.append("inventory: not listed yet")
        if control.observed.config.cni.enabled and not daemon.conflist.done:
            missing.append("cni: the conflist is not written")
        patient = now - (control.complete_since or now) < PEER_PATIENCE
        for state in list(daemon.routing.peers.values()):
            if patient and not state.established and not (state.away or state.dispensable):
                missing.append(f"peers: {state.peer.name}: {queries.peer_reason(state)}")
        if daemon.fib is not None and not daemon.fib.state().synced:
            missing.append("fib: not in sync with the kernel")
        return missing

    # --- answers --------------------------------------------------------------------------------------

    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong now."""
        daemon = self._daemon
        found = queries.problems(
            daemon.control.desired, daemon.routing, daemon.clock(), PEER_PATIENCE
        )
        state = self.fib_state()
        unread = daemon.watcher.error
        extra = [
            *daemon.control.secret_problems,
            *daemon.door.trials.problems(),
            *(
                (Problem(object="kernel", reason=unread, severity=Severity.ERROR),)
                if unread
                else ()
            ),
            *(problems_of(state) if state is not None else ()),
        ]
        return tuple(
            sorted({*found, *extra}, key=lambda p: (p.severity, p.object, p.field, p.reason))
        )

    def problems_at_rest(self) -> tuple[Problem, ...]:
        """The same for a thread that is not the event loop's; none while the tables change too quickly."""
        try:
            return unmoved(self.problems)
        except DriverError:
            return ()

    def fib_state(self) -> FibState | None:
        """How the kernel's table stands; None on a node that installs nothing."""
        return self._daemon.fib.state() if self._daemon.fib is not None else None

    def fib(self) -> list[dict[str, Any]]:
        """Every route desired or installed, and whether both agree."""
        fib = self._daemon.fib
        if fib is None:
            return []
        rows = []
        for family in Family:
            desired, installed = dict(fib.desired(family)), self._installed(family)
            for nlri in sorted({*desired, *installed}, key=lambda n: (n[1:], n[0])):
                want, have = desired.get(nlri), installed.get(nlri)
                shown = want if want is not None else have
                place = place_of(shown)
                rows.append(
                    {
                        "prefix": str(prefix_of(family, nlri)),
                        "nexthops": queries.legs(shown),
                        "table": place.table or fib.table,
                        "metric": place.metric or fib.metric,
                        "desired": nlri in desired,
                        "installed": nlri in installed,
                        "note": self._note(family, nlri, want, have),
                    }
                )
        return rows

    def _installed(self, family: Family) -> dict[Nlri, Nexthops]:
        """What the kernel holds under our mark, asked for from a thread that is not the loop's."""
        fib, loop = self._daemon.fib, self._daemon.loop
        if fib is None or loop is None:
            return {}
        return asyncio.run_coroutine_threadsafe(fib.installed(family), loop).result(KERNEL_PATIENCE)

    def _note(
        self, family: Family, nlri: Nlri, want: Nexthops | None, have: Nexthops | None
    ) -> str:
        state = self.fib_state()
        if want is None and state is not None and state.complete:
            return "nobody desires it; goes with the next comparison"
        if want is None:
            return "of an earlier life; goes once in sync"
        failure = self._daemon.fib.failure(family, nlri) if self._daemon.fib is not None else None
        if failure is not None:
            return failure.reason
        return "" if have == want or have is None else "being replaced"

    def status(self) -> dict[str, Any]:
        """One page about the daemon."""
        daemon = self._daemon
        routing, state = daemon.routing, self.fib_state()
        peers = list(routing.peers.values())
        return {
            "version": __version__,
            "node": daemon.control.observed.me,
            "uptime": round(daemon.clock() - routing.started, 1),
            "ready": not self.missing(),
            "missing": self.missing(),
            "nodes": len(daemon.control.observed.nodes),
            "topology": daemon.control.desired.topology,
            "role": _role(daemon.control.desired.roles.get(daemon.control.observed.me)),
            "peers": len(peers),
            "established": sum(p.established for p in peers),
            "prefixes": {f.label: len(routing.rib.loc[f]) for f in Family},
            "seeded": {f.label: n for f, n in queries.seeded(routing).items()},
            "waitingFor": routing.waiting_for(daemon.clock()),
            "reviewing": routing.rib.review.left,
            "telling": routing.announcer.joinings.left,
            "fib": _fib_status(state),
            "problems": len(self.problems()),
            "trial": daemon.door.trials.state(daemon.door),
        }

    def _peer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """One peer's page; where nothing has that name, what there is, and what became of one that was to be."""
        routing, asked = self._daemon.routing, query.get("name", "")
        name = find(routing, asked)
        if name is None:
            meant = {asked, f"peer/{asked}", f"node/{asked}"}
            wrong = [p for p in self.problems() if p.object in meant]
            why = [f"{p.field}: {p.reason}" if p.field else p.reason for p in wrong]
            return {"known": sorted(routing.peers), "why": why}
        return peer_page(routing.peers[name], self._daemon.clock(), self._counted(name))

    def _counted(self, name: PeerName) -> dict[str, Any]:
        """What the speaker counted of a peer's connection, asked for from a thread that is not the loop's."""
        session, loop = self._daemon.road.sessions.get(name), self._daemon.loop
        if session is None or loop is None:
            return {}
        asked = asyncio.run_coroutine_threadsafe(self._daemon.speaker.counters(session[0]), loop)
        return asked.result(KERNEL_PATIENCE)

    def _config(self, effective: bool) -> dict[str, Any]:
        """The configuration in force; with what follows from it for each peer of this node if asked for."""
        config = self._daemon.control.observed.config
        found: dict[str, Any] = plain(config)
        if effective:
            peers = {name: s.peer for name, s in list(self._daemon.routing.peers.items())}
            found["effective"] = {"peers": effective_rules(config, peers)}
        return found

    def _rib(self, query: Mapping[str, str], *, outward: bool) -> list[dict[str, Any]]:
        """A page of a peer's table."""
        routing = self._daemon.routing
        state = tables.find_peer(routing, query.get("peer", ""))
        after = ip_network(query["after"]) if query.get("after") else None
        limit = int(query.get("limit", "1000"))
        page = tables.Page(after, min(max(limit, 1), MOST_ROWS), "rejected" in query)
        found = tables.rib_out(routing, state, page) if outward else tables.rib_in(state, page)
        return [_entry(entry) for entry in found]

    def _why(self, query: Mapping[str, str]) -> dict[str, Any]:
        daemon = self._daemon
        prefix = ip_network(query.get("target", ""), strict=False)
        address = ip_interface(query["target"]).ip
        story = queries.why(daemon.control.observed, daemon.control.desired, daemon.routing, prefix)
        if daemon.fib is not None and story["routed"] and story.get("nexthops"):
            family = Family.IPV4 if prefix.version == 4 else Family.IPV6
            story["story"].append(self._in_kernel(family, story["prefix"]))
            story["story"] += self._looked_up(address, story["table"], beside_ours)
        elif daemon.fib is not None and not story["routed"] and prefix.num_addresses == 1:
            story["story"] += self._looked_up(address, None, without_ours)
        return story

    def _looked_up(
        self, address: Address, table: int | None, say: Callable[..., str]
    ) -> Iterator[str]:
        """What the kernel does beside what our routes say. Another table than main is for whom a rule leads there."""
        fib, observed = self._daemon.fib, self._daemon.control.observed
        if fib is None or table or fib.table != MAIN_TABLE or not can_be_looked_up(address):
            return

        def name_of(index: int) -> str:
            link = observed.kernel.link(index) if observed.kernel is not None else None
            return link.name if link is not None else str(index)

        if words := say(fib.lookup(address), address, fib.protocols, name_of):
            yield words

    def _in_kernel(self, family: Family, prefix: str) -> str:
        """Whether the kernel has it, and if not, why not."""
        nlri = nlri_of(ip_network(prefix))
        if nlri in self._installed(family):
            return "the kernel has it"
        failure = self._daemon.fib.failure(family, nlri) if self._daemon.fib is not None else None
        return (
            f"the kernel does NOT have it: {failure.reason if failure else 'it is being written'}"
        )


def unmoved(read: Callable[[], T]) -> T:
    """An answer from tables that the event loop may change meanwhile: asked for again where it did.

    Raises:
        DriverError: they change too quickly; ask later.
    """
    for _ in range(READINGS):
        try:
            return read()
        except (RuntimeError, LookupError) as error:
            moved = error
    raise DriverError("the tables change too quickly to be read; ask again") from moved


def _role(role: Role | None) -> str:
    """A node's part in words."""
    if role is None:
        return ""
    return f"{role.duty.value} ({role.why})" if role.why else role.duty.value


def _entry(entry: tables.Entry) -> dict[str, Any]:
    """A line of a peer's table: attributes in words, and which of them policy has changed."""
    before = render(entry.before)
    after = before if entry.after is None else render(entry.after)
    names = [n for n in {**before, **after} if before.get(n) != after.get(n)]
    return {
        "prefix": str(prefix_of(entry.family, entry.nlri)),
        "family": entry.family.label,
        "from": entry.source,
        "pathId": entry.path_id,
        "accepted": entry.after is not None,
        "attributes": after,
        "changed": {n: [before.get(n, ""), after.get(n, "")] for n in names},
        "origin": entry.origin.value,
        "rules": list(entry.rules),
        "why": entry.reason.why.value if entry.reason else "",
        "reason": entry.reason.text if entry.reason else "",
    }


def _fib_status(state: FibState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "synced": state.synced,
        "complete": state.complete,
        "pending": state.pending,
        "desired": {f.label: n for f, n in state.desired.items()},
        "installed": {f.label: n for f, n in state.installed.items()},
        "failed": state.failed,
        "foreign": state.foreign,
        "heals": state.heals,
        "adopted": state.adopted,
    }


def _json(value: Any, status: int = HTTPStatus.OK) -> Answer:
    return Answer(status, (json.dumps(value) + "\n").encode())
