"""One feeder, one subject: from the first byte written until the subject has it all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.bed import Bed, BenchError
from harness.farm import Farm, Session
from harness.kernel import Kernel, Watch
from harness.proc import cpu_seconds, settle
from harness.subjects import SUBJECTS, Base
from harness.wire import EACH_ITS_OWN, END_OF_RIB, FEEDER, ROUTE_REFRESH, table, withdrawals

SESSION_LIMIT = 40.0
LIMIT = 120.0
STEP = 0.001


@dataclass(slots=True)
class Result:
    """What one run gave: seconds, and the CPU seconds that the subject used meanwhile."""

    seconds: float
    cpu: float
    withdrawal: float | None = None
    busy: float = 0.0


@dataclass(slots=True)
class Scene:
    """A subject with an established, quiet session."""

    subject: Base
    farm: Farm
    feeder: Session
    pids: list[int] = field(default_factory=list)


@contextmanager
def scene(name: str, *, kernel: bool) -> Iterator[Scene]:
    """Start the subject, wait for its session and for silence after it."""
    with Bed() as bed:
        here, there = bed.pair([FEEDER])
        with there.entered():
            farm = Farm()
        try:
            subject = SUBJECTS[name](bed, here, kernel=kernel)
            subject.start()
            farm.run(lambda: FEEDER in farm.up, SESSION_LIMIT)
            feeder = farm.up[FEEDER]
            # An empty first table: whoever waits for End-of-RIB before it removes anything has seen it.
            farm.send(feeder, END_OF_RIB)
            farm.rest(1.5)
            yield Scene(subject, farm, feeder, here.pids())
        finally:
            farm.close()


def to_kernel(name: str, shape: str, count: int, *, withdraw: bool = False) -> Result:
    """Until the subject's kernel holds the whole table; and, if asked, until it is empty again."""
    data, load = table(shape, count), settle()
    with scene(name, kernel=True) as s:
        kernel = Kernel(s.subject.where, s.subject.protocol)
        try:
            watch = Watch(kernel, count)
            result = _timed(s, data, watch.sampled, watch.counted)
            if withdraw:
                gone = Watch(kernel, count, present=False)
                s.farm.rest(1.0)
                back = _timed(s, withdrawals(count), gone.sampled, gone.counted)
                result.withdrawal = back.seconds
        finally:
            kernel.close()
    result.busy = load
    return result


def rib_in(name: str, shape: str, count: int) -> Result:
    """Until the subject knows the whole table, without a kernel.

    A subject that can is asked by a ROUTE-REFRESH behind the table: its answer comes when all before it is decided,
    and nothing disturbs it meanwhile. The others are asked over their control sockets.
    """
    data, load = table(shape, count, EACH_ITS_OWN), settle()
    with scene(name, kernel=False) as s:
        known = Known(s.subject, count)
        if s.subject.answers_refresh:
            s.feeder.reset()
            result = _timed(s, data + ROUTE_REFRESH, lambda: s.feeder.prefixes > 0, known)
        else:
            result = _timed(s, data, known)
    result.busy = load
    return result


class Known:
    """Asks the subject itself, no oftener than it can bear."""

    def __init__(self, subject: Base, count: int) -> None:
        self._subject, self._count = subject, count
        self._next = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        found = self._subject.known(self._count)
        self._next = time.monotonic() + self._subject.poll
        return found


def _timed(
    s: Scene, data: bytes, done: Callable[[], bool], check: Callable[[], bool] | None = None
) -> Result:
    """Write ``data``; the time until ``done``. ``check`` holds at that very moment, or is waited for as well."""
    gc.collect()
    gc.disable()
    try:
        cpu = cpu_seconds(s.pids)
        begun = time.monotonic()
        s.farm.send(s.feeder, data)
        s.farm.run(done, LIMIT, STEP)
        ended = time.monotonic()
        while check is not None and not check():
            ended = time.monotonic()
            if ended - begun > LIMIT:
                raise BenchError("the sample is complete, the table is not")
            s.farm.turn(STEP)
        return Result(ended - begun, cpu_seconds(s.pids) - cpu)
    finally:
        gc.enable()
