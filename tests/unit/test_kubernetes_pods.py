"""The own node's pods: followed through every fault, and without an opinion while the server has none to give."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kroute.codec.pods import pod_of
from kroute.drivers.inventory.pods import PATH, KubernetesPods
from kroute.model.config import KubernetesInventory
from kroute.model.pod import Pod
from support.fakekube import Failure, FakeKube
from support.inventory import PROMPT, kubeconfig, pod_object
from support.netns import until


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        server.put(pod_object("a", "n1"), "pods")
        server.put(pod_object("b", "n1", "kube-system"), "pods")
        server.put(pod_object("c", "n2"), "pods")
        yield server


def pods_of(kube: FakeKube, tmp_path: Path, **more: Any) -> KubernetesPods:
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    return KubernetesPods(KubernetesInventory(kubeconfig=path), "n1", patience=PROMPT, **more)


@pytest.fixture
async def pods(kube: FakeKube, tmp_path: Path) -> AsyncIterator[KubernetesPods]:
    found = pods_of(kube, tmp_path)
    found.start()
    yield found
    found.close()


async def names(pods: KubernetesPods, *expected: str) -> None:
    """Wait until these pods are known, and that for true."""
    held = lambda: not pods.seen().failure and sorted(pods.seen().pods) == sorted(expected)  # noqa: E731
    await until(held, 20, f"pods {expected}")


async def test_the_pods_of_the_own_node_are_followed_and_no_others(
    kube: FakeKube, pods: KubernetesPods
):
    await names(pods, "default/a", "kube-system/b")
    kube.put(pod_object("d", "n1"), "pods")
    kube.put(pod_object("e", "n2"), "pods")
    await names(pods, "default/a", "default/d", "kube-system/b")
    kube.store.delete("pods", "a", "default")
    await names(pods, "default/d", "kube-system/b")
    assert all(
        q.get("fieldSelector") == "spec.nodeName=n1" for _, p, q in kube.requests if p == PATH
    )


async def test_a_pod_of_the_same_name_takes_the_place_of_the_former_one(
    kube: FakeKube, pods: KubernetesPods
):
    await names(pods, "default/a", "kube-system/b")
    former = pods.seen().pods["default/a"].uid
    kube.store.delete("pods", "a", "default")
    kube.put(pod_object("a", "n1"), "pods")
    await until(
        lambda: "default/a" in pods.seen().pods and pods.seen().pods["default/a"].uid != former
    )


def test_nothing_is_known_before_the_first_list(kube: FakeKube, tmp_path: Path):
    assert pods_of(kube, tmp_path).seen().failure == "they have not been listed yet"


async def test_an_outage_leaves_no_opinion_and_what_is_known_then_counts_from_its_end(
    kube: FakeKube, tmp_path: Path
):
    times = iter(range(1000))
    told: list[str] = []
    pods = pods_of(
        kube,
        tmp_path,
        clock=lambda: float(next(times)),
        on_change=lambda: told.append(pods.refusal),
    )
    pods.start()
    try:
        await names(pods, "default/a", "kube-system/b")
        first = pods.seen().since
        kube.put(pod_object("d", "n1"), "pods")
        await names(pods, "default/a", "default/d", "kube-system/b")
        assert pods.seen().since == first
        kube.stop()
        await until(lambda: pods.seen().failure, 20)
        assert set(pods.seen().pods) == {"default/a", "default/d", "kube-system/b"}
        kube.start()
        await names(pods, "default/a", "default/d", "kube-system/b")
        assert pods.seen().since > first
        assert told[0] == told[-1] == ""
        assert any(told)
    finally:
        pods.close()


async def test_a_right_that_is_missing_is_said(kube: FakeKube, tmp_path: Path):
    kube.failure = Failure(403, "Forbidden")
    pods = pods_of(kube, tmp_path)
    pods.start()
    try:
        await until(lambda: pods.refusal.startswith("403"), 20)
        assert pods.seen().failure == pods.refusal
    finally:
        pods.close()


async def test_a_server_without_watchlist_is_followed_by_pages(
    kube: FakeKube, pods: KubernetesPods
):
    kube.watchlist = False
    kube.drop()
    for number in range(150):
        kube.put(pod_object(f"p{number}", "n1"), "pods")
    await until(lambda: len(pods.seen().pods) == 152, 20)
    assert len(pods.ask().pods) == 152


def test_asking_anew_tells_what_the_server_holds_now_or_why_not(kube: FakeKube, tmp_path: Path):
    pods = pods_of(kube, tmp_path)
    assert set(pods.ask().pods) == {"default/a", "kube-system/b"}
    kube.store.delete("pods", "a", "default")
    assert set(pods.ask().pods) == {"kube-system/b"}
    kube.failure = Failure(503, times=1)
    assert pods.ask().failure.startswith("503")
    kube.stop()
    assert "does not answer" in pods.ask().failure


async def test_a_pod_that_cannot_be_read_leaves_no_opinion_until_the_next_list(
    kube: FakeKube, pods: KubernetesPods
):
    await names(pods, "default/a", "kube-system/b")
    since = pods.seen().since
    pods.changed(None)
    assert "without a name" in pods.seen().failure
    kube.store.compact()
    kube.drop()
    await names(pods, "default/a", "kube-system/b")
    assert pods.seen().since > since
    pods.listed([None])
    assert "without a name" in pods.seen().failure


def test_of_a_pod_object_only_its_names_are_kept():
    thing = pod_object("etcd", "n1", "kube-system")
    thing["metadata"] |= {"uid": "u", "annotations": {"kubernetes.io/config.mirror": "hash"}}
    assert pod_of(thing) == Pod(namespace="kube-system", name="etcd", uid="u", mirror_of="hash")


@pytest.mark.parametrize(
    "thing", [None, {}, [], {"metadata": 7}, {"metadata": {"name": "a", "namespace": "b"}}, "pod"]
)
def test_what_is_no_pod_is_none(thing: Any):
    assert pod_of(thing) is None
