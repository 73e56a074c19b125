"""Namespaces of CreateNetwork that no DeleteNetwork ever comes for: which are removed, and what keeps the others."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kroute.drivers.kni import gc, netns, occupants
from kroute.drivers.kni.forgotten import Forgotten
from kroute.model.kni import (
    AttachRequest,
    CreateRequest,
    DeleteRequest,
    Generation,
    Isolation,
    KniError,
    PodReply,
    Refusal,
)
from support.kni import KniNode, request
from support.kni_garbage import ApiPods, Clock, labels
from support.netns import wait_for

pytestmark = pytest.mark.root
V = Generation.V006
GRACE = 600.0
REASON = "Kubernetes does not know its pod default/lost on this node"


class Scene:
    """A node with a pod that Kubernetes knows, and the namespace of one that it has forgotten."""

    def __init__(self, node: KniNode) -> None:
        self.node, self.api, self.clock = node, ApiPods(), Clock()
        self.start()
        here = node.pod("here")
        with node.node.entered():
            self.core.attach(request(here, id="c-here", labels=labels("here")), V)
        self.api.run("here")
        self.lost = self.create("lost")

    def start(self) -> None:
        """A new life of kroute, on the same records."""
        self.core = self.node.core()
        self.forgotten = Forgotten(self.api, GRACE, clock=self.clock)

    def create(self, name: str = "", **more: Any) -> str:
        """As the kubelet does; nameless, as containerd's proof of concept does."""
        namespace = "default" if name else ""
        with self.node.node.entered():
            made = self.core.domains.create(CreateRequest(name=name, namespace=namespace, **more))
        return made.netns_path

    def another(self, path: str) -> str:
        """The same namespace by another path, as /run has it in /var/run."""
        folder = self.node.folder / "var-run"
        if not folder.is_symlink():
            folder.symlink_to(self.node.folder / "netns")
        return str(folder / Path(path).name)

    def plugin(self, script: str = "") -> None:
        """Have one that makes no interface instead of the node's."""
        result = '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}]}'
        begin = 'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && exit 0'
        self.node.script("odd", f"{begin}\n{script}\necho '{result}'")
        self.node.plain("kroute", {"type": "odd"})

    def attach(self, name: str, path: str = "") -> PodReply:
        where = Isolation(path=path) if path else None
        who = {"id": f"c-{name}", "name": name, "namespace": "default"}
        with self.node.node.entered():
            return self.core.attach(AttachRequest(isolation=where, **who), V)

    def detach(self, name: str) -> None:
        with self.node.node.entered():
            self.core.detach(f"c-{name}")

    def collect(self, after: float = 0.0, *, dry_run: bool = False) -> list[gc.Finding]:
        """What is found so many seconds later."""
        self.clock.now += after
        with self.node.node.entered():
            return gc.collect(self.core, dry_run=dry_run, forgotten=self.forgotten)

    def paths(self) -> set[str]:
        """The namespaces that there are; the store knows them and no other."""
        found = {str(path) for path in (self.node.folder / "netns").iterdir()}
        assert found == set(self.core.store.domains)
        assert all(map(netns.lives, found))
        return found


@pytest.fixture
def scene() -> Iterator[Scene]:
    with KniNode("kns") as node:
        yield Scene(node)


# --- what goes and what stays ---------------------------------------------------------------------------


def test_what_was_made_for_forgotten_pods_is_found_reported_and_removed_and_the_rest_stays(
    scene: Scene,
):
    stay = {scene.create("here"), scene.create("busy"), scene.create(), scene.create()}
    scene.attach("busy")
    left = scene.create("left")
    scene.attach("left")
    scene.detach("left")
    waits = {f.object: f for f in scene.collect()}
    assert waits.keys() == {f"netns/{scene.lost}", f"netns/{left}", "attachment/c-busy"}
    lost = waits[f"netns/{scene.lost}"]
    assert (lost.cause.value, lost.reason) == ("unused", REASON)
    assert "released in 600 s" in lost.outcome
    assert not lost.stuck
    seen = {f.object: f.outcome for f in scene.collect(GRACE, dry_run=True)}
    assert seen == dict.fromkeys(waits, "would be released")
    assert scene.paths() == stay | {scene.lost, left}
    assert {f.object for f in scene.collect() if f.released} == waits.keys()
    assert scene.paths() == stay
    assert scene.core.store.attachments.keys() == {"c-here"}
    (emptied,) = scene.collect()
    assert "kni-default-busy" in emptied.object
    assert "released in 600 s" in emptied.outcome, "its own grace begins when its pod has left"


def test_a_restart_begins_the_grace_anew_and_forgets_no_namespace(scene: Scene):
    scene.collect()
    scene.clock.now += GRACE
    scene.start()
    (found,) = scene.collect()
    assert "released in 600 s" in found.outcome
    assert scene.collect(GRACE - 1)[0].outcome.startswith("kept: ")
    assert scene.collect(1)[0].released
    assert scene.paths() == set()


def test_before_a_namespace_goes_the_api_server_is_asked_once_more(scene: Scene):
    scene.collect()
    scene.api.on_ask = lambda: scene.api.run("here", "lost")
    assert scene.collect(GRACE) == []
    assert scene.paths() == {scene.lost}


def test_an_api_server_that_is_away_or_emptied_takes_no_namespace_along(scene: Scene):
    scene.collect()
    scene.api.failure = "503 away"
    (found,) = scene.collect(GRACE)
    assert (found.object, found.outcome) == ("pods", "nothing is judged by them")
    scene.api.failure = ""
    scene.api.run()
    scene.collect()
    found = {f.object: f for f in scene.collect(GRACE)}[f"netns/{scene.lost}"]
    assert "it may lack any" in found.outcome
    assert found.stuck
    assert scene.paths() == {scene.lost}


def test_where_nobody_is_asked_nothing_is_removed(scene: Scene):
    scene.forgotten = None
    assert scene.collect(9999.0) == []
    assert scene.paths() == {scene.lost}


def test_deletenetwork_that_comes_after_all_is_answered_ok(scene: Scene):
    scene.collect()
    scene.collect(GRACE)
    with scene.node.node.entered():
        scene.core.domains.delete(DeleteRequest(name="lost", namespace="default"))
        scene.core.domains.delete(DeleteRequest(netns_path=scene.lost))


# --- what may be using it -------------------------------------------------------------------------------


@contextmanager
def a_process(path: str) -> Iterator[str]:
    """A sandbox that was never attached, as when the kubelet dies in between."""
    process = subprocess.Popen(["nsenter", f"--net={path}", "sleep", "600"])
    try:
        inside = netns.identity(path)
        namespace = f"/proc/{process.pid}/ns/net"
        wait_for(lambda: netns.identity(namespace) == inside, what="the process to be inside")
        wait_for(lambda: "sleep" in Path(f"/proc/{process.pid}/comm").read_text(), what="sleep")
        yield f"process {process.pid} ('sleep') is in it"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def a_thread(path: str) -> Iterator[str]:
    """A thread of a process that is elsewhere."""
    inside, leave = threading.Event(), threading.Event()

    def live() -> None:
        descriptor = netns.open_netns(path)
        with netns.entered(descriptor):
            os.close(descriptor)
            inside.set()
            leave.wait()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        assert inside.wait(10)
        yield f"process {os.getpid()} ("
    finally:
        leave.set()
        thread.join()


@contextmanager
def an_interface(path: str) -> Iterator[str]:
    """What somebody else has put there, up or not."""
    command = ["nsenter", f"--net={path}", "ip", "link"]
    subprocess.run([*command, "add", "net7", "type", "bridge"], check=True)
    yield "interface 'net7' is in it"
    subprocess.run([*command, "delete", "net7"], check=True)


@pytest.mark.parametrize("somebody", [a_process, a_thread, an_interface])
def test_what_is_in_a_namespace_keeps_it_and_is_named(scene: Scene, somebody: Any):
    scene.collect()
    with somebody(scene.lost) as said:
        for dry_run in (True, False):
            (found,) = scene.collect(GRACE, dry_run=dry_run)
            assert found.outcome.startswith(f"kept: {said}")
            assert (found.cause.value, found.reason, found.stuck) == ("unused", REASON, True)
        assert scene.paths() == {scene.lost}
    (found,) = scene.collect()
    assert found.released
    assert scene.paths() == set()


def test_who_comes_in_while_its_turn_comes_keeps_it(scene: Scene, monkeypatch):
    scene.collect()
    release = scene.core.domains.release

    def with_somebody(path: str, why: Any) -> bool:
        with a_process(path):
            return release(path, why)

    monkeypatch.setattr(scene.core.domains, "release", with_somebody)
    (found,) = scene.collect(GRACE)
    assert "('sleep') is in it" in found.outcome
    assert scene.paths() == {scene.lost}


def test_a_process_that_cannot_be_looked_at_may_be_in_it(scene: Scene, monkeypatch):
    def refused(_process: Path) -> Any:
        raise PermissionError

    scene.collect()
    monkeypatch.setattr(occupants, "_of_threads", refused)
    (found,) = scene.collect(GRACE)
    assert "may be in it, and cannot be looked at" in found.outcome
    assert scene.paths() == {scene.lost}


def test_the_interfaces_that_the_kernel_makes_by_itself_are_nobody_s(scene: Scene):
    """Stand-ins: whether there are any depends on modules that other namespaces have had loaded."""
    command = ["nsenter", f"--net={scene.lost}", "ip", "link", "add"]
    for name in ("tunl0", "sit0", "ip6tnl0"):
        subprocess.run([*command, name, "type", "bridge"], check=True)
    scene.collect()
    assert scene.collect(GRACE)[0].released


# --- calls that come at the same time -------------------------------------------------------------------


@pytest.mark.parametrize("call", ["create", "attach", "by another path", "oddly", "delete"])
def test_a_call_that_comes_before_its_turn_wins(scene: Scene, monkeypatch, call: str):
    """Between the look and the removal: a namespace that is given away, or that somebody is in, stays."""
    other = scene.another(scene.lost)
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: scene.create("lost"),
        "attach": lambda: scene.attach("lost", scene.lost),
        "by another path": lambda: scene.attach("lost", other),
        "oddly": lambda: (scene.plugin(), scene.attach("lost", other)),
        "delete": lambda: scene.core.domains.delete(DeleteRequest(netns_path=scene.lost)),
    }
    scene.collect()
    release = scene.core.domains.release

    def in_between(path: str, why: Any) -> bool:
        calls[call]()
        return release(path, why)

    monkeypatch.setattr(scene.core.domains, "release", in_between)
    assert scene.collect(GRACE) == []
    assert scene.paths() == (set() if call == "delete" else {scene.lost})
    monkeypatch.undo()
    if call == "attach":
        scene.detach("lost")
        assert scene.collect(GRACE - 1)[0].outcome.startswith("kept: released in 600 s")
    elif call == "create":
        assert (
            scene.collect()[0].outcome == "kept: released in 600 s unless Kubernetes learns of it"
        )
        scene.attach("lost", scene.lost)


def test_a_namespace_that_somebody_is_being_attached_in_is_left_alone(scene: Scene):
    """Whatever it is that the plugin has come to, and what it has put there."""
    started, go_on = scene.node.folder / "started", scene.node.folder / "go-on"
    scene.plugin(f"touch {started}\nwhile [ ! -e {go_on} ]; do sleep 0.02; done")
    scene.collect()
    attaching = threading.Thread(target=lambda: scene.attach("lost", scene.lost))
    attaching.start()
    try:
        wait_for(started.exists, what="the plugin to run")
        for dry_run in (True, False):
            assert scene.collect(GRACE, dry_run=dry_run) == []
    finally:
        go_on.touch()
        attaching.join()
    assert scene.core.store.attachments["c-lost"].netns == scene.lost
    assert scene.paths() == {scene.lost}


def test_nobody_waits_for_an_attach_that_has_no_record_yet(scene: Scene):
    scene.collect()
    with scene.core.domains.entered(scene.another(scene.lost), "c-lost", 1.0):
        for dry_run in (True, False):
            assert scene.collect(GRACE, dry_run=dry_run) == []
    assert scene.collect()[0].released


class Late:
    """A call that comes in the middle of the removal."""

    def __init__(self, scene: Scene, monkeypatch: Any, call: Callable[[], object]) -> None:
        self.answer: object = None
        self._call = call
        self._locks = scene.core.locks
        self._remove = netns.remove
        self._thread = threading.Thread(target=self._run)
        monkeypatch.setattr(netns, "remove", self._in_the_middle)

    def _run(self) -> None:
        try:
            self.answer = self._call()
        except KniError as error:
            self.answer = error

    def _in_the_middle(self, path: str) -> None:
        held = dict(self._locks._locks)
        self._thread.start()
        wait_for(lambda: self._awaited(held), what="the call to wait")
        self._remove(path)
        assert self.answer is None

    def _awaited(self, held: dict[str, Any]) -> bool:
        now = self._locks._locks
        return any(now[name][1] > users for name, (_, users) in held.items())

    def end(self) -> object:
        self._thread.join()
        return self.answer


def test_an_attach_that_comes_while_it_is_removed_waits_and_finds_it_gone(
    scene: Scene, monkeypatch
):
    scene.collect()
    late = Late(scene, monkeypatch, lambda: scene.attach("lost", scene.lost))
    (found,) = scene.collect(GRACE)
    assert found.released
    refused = late.end()
    assert isinstance(refused, KniError)
    assert refused.refusal is Refusal.INVALID
    assert "is the sandbox still there?" in str(refused)
    assert scene.paths() == set()
    assert scene.core.store.attachments.keys() == {"c-here"}
    assert set(scene.node.leased().values()) == {"c-here"}


def test_a_createnetwork_that_comes_while_it_is_removed_waits_and_makes_another_one(
    scene: Scene, monkeypatch
):
    scene.collect()
    late = Late(scene, monkeypatch, lambda: scene.create("lost"))
    assert scene.collect(GRACE)[0].released
    made = late.end()
    assert scene.paths() == {made}
    assert scene.attach("lost", str(made)).ipconfigs["eth0"].ip


def test_a_namespace_that_is_made_anew_where_a_gone_one_was_on_record_stays(
    scene: Scene, monkeypatch
):
    netns.remove(scene.lost)
    release = scene.core.domains.release

    def anew(path: str, why: Any) -> bool:
        with suppress(KniError), scene.node.node.entered():
            scene.core.domains.delete(DeleteRequest(netns_path=path))
        assert scene.create("lost") == path
        return release(path, why)

    monkeypatch.setattr(scene.core.domains, "release", anew)
    assert scene.collect() == []
    assert scene.paths() == {scene.lost}
