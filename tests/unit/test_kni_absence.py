"""Attachments that Kubernetes or the container runtime denies: which may go, and that nothing does which may live."""

from __future__ import annotations

import pytest

from kroute.model.kni import Attachment, Wiring
from kroute.model.pod import PodsSeen
from kroute.model.sandbox import Listed, Sandbox, SandboxesSeen
from kroute.plan import kni_absence as plan
from kroute.plan import kni_holdings
from kroute.plan.kni_gc import Cause
from kroute.plan.kni_holdings import of_attachment
from support.kni_absence import Watch, attachment, box, known, listing, of, pod

# --- pods that Kubernetes does not know -----------------------------------------------------------------


def test_a_pod_that_was_unknown_for_the_whole_grace_may_go_and_no_sooner():
    watch = Watch(of("here"), of("lost"))
    seen = known(pod("here"))
    (first,) = watch.look(1000.0, seen)
    assert first.reason == "Kubernetes does not know its pod default/lost on this node"
    assert first.kept == "released in 600 s unless Kubernetes learns of it"
    assert watch.due(1599.9, seen) == []
    assert watch.due(1600.0, seen) == ["c-lost"]


def test_a_pod_that_comes_to_be_known_begins_anew():
    watch = Watch(of("here"), of("lost"))
    watch.look(1000.0, known(pod("here")))
    assert watch.look(1300.0, known(pod("here"), pod("lost"))) == ()
    watch.look(1400.0, known(pod("here")))
    assert watch.due(1999.0, known(pod("here"))) == []
    assert watch.due(2000.0, known(pod("here"))) == ["c-lost"]


@pytest.mark.parametrize(
    "away", [PodsSeen(), PodsSeen(pods={"default/here": pod("here")}, failure="503 away")]
)
def test_an_api_server_that_is_away_takes_nothing_along_and_the_grace_begins_with_its_return(away):
    watch = Watch(of("here"), of("lost"))
    watch.look(1000.0, known(pod("here")))
    assert watch.look(1300.0, away) == ()
    assert watch.due(1700.0, known(pod("here"))) == []
    assert watch.due(2299.0, known(pod("here"))) == []
    assert watch.due(2300.0, known(pod("here"))) == ["c-lost"]


def test_an_outage_between_two_looks_counts_as_well():
    watch = Watch(of("here"), of("lost"))
    watch.look(1000.0, known(pod("here")))
    assert watch.due(1700.0, known(pod("here"), since=1500.0)) == []
    assert watch.due(2100.0, known(pod("here"), since=1500.0)) == ["c-lost"]


@pytest.mark.parametrize("listed", [(), (pod("hostnetwork"),), (pod("here", "another"),)])
def test_a_list_with_none_of_our_pods_takes_nothing_along_and_is_said_after_the_grace(listed):
    """Emptied, another cluster's, or another node's."""
    watch = Watch(of("here"), of("lost"))
    for now in (1000.0, 1599.0, 1600.0, 9999.0):
        verdicts = watch.look(now, known(*listed))
        assert ["it may lack any" in v.kept for v in verdicts] == [True, True]
        assert [v.stuck for v in verdicts] == [now >= 1600.0] * 2
    assert watch.due(10_000.0, known(pod("here"))) == []
    assert watch.due(10_600.0, known(pod("here"))) == ["c-lost"]


def test_a_doubt_about_the_nodes_is_one_about_the_pods():
    watch = Watch(of("here"), of("lost"), doubt="the list lacks this node")
    watch.look(1000.0, known(pod("here")))
    (found,) = watch.look(2000.0, known(pod("here")))
    assert (found.kept, found.stuck) == ("the list lacks this node", True)
    watch.doubt = ""
    assert watch.due(2001.0, known(pod("here"))) == []
    assert watch.due(2601.0, known(pod("here"))) == ["c-lost"]


@pytest.mark.parametrize(
    "identity",
    [
        {"name": "", "namespace": "", "uid": ""},
        {"name": "lost", "namespace": "", "uid": ""},
        {"name": "lost_default_0e9c_0", "namespace": "default", "uid": ""},
    ],
    ids=["nothing", "no namespace", "a sandbox's name"],
)
def test_who_says_no_pod_that_kubernetes_could_know_is_never_judged(identity):
    watch = Watch(of("here"), attachment("c", **identity))
    for now in (1000.0, 9999.0):
        assert watch.look(now, known(pod("here"))) == ()


@pytest.mark.parametrize("source", ["file", "http"])
def test_static_pods_are_the_kubelet_s_whether_they_have_a_mirror_or_not(source):
    notes = {"io.kubernetes.cri.pod-annotations": {"kubernetes.io/config.source": source}}
    static = Wiring(interface="eth0", network={}, capabilities=notes)
    watch = Watch(of("here"), of("etcd", wirings=(static,)))
    for now in (1000.0, 9999.0):
        assert watch.look(now, known(pod("here"))) == ()
    api = {"io.kubernetes.cri.pod-annotations": {"kubernetes.io/config.source": "api"}}
    other = Wiring(interface="eth0", network={}, capabilities=api)
    assert len(Watch(of("here"), of("lost", wirings=(other,))).look(0.0, known(pod("here")))) == 1


def test_a_pod_is_known_by_its_uid_or_its_mirror_or_by_its_name_if_no_uid_was_given():
    seen = known(pod("web", "u1"), pod("etcd", "api", mirror_of="hash"))

    def knows(of_whom: Attachment) -> bool:
        return kni_holdings.knows(seen, of_attachment(of_whom))

    assert knows(of("web", "u1"))
    assert knows(of("web", ""))
    assert knows(of("etcd", "hash"))
    assert knows(attachment(uid="hash"))
    assert knows(attachment(uid="u1"))
    assert not knows(of("web", "u0")), "a former pod of the same name"
    assert not knows(of("other", ""))
    assert not knows(attachment())


def test_what_is_not_denied_a_second_time_is_kept():
    watch = Watch(of("here"), of("lost"))
    watch.look(1000.0, known(pod("here")))
    first = watch.look(1600.0, known(pod("here")))

    def then(pods: PodsSeen) -> list[plan.Verdict]:
        return list(plan.confirm(first, watch.look(1600.0, pods), pods.failure))

    assert [v.kept for v in then(known(pod("here")))] == [""]
    for again in (PodsSeen(failure="504 timeout"), known()):
        (kept,) = then(again)
        assert kept.kept.startswith("asked once more: ")
        assert kept.stuck
    assert then(known(pod("here"), pod("lost"))) == []


def test_another_attachment_of_the_same_id_begins_anew():
    watch = Watch(of("here"), of("lost", since=1.0))
    watch.look(1000.0, known(pod("here")))
    watch.attachments = of("here"), of("lost", since=2.0)
    assert watch.due(1600.0, known(pod("here"))) == []


# --- sandboxes that the CRI lists no more ---------------------------------------------------------------


def test_what_both_deny_for_the_whole_grace_may_go_even_where_it_was_the_last():
    watch = Watch(of("lost"))
    assert watch.look(900.0, known(pod("lost")), listing(box("lost"))) == ()
    (waits,) = watch.look(1000.0, known(), listing())
    assert waits.cause is Cause.POD
    assert waits.reason == (
        "Kubernetes does not know its pod default/lost on this node, nor does the CRI list its sandbox any more"
    )
    assert waits.kept == "released in 600 s unless one of them learns of it"
    assert watch.due(1599.9, known(), listing()) == []
    assert watch.due(1600.0, known(), listing()) == ["c-lost"]


@pytest.mark.parametrize(
    "between",
    [
        (known(), SandboxesSeen(failure="away")),
        (known(), listing(box("lost"))),
        (PodsSeen(failure="away"), listing()),
        (known(pod("lost")), listing()),
    ],
    ids=["CRI silent", "listed again", "Kubernetes silent", "known again"],
)
def test_whoever_takes_back_a_denial_or_is_silent_begins_the_grace_of_both_anew(between):
    watch = Watch(of("lost"))
    watch.look(900.0, known(pod("lost")), listing(box("lost")))
    watch.look(1000.0, known(), listing())
    assert [v for v in watch.look(1300.0, *between) if not v.kept] == []
    assert watch.due(1600.0, known(), listing()) == []
    assert watch.due(2199.0, known(), listing()) == []
    assert watch.due(2200.0, known(), listing()) == ["c-lost"]


@pytest.mark.parametrize("ready", [True, False])
def test_a_sandbox_that_the_cri_lists_is_kept_whatever_kubernetes_denies(ready):
    watch = Watch(of("here"), of("lost"))
    for now in (1000.0, 1600.0, 9999.0):
        boxes = listing(box("here"), box("lost", ready=ready))
        (found,) = watch.look(now, known(pod("here")), boxes)
        assert found.kept == "the CRI lists its sandbox, which the kubelet has to end"
        assert found.stuck is (now >= 1600.0)
    assert watch.due(10_000.0, known(pod("here")), listing(box("here"))) == []
    assert watch.due(10_600.0, known(pod("here")), listing(box("here"))) == ["c-lost"]


def test_while_the_cri_is_silent_kubernetes_word_alone_is_not_enough():
    """It may list the sandbox: one that it has never listed is one that nobody has seen yet."""
    watch = Watch(of("here"), of("lost"))
    silent = SandboxesSeen(failure="did not answer within 5 s")
    watch.look(1000.0, known(pod("here")), silent)
    (found,) = watch.look(1600.0, known(pod("here")), silent)
    assert found.kept == "the CRI may list its sandbox: did not answer within 5 s"
    assert found.stuck


@pytest.mark.parametrize("boxes", [listing(), listing(box("here")), listing(box("foreign"))])
def test_of_what_the_cri_never_listed_kubernetes_judges_as_if_there_were_no_cri(boxes):
    """Attached by hand, or by another runtime than the one that is asked."""
    nameless = attachment("sandbox-1")
    watch = Watch(of("here"), of("lost"), nameless)
    watch.look(1000.0, known(pod("here")), boxes)
    assert watch.due(1600.0, known(pod("here")), boxes) == ["c-lost"]
    (last,) = Watch(of("lost")).look(9999.0, known(), boxes)
    assert "it may lack any" in last.kept


def test_another_sandbox_of_a_denied_pod_speaks_for_none_that_was_never_listed():
    watch = Watch(of("here"), of("lost"))
    boxes = listing(box("here"), box("lost", "c-other"))
    watch.look(1000.0, known(pod("here")), boxes)
    assert watch.due(1600.0, known(pod("here")), boxes) == ["c-lost"]


@pytest.mark.parametrize("boxes", [listing(), listing(box("foreign"))], ids=["empty", "another's"])
def test_a_list_with_none_of_our_sandboxes_takes_nothing_along_where_kubernetes_denies_nothing(
    boxes,
):
    """A containerd that has lost its metadata: the processes of its sandboxes live."""
    for pods in (None, known(pod("here"), pod("lost")), PodsSeen(failure="away")):
        watch = Watch(of("here"), of("lost"))
        watch.look(900.0, pods, listing(box("here"), box("lost")))
        for now in (1000.0, 1600.0, 9999.0):
            verdicts = watch.look(now, pods, boxes)
            assert [bool(v.kept) for v in verdicts] == [True, True]
            assert [v.stuck for v in verdicts] == [now >= 1600.0] * 2


def test_a_sandbox_that_is_gone_may_go_though_its_pod_is_known_once_another_one_of_it_is_ready():
    watch = Watch(of("here"), of("web"))
    pods = known(pod("here"), pod("web"))
    watch.look(900.0, pods, listing(box("here"), box("web")))
    (found,) = watch.look(1000.0, pods, listing(box("here")))
    assert (found.cause, found.stuck) == (Cause.SANDBOX, False)
    assert found.reason == "the CRI lists its sandbox no more"
    unready = box("web", "c-web2", ready=False)
    for other in (unready, box("other"), box("web", "c-namesake", uid="another")):
        (found,) = watch.look(1700.0, pods, listing(box("here"), other))
        assert "Kubernetes knows its pod default/web, and no other sandbox" in found.kept
        assert found.stuck
    heir = box("web", "c-web2")
    for kubernetes in (pods, PodsSeen(failure="away"), None, known(pod("here"))):
        (found,) = watch.look(1700.0, kubernetes, listing(box("here"), heir))
        assert found.reason == (
            "the CRI lists its sandbox no more, but another one of its pod default/web"
        )
        assert found.kept == ""


def test_an_heir_is_told_by_its_name_where_nobody_said_the_pod_s_uid():
    watch = Watch(of("here"), of("web", ""), attachment("mute"))
    pods = known(pod("here"), pod("web"))
    watch.look(0.0, pods, listing(box("here"), box("web"), box("", "mute", uid="?")))
    nobody = Sandbox(id="x", ready=True)
    watch.look(1000.0, pods, listing(box("here"), box("web", "c-web2"), nobody))
    verdicts = watch.look(1600.0, pods, listing(box("here"), box("web", "c-web2"), nobody))
    assert {v.holding.id: "another one" in v.reason for v in verdicts} == {
        "c-web": True,
        "mute": False,
    }


def test_while_kubernetes_is_silent_it_may_know_the_pod_of_a_sandbox_that_is_gone():
    watch = Watch(of("here"), of("lost"))
    away = PodsSeen(failure="503 away")
    watch.look(900.0, away, listing(box("here"), box("lost")))
    watch.look(1000.0, away, listing(box("here")))
    (found,) = watch.look(1600.0, away, listing(box("here")))
    assert found.kept == "Kubernetes may know its pod default/lost: 503 away"
    assert found.stuck


def test_the_cri_s_word_is_enough_for_pods_that_kubernetes_could_not_know():
    notes = {"io.kubernetes.cri.pod-annotations": {"kubernetes.io/config.source": "file"}}
    static = of("etcd", wirings=(Wiring(interface="eth0", network={}, capabilities=notes),))
    watch = Watch(of("here"), static, attachment("mute"))
    mute = Sandbox(id="mute", ready=True)
    for pods in (known(pod("here")), None):
        watch.memory = plan.Memory()
        watch.look(900.0, pods, listing(box("here"), box("etcd"), mute))
        verdicts = watch.look(1000.0, pods, listing(box("here")))
        assert {v.kept for v in verdicts} == {"released in 600 s unless the CRI lists it again"}
        assert watch.due(1600.0, pods, listing(box("here"))) == ["c-etcd", "mute"]


def test_another_runtime_s_list_and_a_later_attachment_of_the_id_know_nothing_of_what_was_listed():
    watch = Watch(of("here"), of("lost"))
    watch.look(900.0, None, listing(box("here"), box("lost")))
    other = listing(box("here"), runtime="cri-o at /s")
    for now in (1000.0, 1600.0):
        assert watch.look(now, None, other) == ()
    assert watch.memory.listed == Listed("cri-o at /s", frozenset({("c-here", 0.0)}))
    watch.look(1700.0, None, listing(box("here"), box("lost")))
    watch.attachments = of("here"), of("lost", since=2.0)
    assert watch.look(1800.0, None, listing(box("here"))) == ()


def test_a_doubt_about_the_nodes_is_none_that_two_denials_outweigh():
    watch = Watch(of("lost"), doubt="the list lacks this node")
    watch.look(900.0, known(pod("lost")), listing(box("lost")))
    watch.look(1000.0, known(), listing())
    (found,) = watch.look(1600.0, known(), listing())
    assert (found.kept, found.stuck) == ("the list lacks this node", True)
    watch.doubt = ""
    assert watch.due(1601.0, known(), listing()) == []
    assert watch.due(2201.0, known(), listing()) == ["c-lost"]
