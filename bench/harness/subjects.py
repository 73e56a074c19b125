"""The programs under test, each with a configuration that does the same: take everything from the feeder.

A subject lives at 10.9.0.1 in AS 64512 and connects to the feeder at 10.9.0.2 in AS 65001. With ``kernel`` it
installs what it learns; without, it only keeps and decides.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from harness.bed import LOCAL, Bed, BenchError, Namespace, wait_for
from harness.wire import FEEDER, FEEDER_ASN

ASN = 64512
HERE = Path(__file__).resolve().parent.parent
FRR = Path("/usr/lib/frr")


class Subject(Protocol):
    """A program under test."""

    protocol: int
    """The route protocol that marks what it installs."""

    def start(self) -> None:
        """Write the configuration and start."""

    def known(self, count: int) -> bool:
        """Whether it knows ``count`` prefixes, asked as cheaply as the program allows."""

    poll: float
    """Seconds between two such questions."""


class Base:
    """What all have in common."""

    protocol = 0
    poll = 0.002
    answers_refresh = False
    """It answers ROUTE-REFRESH with a few prefixes of its own, after all that was written before it."""

    def __init__(self, bed: Bed, where: Namespace, *, kernel: bool) -> None:
        self.bed, self.where, self.kernel = bed, where, kernel
        self.folder = bed.folder

    def known(self, count: int) -> bool:
        raise BenchError(f"{type(self).__name__} cannot be asked")


class Kroute(Base):
    """The daemon as users run it: ``kroute run``, and its speaker."""

    protocol = 201
    answers_refresh = True

    def config(self) -> dict[str, Any]:
        """The configuration; as JSON, which is YAML."""
        return {
            "nodeName": "n1",
            "logLevel": "info",
            "inventory": {"kind": "static", "static": {"path": str(self.folder / "nodes.json")}},
            "bgp": {"asn": ASN, "maxPrefixes": 1_200_000},
            "peering": {
                "topology": "none",
                "peers": [
                    {"name": "feeder", "address": FEEDER, "asn": FEEDER_ASN, "accept": "all"}
                ],
            },
            "fib": {"enabled": self.kernel},
            "cni": {"enabled": False},
            "http": {"enabled": False},
            "paths": {"run": str(self.folder / "run"), "state": str(self.folder / "state")},
        }

    def nodes(self) -> list[dict[str, Any]]:
        """The inventory."""
        return [node("n1", LOCAL, "10.244.1.0/24")]

    def command(self) -> list[str]:
        """How it is started."""
        return [str(Path(sys.executable).parent / "kroute"), "run", "--config"]

    def known(self, count: int) -> bool:
        return sum(peer["received"] for peer in self.ask("peers")) >= count

    def ask(self, resource: str) -> Any:
        """What `kroute show` asks the daemon."""
        return ask(self.folder / "run" / "kroute.sock", resource)

    def start(self) -> None:
        write_nodes(self.folder / "nodes.json", self.nodes())
        file = self.folder / "kroute.yaml"
        file.write_text(json.dumps(self.config()))
        self.bed.start(self.where, [*self.command(), str(file)], log="kroute.log")


class _Local(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("kroute", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def ask(socket: Path, resource: str) -> Any:
    """What `kroute show` asks the daemon on this socket."""
    connection = _Local(socket)
    try:
        connection.request("GET", f"/v1/{resource}")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def node(name: str, address: str, *cidrs: str) -> dict[str, Any]:
    """A Node object as Kubernetes prints it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def write_nodes(path: Path, nodes: list[dict[str, Any]]) -> None:
    """Write a static inventory, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
    draft.replace(path)


class Bird(Base):
    """BIRD 2."""

    protocol = 12
    _control: socket.socket | None = None

    def start(self) -> None:
        kernel = "protocol kernel { ipv4 { import none; export all; }; }\n" if self.kernel else ""
        self.launch(
            f"{kernel}protocol bgp feeder {{ local {LOCAL} as {ASN}; neighbor {FEEDER} as {FEEDER_ASN}; "
            "connect delay time 0; ipv4 { import all; export none; }; }\n"
        )

    def launch(self, text: str, folder: Path | None = None) -> None:
        """Run it with this configuration beside what every one needs."""
        folder = folder or self.folder
        head = f"log stderr {{ error, fatal, bug }};\nrouter id {LOCAL};\nprotocol device {{}}\n"
        (folder / "bird.conf").write_text(head + text if "router id" not in text else text)
        files = [
            "-c",
            f"{folder}/bird.conf",
            "-s",
            f"{folder}/bird.ctl",
            "-P",
            f"{folder}/bird.pid",
        ]
        self.bed.start(self.where, ["bird", "-f", *files], log=f"bird-{self.where.name}.log")

    def ask(self, command: str) -> str:
        """What `birdc` would be told; over one connection."""
        if self._control is None:
            self._control = socket.socket(socket.AF_UNIX)
            self._control.connect(str(self.folder / "bird.ctl"))
            self._control.settimeout(5)
            self._control.recv(4096)
        self._control.send(command.encode() + b"\n")
        text = b""
        while not text.endswith(b"\n0000 \n"):
            text += self._control.recv(65536)
        return text.decode()

    def known(self, count: int) -> bool:
        for line in self.ask("show protocols all feeder").splitlines():
            if "Routes:" in line:
                return int(line.split()[1]) >= count
        return False


class Frr(Base):
    """FRR's bgpd, with zebra where routes are installed, alone where not."""

    protocol = 186
    poll = 0.005
    _vty: socket.socket | None = None

    def config(self) -> str:
        """bgpd.conf."""
        return (
            f"router bgp {ASN}\n bgp router-id {LOCAL}\n no bgp ebgp-requires-policy\n"
            f" neighbor {FEEDER} remote-as {FEEDER_ASN}\n neighbor {FEEDER} timers connect 1\n"
        )

    def start(self) -> None:
        shutil.chown(self.folder, "frr", "frr")
        (self.folder / "zebra.conf").write_text("")
        (self.folder / "bgpd.conf").write_text(self.config())
        if self.kernel:
            self._daemon("zebra")
        self._daemon("bgpd", *(() if self.kernel else ("-Z",)))

    def _daemon(self, program: str, *more: str) -> None:
        f = self.folder
        files = f"-f {f}/{program}.conf -i {f}/{program}.pid -z {f}/zserv.api --vty_socket {f}"
        self.bed.start(
            self.where, [str(FRR / program), *files.split(), *more], log=f"{program}.log"
        )
        wait_for((f / f"{program}.vty").exists, 10, f"{program} to listen")

    def ask(self, command: str) -> str:
        """What `vtysh` would print; over one connection to bgpd."""
        if self._vty is None:
            self._vty = socket.socket(socket.AF_UNIX)
            self._vty.connect(str(self.folder / "bgpd.vty"))
            self._vty.settimeout(5)
        self._vty.send(command.encode() + b"\0")
        text = b""
        while text[-4:-1] != b"\0\0\0":
            text += self._vty.recv(65536)
        return text[:-4].decode()

    def known(self, count: int) -> bool:
        found = json.loads(self.ask("show bgp ipv4 unicast summary json") or "{}")
        return bool(found.get("ribCount", 0) >= count)


class Gobgp(Base):
    """GoBGP; it has no kernel of its own, and its command is the only way to ask."""

    poll = 0.1

    def start(self) -> None:
        if self.kernel:
            raise BenchError("GoBGP installs nothing by itself")
        self.launch(
            f'[global.config]\n as = {ASN}\n router-id = "{LOCAL}"\n port = -1\n[[neighbors]]\n'
            f' [neighbors.config]\n neighbor-address = "{FEEDER}"\n peer-as = {FEEDER_ASN}\n'
            " [neighbors.timers.config]\n connect-retry = 1\n idle-hold-time-after-reset = 1\n"
            " [[neighbors.afi-safis]]\n [neighbors.afi-safis.config]\n"
            ' afi-safi-name = "ipv4-unicast"\n'
        )

    def launch(self, text: str) -> None:
        """Start it with a configuration."""
        file = self.folder / "gobgpd.toml"
        file.write_text(text)
        command = ["gobgpd", "-f", str(file), "--api-hosts", "127.0.0.1:50051", "--pprof-disable"]
        self.bed.start(self.where, [*command, "--log-level", "error"], log="gobgpd.log")

    def known(self, count: int) -> bool:
        with self.where.entered():
            done = subprocess.run(
                ["gobgp", "-j", "global", "rib", "summary"], capture_output=True, check=False
            )
        try:
            return int(json.loads(done.stdout)["num_destination"]) >= count
        except (ValueError, KeyError):
            return False


class Naive(Base):
    """The textbook way, as the low mark: ExaBGP's JSON lines, one pyroute2 call for each route."""

    protocol = 203

    def start(self) -> None:
        if not self.kernel:
            raise BenchError("the naive way has no table of its own")
        file = self.folder / "exabgp.conf"
        script = f"{sys.executable} {HERE / 'naive.py'}"
        file.write_text(
            f"process naive {{ run {script}; encoder json; }}\n"
            f"neighbor {FEEDER} {{ router-id {LOCAL}; local-address {LOCAL}; local-as {ASN};"
            f" peer-as {FEEDER_ASN}; family {{ ipv4 unicast; }}\n"
            " api { processes [ naive ]; receive { parsed; update; } } }\n"
        )
        env = {f"exabgp_{k}": v for k, v in _EXABGP.items()}
        command = [str(Path(sys.executable).parent / "exabgp"), "server", str(file)]
        self.bed.start(self.where, command, log="exabgp.log", env=env)


_EXABGP = {"daemon_user": "root", "api_cli": "false", "log_level": "ERROR", "daemon_drop": "false"}

SUBJECTS: dict[str, type[Base]] = {
    "kroute": Kroute,
    "bird": Bird,
    "frr": Frr,
    "gobgp": Gobgp,
    "naive": Naive,
}


def versions() -> dict[str, str]:
    """Name and version of each program, as it prints it."""
    commands = {
        "bird": ["bird", "--version"],
        "frr": [str(FRR / "bgpd"), "--version"],
        "gobgp": ["gobgpd", "--version"],
        "openbgpd": ["/usr/sbin/bgpd", "-V"],
    }
    found = {}
    for name, command in commands.items():
        if os.access(shutil.which(command[0]) or command[0], os.X_OK):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[name] = ((done.stdout + done.stderr).strip().splitlines() or ["?"])[0]
    return found
