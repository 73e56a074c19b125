"""Work done together: once each, in order, by one at a time. A failure is its batch's; who gives up blocks nobody."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from kroute.drivers.kni import together
from kroute.drivers.kni.together import Together
from support.netns import wait_for

LONG = 20.0


class Bench:
    """Work that begins and ends when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.at_work = 0
        self.go_on = threading.Semaphore(0)
        self.passes_on = False
        self.together = Together(self.work)
        self.outcomes: dict[str, object] = {}
        self.threads: list[threading.Thread] = []

    def work(self, batch: list[str], pass_on: Callable[[], None]) -> None:
        self.batches.append(batch)
        self.at_work += 1
        if self.passes_on:
            pass_on()
        assert self.go_on.acquire(timeout=LONG)
        self.at_work -= 1
        if "bad" in batch:
            raise ValueError("bad")

    def come(self, item: str, patience: float = LONG) -> threading.Thread:
        def call() -> None:
            try:
                self.outcomes[item] = self.together.do(item, patience)
            except ValueError as error:
                self.outcomes[item] = str(error)

        thread = threading.Thread(target=call)
        thread.start()
        self.threads.append(thread)
        return thread

    def wait(self, count: int) -> None:
        """Until so many wait for their turn."""
        wait_for(lambda: len(self.together._waiting) == count, what=f"{count} wait")

    def end(self, batches: int) -> None:
        for _ in range(batches):
            self.go_on.release()
        for thread in self.threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def bench():
    return Bench()


def first(bench: Bench) -> None:
    bench.come("first")
    wait_for(lambda: bench.at_work == 1, what="somebody is at work")


def test_who_comes_while_one_is_at_work_is_done_by_one_call_in_the_order_of_coming(bench):
    first(bench)
    for number, name in enumerate("abcd", 1):
        bench.come(name)
        bench.wait(number)
    bench.end(2)
    assert bench.batches == [["first"], ["a", "b", "c", "d"]]
    assert bench.outcomes == dict.fromkeys(("first", "a", "b", "c", "d"), True)


def test_a_failure_reaches_all_of_its_batch_and_nobody_else(bench):
    first(bench)
    for number, name in enumerate(("a", "bad"), 1):
        bench.come(name)
        bench.wait(number)
    bench.go_on.release()
    wait_for(lambda: len(bench.batches) == 2 and bench.at_work == 1, what="the next batch")
    bench.come("after")
    bench.wait(1)
    bench.end(2)
    assert bench.outcomes == {"first": True, "a": "bad", "bad": "bad", "after": True}


def test_who_gives_up_before_his_turn_is_not_done_and_the_turn_goes_to_the_next(bench):
    first(bench)
    hasty = bench.come("hasty", 0.01)
    hasty.join(LONG)
    bench.come("next")
    bench.wait(1)
    bench.end(2)
    assert bench.outcomes == {"first": True, "hasty": False, "next": True}
    assert bench.batches == [["first"], ["next"]]


def test_who_gives_up_while_his_batch_is_at_work_is_told_so_and_the_others_are_done(bench):
    first(bench)
    bench.come("leads")
    bench.wait(1)
    hasty = bench.come("hasty", 0.5)
    bench.wait(2)
    bench.go_on.release()
    wait_for(lambda: len(bench.batches) == 2, what="the next batch")
    hasty.join(LONG)
    assert bench.outcomes["hasty"] is False
    bench.end(1)
    assert bench.outcomes["leads"] is True


def test_work_that_passes_on_lets_the_next_begin_before_it_ends(bench):
    bench.passes_on = True
    first(bench)
    bench.come("second")
    wait_for(lambda: bench.at_work == 2, what="both are at work")
    bench.end(2)
    assert bench.batches == [["first"], ["second"]]


def test_work_waits_for_who_is_on_his_way_but_not_for_ever_and_nobody_waits_who_is_alone(
    monkeypatch,
):
    lulls: list[float] = []
    bench = Bench()
    bench.together = Together(bench.work, lull=0.25)

    def come_meanwhile(seconds: float) -> None:
        lulls.append(seconds)
        if late:
            count = len(bench.together._waiting)
            bench.come(late.pop())
            bench.wait(count + 1)

    monkeypatch.setattr(together.time, "sleep", come_meanwhile)
    late: list[str] = []
    first(bench)
    assert lulls == []
    for number, name in enumerate("ab", 1):
        bench.come(name)
        bench.wait(number)
    late = ["d", "c"]
    bench.end(2)
    assert bench.batches == [["first"], ["a", "b", "c", "d"]]
    assert lulls == [0.25] * 3

    first(bench)
    for number, name in enumerate("ab", 1):
        bench.come(name)
        bench.wait(number)
    late = [f"late {number}" for number in range(100)]
    bench.go_on.release()
    wait_for(lambda: len(bench.batches) == 4, what="work in spite of those who keep coming")
    assert len(lulls) == 3 + together._LULLS
    bench.end(1)


def test_in_a_storm_with_impatient_callers_everything_that_was_answered_was_done_once():
    done: Counter[int] = Counter()

    def work(batch: list[int], pass_on: Callable[[], None]) -> None:
        if len(batch) % 2:
            pass_on()
        with mutex:
            done.update(batch)

    mutex, gate, answered = threading.Lock(), Together(work), set()

    def call(caller: int) -> None:
        chance = random.Random(caller)
        for number in range(200):
            item = caller * 1000 + number
            if gate.do(item, chance.choice((0.0, 0.0001, LONG))):
                answered.add(item)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not any(thread.is_alive() for thread in threads)
    assert set(done.values()) == {1}
    assert answered <= done.keys()
    assert gate.do(-1, LONG), "nobody has kept the turn"
