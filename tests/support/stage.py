"""A kroute node n1 (192.0.2.1, 2001:db8::1) with several neighbours at once, each in an AS of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.daemon import Site, merged
from support.ledger import Ledger
from support.netns import Namespace
from support.programs import PROGRAMS, Cast, Neighbour, Session, start

CLUSTER = 4_200_000_001
K4, K6 = "192.0.2.1", "2001:db8::1"
POD4, POD6 = "10.244.1.0/24", "fd00:10:244:1::/64"
NUMBER = {program: number for number, program in enumerate(PROGRAMS, 2)}
"""The last part of each neighbour's addresses, and what its AS number has over the cluster's."""
RETURN = 40.0
"""Seconds in which a session must be back: GoBGP alone waits 5 after each loss, on an idle machine."""

Peers = list[dict[str, Any]]


def net4(program: str) -> str:
    """What a neighbour announces."""
    return f"198.51.{100 + NUMBER[program]}.0/24"


def net6(program: str) -> str:
    """What a neighbour announces."""
    return f"2001:db8:{100 + NUMBER[program]}::/48"


def peer(program: str, address: str, **more: Any) -> dict[str, Any]:
    """A neighbour as n1's configuration has it: believed everything, both families."""
    found = {"name": program, "address": address, "asn": CLUSTER + NUMBER[program]}
    return {**found, "accept": "all", "families": ["ipv4", "ipv6"], **more}


class Stage:
    """Everything runs and announces when it is made; sessions may still be on their way."""

    def __init__(
        self,
        site: Site,
        sessions: Mapping[str, Sequence[Session]],
        peers: Peers,
        host: Callable[[str, int], Namespace] | None = None,
        **config: Any,
    ) -> None:
        self.site, self.peers, self.programs = site, peers, tuple(sessions)
        hosts = {p: (host or site.host)(p, NUMBER[p]) for p in self.programs}
        base = {"bgp": {"asn": CLUSTER}, "peering": {"topology": "none", "peers": peers}}
        self.node = site.node(1, merged(base, config))
        self.node.start()
        self.others: dict[str, Neighbour] = {}
        for program, found in sessions.items():
            number = NUMBER[program]
            cast = Cast(
                site=site,
                where=hosts[program],
                number=number,
                asn=CLUSTER + number,
                peer_asn=CLUSTER,
                sessions=found,
            )
            self.others[program] = start(program, cast)
            self.others[program].announce(net4(program), net6(program))

    def of(self, program: str) -> Peers:
        """Rows of `kroute show peers` of all sessions with a neighbour."""
        names = {f"peer/{p['name']}" for p in self.peers if p["name"].split("-")[0] == program}
        return [p for p in self.node.ask("peers") if p["name"] in names]

    def up(self, program: str) -> bool:
        """Whether all its sessions are established."""
        rows = self.of(program)
        return bool(rows) and all(p["state"] == "established" for p in rows)

    def reason(self, program: str) -> str:
        """Why they are not, in kroute's words."""
        return "; ".join(str(p["reason"]) for p in self.of(program))

    def told(self, program: str) -> bool:
        """Whether it knows our podCIDRs."""
        other = self.others[program]
        return bool(other.path(POD4) and other.path(POD6))

    def heard(self, program: str) -> bool:
        """Whether our kernel has all that it announces."""
        return {net4(program), net6(program)} <= set(self.node.kernel())

    def calm(self) -> Ledger:
        """A new ledger, once all sessions are up and carry everything."""
        ledger = Ledger(self.programs)
        ledger.wait(self.up, "the session", timeout=RETURN)
        ledger.wait(self.told, "our routes there")
        ledger.wait(self.heard, "its routes here")
        for program in ledger.wrong:
            ledger.wrong[program] += f" ({self.reason(program)})" if ledger.wrong[program] else ""
        return ledger

    def configure(self, *only: str, **more: Any) -> None:
        """Say more of these neighbours' peers, and no longer what was said so before."""
        said = [p | (more if p["name"].split("-")[0] in only else {}) for p in self.peers]
        self.node.configure({"peering": {"peers": said}})
