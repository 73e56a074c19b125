"""kube-router's annotations of a node in a running daemon: peers with passwords, rotated, broken and mended live."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import Kroute, Site, node_object
from support.fakekube import FakeKube
from support.inventory import kubeconfig
from support.netns import wait_for

pytestmark = pytest.mark.root

FIRST, SECOND = "s3cret-Of-Ours", "another-One"
SHOWN = ("config", "problems", "status", "routes", "nodes", "peers", "services")


def packed(word: str) -> str:
    return base64.b64encode(word.encode()).decode()


def listed(password: str) -> dict[str, str]:
    return {
        "peers": f"- remoteip: 192.0.2.2\n  remoteasn: 65002\n  localip: 192.0.2.1\n  password: {password}"
    }


def older(password: str) -> dict[str, str]:
    return {
        "peer.ips": "192.0.2.77, 2001:db8::2",
        "peer.asns": "65077,65002",
        "peer.passwords": f",{password}",
    }


@pytest.fixture
def site() -> Iterator[Site]:
    with Site("kra") as site:
        yield site


def annotate(kube: FakeKube, said: dict[str, str]) -> None:
    node = node_object(
        "n1", ["10.244.1.0/24", "fd00:10:244:1::/64"], ["192.0.2.1", "2001:db8::1"], {}
    )
    annotations = {f"kube-router.io/{key}": value for key, value in said.items()}
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(annotations)}
    node["metadata"]["annotations"] = annotations | applied
    kube.put(node)


def all_that_is_shown(node: Kroute, kube: FakeKube, peer: str) -> str:
    """Every output there is: log, commands, both servers' answers, metrics, a rehearsal, Events."""
    socket = ("--socket", str(node.socket))
    done = [node.run("show", what, "-o", "json", *socket) for what in SHOWN]
    done += [node.run("show", "peer", peer.removeprefix("peer/"), *socket)]
    done += [node.run("show", "config", "--effective", *socket)]
    done += [node.run("plan", "--config", str(node.file), "--full", *socket)]
    assert all(d.returncode in (0, 1, 4) and (d.stdout + d.stderr) for d in done), done
    with node.where.entered():
        paths = ("/metrics", "/v1/config", "/v1/peers", "/v1/problems")
        pages = [
            urllib.request.urlopen(f"http://127.0.0.1:20244{path}", timeout=10).read().decode()
            for path in paths
        ]
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (node.pid, node.speaker_pid)]
    events = json.dumps(list(kube.store.objects["events"].values()))
    answered = json.dumps(node.ask("observation"))
    return "".join(
        [node.words(), answered, events, *pages, *lines, *(d.stdout + d.stderr for d in done)]
    )


@pytest.mark.parametrize(
    ("said", "near", "far"),
    [(listed, "192.0.2.1", "192.0.2.2"), (older, "2001:db8::1", "2001:db8::2")],
)
def test_a_password_of_annotations_guards_its_session_and_is_followed_live(
    site: Site, said: Callable[[str], dict[str, str]], near: str, far: str
) -> None:
    """The router is another kroute, with a file; the API server is the double."""
    api = site.host("api", 100)
    kube = FakeKube("192.0.2.100", 6443)
    with api.entered():
        kube.start()
    key = site.folder / "key"
    key.write_text(FIRST)
    router = {
        "name": "k1",
        "address": near,
        "asn": 65001,
        "localAsn": 65002,
        "passwordFile": str(key),
    }
    other = site.node(
        2,
        {"peering": {"topology": "none", "peers": [router | {"passive": True, "keepalive": 1}]}},
    )
    reach = {"kubeconfig": kubeconfig(site.folder / "kubeconfig", kube.url)}
    node = site.node(
        1,
        {
            "inventory": {"kind": "kubernetes", "kubernetes": reach},
            "bgp": {"asn": 65001},
            "peering": {"topology": "none", "kubeRouterAnnotations": True},
        },
    )
    peer = f"peer/kube-router-{far}".replace(":", "-")
    annotate(kube, said("no base64!"))
    try:
        other.start()
        node.start()
        field = f"{peer} passwordAnnotation"
        wait_for(lambda: "not the base64" in node.problems().get(field, ""), 10, "why it is down")
        assert "never opened without" in node.peer(peer)["reason"]
        annotate(kube, said(packed(FIRST)))
        node.established(peer)
        assert field not in node.problems()
        key.write_text(SECOND)
        annotate(kube, said(packed(SECOND)))

        def keepalives() -> int:
            received = node.ask("peer", name=peer)["counters"]["connection"]["received"]
            return int(received["keepalive"])

        seen = keepalives()
        wait_for(lambda: keepalives() > seen + 4, 25, "KEEPALIVEs under the new key")
        assert node.peer(peer)["flaps"] == 0
        annotate(kube, said("/w=="))
        wait_for(lambda: "stays in force" in node.problems().get(field, ""), 10, "the broken one")
        assert node.peer(peer)["state"] == "established"
        shown = all_that_is_shown(node, kube, peer)
        for word in (FIRST, SECOND):
            assert word not in shown
            assert packed(word) not in shown
        annotate(kube, {})
        wait_for(lambda: peer not in {p["name"] for p in node.ask("peers")}, 10, "no peer")
    finally:
        kube.stop()
