"""Garbage of KNI with real namespaces and veths: what nobody needs goes, what somebody may need stays."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest

from kroute.drivers.kni import gc, marks
from kroute.drivers.kni.fast import FastPath
from kroute.model.kni import Generation, How
from support.kni import KniNode, request
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root
V = Generation.V008


@pytest.fixture
def node():
    with KniNode("gc") as made:
        yield made


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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
