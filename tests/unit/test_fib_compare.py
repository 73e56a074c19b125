"""What the FIB driver holds to differ from what is desired."""

from __future__ import annotations

from kroute.drivers.fib.compare import difference, same, taken_over
from kroute.drivers.fib.ledger import OTHER, Reading, Stray
from kroute.model.fib import Nexthop, Nexthops, Place, Placed, ecmp
from kroute.model.net import Family

A, B = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
ONE, TWO = (Nexthop(A, 1),), (Nexthop(B, 2),)
P, Q, R = b"\x08\x0a", b"\x08\x0b", b"\x08\x0c"


def test_equal_routes_are_adopted_and_keep_the_desired_objects() -> None:
    want = (Nexthop(A, 1),)
    found = difference({P: want}, Reading(own={P: (Nexthop(A, 1),)}))
    assert (found.missing, found.adopted) == ({}, 1)
    assert found.installed[P] is want


def test_absent_and_different_routes_are_missing() -> None:
    found = difference({P: ONE, Q: ONE}, Reading(own={Q: TWO, R: TWO}))
    assert found.missing == {P: ONE, Q: ONE}
    assert found.installed == {Q: OTHER, R: TWO}
    assert found.adopted == 0


def test_a_place_that_a_former_protocol_holds_is_to_be_replaced_not_added() -> None:
    strays = {Stray(200, 201): [P], Stray(201, 77): [Q]}
    taken = taken_over(Family.IPV4, 201, strays)
    assert taken == {P}
    assert difference({P: ONE, Q: ONE}, Reading(), taken).installed == {P: OTHER}


def test_ipv6_keeps_metric_1024_where_0_was_asked() -> None:
    assert taken_over(Family.IPV6, 0, {Stray(200, 1024): [P]}) == {P}
    assert taken_over(Family.IPV4, 0, {Stray(200, 1024): [P]}) == set()


def test_an_interface_left_to_the_kernel_and_the_weight_of_one_leg_do_not_differ() -> None:
    assert same((Nexthop(A, 0),), (Nexthop(A, 7),))
    assert same((Nexthop(A, 7, 5),), (Nexthop(A, 7, 1),))
    assert not same((Nexthop(A, 3),), (Nexthop(A, 7),))
    assert not same((Nexthop(A, 0),), (Nexthop(B, 7),))


def test_sets_are_equal_in_any_order_and_differ_by_weight() -> None:
    legs = ecmp({Nexthop(A, 1), Nexthop(B, 2, 3)})
    assert same(tuple(reversed(legs)), legs)
    assert same((Nexthop(B, 0, 3), Nexthop(A, 0)), legs)
    assert not same((Nexthop(B, 2, 1), Nexthop(A, 1)), legs)
    assert not same((Nexthop(A, 1),), legs)


def test_a_blackhole_differs_from_every_route_with_legs() -> None:
    assert same((), ())
    assert not same((), ONE)
    assert not same((), OTHER)


def test_a_route_aside_is_adopted_where_it_is_desired_and_superseded_elsewhere() -> None:
    here, there = Place(300, 7), Place(400, 201)
    want = Placed(ONE, here)

    def place_of(legs: Nexthops) -> Place | None:
        return legs.place if isinstance(legs, Placed) else None

    reading = Reading(own={Q: ONE}, aside={here: {P: ONE, Q: ONE, R: TWO}, there: {P: ONE}})
    found = difference({P: want, Q: want}, reading, (), place_of)
    assert found.aside == {P: want, Q: want, R: Placed(TWO, here)}, "R is desired nowhere: it waits"
    assert found.superseded == {there: [P]}
    assert (found.missing, found.installed) == ({Q: want}, {Q: OTHER}), "Q has yet to leave home"
    assert found.adopted == 2


def test_a_route_aside_with_other_legs_is_to_be_replaced_there() -> None:
    here = Place(300, 7)
    reading = Reading(aside={here: {P: TWO}})
    found = difference({P: Placed(ONE, here)}, reading, (), lambda _: here)
    assert found.missing == {P: Placed(ONE, here)}
    assert found.aside == {P: Placed(OTHER, here)}
