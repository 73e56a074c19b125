"""Two kroute nodes with a pod each: whatever ends or is upgraded in between, no ping is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from support.daemon import Kroute, RouteMonitor, Site, kernel_routes, nothing_lost
from support.netns import Namespace, wait_for

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


def test_the_stream_of_pings_notices_a_gap(pair: Pair) -> None:
    with pytest.raises(AssertionError, match="lost"), nothing_lost(pair.pings()[0]):
        pair.a.where.ip("link set eth0 down")
        pair.a.where.ip("link set eth0 up")
        pair.a.has("10.244.2.0/24")


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


def test_all_nodes_that_restart_at_once_lose_nothing(pair: Pair) -> None:
    with nothing_lost(*pair.pings()):
        for node in (pair.a, pair.b):
            node.end(signal.SIGKILL)
        for node in (pair.a, pair.b):
            node.start()
        back(pair.a, "n2")
        back(pair.b, "n1")
    assert pair.a.kernel() == OTHER


def test_a_speaker_that_is_killed_loses_nothing(pair: Pair) -> None:
    before = pair.a.speaker_pid
    with RouteMonitor(pair.a.where) as ours, RouteMonitor(pair.b.where) as theirs:
        with nothing_lost(*pair.pings()):
            os.kill(before, signal.SIGKILL)
            wait_for(lambda: pair.a.peer("node/n2")["state"] != "established", 10, "the loss")
            assert pair.a.peer("node/n2")["stale"] == 2
            back(pair.a, "n2")
            wait_for(lambda: pair.a.peer("node/n2")["stale"] == 0, 10, "fresh routes")
            assert pair.a.speaker_pid != before
        assert not any(ours.deleted(p) for p in OTHER)
        assert not any(theirs.deleted(p) for p in ("10.244.1.0/24", "fd00:10:244:1::/64"))
    assert pair.a.problems() == {}


@pytest.mark.parametrize(
    "upgrade",
    [{"metric": 700}, {"protocol": 222}, {"metric": 700, "protocol": 222}],
    ids=["metric", "protocol", "both"],
)
def test_an_upgrade_to_other_marks_loses_nothing_and_leaves_nothing_behind(
    pair: Pair, upgrade: dict[str, int]
) -> None:
    foreign = "198.51.100.0/24"
    pair.a.where.ip(f"route add {foreign} via 192.0.2.2 proto static metric 512")
    with nothing_lost(*pair.pings()):
        pair.a.end()
        pair.a.configure({"fib": upgrade})
        pair.a.start()
        back(pair.a, "n2")
        wait_for(
            lambda: marks(pair.a) == {(upgrade.get("protocol", 201), upgrade.get("metric", 512))}
        )
    assert pair.a.kernel(upgrade.get("protocol", 201)) == OTHER
    assert foreign in kernel_routes(pair.a.where, "static")


def marks(node: Kroute) -> set[tuple[int, int]]:
    """Protocol and metric of every route to n2's podCIDRs."""
    found = set()
    for option in ("-4", "-6"):
        out = node.where.run(["ip", "-json", "-N", option, "route", "show"])
        for route in json.loads(out or "[]"):
            if route["dst"] in OTHER:
                found.add((int(route["protocol"]), int(route.get("metric", 0))))
    return found


def test_a_bad_configuration_is_refused_and_nothing_is_lost(pair: Pair) -> None:
    good = pair.a.file.read_text()
    with nothing_lost(*pair.pings()):
        for bad in ("{", "bgp: {asn: many}", "peering: {topologie: fullMesh}"):
            pair.a.file.write_text(bad)
            wait_for(lambda: "file/" in str(pair.a.problems()), 10, "the problem")
            assert "stays in force" in str(pair.a.problems())
            pair.a.file.write_text(good)
            wait_for(lambda: pair.a.problems() == {}, 10, "the problem to go")
        pair.a.file.unlink()
        wait_for(lambda: "not there" in str(pair.a.problems()), 10, "the missing file")
        pair.a.file.write_text(good)
        wait_for(lambda: pair.a.problems() == {}, 10, "the problem to go")
    assert pair.a.peer("node/n2")["flaps"] == 0
    assert pair.a.kernel() == OTHER


def test_cleanup_removes_all_that_is_ours_and_nothing_else(pair: Pair) -> None:
    node = pair.a
    conflist = node.folder / "cni" / "10-kroute.conflist"
    foreign = node.folder / "cni" / "20-other.conflist"
    assert conflist.exists()
    foreign.write_text("{}")
    node.where.ip("route add 198.51.100.0/24 via 192.0.2.2 proto static metric 512")
    node.where.ip("-6 route add 2001:db8:100::/48 via 2001:db8::2 proto 17 metric 512")
    running = node.run("cleanup", "--config", str(node.file))
    assert running.returncode == 2
    assert "stop it first" in running.stderr
    assert node.kernel() == OTHER

    node.end()
    (node.folder / "state" / "trial.json").write_text("{}")  # killed while it was on trial
    node.configure(
        {"fib": {"protocol": 222}}
    )  # an upgrade that never ran: the old mark is remembered
    done = node.run("cleanup", "--config", str(node.file))
    assert done.returncode == 0, done.stderr
    for thing in (*OTHER, str(conflist), str(node.folder / "state")):
        assert thing in done.stdout
    assert node.kernel() == node.kernel(222) == {}
    assert not conflist.exists()
    assert not (node.folder / "run").exists()
    assert not (node.folder / "state").exists()
    assert foreign.exists()
    assert kernel_routes(node.where, "static") == {"198.51.100.0/24": {"192.0.2.2"}}
    assert kernel_routes(node.where, "17") == {"2001:db8:100::/48": {"2001:db8::2"}}
    assert node.run("cleanup", "--config", str(node.file)).returncode == 0
