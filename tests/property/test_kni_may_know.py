"""Nothing that Kubernetes knows or may know is ever released, whatever an API server does and says, in any order.

The world here is told apart from what is seen of it: pods come and go, an API server loses its objects or is another
one, answers or not, and the collector looks at times of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from kroute.drivers.kni.forgotten import Forgotten
from kroute.model.kni import Attachment, Generation, Phase
from kroute.model.pod import Pod, PodsSeen

GRACE = 10.0
PODS = 4
FAULTS = ["away", "back", "emptied", "restored", "doubt", "trust", "hang", "heard"]
Step = tuple[str, int]
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


def attachment(number: int) -> Attachment:
    """Pod 0 says nothing of itself, pod 1 its uid alone, the others name and uid."""
    name = "" if number < 2 else f"p{number}"
    return Attachment(
        id=f"c{number}",
        netns=f"/n/{number}",
        phase=Phase.ATTACHED,
        generation=Generation.V008,
        name=name,
        namespace="default" if name else "",
        uid=f"u{number}" if number else "",
    )


@dataclass
class World:
    """What is true, what the server says, and what our watch has of it."""

    now: float = 1000.0
    true: set[int] = field(default_factory=lambda: set(range(PODS)))
    """Pods that Kubernetes has, were its storage whole."""
    emptied: bool = False
    away: bool = False
    lagging: set[int] | None = None
    """What the watch still shows while it hangs unnoticed."""
    doubt: str = ""
    since: float = 1000.0
    last_known: dict[int, float] = field(default_factory=dict)
    """When a pod could last be known: it was true, or nobody could tell."""

    def note(self) -> None:
        """Remember what is known, or may be, at this moment."""
        unsure = self.away or self.emptied or bool(self.doubt)
        for number in range(PODS):
            if unsure or number in self.true:
                self.last_known[number] = self.now

    def do(self, step: str, number: int) -> None:
        match step:
            case "create":
                self.true.add(number)
            case "delete":
                self.true.discard(number)
            case "away":
                self.away = True
            case "back":
                self.since = self.now if self.away else self.since
                self.away, self.lagging = False, None
            case "emptied":
                self.emptied = True
            case "restored":
                self.emptied = False
            case "doubt":
                self.doubt = "the list of nodes lacks this node"
            case "trust":
                self.doubt = ""
            case "hang":
                self.lagging = self.served()
            case "heard":
                self.lagging = None
            case "look" | "wait":
                self.now += number

    def served(self) -> set[int]:
        """What the server says when it is asked."""
        return set() if self.emptied else set(self.true)

    # --- what the collector asks

    def seen(self) -> PodsSeen:
        return self._told(self.served() if self.lagging is None else self.lagging)

    def ask(self) -> PodsSeen:
        return self._told(self.served())

    def close(self) -> None:
        """Nothing is held."""

    def _told(self, numbers: Iterable[int]) -> PodsSeen:
        pods = [Pod(namespace="default", name=f"p{n}", uid=f"u{n}") for n in numbers]
        failure = "503 away" if self.away else ""
        return PodsSeen(pods={p.key: p for p in pods}, since=self.since, failure=failure)


class Collector:
    """Looks at what is attached, and what it releases is attached no more."""

    def __init__(self) -> None:
        self.world = World()
        self._forgotten = Forgotten(
            self.world, GRACE, doubt=lambda: self.world.doubt, clock=lambda: self.world.now
        )
        self.attached = [attachment(number) for number in range(PODS)]

    def look(self) -> list[int]:
        """The pods that may go now."""
        gone = [v.attachment for v in self._forgotten.look(self.attached) if not v.kept]
        self.attached = [a for a in self.attached if a not in gone]
        return [int(a.id[1:]) for a in gone]


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
        attached = {int(a.id[1:]) for a in collector.attached}
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
