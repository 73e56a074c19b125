"""Whatever a server answers, a check is good or failed, with words; and counting never leaves its two states."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from kroute.drivers.health.checks import CheckFailed, judged
from kroute.model.config_services import HttpCheck
from kroute.plan.health import Streak

CHECKS = st.builds(
    HttpCheck,
    url=st.just("http://192.0.2.1/"),
    status=st.sampled_from([(), (200,), (503, 204)]),
    contains=st.sampled_from(["", "ok", "\u00e9"]),
)
LINES = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda c: b"HTTP/1.1 %d OK" % c, st.integers(0, 1000)),
    st.sampled_from([b"HTTP/1.1 \xb2\xb2\xb2", b"HTTP/1.1  200", b"HTTP/1.1 20", b"HTTP/2 200"]),
)


@given(CHECKS, LINES, st.binary(max_size=40))
def test_any_answer_is_judged(check: HttpCheck, line: bytes, body: bytes):
    try:
        words = judged(check, line + b"\r\nServer: x", body)
    except CheckFailed as failure:
        words = str(failure)
    assert words.startswith(check.url)


@given(st.lists(st.booleans(), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_a_service_changes_only_after_as_many_results_in_a_row(
    results: list[bool], rise: int, fall: int
):
    streak = Streak(rise, fall)
    states = []
    for good in results:
        before = streak.up
        assert streak.take(good) == (streak.up is not before)
        states.append(streak.up)
    expected, state = [], results[0]
    for good, run in groupby(results):
        for count, _ in enumerate(run, start=1):
            if good != state and count >= (rise if good else fall):
                state = good
            expected.append(state)
    assert states == expected
