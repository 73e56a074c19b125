"""A node's root: an overlay over the host's own, so that its programs are there and nothing it writes stays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from kroute.lab import images
from kroute.lab.topology import Bind, Node

_FORGOTTEN = ("/etc/cni", "/etc/kroute", "/var/lib/cni", "/var/lib/kroute")
"""Host folders that a node must not inherit: they would be an earlier life of the very daemons under test."""

_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
"""What a container engine sets, and what distributions set otherwise; the topology's own sysctls come after."""

_REAP = "while :; do sleep 86400 & wait; done"
"""PID 1 of a node: it lives, and it waits for orphans, whoever they are. No sleep is ever missed."""


def script(node: Node, folder: Path, mounts: Sequence[Path]) -> str:
    """The shell script that becomes PID 1 of the node; it prints ``ready`` once the node is furnished.

    It starts in new mount, UTS, PID and IPC namespaces, within the node's network namespace. ``folder`` is the
    node's own in /run; ``mounts`` are the host's folders on other file systems.
    """
    root = folder / "root"
    lines = [
        *_overlays(folder, root, mounts),
        *_kernel_file_systems(root),
        f"mkdir -p {quote(f'{root}/var/log/node')}",
        f"mount --bind {quote(str(folder / 'log'))} {quote(f'{root}/var/log/node')}",
        *(line for bind in node.binds for line in _bind(bind, root)),
        f"cd {quote(str(root))}",
        "pivot_root . .",
        "umount -l .",
        "cd /",
        f"hostname {quote(node.hostname)}",
        *_settings(node),
        images.native_for(node).prepare,
        "echo ready",
        "exec >/dev/null 2>&1 </dev/null",
        f"exec sh -c {quote(_REAP)}",
    ]
    return "\n".join(line for line in lines if line)


def _overlays(folder: Path, root: Path, mounts: Sequence[Path]) -> list[str]:
    """One overlay for /, one more for each other file system; what cannot be overlaid is shown read-only."""
    upper = folder / "upper"
    lines = [f"mount -t tmpfs -o mode=755 tmpfs {quote(str(upper))}"]
    for i, lower in enumerate((Path("/"), *mounts)):
        target = root / lower.relative_to("/")
        top, work = upper / f"{i}.upper", upper / f"{i}.work"
        options = f"lowerdir={_option(lower)},upperdir={_option(top)},workdir={_option(work)}"
        mount = f"mount -t overlay lab -o {quote(options)} {quote(str(target))}"
        lines.append(f"mkdir {quote(str(top))} {quote(str(work))}")
        if i == 0:
            lines.append(mount)
            lines += [f"rm -rf {quote(str(root) + path)}" for path in _FORGOTTEN]
            continue
        bind = f"mount --bind -o ro {quote(str(lower))} {quote(str(target))}"
        lines.append(f"{mount} 2>/dev/null || {bind} || true")
    return lines


def _option(path: Path) -> str:
    """A path within overlay's options, where commas and colons part."""
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def _kernel_file_systems(root: Path) -> list[str]:
    """/proc and /sys of the node's own namespaces, the host's devices, an empty /run."""
    return [
        f"mount -t proc proc {quote(f'{root}/proc')}",
        f"mount --rbind /dev {quote(f'{root}/dev')}",
        f"mount -t sysfs sysfs {quote(f'{root}/sys')}",
        f"mount -t tmpfs -o mode=755 tmpfs {quote(f'{root}/run')}",
        f"mkdir -p {quote(f'{root}/run/lock')}",
    ]


def _bind(bind: Bind, root: Path) -> list[str]:
    """One of the topology's binds; its target is made as needed."""
    target = quote(str(root) + os.path.normpath(bind.target))
    source = quote(str(bind.source))
    touch = f"mkdir -p $(dirname {target}) && : >>{target}"
    make = f"mkdir -p {target}" if bind.source.is_dir() else touch
    lines = [make, f"mount --bind {source} {target}"]
    return [*lines, f"mount -o remount,bind,ro {target}"] if bind.read_only else lines


def _settings(node: Node) -> list[str]:
    """Loopback up, and the kernel's settings for this network namespace."""
    lines = ["ip link set lo up"]
    for key, value in {**_SYSCTLS, **node.sysctls}.items():
        setting = quote(f"{key}={value}")
        lines.append(f"sysctl -qw {setting}")
    return lines
