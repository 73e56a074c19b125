"""Five neighbours behind a router: two sessions with each, one a family, under a key; IPv4 with GTSM, IPv6 without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemon import Kroute, Site
from support.ledger import Ledger
from support.matrix import tried
from support.netns import Namespace
from support.programs import PROGRAMS, Session
from support.stage import K4, K6, NUMBER, RETURN, Stage, peer

pytestmark = pytest.mark.root

KEY = "s3cret-Of-Ours"
ROTATING = ("bird", "frr", "kroute")
ROUTER4, ROUTER6 = "192.0.2.254", "2001:db8::254"


class Routed(Site):
    """A site with a router; who is :meth:`behind` it has 10.9.NUMBER.2 and 2001:db8:9:NUMBER::2."""

    def __init__(self, part: str) -> None:
        super().__init__(part)
        self.router = self.host("r", 254)

    def behind(self, name: str, number: int) -> Namespace:
        made, port = self.lab.namespace(name), f"eth{number}"
        near4, near6 = f"10.9.{number}", f"2001:db8:9:{number}:"
        self.lab.veth(self.router, port, made, "eth0")
        self.router.address(port, f"{near4}.1/24", f"{near6}:1/64")
        made.address("eth0", f"{near4}.2/24", f"{near6}:2/64")
        made.ip(f"route add 192.0.2.0/24 via {near4}.1")
        made.ip(f"-6 route add 2001:db8::/64 via {near6}:1")
        return made

    def node(self, number: int, config: Any = None) -> Kroute:
        made = super().node(number, config)
        made.where.ip(f"route add 10.9.0.0/16 via {ROUTER4}")
        made.where.ip(f"-6 route add 2001:db8:9::/48 via {ROUTER6}")
        return made


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Routed("mtxr") as site:
        key = site.folder / "key"
        key.write_text("another\n")
        guard = {"passwordFile": str(key)}
        sessions, peers = {}, []
        for program in PROGRAMS:
            end4, end6 = f"10.9.{NUMBER[program]}.2", f"2001:db8:9:{NUMBER[program]}::2"
            sessions[program] = [
                Session(local=end4, peer=K4, families=("ipv4",), key=KEY, hops=2),
                Session(local=end6, peer=K6, families=("ipv6",), key=KEY, ttl=2),
            ]
            four = peer(program, end4, families=["ipv4"], ttlSecurity=2, **guard)
            six = peer(program, end6, families=["ipv6"], multihop=2, **guard)
            peers += [four, six | {"name": f"{program}-6"}]
        yield Stage(site, sessions, peers, site.behind)


@pytest.fixture(scope="module")
def locked(stage: Stage) -> Ledger:
    ledger = Ledger(PROGRAMS)
    ledger.wait(lambda p: stage.reason(p).count("timed out") == 2, "why two sessions stay down")
    return ledger


@pytest.fixture(scope="module")
def opened(stage: Stage, locked: Ledger) -> Ledger:
    (stage.site.folder / "key").write_text(f"{KEY}\n")
    return stage.calm()


@tried
def test_another_key_than_the_neighbour_s_keeps_both_sessions_down(
    locked: Ledger, program: str
) -> None:
    assert not locked.wrong[program]


@tried
def test_two_sessions_over_a_router_carry_a_family_each(
    stage: Stage, opened: Ledger, program: str
) -> None:
    assert not opened.wrong[program]
    kernel, number = stage.node.kernel(), NUMBER[program]
    assert kernel[f"198.51.{100 + number}.0/24"] == {ROUTER4}
    assert kernel[f"2001:db8:{100 + number}::/48"] == {ROUTER6}
    assert KEY not in stage.node.words()


def fresh(program: str) -> tuple[str, str]:
    """Prefixes that a neighbour announces after its key has changed."""
    return f"203.0.{NUMBER[program]}.0/24", f"2001:db8:{200 + NUMBER[program]}::/48"


@pytest.fixture(scope="module")
def rotated(stage: Stage, opened: Ledger) -> Ledger:
    """Both ends take another key; what is announced then shows that packets are signed with it."""
    ledger = Ledger(ROTATING)
    for program in ROTATING:
        stage.others[program].rekey(KEY, "another-One")
    (stage.site.folder / "key").write_text("another-One\n")
    for program in ROTATING:
        stage.others[program].announce(*fresh(program))
    ledger.wait(lambda p: set(fresh(p)) <= set(stage.node.kernel()), "news", timeout=RETURN)
    ledger.wait(stage.up, "both sessions", timeout=RETURN)
    return ledger


@tried
def test_a_key_that_changes_at_both_ends_carries_what_comes_then(
    stage: Stage, rotated: Ledger, program: str
) -> None:
    assert not rotated.wrong[program]
    flaps = {row["flaps"] for row in stage.of(program)}
    assert (flaps == {0}) == (program == "kroute"), "BIRD and FRR start their session again"
