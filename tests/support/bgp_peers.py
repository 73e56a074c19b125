"""BIRD, FRR and GoBGP as a route reflector of two neighbours, in a namespace, with their own view of the routes.

All three run the same set-up: AS 64512 at 192.0.2.1 and 2001:db8:0:2::1, neighbours at .11 (an internal client that
announces) and .12 (that listens; its AS is the caller's choice), each over IPv4 or IPv6.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from support.netns import Namespace, wait_for

ASN = 64512
DAEMON = {4: "192.0.2.1", 6: "2001:db8:0:2::1"}
INJECTOR = {4: "192.0.2.11", 6: "2001:db8:0:2::11"}
LISTENER = {4: "192.0.2.12", 6: "2001:db8:0:2::12"}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the neighbours are configured: IP version of both sessions, AS of the listener, RFC 8950."""

    version: int = 4
    listener_asn: int = ASN
    extended_nexthop: bool = False


class Peer(Protocol):
    """A running daemon."""

    name: str

    def version(self) -> str:
        """Name and version as the program prints it."""

    def start(self) -> None:
        """Write the configuration and start."""

    def path(self, prefix: str) -> dict[str, Any]:
        """What the daemon itself says of a prefix; keys as in :func:`blank`; empty if it has no such route."""


def blank() -> dict[str, Any]:
    """An empty view of a path: the same few facts from every daemon."""
    return {
        "as_path": "",
        "next_hop": "",
        "origin": "",
        "med": None,
        "local_pref": None,
        "communities": set(),
        "large": set(),
        "extended": 0,
        "unknown": set(),
    }


class Bird:
    """BIRD 2; ``birdc`` speaks over a socket in the folder."""

    name = "bird"

    def __init__(self, where: Namespace, folder: Path, setup: Setup) -> None:
        self.where, self.folder, self.setup = where, folder, setup

    def version(self) -> str:
        done = subprocess.run(["bird", "--version"], capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).strip()

    def config(self) -> str:
        """The configuration file."""
        s = self.setup
        hop = "extended next hop on; " if s.extended_nexthop else ""
        channel = "import all; export where source = RTS_BGP; import table on; "
        channels = f"ipv4 {{ {hop}{channel}}}; ipv6 {{ {channel}}};"
        common = (
            f"local {DAEMON[s.version]} as {ASN}; connect delay time 3600; rr client; {channels}"
        )
        outside = common if s.listener_asn == ASN else common.replace("rr client; ", "")
        return (
            "router id 192.0.2.1;\nlog stderr all;\nprotocol device {}\n"
            "protocol direct { ipv4; ipv6; }\n"
            f"protocol bgp injector {{ neighbor {INJECTOR[s.version]} as {ASN}; {common} }}\n"
            f"protocol bgp listener {{ neighbor {LISTENER[s.version]} as {s.listener_asn}; {outside} }}\n"
        )

    def start(self) -> None:
        file = self.folder / "bird.conf"
        file.write_text(self.config())
        self.where.popen(
            [
                "bird",
                "-f",
                "-c",
                str(file),
                "-s",
                str(self.folder / "ctl"),
                "-P",
                str(self.folder / "pid"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("wb"),
        )

    def show(self, command: str) -> str:
        """What ``birdc`` answers."""
        return self.where.run(
            ["birdc", "-s", str(self.folder / "ctl"), *command.split()], check=False
        )

    def path(self, prefix: str) -> dict[str, Any]:
        found = blank()
        lines = self.show(f"show route {prefix} all protocol injector").splitlines()
        if not any(line.startswith(prefix) for line in lines):
            return {}
        for line in lines:
            name, _, value = line.strip().partition(": ")
            _BIRD_WORDS.get(name, lambda found, value: None)(found, value)
            if name.startswith("BGP.") and "[t]" in name:
                found["unknown"].add(int(name.split(".")[1].split()[0], 16))
        return found


def _put(key: str, convert: Callable[[str], Any] = str) -> Callable[[dict[str, Any], str], None]:
    def put(found: dict[str, Any], value: str) -> None:
        found[key] = convert(value)

    return put


def _tuples(value: str) -> set[str]:
    """``(1,2) (3,4)`` as ``{"1:2", "3:4"}``."""
    plain = value.replace(", ", ":").replace(",", ":")
    return {part.strip("()") for part in plain.split(") (")}


_BIRD_WORDS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "BGP.origin": _put("origin", str.lower),
    "BGP.as_path": _put("as_path"),
    "BGP.next_hop": _put("next_hop", lambda v: v.split()[0]),
    "BGP.med": _put("med", int),
    "BGP.local_pref": _put("local_pref", int),
    "BGP.community": _put("communities", _tuples),
    "BGP.large_community": _put("large", _tuples),
    "BGP.ext_community": _put("extended", lambda v: v.count("(")),
}


class Frr:
    """FRR's bgpd with zebra, which tells it what next hops can be reached."""

    name = "frr"
    _DAEMONS = "/usr/lib/frr"

    def __init__(self, where: Namespace, folder: Path, setup: Setup) -> None:
        self.where, self.folder, self.setup = where, folder, setup

    def version(self) -> str:
        done = subprocess.run(
            [f"{self._DAEMONS}/bgpd", "--version"], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[0]

    def config(self) -> str:
        """bgpd's configuration file."""
        s = self.setup
        peers = ((INJECTOR[s.version], ASN), (LISTENER[s.version], s.listener_asn))
        lines = [
            f"router bgp {ASN}",
            " bgp router-id 192.0.2.1",
            " no bgp ebgp-requires-policy",
            " no bgp default ipv4-unicast",
            " bgp graceful-restart",
        ]
        for address, asn in peers:
            lines += [f" neighbor {address} remote-as {asn}", f" neighbor {address} passive"]
            lines += [f" neighbor {address} advertisement-interval 0"]
            if s.extended_nexthop:
                lines.append(f" neighbor {address} capability extended-nexthop")
        for family in ("ipv4", "ipv6"):
            lines.append(f" address-family {family} unicast")
            for address, asn in peers:
                lines.append(f"  neighbor {address} activate")
                if asn == ASN:
                    lines.append(f"  neighbor {address} route-reflector-client")
            lines.append(" exit-address-family")
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        shutil.chown(self.folder, "frr", "frr")
        (self.folder / "zebra.conf").write_text("")
        (self.folder / "bgpd.conf").write_text(self.config())
        for program in ("zebra", "bgpd"):
            self._daemon(program)
            wait_for((self.folder / f"{program}.vty").exists, what=f"{program} to listen")

    def _daemon(self, program: str) -> None:
        folder = self.folder
        options = f"-f {folder}/{program}.conf -i {folder}/{program}.pid -z {folder}/zserv.api"
        if program == "bgpd":
            options += f" -l {DAEMON[self.setup.version]}"
        self.where.popen(
            [f"{self._DAEMONS}/{program}", "--vty_socket", str(folder), *options.split()],
            stdout=subprocess.DEVNULL,
            stderr=(folder / f"{program}.log").open("wb"),
        )

    def show(self, command: str) -> Any:
        """What ``vtysh`` answers in JSON."""
        out = self.where.run(
            ["vtysh", "--vty_socket", str(self.folder), "-c", f"{command} json"], check=False
        )
        try:
            return json.loads(out or "{}")
        except json.JSONDecodeError:
            return {}

    def path(self, prefix: str) -> dict[str, Any]:
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = self.show(f"show bgp {family} unicast {prefix}").get("paths", [])
        if not paths:
            return {}
        path = paths[0]
        hops = [h["ip"] for h in path["nexthops"] if h.get("scope", "global") == "global"]
        return blank() | {
            "as_path": path["aspath"]["string"].removeprefix("Local"),
            "next_hop": hops[0],
            "origin": path["origin"].lower(),
            "med": path.get("metric"),
            "local_pref": path.get("locPrf"),
            "communities": set(path.get("community", {}).get("string", "").split()),
            "large": set(path.get("largeCommunity", {}).get("string", "").split()),
            "extended": len(path.get("extendedCommunity", {}).get("string", "").split()),
        }


class Gobgp:
    """GoBGP; its command speaks gRPC on the namespace's loopback."""

    name = "gobgp"

    def __init__(self, where: Namespace, folder: Path, setup: Setup) -> None:
        self.where, self.folder, self.setup = where, folder, setup

    def version(self) -> str:
        done = subprocess.run(["gobgpd", "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def config(self) -> str:
        """The configuration file, in TOML."""
        s = self.setup
        head = (
            f'[global.config]\n as = {ASN}\n router-id = "192.0.2.1"\n'
            f' local-address-list = ["{DAEMON[s.version]}"]\n'
        )
        return (
            head
            + self._neighbour(INJECTOR[s.version], ASN)
            + self._neighbour(LISTENER[s.version], s.listener_asn)
        )

    @staticmethod
    def _neighbour(address: str, asn: int) -> str:
        text = f'[[neighbors]]\n [neighbors.config]\n neighbor-address = "{address}"\n peer-as = {asn}\n'
        text += " [neighbors.transport.config]\n passive-mode = true\n"
        text += " [neighbors.graceful-restart.config]\n enabled = true\n restart-time = 120\n"
        if asn == ASN:
            text += " [neighbors.route-reflector.config]\n route-reflector-client = true\n"
            text += ' route-reflector-cluster-id = "192.0.2.1"\n'
        for family in ("ipv4-unicast", "ipv6-unicast"):
            text += f' [[neighbors.afi-safis]]\n [neighbors.afi-safis.config]\n afi-safi-name = "{family}"\n'
            text += " [neighbors.afi-safis.mp-graceful-restart.config]\n enabled = true\n"
        return text

    def start(self) -> None:
        file = self.folder / "gobgpd.toml"
        file.write_text(self.config())
        self.where.popen(
            ["gobgpd", "-f", str(file), "--api-hosts", "127.0.0.1:50051", "--pprof-disable"],
            stdout=(self.folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def path(self, prefix: str) -> dict[str, Any]:
        family = "ipv6" if ":" in prefix else "ipv4"
        out = self.where.run(["gobgp", "-j", "global", "rib", "-a", family], check=False)
        try:
            paths = json.loads(out).get(prefix, [])
        except json.JSONDecodeError:
            return {}
        if not paths:
            return {}
        found = blank()
        for attribute in paths[0]["attrs"]:
            _gobgp_attribute(found, attribute)
        return found


def _gobgp_attribute(found: dict[str, Any], a: dict[str, Any]) -> None:
    """Take one attribute of GoBGP's JSON into the common view."""
    match a["type"]:
        case 1:
            found["origin"] = ("igp", "egp", "incomplete")[a["value"]]
        case 2:
            found["as_path"] = " ".join(map(_gobgp_segment, a["as_paths"] or []))
        case 3 | 14:
            found["next_hop"] = a["nexthop"]
        case 4:
            found["med"] = a["metric"]
        case 5:
            found["local_pref"] = a["value"]
        case 8:
            found["communities"] = {f"{c >> 16}:{c & 0xFFFF}" for c in a["communities"]}
        case 16:
            found["extended"] = len(a["value"])
        case 32:
            found["large"] = {f"{c['ASN']}:{c['LocalData1']}:{c['LocalData2']}" for c in a["value"]}
        case code if code > 32:
            found["unknown"].add(code)


def _gobgp_segment(segment: dict[str, Any]) -> str:
    asns = list(map(str, segment["asns"]))
    return "{" + " ".join(asns) + "}" if segment["segment_type"] == 1 else " ".join(asns)


PEERS: tuple[type[Bird] | type[Frr] | type[Gobgp], ...] = (Bird, Frr, Gobgp)
