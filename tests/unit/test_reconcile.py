"""The loop of effects: the newest wish, retries, a look now and then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from kroute import reconcile
from kroute.model.errors import DriverError
from kroute.model.problem import Problem, Severity
from kroute.reconcile import Reconciler
from support.netns import until


class Outside:
    """A thing that takes wishes, fails as often as told, and waits when told to."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.attempts = 0
        self.failures = 0
        self.gate = threading.Event()
        self.gate.set()
        self.reports: list[tuple[str, tuple[Problem, ...]]] = []

    def apply(self, wish: str) -> tuple[Problem, ...]:
        self.attempts += 1
        assert self.gate.wait(10)
        if self.failures:
            self.failures -= 1
            raise DriverError("the disk is full")
        self.applied.append(wish)
        return (Problem(object="cni", reason=f"about {wish}"),)

    def report(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.reports.append((source, problems))


@pytest.fixture
def outside() -> Outside:
    return Outside()


@asynccontextmanager
async def running(loop: Reconciler[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(reconcile, "LONGEST_RETRY", 0.02)


def make(outside: Outside, resync: float = 60.0) -> Reconciler[str]:
    return Reconciler("cni", outside.apply, outside.report, resync)


def is_done(loop: Reconciler[str]) -> Callable[[], bool]:
    return lambda: loop.done


async def test_a_wish_is_applied_once_and_its_problems_are_reported(outside: Outside) -> None:
    loop = make(outside)
    async with running(loop):
        assert not loop.done
        loop.want("a")
        await until(is_done(loop))
        loop.want("a")
        assert loop.done
    assert outside.applied == ["a"]
    assert outside.reports == [("cni", (Problem(object="cni", reason="about a"),))]


async def test_nothing_is_done_before_there_is_a_wish(outside: Outside, quick: None) -> None:
    async with running(make(outside, resync=0.01)):
        for _ in range(20):
            await asyncio.sleep(0.005)
    assert outside.attempts == 0


@pytest.mark.usefixtures("quick")
async def test_a_failure_is_reported_and_tried_again_until_it_works(outside: Outside) -> None:
    outside.failures = 4
    loop = make(outside)
    async with running(loop):
        loop.want("a")
        await until(is_done(loop))
    assert outside.attempts == 5
    failed = Problem(object="cni", reason="the disk is full", severity=Severity.ERROR)
    assert [problems for _, problems in outside.reports[:4]] == [(failed,)] * 4
    assert failed not in outside.reports[4][1]


async def test_only_the_newest_wish_counts_once_the_one_before_is_applied(outside: Outside) -> None:
    outside.gate.clear()
    loop = make(outside)
    async with running(loop):
        loop.want("a")
        await until(lambda: outside.attempts == 1)
        loop.want("b")
        loop.want("c")
        outside.gate.set()
        await until(lambda: outside.applied == ["a", "c"])
        await until(is_done(loop))


async def test_a_wish_that_changes_while_the_old_one_is_applied_is_not_done(
    outside: Outside,
) -> None:
    outside.gate.clear()
    loop = make(outside)
    async with running(loop):
        loop.want("a")
        await until(lambda: outside.attempts == 1)
        loop.want("b")
        assert not loop.done
        outside.gate.set()
        await until(is_done(loop))
    assert outside.applied[-1] == "b"


@pytest.mark.usefixtures("quick")
async def test_a_new_wish_does_not_wait_for_the_pause_after_failures(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "FIRST_RETRY", 3600.0)
    outside.failures = 1
    loop = make(outside)
    async with running(loop):
        loop.want("a")
        await until(lambda: outside.reports)
        loop.want("b")
        await until(is_done(loop))
    assert outside.applied == ["b"]


async def test_what_is_applied_is_looked_at_again_now_and_then(outside: Outside) -> None:
    loop = make(outside, resync=0.01)
    async with running(loop):
        loop.want("a")
        await until(lambda: outside.applied == ["a", "a", "a"])


async def test_a_bug_of_the_driver_is_not_hidden(outside: Outside) -> None:
    def broken(_wish: str) -> tuple[Problem, ...]:
        raise KeyError("bug")

    loop = Reconciler[str]("cni", broken, outside.report)
    loop.want("a")
    with pytest.raises(KeyError):
        await asyncio.wait_for(loop.run(), 10)
