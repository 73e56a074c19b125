"""Several paths told to a peer (RFC 7911, send): which, as what, in which order, and what people are told of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from kroute.codec.show import table
from kroute.daemon.answers import _entry
from kroute.model.bgp import Peer, PeerKind
from kroute.model.config import Config
from kroute.model.net import Family, prefix_of
from kroute.model.reason import Why
from kroute.model.session_keys import PathSelect
from kroute.model.state import Desired, Observed
from kroute.plan import queries
from kroute.plan.adj_out_paths import AdjRibOutPaths, PathIds
from kroute.plan.paths import Source
from kroute.plan.peers import PeerState
from kroute.plan.policy import EVERYTHING, ExportWish, ImportRules, PeerRules, Self
from kroute.plan.tables import Page, rib_in, rib_out
from support.policies import policy
from support.routing import (
    BOTH,
    LOST,
    ME6,
    OWN_NEXTHOPS,
    SELF,
    V4,
    V6,
    Listener,
    attributes,
    kernel,
    listener,
    n,
    packed,
    peer,
    restart,
)

CLUSTER = "10.0.0.9"
CLIENT = PeerKind.CLIENT
ADDRESS, NET6 = "198.51.100.53/32", "2001:db8:53::/64"
A, B, C, D = (peer(i, CLIENT, cluster_id=CLUSTER) for i in (2, 3, 4, 5))
"""n2, n3 and n4 announce; n5 listens."""


def reflector(*peers: Peer, **session: Any) -> Listener:
    """A reflector with these clients, all up; all take several paths unless ``session`` says otherwise."""
    me = Self(router_id=SELF.router_id, cluster_id=packed(CLUSTER), addresses=SELF.addresses)
    found = listener(*peers, me=me)
    for one in peers:
        found.up(one, **({"add_path_send": BOTH} | session))
    found.flush()
    return found


def announce(
    memory: Listener, *peers: Peer, prefix: str = ADDRESS, family: Family = V4, **more: Any
) -> None:
    for one in peers:
        number = one.name.rpartition("n")[2]
        hop = f"192.0.2.{number}" if family is V4 else f"2001:db8::{number}"
        memory.learn(one, attributes(hop, **more), prefix, family=family)


def knows(memory: Listener, of: Peer, prefix: str = ADDRESS, family: Family = V4) -> dict[str, int]:
    """From which nodes a peer knows a path, by next hop, and with which identifier."""
    return {
        f"n{found.nexthop[-1]}": int.from_bytes(entry[:4], "big")
        for entry, found in memory.heard(of.name, family).items()
        if entry[4:] == n(prefix)
    }


def out(memory: Listener, of: Peer) -> AdjRibOutPaths:
    found = memory.routing.peers[of.name].out
    assert isinstance(found, AdjRibOutPaths)
    return found


# --- which paths


def test_a_client_is_told_all_equal_paths_of_both_families_but_its_own() -> None:
    memory = reflector(A, B, C, D)
    announce(memory, A, B, C)
    announce(memory, A, B, prefix=NET6, family=V6)
    memory.flush()
    assert knows(memory, D).keys() == {"n2", "n3", "n4"}
    assert knows(memory, A).keys() == {"n3", "n4"}
    assert knows(memory, D, NET6, V6).keys() == {"n2", "n3"}
    assert knows(memory, B, NET6, V6).keys() == {"n2"}
    told = next(iter(memory.heard(D.name).values()))
    assert told.cluster_list == (packed(CLUSTER),)
    assert told.originator_id is not None


def test_worse_paths_are_told_only_where_all_are_asked_for() -> None:
    every = replace(D, add_path_select=PathSelect.ALL)
    memory = reflector(A, B, C, every)
    announce(memory, A, B)
    announce(memory, C, med=9)
    memory.flush()
    assert knows(memory, every).keys() == {"n2", "n3", "n4"}
    assert knows(memory, A).keys() == {"n3"}


def test_of_more_paths_than_allowed_the_best_are_told() -> None:
    few = replace(D, add_path_max=2)
    memory = reflector(A, B, C, few)
    announce(memory, A, B, C)
    memory.flush()
    assert knows(memory, few).keys() == {"n2", "n3"}
    memory.forget(A, ADDRESS)
    memory.flush()
    assert knows(memory, few).keys() == {"n3", "n4"}


def test_what_we_announce_ourselves_is_one_of_the_equal_paths() -> None:
    memory = reflector(A, B, D)
    announce(memory, A, B)
    memory.originate(ADDRESS)
    memory.flush()
    assert knows(memory, D).keys() == {"n1", "n2", "n3"}
    announce(memory, B, local_pref=200)
    memory.flush()
    assert knows(memory, D).keys() == {"n1", "n2"}, "ours wins here, whatever others prefer"


def test_paths_with_one_next_hop_are_told_once() -> None:
    """Two reflectors tell of one client: its path by ourselves and by the other one leads the same way."""
    mesh = peer(4, PeerKind.CLIENT, cluster_id=CLUSTER)
    memory = reflector(A, mesh, D)
    memory.learn(A, attributes("192.0.2.2"), ADDRESS)
    memory.learn(mesh, attributes("192.0.2.2", cluster_list=(packed("10.0.0.7"),)), ADDRESS)
    memory.flush()
    assert knows(memory, D).keys() == {"n2"}
    assert out(memory, D).size(V4) == 1


def test_export_policy_judges_each_path_by_itself_before_they_are_counted() -> None:
    few = replace(D, add_path_max=1)
    memory = reflector(A, B, few)
    hide = policy('{name: r, match: {communities: ["64512:1"]}, then: reject}')
    rules = PeerRules(imports=ImportRules(acceptance=EVERYTHING), exports=ExportWish(policy=hide))
    peers = {p.name: p for p in (A, B, few)}
    memory.routing.set_peers(peers, dict.fromkeys(peers, rules), 0.0)
    announce(memory, A, communities=(64512 << 16 | 1,))
    announce(memory, B)
    memory.flush()
    assert knows(memory, few).keys() == {"n3"}


def test_a_family_without_several_paths_is_told_as_ever() -> None:
    memory = reflector(A, B, D, add_path_send=(V6,))
    announce(memory, A, B)
    announce(memory, A, B, prefix=NET6, family=V6)
    memory.flush()
    assert list(memory.heard(D.name)) == [n(ADDRESS)]
    assert knows(memory, D, NET6, V6).keys() == {"n2", "n3"}
    assert memory.routing.peers[D.name].out is not None
    assert out(memory, D).count(D.name) == 3
    assert out(memory, D).count(D.name, V4) == 1


# --- identifiers


def test_a_path_keeps_its_identifier_whatever_happens_to_it_and_to_others() -> None:
    memory = reflector(A, B, C, D)
    announce(memory, A, B)
    memory.flush()
    first = knows(memory, D)
    announce(memory, C)
    announce(memory, A, med=0, communities=(64512 << 16 | 7,))
    memory.flush()
    assert {k: v for k, v in knows(memory, D).items() if k != "n4"} == first
    memory.forget(A, ADDRESS)
    memory.flush()
    announce(memory, A)
    memory.flush()
    assert knows(memory, D) == first | {"n4": knows(memory, D)["n4"]}
    assert len(set(knows(memory, D).values())) == 3


def test_another_life_of_the_reflector_gives_paths_the_same_identifiers_in_any_order() -> None:
    """So a peer that kept our routes as stale (RFC 4724) finds each again under its name."""
    lives = []
    for order in ((A, B, C), (C, B, A)):
        memory = reflector(*order, D)
        announce(memory, *order)
        memory.flush()
        lives.append(knows(memory, D))
    assert lives[0] == lives[1]


def test_two_names_with_one_hash_get_different_identifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Same:
        def __init__(self, *_: object, **__: object) -> None: ...

        def digest(self) -> bytes:
            return b"\xff\xff\xff\xff"

    monkeypatch.setattr("kroute.plan.adj_out_paths.blake2b", Same)
    ids = PathIds()
    one, other, third = Source(A), Source(B), Source(C)
    found = [ids.of(s) for s in (one, other, third, one)]
    assert found == [b"\xff\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\2", b"\xff\xff\xff\xff"]


# --- sessions and tables


def test_what_comes_in_place_of_a_path_is_told_before_the_path_is_withdrawn() -> None:
    memory = reflector(A, B, D)
    announce(memory, A)
    announce(memory, B, med=3)
    memory.flush()
    assert knows(memory, D).keys() == {"n2"}
    memory.forget(A, ADDRESS)
    tells = [t for t in memory.flush() if D.name in t.peers]
    assert [(bool(t.announced), bool(t.withdrawn)) for t in tells] == [(True, False), (False, True)]


def test_clients_with_equal_options_share_one_table_and_others_have_their_own() -> None:
    other = replace(C, add_path_max=3)
    memory = reflector(A, B, other, D)
    assert out(memory, A) is out(memory, B) is out(memory, D)
    assert out(memory, other) is not out(memory, D)
    memory.up(D)
    memory.flush()
    assert not isinstance(memory.routing.peers[D.name].out, AdjRibOutPaths)


def test_other_options_are_told_as_the_difference_and_the_session_stays() -> None:
    memory = reflector(A, B, C, D)
    announce(memory, A, B, C)
    memory.flush()
    before = knows(memory, D)
    few = replace(D, add_path_max=2)
    memory.want(A, B, C, few)
    (tell,) = memory.flush()
    assert (tell.peers, tell.announced, len(tell.withdrawn)) == ((D.name,), [], 1)
    assert knows(memory, D).items() < before.items()
    assert memory.routing.peers[D.name].established


def test_a_peer_that_asks_again_is_told_every_path_again() -> None:
    memory = reflector(A, B, D)
    announce(memory, A, B)
    memory.flush()
    memory.routing.refresh(D.name)
    (tell,) = memory.flush()
    assert sum(len(entries) for _, entries in tell.announced) == 2
    assert not tell.withdrawn


def test_a_restarted_reflector_tells_all_paths_and_only_then_that_this_is_all() -> None:
    me = Self(router_id=SELF.router_id, cluster_id=packed(CLUSTER), addresses=SELF.addresses)
    memory = listener(A, B, D, me=me)
    memory.up(D, add_path_send=BOTH)
    memory.flush()
    assert D.name not in memory.ends, "two clients have not told their tables yet"
    for one in (A, B):
        memory.up(one, add_path_send=BOTH)
        announce(memory, one)
        memory.end(one)
    memory.flush()
    assert knows(memory, D).keys() == {"n2", "n3"}
    assert memory.ends[D.name] == [V4, V6]


def test_stale_paths_of_a_lost_client_stay_told_until_it_is_back_without_them() -> None:
    memory = reflector(A, B, D)
    announce(memory, A, B)
    memory.flush()
    memory.down(A, LOST)
    assert not [t for t in memory.flush() if D.name in t.peers]
    memory.up(A, add_path_send=BOTH, restart=restart(restarting=True))
    memory.end(A)
    memory.flush()
    assert knows(memory, D).keys() == {"n3"}


# --- what people are told


def test_the_table_shows_every_path_with_its_identifier_and_why_others_are_not_told() -> None:
    few = replace(D, add_path_max=2)
    memory = reflector(A, B, C, few)
    announce(memory, A, B, C)
    memory.flush()
    told = list(rib_out(memory.routing, state(memory, few), Page()))
    assert {e.source: e.path_id for e in told} == {
        f"node/{k}": v for k, v in knows(memory, few).items()
    }
    (left,) = rib_out(memory.routing, state(memory, few), Page(rejected=True))
    assert (left.source, left.path_id) == ("node/n4", None)
    assert left.reason is not None
    assert (left.reason.why, "addPathMax" in left.reason.text) == (Why.NOT_CHOSEN, True)
    (own,) = rib_out(memory.routing, state(memory, A), Page(rejected=True))
    assert own.reason is not None
    assert own.reason.text == "it came from this peer"
    text = table("rib", [_entry(e) for e in told])
    assert str(knows(memory, few)["n2"]) in text.splitlines()[1]


def test_paths_that_are_worse_or_lead_the_same_way_say_so() -> None:
    memory = reflector(A, B, C, D)
    announce(memory, A)
    announce(memory, B, med=4)
    memory.learn(C, attributes("192.0.2.2"), ADDRESS)
    memory.flush()
    why = {
        e.source: e.reason.text
        for e in rib_out(memory.routing, state(memory, D), Page(rejected=True))
        if e.reason is not None
    }
    assert why == {
        "node/n3": "a better path is told (addPathSelect: equal)",
        "node/n4": "another path with the same next hop is told",
    }


def test_why_says_to_whom_which_paths_are_told() -> None:
    memory = reflector(A, B, D)
    announce(memory, A, B)
    memory.flush()
    story = queries.why(
        Observed(me="n1", config=Config()), Desired(), memory.routing, ip_network(ADDRESS)
    )
    ids = knows(memory, D)
    (group,) = story["told"]
    assert group["peers"] == ["node/n2", "node/n3", "node/n5"]
    assert {p["from"]: p["pathId"] for p in group["paths"]} == {
        "node/n2": ids["n2"],
        "node/n3": ids["n3"],
    }
    assert f"path {ids['n2']} from node/n2 via 192.0.2.2" in story["story"][-1]
    memory.originate()
    memory.learn(A, attributes(communities=(0xFFFFFF02,)), "203.0.113.0/24")
    memory.flush()
    hidden = queries.why(
        Observed(me="n1", config=Config()), Desired(), memory.routing, ip_network("203.0.113.0/24")
    )
    assert "no path" in hidden["story"][-1]


def test_paths_that_a_peer_tells_are_shown_with_its_identifiers() -> None:
    memory = reflector(A, D, add_path=BOTH)
    one = state(memory, A)
    rib = memory.routing.rib
    for number, hop in ((7, "192.0.2.2"), (9, "192.0.2.3")):
        path = rib.judge(one.adj_in, attributes(hop))
        one.places.learn(rib, V4, path, [number.to_bytes(4, "big") + n(ADDRESS)])
    one.places.forget(rib, V4, [(7).to_bytes(4, "big") + n(ADDRESS)])
    memory.flush()
    (left,) = rib_in(one, Page())
    assert (left.path_id, str(prefix_of(left.family, left.nlri))) == (9, ADDRESS)
    assert knows(memory, D).keys() == {"n3"}


def state(memory: Listener, of: Peer) -> PeerState:
    return memory.routing.peers[of.name]


def test_a_family_that_has_no_next_hop_of_ours_any_more_is_withdrawn_path_by_path():
    memory = reflector(A, B, D)
    announce(memory, A, B)
    memory.flush()
    assert set(knows(memory, D)) == {"n2", "n3"}
    memory.world(kernel(), memory.routing.rib.me, own={V6: OWN_NEXTHOPS[V6]})
    memory.routing.peers[D.name].peer = replace(D, local_address=ME6)
    memory.flush()
    assert not memory.heard(D.name)
