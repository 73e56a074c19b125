"""No pod that lives is released, and in the end each one that is gone is, whatever an API server and a container
runtime do and say, in any order, and however often kroute restarts."""

from __future__ import annotations

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from support.kni_world import BY_HAND, GRACE, PODS, Collector, Step, World

FAULTS = ["away", "emptied", "doubt", "hang", "silent", "lost", "foreign", "restart", "forget"]
CURES = ["back", "restored", "trust", "heard", "answers", "found", "own"]
LOOKS = st.tuples(st.sampled_from(["look", "look", "wait"]), st.sampled_from([0, 1, 9, 10, 11]))
CHANGES = st.tuples(
    st.sampled_from(["create", "delete", "delete", "remove", "remove", "renew", "blink"]),
    st.integers(0, PODS - 1),
)
ANY = (
    LOOKS,
    LOOKS,
    LOOKS,
    CHANGES,
    CHANGES,
    st.tuples(st.sampled_from(FAULTS), st.just(0)),
    st.tuples(st.sampled_from([*CURES, "heal", "heal", "heal"]), st.just(0)),
)
NAMESPACES = st.tuples(
    st.sampled_from(["give", "enter", "leave", "delete", "remove"]), st.integers(2, PODS - 1)
)


def steps_of(*strategies: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """A first look, and then any of these."""
    many = st.lists(st.one_of(*strategies), min_size=8, max_size=60)
    return many.map(lambda steps: [("look", 0), *steps])


STEPS = steps_of(*ANY)
BEGUN, OVER = ("look", 0), ("look", 10)
ENDED = [("delete", 3), ("remove", 3)]
ALL = [(step, number) for number in range(PODS) for step in ("delete", "remove")]


class Seen:
    """When each source could last be heard to know a pod: it did, or it could not be heard."""

    def __init__(self) -> None:
        self.pod: dict[int, float] = {}
        self.box: dict[int, float] = {}

    def note(self, world: World) -> None:
        """At a look, or where an outage is noticed by itself."""
        for number in range(PODS):
            if world.away or world.doubt or number in world.served():
                self.pod[number] = world.now
            if world.silent or number in world.listed():
                self.box[number] = world.now


@settings(max_examples=1000, deadline=None)
@given(STEPS)
@example([BEGUN, ("lost", 0), BEGUN, OVER, ("emptied", 0), OVER])
@example([BEGUN, ("delete", 3), BEGUN, OVER, ("silent", 0), OVER, ("answers", 0), OVER])
@example([BEGUN, ("delete", 3), ("blink", 3), BEGUN, ("blink", 3), OVER])
@example([BEGUN, ("foreign", 0), ("emptied", 0), BEGUN, OVER])
@example([BEGUN, ("lost", 0), ("delete", 3), BEGUN, ("restart", 0), OVER, OVER])
@example([BEGUN, *ALL, BEGUN, OVER])
@example([BEGUN, ("remove", 3), BEGUN, OVER, ("renew", 3), BEGUN])
@example([BEGUN, ("foreign", 0), BEGUN, OVER, ("away", 0), OVER, OVER])
def test_a_pod_that_lives_is_never_released(steps: list[Step]):
    """It lives if its sandbox does, or if Kubernetes has it and it has no other sandbox."""
    collector = Collector(asks_runtime=True)
    world = collector.world
    for step, number in steps:
        collector.do(step, number)
        attached = collector.numbers()
        for gone in collector.look() if step == "look" else ():
            event("released")
            assert gone != BY_HAND
            assert not world.silent
            assert gone not in world.listed()
            asked = gone != 0 and not (world.away or world.doubt)
            denied = asked and gone not in world.served()
            inherited = gone in world.heirs and not (world.lost or world.foreign)
            assert denied or inherited or gone == 0
            if world.foreign:  # as if no runtime were asked
                assert world.served() & attached - {0}
            if gone == 0:
                assert world.listed() & attached, "the list is about somebody attached here"
            both_emptied = world.emptied and world.lost
            assert not (gone in world.true and gone in world.boxes) or both_emptied


@settings(max_examples=1000, deadline=None)
@given(STEPS)
@example(
    [BEGUN, *ENDED, ("look", 0), ("look", 9), ("silent", 0), ("look", 1), ("answers", 0), OVER]
)
@example([BEGUN, *ENDED, BEGUN, ("restart", 0), ("look", 9), OVER, OVER])
@example([BEGUN, ("remove", 3), BEGUN, OVER, ("delete", 3), BEGUN, ("look", 9), ("look", 1)])
@example([BEGUN, ("delete", 3), BEGUN, OVER, ("remove", 3), BEGUN, ("look", 9), ("look", 1)])
@example([BEGUN, ("renew", 3), BEGUN, ("look", 9), ("look", 1)])
def test_whoever_denies_a_pod_has_denied_it_for_the_whole_grace(steps: list[Step]):
    collector = Collector(asks_runtime=True)
    world, seen = collector.world, Seen()
    for step, number in steps:
        if step in ("hang", "heard", "blink"):
            continue
        collector.do(step, number)
        if step in ("away", "back", "look"):
            seen.note(world)
        for gone in collector.look() if step == "look" else ():
            event("released")
            inherited = gone in world.heirs and gone in seen.box
            assert inherited or gone == 0 or seen.pod.get(gone, 0.0) + GRACE <= world.now
            assert world.foreign or seen.box.get(gone, 0.0) + GRACE <= world.now


@settings(max_examples=500, deadline=None)
@given(STEPS)
def test_what_both_deny_for_long_enough_is_released_to_the_last(steps: list[Step]):
    """Whatever has been before: once all is well again and has been seen, what goes from both goes."""
    collector = Collector(asks_runtime=True)
    world = collector.world
    for step, number in steps:
        collector.do(step, number)
        if step == "look":
            collector.look()
    left = collector.numbers()
    world.do("heal", 0)
    world.true, world.boxes, world.heirs = set(range(PODS)), set(range(PODS)), set()
    assert collector.look() == []
    for step, number in ALL:
        world.do(step, number)
    world.do("look", 0)
    assert collector.look() == []
    collector.restart()
    world.do("look", 0)
    assert collector.look() == []
    world.do("look", 10)
    collector.look()
    assert collector.numbers() - {0} == left & {BY_HAND}


@settings(max_examples=1000, deadline=None)
@given(steps_of(*ANY, NAMESPACES, NAMESPACES))
@example([BEGUN, *ENDED, BEGUN, OVER])
@example([BEGUN, ("enter", 3), *ENDED, BEGUN, OVER, ("leave", 3), BEGUN, ("look", 9), ("look", 1)])
@example([BEGUN, *ENDED, BEGUN, ("look", 1), ("give", 3), ("look", 9), ("look", 1)])
@example([BEGUN, ("delete", 3), BEGUN, OVER, ("remove", 3), OVER])
@example([BEGUN, *ENDED, BEGUN, ("restart", 0), ("look", 9), OVER])
@example([BEGUN, *ALL, BEGUN, OVER, OVER, OVER])
def test_a_namespace_goes_only_if_nobody_was_in_it_and_its_pod_was_unknown_for_the_whole_grace(
    steps: list[Step],
):
    collector = Collector(asks_runtime=True, makes=True)
    world, seen = collector.world, Seen()
    used: dict[int, float] = {}
    blind = False
    for step, number in steps:
        collector.do(step, number)
        blind = (blind or step == "hang") and step not in ("heard", "back", "heal")
        if step == "give":
            used[number] = world.now
        if step in ("away", "back", "look") and not blind:
            seen.note(world)
        if step != "look":
            continue
        used |= dict.fromkeys(collector.occupied, world.now)
        collector.look()
        for gone in collector.removed:
            event("removed")
            assert gone not in (0, 1), "nobody has said whose it is"
            assert gone not in collector.occupied
            assert (world.away, world.doubt, world.silent) == (False, "", False)
            assert gone not in world.served()
            assert world.lost or world.foreign or gone not in world.boxes | world.heirs
            assert used.get(gone, 0.0) + GRACE <= world.now
            assert seen.pod.get(gone, 0.0) + GRACE <= world.now


def test_a_namespace_that_was_left_with_its_pod_goes_after_it_and_those_of_no_pod_stay():
    collector = Collector(asks_runtime=True, makes=True)
    collector.occupied = set(range(PODS))
    collector.look()
    for step in ALL:
        collector.do(*step)
    collector.look()
    collector.do("look", 10)
    assert collector.look() == [1, 2, 3]
    assert collector.removed == []
    collector.occupied.clear()
    for after, gone in ((0, []), (9, []), (1, [2, 3])):
        collector.do("look", after)
        collector.look()
        assert collector.removed == gone
    collector.do("look", 1000)
    collector.look()
    assert collector.made.keys() == {0, 1}
