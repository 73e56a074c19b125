"""Nothing that Kubernetes knows or may know is ever released, whatever an API server does and says, in any order."""

from __future__ import annotations

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from support.kni_world import GRACE, PODS, Collector, Step

FAULTS = ["away", "back", "emptied", "restored", "doubt", "trust", "hang", "heard"]
LOOKS = st.tuples(st.sampled_from(["look", "look", "wait"]), st.sampled_from([0, 1, 5, 10, 11]))
"""A look, so many seconds later; or none."""
CHANGES = st.tuples(st.sampled_from(["create", "delete", "delete"]), st.integers(0, PODS - 1))
STEPS = st.lists(
    st.one_of(LOOKS, LOOKS, CHANGES, st.tuples(st.sampled_from(FAULTS), st.just(0))),
    min_size=4,
    max_size=40,
)
GONE = ("delete", 3)
BEGUN, OVER = ("look", 0), ("look", 10)


@settings(max_examples=500, deadline=None)
@given(STEPS)
@example([GONE, ("hang", 0), ("create", 3), BEGUN, OVER])
@example([GONE, BEGUN, ("hang", 0), ("emptied", 0), OVER])
@example([GONE, BEGUN, ("away", 0), OVER, ("emptied", 0), OVER, ("doubt", 0), OVER])
@example([("delete", 0), ("delete", 1), ("delete", 2), GONE, BEGUN, OVER, OVER])
def test_nothing_that_kubernetes_knows_or_may_know_is_ever_released(steps: list[Step]):
    collector = Collector()
    world = collector.world
    for step, number in steps:
        world.do(step, number)
        attached = collector.numbers()
        for gone in collector.look() if step == "look" else ():
            event("released")
            assert gone != 0, "its caller gave no identity"
            assert (world.away, world.emptied, world.doubt) == (False, False, "")
            assert gone not in world.true
            assert world.true & attached - {0}, "nobody who is attached here is in the list"


@settings(max_examples=500, deadline=None)
@given(STEPS)
@example([GONE, BEGUN, ("wait", 1), ("away", 0), ("back", 0), ("look", 9)])
@example([GONE, BEGUN, ("away", 0), ("look", 1), ("back", 0), ("look", 9)])
@example([GONE, ("look", 9), ("away", 0), ("look", 1), ("back", 0), OVER, OVER])
@example([GONE, BEGUN, ("look", 9), ("doubt", 0), BEGUN, ("trust", 0), ("look", 9), ("look", 1)])
@example([GONE, BEGUN, ("create", 3), BEGUN, GONE, ("look", 9), ("look", 1)])
def test_the_grace_begins_anew_whenever_a_pod_may_have_been_known(steps: list[Step]):
    """An outage is noticed whenever it was, every other doubt by those who look."""
    collector = Collector()
    world = collector.world
    world.note()
    for step, number in steps:
        if step in ("hang", "heard"):
            continue
        world.do(step, number)
        if step in ("away", "back") or step == "look":
            world.note()
        for gone in collector.look() if step == "look" else ():
            event("released")
            assert world.last_known[gone] + GRACE <= world.now


def test_what_is_really_gone_is_released_in_the_end():
    collector = Collector()
    for step in (("delete", 3), ("delete", 1), ("look", 0), ("look", 9)):
        collector.world.do(*step)
        if step[0] == "look":
            assert collector.look() == []
    collector.world.do("look", 1)
    assert collector.look() == [1, 3]
