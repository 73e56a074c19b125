"""BIRD, FRR, GoBGP and OpenBGPD as neighbours of a whole kroute node, with the test's own configuration text.

Each tells in the same few words what it knows of a route (:meth:`path`), and installs what it learns in its
namespace's kernel where the program can.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Protocol

from support.netns import Namespace, wait_for

Path_ = dict[str, Any]
"""as_path, next_hop, origin, local_pref, stale; empty where there is no route."""


class Router(Protocol):
    """A running BGP daemon."""

    where: Namespace

    def path(self, prefix: str) -> Path_:
        """What it knows of a route."""

    def announce(self, prefix: str) -> None:
        """Originate a route."""

    def withdraw(self, prefix: str) -> None:
        """No longer."""


class _Program:
    """What the four have in common: a folder, a process."""

    def __init__(self, where: Namespace, folder: Path) -> None:
        self.where, self.folder = where, folder
        folder.mkdir(exist_ok=True)
        self.processes: list[subprocess.Popen[bytes]] = []

    def _spawn(self, *command: str) -> None:
        with (self.folder / "log").open("ab") as log:
            self.processes.append(self.where.popen(command, stdout=log, stderr=log))

    def end(self, number: int = signal.SIGKILL) -> None:
        """End all processes by a signal and wait for it."""
        for process in reversed(self.processes):
            process.send_signal(number)
            process.wait(10)
        self.processes.clear()


class Bird(_Program):
    """BIRD 2. ``sessions`` is text of protocols; static routes are announced by it as blackholes."""

    def __init__(self, where: Namespace, folder: Path, router_id: str, sessions: str) -> None:
        super().__init__(where, folder)
        self.head = (
            f"router id {router_id}; protocol device {{}} protocol direct {{ ipv4; ipv6; }}\n"
        )
        self.sessions = sessions
        self.statics: set[str] = set()
        self.start()

    def start(self) -> None:
        """Write the configuration and start; returns when the control socket answers."""
        self._write()
        self._spawn(
            "bird",
            "-f",
            "-c",
            f"{self.folder}/bird.conf",
            *self._socket,
            "-P",
            f"{self.folder}/pid",
        )
        wait_for(lambda: "BIRD" in self.ask("show status"), what="BIRD to answer")

    @property
    def _socket(self) -> tuple[str, str]:
        return "-s", str(self.folder / "ctl")

    def _write(self) -> None:
        text = self.head + self.sessions
        for version in (4, 6):
            routes = [p for p in sorted(self.statics) if (":" in p) == (version == 6)]
            lines = "".join(f" route {p} blackhole;" for p in routes)
            text += f"protocol static s{version} {{ ipv{version}; {lines} }}\n"
            export = "export where source = RTS_BGP;"
            text += (
                f"protocol kernel k{version} {{ merge paths yes; ipv{version} {{ {export} }}; }}\n"
            )
        (self.folder / "bird.conf").write_text(text)

    def ask(self, command: str) -> str:
        """What ``birdc`` answers."""
        return self.where.run(["birdc", *self._socket, *command.split()], check=False)

    def configure(self, sessions: str | None = None) -> None:
        """Take over other sessions and the present static routes."""
        self.sessions = self.sessions if sessions is None else sessions
        self._write()
        assert "econfigur" in self.ask("configure")

    def announce(self, *prefixes: str) -> None:
        self.statics.update(prefixes)
        self.configure()

    def withdraw(self, *prefixes: str) -> None:
        self.statics.difference_update(prefixes)
        self.configure()

    def path(self, prefix: str) -> Path_:
        text = self.ask(f"show route {prefix} all where source = RTS_BGP")
        if prefix not in text:
            return {}
        said = {m[1]: m[2].strip() for m in re.finditer(r"BGP\.(\w+): (.*)", text)}
        return {
            "as_path": said.get("as_path", ""),
            "next_hop": said.get("next_hop", "").split()[0],
            "origin": said.get("origin", "").lower(),
            "local_pref": int(said["local_pref"]) if "local_pref" in said else None,
            "cluster_list": said.get("cluster_list", ""),
            "originator": said.get("originator_id", ""),
            "med": said.get("med", ""),
            "community": said.get("community", ""),
            "ext_community": said.get("ext_community", ""),
            "large_community": said.get("large_community", ""),
        }


def bird_session(
    name: str,
    local: str,
    asn: int,
    peer: str,
    peer_asn: int,
    *,
    more: str = "",
    ipv4: str | None = "",
    ipv6: str | None = None,
) -> str:
    """A BGP protocol of BIRD; ``ipv4`` and ``ipv6`` are further words of the channels, None for no channel."""
    channels = "".join(
        f" {channel} {{ import all; export where source = RTS_STATIC; {words} }};"
        for channel, words in (("ipv4", ipv4), ("ipv6", ipv6))
        if words is not None
    )
    direct = "direct;" if asn == peer_asn else ""
    return (
        f"protocol bgp {name} {{ local {local} as {asn}; neighbor {peer} as {peer_asn}; {direct}"
        f" connect delay time 1; connect retry time 1; error wait time 1,2; {more}{channels} }}\n"
    )


class Frr(_Program):
    """FRR: zebra and bgpd. ``bgp`` are the lines below ``router bgp``; without ``local``, bgpd listens everywhere."""

    _DAEMONS = "/usr/lib/frr"

    def __init__(self, where: Namespace, folder: Path, asn: int, local: str, bgp: str) -> None:
        super().__init__(where, folder)
        self.asn, self.local = asn, local
        shutil.chown(folder, "frr", "frr")
        (folder / "zebra.conf").write_text("")
        (folder / "bgpd.conf").write_text(
            f"router bgp {asn}\n bgp router-id 192.0.2.9\n no bgp ebgp-requires-policy\n"
            " no bgp network import-check\n no bgp default ipv4-unicast\n bgp graceful-restart\n"
            f"{bgp}"
        )
        self.start()

    def start(self) -> None:
        """Start both daemons; returns when bgpd's terminal answers."""
        for program in ("zebra", "bgpd"):
            (self.folder / f"{program}.vty").unlink(missing_ok=True)
            self.start_one(program)

    def start_one(self, program: str) -> None:
        """Start one of them."""
        f = self.folder
        options = f"-f {f}/{program}.conf -i {f}/{program}.pid -z {f}/zserv.api"
        options += f" -l {self.local}" if program == "bgpd" and self.local else ""
        self._spawn(f"{self._DAEMONS}/{program}", "--vty_socket", str(f), *options.split())
        wait_for((f / f"{program}.vty").exists, what=f"{program} to listen")

    def run(self, *commands: str) -> str:
        """What ``vtysh`` prints for commands given one after the other."""
        words = [word for command in commands for word in ("-c", command)]
        return self.where.run(["vtysh", "--vty_socket", str(self.folder), *words], check=False)

    def show(self, command: str) -> Any:
        """What ``vtysh`` answers in JSON."""
        try:
            return json.loads(self.run(f"{command} json") or "{}")
        except json.JSONDecodeError:
            return {}

    def announce(self, prefix: str) -> None:
        self._network(f"network {prefix}", prefix)

    def withdraw(self, prefix: str) -> None:
        self._network(f"no network {prefix}", prefix)

    def _network(self, line: str, prefix: str) -> None:
        family = "ipv6" if ":" in prefix else "ipv4"
        self.run(
            "configure terminal", f"router bgp {self.asn}", f"address-family {family} unicast", line
        )

    def path(self, prefix: str) -> Path_:
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = self.show(f"show bgp {family} unicast {prefix}").get("paths", [])
        if not paths:
            return {}
        path = paths[0]
        hops = [h["ip"] for h in path["nexthops"] if h.get("scope", "global") == "global"]
        return {
            "as_path": path["aspath"]["string"].removeprefix("Local"),
            "next_hop": hops[0],
            "origin": path["origin"].lower(),
            "local_pref": path.get("locPrf"),
            "med": path.get("metric"),
            "community": path.get("community", {}).get("string", ""),
            "stale": bool(path.get("stale")),
        }


def frr_session(peer: str, peer_asn: int, *families: str, more: tuple[str, ...] = ()) -> str:
    """Lines of one neighbour of FRR; ``more`` are words after ``neighbor PEER``."""
    lines = [f" neighbor {peer} remote-as {peer_asn}", f" neighbor {peer} timers connect 1"]
    lines += [
        f" neighbor {peer} advertisement-interval 0",
        *(f" neighbor {peer} {m}" for m in more),
    ]
    for family in families:
        lines += [f" address-family {family} unicast", f"  neighbor {peer} activate"]
        lines += [" exit-address-family"]
    return "\n".join(lines) + "\n"


class Gobgp(_Program):
    """GoBGP; its command speaks gRPC on the namespace's loopback. It has no kernel of its own."""

    def __init__(self, where: Namespace, folder: Path, asn: int, neighbours: str) -> None:
        super().__init__(where, folder)
        head = f'[global.config]\n as = {asn}\n router-id = "192.0.2.8"\n'
        (folder / "gobgpd.toml").write_text(head + neighbours)
        self.start()

    def start(self) -> None:
        """Start; returns when its command gets an answer."""
        options = ("--api-hosts", "127.0.0.1:50051", "--pprof-disable")
        self._spawn("gobgpd", "-f", str(self.folder / "gobgpd.toml"), *options)
        wait_for(lambda: self._ask("neighbor") is not None, what="GoBGP to answer")

    def _ask(self, *words: str) -> Any:
        try:
            return json.loads(self.where.run(["gobgp", "-j", *words], check=False))
        except json.JSONDecodeError:
            return None

    def announce(self, prefix: str) -> None:
        own = "2001:db8::2" if ":" in prefix else "192.0.2.2"
        self._rib("add", prefix, "nexthop", own)

    def withdraw(self, prefix: str) -> None:
        self._rib("del", prefix)

    def _rib(self, what: str, prefix: str, *more: str) -> None:
        family = "ipv6" if ":" in prefix else "ipv4"
        self.where.run(["gobgp", "global", "rib", "-a", family, what, prefix, *more])

    def path(self, prefix: str) -> Path_:
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = (self._ask("global", "rib", "-a", family) or {}).get(prefix, [])
        if not paths:
            return {}
        attributes = {a["type"]: a for a in paths[0]["attrs"]}
        segments = attributes.get(2, {}).get("as_paths") or []
        return {
            "as_path": " ".join(str(asn) for segment in segments for asn in segment["asns"]),
            "next_hop": (attributes.get(14) or attributes[3])["nexthop"],
            "origin": ("igp", "egp", "incomplete")[attributes[1]["value"]],
            "local_pref": attributes[5]["value"] if 5 in attributes else None,
            "stale": bool(paths[0].get("stale")),
        }


def gobgp_session(peer: str, peer_asn: int, *families: str) -> str:
    """TOML of one neighbour of GoBGP, with graceful restart."""
    text = (
        f'[[neighbors]]\n [neighbors.config]\n neighbor-address = "{peer}"\n peer-as = {peer_asn}\n'
    )
    text += " [neighbors.timers.config]\n connect-retry = 1\n idle-hold-time-after-reset = 1\n"
    text += " [neighbors.graceful-restart.config]\n enabled = true\n restart-time = 120\n"
    for family in families:
        text += f' [[neighbors.afi-safis]]\n [neighbors.afi-safis.config]\n afi-safi-name = "{family}-unicast"\n'
        text += " [neighbors.afi-safis.mp-graceful-restart.config]\n enabled = true\n"
    return text


class OpenBgpd(_Program):
    """OpenBGPD. ``neighbours`` are blocks of its configuration; it couples to no kernel."""

    def __init__(self, where: Namespace, folder: Path, asn: int, neighbours: str) -> None:
        super().__init__(where, folder)
        self.asn, self.neighbours = asn, neighbours
        self.networks: set[str] = set()
        self._write()
        Path("/run/openbgpd").mkdir(
            exist_ok=True
        )  # where its unprivileged parts lock themselves up
        self._spawn("/usr/sbin/bgpd", "-d", "-f", str(folder / "bgpd.conf"))
        wait_for(self._socket.exists, what="OpenBGPD to listen")

    @property
    def _socket(self) -> Path:
        return self.folder / "ctl"

    def _write(self) -> None:
        networks = "".join(f"network {n}\n" for n in sorted(self.networks))
        file = self.folder / "bgpd.conf"
        file.write_text(
            f'AS {self.asn}\nrouter-id 192.0.2.7\nsocket "{self._socket}"\nfib-update no\n'
            f"{networks}{self.neighbours}allow from any\nallow to any\n"
        )
        file.chmod(0o600)

    def _ctl(self, *words: str) -> str:
        return self.where.run(["bgpctl", "-s", str(self._socket), *words], check=False)

    def announce(self, prefix: str) -> None:
        self._ctl("network", "add", prefix)

    def withdraw(self, prefix: str) -> None:
        self._ctl("network", "delete", prefix)

    def path(self, prefix: str) -> Path_:
        try:
            rib = json.loads(self._ctl("-j", "show", "rib", "detail", prefix))["rib"]
        except (json.JSONDecodeError, KeyError):
            return {}
        if not rib:
            return {}
        path = rib[0]
        return {
            "as_path": path.get("aspath", ""),
            "next_hop": path["exit_nexthop"],
            "origin": path["origin"].lower(),
            "local_pref": path.get("localpref"),
        }
