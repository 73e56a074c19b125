"""Garbage of KNI with real namespaces and veths: what nobody needs goes, what somebody may need stays."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest

from kroute.drivers.kni import gc, marks
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.forgotten import Forgotten
from kroute.model.kni import Generation, How
from support.kni import KniNode, request
from support.kni_garbage import ApiPods, Clock, labels
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root
V = Generation.V008


@pytest.fixture
def node():
    with KniNode("gc") as made:
        yield made


def fast_core(node: KniNode):
    """A core whose pods come by the fast path: the plugins have made the bridge."""
    core, first = node.core(fast=FastPath()), node.pod("first")
    with node.node.entered():
        core.attach(request(first), V)
        core.detach(first.name)
    return core


def aliases(node: KniNode) -> dict[str, str]:
    """The aliases of the node's veths by name."""
    links = json.loads(node.node.run(["ip", "-j", "link"]))
    return {
        link["ifname"]: link.get("ifalias", "")
        for link in links
        if link["ifname"].startswith("veth")
    }


def outlived(node: KniNode, pod: Namespace) -> int:
    """A sandbox whose path goes while a process keeps its namespace; what keeps it."""
    held = os.open(pod.path, os.O_RDONLY)
    node.gone(pod)
    return held


@pytest.mark.parametrize("how", [How.EXEC, How.FAST])
def test_every_veth_bears_our_mark_and_its_container(node, how):
    core, pod = fast_core(node) if how is How.FAST else node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod), V)
    assert core.store.attachments[pod.name].wirings[0].how is how
    assert list(aliases(node).values()) == [f"kroute/{pod.name}"]


def test_the_veth_of_a_namespace_that_outlives_its_path_is_found_and_removed(node):
    core, pod, keep = node.core(), node.pod("a"), node.pod("b")
    clock = Clock()
    strays = gc.Strays(clock)
    with node.node.entered():
        core.attach(request(pod), V)
        core.attach(request(keep), V)
    kept = [name for name, alias in aliases(node).items() if keep.name in alias]
    held = outlived(node, pod)
    try:
        with node.node.entered():
            core.detach(pod.name)
            assert len(node.veths()) == 2, "the plugin has no way to its other end"
            assert gc.collect(core, dry_run=False, strays=strays) == []
            clock.now += gc.LEASE_AGE - 1
            assert gc.collect(core, dry_run=False, strays=strays) == []
            clock.now += 1
            (seen,) = gc.collect(core, dry_run=True, strays=strays)
            assert (seen.cause.value, seen.outcome) == ("veth", "would be released")
            assert f"{pod.name} is known neither here nor to libcni" in seen.reason
            assert len(node.veths()) == 2
            (done,) = gc.collect(core, dry_run=False, strays=strays)
            assert done.released
            assert node.veths() == kept
            assert gc.collect(core, dry_run=False, strays=strays) == []
    finally:
        os.close(held)


def test_veths_of_others_are_left_alone(node):
    """Nobody's, another runtime's on our bridge, and one that bears our mark for a container that libcni knows."""
    core, pod = node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod), V)
    for name, alias in (
        ("vetheeee0001", ""),
        ("vetheeee0002", "cali/theirs"),
        ("vetheeee0003", "kroute/theirs"),
    ):
        node.node.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"p{name[4:]}"])
        node.node.run(["ip", "link", "set", name, "master", "kroute0", "up"])
        if alias:
            node.node.run(["ip", "link", "set", name, "alias", alias])
    entry = {"kind": "cniCacheV1", "containerId": "theirs"}
    (node.folder / "cache" / "results" / "kroute-theirs-eth0").write_text(json.dumps(entry))
    with node.node.entered():
        assert gc.collect(core, dry_run=False, lease_age=0.0) == []
        (node.folder / "cache" / "results" / "kroute-theirs-eth0").unlink()
        (found,) = gc.collect(core, dry_run=False, lease_age=0.0)
    assert found.object == "veth/vetheeee0003"
    assert {"vetheeee0001", "vetheeee0002"} < set(node.veths())
    assert aliases(node)["vetheeee0001"] == "", "only what a record names is marked"


def test_a_veth_of_a_former_version_is_marked_by_the_next_collection_unless_somebody_else_has(node):
    core, pod, other = node.core(), node.pod("a"), node.pod("b")
    with node.node.entered():
        core.attach(request(pod), V)
        core.attach(request(other), V)
    mine, theirs = sorted(aliases(node), key=lambda name: other.name in aliases(node)[name])
    node.node.run(["ip", "link", "set", mine, "alias", ""])
    node.node.run(["ip", "link", "set", theirs, "alias", "a person's note"])
    with node.node.entered():
        assert gc.collect(core, dry_run=True) == []
        assert aliases(node)[mine] == ""
        assert gc.collect(core, dry_run=False) == []
    assert aliases(node) == {mine: f"kroute/{pod.name}", theirs: "a person's note"}


def test_a_pod_attached_anew_loses_the_veth_of_its_former_namespace(node):
    core, pod = node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod, id="same"), V)
    (before,) = node.veths()
    held = outlived(node, pod)
    anew = node.pod("c")
    try:
        with node.node.entered():
            core.attach(request(anew, id="same"), V)
            (found,) = gc.collect(core, dry_run=False, lease_age=0.0)
        assert (found.object, found.released) == (f"veth/{before}", True)
        assert "attached anew" in found.reason
        assert len(node.veths()) == 1
    finally:
        os.close(held)


def test_a_detach_between_two_looks_is_no_stray_veth(node, monkeypatch):
    """The collector sees the links, then a client detaches, then the collector reads the records."""
    core, pod = node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod), V)
        seen = marks.veths

        def looked_at():
            found = seen()
            core.detach(pod.name)
            return found

        monkeypatch.setattr(marks, "veths", looked_at)
        assert gc.collect(core, dry_run=False, lease_age=0.0) == []


def test_a_namespace_that_is_about_to_go_is_left_to_the_kernel(node):
    core, pod = node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod), V)
    node.gone(pod)
    with node.node.entered():
        (found,) = gc.collect(core, dry_run=False)
    assert (found.object, found.cause.value) == (f"attachment/{pod.name}", "netns")
    wait_for(lambda: node.veths() == [], what="the kernel to remove the veth")


def test_an_address_is_not_free_before_the_interface_that_uses_it_is_gone(node):
    """Store and cache are lost while a pod lives: its veth goes first, then its leases."""
    core, pod = node.core(), node.pod("a")
    with node.node.entered():
        core.attach(request(pod), V)
        core.store.remove(pod.name)
        for record in (node.folder / "cache" / "results").iterdir():
            record.unlink()
        strays = gc.Strays(clock := Clock())
        look = partial(gc.collect, core, dry_run=False, lease_age=0.01, strays=strays)
        for path in (node.leases / "kroute").iterdir():
            os.utime(path, (1.0, 1.0))
        assert look() == []
        assert len(node.leased()) == 2
        clock.now += 1
        assert [f.cause.value for f in look()] == ["veth", "lease", "lease"]
    assert node.veths() == []
    assert node.leased() == {}


# --- pods that Kubernetes has forgotten -----------------------------------------------------------------


class Watched:
    """A node with a pod that Kubernetes knows, one that it has forgotten, and one that nobody has told of itself."""

    def __init__(self, node: KniNode) -> None:
        self.node, self.core, self.api, self.clock = node, node.core(), ApiPods(), Clock()
        self.forgotten = Forgotten(self.api, 600.0, clock=self.clock)
        self.pods = {name: node.pod(name) for name in ("here", "lost", "mute")}
        self.attach("here", "lost")
        with node.node.entered():
            self.core.attach(request(self.pods["mute"], id="c-mute"), V)
        self.api.run("here")

    def attach(self, *names: str) -> None:
        """As a kubelet of any generation does it."""
        for name in names:
            wanted = request(self.pods[name], id=f"c-{name}", labels=labels(name))
            with self.node.node.entered():
                self.core.attach(wanted, V)

    def collect(self, after: float = 0.0, *, dry_run: bool = False) -> list[gc.Finding]:
        """What is found so many seconds later."""
        self.clock.now += after
        with self.node.node.entered():
            return gc.collect(self.core, dry_run=dry_run, forgotten=self.forgotten)

    def attached(self) -> set[str]:
        return set(self.core.store.attachments)


@pytest.fixture
def watched(node):
    return Watched(node)


def test_a_pod_that_kubernetes_has_forgotten_is_found_reported_and_released(watched):
    (waits,) = watched.collect()
    assert (waits.object, waits.cause.value) == ("attachment/c-lost", "pod")
    assert "does not know its pod default/lost" in waits.reason
    assert "released in 600 s" in waits.outcome
    (seen,) = watched.collect(600.0, dry_run=True)
    assert seen.outcome == "would be released"
    assert watched.attached() == {"c-here", "c-lost", "c-mute"}
    (done,) = watched.collect()
    assert done.released
    assert watched.attached() == {"c-here", "c-mute"}
    assert set(watched.node.leased().values()) == {"c-here", "c-mute"}
    assert len(watched.node.veths()) == 2
    assert (
        json.loads(watched.pods["lost"].run(["ip", "-j", "addr", "show", "up"]))[0]["ifname"]
        == "lo"
    )
    assert watched.collect(9999.0) == []


def test_before_a_pod_is_released_the_api_server_is_asked_once_more(watched):
    """A watch may hang unnoticed while the pod it lacks has been there for long."""
    watched.collect()
    assert watched.api.asked == 0
    watched.api.on_ask = lambda: watched.api.run("here", "lost")
    assert watched.collect(600.0) == []
    assert watched.api.asked == 1
    assert "c-lost" in watched.attached()


def test_a_pod_that_comes_to_be_known_while_its_turn_comes_is_kept(watched, monkeypatch):
    watched.collect()
    discard = watched.core.discard

    def known_by_then(container, why):
        watched.api.run("here", "lost")
        return discard(container, why)

    monkeypatch.setattr(watched.core, "discard", known_by_then)
    assert watched.collect(600.0) == []
    assert "c-lost" in watched.attached()


def test_a_pod_attached_anew_while_its_turn_comes_is_kept(watched, monkeypatch):
    watched.collect()
    discard = watched.core.discard

    def anew(container, why):
        with watched.node.node.entered():
            watched.core.detach(container)
        watched.attach("lost")
        return discard(container, why)

    monkeypatch.setattr(watched.core, "discard", anew)
    assert watched.collect(600.0) == []
    assert "c-lost" in watched.attached()


def test_an_api_server_that_is_away_or_emptied_takes_no_pod_along(watched):
    watched.collect()
    watched.api.failure = "503 away"
    (found,) = watched.collect(600.0)
    assert (found.object, found.outcome) == ("pods", "nothing is judged by them")
    watched.api.failure = ""
    watched.api.run()
    for after in (0.0, 600.0):
        kept = watched.collect(after)
        assert {f.object for f in kept} == {"attachment/c-here", "attachment/c-lost"}
        assert all("it may lack any" in f.outcome for f in kept)
    assert all(f.stuck for f in kept)
    assert watched.attached() == {"c-here", "c-lost", "c-mute"}
    watched.api.run("here")
    watched.collect(1.0)
    (done,) = watched.collect(600.0)
    assert done.released
