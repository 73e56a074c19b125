"""A node for KNI tests: a namespace, our conflist, folders of its own, and pods as a runtime makes them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kroute.codec.conflist import render
from kroute.drivers.kni import marks
from kroute.drivers.kni.core import Core, Settings
from kroute.drivers.kni.libcni import LibcniCache
from kroute.drivers.kni.networks import Networks
from kroute.drivers.kni.plugins import Plugins
from kroute.drivers.kni.store import Store
from kroute.model.cni import Conflist
from kroute.model.kni import AttachRequest, Isolation, NodeFacts
from support.netns import Lab, Namespace, run

PLUGINS = os.environ.get("KROUTE_CNI_PLUGINS", "/usr/lib/cni")
"""Debian's, or those that scripts/interop-cni has built."""


def make_core(
    folder: Path, store: Store | None = None, *, deadline: float = 30.0, **more: Any
) -> Core:
    """A core on the folders of a :class:`KniNode`, for a thread or process that lives in its namespace."""
    return Core(
        store or Store(folder / "state" / "kni.sqlite"),
        Plugins((str(folder / "bin"), PLUGINS), marks.mark_result),
        LibcniCache(str(folder / "cache")),
        Networks(str(folder / "net.d"), "10-kroute.conflist"),
        lambda: NodeFacts(node="n1"),
        settings=Settings(deadline=deadline, netns_folder=folder / "netns"),
        **more,
    )


class KniNode:
    """Leaving the block removes namespaces and folders; calls are made inside ``node.entered()``."""

    def __init__(self, part: str = "kni", **conflist: Any) -> None:
        self.lab = Lab(part)
        self.folder = Path(tempfile.mkdtemp(prefix="kt-"))
        self.node: Namespace = self.lab.namespace("node")
        self.conf = self.folder / "net.d"
        self.bin = self.folder / "bin"
        self.conf.mkdir()
        self.bin.mkdir()
        self.leases = self.folder / "leases"
        self.network = "kroute"
        self.write(**conflist)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in (self.folder / "netns").glob("*"):
            from kroute.drivers.kni import netns

            netns.remove(str(path))
        self.lab.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, **conflist: Any) -> None:
        """Our conflist, dual-stack unless told otherwise."""
        ranges = conflist.pop("ranges", ("10.244.1.0/24", "fd00:10:244:1::/64"))
        wanted: dict[str, Any] = {
            "name": self.network,
            "cni_version": "1.0.0",
            "bridge": "kroute0",
            "ranges": tuple(ip_network(r) for r in ranges),
            "mtu": 1400,
            "data_dir": str(self.leases),
        }
        data = render(Conflist(**(wanted | conflist)))
        (self.conf / "10-kroute.conflist").write_bytes(data)

    def plain(self, name: str, *plugins: dict[str, Any], version: str = "1.0.0") -> None:
        """Another conflist in the folder, or in place of ours if it has our name."""
        file = "10-kroute.conflist" if name == self.network else f"50-{name}.conflist"
        content = {"cniVersion": version, "name": name, "plugins": list(plugins)}
        (self.conf / file).write_text(json.dumps(content))

    def script(self, name: str, text: str) -> None:
        """A plugin of our own."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def store(self) -> Store:
        return Store(self.folder / "state" / "kni.sqlite")

    def core(self, store: Store | None = None, *, deadline: float = 30.0, **more: Any) -> Core:
        """A core on this node's folders, recovered."""
        made = make_core(self.folder, store or self.store(), deadline=deadline, **more)
        with self.node.entered():
            made.recover()
        return made

    def pod(self, name: str) -> Namespace:
        """A sandbox's namespace, as a runtime leaves it."""
        return self.lab.namespace(name)

    def gone(self, pod: Namespace) -> None:
        """A sandbox that disappears without a word."""
        self.lab._namespaces.remove(pod)
        run(["ip", "netns", "delete", pod.name])

    def leased(self) -> dict[str, str]:
        """Leases by address: the container id."""
        folder = self.leases / self.network
        return {
            p.name: p.read_text().splitlines()[0]
            for p in sorted(folder.glob("*"))
            if p.name != "lock" and not p.name.startswith(("last_reserved", ".kroute-spare-"))
        }

    def veths(self) -> list[str]:
        """The node's ends of the pods' interfaces."""
        links = json.loads(self.node.run(["ip", "-j", "link"]))
        return [link["ifname"] for link in links if link["ifname"].startswith("veth")]


def request(pod: Namespace, **more: Any) -> AttachRequest:
    """An attach of a pod, its id the namespace's name unless given."""
    return AttachRequest(
        **{"id": pod.name, "isolation": Isolation(path=pod.path, type="namespace")} | more
    )
