"""The decision over random candidate sets: no order matters, shortcuts equal the whole, explanations agree."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.model.bgp import Attributes, Origin, PeerKind
from kroute.model.fib import ecmp
from kroute.model.reason import Reason, Why
from kroute.plan.adj_in import AdjRibIn
from kroute.plan.decision import EQUAL, TIES, explain, select
from kroute.plan.paths import Multipath, Path, Selection, Source
from kroute.plan.resolve import Resolver
from kroute.plan.rib import Rib
from support.routing import SELF, V4, attributes, hop, kernel, n, packed, peer

legs_allowed = st.sampled_from([1, 2, 3, 8])


@st.composite
def candidate(draw: st.DrawFn, number: int) -> Path:
    """A path of peer ``number``; values are few, so that paths tie in most steps."""
    kind = draw(st.sampled_from([PeerKind.MESH, PeerKind.CLIENT, PeerKind.EXTERNAL]))
    router_id = packed(draw(st.sampled_from(["192.0.2.50", "192.0.2.51"])))
    as_path = draw(st.sampled_from([(65001,), (65002,), (65001, 65002), ()]))
    found = Path(
        Source(peer(number, kind), router_id),
        attributes(
            "192.0.2.9",
            *as_path,
            local_pref=draw(st.sampled_from([None, 100, 90])),
            origin=draw(st.sampled_from([Origin.IGP, Origin.IGP, Origin.EGP])),
            med=draw(st.sampled_from([None, 0, 5, 9])),
            originator_id=draw(st.sampled_from([None, packed("192.0.2.50")])),
            cluster_list=draw(st.sampled_from([(), (b"clus",)])),
        ),
    )
    found.eligible = draw(st.sampled_from([True, True, True, False]))
    if found.eligible:
        found.igp_metric = draw(st.sampled_from([0, 0, 1]))
        found.nexthops = hop(f"192.0.2.{draw(st.integers(100, 103))}")
    elif draw(st.booleans()):
        found.refusal = Reason(Why.NOT_ACCEPTED, "not wanted")
    return found


@st.composite
def candidates(draw: st.DrawFn) -> list[Path]:
    """At most one path of each peer, perhaps our own, in some order."""
    numbers = draw(st.lists(st.integers(2, 9), unique=True, max_size=6))
    found = [draw(candidate(number)) for number in numbers]
    if draw(st.sampled_from([False, False, False, True])):
        own = Path(Source(None), Attributes())
        own.eligible = True
        found.append(own)
    return draw(st.permutations(found))


def picture(selection: Selection | None) -> Any:
    if isinstance(selection, Multipath):
        return selection.best, selection.paths, selection.nexthops
    return selection


def used(selection: Selection | None) -> tuple[Path, ...]:
    if isinstance(selection, Multipath):
        return selection.paths
    return () if selection is None else (selection,)


@settings(max_examples=500)
@given(candidates(), legs_allowed, st.data())
def test_no_insertion_order_matters(found: list[Path], legs: int, data: st.DataObject):
    expected = picture(select(found, legs))
    assert picture(select(tuple(reversed(found)), legs)) == expected
    assert picture(select(data.draw(st.permutations(found)), legs)) == expected


@settings(max_examples=500)
@given(candidates(), legs_allowed)
def test_explanations_agree_with_the_selection(found: list[Path], legs: int):
    verdicts = explain(found, legs)
    assert sorted(map(id, found)) == sorted(id(p) for p, _, _ in verdicts)
    assert {p for p, is_used, _ in verdicts if is_used} == set(used(select(found, legs)))
    for path, is_used, why in verdicts:
        assert why.text
        if not path.eligible:
            assert (is_used, why.why in {Why.NOT_ACCEPTED, Why.NEXTHOP_UNREACHABLE}) == (
                False,
                True,
            )


@given(candidates(), legs_allowed)
def test_a_path_that_is_out_does_not_change_what_is_chosen(found: list[Path], legs: int):
    eligible = [p for p in found if p.eligible]
    assert picture(select(found, legs)) == picture(select(eligible, legs))


@settings(max_examples=500)
@given(candidates(), legs_allowed)
def test_the_selection_is_what_the_steps_leave_one_by_one(found: list[Path], legs: int):
    """The whole procedure without any shortcut: every step over all that is left."""
    left: Any = [p for p in found if p.eligible]
    for _, step in EQUAL if left else ():
        left = step(left)
    equal = list(left)
    for _, step in TIES if left else ():
        left = step(left)
    selection = select(found, legs)
    assert list(left or [None]) == [selection.best if selection else None]
    assert set(used(selection)) <= set(equal)
    if legs == 1 or len(equal) == 1:
        assert len(used(selection)) == min(1, len(equal))


@given(candidates(), legs_allowed)
def test_legs_are_those_of_the_used_paths_and_no_more_than_allowed(found: list[Path], legs: int):
    selection = select(found, legs)
    if isinstance(selection, Multipath):
        assert selection.best in selection.paths
        assert len(selection.nexthops or ()) <= legs
        assert selection.nexthops == ecmp(
            {leg for p in selection.paths for leg in p.nexthops or ()}
        )


@given(candidates())
def test_with_room_for_all_every_equally_good_path_is_used(found: list[Path]):
    left: Any = [p for p in found if p.eligible]
    for _, step in EQUAL if left else ():
        left = step(left)
    if not any(p.is_local for p in left):
        assert set(used(select(found, 8))) == set(left)


@given(st.data())
def test_a_prefix_with_one_candidate_is_decided_as_by_the_whole_procedure(data: st.DataObject):
    """The Rib compares a single candidate with nothing; the decision process says the same of it."""
    rib = Rib(SELF, Resolver(kernel()), legs=data.draw(legs_allowed))
    adj_in = AdjRibIn(peer(2, data.draw(st.sampled_from(list(PeerKind)))))
    found = attributes(
        data.draw(st.sampled_from(["192.0.2.2", "198.51.100.1", "192.0.2.1"])),
        data.draw(st.sampled_from([65001, 64512])),
    )
    path = rib.judge(adj_in, found)
    rib.learn(adj_in, V4, path, [n("10.0.0.0/24")])
    rib.decide()
    assert rib.loc[V4].get(n("10.0.0.0/24")) is select([path], rib.legs)
