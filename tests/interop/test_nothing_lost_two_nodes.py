"""Two kroute nodes with a pod each: whatever ends or is upgraded in between, no ping is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.daemon import Kroute, Site, nothing_lost, wait_for
from support.netns import Namespace

pytestmark = pytest.mark.root

OTHER = {"10.244.2.0/24": {"192.0.2.2"}, "fd00:10:244:2::/64": {"2001:db8::2"}}
"""What n1's kernel has of n2."""


class Pair:
    """Nodes n1 and n2, ready, a pod on each."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.a, self.b = site.node(1), site.node(2)
        for node in (self.a, self.b):
            node.launch()
        self.pods = site.pod(self.a, 10), site.pod(self.b, 10)
        for node in (self.a, self.b):
            wait_for(node.answers, 15)
            wait_for(lambda node=node: not node.missing(), 15, "readiness")

    def pings(self) -> tuple[tuple[Namespace, str], ...]:
        a, b = self.pods
        return (a, "10.244.2.10"), (b, "fd00:10:244:1::10")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Site("lost") as site:
        yield Pair(site)


def back(node: Kroute, other: str) -> None:
    """A restarted daemon has its session, and is in sync."""
    node.established(f"node/{other}")
    wait_for(lambda: not node.missing(), 15, f"{node.missing()}")
    wait_for(lambda: not node.ask("status")["waitingFor"], 15)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_and_comes_back_loses_nothing(pair: Pair, number: int) -> None:
    before = pair.a.kernel()
    assert before == OTHER
    with nothing_lost(*pair.pings()):
        status = pair.a.end(number)
        assert status == (0 if number == signal.SIGTERM else -number)
        assert pair.a.kernel() == before
        pair.a.start()
        back(pair.a, "n2")
    assert pair.a.kernel() == before
