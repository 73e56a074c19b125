"""Which ids stand for which legs: the account of nexthop objects."""

from __future__ import annotations

from kroute.codec.rtnetlink import RTM_DELNEXTHOP, RTM_NEWNEXTHOP, messages
from kroute.codec.rtnetlink_nexthop import NexthopObject, nexthop_of
from kroute.drivers.fib import nexthops as module
from kroute.drivers.fib.nexthops import FIRST_ID, NexthopObjects, leg_of
from kroute.model.fib import Nexthop, ecmp
from kroute.model.net import Family

A, B, C = Nexthop(b"\x0a\0\0\1", 1), Nexthop(b"\x0a\0\0\2", 2), Nexthop(bytes(16), 3)
V4, V6 = Family.IPV4, Family.IPV6


def read(requests: list[bytes]) -> list[NexthopObject]:
    return [nexthop_of(each.body) for request in requests for each in messages(request)]


def test_a_set_is_a_group_of_its_legs_which_other_routes_share() -> None:
    ids = NexthopObjects(201)
    nhid, requests = ids.ensure(V4, ecmp({A, B._replace(weight=3)}))
    legs_and_group = read(requests)
    assert [each.leg for each in legs_and_group] == [A, B, None]
    a, b = legs_and_group[0].nhid, legs_and_group[1].nhid
    assert legs_and_group[2] == NexthopObject(nhid, 201, None, None, ((a, 1), (b, 3)))
    assert ids.ensure(V4, (A,)) == (a, [])
    assert ids.ensure(V4, ecmp({A, B._replace(weight=3)})) == (nhid, [])
    assert ids.legs_of(nhid) == ecmp({A, B._replace(weight=3)})
    assert ids.legs_of(a) == (A,)
    assert ids.legs_of(7) is None


def test_a_leg_without_gateway_is_another_object_for_each_family() -> None:
    ids = NexthopObjects(201)
    on_link = (Nexthop(None, 5),)
    assert ids.ensure(V4, on_link)[0] != ids.ensure(V6, on_link)[0]
    assert ids.ensure(V4, (C,))[0] == ids.ensure(V6, (C,))[0], "the gateway says the family"


def test_what_an_earlier_life_left_is_adopted_and_needs_no_request() -> None:
    first = NexthopObjects(201)
    nhid, requests = first.ensure(V4, ecmp({A, B}))
    second = NexthopObjects(201)
    assert second.compare(read(requests)) == []
    assert second.ensure(V4, ecmp({A, B})) == (nhid, [])


def test_objects_of_others_are_neither_used_nor_removed() -> None:
    ids = NexthopObjects(201)
    foreign = NexthopObject(FIRST_ID + 1, 4, V4, A, ())
    far = NexthopObject(7, 201, V4, A, ())
    assert ids.compare([foreign, far]) == []
    nhid, _ = ids.ensure(V4, (A,))
    assert nhid not in (FIRST_ID + 1, 7)
    assert {each.nhid for each in read(ids.prune(set()))} == {nhid}


def test_what_the_kernel_lost_or_changed_is_made_again_legs_first() -> None:
    ids = NexthopObjects(201)
    _nhid, requests = ids.ensure(V4, ecmp({A, B}))
    a, b, group = read(requests)
    pruned = group._replace(members=group.members[:1])
    again = read(ids.compare([a, pruned]))
    assert again == [b, group]
    assert ids.compare([a, b, group]) == []


def test_a_diverted_leg_keeps_its_id_and_the_diversion_outlives_a_comparison() -> None:
    ids = NexthopObjects(201)
    nhid, requests = ids.ensure(V4, (A,))
    (diverted,) = read(ids.divert(leg_of(V4, A), leg_of(V4, B)))
    assert (diverted.nhid, diverted.leg) == (nhid, B)
    assert ids.compare([diverted]) == []
    assert ids.legs_of(nhid) == (A,), "what is desired stays"
    assert read(ids.compare(read(requests))) == [diverted]
    (back,) = read(ids.divert(leg_of(V4, A), None))
    assert back.leg == A
    assert ids.divert(leg_of(V4, A), None) == []
    assert ids.divert(leg_of(V4, C), leg_of(V4, B)) == [], "no route uses it"


def test_unused_objects_go_groups_first_and_members_of_used_groups_stay() -> None:
    ids = NexthopObjects(201)
    keep, _ = ids.ensure(V4, ecmp({A, B}))
    gone, _ = ids.ensure(V4, ecmp({A, C}))
    requests = ids.prune({keep})
    kinds = [each.kind for request in requests for each in messages(request)]
    assert kinds == [RTM_DELNEXTHOP] * 2
    assert next(each.nhid for each in read(requests)) == gone
    assert len(ids) == 3
    _, again = ids.ensure(V4, ecmp({A, C}))
    assert [each.kind for request in again for each in messages(request)] == [RTM_NEWNEXTHOP] * 2


def test_without_ids_left_routes_name_their_next_hops_themselves(monkeypatch) -> None:
    monkeypatch.setattr(module, "IDS", 4)
    ids = NexthopObjects(201)
    assert ids.ensure(V4, ecmp({A, B}))[0] != 0
    assert ids.ensure(V4, ecmp({A, C})) == (0, [])
    assert ids.ensure(V4, (A,))[0] != 0, "what is there is used"


def test_why_a_route_failed_is_what_was_said_of_its_leg() -> None:
    ids = NexthopObjects(201)
    nhid, _ = ids.ensure(V4, (A,))
    ids.failed[nhid] = "ENETDOWN: Nexthop device is not up"
    assert ids.why_not(V4, ecmp({A, B})) == "ENETDOWN: Nexthop device is not up"
    assert ids.why_not(V4, (B,)) == ""
