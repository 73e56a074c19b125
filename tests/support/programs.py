"""Five programs in one role: the neighbour of a kroute node, configured in the same words, telling the same facts.

:func:`start` makes a configuration of :class:`Session` in the program's own language; what one of them cannot say or
show is written down where the test is (``support/matrix.py``), not here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from support.daemon import Kroute, node_object, write
from support.daemon_peers import Gobgp, OpenBgpd, Path_
from support.netns import wait_for
from support.program_cast import (
    FAMILIES,
    PROGRAMS,
    TAGS,
    Cast,
    Neighbour,
    Session,
    family_of,
    has_tags,
)
from support.program_routers import BirdNeighbour, FrrNeighbour


class GobgpNeighbour(Gobgp):
    """GoBGP."""

    def __init__(self, cast: Cast) -> None:
        self.asn, self.sessions, self.cast = cast.asn, cast.sessions, cast
        self.said: list[str] = []
        self.neighbours = "".join(_gobgp(s, cast) for s in cast.sessions)
        super().__init__(cast.where, cast.folder("gobgp"), cast.asn, "")

    def start(self) -> None:
        # Its routes come before its neighbours, or End-of-RIB would go out before them.
        file = self.folder / "gobgpd.toml"
        file.write_text(file.read_text().removesuffix(self.neighbours))
        super().start()
        said, self.said = self.said, []
        self.announce(*said)
        file.write_text(file.read_text() + self.neighbours)
        self.processes[-1].send_signal(signal.SIGHUP)
        wait_for(lambda: len(self._ask("neighbor")) == len(self.sessions), what="its neighbours")

    def announce(self, *prefixes: str) -> None:
        tags = ("community", TAGS["community"], "large-community", TAGS["large"])
        for prefix in prefixes:
            own = self.cast.own(family_of(prefix))
            rt = ("rt", TAGS["extended"].removeprefix("rt:"))
            self._rib("add", prefix, "nexthop", own, *tags, *rt)
            self.said.append(prefix)

    def withdraw(self, *prefixes: str) -> None:
        for prefix in prefixes:
            super().withdraw(prefix)
            self.said.remove(prefix)

    def shut(self, text: str) -> None:
        for s in self.sessions:
            self.where.run(["gobgp", "neighbor", s.peer, "shutdown", "--reason", text])

    def reopen(self) -> None:
        for s in self.sessions:
            self.where.run(["gobgp", "neighbor", s.peer, "enable"])

    def words(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def detail(self, prefix: str) -> str:
        return self.where.run(["gobgp", "global", "rib", "-a", family_of(prefix), prefix])

    def leave(self) -> None:
        self.end(signal.SIGTERM)


def _gobgp(s: Session, cast: Cast) -> str:
    text = f'[[neighbors]]\n [neighbors.config]\n neighbor-address = "{s.peer}"\n peer-as = {cast.peer_asn}\n'
    text += f' auth-password = "{s.key}"\n' if s.key else ""
    text += f' [neighbors.transport.config]\n local-address = "{s.local}"\n'
    text += " passive-mode = true\n" if s.passive else ""
    text += " [neighbors.timers.config]\n connect-retry = 1\n idle-hold-time-after-reset = 1\n"
    text += " [neighbors.graceful-restart.config]\n enabled = true\n restart-time = 120\n"
    if s.hops:
        text += f" [neighbors.ttl-security.config]\n enabled = true\n ttl-min = {256 - s.hops}\n"
    if s.ttl:
        text += f" [neighbors.ebgp-multihop.config]\n enabled = true\n multihop-ttl = {s.ttl}\n"
    if s.client:
        text += " [neighbors.route-reflector.config]\n route-reflector-client = true\n"
        text += f' route-reflector-cluster-id = "192.0.2.{cast.number}"\n'
    for family in s.families:
        text += " [[neighbors.afi-safis]]\n [neighbors.afi-safis.config]\n"
        text += f' afi-safi-name = "{family}-unicast"\n'
        text += " [neighbors.afi-safis.mp-graceful-restart.config]\n enabled = true\n"
        if s.limit:
            text += f" [neighbors.afi-safis.prefix-limit.config]\n max-prefixes = {s.limit}\n"
    return text


class OpenBgpdNeighbour(OpenBgpd):
    """OpenBGPD."""

    def __init__(self, cast: Cast) -> None:
        self.sessions = cast.sessions
        text = "".join(_openbgpd(s, cast) for s in cast.sessions)
        kinds = ("community", "large-community", "ext-community")
        said = [*zip(kinds, TAGS.values(), strict=True)]
        words = " ".join(f"{kind} {value.replace('rt:', 'rt ')}" for kind, value in said)
        text += f"match to any set {{ {words} }}\n"
        super().__init__(cast.where, cast.folder("openbgpd"), cast.asn, text)

    def start(self) -> None:
        self._write()
        self._socket.unlink(missing_ok=True)
        self._spawn("/usr/sbin/bgpd", "-d", "-f", str(self.folder / "bgpd.conf"))
        wait_for(self._socket.exists, what="OpenBGPD to listen")

    def announce(self, *prefixes: str) -> None:
        for prefix in prefixes:
            super().announce(prefix)
            self.networks.add(prefix)

    def withdraw(self, *prefixes: str) -> None:
        for prefix in prefixes:
            super().withdraw(prefix)
            self.networks.discard(prefix)

    def shut(self, text: str) -> None:
        for s in self.sessions:
            self._ctl("neighbor", s.peer, "down", text)

    def reopen(self) -> None:
        for s in self.sessions:
            self._ctl("neighbor", s.peer, "up")

    def words(self) -> str:
        return "".join(self._ctl("show", "neighbor", s.peer) for s in self.sessions)

    def detail(self, prefix: str) -> str:
        return self._ctl("show", "rib", "detail", prefix)

    def leave(self) -> None:
        self.end(signal.SIGTERM)


def _openbgpd(s: Session, cast: Cast) -> str:
    families = [f"announce {'IPv4' if f == 'ipv4' else 'IPv6'} unicast" for f in s.families]
    absent = [
        f"announce {'IPv4' if f == 'ipv4' else 'IPv6'} none"
        for f in FAMILIES
        if f not in s.families
    ]
    options = [
        f"remote-as {cast.peer_asn}",
        f"local-address {s.local}",
        *families,
        *absent,
        f'tcp md5sig password "{s.key}"' if s.key else "",
        "ttl-security yes" if s.hops else "",
        f"multihop {s.ttl or s.hops}" if s.ttl or s.hops else "",
        "passive" if s.passive else "",
        "route-reflector" if s.client else "",
        f"max-prefix {s.limit}" if s.limit else "",
    ]
    return f"neighbor {s.peer} {{\n" + "".join(f" {o}\n" for o in options if o) + "}\n"


class KrouteNeighbour:
    """Another kroute: the only node of a cluster of its own, whose podCIDRs are what it announces."""

    def __init__(self, cast: Cast) -> None:
        self.where, self.asn, self.number = cast.where, cast.asn, cast.number
        self._own = sorted({cast.own("ipv4"), cast.own("ipv6")})
        self._inventory = cast.site.folder / f"far{cast.number}.json"
        self._said: list[str] = []
        self._save()
        self._peers = [_kroute(i, s, cast) for i, s in enumerate(cast.sessions)]
        config = {
            "inventory": {"static": {"path": str(self._inventory)}},
            "bgp": {"asn": cast.asn},
            "peering": {"topology": "none", "peers": self._peers},
            "policies": [{"name": "tag", "rules": [_TAG]}],
        }
        self.node = Kroute(cast.site, f"far{cast.number}", cast.where, config)
        self.node.start()

    def _save(self) -> None:
        node = node_object(f"far{self.number}", self._said, self._own, {})
        write(self._inventory, {"apiVersion": "v1", "kind": "List", "items": [node]})

    def path(self, prefix: str) -> Path_:
        for peer in self._peers:
            for row in self.node.ask("rib-in", peer=peer["name"]):
                if row["prefix"] == prefix:
                    return dict(row)
        return {}

    def announce(self, *prefixes: str) -> None:
        self._said += prefixes
        self._save()

    def withdraw(self, *prefixes: str) -> None:
        self._said = [p for p in self._said if p not in prefixes]
        self._save()

    def end(self, number: int) -> None:
        self.node.end(number)

    def start(self) -> None:
        self.node.start()

    def shut(self, text: str) -> None:
        self._take([p | {"shutdown": text} for p in self._peers])

    def reopen(self) -> None:
        self._take(self._peers)

    def _take(self, peers: list[dict[str, Any]]) -> None:
        self.node.configure({"peering": {"peers": peers}})

    def rekey(self, old: str, new: str) -> None:
        for index, _ in enumerate(self._peers):
            (self.node.folder.parent / f"far{self.number}.key{index}").write_text(new)

    def words(self) -> str:
        return str(self.node.ask("peers"))

    def detail(self, prefix: str) -> str:
        return str(self.path(prefix))

    def leave(self) -> None:
        self.end(signal.SIGTERM)


_TAG: dict[str, Any] = {
    "name": "all",
    "set": {"communities": {"add": list(TAGS.values())}},
    "then": "accept",
}


def _kroute(index: int, s: Session, cast: Cast) -> dict[str, Any]:
    key = cast.site.folder / f"far{cast.number}.key{index}"
    key.write_text(s.key)
    optional = {
        "passwordFile": str(key) if s.key else None,
        "ttlSecurity": s.hops or None,
        "multihop": s.ttl or None,
        "maxPrefixes": s.limit or None,
        "maxPrefixesRestart": 600 if s.limit else None,
    }
    return {
        "name": f"s{index}",
        "address": s.peer,
        "localAddress": s.local,
        "asn": cast.peer_asn,
        "accept": "all",
        "families": list(s.families),
        "passive": s.passive,
        "export": "tag",
        **{k: v for k, v in optional.items() if v is not None},
    }


_MAKERS: Mapping[str, Callable[[Cast], Any]] = {
    "bird": BirdNeighbour,
    "frr": FrrNeighbour,
    "gobgp": GobgpNeighbour,
    "openbgpd": OpenBgpdNeighbour,
    "kroute": KrouteNeighbour,
}


def start(program: str, cast: Cast) -> Neighbour:
    """Start a program in its place."""
    made: Neighbour = _MAKERS[program](cast)
    return made


__all__ = [
    "FAMILIES",
    "PROGRAMS",
    "TAGS",
    "BirdNeighbour",
    "Cast",
    "Neighbour",
    "Session",
    "has_tags",
    "start",
]
