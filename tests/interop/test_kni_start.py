"""KNI's first and last moments in the daemon: who is answered, is known; who is sent away, leaves nothing."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import suppress

import pytest

from kroute.drivers.kni.client import Refused
from support.daemon import RouteMonitor, Site
from support.kni_daemon import (
    client,
    further_plugin,
    killed_while_attaching,
    kni_node,
    ready,
)
from support.netns import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def site():
    with Site("knb") as made:
        yield made


def test_whoever_is_answered_by_kni_finds_its_pods_shown(site):
    node = kni_node(site)
    node.start()
    ready(node)
    pod = site.lab.namespace("pod")
    with client(node) as wire:
        wire.attach(pod.name, pod.path)
    for _ in range(5):
        node.end(signal.SIGKILL)
        node.launch()
        end, answered = time.monotonic() + 20.0, False
        while not answered and time.monotonic() < end:
            with suppress(Refused), client(node) as wire:
                answered = bool(wire.query(pod.name).ipconfigs)
        assert [row["id"] for row in node.ask("pods")] == [pod.name]


def test_a_restart_withdraws_no_pod_s_address_and_waits_for_no_kni_that_cannot_be_had(site):
    node, other = kni_node(site, 1, announcePods="all"), site.node(2)
    for each in (node, other):
        each.start()
    ready(node)
    pod = site.lab.namespace("pod")
    alone = ["10.244.1.2", "fd00:10:244:1::2"]
    announced = {"10.244.1.0/24", "fd00:10:244:1::/64", *alone}
    with client(node) as wire:
        wire.attach(pod.name, pod.path)
    other.has(*announced)
    for number in (signal.SIGKILL, signal.SIGTERM) * 3:
        with RouteMonitor(other.where) as routes:
            node.restart(number)
            wait_for(lambda: node.ask("status")["waitingFor"] == [], 30.0, "the node to be in sync")
            wait_for(lambda: other.peer("node/n1")["stale"] == 0, 30.0, "its whole table")
            other.has(*announced)
            assert [address for address in alone if routes.deleted(address)] == []
    node.end()
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(node.folder / "kni.sock"))
        foreign.listen()
        node.start()
        other.has("10.244.1.0/24", "fd00:10:244:1::/64")
        assert not any("KNI" in reason for reason in node.ask("status")["waitingFor"])


def test_sigterm_while_an_earlier_life_is_cleaned_up_leaves_no_socket(site):
    node = kni_node(site)
    started, go_on = node.folder / "started", node.folder / "go-on"
    script = f"touch {started}-$CNI_COMMAND\nwhile [ ! -e {go_on} ]; do sleep 0.05; done\nexit 0\n"
    further_plugin(node, "slow", script)
    node.start()
    ready(node)
    killed_while_attaching(node, site.lab.namespace("pod"), node.folder / "started-ADD")
    process = node.launch()
    wait_for((node.folder / "started-DEL").exists, what="the recovery to begin")
    process.send_signal(signal.SIGTERM)
    go_on.touch()
    assert process.wait(20.0) == 0
    assert not (node.folder / "kni.sock").exists()
    assert node.words().rstrip().endswith("stopped; routes and conflist stay as they are")
