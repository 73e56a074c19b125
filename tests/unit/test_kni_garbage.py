"""What is garbage, by cause; and that nothing is which Kubernetes knows or may know."""

from __future__ import annotations

import pytest

from kroute.model.kni import Attachment, Generation, How, Phase, Wiring
from kroute.model.pod import Pod, PodsSeen
from kroute.plan import kni_gc as plan
from kroute.plan.kni_gc import Cause


def attachment(id: str = "a", **more) -> Attachment:
    base = {"id": id, "netns": "/n/a", "phase": Phase.ATTACHED, "generation": Generation.V008}
    return Attachment(**base | {"boot": "b"} | more)


def wired(host: str, how: How = How.EXEC) -> Wiring:
    """A wiring with this node's end, as the plugins' result or as the fast path names it."""
    if how is How.FAST:
        return Wiring(interface="eth0", network={}, how=how, host=host)
    interfaces = [{"name": "kroute0"}, {"name": host}, {"name": "eth0", "sandbox": "/n/a"}]
    return Wiring(interface="eth0", network={}, result={"interfaces": interfaces})


@pytest.mark.parametrize(
    ("more", "lives", "cause", "words"),
    [
        ({"boot": "before"}, True, Cause.BOOT, "former boot"),
        ({"netns": "/n/g"}, False, Cause.NETNS, "/n/g is gone"),
        ({"phase": Phase.DETACHING}, True, Cause.DETACH, "did not end"),
    ],
)
def test_what_nobody_needs_any_more_has_a_cause_and_a_reason(more, lives, cause, words):
    found = plan.why_garbage(attachment(**more), lives=lives, boot="b")
    assert found is not None
    assert found.cause is cause
    assert words in found.reason


def test_what_is_in_order_or_being_attached_is_no_garbage():
    assert plan.why_garbage(attachment(), lives=True, boot="b") is None
    assert plan.why_garbage(attachment(phase=Phase.ATTACHING), lives=True, boot="b") is None


def test_leases_known_to_us_or_to_libcni_have_owners():
    leases = {"10.0.0.2": "mine", "10.0.0.3": "theirs", "10.0.0.4": "nobody"}
    assert list(plan.ownerless(leases, {"mine"}, {"theirs"})) == ["10.0.0.4"]


def test_a_mark_names_its_container_and_other_aliases_name_none():
    assert plan.marked_for(plan.mark_of("c1")) == "c1"
    assert [plan.marked_for(a) for a in ("", "kroute", "cali/c1", "to kroute/c1")] == [""] * 4
    assert len(plan.mark_of("c" * 200)) < 256, "the kernel takes no longer alias"


@pytest.mark.parametrize("how", How)
def test_the_node_s_ends_are_what_the_result_or_the_fast_path_names_and_not_the_pod_s(how):
    ends = plan.host_ends(attachment(wirings=(wired("veth1", how),)))
    assert "veth1" in ends
    assert "eth0" not in ends


def test_a_marked_veth_is_stray_if_its_container_is_unknown_or_attached_without_it():
    known = {
        "here": attachment("here", wirings=(wired("veth1"),)),
        "coming": attachment("coming", phase=Phase.ATTACHING, wirings=(wired("veth9"),)),
        "nameless": attachment("nameless"),
    }
    veths = {"veth1": "here", "veth2": "here", "veth3": "coming", "veth4": "nameless"}
    veths |= {"veth5": "theirs", "veth6": "nobody"}
    found = dict(plan.stray(veths, known, {"theirs"}))
    assert found == {
        "veth2": "container here has been attached anew without it",
        "veth6": "container nobody is known neither here nor to libcni",
    }


# --- pods that Kubernetes does not know -----------------------------------------------------------------

GRACE = 600.0


def pod(name: str, uid: str = "", **more: str) -> Pod:
    return Pod(namespace="default", name=name, uid=uid or f"uid-{name}", **more)


def of(name: str, uid: str | None = None, **more) -> Attachment:
    """The attachment of a pod of the API server's."""
    identity = {"name": name, "namespace": "default", "uid": f"uid-{name}" if uid is None else uid}
    return attachment(f"c-{name}", **identity | more)


def known(*pods: Pod, since: float = 0.0) -> PodsSeen:
    return PodsSeen(pods={p.key: p for p in pods}, since=since, failure="")


class Watch:
    """Looks at attachments, one after the other."""

    def __init__(self, *attachments: Attachment, doubt: str = "") -> None:
        self.attachments = attachments
        self.doubt = doubt
        self.memory = plan.Memory({}, None)

    def look(self, now: float, seen: PodsSeen) -> tuple[plan.Verdict, ...]:
        found = plan.judge(self.attachments, seen, self.doubt, self.memory, now=now, grace=GRACE)
        self.memory = found.memory
        return found.verdicts

    def due(self, now: float, seen: PodsSeen) -> list[str]:
        """Ids of those that may go."""
        return [v.attachment.id for v in self.look(now, seen) if not v.kept]


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
    assert plan.knows(seen, of("web", "u1"))
    assert plan.knows(seen, of("web", ""))
    assert plan.knows(seen, of("etcd", "hash"))
    assert plan.knows(seen, attachment(uid="hash"))
    assert plan.knows(seen, attachment(uid="u1"))
    assert not plan.knows(seen, of("web", "u0")), "a former pod of the same name"
    assert not plan.knows(seen, of("other", ""))
    assert not plan.knows(seen, attachment())


def test_what_the_api_server_does_not_deny_a_second_time_is_kept():
    ours = of("here"), of("lost")
    watch = Watch(*ours)
    watch.look(1000.0, known(pod("here")))
    verdicts = watch.look(1600.0, known(pod("here")))
    assert [v.kept for v in plan.confirm(verdicts, ours, known(pod("here")))] == [""]
    assert list(plan.confirm(verdicts, ours, known(pod("here"), pod("lost")))) == []
    for again in (known(), PodsSeen(failure="504 timeout")):
        (kept,) = plan.confirm(verdicts, ours, again)
        assert "asked once more" in kept.kept
        assert kept.stuck


def test_another_attachment_of_the_same_id_begins_anew():
    watch = Watch(of("here"), of("lost", since=1.0))
    watch.look(1000.0, known(pod("here")))
    watch.attachments = of("here"), of("lost", since=2.0)
    assert watch.due(1600.0, known(pod("here"))) == []
