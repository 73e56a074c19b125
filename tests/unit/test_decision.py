"""RFC 4271 §9.1.2.2: each rule is one deviation from a reference path, compared both ways."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from kroute.model.bgp import AsSegment, Attributes, Origin, PeerKind, SegmentType
from kroute.model.fib import Nexthops
from kroute.model.reason import Reason, Why
from kroute.plan.decision import EQUAL, TIES, explain, select
from kroute.plan.paths import Multipath, Path, Selection, Source
from support.routing import attributes, hop, packed, peer


def path(
    number: int = 5,
    kind: PeerKind = PeerKind.MESH,
    *,
    legs: Nexthops | None = None,
    metric: int = 0,
    router_id: str = "192.0.2.5",
    **changes: Any,
) -> Path:
    """A path of peer ``number``; whatever is not named is as in the reference path."""
    segments = changes.pop("as_path", (65001, 65002))
    values = {"med": 10, "cluster_list": (b"cl01",)} | changes
    found = Path(Source(peer(number, kind), packed(router_id)), attributes("192.0.2.9", **values))
    found.attributes = _with_path(found.attributes, segments)
    found.nexthops = hop("192.0.2.9") if legs is None else legs
    found.igp_metric = metric
    found.eligible = True
    return found


def _with_path(found: Attributes, segments: Any) -> Attributes:
    if segments and isinstance(segments[0], int):
        segments = (AsSegment(SegmentType.AS_SEQUENCE, tuple(segments)),)
    return Attributes(
        **{name: getattr(found, name) for name in Attributes.__slots__} | {"as_path": segments}
    )


def local() -> Path:
    found = Path(Source(None), Attributes())
    found.eligible = True
    return found


def seeded() -> Path:
    """The inventory's word, which no attribute makes better."""
    found = Path(Source(None, seeded=True), attributes("192.0.2.9", local_pref=900))
    found.nexthops, found.eligible = hop("192.0.2.9"), True
    return found


def refused(number: int = 2) -> Path:
    found = path(number, local_pref=900)
    found.eligible, found.refusal = False, Reason(Why.NOT_ACCEPTED, "not wanted")
    return found


def _other_nexthop() -> Path:
    """Another path of the peer that the reference path is from."""
    found = path()
    found.attributes = replace(found.attributes, nexthop=packed("192.0.2.10"))
    return found


SEQUENCE, SET, CONFED = SegmentType.AS_SEQUENCE, SegmentType.AS_SET, SegmentType.AS_CONFED_SEQUENCE

BETTER: dict[str, tuple[Why, Path]] = {
    "originated here": (Why.LOCAL, local()),
    "higher LOCAL_PREF": (Why.LOCAL_PREF, path(6, local_pref=101)),
    "shorter AS_PATH": (Why.AS_PATH_LENGTH, path(6, as_path=(65009,))),
    "an AS_SET counts once": (
        Why.AS_PATH_LENGTH,
        path(6, as_path=(AsSegment(SET, (65001, 65002, 65003)),)),
    ),
    "confederation segments do not count": (
        Why.AS_PATH_LENGTH,
        path(6, as_path=(AsSegment(CONFED, (65101, 65102)), AsSegment(SEQUENCE, (65001,)))),
    ),
    "empty AS_PATH": (Why.AS_PATH_LENGTH, path(6, as_path=())),
    "lower MED of the same neighbouring AS": (Why.MED, path(6, med=9)),
    "missing MED is the lowest": (Why.MED, path(6, med=None)),
    "external before internal": (Why.EXTERNAL, path(6, PeerKind.EXTERNAL)),
    "lower cost to the next hop": (Why.IGP_METRIC, path(6, metric=-1)),
    "lower BGP identifier": (Why.ROUTER_ID, path(6, router_id="192.0.2.4")),
    "lower ORIGINATOR_ID stands in": (
        Why.ROUTER_ID,
        path(6, router_id="192.0.2.200", originator_id=packed("192.0.2.4")),
    ),
    "shorter CLUSTER_LIST": (Why.CLUSTER_LENGTH, path(6, cluster_list=())),
    "lower peer address": (Why.PEER_ADDRESS, path(4)),
}
WORSE: dict[str, tuple[Why, Path]] = {
    "seeded by the inventory": (Why.SEEDED, seeded()),
    "lower LOCAL_PREF": (Why.LOCAL_PREF, path(2, local_pref=99)),
    "longer AS_PATH": (Why.AS_PATH_LENGTH, path(2, as_path=(65001, 65002, 65003))),
    "ORIGIN EGP": (Why.ORIGIN, path(2, origin=Origin.EGP)),
    "ORIGIN INCOMPLETE": (Why.ORIGIN, path(2, origin=Origin.INCOMPLETE)),
    "higher MED": (Why.MED, path(2, med=11)),
    "higher cost to the next hop": (Why.IGP_METRIC, path(2, metric=1)),
    "higher BGP identifier": (Why.ROUTER_ID, path(2, router_id="192.0.2.6")),
    "higher ORIGINATOR_ID stands in": (
        Why.ROUTER_ID,
        path(2, router_id="192.0.2.1", originator_id=packed("192.0.2.6")),
    ),
    "longer CLUSTER_LIST": (Why.CLUSTER_LENGTH, path(2, cluster_list=(b"cl01", b"cl02"))),
    "higher peer address": (Why.PEER_ADDRESS, path(7)),
    "later name where two sessions share an address": (
        Why.PEER_ADDRESS,
        path(5, router_id="192.0.2.5"),
    ),
    "higher next hop of the same peer (add-path)": (Why.NEXTHOP, _other_nexthop()),
}
WORSE["later name where two sessions share an address"][1].source.peer = peer(5, name="node/n6")


def one(selection: Selection | None) -> Path:
    assert isinstance(selection, Path)
    return selection


def verdict_of(found: Path, among: list[Path], legs: int = 1) -> tuple[bool, Why]:
    return next((used, why.why) for p, used, why in explain(among, legs) if p is found)


@pytest.mark.parametrize("rule", BETTER)
def test_a_path_that_is_better_by_one_rule_wins_in_either_order(rule: str):
    reference, (why, better) = path(), BETTER[rule]
    for order in ([reference, better], [better, reference]):
        assert one(select(order, 1)) is better
        assert verdict_of(reference, order) == (False, why)
        assert verdict_of(better, order) == (True, why)


@pytest.mark.parametrize("rule", WORSE)
def test_a_path_that_is_worse_by_one_rule_loses_in_either_order(rule: str):
    reference, (why, worse) = path(), WORSE[rule]
    for order in ([reference, worse], [worse, reference]):
        assert one(select(order, 1)) is reference
        assert verdict_of(worse, order) == (False, why)
        assert verdict_of(reference, order) == (True, why)


def test_every_step_is_covered_by_a_deviation():
    tested = {why for why, _ in [*BETTER.values(), *WORSE.values()]}
    assert tested == {why for why, _ in EQUAL + TIES}


def test_earlier_rules_outrank_all_later_ones():
    """Each path is best by one rule and worst by all that follow; taking the winner away promotes the next."""
    ladder = [
        path(11, local_pref=200, as_path=(1, 2, 3, 4), origin=Origin.INCOMPLETE),
        path(12, as_path=(1,), origin=Origin.INCOMPLETE),
        path(13, as_path=(7, 8), origin=Origin.IGP, med=90),
        path(14, as_path=(7, 8), origin=Origin.IGP, med=91),
    ]
    reasons = [Why.LOCAL_PREF, Why.AS_PATH_LENGTH, Why.MED]
    for position, why in enumerate(reasons):
        left = ladder[position:]
        for order in permutations(left):
            assert one(select(order, 1)) is left[0]
            assert verdict_of(left[1], list(order))[1] is why


def test_every_insertion_order_ranks_alike():
    candidates = [
        path(2, router_id="192.0.2.2"),
        path(3, router_id="192.0.2.3", med=5),
        path(4, router_id="192.0.2.4", as_path=(65003, 65002), med=1),
        path(5, PeerKind.EXTERNAL, router_id="192.0.2.5", med=20),
        path(6, router_id="192.0.2.6", local_pref=50),
    ]
    for legs in (1, 2, 8):
        found = {_picture(select(order, legs)) for order in permutations(candidates)}
        assert len(found) == 1


def _picture(selection: Selection | None) -> Any:
    if isinstance(selection, Multipath):
        return (selection.best, selection.paths, selection.nexthops)
    return selection


def test_med_is_compared_within_one_neighbouring_as_only():
    """RFC 4271 §9.1.2.2 c: A loses to B by MED, B to C by router id, C to A by router id: no order sorts them."""
    a = path(2, as_path=(65001, 1), med=20, router_id="192.0.2.1")
    b = path(3, as_path=(65001, 2), med=10, router_id="192.0.2.3")
    c = path(4, as_path=(65002, 3), med=99, router_id="192.0.2.2")
    assert one(select([a, b], 1)) is b
    assert one(select([b, c], 1)) is c
    assert one(select([a, c], 1)) is a
    for order in permutations([a, b, c]):
        assert one(select(order, 1)) is c
        assert verdict_of(a, list(order)) == (False, Why.MED)


@pytest.mark.parametrize(
    ("segments", "neighbour"),
    [
        ((), None),
        ((AsSegment(SEQUENCE, (65001, 65002)),), 65001),
        ((AsSegment(SET, (65001,)), AsSegment(SEQUENCE, (65002,))), None),
        ((AsSegment(CONFED, (65100,)), AsSegment(SEQUENCE, (65001,))), 65001),
        ((AsSegment(SEQUENCE, ()), AsSegment(SEQUENCE, (65003,))), 65003),
    ],
)
def test_the_neighbouring_as_is_that_of_the_first_sequence_unless_a_set_comes_first(
    segments: tuple[AsSegment, ...], neighbour: int | None
):
    assert Attributes(as_path=segments).neighbor_as == neighbour


def test_nothing_is_selected_among_paths_that_may_not_be_used():
    assert select([refused()], 8) is None
    assert select([], 8) is None


def test_a_refused_path_takes_no_part_and_keeps_its_reason():
    good, bad = path(), refused()
    assert one(select([bad, good], 1)) is good
    assert explain([bad, good], 1) == [
        (bad, False, Reason(Why.NOT_ACCEPTED, "not wanted")),
        (good, True, Reason(Why.ONLY, "the only eligible path")),
    ]


def test_an_unresolved_path_says_that_its_next_hop_is_not_reachable():
    lost = path()
    lost.eligible, lost.nexthops = False, None
    ((found, used, why),) = explain([lost], 1)
    assert (found, used, why.why) == (lost, False, Why.NEXTHOP_UNREACHABLE)


# --- multipath --------------------------------------------------------------------------------------


def test_equally_good_paths_share_the_traffic_in_canonical_order():
    legs = [hop(f"192.0.2.{i}") for i in (7, 5, 6)]
    paths = [
        path(i, legs=leg, router_id=f"192.0.2.{i}") for i, leg in zip((7, 5, 6), legs, strict=True)
    ]
    for order in permutations(paths):
        found = select(order, 8)
        assert isinstance(found, Multipath)
        assert found.best.source.name == "node/n5"
        assert [p.source.name for p in found.paths] == ["node/n5", "node/n6", "node/n7"]
        assert found.nexthops == (*hop("192.0.2.5"), *hop("192.0.2.6"), *hop("192.0.2.7"))


def test_no_more_legs_are_used_than_allowed_and_ties_choose_them():
    paths = [path(i, legs=hop(f"192.0.2.{i}"), router_id=f"192.0.2.{i}") for i in (9, 8, 7, 6)]
    found = select(paths, 2)
    assert isinstance(found, Multipath)
    assert found.nexthops == (*hop("192.0.2.6"), *hop("192.0.2.7"))
    assert verdict_of(paths[0], paths, 2) == (False, Why.ROUTER_ID)
    assert verdict_of(paths[3], paths, 2) == (True, Why.MULTIPATH)


def test_two_reflectors_telling_of_one_next_hop_take_one_place():
    twice = [path(i, legs=hop("192.0.2.21"), router_id="192.0.2.21") for i in (2, 3)]
    other = path(4, legs=hop("192.0.2.22"), router_id="192.0.2.22")
    found = select([*twice, other], 2)
    assert isinstance(found, Multipath)
    assert found.nexthops == (*hop("192.0.2.21"), *hop("192.0.2.22"))


def test_one_leg_alone_is_used_where_ecmp_is_off():
    paths = [path(i, legs=hop(f"192.0.2.{i}"), router_id=f"192.0.2.{i}") for i in (3, 2)]
    assert one(select(paths, 1)) is paths[1]


def test_internal_and_external_paths_never_share():
    inside, outside = path(2), path(3, PeerKind.EXTERNAL)
    assert one(select([inside, outside], 8)) is outside


def test_paths_of_different_neighbouring_ases_share():
    paths = [path(2, as_path=(1, 2), med=5), path(3, as_path=(3, 4), med=50)]
    assert isinstance(select(paths, 8), Multipath)


def test_our_own_prefix_never_shares_with_what_others_say():
    mine = local()
    assert one(select([path(), mine, path(6)], 8)) is mine
    assert verdict_of(mine, [path(), mine], 8) == (True, Why.LOCAL)
