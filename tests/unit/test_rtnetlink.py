"""The rtnetlink codec, by hand-made bytes; that of real kernels is in tests/interop."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from struct import pack

import pytest

from kroute.codec.rtnetlink import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    KernelError,
    MalformedMessage,
    Message,
    attribute,
    attributes,
    error_of,
    message,
    messages,
)
from kroute.codec.rtnetlink_dump import RouteDump
from kroute.codec.rtnetlink_link import address_of, link_of
from kroute.codec.rtnetlink_route import (
    RouteAction,
    RouteEncoder,
    decode_route,
    patched,
    refused_route,
    route_event,
)
from kroute.model.fib import Nexthop, ecmp
from kroute.model.kernel import Link
from kroute.model.net import Family, nlri_of

GATEWAY = ip_address("192.0.2.1").packed
OTHER_GATEWAY = ip_address("192.0.2.2").packed
ENCODER = RouteEncoder(table=254, protocol=201, metric=201)
ONE = (Nexthop(GATEWAY, 3),)
TWO = ecmp({Nexthop(GATEWAY, 3), Nexthop(OTHER_GATEWAY, 4)})


def nlri(text: str) -> bytes:
    return nlri_of(ip_network(text))


def route(
    prefix: str, oif: int, *, metric: int = 201, gateway: bytes = GATEWAY, flags: int = 2
) -> bytes:
    """A message as the kernel lays it out: RTA_TABLE, RTA_DST, RTA_PRIORITY, RTA_GATEWAY, RTA_OIF."""
    network = ip_network(prefix)
    body = pack("=BBBBBBBBI", 2, network.prefixlen, 0, 0, 254, 201, 0, 1, 0)
    body += attribute(15, pack("=I", 254))
    if network.prefixlen:
        body += attribute(1, network.network_address.packed)
    body += attribute(6, pack("=I", metric)) + attribute(5, gateway)
    body += attribute(4, pack("=I", oif))
    return message(RTM_NEWROUTE, flags, body, sequence=2)


DONE = message(NLMSG_DONE, 2, pack("=i", 0), sequence=2)


def test_a_template_patched_with_a_prefix_reads_back_as_that_route() -> None:
    template = ENCODER.template(Family.IPV4, TWO)
    prefixes = [nlri("10.0.0.0/8"), nlri("10.1.2.0/23"), nlri("0.0.0.0/0"), nlri("10.1.2.3/32")]
    datagram = patched(template.add, template.tails, prefixes)
    read = [decode_route(each.body) for each in messages(datagram)]
    assert [(family, prefix) for family, prefix, _ in read] == [(Family.IPV4, p) for p in prefixes]
    assert {form.nexthops for _, _, form in read} == {TWO}
    assert {(f.table, f.protocol, f.metric, f.kind) for _, _, f in read} == {(254, 201, 201, 1)}


def test_templates_of_the_same_size_share_their_heads() -> None:
    first = ENCODER.template(Family.IPV6, (Nexthop(bytes(16), 3),))
    second = ENCODER.template(Family.IPV6, (Nexthop(bytes(16), 4),))
    assert first.add is second.add
    assert first.add is not first.replace


def test_an_error_names_the_refused_route_and_the_kernels_words() -> None:
    template = ENCODER.template(Family.IPV4, ONE)
    for heads, action in ((template.add, RouteAction.ADD), (template.replace, RouteAction.REPLACE)):
        request = patched(heads, template.tails, [nlri("10.1.2.0/23")])
        words = attribute(1, b"Nexthop has invalid gateway\0")
        body = pack("=i", -101) + request + words
        answer = Message(NLMSG_ERROR, 0x200, 0, body)
        refusal = error_of(answer)
        assert refusal == KernelError(101, "Nexthop has invalid gateway", request)
        assert refused_route(refusal) == (action, Family.IPV4, nlri("10.1.2.0/23"))


def test_an_error_names_the_refused_removal() -> None:
    template = ENCODER.removal(Family.IPV6)
    request = patched(template.add, template.tails, [nlri("2001:db8::/61")])
    refusal = error_of(Message(NLMSG_ERROR, 0, 0, pack("=i", -3) + request))
    assert refused_route(refusal) == (RouteAction.REMOVE, Family.IPV6, nlri("2001:db8::/61"))


def test_an_error_that_echoes_the_header_alone_names_no_route() -> None:
    request = patched(*ENCODER.removal(Family.IPV4)[1:], [nlri("10.0.0.0/8")])[:16]
    words = attribute(1, b"no\0")
    refusal = error_of(Message(NLMSG_ERROR, 0x300, 0, pack("=i", -1) + request + words))
    assert (refusal.errno, refusal.text) == (1, "no")
    assert refused_route(refusal) is None


def test_a_dump_is_grouped_by_form_whether_its_datagrams_are_uniform_or_not() -> None:
    uniform = [route(f"10.0.{i}.0/24", 3 + i % 2) for i in range(10)]
    mixed = [route("0.0.0.0/0", 3), route("10.1.0.0/16", 4), route("10.2.0.0/16", 4, metric=0)]
    several_lengths = [route("10.3.0.0/16", 3), route("10.3.1.0/25", 3)]
    together, apart = RouteDump(Family.IPV4), RouteDump(Family.IPV4)
    for datagram in (b"".join(uniform), b"".join(several_lengths), b"".join(mixed)):
        assert not together.feed(datagram)
    for datagram in (*uniform, *several_lengths, *mixed):
        assert not apart.feed(datagram)
    assert together.feed(DONE)
    assert apart.feed(DONE)
    assert {f: sorted(n) for f, n in together.routes.items()} == {
        f: sorted(n) for f, n in apart.routes.items()
    }
    by_oif = {
        (form.nexthops[0].oif, form.metric): len(nlris) for form, nlris in together.routes.items()
    }
    assert by_oif == {(3, 201): 8, (4, 201): 6, (4, 0): 1}


def test_forms_that_are_not_wanted_are_passed_over() -> None:
    uniform = b"".join(route(f"10.0.{i}.0/24", 3) for i in range(4))
    mixed = b"".join(route(f"10.1.{i}.0/24", 3 + i % 2) for i in range(4))
    dump = RouteDump(Family.IPV4, lambda form: form.nexthops[0].oif == 4)
    for datagram in (uniform, mixed, uniform + route("0.0.0.0/0", 4)):
        dump.feed(datagram)
    (nlris,) = dump.routes.values()
    assert nlris == [nlri("10.1.1.0/24"), nlri("10.1.3.0/24"), nlri("0.0.0.0/0")]


def test_an_interrupted_dump_says_so() -> None:
    for extra in (b"", route("0.0.0.0/0", 3)):
        dump = RouteDump(Family.IPV4)
        dump.feed(route("10.0.0.0/24", 3, flags=2 | NLM_F_DUMP_INTR) + extra)
        assert dump.interrupted


def test_a_refused_dump_says_why() -> None:
    dump = RouteDump(Family.IPV4)
    assert dump.feed(message(NLMSG_ERROR, 0, pack("=i", -22) + bytes(16)))
    assert dump.refusal is not None
    assert dump.refusal.errno == 22
    at_the_end = RouteDump(Family.IPV4)
    assert at_the_end.feed(message(NLMSG_DONE, 2, pack("=i", -12)))
    assert at_the_end.refusal is not None
    assert at_the_end.refusal.errno == 12


def test_dead_legs_are_told_apart() -> None:
    legs = pack("=HBBi", 16, 1, 0, 3) + attribute(5, GATEWAY)
    legs += pack("=HBBi", 16, 0, 4, 4) + attribute(5, OTHER_GATEWAY)
    body = pack("=BBBBBBBBI", 2, 8, 0, 0, 254, 201, 0, 1, 0)
    body += attribute(1, bytes((10, 0, 0, 0))) + attribute(9, legs)
    _, prefix, form = decode_route(body)
    assert prefix == nlri("10.0.0.0/8")
    assert form.nexthops == (Nexthop(GATEWAY, 3, 1), Nexthop(OTHER_GATEWAY, 4, 5))
    assert form.dead == (Nexthop(GATEWAY, 3, 1),)


def test_a_route_event_says_whether_it_took_the_place_of_another() -> None:
    body = next(messages(route("10.0.0.0/8", 3))).body
    assert route_event(Message(RTM_NEWROUTE, 0x100, 7, body)).replaced
    assert not route_event(Message(RTM_NEWROUTE, 0x400, 7, body)).replaced
    gone = route_event(Message(RTM_DELROUTE, 0x100, 7, body))
    assert (gone.added, gone.replaced, gone.nlri) == (False, False, nlri("10.0.0.0/8"))


def test_links_and_addresses_are_read() -> None:
    body = pack("=BxHiII", 0, 1, 7, 0x1 | 0x40, 0)
    body += attribute(3, b"eth0\0") + attribute(4, pack("=I", 9000))
    assert link_of(body) == Link(index=7, name="eth0", up=True, carrier=True, mtu=9000)
    assert link_of(pack("=BxHiII", 7, 1, 7, 1, 0)) is None, "a bridge port's message"
    address = pack("=BBBBi", 10, 64, 0x80, 0, 7) + attribute(1, ip_address("fd00::1").packed)
    assert address_of(address) == (7, ip_interface("fd00::1/64"), True, 0)
    tentative = address + attribute(8, pack("=I", 0x40))
    assert address_of(tentative) == (7, ip_interface("fd00::1/64"), False, 0)
    point_to_point = pack("=BBBBi", 2, 32, 0x80, 0, 7)
    point_to_point += attribute(1, OTHER_GATEWAY) + attribute(2, GATEWAY)
    assert address_of(point_to_point) == (7, ip_interface("192.0.2.1/32"), True, 0)


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x10",
        pack("=IHHII", 15, 24, 0, 0, 0),
        pack("=IHHII", 64, 24, 0, 0, 0),
        pack("=IHHII", 0, 24, 0, 0, 0),
    ],
)
def test_a_datagram_with_wrong_lengths_is_malformed(damaged: bytes) -> None:
    with pytest.raises(MalformedMessage):
        list(messages(damaged))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        pack("=BBBBBBBBI", 7, 24, 0, 0, 254, 0, 0, 1, 0),
        pack("=BBBBBBBBI", 2, 33, 0, 0, 254, 0, 0, 1, 0),
        pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0) + attribute(1, bytes(16)),
        pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0) + attribute(9, pack("=HBBi", 3, 0, 0, 1)),
        pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 1, 0) + pack("=HH", 2, 1),
    ],
)
def test_a_damaged_route_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_route(body)


def test_an_attribute_longer_than_its_message_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        attributes(pack("=HH", 12, 1) + bytes(4), 0)
