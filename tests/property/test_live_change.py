"""Any change of nodes, labels, annotations or configuration touches only the sessions and routes that it concerns.

A node with all its sessions up goes from one random state to another. Whatever the change is: a session whose
parameters bind the running one alike keeps its index at the speaker and is neither removed nor reset; peers that keep
their session are told differences only; and what they and the kernel have been told in the end is what a node tells
that was born there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.bgp import UpdateDecoder
from kroute.codec.config import parse_config
from kroute.codec.frames import SessionParameters
from kroute.model.bgp import Attributes, PeerName
from kroute.model.net import Family
from kroute.plan.observe import ConfigChanged
from support.scenario import Scenario, _cut

NUMBERS = (1, 2, 3, 4)


def node(number: int, cidr: int | None, reflects: bool, rack: str, v6: bool) -> dict[str, Any]:
    addresses = [f"192.0.2.{number}", *([f"2001:db8::{number}"] if v6 else [])]
    return {
        "metadata": {
            "name": f"n{number}",
            "labels": {"rack": rack},
            "annotations": {"kroute.io/route-reflector": "true"} if reflects else {},
        },
        "spec": {"podCIDRs": [] if cidr is None else [f"10.244.{cidr}.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
    }


def some_node(number: int) -> st.SearchStrategy[dict[str, Any]]:
    cidrs = st.sampled_from([number, number, number + 10, None])
    flags = st.booleans()
    return st.builds(node, st.just(number), cidrs, flags, st.sampled_from(["a", "b"]), flags)


inventories = st.tuples(some_node(1), *(st.none() | some_node(n) for n in NUMBERS[1:])).map(
    lambda found: json.dumps({"kind": "NodeList", "items": [n for n in found if n is not None]})
)
tors = st.fixed_dictionaries(
    {
        "name": st.just("tor"),
        "address": st.just("192.0.2.254"),
        "asn": st.sampled_from([65001, 65002]),
    },
    optional={
        "holdTime": st.sampled_from([9, 30]),
        "accept": st.sampled_from(["none", "defaultRoute", "all"]),
        "description": st.sampled_from(["one", "two"]),
        "nodeSelector": st.just({"rack": "a"}),
        "maxPrefixes": st.sampled_from([10, 20]),
    },
)
configs = st.fixed_dictionaries(
    {},
    optional={
        "bgp": st.fixed_dictionaries(
            {},
            optional={
                "holdTime": st.sampled_from([90, 9]),
                "multipath": st.sampled_from([1, 8]),
                "routerId": st.sampled_from(["", "192.0.2.77"]),
            },
        ),
        "speaker": st.fixed_dictionaries({"connectRetry": st.sampled_from([1, 5])}),
        "peering": st.fixed_dictionaries(
            {
                "topology": st.sampled_from(["fullMesh", "routeReflector", "none"]),
                "transport": st.sampled_from(["single", "perFamily"]),
                "peers": st.lists(tors, max_size=1),
            }
        ),
    },
).map(lambda found: json.dumps({"nodeName": "n1", **found}))

States = st.tuples(configs, inventories)
Told = dict[tuple[Any, bytes], Attributes]


class Watched(Scenario):
    """A node whose sessions come up by themselves, and that is watched for needless words."""

    def __init__(self, config: str, inventory: str) -> None:
        super().__init__()
        self.fresh: set[int] = set()
        """Sessions that have come up in this step: they are told everything."""
        self.gone: list[int] = []
        self.needless: list[str] = []
        self.said: dict[int, str] = {}
        """What each node announces over its session: its podCIDR."""
        self.given_config(config)
        self.given_nodes(inventory)
        self.rise()

    def goes_to(self, config: str, inventory: str) -> None:
        self.fresh.clear()
        self.gone.clear()
        # Both before anything is planned: what lies between two changes may concern more than both.
        self.config = parse_config(config)
        self.control.post(ConfigChanged(self.config))
        self.given_nodes(inventory)
        self.rise()

    def rise(self) -> None:
        """All sessions come up, and time goes by until nothing is on its way any more."""
        for _ in range(4):
            for name in list(self.road.routing.peers):
                index = self.road.sessions[name][0]
                if index not in self.agreed:
                    self.fresh.add(index)
                    self.given_updates(f"{name} up\n{name} ends")
                self._announces_its_own(name, index)
            self.now += 200.0
            self.road.routing.tick(self.now)
            self.control.proceed()
            self.road.flush()

    def _announces_its_own(self, name: PeerName, index: int) -> None:
        """The node at the other end says what the inventory says of it."""
        peer = self.road.routing.peers[name].peer
        other = next((n for n in self.nodes if n.name == peer.node), None)
        if other is None or Family.IPV4 not in self.agreed[index].families:
            return
        before, now = self.said.get(index, ""), " ".join(map(str, other.pod_cidrs))
        if before != now:
            self.said[index] = now
            via = other.addresses[0]
            self.given_updates(f"{name} withdraws {before}" if before else "")
            self.given_updates(f"{name} announces {now} via {via}" if now else "")

    def remove(self, index: int, **notice: Any) -> None:
        self.gone.append(index)
        super().remove(index, **notice)

    def reset(self, index: int, **_notice: Any) -> None:
        raise AssertionError(f"session {index} is reset")

    def send(self, indexes: Iterable[int], messages: bytes) -> None:
        indexes = list(indexes)
        for index in (i for i in indexes if i not in self.fresh):
            self._weigh(index, messages)
        super().send(indexes, messages)

    def _weigh(self, index: int, messages: bytes) -> None:
        """Note every word that says what was known."""
        internal = self.held[index].asn == self.held[index].local_asn
        decoder: UpdateDecoder[Attributes] = UpdateDecoder(
            self.agreed[index], internal=internal, make=lambda _family, found: found
        )
        for family, attributes, nlris in decoder.decode_run(_cut(messages)).steps:
            known = self.told[index][family]
            self.needless += [f"{n.hex()} again" for n in nlris if known.get(n) == attributes]

    def sessions_now(self) -> dict[PeerName, tuple[int, SessionParameters]]:
        return dict(self.road.sessions)

    def told_now(self) -> dict[PeerName, Told]:
        return {
            name: {(f, n): a for f, table in self.told[index].items() for n, a in table.items()}
            for name, (index, _) in self.road.sessions.items()
        }


@settings(max_examples=60, deadline=None)
@given(before=States, after=States)
def test_a_change_touches_only_what_it_concerns(
    before: tuple[str, str], after: tuple[str, str]
) -> None:
    watched = Watched(*before)
    was = watched.sessions_now()
    watched.goes_to(*after)
    now = watched.sessions_now()
    for name in was.keys() & now.keys():
        (index, old), (kept, new) = was[name], now[name]
        if old.same_session(new):
            assert kept == index, f"{name} started again though its parameters are equal"
            assert index not in watched.gone
        else:
            assert kept != index, f"{name} goes on though its parameters differ"
    assert not watched.needless
    born = Watched(*after)
    assert watched.told_now() == born.told_now()
    assert watched.kernel == born.kernel


@settings(max_examples=40, deadline=None)
@given(state=States)
def test_the_same_again_is_no_change(state: tuple[str, str]) -> None:
    watched = Watched(*state)
    was = watched.sessions_now()
    watched.send = _nobody  # type: ignore[method-assign]
    watched.goes_to(*state)
    assert watched.sessions_now() == was
    assert not watched.gone


def _nobody(indexes: Iterable[int], messages: bytes) -> None:
    raise AssertionError(f"{list(indexes)} are told {messages.hex()}")


@settings(max_examples=40, deadline=None)
@given(before=States, between=States)
def test_there_and_back_leaves_no_trace(before: tuple[str, str], between: tuple[str, str]) -> None:
    watched = Watched(*before)
    told, kernel = watched.told_now(), {f: dict(t) for f, t in watched.kernel.items()}
    watched.goes_to(*between)
    watched.goes_to(*before)
    assert watched.told_now() == told
    assert watched.kernel == kernel


def test_peers_with_new_rules_are_told_nothing_in_the_words_of_the_old() -> None:
    """A mesh becomes reflected: an UPDATE of the old rules would have an empty CLUSTER_LIST (RFC 4456 §8)."""
    nodes = [node(1, 1, True, "a", False), node(3, 3, False, "a", False)]
    inventory = json.dumps({"kind": "NodeList", "items": [*nodes, node(4, 4, False, "a", False)]})
    watched = Watched('{"nodeName": "n1"}', inventory)
    watched.goes_to('{"nodeName": "n1", "peering": {"topology": "routeReflector"}}', inventory)
    assert len(watched.told_now()[PeerName("node/n3")]) == 2
