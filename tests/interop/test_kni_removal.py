"""Interfaces removed alone, together, while absent, against the kernel's will, and with nobody who hears them go."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kroute.drivers import bpf
from kroute.drivers.kni import removal
from kroute.drivers.kni.removal import Removal
from kroute.drivers.kni.talk import Talk
from kroute.drivers.netlink import RouteSocket
from kroute.model.kni import KniError, Refusal
from support.netns import Lab, Namespace, wait_for

pytestmark = pytest.mark.root


@contextmanager
def talking() -> Iterator[Talk]:
    talk = Talk()
    try:
        yield talk
    finally:
        talk.close()


@pytest.fixture
def lab():
    with Lab("rmv") as made:
        yield made


@pytest.fixture
def node(lab):
    return lab.namespace("node")


@pytest.fixture
def removing():
    made = Removal(talking)
    yield made
    made.close()


def make(node: Namespace, count: int) -> list[str]:
    names = [f"v{i}" for i in range(count)]
    for name in names:
        node.ip(f"link add {name} type veth peer name p{name}")
    return names


def links(node: Namespace) -> set[str]:
    return {link["ifname"] for link in json.loads(node.run(["ip", "-j", "link"]))}


def remove(node: Namespace, removing: Removal, names: list[str]) -> None:
    """All at once; each must be gone when its own call returns."""
    refused: list[Exception] = []

    def one(name: str) -> None:
        with node.entered():
            try:
                told = removing.remove([name], 20.0)
                if name in told:
                    raise told[name]
                with talking() as talk:
                    assert talk.link(name) is None
            except (KniError, AssertionError) as error:
                refused.append(error)

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise refused[0]


def test_an_interface_is_gone_when_its_removal_returns_also_the_tenth_in_a_row(node, removing):
    for name in make(node, 10):
        remove(node, removing, [name])
    assert links(node) == {"lo"}


def test_interfaces_that_go_together_take_no_other_along(node, removing):
    names = make(node, 24)
    with node.entered():
        assert removing.remove(names[:20], 20.0) == {}
    left = {"lo", *names[20:], *(f"p{name}" for name in names[20:])}
    assert links(node) == left


def test_both_ends_have_left_their_namespaces_though_the_kernel_still_dismantles_them(
    lab, node, removing
):
    pod = lab.namespace("pod")
    names = make(node, 30)
    for name in names:
        node.ip(f"link set p{name} netns {pod.name} up")
        node.ip(f"link set {name} up")
    inside = RouteSocket(netns=pod.path)
    with node.entered():
        outside = RouteSocket()
        assert (outside.has_link("v0"), inside.has_link("pv0")) == (True, True)
        assert removing.remove(names, 20.0) == {}
        found = [n for n in names if outside.has_link(n) or inside.has_link(f"p{n}")]
    assert found == []
    for each in (inside, outside):
        each.close()


def test_of_those_that_go_together_one_that_others_remove_first_says_nothing_of_the_rest(node):
    asked, go_on = threading.Event(), threading.Event()

    @contextmanager
    def slowly() -> Iterator[Talk]:
        asked.set()
        go_on.wait(20.0)
        with talking() as talk:
            yield talk

    slow, told = Removal(slowly), []
    names = make(node, 4)

    def one() -> None:
        with node.entered():
            told.append(slow.remove(names, 20.0))

    caller = threading.Thread(target=one)
    caller.start()
    assert asked.wait(20.0)
    node.ip("link del v2")
    wait_for(lambda: "v2" not in slow._going, what="its event")
    assert slow._going.keys() == {"v0", "v1", "v3"}
    go_on.set()
    caller.join(20.0)
    slow.close()
    assert (told, links(node)) == ([{}], {"lo"})


def test_interfaces_that_different_callers_remove_at_once_all_go(node, removing):
    remove(node, removing, make(node, 20))
    assert links(node) == {"lo"}


def test_an_interface_that_is_not_there_is_no_error_alone_or_among_others(node, removing):
    with node.entered():
        assert removing.remove([], 20.0) == {}
        assert removing.remove(["none"], 20.0) == {}
        assert removing.remove([*make(node, 6), "none", "never"], 20.0) == {}
    assert links(node) == {"lo"}


def test_what_the_kernel_refuses_is_told_and_others_can_still_be_removed(node, removing):
    with pytest.raises(KniError):
        remove(node, removing, ["lo"])
    remove(node, removing, make(node, 3))
    assert links(node) == {"lo"}


def test_where_events_are_lost_the_kernel_s_answers_end_the_removals(node, removing, monkeypatch):
    monkeypatch.setattr(removal, "_DROP_ALL_BUT_GONE", [bpf.DROP])
    remove(node, removing, make(node, 12))
    assert links(node) == {"lo"}


def test_a_removal_that_takes_longer_than_its_caller_has_time_is_late_and_ends_all_the_same(node):
    go_on = threading.Event()

    @contextmanager
    def slowly() -> Iterator[Talk]:
        go_on.wait(20.0)
        with talking() as talk:
            yield talk

    slow = Removal(slowly)
    (name,) = make(node, 1)
    with node.entered():
        told = slow.remove([name], 0.05)
    assert told[name].refusal is Refusal.LATE
    go_on.set()
    slow.close()
    assert links(node) == {"lo"}
