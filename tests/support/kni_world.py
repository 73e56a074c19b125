"""A node's pods and sandboxes, and what an API server and a container runtime say of them, true or not.

The world is told apart from what is seen of it: pods and sandboxes come and go, either source loses what it had, is
another one, answers or not, and a collector looks at times of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kroute.drivers.kni.forgotten import Forgotten
from kroute.model.kni import Attachment, Domain, Generation, Phase
from kroute.model.pod import Pod, PodsSeen
from kroute.model.sandbox import Listed, Sandbox, SandboxesSeen
from kroute.plan.kni_holdings import Holding, of_attachment, of_domain

GRACE = 10.0
PODS = 4
BY_HAND = PODS
"""Attached by hand: neither source could know it."""
DOUBT = "the list of nodes lacks this node"
Step = tuple[str, int]


def attachment(number: int) -> Attachment:
    """Pod 0 says nothing of itself, as what is attached by hand; pod 1 its uid alone, the others name and uid."""
    name = f"p{number}" if 2 <= number < PODS else ""
    return Attachment(
        id=f"c{number}",
        netns=f"/n/{number}",
        phase=Phase.ATTACHED,
        generation=Generation.V008,
        name=name,
        namespace="default" if name else "",
        uid=f"u{number}" if 0 < number < PODS else "",
    )


def domain(number: int) -> Domain:
    """The namespace that was made for pod 2 or 3; those of the first two were made without a name."""
    name = attachment(number).name
    return Domain(path=f"/m{number}", name=name, namespace="default" if name else "")


@dataclass
class World:
    """What is true, what the two say, and what our watch has of it."""

    now: float = 1000.0
    true: set[int] = field(default_factory=lambda: set(range(PODS)))
    """Pods that Kubernetes has, were its storage whole."""
    boxes: set[int] = field(default_factory=lambda: set(range(PODS)))
    """Attached sandboxes that the runtime has, were its storage whole."""
    heirs: set[int] = field(default_factory=set)
    """Pods that have another sandbox, which is ready."""
    emptied: bool = False
    away: bool = False
    lagging: set[int] | None = None
    """What the watch still shows while it hangs unnoticed."""
    doubt: str = ""
    since: float = 1000.0
    last_known: dict[int, float] = field(default_factory=dict)
    """When a pod could last be known: it was true, or nobody could tell."""
    silent: bool = False
    """The runtime does not answer."""
    lost: bool = False
    """The runtime has lost its state; its sandboxes live."""
    foreign: bool = False
    """Another runtime answers in its place."""
    blinking: set[int] = field(default_factory=set)
    """Sandboxes that the next answer will lack, and that one only."""
    saved: Listed = Listed()

    def note(self) -> None:
        """Remember what is known, or may be, at this moment."""
        unsure = self.away or self.emptied or bool(self.doubt)
        for number in range(PODS):
            if unsure or number in self.true:
                self.last_known[number] = self.now

    def do(self, step: str, number: int) -> None:
        """Let something happen."""
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
            case "emptied" | "restored":
                self.emptied = step == "emptied"
            case "doubt" | "trust":
                self.doubt = DOUBT if step == "doubt" else ""
            case "hang":
                self.lagging = self.served()
            case "heard":
                self.lagging = None
            case "look" | "wait":
                self.now += number
            case _:
                self._to_the_runtime(step, number)

    def _to_the_runtime(self, step: str, number: int) -> None:
        match step:
            case "remove":
                self.boxes.discard(number)
            case "renew":
                self.boxes.discard(number)
                self.heirs.add(number)
            case "silent" | "answers":
                self.silent = step == "silent"
            case "lost" | "found":
                self.lost = step == "lost"
            case "foreign" | "own":
                self.foreign = step == "foreign"
            case "blink":
                self.blinking.add(number)
            case "heal":
                for cure in ("back", "restored", "trust", "heard", "answers", "found", "own"):
                    self.do(cure, 0)
                self.blinking.clear()

    def served(self) -> set[int]:
        """What the API server says when it is asked."""
        return set() if self.emptied else set(self.true)

    def listed(self) -> set[int]:
        """Attached sandboxes that are in the list of whoever answers as the runtime."""
        return set() if self.lost or self.foreign else set(self.boxes)

    # --- what the collector asks of the API server

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


class Runtime:
    """What the collector asks of the runtime."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ask(self) -> SandboxesSeen:
        world = self._world
        if world.silent:
            return SandboxesSeen(failure="did not answer")
        if world.foreign:
            return SandboxesSeen(sandboxes={"f": Sandbox(id="f", ready=True)}, runtime="another")
        found = [_box(n, f"c{n}") for n in world.listed() - world.blinking]
        found += [_box(n, f"h{n}") for n in world.heirs if not world.lost]
        world.blinking.clear()
        return SandboxesSeen(sandboxes={b.id: b for b in found}, runtime="own")

    def load(self) -> Listed:
        return self._world.saved

    def save(self, listed: Listed) -> None:
        self._world.saved = listed

    def close(self) -> None:
        """Nothing is held."""


def _box(number: int, id: str) -> Sandbox:
    return Sandbox(id=id, ready=True, namespace="default", name=f"p{number}", uid=f"u{number}")


class Collector:
    """Looks at what is attached, and at namespaces if it ``makes`` some; what it releases is there no more."""

    def __init__(self, *, asks_runtime: bool = False, makes: bool = False) -> None:
        self.world = World()
        self.made = {number: domain(number) for number in range(PODS) if makes}
        self.occupied: set[int] = set()
        """Namespaces that somebody is attached in."""
        self.removed: list[int] = []
        """Namespaces that the last look has removed."""
        self.runtime = Runtime(self.world) if asks_runtime else None
        numbers = range(PODS + 1 if asks_runtime else PODS)
        self.attached = [attachment(number) for number in numbers]
        self.restart()

    def restart(self) -> None:
        """A new life."""
        self.forgotten = Forgotten(
            self.world,
            GRACE,
            sandboxes=self.runtime,
            doubt=lambda: self.world.doubt,
            clock=lambda: self.world.now,
        )

    def do(self, step: str, number: int) -> None:
        """Let something happen, to the world or to us."""
        if step == "forget":
            self.world.saved = Listed()
        match step:
            case "restart" | "forget":
                self.restart()
            case "give":
                self.made[number] = replace(domain(number), since=self.world.now)
            case "enter":
                self.occupied.add(number)
            case "leave":
                self.occupied.discard(number)
            case _:
                self.world.do(step, number)

    def look(self) -> list[int]:
        """The pods that may go now."""
        going = [v.holding for v in self.forgotten.look(self._holdings()) if not v.kept]
        gone = [int(h.id[1:]) for h in going if h.is_attachment]
        self.removed = [int(h.id[2:]) for h in going if not h.is_attachment]
        self.attached = [a for a in self.attached if int(a.id[1:]) not in gone]
        for number in self.removed:
            del self.made[number]
        return gone

    def _holdings(self) -> Iterator[Holding]:
        yield from map(of_attachment, self.attached)
        for number, made in self.made.items():
            yield of_domain(made, occupied=number in self.occupied)

    def numbers(self) -> set[int]:
        """Those attached."""
        return {int(a.id[1:]) for a in self.attached}
