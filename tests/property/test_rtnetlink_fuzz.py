"""Whatever a netlink socket delivers, the parsers give a value or MalformedMessage, and never hang."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.rtnetlink import MalformedMessage, Message, attribute, error_of, message, messages
from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_link import address_of, link_of
from kroute.codec.rtnetlink_lookup import lookup_answer
from kroute.codec.rtnetlink_nexthop import nexthop_of
from kroute.codec.rtnetlink_route import (
    RouteEncoder,
    decode_route,
    patched,
    refused_route,
    route_event,
)
from kroute.drivers.kernel.picture import Picture
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.net import Family, Nlri, nlri_of

KINDS = st.sampled_from([0, 2, 3, 16, 17, 20, 21, 24, 25, 104, 105]) | st.integers(0, 0xFFFF)
ATTRIBUTES = st.lists(
    st.tuples(st.integers(0, 40) | st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8
).map(lambda pairs: b"".join(attribute(kind, value) for kind, value in pairs))
BODIES = st.binary(max_size=120) | st.tuples(
    st.binary(min_size=8, max_size=8) | st.binary(min_size=12, max_size=16), ATTRIBUTES
).map(b"".join)
LEGS = st.builds(
    Nexthop,
    st.none() | st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    st.integers(1, 1 << 20),
    st.integers(1, 256),
)


def parse_all(kind: int, flags: int, body: bytes) -> None:
    """Every parser that a message could reach."""
    event = Message(kind, flags, 0, body)
    done = Message(3, flags, 0, body)
    for parse in (decode_route, link_of, address_of, nexthop_of):
        with suppress(MalformedMessage):
            parse(body)
    picture = Picture(table=254, ours=(201,), routes_kept=10)
    for parse_event in (route_event, picture.hear, lambda it: refused_route(error_of(it))):
        for it in (event, done):
            with suppress(MalformedMessage):
                parse_event(it)
    picture.state()


@settings(max_examples=1000, deadline=None)
@given(KINDS, st.integers(0, 0xFFFF), BODIES)
def test_any_body_under_any_type_is_a_value_or_malformed(
    kind: int, flags: int, body: bytes
) -> None:
    parse_all(kind, flags, body)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.tuples(KINDS, BODIES), max_size=5))
def test_any_datagram_is_messages_or_malformed(raw: bytes | list[tuple[int, bytes]]) -> None:
    if isinstance(raw, list):
        raw = b"".join(message(kind, 0, body) + bytes(-len(body) & 3) for kind, body in raw)
    for parse in (
        lambda: list(messages(raw)),
        lambda: RouteDump(Family.IPV4).feed(raw),
        lambda: lookup_answer(raw),
    ):
        with suppress(MalformedMessage):
            parse()


def routes_of(family: Family) -> st.SearchStrategy[tuple[Family, Nlri, Nexthops]]:
    """A prefix of the family, and legs that the kernel might have."""
    network = IPv4Network if family is Family.IPV4 else IPv6Network
    nlris = st.builds(
        lambda number, length: nlri_of(network((number, length), strict=False)),
        st.integers(0, (1 << family.bits) - 1),
        st.integers(0, family.bits),
    )
    legs = st.sets(LEGS, max_size=4).map(ecmp).map(_as_dumped)
    return st.tuples(st.just(family), nlris, legs)


def _as_dumped(legs: Nexthops) -> Nexthops:
    """A single leg has no weight."""
    return legs if len(legs) > 1 else tuple(leg._replace(weight=1) for leg in legs)


ROUTES = st.sampled_from(Family).flatmap(routes_of)


@settings(max_examples=500, deadline=None)
@given(ROUTES, st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(1, 255))
def test_what_is_written_reads_back_the_same(
    route: tuple[Family, Nlri, Nexthops], table: int, metric: int, protocol: int
) -> None:
    family, nlri, nexthops = route
    encoder = RouteEncoder(table=table, protocol=protocol, metric=metric)
    template = encoder.template(family, nexthops)
    (read,) = messages(patched(template.replace, template.tails, [nlri]))
    got_family, got_nlri, form = decode_route(read.body)
    assert (got_family, got_nlri, form.nexthops) == (family, nlri, nexthops)
    assert (form.table, form.protocol, form.metric) == (table, protocol, metric)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_dump_in_columns_equals_a_dump_message_by_message(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(Family))
    some = data.draw(st.lists(routes_of(family), min_size=1, max_size=12))
    written = []
    for _, nlri, nexthops in some:
        address = nlri[1:].ljust(family.bits >> 3, b"\0")
        body = pack(
            "=BBBBBBBBI", 2 if family is Family.IPV4 else 10, nlri[0], *b"\0\0\xfe\xc9\0\1", 0
        )
        body += attribute(15, pack("=I", 254)) + attribute(1, address)
        body += attribute(4, pack("=I", nexthops[0].oif if nexthops else 1))
        written.append(message(24, 2, body, sequence=2))
    together, apart = RouteDump(family), RouteDump(family)
    together.feed(b"".join(written))
    for each in written:
        apart.feed(each + message(1, 0, b""))
    assert together.routes == apart.routes
