"""A whole kroute with KNI in a namespace, and a driver that calls it as the kubelet fork does."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from kroute.drivers.kni.client import KniClient, Refused
from kroute.model.kni import Generation, PodReply
from support.daemon import Kroute, Site
from support.netns import Namespace, wait_for


def kni_node(site: Site, number: int = 1, **more: Any) -> Kroute:
    """A node that serves KNI in its own folder."""
    made = site.node(number)
    made.configure(
        {
            "kni": {
                "enabled": True,
                "sockets": [str(made.folder / "kni.sock")],
                "cacheDirectory": str(made.folder / "cache"),
                **more,
            }
        }
    )
    return made


def client(kroute: Kroute, generation: Generation | None = Generation.V008) -> KniClient:
    return KniClient(str(kroute.folder / "kni.sock"), generation, timeout=30.0)


def ready(kroute: Kroute) -> None:
    """Wait until the kubelet would call the node ready."""

    def is_ready() -> bool:
        with suppress(Refused), client(kroute) as wire:
            return wire.nodes().networks[0].ready
        return False

    wait_for(is_ready, 20.0, "the node's network to be ready")


def further_plugin(kroute: Kroute, name: str, script: str) -> None:
    """A shell script as a last plugin of the node's conflist; before the node starts."""
    plugin = kroute.folder / "bin" / name
    plugin.parent.mkdir()
    plugin.write_text(f"#!/bin/sh\n{script}")
    plugin.chmod(0o755)
    folders = ["/usr/lib/cni", str(plugin.parent)]
    kroute.configure({"cni": {"binDirectories": folders, "extraPlugins": [{"type": name}]}})


def killed_while_attaching(kroute: Kroute, pod: Namespace, begun: Path) -> None:
    """Attach, and SIGKILL the daemon as soon as that file is there, which a plugin makes."""

    def attach() -> None:
        with suppress(Refused), client(kroute) as wire:
            wire.attach(pod.name, pod.path)

    caller = threading.Thread(target=attach)
    caller.start()
    wait_for(begun.exists, what="the plugin to run")
    kroute.end(signal.SIGKILL)
    caller.join()


def leases(kroute: Kroute) -> dict[str, str]:
    """Leases by address: the container id."""
    folder = kroute.folder / "leases" / "kroute"
    names = [p for p in folder.glob("*") if p.name[0] in "1f"]
    return {p.name: p.read_text().splitlines()[0] for p in names}


def metrics(kroute: Kroute) -> str:
    """What Prometheus reads."""
    with kroute.where.entered(), urlopen("http://127.0.0.1:20244/metrics", timeout=10) as page:
        return str(page.read().decode())


def veths(kroute: Kroute) -> list[str]:
    """The node's ends of its pods' interfaces."""
    links = json.loads(kroute.where.run(["ip", "-j", "link"]))
    return [link["ifname"] for link in links if link["ifname"].startswith("veth")]


class Kubelet:
    """The call sequence of the fork: status, attach, query, dead sandboxes, detach by id alone."""

    def __init__(self, kroute: Kroute) -> None:
        self.kroute = kroute
        self.pods: dict[str, Namespace] = {}

    def status(self) -> bool:
        with client(self.kroute) as wire:
            networks = wire.nodes().networks
        return bool(networks) and networks[0].ready

    def start(self, pod: Namespace, generation: Generation = Generation.V005) -> str:
        """Attach, throw the answer away, query: the pod's address is the query's first on eth0."""
        with client(self.kroute, generation) as wire:
            wire.attach(pod.name, pod.path, labels={"io.kubernetes.pod.name": pod.name})
            ip = wire.query(pod.name).ipconfigs["eth0"].ip[0]
        self.pods[pod.name] = pod
        return ip

    def sync(self, *dead: str) -> dict[str, PodReply]:
        """GetPodStatus: every sandbox, dead ones included."""
        with client(self.kroute) as wire:
            return {name: wire.query(name) for name in (*self.pods, *dead)}

    def kill(self, name: str) -> None:
        """KillPod: detach by id alone."""
        with client(self.kroute, Generation.V005) as wire:
            wire.detach(name)
        del self.pods[name]
