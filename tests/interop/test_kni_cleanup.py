"""`kroute cleanup` on a node that served KNI: nothing of its pods is left, whatever others have stays."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kroute.model.kni import CreateRequest, PortMapping
from support.daemon import PROGRAM, Kroute, Site
from support.kni_daemon import client, kni_node, leases, ready, veths
from support.kni_kubelet import HOST
from support.netns import run

pytestmark = pytest.mark.root


def test_cleanup_detaches_pods_and_removes_what_kni_made_also_after_a_crash():
    with Site("knc") as site:
        node = kni_node(site)
        node.start(*HOST)
        ready(node)
        pods = [site.lab.namespace(name) for name in ("exec", "fast", "ports")]
        ports = (PortMapping(container_port=80, host_port=8080),)
        made = ""
        try:
            with client(node) as wire:
                for pod in pods[:2]:
                    wire.attach(pod.name, pod.path)
                wire.attach(pods[2].name, pods[2].path, port_mappings=ports)
                namespace = site.lab.prefix
                made = wire.create(CreateRequest(name="web", namespace=namespace)).netns_path
            node.where.ip("link add stray0 type veth peer name stray1")
            node.where.ip("link set stray0 alias kroute/nobody")
            node.where.ip("link add others0 type veth peer name others1")
            assert "8080" in rules(node)
            node.end(signal.SIGKILL)
            done = run([*HOST, "ip", "netns", "exec", node.where.name, *command(node)])
            for thing in (
                *(f"attachment {pod.name}" for pod in pods),
                f"network namespace {made}",
                "link stray0",
                f"file {node.folder / 'kni.sock'}",
                "bridge kroute0",
            ):
                assert f"{thing}\n" in done
            assert (veths(node), leases(node), Path(made).exists()) == ([], {}, False)
            assert "8080" not in rules(node)
            links = node.where.ip("-br link")
            assert ("others0" in links, "stray0" in links) == (True, False)
            for pod in pods:
                assert "eth0" not in pod.ip("-br link")
            assert list((node.folder / "cache" / "results").glob("*")) == []
            assert list((node.folder / "leases").glob("*/.kroute-*")) == []
            assert list(node.folder.glob("kni.sock*")) == []
        finally:
            if made and Path(made).exists():
                run(["ip", "netns", "delete", Path(made).name])


def command(node: Kroute) -> list[str]:
    return [PROGRAM, "cleanup", "--config", str(node.file)]


def rules(node: Kroute) -> str:
    """Port maps, whichever way the plugin writes them."""
    return node.where.run(["sh", "-c", "iptables-save; nft list ruleset"], check=False)
