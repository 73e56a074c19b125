"""A daemon with KNI that takes its inventory from an API server: whose pods it collects, and whose never."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kroute.model.kni import CreateRequest
from support.daemon import Kroute, Site
from support.fakekube import Failure, FakeKube
from support.inventory import kubeconfig, pod_object
from support.kni_daemon import client, metrics, ready
from support.kni_kubelet import HOST
from support.netns import Namespace, run, wait_for

pytestmark = pytest.mark.root

API, PORT = 100, 6443
OUTAGE = 20.0
"""Seconds that a daemon may take to notice that the server is away, and that it is back: it backs off up to 10 s."""


class Scene:
    """One node with KNI, and an API server that has its pods `here` and `lost`; collections are asked for."""

    def __init__(self, site: Site) -> None:
        self._host = site.host("api", API)
        self.kube = FakeKube(f"192.0.2.{API}", PORT)
        self.start_api()
        config = kubeconfig(site.folder / "kubeconfig", self.kube.url)
        self.node: Kroute = site.node(
            1, {"inventory": {"kind": "kubernetes", "kubernetes": {"kubeconfig": config}}}
        )
        folder = self.node.folder
        kni = {"enabled": True, "gcInterval": 86400, "forgottenPodGrace": 1}
        kni |= {"sockets": [str(folder / "kni.sock")], "cacheDirectory": str(folder / "cache")}
        self.node.configure({"kni": kni})
        self.kube.put(site.nodes["n1"])
        self.kube.put(pod_object("elsewhere", "n2"), "pods")
        self.pods = {name: site.lab.namespace(name) for name in ("here", "lost")}
        for name in self.pods:
            self.kube.put(pod_object(name, "n1"), "pods")
        self.node.start(*HOST)
        ready(self.node)
        for name, pod in self.pods.items():
            self.attach(name, pod)

    def start_api(self) -> None:
        """Have the server listen, in its namespace."""
        with self._host.entered():
            self.kube.start()

    def attach(self, name: str, pod: Namespace) -> None:
        """As the kubelet does, with the uid that the API server has given."""
        metadata = self.kube.store.objects["pods"]["default", name]["metadata"]
        labels = {f"io.kubernetes.pod.{key}": metadata[key] for key in ("name", "namespace", "uid")}
        with client(self.node) as wire:
            wire.attach(pod.name, pod.path, labels=labels)

    def create(self, name: str = "") -> str:
        """The namespace of a pod that gets no further."""
        made = CreateRequest(name=name, namespace="default" if name else "")
        with client(self.node) as wire:
            return wire.create(made).netns_path

    def forget(self, name: str) -> None:
        """A pod that is removed by force: nobody tells kroute."""
        self.kube.store.delete("pods", name, "default")

    def collect(self, *words: str) -> str:
        """What `kroute kni gc` prints."""
        done = self.node.run("kni", "gc", *words, "--socket", str(self.node.folder / "kni.sock"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attached(self) -> set[str]:
        """The pods that have their addresses."""
        return {row["pod"] for row in self.node.ask("pods")}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Site("knf") as site:
        made = Scene(site)
        try:
            yield made
        finally:
            made.kube.stop()


def test_what_kubernetes_has_forgotten_is_released_and_counted_and_the_rest_stays(scene: Scene):
    wait_for(lambda: scene.collect("--dry-run") == "", OUTAGE, "the pods to be listed")
    scene.forget("lost")
    lost = f"attachment/{scene.pods['lost'].name}"
    said = "Kubernetes does not know its pod default/lost on this node"
    wait_for(lambda: f"{lost}: {said}: kept" in scene.collect("--dry-run"), OUTAGE, "the finding")
    due = f"{lost}: {said}: would be released\n"
    wait_for(lambda: scene.collect("--dry-run") == due, OUTAGE, "the end of the grace")
    assert scene.attached() == {"default/here", "default/lost"}
    assert scene.collect() == f"{lost}: {said}: released\n"
    assert scene.attached() == {"default/here"}
    assert 'kroute_kni_garbage_released_total{cause="pod"} 1.0' in metrics(scene.node)
    assert 'kroute_kni_garbage_left{cause="pod"} 0.0' in metrics(scene.node)


def test_an_api_server_that_is_away_or_comes_back_without_pods_takes_none_along(scene: Scene):
    wait_for(lambda: scene.collect("--dry-run") == "", OUTAGE, "the pods to be listed")
    scene.kube.stop()
    scene.forget("lost")
    scene.forget("here")
    wait_for(lambda: "pods" in scene.node.problems(), OUTAGE, "the outage to be noticed")
    assert "nothing is judged" in scene.collect()
    scene.kube.store.compact()
    scene.start_api()
    stuck = {f"attachment/{pod.name}" for pod in scene.pods.values()}

    def doubted() -> bool:
        scene.collect()
        return stuck <= scene.node.problems().keys()

    wait_for(doubted, 2 * OUTAGE, "the doubt to be told")
    assert "it may lack any" in scene.node.problems()[min(stuck)]
    assert "pods" not in scene.node.problems()
    assert 'kroute_kni_garbage_left{cause="pod"} 2.0' in metrics(scene.node)
    assert scene.attached() == {"default/here", "default/lost"}


def test_a_missing_right_is_a_problem_that_says_who_grants_it(scene: Scene):
    wait_for(lambda: scene.collect("--dry-run") == "", OUTAGE, "the pods to be listed")
    scene.kube.failure = Failure(403, "Forbidden")
    scene.kube.drop()
    wait_for(lambda: "pods" in scene.node.problems(), OUTAGE, "the refusal to be noticed")
    assert "deploy/overlays/kni" in scene.node.problems()["pods"]
    scene.kube.failure = None
    wait_for(lambda: "pods" not in scene.node.problems(), OUTAGE, "the right to be there")
    assert scene.attached() == {"default/here", "default/lost"}


def test_a_namespace_that_a_dead_kubelet_has_left_is_removed_once_nothing_is_in_it(scene: Scene):
    """That of a pod that lives stays, and one that was made for no pod by name."""
    wait_for(lambda: scene.collect("--dry-run") == "", OUTAGE, "the pods to be listed")
    made = [scene.create(name) for name in ("gone", "here", "")]
    gone = made[0]
    sandbox = subprocess.Popen(["nsenter", f"--net={gone}", "sleep", "600"])
    try:
        said = "Kubernetes does not know its pod default/gone on this node"
        kept = f"netns/{gone}: {said}: kept: process {sandbox.pid} ('sleep') is in it\n"
        wait_for(lambda: scene.collect("--dry-run") == kept, OUTAGE, "the end of the grace")
        assert scene.collect() == kept
        wait_for(lambda: f"netns/{gone}" in scene.node.problems(), what="the problem")
        assert 'kroute_kni_garbage_left{cause="unused"} 1.0' in metrics(scene.node)
        sandbox.kill()
        sandbox.wait()
        assert scene.collect("--dry-run") == f"netns/{gone}: {said}: would be released\n"
        assert scene.collect() == f"netns/{gone}: {said}: released\n"
        assert [Path(path).exists() for path in made] == [False, True, True]
        assert 'kroute_kni_garbage_released_total{cause="unused"} 1.0' in metrics(scene.node)
        assert 'kroute_kni_garbage_left{cause="unused"} 0.0' in metrics(scene.node)
        wait_for(lambda: f"netns/{gone}" not in scene.node.problems(), what="the problem to go")
        assert scene.collect() == ""
    finally:
        sandbox.kill()
        sandbox.wait()
        for path in made:
            run(["ip", "netns", "delete", Path(path).name], check=False)
    assert scene.attached() == {"default/here", "default/lost"}
