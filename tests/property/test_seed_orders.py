"""Seeds are a function of what was observed: any interleaving of inventory, kernel and sessions ends alike (law 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from kroute.model.bgp import Peer, PeerKind
from kroute.model.config import Config, Seeding
from kroute.model.node import Node
from kroute.plan.decision import explain
from kroute.plan.seed import vouched
from kroute.plan.sessions import View
from support.routing import (
    BOTH,
    V4,
    V6,
    Listener,
    attributes,
    connected,
    dual,
    kernel,
    kernel_route,
    listener,
    node,
    packed,
    peer,
)

ME = node(1, "10.0.1.0/24", addresses=dual(1))
NUMBERS = (2, 3, 4)
Step = Callable[[Listener], object]


def pods(number: int) -> tuple[str, str]:
    return f"10.0.{number}.0/24", f"fd00:{number}::/64"


@st.composite
def any_node(draw: st.DrawFn, number: int) -> Node:
    addresses = draw(st.sampled_from([dual(number), dual(number)[:1], dual(number)[1:], ()]))
    ready = draw(st.booleans())
    return node(number, *pods(number), addresses=addresses, ready=ready)


@st.composite
def any_session(draw: st.DrawFn, of: Peer) -> list[Step]:
    """A beginning of: up, announces, ends, is lost."""
    number = int(of.name.removeprefix("node/n"))
    families = draw(st.sampled_from([BOTH, (V4,)]))
    told = draw(st.lists(st.sampled_from(NUMBERS), unique=True))
    steps: list[Step] = [lambda to: to.up(of, families=families)]
    for each in told:
        for family, prefix, via in (
            (V4, pods(each)[0], "192.0.2"),
            (V6, pods(each)[1], "2001:db8:"),
        ):
            mark = "." if family is V4 else ":"
            found = attributes(f"{via}{mark}{number}")
            if family in families:
                steps.append(
                    lambda to, f=family, p=prefix, a=found: to.learn(of, a, p, family=f)  # type: ignore[misc]
                )
    steps += [lambda to, f=family: to.end(of, f) for family in families]  # type: ignore[misc]
    steps.append(lambda to: to.down(of))
    return steps[: draw(st.integers(0, len(steps)))]


@st.composite
def threads(draw: st.DrawFn) -> tuple[tuple[Peer, ...], list[list[Step]]]:
    """Peers, and lists of steps whose own order is given."""
    kinds = st.sampled_from([PeerKind.MESH, PeerKind.CLIENT, PeerKind.REFLECTOR])
    numbers = draw(st.lists(st.sampled_from([2, 3, 8, 9]), unique=True, max_size=3))
    peers = tuple(peer(number, draw(kinds)) for number in numbers)
    nodes = [draw(any_node(number)) for number in draw(st.sets(st.sampled_from(NUMBERS)))]
    view = View(me=ME, nodes={x.name: x for x in (ME, *nodes)}, config=Config())
    wish = Seeding(
        enabled=draw(st.sampled_from([True, True, False])),
        not_ready_time=draw(st.sampled_from([0, 30])),
    )
    world = draw(
        st.sampled_from(
            [
                kernel(),
                kernel(connected("192.0.2.0/24", oif=2)),
                kernel(kernel_route("192.0.2.0/24", gateway=packed("198.51.100.9"))),
            ]
        )
    )
    steps: list[list[Step]] = [
        [lambda to: to.routing.seeds.want(vouched(view, peers), wish, to.now)],
        [lambda to: to.world(world)],
        [lambda to: to.originate(pods(4)[0])] if draw(st.booleans()) else [],
        *(draw(any_session(found)) for found in peers),
    ]
    return peers, steps


def shuffled(draw: Any, steps: list[list[Step]]) -> list[Step]:
    """One interleaving, with looks at the result in between."""
    left = [list(reversed(own)) for own in steps if own]
    out: list[Step] = []
    while left:
        own = left[draw(st.integers(0, len(left) - 1))]
        out.append(own.pop())
        left = [each for each in left if each]
        if draw(st.booleans()):
            out.append(Listener.flush)
    return out


def end_of(peers: tuple[Peer, ...], steps: list[Step]) -> Any:
    found = listener(*peers)
    for step in steps:
        step(found)
    found.flush()
    rib = found.routing.rib
    verdicts = {
        (family, nlri): {
            (p.source.name, p.attributes.nexthop, used, why)
            for p, used, why in explain(rib.rivals(family, nlri), rib.legs)
        }
        for family in BOTH
        for nlri in rib.candidates[family]
    }
    told = {
        name: {(family, nlri) for family in BOTH for nlri in table[family]}
        for name, table in found.told.items()
    }
    return found.fib, verdicts, {name: heard for name, heard in told.items() if heard}


@given(threads(), st.data())
def test_any_interleaving_ends_alike_and_seeds_are_told_to_nobody(
    drawn: tuple[tuple[Peer, ...], list[list[Step]]], data: st.DataObject
):
    peers, steps = drawn
    one = end_of(peers, shuffled(data.draw, steps))
    other = end_of(peers, shuffled(data.draw, steps))
    assert one == other
    fib, verdicts, told = one
    for (family, nlri), paths in verdicts.items():
        rivals = {name for name, _, used, _ in paths if used}
        assert "inventory" not in rivals or rivals == {"inventory"}
        if rivals == {"inventory"}:
            assert nlri in fib[family]
            assert not any((family, nlri) in heard for heard in told.values())
