"""What is garbage, by cause, and whose a lease or a veth is."""

from __future__ import annotations

import pytest

from kroute.model.kni import Attachment, Generation, How, Phase, Wiring
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
