"""The information desk: who is healthy, who is ready, and answers while the tables move."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kroute.daemon import answers as module
from kroute.daemon.answers import Desk
from kroute.daemon.control import Control
from kroute.model.config import Cni, Config
from kroute.model.errors import DriverError
from kroute.model.inventory import Listed
from kroute.model.state import Observed
from kroute.plan.observe import KernelChanged
from support.daemon_road import Street
from support.routing import dual, kernel, node, peer

N1 = node(1, "10.244.1.0/24", addresses=dual(1))
N2 = node(2, "10.244.2.0/24", addresses=dual(2))


class Fake:
    """As much of a daemon as the desk looks at."""

    def __init__(self, config: Config | None = None) -> None:
        self.street = Street()
        self.routing, self.road = self.street.routing, self.street.road
        self.conflist = SimpleNamespace(done=True)
        observed = Observed(me="n1", config=config or Config())
        self.control = Control(observed, self.road, lambda _wish: None, self.clock)
        self.fib: Any = None
        self.kni = None
        trials = SimpleNamespace(problems=lambda: (), state=lambda _host: {})
        self.door = SimpleNamespace(trials=trials)
        self.loop = None
        self.watcher = SimpleNamespace(error="")
        self.ticked = 0.0
        self.longest_turn = 0.0
        self.desk = Desk(self)  # type: ignore[arg-type]

    def clock(self) -> float:
        return self.street.now

    def begins(self) -> None:
        for event in (KernelChanged(kernel()), Listed((N1, N2))):
            self.control.post(event)
        self.control.replan()

    def asks(self, path: str, **query: str) -> tuple[int, Any]:
        answer = self.desk.respond(path, query)
        assert answer is not None
        return answer.status, json.loads(answer.body)


@pytest.fixture
def fake() -> Fake:
    return Fake()


def test_health_is_a_turning_event_loop(fake: Fake) -> None:
    assert fake.asks("/healthz") == (200, {"ok": True})
    fake.street.now = module.LONGEST_SILENCE + 1
    status, said = fake.asks("/healthz")
    assert status == 503
    assert "has not turned" in said["error"]
    fake.ticked = fake.street.now
    assert fake.asks("/healthz")[0] == 200


def test_readiness_names_each_thing_that_is_missing(fake: Fake) -> None:
    fake.conflist.done = False
    fake.fib = SimpleNamespace(state=lambda: SimpleNamespace(synced=False))
    assert fake.asks("/readyz") == (
        503,
        {
            "ready": False,
            "missing": [
                "inventory: not listed yet",
                "cni: the conflist is not written",
                "fib: not in sync with the kernel",
            ],
        },
    )


def test_a_node_that_writes_no_conflist_is_not_asked_for_it() -> None:
    fake = Fake(Config(cni=Cni(enabled=False)))
    fake.conflist.done = False
    fake.control.observed = replace(fake.control.observed, listed=True)
    assert fake.asks("/readyz")[0] == 200


def test_a_peer_is_waited_for_from_the_first_plan_on_and_then_given_up(fake: Fake) -> None:
    fake.street.now = 100.0  # the inventory was long in coming
    fake.begins()
    status, said = fake.asks("/readyz")
    assert (status, said["missing"]) == (503, ["peers: node/n2: connecting"])
    assert fake.desk.problems() == ()
    fake.street.now += module.PEER_PATIENCE + 1
    assert fake.asks("/readyz")[0] == 200
    assert [p.object for p in fake.desk.problems()] == ["node/n2"]


def test_a_session_that_comes_up_makes_ready(fake: Fake) -> None:
    fake.begins()
    fake.street.up(peer(2))
    assert fake.asks("/readyz")[0] == 200


def test_what_keeps_the_kernel_from_being_read_is_a_problem(fake: Fake) -> None:
    fake.watcher.error = "kernel dump: no buffer space available"
    assert [(p.object, p.reason) for p in fake.desk.problems()] == [("kernel", fake.watcher.error)]


def test_unknown_paths_have_no_answer(fake: Fake) -> None:
    for path in ("/", "/v1", "/v1/", "/v1/nothing", "/peers", "/v1/v1/peers", "//healthz"):
        assert fake.desk.respond(path, {}) is None


@pytest.mark.parametrize("target", ["", "nonsense", "10.0.0.0/99", "10.244.2.7/x", "1" * 5000])
def test_a_target_that_is_no_address_is_a_bad_request(fake: Fake, target: str) -> None:
    assert fake.asks("/v1/why", target=target)[0] == 400


def test_an_answer_is_read_again_while_the_tables_move(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def moving(*_: object) -> list[object]:
        attempts.append(1)
        if len(attempts) < module.READINGS:
            raise RuntimeError("dictionary changed size during iteration")
        return []

    monkeypatch.setattr("kroute.plan.queries.peers", moving)
    assert fake.asks("/v1/peers") == (200, [])


def test_tables_that_never_rest_are_told_about(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def moving(*_: object) -> list[object]:
        raise KeyError("gone")

    monkeypatch.setattr("kroute.plan.queries.peers", moving)
    with pytest.raises(DriverError, match="ask again"):
        fake.desk.respond("/v1/peers", {})
