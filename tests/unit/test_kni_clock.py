"""Ages of files after the clock was set."""

from __future__ import annotations

import time

import pytest

from kroute.drivers.kni.clock import Clock


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_ages_mean_nothing_for_a_while_after_the_clock_was_set(monkeypatch, jump):
    wall, steady = [1e9], [100.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    clock = Clock()
    assert clock.steady_for(120.0)
    steady[0] += 50.0
    wall[0] += 50.0 + jump
    assert not clock.steady_for(120.0)
    for passed, trusted in ((119.0, False), (2.0, True)):
        steady[0] += passed
        wall[0] += passed
        assert clock.steady_for(120.0) is trusted


def test_a_clock_that_is_slowly_corrected_is_trusted(monkeypatch):
    wall, steady = [1e9], [100.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: steady[0])
    clock = Clock()
    for _ in range(100):
        steady[0] += 60.0
        wall[0] += 60.5
        assert clock.steady_for(120.0)
