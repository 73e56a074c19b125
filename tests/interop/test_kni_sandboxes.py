"""Garbage by the word of a real container runtime: containerd's sandboxes, attached under their ids as a kubelet does.

Each sandbox's interface is in a namespace of its own that outlives it, as those of CreateNetwork do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from kroute.drivers.kni import gc
from kroute.drivers.kni.forgotten import Forgotten
from kroute.drivers.kni.sandboxes import Sandboxes
from kroute.model.kni import CreateRequest, Generation
from support.containerd import Containerd
from support.daemon import Kroute, Site
from support.kni import KniNode, request
from support.kni_daemon import client, kni_node, metrics, ready
from support.kni_garbage import ApiPods, Clock, labels
from support.netns import wait_for

pytestmark = pytest.mark.root
V = Generation.V008
GRACE = 600.0
PATIENCE = 3.0
"""Seconds that a hanging runtime costs a test."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Containerd]:
    with Containerd() as made:
        yield made


@pytest.fixture
def containerd(machine: Containerd) -> Iterator[Containerd]:
    """It answers, and has no sandboxes."""
    try:
        yield machine
    finally:
        machine.revive()
        for sandbox in machine.listed():
            machine.remove(sandbox)


@dataclass
class Scene:
    """A node whose kubelet makes sandboxes in containerd and attaches them."""

    node: KniNode
    containerd: Containerd
    clock: Clock = field(default_factory=Clock)
    api: ApiPods = field(default_factory=ApiPods)
    made: int = 0

    def __post_init__(self) -> None:
        self.core = self.node.core()
        self.socket = self.node.folder / "cri.sock"
        self.of(self.containerd)
        self.restart()

    def of(self, containerd: Containerd) -> None:
        """Have that one's socket where the runtime's is looked for."""
        self.socket.unlink(missing_ok=True)
        self.socket.symlink_to(containerd.socket)

    def restart(self) -> None:
        """A new life of kroute: what it remembers is in its file."""
        file = self.node.folder / "kni.sandboxes.json"
        sandboxes = Sandboxes(str(self.socket), file, PATIENCE)
        self.forgotten = Forgotten(self.api, GRACE, sandboxes=sandboxes, clock=self.clock)

    def pod(self, name: str) -> str:
        """A sandbox of the pod, attached; its id."""
        self.made += 1
        sandbox = self.containerd.run(name, attempt=self.made)
        self.attach(sandbox, name)
        return sandbox

    def attach(self, container: str, name: str) -> None:
        netns = self.node.pod(f"{name}{self.made}")
        with self.node.node.entered():
            self.core.attach(request(netns, id=container, labels=labels(name)), V)

    def collect(self, after: float = 0.0) -> dict[str, gc.Finding]:
        """What is found so many seconds later, by what it is about."""
        self.clock.now += after
        with self.node.node.entered():
            found = gc.collect(self.core, dry_run=False, forgotten=self.forgotten)
        return {finding.object.removeprefix("attachment/"): finding for finding in found}

    def attached(self) -> set[str]:
        return set(self.core.store.attachments)


@pytest.fixture
def scene(containerd: Containerd) -> Iterator[Scene]:
    with KniNode("sbx") as node:
        yield Scene(node, containerd)


def test_a_pod_that_kubernetes_has_forgotten_is_kept_until_its_sandbox_is_gone_too_then_goes_though_the_last(
    scene: Scene,
):
    last = scene.pod("last")
    scene.api.run("last")
    assert scene.collect() == {}
    scene.api.run()
    scene.collect()
    found = scene.collect(GRACE)[last]
    assert (found.cause.value, found.stuck) == ("pod", True)
    assert "the CRI lists its sandbox" in found.outcome
    scene.containerd.remove(last)
    assert "released in 600 s" in scene.collect()[last].outcome
    found = scene.collect(GRACE)[last]
    assert found.released
    assert "nor does the CRI list its sandbox any more" in found.reason
    assert (scene.attached(), scene.node.leased(), scene.node.veths()) == (set(), {}, [])


def test_a_sandbox_whose_process_has_died_is_there_until_the_kubelet_removes_it(scene: Scene):
    pod, other = scene.pod("web"), scene.pod("other")
    scene.api.run("other")
    scene.containerd.kill(pod)
    wait_for(lambda: not scene.containerd.is_ready(pod), 20.0, "containerd to see that it died")
    scene.collect()
    assert "the CRI lists its sandbox" in scene.collect(GRACE)[pod].outcome
    assert scene.attached() == {pod, other}


def test_a_pod_s_former_sandbox_is_released_once_its_new_one_is_there_and_no_sooner(scene: Scene):
    former, other = scene.pod("web"), scene.pod("other")
    scene.api.run("web", "other")
    assert scene.collect() == {}
    scene.containerd.remove(former)
    scene.collect()
    found = scene.collect(GRACE)[former]
    assert (found.cause.value, found.stuck) == ("sandbox", True)
    assert "no other sandbox of it is ready" in found.outcome
    heir = scene.pod("web")
    assert scene.collect()[former].released
    assert scene.attached() == {heir, other}
    assert set(scene.node.leased().values()) == {heir, other}
    assert len(scene.node.veths()) == 2


def test_a_sandbox_that_went_while_kroute_was_away_was_listed_all_the_same(scene: Scene):
    gone, other = scene.pod("gone"), scene.pod("other")
    scene.api.run("other")
    scene.collect()
    scene.containerd.remove(gone)
    scene.containerd.stop()
    scene.containerd.start()
    scene.restart()
    scene.collect()
    found = scene.collect(GRACE)[gone]
    assert found.released
    assert "nor does the CRI" in found.reason
    assert scene.attached() == {other}


def test_a_containerd_that_has_lost_its_state_takes_nothing_along(scene: Scene):
    pods = {scene.pod("here"), scene.pod("there")}
    scene.api.run("here", "there")
    assert scene.collect() == {}
    with Containerd() as emptied:
        scene.of(emptied)
        scene.collect()
        found = scene.collect(GRACE)
        assert found.keys() == pods
        assert all("Kubernetes knows its pod" in f.outcome and f.stuck for f in found.values())
        scene.api.failure = "503 away"
        scene.collect()
        found = scene.collect(GRACE)
        assert all("Kubernetes may know its pod" in found[pod].outcome for pod in pods)
    scene.of(scene.containerd)
    scene.api.failure = ""
    assert scene.collect(GRACE) == {}
    assert scene.attached() == pods


def test_what_was_attached_by_hand_was_never_the_runtime_s(scene: Scene):
    pod = scene.pod("web")
    scene.api.run("web")
    scene.made += 1
    scene.attach("sandbox-1", "web")
    for after in (0.0, GRACE, GRACE):
        assert scene.collect(after) == {}
    assert scene.attached() == {pod, "sandbox-1"}


def test_a_runtime_that_hangs_or_is_away_is_told_and_the_rest_is_collected(scene: Scene):
    lost, other = scene.pod("lost"), scene.pod("other")
    scene.api.run("other")
    scene.collect()
    scene.containerd.freeze()
    found = scene.collect(GRACE)
    assert "did not answer within 3 s" in found["sandboxes"].reason
    assert found["sandboxes"].stuck
    assert "the CRI may list its sandbox" in found[lost].outcome
    scene.containerd.thaw()
    scene.containerd.stop()
    dead = scene.node.pod("dead")
    with scene.node.node.entered():
        scene.core.attach(request(dead), V)
    scene.node.gone(dead)
    found = scene.collect(GRACE)
    assert "no CRI answers" in found["sandboxes"].reason
    assert found[dead.name].released
    assert scene.attached() == {lost, other}


def test_the_namespace_of_a_forgotten_pod_is_kept_while_it_has_a_sandbox_then_goes_though_the_last(
    scene: Scene,
):
    """The kubelet died between RunPodSandbox and AttachNetwork."""
    with scene.node.node.entered():
        made = scene.core.domains.create(CreateRequest(name="lost", namespace="default"))
    netns = f"netns/{made.netns_path}"
    sandbox = scene.containerd.run("lost")
    scene.collect()
    found = scene.collect(GRACE)[netns]
    assert (found.cause.value, found.stuck) == ("unused", True)
    assert "the CRI lists its sandbox" in found.outcome
    scene.containerd.remove(sandbox)
    scene.restart()
    assert "released in 600 s" in scene.collect()[netns].outcome
    scene.containerd.stop()
    assert "the CRI may list its sandbox" in scene.collect(GRACE)[netns].outcome
    scene.containerd.start()
    scene.collect()
    assert scene.collect(GRACE)[netns].released
    assert scene.core.store.domains == {}


# --- a whole daemon -------------------------------------------------------------------------------------


def test_a_daemon_asks_the_runtime_counts_what_it_releases_and_tells_when_nobody_answers(
    containerd: Containerd,
):
    with Site("sbx") as site:
        config = {"criSocket": str(containerd.socket), "forgottenPodGrace": 1, "gcInterval": 86400}
        node = kni_node(site, **config)
        node.start()
        ready(node)
        here, gone = (_attached(node, site, containerd, name) for name in ("here", "gone"))
        assert _gc(node) == ""
        containerd.remove(gone)
        said = f"attachment/{gone}: the CRI lists its sandbox no more: released\n"
        wait_for(lambda: _gc(node) == said, 20.0, "the end of the grace")
        assert {row["id"] for row in node.ask("pods")} == {here}
        assert 'kroute_kni_garbage_released_total{cause="sandbox"} 1.0' in metrics(node)
        containerd.stop()
        assert "is kni.criSocket right" in _gc(node)
        wait_for(lambda: "sandboxes" in node.problems(), 20.0, "the outage to be told")
        containerd.start()
        assert _gc(node) == ""
        wait_for(lambda: "sandboxes" not in node.problems(), 20.0, "the problem to go")
        assert 'kroute_kni_garbage_left{cause="sandbox"} 0.0' in metrics(node)


def _attached(node: Kroute, site: Site, containerd: Containerd, name: str) -> str:
    sandbox, netns = containerd.run(name), site.lab.namespace(name)
    with client(node) as wire:
        wire.attach(sandbox, netns.path, labels=labels(name))
    return sandbox


def _gc(node: Kroute) -> str:
    """What `kroute kni gc` prints."""
    done = node.run("kni", "gc", "--socket", str(node.folder / "kni.sock"))
    assert done.returncode == 0, done.stderr
    return done.stdout
