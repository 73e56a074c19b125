"""BIRD and FRR in the role of ``support/programs.py``."""

from __future__ import annotations

import signal

from support.daemon_peers import Bird, Frr
from support.program_cast import TAGS, Cast, Session, family_of


class BirdNeighbour(Bird):
    """BIRD 2."""

    def __init__(self, cast: Cast) -> None:
        self.asn, self.names = cast.asn, [f"s{i}" for i in range(len(cast.sessions))]
        text = "".join(map(_bird, self.names, cast.sessions, [cast] * len(self.names)))
        super().__init__(cast.where, cast.folder("bird"), f"192.0.2.{cast.number}", text)

    def shut(self, text: str) -> None:
        for name in self.names:
            self.ask(f'disable {name} "{text}"')

    def reopen(self) -> None:
        for name in self.names:
            self.ask(f"enable {name}")

    def rekey(self, old: str, new: str) -> None:
        self.configure(self.sessions.replace(f'password "{old}"', f'password "{new}"'))

    def words(self) -> str:
        return self.ask("show protocols all")

    def detail(self, prefix: str) -> str:
        return self.ask(f"show route {prefix} all where source = RTS_BGP")

    def leave(self) -> None:
        self.ask("graceful restart")
        for process in self.processes:
            process.wait(10)
        self.processes.clear()


def _bird(name: str, s: Session, cast: Cast) -> str:
    options = [
        f"local {s.local} as {cast.asn}; neighbor {s.peer} as {cast.peer_asn};",
        "connect delay time 1; connect retry time 1; error wait time 1,2; graceful restart on;",
        f'password "{s.key}";' if s.key else "",
        f"multihop {s.hops or s.ttl};" if s.hops or s.ttl else "direct;",
        "ttl security on;" if s.hops else "",
        "passive;" if s.passive else "",
        "rr client;" if s.client else "",
    ]
    standard, large, extended = (_tuple(TAGS[kind]) for kind in TAGS)
    tags = (
        f"bgp_community.add({standard}); bgp_large_community.add({large});"
        f" bgp_ext_community.add(({extended[1:]}); accept;"
    )
    passed = "if source = RTS_BGP then accept;" if s.client else ""
    export = f"export filter {{ {passed} if source != RTS_STATIC then reject; {tags} }};"
    limit = f"receive limit {s.limit} action disable;" if s.limit else ""
    for family in s.families:
        hop = "extended next hop on;" if family == "ipv4" and ":" in s.local else ""
        options.append(f"{family} {{ import all; {export} {limit} {hop} }};")
    return f"protocol bgp {name} {{ {' '.join(options)} }}\n"


def _tuple(community: str) -> str:
    return "(" + community.replace(":", ",") + ")"


class FrrNeighbour(Frr):
    """FRR: zebra and bgpd."""

    def __init__(self, cast: Cast) -> None:
        self.sessions = cast.sessions
        self.said: list[str] = []
        local = "" if len({s.local for s in cast.sessions}) > 1 else cast.sessions[0].local
        lines = " bgp graceful-restart preserve-fw-state\n bgp log-neighbor-changes\n bgp route-map delay-timer 0\n"
        lines += "".join(_frr(s, cast) for s in cast.sessions)
        lines += f"route-map tag permit 10\n{_frr_tags()}exit\nlog stdout informational\n"
        super().__init__(cast.where, cast.folder("frr"), cast.asn, local, lines)

    def start(self) -> None:
        # What is announced stands in the file, or End-of-RIB would go out before it.
        file = self.folder / "bgpd.conf"
        head, sep, tail = file.read_text().partition("route-map tag permit")
        head = head.partition(f"{_AGAIN}\n")[0]
        lines = [f"{_AGAIN}\nrouter bgp {self.asn}"]
        for p in self.said:
            lines += [f" address-family {family_of(p)} unicast", f"  network {p}", " exit"]
        file.write_text("\n".join([head + lines[0], *lines[1:], "exit", sep + tail]))
        super().start()

    def announce(self, *prefixes: str) -> None:
        for prefix in prefixes:
            super().announce(prefix)
            self.said.append(prefix)

    def withdraw(self, *prefixes: str) -> None:
        for prefix in prefixes:
            super().withdraw(prefix)
            self.said.remove(prefix)

    def shut(self, text: str) -> None:
        self._each(f"shutdown message {text}")

    def reopen(self) -> None:
        self._each("shutdown", no="no ")

    def _each(self, what: str, no: str = "") -> None:
        lines = [f"{no}neighbor {s.peer} {what}" for s in self.sessions]
        self.run("configure terminal", f"router bgp {self.asn}", *lines)

    def rekey(self, old: str, new: str) -> None:
        self._each(f"password {new}")

    def words(self) -> str:
        return self.run("show bgp neighbors") + (self.folder / "log").read_text(errors="replace")

    def detail(self, prefix: str) -> str:
        return self.run(f"show bgp {family_of(prefix)} unicast {prefix} json")

    def leave(self) -> None:
        self.end(signal.SIGTERM)


_AGAIN = "! announced"
"""Marks what :meth:`FrrNeighbour.start` has added to the configuration."""


def _frr_tags() -> str:
    return (
        f" set community {TAGS['community']}\n set large-community {TAGS['large']}\n"
        f" set extcommunity {TAGS['extended'].replace(':', ' ', 1)}\n"
    )


def _frr(s: Session, cast: Cast) -> str:
    options = [
        f"remote-as {cast.peer_asn}",
        "timers connect 1",
        "advertisement-interval 0",
        f"password {s.key}" if s.key else "",
        f"ttl-security hops {s.hops}" if s.hops else "",
        f"ebgp-multihop {s.ttl}" if s.ttl else "",
        "passive" if s.passive else "",
        "capability extended-nexthop" if ":" in s.local else "",
    ]
    lines = [f" neighbor {s.peer} {o}" for o in options if o]
    for family in s.families:
        lines += [f" address-family {family} unicast", f"  neighbor {s.peer} activate"]
        lines += [f"  neighbor {s.peer} route-map tag out"] if not s.client else []
        lines += [f"  neighbor {s.peer} route-reflector-client"] if s.client else []
        lines += [f"  neighbor {s.peer} maximum-prefix {s.limit}"] if s.limit else []
        lines += [" exit-address-family"]
    return "\n".join(lines) + "\n"
