"""Events for problems, against an API server: once each, however often they are seen and by however many nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kroute.drivers.inventory.api import Api
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.events import EventWriter
from kroute.model.problem import Problem
from support.fakekube import Failure, FakeKube
from support.inventory import PROMPT, kubeconfig

PODS = Problem(object="node/n1", field="spec.podCIDRs", reason="10.0.0.0/9 is too wide")
LEAK = Problem(object="peer/tor", field="origin", reason="100000 prefixes refused")
SERVICE = Problem(object="service/shop/web", field="ranges", reason="10.9.9.9 is not allowed")


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        yield server


class Writer:
    """A writer whose problems a test sets."""

    def __init__(self, kube: FakeKube, tmp_path: Path, me: str = "n1") -> None:
        path = kubeconfig(tmp_path / "kubeconfig", kube.url)
        self.problems: tuple[Problem, ...] = ()
        api = Api(lambda: find_access(path), PROMPT)
        self.writer = EventWriter(api, me, lambda: self.problems, {"n1": "uid-1"}.get, print)

    def round(self, *problems: Problem) -> Any:
        self.problems = problems
        return self.writer.round()


def events(kube: FakeKube) -> list[dict[str, Any]]:
    return list(kube.store.objects["events"].values())


def posts(kube: FakeKube) -> int:
    return sum(method == "POST" for method, *_ in kube.requests)


def test_a_problem_of_the_own_node_is_one_event_for_good(kube: FakeKube, tmp_path: Path):
    writer = Writer(kube, tmp_path)
    for _ in range(5):
        assert writer.round(PODS) is None
    (event,) = events(kube)
    assert posts(kube) == 1
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "n1",
        "uid": "uid-1",
    }
    assert event["metadata"]["namespace"] == "default"
    assert (event["type"], event["reason"]) == ("Warning", "SpecPodCIDRs")
    assert event["message"] == "spec.podCIDRs: 10.0.0.0/9 is too wide"
    assert event["source"] == {"component": "kroute", "host": "n1"}
    assert event["firstTimestamp"].endswith("Z")


def test_a_leak_from_outside_is_told_of_the_own_node(kube: FakeKube, tmp_path: Path):
    Writer(kube, tmp_path).round(LEAK)
    (event,) = events(kube)
    assert event["involvedObject"]["name"] == "n1"
    assert event["message"] == "peer/tor: 100000 prefixes refused"


def test_an_event_of_an_earlier_life_is_not_told_again(kube: FakeKube, tmp_path: Path):
    Writer(kube, tmp_path).round(PODS)
    again = Writer(kube, tmp_path)
    assert again.round(PODS) is None
    assert again.round(PODS) is None
    assert (len(events(kube)), posts(kube)) == (1, 2)


def test_an_event_of_a_service_lives_in_its_namespace(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kroute.plan.notices.SPREAD", 0.0)
    monkeypatch.setattr("kroute.plan.notices.STEADY", 0.0)
    Writer(kube, tmp_path).round(SERVICE)
    (event,) = events(kube)
    assert event["metadata"]["namespace"] == "shop"
    assert event["involvedObject"]["namespace"] == "shop"


def test_what_the_server_refuses_for_now_is_told_later(kube: FakeKube, tmp_path: Path):
    writer = Writer(kube, tmp_path)
    kube.failure = Failure(403, "Forbidden", times=1)
    refusal = writer.round(PODS)
    assert refusal.status == 403
    assert writer.round(PODS) is None
    assert len(events(kube)) == 1


def test_what_the_server_will_never_take_is_not_tried_again(kube: FakeKube, tmp_path: Path):
    writer = Writer(kube, tmp_path)
    kube.failure = Failure(422, "Invalid", times=1)
    assert writer.round(PODS) is None
    assert writer.round(PODS) is None
    assert (events(kube), posts(kube)) == ([], 1)


async def test_that_events_are_forbidden_is_itself_a_problem_until_they_are_not(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kroute.drivers.inventory.events.ROUND", 0.02)
    told: list[tuple[Problem, ...]] = []
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    api = Api(lambda: find_access(path), PROMPT)
    news = asyncio.Event()

    def report(problems: tuple[Problem, ...]) -> None:
        told.append(problems)
        news.set()

    kube.failure = Failure(403, "Forbidden", times=1)
    writer = EventWriter(api, "n1", lambda: (PODS,), lambda _: "", report)
    task = asyncio.create_task(writer.run())
    async with asyncio.timeout(20):
        while not (len(told) > 1 and told[-1] == ()):
            news.clear()
            await news.wait()
    task.cancel()
    assert "inventory.kubernetes.events" in told[0][0].reason
    assert len(events(kube)) == 1
