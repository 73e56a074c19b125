"""What a container image stands for on this host: the program that is its main process.

A lab on namespaces has no images; the node's root is the host's own. So an image name is matched to a program
that Debian (or this very Python environment) has, and a missing one is named with the package that brings it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kroute.lab.errors import LabError
from kroute.lab.topology import Node

NATIVE_LABEL = "kroute.lab/native"
"""Node label that names the program instead of the image: a key of :data:`NATIVES`."""

RESTART_LABEL = "kroute.lab/restart"
"""Node label ``always`` or ``no``: whether the main process is started again when it ends, as a DaemonSet does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A host program in an image's stead. ``script`` is what a shell runs as the node's main process."""

    pattern: str
    script: str
    program: str = ""
    package: str = ""
    restart: bool = False
    prepare: str = ""
    """Shell lines run as root in the node before anything else."""


_FRR = r"""
daemons=$(sed -n 's/^\([a-z0-9]*d\)=yes.*/\1/p' /etc/frr/daemons)
for daemon in zebra staticd $(echo "$daemons" | grep -vx -e zebra -e staticd); do
    [ ! -x /usr/lib/frr/$daemon ] || /usr/lib/frr/$daemon -d -A 127.0.0.1 || exit 1
done
[ ! -f /etc/frr/frr.conf ] || vtysh -b
exec sleep infinity
"""

NATIVES: Mapping[str, Native] = {
    "kroute": Native(
        pattern=r"(^|/)kroute(-[a-z]+)?(:|@|$)",
        program="kroute",
        script="exec kroute run --config /etc/kroute/kroute.yaml",
        restart=True,
    ),
    "frr": Native(
        pattern=r"(^|/)(frr|frrouting)(:|@|/|$)",
        program="/usr/lib/frr/zebra",
        package="frr",
        prepare="mkdir -p /run/frr /var/log/frr; touch /etc/frr/vtysh.conf;"
        " chown frr:frr /run/frr /var/log/frr /etc/frr",
        script=_FRR,
    ),
    "bird": Native(
        pattern=r"bird",
        program="bird",
        package="bird2",
        prepare="mkdir -p /run/bird",
        script="exec bird -f -c /etc/bird/bird.conf -s /run/bird/bird.ctl",
    ),
    "gobgp": Native(
        pattern=r"gobgp",
        program="gobgpd",
        package="gobgpd",
        script="exec gobgpd -t yaml -f /etc/gobgp/gobgp.yml",
    ),
    "openbgpd": Native(
        pattern=r"openbgpd",
        program="/usr/sbin/bgpd",
        package="openbgpd",
        prepare="mkdir -p /run/openbgpd; chmod 600 /etc/bgpd.conf 2>/dev/null || true",
        script="exec /usr/sbin/bgpd -d -f /etc/bgpd.conf",
    ),
    "host": Native(
        pattern=r"(^|/)(alpine|debian|ubuntu|busybox|netshoot|network-multitool)(:|@|$)",
        script="exec sleep infinity",
    ),
}
"""Known programs; the first whose pattern is found in the image name is taken."""

_SHELLS = {("bash",), ("sh",), ("/bin/sh",), ("/bin/bash",)}


def native_for(node: Node) -> Native:
    """The program that stands for the node's image; an unknown image is a plain host.

    Raises:
        LabError: the label names no known program.
    """
    label = node.labels.get(NATIVE_LABEL)
    if label is not None:
        if label not in NATIVES:
            raise LabError(f"{node.name}: label {NATIVE_LABEL}: want one of {', '.join(NATIVES)}")
        return NATIVES[label]
    matches = (native for native in NATIVES.values() if re.search(native.pattern, node.image))
    return next(matches, NATIVES["host"])


def known(node: Node) -> bool:
    """Whether the node's image (or label, or command) says what it runs."""
    named = NATIVE_LABEL in node.labels or bool(node.command) or not node.image
    return named or any(re.search(native.pattern, node.image) for native in NATIVES.values())


def search_path() -> str:
    """PATH of the nodes: the folder of this Python's programs first, so that ``kroute`` is the one under test."""
    own = str(Path(sys.executable).parent)
    standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ":".join(
        dict.fromkeys([own, *os.environ.get("PATH", "").split(":"), *standard.split(":")])
    )


def require(nodes: Iterable[Node]) -> None:
    """Checks that every program the nodes stand for is installed.

    Raises:
        LabError: one sentence per missing program, with the Debian package that has it.
    """
    missing: dict[str, str] = {}
    for node in nodes:
        native = native_for(node)
        if native.program and not shutil.which(native.program, path=search_path()):
            remedy = f"apt-get install {native.package}" if native.package else "pip install kroute"
            missing[native.program] = f"{node.name} ({node.image}) needs {native.program}: {remedy}"
    if missing:
        raise LabError(*missing.values())


def restarts(node: Node) -> bool:
    """Whether the node's main process is started again when it ends."""
    label = node.labels.get(RESTART_LABEL)
    if label is None:
        return native_for(node).restart and not node.command
    return label == "always"


def main_script(node: Node) -> str:
    """What a shell runs as the node's main process; empty: the node runs nothing by itself."""
    if node.command in _SHELLS:
        return ""
    if node.command:
        return "exec " + " ".join(_quote(word) for word in node.command)
    script = native_for(node).script
    return "" if script == NATIVES["host"].script else script


def _quote(word: str) -> str:
    """A word for a shell."""
    return "'" + word.replace("'", "'\\''") + "'"


SUPERVISOR = r"""
pause=0.2
while :; do
    began=$(date +%s)
    sh -c "$1"
    echo "main process ended with status $?, again in $pause s" >&2
    sleep "$pause"
    [ $(($(date +%s) - began)) -lt 10 ] && [ "$pause" != 5 ] || pause=0.2
    case $pause in 0.2) pause=0.4 ;; 0.4) pause=1 ;; 1) pause=2 ;; *) pause=5 ;; esac
done
"""
"""Runs ``$1`` for ever, with a back-off of 0.2 to 5 s that starts afresh once it has lived 10 s."""
