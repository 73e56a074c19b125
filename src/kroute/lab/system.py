"""The host: what a lab needs of it, and running its programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kroute.lab.errors import LabError

_PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
    "ping": "iputils-ping",
}


def run(argv: Sequence[str], text: str = "") -> str:
    """Runs a program with ``text`` on its standard input; returns its standard output.

    Raises:
        LabError: it could not be started or did not end with 0; carries what it said.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}"
        raise LabError(f"{' '.join(argv)}: {said}")
    return done.stdout


def ip_batch(lines: Sequence[str], namespace: str = "") -> None:
    """Performs many ``ip`` commands in one process, within a named network namespace if given.

    Raises:
        LabError: the first command that failed, in its own words.
    """
    where = ["-n", namespace] if namespace else []
    if lines:
        run(["ip", *where, "-batch", "-"], "".join(f"{line}\n" for line in lines))


def require() -> None:
    """Checks that this machine can hold a lab.

    Raises:
        LabError: one sentence per thing that it lacks.
    """
    if os.geteuid() != 0:
        raise LabError("labs need root: they make network namespaces and mounts; try sudo")
    lacks = [
        f"{program} is missing: apt-get install {package}"
        for program, package in _PROGRAMS.items()
        if not shutil.which(program)
    ]
    for kind in ("net", "mnt", "pid", "uts", "ipc"):
        if not Path(f"/proc/self/ns/{kind}").exists():
            lacks.append(f"this kernel has no {kind} namespaces")
    if lacks:
        raise LabError(*lacks)
    _require_overlay()
    _require_links()


def _require_overlay() -> None:
    """The nodes' roots are overlays."""

    def known() -> bool:
        return "\toverlay\n" in Path("/proc/filesystems").read_text()

    if not known() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
    if not known():
        raise LabError("this kernel has no overlay file system (CONFIG_OVERLAY_FS)")


def _require_links() -> None:
    """Tries a veth pair and a bridge in a namespace without a name, which leaves nothing behind."""
    script = "ip link add kl0 type veth peer name kl1 && ip link add kl2 type bridge"
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        raise LabError(
            f"this machine allows no network namespaces with veth and bridge: {tried.stderr.strip()}"
        )


def neighbour_warning(nodes: int) -> str:
    """A warning where a full mesh of that many nodes overflows the kernel's one neighbour table, else nothing.

    ``gc_thresh3`` is shared by all namespaces: 50 nodes took 125 s instead of 3 s with the default of 1024.
    """
    limit = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
    if not limit.exists() or nodes * (nodes - 1) < int(limit.read_text()):
        return ""
    return (
        f"{nodes} nodes may need {nodes * (nodes - 1)} neighbour entries, and the kernel holds"
        f" {int(limit.read_text())}: raise net.ipv4.neigh.default.gc_thresh3"
    )


@contextmanager
def unhurried() -> Iterator[None]:
    """Lets a cleaning-up finish: a second Ctrl-C or SIGTERM waits until the block is over.

    Signals are the main thread's; elsewhere nothing needs to be held off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def mount_points() -> list[Path]:
    """Folders of the host on file systems of their own, outermost first, without the kernel's own and /run.

    An overlay over / does not show what is mounted below it, so each gets an overlay of its own.
    """
    skipped = ("/proc", "/sys", "/dev", "/run")
    found: dict[Path, None] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point != "/" and not any(point == top or point.startswith(f"{top}/") for top in skipped):
            found[Path(point)] = None
    return sorted((point for point in found if point.is_dir()), key=lambda point: len(point.parts))
