"""Disks that are full, read-only or damaged, clocks that jump: refused with a reason, nothing lost, healed again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kroute.drivers.kni import gc
from kroute.drivers.kni.core import Core
from kroute.drivers.kni.fast import FastPath
from kroute.model.errors import DriverError
from kroute.model.kni import Generation, KniError, PodReply, Refusal
from support.daemon import Site
from support.kni import KniNode, request
from support.kni_daemon import kni_node, ready
from support.kni_kubelet import HOST
from support.netns import run, wait_for

pytestmark = pytest.mark.root
V = Generation.V008


@pytest.fixture
def node():
    with KniNode() as made:
        yield made


@contextmanager
def disk(path: Path, options: str = "size=1m") -> Iterator[None]:
    """A small file system of its own at this path."""
    path.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", options, "kt-kni", str(path)])
    try:
        yield
    finally:
        run(["umount", "--lazy", str(path)])


def again(path: Path, options: str) -> None:
    """Mount it anew, for reading only or for writing as well."""
    run(["mount", "-o", f"remount,{options}", str(path)])


def fill(path: Path) -> Path:
    """A file that takes all the room there is."""
    filler = path / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


class Pods:
    """Two pods of a node, the second on the path to be tested, and one that is refused."""

    def __init__(self, node: KniNode, *, fast: bool) -> None:
        self.node = node
        self.core: Core = node.core(fast=FastPath(enabled=fast))
        self.first, self.second, self.third = (node.pod(name) for name in ("a", "b", "c"))
        with node.node.entered():
            self.core.attach(request(self.first), V)
            self.reply = self.core.attach(request(self.second), V)

    def refused(self) -> KniError:
        """The third is, and nothing of it is left; the others are as they were."""
        with self.node.node.entered(), pytest.raises(KniError) as caught:
            self.core.attach(request(self.third), V)
        assert self.third.name not in self.node.leased().values()
        assert len(self.node.veths()) == 2
        assert self.core.query_pod(self.third.name) == PodReply()
        assert self.core.query_pod(self.second.name) == self.reply
        return caught.value

    def works(self) -> None:
        """The third is attached, all are detached, nothing is left."""
        with self.node.node.entered():
            assert self.core.attach(request(self.third), V).ipconfigs["eth0"].ip
            for pod in (self.first, self.second, self.third):
                self.core.detach(pod.name)
        assert (self.node.veths(), self.node.leased()) == ([], {})
        assert self.core.store.attachments == {}
        assert self.core.store.fault == ""


PATHS = pytest.mark.parametrize("fast", [True, False], ids=["fast", "exec"])


@PATHS
def test_a_full_disk_under_the_store_refuses_attaches_until_there_is_room(node, fast):
    with disk(node.folder / "state"):
        pods = Pods(node, fast=fast)
        filler = fill(node.folder / "state")
        error = pods.refused()
        assert error.refusal is Refusal.UNAVAILABLE
        assert "disk" in str(error)
        own = pods.core.query_nodes().networks[0]
        assert not own.ready
        assert "cannot be written" in own.extradata["reasons"]
        filler.unlink()
        pods.works()
        pods.core.store.close()


@PATHS
def test_a_full_disk_under_the_leases_refuses_attaches_until_there_is_room(node, fast):
    with disk(node.leases):
        pods = Pods(node, fast=fast)
        filler = fill(node.leases)
        error = pods.refused()
        assert "no space left" in str(error).lower()
        filler.unlink()
        pods.works()


def test_leases_that_can_only_be_read_refuse_attach_and_detach_and_the_record_stays(node):
    with disk(node.leases):
        pods = Pods(node, fast=True)
        again(node.leases, "ro")
        assert "read-only" in str(pods.refused()).lower()
        with node.node.entered(), pytest.raises(KniError):
            pods.core.detach(pods.second.name)
        assert pods.core.query_pod(pods.second.name) == PodReply()
        assert pods.second.name in pods.core.store.attachments
        again(node.leases, "rw")
        pods.works()


def test_a_lease_that_host_local_could_not_remove_and_said_it_had_is_found_as_garbage(node):
    """The plugin's DEL passes over what it cannot remove."""
    with disk(node.leases):
        pods = Pods(node, fast=False)
        again(node.leases, "ro")
        assert "read-only" in str(pods.refused()).lower()
        with node.node.entered():
            pods.core.detach(pods.second.name)
        assert pods.second.name in node.leased().values()
        again(node.leases, "rw")
        found = gc.collect(pods.core, dry_run=False, lease_age=0.0)
        assert {f"lease/{ip}" for ip in pods.reply.ipconfigs["eth0"].ip} == {
            f.object for f in found
        }
        pods.works()


def test_a_store_that_can_only_be_read_is_no_store_and_names_its_file(node):
    with (
        disk(node.folder / "state", "size=1m,ro"),
        pytest.raises(DriverError, match=r"kni\.sqlite"),
    ):
        node.store()


def test_a_daemon_on_a_read_only_disk_routes_and_serves_kni_once_it_can_write():
    with Site("knid") as site:
        made = kni_node(site)
        state = made.folder / "state"
        with disk(state, "size=4m,ro"):
            made.start(*HOST)
            wait_for(lambda: "kni" in made.problems(), what="the problem")
            assert "cannot be opened" in made.problems()["kni"]
            again(state, "rw")
            ready(made)
            wait_for(lambda: "kni" not in made.problems(), what="the problem to be solved")
            made.end()


def zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [zeroed, truncated, emptied, Path.unlink])
def test_a_store_that_was_damaged_or_lost_is_rebuilt_from_what_is_on_the_node(node, damage):
    pods = Pods(node, fast=True)
    first = pods.core.query_pod(pods.first.name)
    pods.core.store.close()
    damage(node.folder / "state" / "kni.sqlite")
    pods.core = node.core(fast=FastPath())
    assert pods.core.query_pod(pods.first.name) == first
    assert pods.core.query_pod(pods.second.name) == pods.reply
    pods.works()


def test_a_clock_that_jumps_ages_and_releases_nothing(node, monkeypatch):
    """A lease of another runtime that is in the middle of its ADD looks old after a jump, and is not."""
    real, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    pods = Pods(node, fast=True)
    (node.leases / "kroute" / "10.244.1.99").write_text("theirs\r\neth0")
    held = node.leased()
    for ahead in (10 * 365 * 86400.0, -10 * 365 * 86400.0, 3600.0, 0.0):
        jump[0] = ahead
        assert gc.collect(pods.core, dry_run=False) == []
        assert node.leased() == held
        with node.node.entered():
            pods.core.attach(request(pods.third), V)
            pods.core.detach(pods.third.name)
    assert [found.object for found in gc.collect(pods.core, dry_run=True, lease_age=0.0)] == [
        "lease/10.244.1.99"
    ]
    (node.leases / "kroute" / "10.244.1.99").unlink()
    pods.works()
