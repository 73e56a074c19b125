"""Hundreds of pods of a kubelet of the fork, while the daemon is restarted and killed under it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from kroute.model.kni import Generation, PodReply
from support.daemon import Site, reaches
from support.kni_daemon import kni_node, leases, ready, veths
from support.kni_kubelet import HOST, BusyKubelet, Pod
from support.netns import Namespace, run, wait_for

pytestmark = pytest.mark.root
OLD, NEW = 40, 200
"""Pods whose namespace the container runtime makes, and those whose namespace CreateNetwork makes."""


@pytest.fixture
def site():
    with Site("knik") as made:
        yield made


def in_the_middle(kubelet: BusyKubelet, work: threading.Thread, done: int, number: int) -> None:
    """End the daemon by this signal once so many pods have got an address, or lost it, and start it again."""
    before = sum(bool(pod.ip) for pod in kubelet.pods)
    wait_for(
        lambda: abs(sum(bool(pod.ip) for pod in kubelet.pods) - before) >= done,
        60.0,
        f"{done} pods more or less than {before}",
    )
    assert work.is_alive()
    kubelet.restart_node(number)


def test_hundreds_of_pods_live_and_die_by_the_fork_s_calls_while_the_daemon_is_killed(site):
    node = kni_node(site)
    node.start(*HOST)
    ready(node)
    generations = (Generation.V006, Generation.V008)
    sandboxes = [site.lab.namespace(f"s{i}") for i in range(OLD)]
    pods = [Pod(name=f"old-{i}", netns=made.path) for i, made in enumerate(sandboxes)]
    pods += [Pod(name=f"new-{i}", generation=generations[i % 2]) for i in range(NEW)]
    kubelet = BusyKubelet(node, pods[::-1], site.lab.prefix)
    folder = Path("/run/netns")
    try:
        starting = threading.Thread(target=kubelet.start)
        starting.start()
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            in_the_middle(kubelet, starting, 40, number)
        starting.join()
        whole(kubelet, sandboxes[0])
        stopping = threading.Thread(target=kubelet.stop)
        stopping.start()
        for number in (signal.SIGKILL, signal.SIGTERM):
            in_the_middle(kubelet, stopping, 60, number)
        stopping.join()
        assert all(told == PodReply() for told in kubelet.statuses().values())
        assert (veths(node), leases(node), node.ask("pods")) == ([], {}, [])
        assert list(folder.glob(f"kni-{site.lab.prefix}-*")) == []
    finally:
        for path in folder.glob(f"kni-{site.lab.prefix}-*"):
            run(["ip", "netns", "delete", path.name], check=False)


def whole(kubelet: BusyKubelet, one: Namespace) -> None:
    """Every pod has its own address, and node, store and answers tell the same of it; dead sandboxes read empty."""
    node, pods = kubelet.kroute, kubelet.pods
    given = {pod.sandbox: pod.ip for pod in pods}
    assert all(given.values())
    assert len(set(given.values())) == len(pods)
    told = kubelet.statuses()
    assert {n: r.ipconfigs["eth0"].ip[0] for n, r in told.items() if r.ipconfigs} == given
    assert {r["id"]: r["addresses"][0] for r in node.ask("pods")} == given
    assert {ip: owner for ip, owner in leases(node).items() if ip in given.values()} == {
        ip: sandbox for sandbox, ip in given.items()
    }
    assert len(leases(node)) == 2 * len(pods)
    assert len(veths(node)) == len(pods)
    for pod in pods[::60]:
        reaches(one, pod.ip)
