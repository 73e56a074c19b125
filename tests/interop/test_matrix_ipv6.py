"""One IPv6 session with each of the five for both families (RFC 8950); the neighbours wait, kroute connects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.daemon import Site, kernel_routes
from support.ledger import Ledger
from support.matrix import tried
from support.netns import wait_for
from support.programs import PROGRAMS, Session
from support.stage import K6, NUMBER, POD4, POD6, RETURN, Stage, net4, net6, peer

pytestmark = pytest.mark.root

PROTOCOL = {"bird": "bird", "frr": "bgp", "kroute": "201"}
"""Of routes in the kernels of those that have one."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    ends = {program: f"2001:db8::{NUMBER[program]}" for program in PROGRAMS}
    sessions = {p: [Session(local=end, peer=K6, passive=True)] for p, end in ends.items()}
    with Site("mtx6") as site:
        yield Stage(site, sessions, [peer(p, end) for p, end in ends.items()])


@pytest.fixture(scope="module")
def met(stage: Stage) -> Ledger:
    ledger = Ledger(PROGRAMS)
    ledger.wait(stage.up, "the session", timeout=RETURN)
    ledger.wait(lambda p: bool(stage.others[p].path(POD6)), "our IPv6 route there")
    ledger.wait(lambda p: net6(p) in stage.node.kernel(), "its IPv6 route here")
    return ledger


@tried
def test_a_neighbour_that_waits_is_connected_to(stage: Stage, met: Ledger, program: str) -> None:
    assert not met.wrong[program]
    assert stage.node.kernel()[net6(program)] == {f"2001:db8::{NUMBER[program]}"}


@tried
def test_ipv4_travels_both_ways_with_ipv6_next_hops(
    stage: Stage, met: Ledger, program: str
) -> None:
    assert not met.wrong[program]
    other, end = stage.others[program], f"2001:db8::{NUMBER[program]}"
    wait_for(lambda: stage.node.kernel().get(net4(program)) == {end}, 15, f"{net4(program)} by v6")
    path = other.path(POD4)
    assert path.get("attributes", path)["next_hop"] == K6
    offers = stage.node.ask("peer", name=program)["negotiated"]["capabilities"]
    assert {c["name"]: c["holds"] for c in offers}["extended next hop"]
    if program in PROTOCOL:
        there = lambda: kernel_routes(other.where, PROTOCOL[program]).get(POD4)  # noqa: E731
        wait_for(lambda: there() == {K6}, 15, f"{POD4} by v6 in the kernel of {program}")
