"""What the daemon tells garbage collection about Kubernetes, and people about garbage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kroute.codec.config import parse_config
from kroute.daemon.kni import MOST_PROBLEMS, _Garbage
from kroute.drivers.kni.gc import Finding
from kroute.model.inventory import Fresh, InventoryEvent, Listed, Stale
from kroute.model.problem import Problem
from kroute.model.state import Observed
from kroute.plan.kni_gc import Cause
from kroute.plan.observe import observe


class Loop:
    """An event loop that calls at once."""

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class FakeDaemon(SimpleNamespace):
    """As much of a daemon as is asked here."""

    def __init__(self, kni: str = "", kind: str = "kubernetes") -> None:
        config = parse_config(f"inventory: {{kind: {kind}}}\nkni: {{enabled: true{kni}}}", "test")
        self.told: dict[str, tuple[Problem, ...]] = {}
        control = SimpleNamespace(
            observed=Observed(me="n1", config=config), report=self.told.__setitem__
        )
        super().__init__(config=config, control=control, loop=Loop(), told=self.told)

    def hears(self, event: InventoryEvent) -> None:
        self.control.observed = observe(self.control.observed, event)


def garbage(daemon: Any) -> _Garbage:
    return _Garbage(daemon)


@pytest.mark.parametrize(
    "daemon",
    [FakeDaemon(kind="static"), FakeDaemon(", forgottenPodGrace: 0, criSocket: /s")],
    ids=["nobody to ask", "not wanted"],
)
def test_pods_are_not_followed_where_nobody_could_tell_or_wants_to_know(daemon: FakeDaemon):
    made = garbage(daemon)
    made.start()
    assert made.forgotten is None


@pytest.mark.parametrize("kind", ["static", "kubernetes"])
def test_the_runtime_is_asked_where_its_socket_is_told_with_kubernetes_or_without(kind: str):
    made = garbage(FakeDaemon(", criSocket: /gone/cri.sock", kind))
    assert made.forgotten is not None
    assert made.forgotten.look([]) == ()
    failures = made.forgotten.failures()
    assert "no CRI answers at /gone/cri.sock" in failures[Cause.SANDBOX]
    assert (Cause.POD in failures) is (kind == "kubernetes")


def test_an_inventory_in_doubt_is_one_about_pods_until_it_is_believed_again():
    daemon = FakeDaemon()
    made = garbage(daemon)
    assert made.forgotten is not None
    assert "not been listed" in made._doubt()
    daemon.hears(Listed(()))
    assert made._doubt() == ""
    daemon.hears(Stale("the list lacks this node"))
    assert "lacks this node" in made._doubt()
    daemon.hears(Stale("no answer", "services"))
    daemon.hears(Fresh())
    assert made._doubt() == ""


def finding(number: int, *, stuck: bool) -> Finding:
    return Finding(
        object=f"attachment/c{number}", cause=Cause.POD, reason="gone", outcome="kept", stuck=stuck
    )


def test_what_is_stuck_is_a_problem_until_a_collection_finds_it_no_more():
    daemon = FakeDaemon()
    made = garbage(daemon)
    made.collected([finding(1, stuck=False), finding(2, stuck=True)])
    (problem,) = daemon.told["kni-garbage"]
    assert (problem.object, problem.reason) == ("attachment/c2", "gone: kept")
    made.collected([finding(n, stuck=True) for n in range(100)])
    assert len(daemon.told["kni-garbage"]) == MOST_PROBLEMS
    made.collected([])
    assert daemon.told["kni-garbage"] == ()
