"""Add-path (RFC 7911): path identifiers in NLRI, several paths to a prefix from one peer, and what is left of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.bgp import UpdateDecoder, UpdateError
from kroute.codec.bgp.nlri import read_path_nlri
from kroute.drivers.speaker import Updates
from kroute.model.bgp import Attributes, PeerName, SessionDown
from kroute.model.net import Family
from kroute.model.state import Desired
from kroute.plan import add_path, queries
from kroute.plan.paths import Multipath
from kroute.plan.peers import Held, Hold
from support.daemon_road import Street, state
from support.routing import LOST, V4, V6, n, negotiated, packed, peer, restart

N2, N3 = peer(2), peer(3)
NET, OTHER = n("198.51.100.0/24"), n("203.0.113.0/25")
A, B, C = "192.0.2.11", "192.0.2.12", "192.0.2.13"


def entry(path_id: int, nlri: bytes) -> bytes:
    return path_id.to_bytes(4, "big") + nlri


# --- the codec


def test_identifiers_and_prefixes_are_cut_apart():
    field = entry(1, NET) + entry(0xFFFFFFFF, b"\x19\xcb\x00\x71\xff") + entry(7, b"\0")
    assert read_path_nlri(V4, field) == [
        entry(1, NET),
        entry(0xFFFFFFFF, b"\x19\xcb\x00\x71\x80"),
        entry(7, b"\0"),
    ]
    assert read_path_nlri(V6, b"") == []


@pytest.mark.parametrize(
    "field",
    [
        b"\0",
        b"\0\0\0\1",
        entry(1, b"\x21\1\2\3\4\5"),
        entry(1, NET)[:-1],
        entry(1, NET) + b"\0\0\0",
    ],
)
def test_a_field_that_ends_too_early_or_is_too_long_resets(field: bytes):
    with pytest.raises(UpdateError, match="RFC 7911"):
        read_path_nlri(V4, field)


@given(st.binary(max_size=60), st.sampled_from(list(Family)))
def test_any_octets_are_read_or_refused(field: bytes, family: Family):
    try:
        found = read_path_nlri(family, field)
    except UpdateError:
        return
    assert len(b"".join(found)) == len(field)


def update(*entries: bytes, nexthop: str = A, withdrawn: bytes = b"") -> bytes:
    block = b"\x40\x01\x01\x00\x40\x02\x00\x40\x03\x04" + bytes(map(int, nexthop.split(".")))
    block += b"\x40\x05\x04\0\0\0\x64"
    head = len(withdrawn).to_bytes(2, "big") + withdrawn
    return (
        head + (len(block).to_bytes(2, "big") + block if entries else b"\0\0") + b"".join(entries)
    )


def test_only_families_with_add_path_have_identifiers():
    agreed = replace(negotiated(N2, families=(V4, V6)), add_path=(V4,))
    decoder = UpdateDecoder[Attributes](agreed, internal=True, make=lambda _f, a: a)
    (step,) = decoder.decode(update(entry(1, NET), entry(2, OTHER))).steps
    assert step[2] == [entry(1, NET), entry(2, OTHER)]
    (step,) = decoder.decode(update(withdrawn=entry(1, NET))).steps
    assert step == (V4, None, [entry(1, NET)])
    assert decoder.decode(bytes(4)).end_of_rib == [V4]
    reach = (
        b"\0\x02\x01\x10" + bytes.fromhex("20010db8") + bytes(11) + b"\x09\0" + b"\x40" + bytes(8)
    )
    block = b"\x80\x0e" + bytes((len(reach),)) + reach
    block += b"\x40\x01\x01\x00\x40\x02\x00\x40\x05\x04\0\0\0\x64"
    (step,) = decoder.decode(b"\0\0" + len(block).to_bytes(2, "big") + block).steps
    assert step[2] == [b"\x40" + bytes(8)]


# --- the tables


@pytest.fixture
def street() -> Street:
    found = Street(N2, N3)
    found.up(N2, add_path=(V4,), restart=restart(families=(V4, V6), forwarding=(V4, V6)))
    found.up(N3)
    return found


def tells(street: Street, *bodies: bytes) -> None:
    street.happens(Updates(street.index(N2), list(bodies)))


def hops(street: Street, nlri: bytes = NET) -> set[str]:
    legs = street.fib.routes[V4].get(nlri) or ()
    return {".".join(map(str, leg.gateway or b"")) for leg in legs}


def test_all_paths_of_one_peer_share_the_traffic(street: Street):
    tells(
        street,
        update(entry(1, NET), nexthop=A),
        update(entry(2, NET), entry(2, OTHER), nexthop=B),
        update(entry(9, NET), nexthop=C),
    )
    assert hops(street) == {A, B, C}
    assert hops(street, OTHER) == {B}
    assert state(street, N2).places.paths == 4
    assert isinstance(street.routing.rib.loc[V4][NET], Multipath)


def test_a_path_is_replaced_and_withdrawn_by_its_identifier(street: Street):
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B))
    tells(street, update(entry(2, NET), nexthop=C))
    assert hops(street) == {A, C}
    tells(street, update(withdrawn=entry(1, NET)))
    assert hops(street) == {C}
    tells(street, update(withdrawn=entry(1, NET) + entry(7, NET)))
    assert hops(street) == {C}
    tells(street, update(entry(5, NET), nexthop=A))
    assert hops(street) == {A, C}
    tells(street, update(withdrawn=entry(2, NET) + entry(5, NET)))
    assert hops(street) == set()
    assert state(street, N2).places.paths == 0


def test_too_many_paths_to_one_prefix_are_counted_and_ignored(street: Street):
    for number in range(add_path.MOST + 3):
        tells(street, update(entry(number, NET), nexthop=f"192.0.2.{100 + number}"))
    assert state(street, N2).places.paths == add_path.MOST
    assert state(street, N2).adj_in.over == {}, "no limit of prefixes is concerned"
    found = queries.problems(Desired(), street.routing, 0.0)
    assert [p.field for p in found if "16 paths" in p.reason] == ["addPath"]
    sent = len(street.speaker.sent)
    street.road.ask_again()
    assert len(street.speaker.sent) == sent, "to tell again would not help"


GRACEFUL = restart(families=(V4, V6), forwarding=(V4, V6))


def lost_and_up_again(street: Street, **session: Any) -> None:
    street.routing.session_down(PeerName(N2.name), LOST, 5.0)
    street.road.flush()
    street.up(N2, **({"add_path": (V4,), "restart": GRACEFUL} | session))


def test_all_paths_stay_as_stale_after_a_loss_until_the_peer_has_told_its_table(street: Street):
    tells(
        street,
        update(entry(1, NET), nexthop=A),
        update(entry(2, NET), entry(2, OTHER), nexthop=B),
    )
    street.routing.session_down(PeerName(N2.name), LOST, 5.0)
    street.road.flush()
    found = state(street, N2)
    assert (hops(street), hops(street, OTHER)) == ({A, B}, {B})
    assert [found.stale_in(f) for f in (V4, V6)] == [3, 0]
    row = next(p for p in queries.peers(street.routing, 6.0) if p["name"] == N2.name)
    assert (row["stale"], row["received"]) == (3, 3)
    street.up(N2, add_path=(V4,), restart=GRACEFUL)
    tells(street, update(entry(2, NET), nexthop=B))
    assert hops(street) == {A, B}, "the other one is still stale"
    tells(street, bytes(4))
    assert (hops(street), hops(street, OTHER)) == ({B}, set())
    assert (found.stale_in(V4), found.stale_until, found.places.paths) == (0, None, 1)
    tells(street, update(withdrawn=entry(2, NET)))
    assert found.places.paths == 0
    assert not found.places.has_ids(V4)


def test_a_peer_that_comes_back_with_other_identifiers_keeps_its_traffic_shared(street: Street):
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B))
    lost_and_up_again(street)
    tells(street, update(entry(71, NET), nexthop=B))
    assert hops(street) == {A, B}
    tells(street, update(entry(72, NET), nexthop=A), bytes(4))
    assert hops(street) == {A, B}
    assert state(street, N2).places.paths == 2


def test_stale_paths_make_room_for_new_ones(street: Street):
    for number in range(add_path.MOST):
        tells(street, update(entry(number, NET), nexthop=f"192.0.2.{100 + number}"))
    lost_and_up_again(street)
    for number in range(add_path.MOST):
        tells(street, update(entry(100 + number, NET), nexthop=f"192.0.2.{100 + number}"))
    tells(street, bytes(4))
    found = state(street, N2)
    assert (found.places.paths, found.places.ignored) == (add_path.MOST, 0)


def test_a_peer_that_tells_one_path_now_leaves_one_stale_one(street: Street):
    tells(
        street,
        update(entry(1, NET), nexthop=A),
        update(entry(2, NET), nexthop=B),
        update(withdrawn=entry(1, NET)),
        update(entry(3, OTHER), nexthop=C),
    )
    lost_and_up_again(street, add_path=())
    found = state(street, N2)
    assert len(found.ribs) == 1
    assert found.adj_in.stale == {V4: {NET, OTHER}}
    assert (hops(street), hops(street, OTHER)) == ({B}, {C})
    tells(street, update(NET, nexthop=A), bytes(4))
    assert (hops(street), hops(street, OTHER)) == ({A}, set())


def test_a_peer_that_tells_several_paths_now_replaces_the_stale_one(street: Street):
    street.routing.session_down(PeerName(N2.name), LOST, 5.0)
    street.up(N2, add_path=(), restart=GRACEFUL)
    tells(street, update(NET, OTHER, nexthop=C))
    lost_and_up_again(street)
    assert hops(street) == {C}
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B), bytes(4))
    assert (hops(street), hops(street, OTHER)) == ({A, B}, set())


def test_a_second_loss_before_all_was_told_leaves_what_was_told_in_between(street: Street):
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B))
    lost_and_up_again(street)
    tells(street, update(entry(2, NET), nexthop=B))
    lost_and_up_again(street)
    assert hops(street) == {B}


def test_paths_refused_for_the_limit_take_no_place_in_the_next_session(street: Street):
    state(street, N2).adj_in.limit = 1
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, OTHER), nexthop=B))
    lost_and_up_again(street)
    assert list(state(street, N2).places.entries(V4)) == [entry(1, NET)]


def test_what_is_known_of_a_peer_holds_for_all_its_paths(street: Street):
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B))
    hold = Hold(kind=Held.LEAVING, since=0.0)
    street.routing.set_holds({N2.name: hold})
    assert all(rib.source.leaving for rib in state(street, N2).ribs)
    lost_and_up_again(street, router_id="192.0.2.99")
    assert {rib.source.router_id for rib in state(street, N2).ribs} == {packed("192.0.2.99")}


def test_a_loss_without_graceful_restart_leaves_nothing(street: Street):
    tells(street, update(entry(1, NET), nexthop=A), update(entry(2, NET), nexthop=B))
    gone = SessionDown(reason="x", received=(6, 9))
    street.routing.session_down(PeerName(N2.name), gone, 5.0)
    street.road.flush()
    assert hops(street) == set()
    assert not street.routing.rib.candidates[V4]


actions = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([NET, OTHER]), st.sampled_from([A, B, C, ""])),
    max_size=14,
)


@given(actions, actions)
def test_after_a_loss_the_peers_new_table_is_all_that_counts(
    before: list[tuple[int, bytes, str]], after: list[tuple[int, bytes, str]]
):
    """Whatever was stale, and under whichever identifiers."""
    outcomes = []
    for sessions in ([before, after], [after]):
        street = Street(N2)
        street.up(N2, add_path=(V4,), restart=GRACEFUL)
        for number, said in enumerate(sessions):
            if number:
                lost_and_up_again(street)
            for path_id, nlri, hop in said:
                step = entry(path_id, nlri)
                tells(street, update(step, nexthop=hop) if hop else update(withdrawn=step))
        tells(street, bytes(4))
        found = state(street, N2)
        outcomes.append(
            ({x: hops(street, x) for x in (NET, OTHER)}, found.places.paths, found.stale_in(V4))
        )
    assert outcomes[0] == outcomes[1]


@given(actions)
def test_any_order_of_the_same_paths_ends_alike(said: list[tuple[int, bytes, str]]):
    """The places that paths get depend on the order in which they came; what is used does not."""
    final = {(number, nlri): hop for number, nlri, hop in said}
    outcomes = []
    history = [*said]
    fresh = [(number, nlri, hop) for (number, nlri), hop in reversed(final.items()) if hop]
    for told in (history, fresh):
        street = Street(N2)
        street.routing.rib.legs = 1
        street.up(N2, add_path=(V4,))
        for number, nlri, hop in told:
            step = entry(number, nlri)
            tells(street, update(step, nexthop=hop) if hop else update(withdrawn=step))
        outcomes.append({nlri: hops(street, nlri) for nlri in (NET, OTHER)})
    assert outcomes[0] == outcomes[1]
