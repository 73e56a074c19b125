"""The fast lane is the plain way: runs of UPDATEs taken in rows end where each prefix of each UPDATE by itself does.

One street gets the bodies in runs, as the speaker hands them over. Beside it every body is read by a decoder that has
seen nothing before, and its prefixes are learned one by one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from kroute.codec.bgp import Row, UpdateDecoder
from kroute.codec.bgp.alike import cut_alike
from kroute.codec.config import parse_config
from kroute.drivers.speaker import Down, Updates
from kroute.model.bgp import Attributes, Peer, PeerKind
from kroute.model.net import Family, Nlri
from kroute.model.policies import OriginState
from kroute.model.reason import Reason, Why
from kroute.plan.paths import Path
from kroute.plan.policy import ImportRules, OriginVerdict, PeerRules
from kroute.plan.policy.compile import Bound, compiled
from support.bgp_bytes import AS_PATH, ORIGIN, attribute, body, reach, unreach
from support.daemon_road import Street, state
from support.routing import ASN, LOST, V4, V6, Checked, n, negotiated, packed, peer

ROUTES = {
    V4: [n(f"10.{i}.0.0/16") for i in range(12)] + [n("10.0.0.0/15"), n("0.0.0.0/0")],
    V6: [n(f"fd00:{i}::/64") for i in range(4)],
}
LOOP = attribute(2, b"\2\2" + (65002).to_bytes(4, "big") + ASN.to_bytes(4, "big"))
BLOCKS = [
    ORIGIN + AS_PATH + attribute(3, packed("192.0.2.2")),
    ORIGIN + AS_PATH + attribute(3, packed("192.0.2.3")),
    ORIGIN + AS_PATH + attribute(3, packed("198.51.100.1")),  # nothing leads there
    ORIGIN + AS_PATH + attribute(3, packed("192.0.2.2")) + attribute(5, b"\0\0\0\7"),
    ORIGIN + LOOP + attribute(3, packed("192.0.2.2")),
    ORIGIN + AS_PATH,  # no next hop: withdrawn (RFC 7606)
]
REACHES = [packed("2001:db8::2"), packed("2001:db8::3"), packed("2001:db9::1")]
POLICY = """
policies:
- name: some
  rules:
  - {name: a, match: {prefixes: [{prefix: 10.0.0.0/14, ge: 15}]}, set: {localPref: 150}, then: next}
  - {name: b, match: {prefixes: [{prefix: 10.1.0.0/16}]}, then: reject}
"""
BOUND = Bound(names=frozenset({"node/n2"}), prepend=ASN)
RULES = [
    ImportRules(),
    ImportRules(policy=compiled(parse_config(POLICY).policies[0], {}, BOUND)),
]
NOT_ITS = OriginVerdict(OriginState.INVALID, Reason(Why.ORIGIN_HIJACK, "not its own"), refused=True)


def _some(family: Family) -> st.SearchStrategy[bytes]:
    """An NLRI field: mostly one prefix, sometimes enough for a step of their own."""
    one = st.sampled_from(ROUTES[family]).map(lambda nlri: [nlri])
    some = st.lists(st.sampled_from(ROUTES[family]), min_size=1, unique=True)
    return st.one_of(one, one, some).map(b"".join)


V4_TOLD = st.builds(
    lambda block, field: body(attributes=block, announced=field),
    st.sampled_from(BLOCKS),
    _some(V4),
)
V6_TOLD = st.builds(
    lambda hop, field: body(attributes=reach(2, hop, field) + ORIGIN + AS_PATH),
    st.sampled_from(REACHES),
    _some(V6),
)
GONE = st.one_of(
    _some(V4).map(lambda field: body(withdrawn=field)),
    _some(V6).map(lambda field: body(attributes=unreach(2, field))),
)
BOTH_AT_ONCE = st.builds(
    lambda block, field, gone: body(withdrawn=gone, attributes=block, announced=field),
    st.sampled_from(BLOCKS),
    _some(V4),
    _some(V4),
)
HOPS = [packed("192.0.2.2"), packed("192.0.2.3"), packed("198.51.100.1")]
ALIKE = [
    body(attributes=ORIGIN + AS_PATH + attribute(3, hop), announced=nlri)
    for hop in HOPS
    for nlri in ROUTES[V4]
    if len(nlri) == 3
]
"""Bodies of one length, with one prefix each."""
IMPOSTORS = [
    body(attributes=BLOCKS[0], announced=b"\x0f\x0a\x01"),  # an unused bit is set
    body(attributes=BLOCKS[0], announced=b"\x08\x0a\x00"),  # two prefixes
    body(attributes=ORIGIN + AS_PATH + attribute(3, bytes(4)), announced=ROUTES[V4][1]),  # no host
    body(
        attributes=ORIGIN + attribute(2, b"") + attribute(3, HOPS[0]),
        announced=b"".join(ROUTES[V4][2:5]),
    ),
]
"""Bodies that are as long."""
STRETCH = st.builds(
    lambda alike, odd, place: alike[:place] + odd + alike[place:],
    st.lists(st.sampled_from(ALIKE), min_size=8, max_size=30),
    st.lists(st.sampled_from(IMPOSTORS), max_size=2),
    st.integers(0, 30),
)
BODIES = st.one_of(V4_TOLD, V4_TOLD, V4_TOLD, V6_TOLD, GONE, BOTH_AT_ONCE)
RUN = st.lists(st.one_of(st.lists(BODIES, max_size=24), STRETCH), min_size=1, max_size=3).map(
    lambda parts: [data for part in parts for data in part]
)
RUNS = st.lists(RUN, min_size=1, max_size=4)


@st.composite
def peers(draw: st.DrawFn) -> Peer:
    return peer(
        2,
        draw(st.sampled_from([PeerKind.MESH, PeerKind.EXTERNAL])),
        max_prefixes=draw(st.sampled_from([5, 1000])),
    )


def street(of: Peer, rules: ImportRules, checked: set[Nlri]) -> Street:
    found = Street(of, peer(3))
    found.routing.set_peers(
        {p.name: p for p in (of, peer(3))},
        {of.name: PeerRules(imports=rules), peer(3).name: PeerRules()},
        0.0,
    )
    verdicts = {(V4, nlri): NOT_ITS for nlri in checked}
    found.routing.set_origin_check(Checked(frozenset({of.name}), verdicts))
    found.up(peer(3))
    found.happens(
        Updates(found.index(peer(3)), [body(attributes=BLOCKS[1], announced=ROUTES[V4][0])])
    )
    found.up(of)
    return found


def plainly(road: Street, of: Peer, data: bytes) -> None:
    """One body, read by a decoder without memory, prefix by prefix."""
    known = state(road, of)
    rib, adj_in = road.routing.rib, known.adj_in

    def judge(_family: Family, attributes: Attributes) -> Path:
        return rib.judge(adj_in, attributes)

    reader = UpdateDecoder(negotiated(of), internal=of.internal, make=judge)
    for family, path, nlris in reader.decode(data).steps:
        for nlri in nlris:
            if path is None:
                rib.forget(adj_in, family, [nlri])
            else:
                rib.learn(adj_in, family, path, [nlri])


def picture(road: Street, of: Peer) -> Any:
    """All that follows from what a peer said."""
    known, rib = state(road, of), road.routing.rib
    return (
        {f: {k: _path(p) for k, p in t.items()} for f, t in known.adj_in.tables.items()},
        {
            f: {k: {_path(p) for p in rib.rivals(f, k)} for k in t}
            for f, t in rib.candidates.items()
        },
        {f: {k: _path(s.best) for k, s in t.items()} for f, t in rib.loc.items()},
        road.fib.routes,
        known.adj_in.stale,
        known.adj_in.over,
    )


def _path(path: Path) -> tuple[Any, ...]:
    return path.source.name, path.attributes, path.outcome, path.refusal, path.nexthops


@given(
    of=peers(),
    runs=RUNS,
    rules=st.sampled_from(RULES),
    checked=st.sets(st.sampled_from(ROUTES[V4]), max_size=3),
    lost=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_rows_end_where_prefix_by_prefix_does(
    of: Peer, runs: list[list[bytes]], rules: ImportRules, checked: set[Nlri], lost: bool
) -> None:
    quick, plain = street(of, rules, checked), street(of, rules, checked)
    for number, run in enumerate(runs):
        if number == 1 and lost:  # what was told before is stale now
            for road in (quick, plain):
                road.happens(Down(road.index(of), LOST))
                road.up(of)
        quick.happens(Updates(quick.index(of), run))
        for data in run:
            plainly(plain, of, data)
        plain.road.flush()
        assert picture(quick, of) == picture(plain, of)


@given(run=RUN)
@settings(max_examples=300, deadline=None)
def test_the_parts_of_a_run_hold_its_prefixes_in_their_order(run: list[bytes]) -> None:
    of = peer(2)

    def reader() -> UpdateDecoder[Attributes]:
        return UpdateDecoder(negotiated(of), internal=True, make=lambda _, found: found)

    for family in Family:
        at_once = [
            (path, nlri)
            for told, path, nlris in reader().decode_run(run).steps
            for nlri in nlris
            if told is family
        ]
        by_itself = [
            (path, nlri)
            for data in run
            for told, path, nlris in reader().decode(data).steps
            for nlri in nlris
            if told is family
        ]
        assert at_once == by_itself


@given(run=st.lists(V4_TOLD, min_size=2, max_size=40))
def test_announcements_behind_one_another_are_one_part_unless_they_are_many(
    run: list[bytes],
) -> None:
    reader = UpdateDecoder(negotiated(peer(2)), internal=True, make=lambda _, found: found)
    parts = reader.decode_run(run).parts
    rows = [isinstance(part, Row) or (part[1] is not None and len(part[2]) < 8) for part in parts]
    assert not any(one and two for one, two in pairwise(rows))


def test_impostors_are_as_long_as_the_others() -> None:
    assert {len(data) for data in ALIKE + IMPOSTORS} == {len(ALIKE[0])}
    assert cut_alike(ALIKE) is not None


def test_what_is_withdrawn_is_never_read_as_attributes() -> None:
    assert cut_alike([*ALIKE, b"\0\x06" + ALIKE[0][2:]]) is None
