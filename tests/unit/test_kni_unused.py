"""Namespaces that were made for pods: which may go when nobody is attached in them, and that no other does."""

from __future__ import annotations

import pytest

from kroute.codec.kni import record
from kroute.model.pod import PodsSeen
from kroute.model.sandbox import Listed, Sandbox, SandboxesSeen
from kroute.plan import kni_absence as plan
from kroute.plan.kni_gc import Cause
from support.kni_absence import Watch, box, known, listing, made, of, pod

AWAY = PodsSeen(failure="503 away")
HERE = known(pod("here"))


def watch(**more) -> Watch:
    """A pod that is attached and known, and the namespace of another one."""
    return Watch(of("here"), made=[made("lost", **more)])


def test_a_namespace_whose_pod_was_unknown_for_the_whole_grace_may_go_and_no_sooner():
    looks = watch()
    (first,) = looks.look(1000.0, HERE)
    assert (first.holding.object, first.cause) == ("netns//n/lost", Cause.UNUSED)
    assert first.reason == "Kubernetes does not know its pod default/lost on this node"
    assert first.kept == "released in 600 s unless Kubernetes learns of it"
    assert looks.due(1599.9, HERE) == []
    assert looks.due(1600.0, HERE) == ["/n/lost"]


def test_a_namespace_whose_pod_is_known_by_its_name_stays():
    """Also that of a former pod of the name: nobody said its uid, and the next sandbox is given it."""
    looks = watch()
    for now in (1000.0, 9999.0):
        assert looks.look(now, known(pod("here"), pod("lost", "another uid"))) == ()


@pytest.mark.parametrize(
    "unnamed",
    [{"name": "", "namespace": ""}, {"namespace": ""}, {"name": ""}, {"name": "no pod's name"}],
    ids=str,
)
def test_a_namespace_that_was_made_for_no_pod_of_a_name_is_never_judged(unnamed):
    looks = watch(**unnamed)
    for now in (1000.0, 9999.0):
        assert looks.look(now, HERE) == ()
        assert looks.look(now, HERE, listing(box("here"))) == ()


def test_a_namespace_is_never_judged_where_kubernetes_is_not_asked():
    looks = watch()
    looks.look(900.0, None, listing(box("here"), box("lost")))
    for now in (1000.0, 9999.0):
        assert looks.look(now, None, listing(box("here"))) == ()


def test_while_somebody_is_attached_in_it_the_grace_has_not_begun():
    looks = watch(occupied=True)
    for now in (1000.0, 1600.0, 9999.0):
        assert looks.look(now, HERE) == ()
    looks.made = (made("lost"),)
    (first,) = looks.look(10_000.0, HERE)
    assert first.kept == "released in 600 s unless Kubernetes learns of it"
    assert looks.due(10_599.0, HERE) == []
    assert looks.due(10_600.0, HERE) == ["/n/lost"]


def test_a_namespace_that_is_given_to_its_pod_once_more_begins_anew():
    looks = watch(since=1.0)
    looks.look(1000.0, HERE)
    looks.made = (made("lost", since=2.0),)
    assert looks.due(1600.0, HERE) == []
    assert looks.due(2200.0, HERE) == ["/n/lost"]


@pytest.mark.parametrize("between", [AWAY, known(pod("here"), pod("lost")), known()])
def test_an_outage_a_pod_that_is_known_and_an_emptied_list_begin_the_grace_anew(between):
    looks = watch()
    looks.look(1000.0, HERE)
    assert [v for v in looks.look(1300.0, between) if not v.kept] == []
    assert looks.due(1700.0, HERE) == []
    assert looks.due(2299.0, HERE) == []
    assert looks.due(2300.0, HERE) == ["/n/lost"]


def test_a_doubt_about_the_nodes_keeps_namespaces_and_is_told_after_the_grace():
    looks = watch()
    looks.doubt = "the list lacks this node"
    for now in (1000.0, 1600.0):
        (found,) = looks.look(now, HERE)
        assert (found.kept, found.stuck) == ("the list lacks this node", now >= 1600.0)


def test_a_namespace_speaks_for_no_list():
    """Another cluster has pods of the same names: a list that knows them by uid only is none of ours."""
    looks = Watch(of("web"), of("lost"), made=[made("web"), made("gone")])
    other = known(pod("web", "u1"), pod("lost", "u2"))
    for now in (1000.0, 1600.0, 9999.0):
        kept = {v.holding.id: (v.kept, v.stuck) for v in looks.look(now, other)}
        assert kept.keys() == {"c-web", "c-lost", "/n/gone"}
        assert all("it may lack any" in why for why, _ in kept.values())
        assert {stuck for _, stuck in kept.values()} == {now >= 1600.0}


def test_the_last_namespace_of_a_node_waits_for_an_attached_pod_that_is_known():
    looks = Watch(made=[made("lost")])
    looks.look(1000.0, HERE)
    (found,) = looks.look(1600.0, HERE)
    assert "it may lack any" in found.kept
    assert found.stuck
    looks.attachments = (of("here"),)
    assert looks.due(2000.0, HERE) == []
    assert looks.due(2600.0, HERE) == ["/n/lost"]


def test_what_is_not_denied_a_second_time_is_kept():
    looks = watch()
    looks.look(1000.0, HERE)
    first = looks.look(1600.0, HERE)
    (kept,) = plan.confirm(first, looks.look(1600.0, AWAY), AWAY.failure)
    assert (kept.kept, kept.stuck) == ("asked once more: 503 away", True)
    again = looks.look(1600.0, known(pod("here"), pod("lost")))
    assert list(plan.confirm(first, again, "")) == []


# --- where the container runtime is asked as well -------------------------------------------------------


@pytest.mark.parametrize(
    "listed",
    [box("lost"), box("lost", "c-any", ready=False), Sandbox(id="c-lost", ready=False)],
    ids=["of its pod", "not ready", "the last one in it"],
)
def test_while_the_cri_lists_a_sandbox_of_the_pod_its_namespace_is_kept(listed):
    looks = watch(container="c-lost")
    for now in (1000.0, 1600.0):
        (found,) = looks.look(now, HERE, listing(box("here"), listed))
        assert found.kept == "the CRI lists its sandbox, which the kubelet has to end"
        assert found.stuck is (now >= 1600.0)
    assert looks.due(1601.0, HERE, listing(box("here"))) == []
    assert looks.due(2201.0, HERE, listing(box("here"))) == ["/n/lost"]


def test_while_the_cri_is_silent_the_namespace_is_kept():
    looks = watch()
    silent = SandboxesSeen(failure="did not answer within 5 s")
    looks.look(1000.0, HERE, silent)
    (found,) = looks.look(1600.0, HERE, silent)
    assert found.kept == "the CRI may list its sandbox: did not answer within 5 s"
    assert found.stuck


def test_of_a_pod_without_any_sandbox_kubernetes_judges_the_namespace_alone():
    """The kubelet died before it had one made."""
    looks = watch()
    boxes = listing(box("here"))
    looks.look(1000.0, HERE, boxes)
    assert looks.due(1600.0, HERE, boxes) == ["/n/lost"]
    (last,) = Watch(made=[made("lost")]).look(9999.0, HERE, boxes)
    assert "it may lack any" in last.kept


def test_what_both_deny_for_the_whole_grace_may_go_even_where_it_was_the_last():
    """The pod was attached in it when the CRI listed its sandbox."""
    looks = Watch(of("lost"), made=[made("lost", occupied=True)])
    looks.look(900.0, known(pod("lost")), listing(box("lost")))
    looks.look(1000.0, known(), listing())
    assert looks.due(1600.0, known(), listing()) == ["c-lost"]
    looks.attachments, looks.made = (), (made("lost"),)
    (waits,) = looks.look(1700.0, known(), listing())
    assert waits.kept == "released in 600 s unless one of them learns of it"
    assert looks.due(2299.0, known(), listing()) == []
    assert looks.due(2300.0, known(), listing()) == ["/n/lost"]


@pytest.mark.parametrize("pods", [known(pod("here"), pod("lost")), AWAY, None])
def test_the_cri_s_word_alone_takes_no_namespace_along(pods):
    looks = watch()
    looks.look(900.0, pods, listing(box("here"), box("lost")))
    for now in (1000.0, 9999.0):
        assert looks.look(now, pods, listing(box("here"))) == ()


def test_that_the_cri_has_listed_the_sandbox_of_a_namespace_s_pod_outlives_the_daemon():
    looks = watch(since=2.5)
    looks.look(900.0, HERE, listing(box("here"), box("lost")))
    assert ("/n/lost", 2.5) in looks.memory.listed.keys
    text = record.write_listed(looks.memory.listed)
    assert record.read_listed(text) == looks.memory.listed
    looks.memory = plan.Memory(listed=Listed(*looks.memory.listed))
    looks.attachments = ()
    looks.look(1000.0, known(), listing())
    assert looks.due(1599.0, known(), listing()) == []
    assert looks.due(1600.0, known(), listing()) == ["/n/lost"]
