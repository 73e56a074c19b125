"""The picture of the kernel that events keep up to date."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from struct import pack

from kroute.codec.rtnetlink import Message, attribute
from kroute.drivers.kernel.picture import Picture
from kroute.model.kernel import KernelState

GATEWAY = ip_address("192.0.2.1").packed
NEW, GONE = 24, 25


def picture(kept: int = 100) -> Picture:
    return Picture(table=254, ours=(201,), routes_kept=kept)


def link(index: int, *, up: bool = True, gone: bool = False) -> Message:
    body = pack("=BxHiII", 0, 1, index, 0x41 if up else 0, 0) + attribute(3, b"eth%d\0" % index)
    return Message(17 if gone else 16, 0, 0, body)


def address(text: str, index: int, *, gone: bool = False, flags: int = 0) -> Message:
    packed = ip_address(text).packed
    body = pack("=BBBBi", 2 if len(packed) == 4 else 10, 24, 0, 0, index) + attribute(1, packed)
    return Message(21 if gone else 20, 0, 0, body + attribute(8, pack("=I", flags)))


def route(
    prefix: str,
    oif: int = 3,
    *,
    event: int = NEW,
    replaces: bool = False,
    protocol: int = 4,
    kind: int = 1,
    table: int = 254,
    metric: int = 0,
) -> Message:
    network = ip_network(prefix)
    family = 2 if network.version == 4 else 10
    body = pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, 252, protocol, 0, kind, 0)
    body += attribute(15, pack("=I", table)) + attribute(1, network.network_address.packed)
    body += attribute(6, pack("=I", metric)) + attribute(4, pack("=I", oif))
    body += attribute(5, GATEWAY) if network.version == 4 else b""
    return Message(event, 0x100 if replaces else 0, 0, body)


def of(*events: Message, kept: int = 100) -> KernelState:
    drawn = picture(kept)
    for event in events:
        drawn.hear(event)
    return drawn.state()


def test_our_own_routes_other_tables_and_noise_are_left_out() -> None:
    state = of(
        route("10.1.0.0/16", protocol=201),
        route("10.2.0.0/16", table=255),
        route("10.3.0.0/16", kind=3),
        route("fe80::/64"),
        route("ff00::/8"),
        route("10.4.0.0/16"),
        route("fd00::/64"),
    )
    assert [route.prefix for route in state.routes] == [b"\x10\x0a\x04", b"\x40\xfd" + bytes(7)]


def test_the_default_route_is_no_noise() -> None:
    assert len(of(route("::/0"), route("0.0.0.0/0")).routes) == 2


def test_equal_states_are_equal_whatever_the_order_of_events_on_known_links() -> None:
    links = [link(2), link(3)]
    events = [address("192.0.2.9", 3), route("10.0.0.0/8"), route("10.1.0.0/16")]
    assert of(*links, *events) == of(*reversed(links), *reversed(events))
    assert of(*links, *events) == of(*links, *events, *links, *events)


def test_addresses_of_links_that_are_left_out_are_left_out_too() -> None:
    assert of(link(2), address("192.0.2.9", 3)).addresses == ()


def test_legs_are_appended_and_go_one_by_one() -> None:
    both = of(route("10.0.0.0/8", 3), route("10.0.0.0/8", 4))
    assert [leg.oif for leg in both.routes] == [3, 4]
    one = of(route("10.0.0.0/8", 3), route("10.0.0.0/8", 4), route("10.0.0.0/8", 3, event=GONE))
    assert [leg.oif for leg in one.routes] == [4]


def test_a_replacing_route_takes_the_place_of_whoever_held_it() -> None:
    state = of(
        route("10.0.0.0/8", 3, protocol=4),
        route("10.0.0.0/8", 4, protocol=4, metric=5),
        route("10.0.0.0/8", 5, protocol=9, replaces=True),
    )
    assert [(leg.oif, leg.protocol) for leg in state.routes] == [(5, 9), (4, 4)]


def test_a_link_that_goes_asks_for_a_new_reading_only_if_routes_lead_there() -> None:
    drawn = picture()
    for event in (link(2), link(3), route("10.0.0.0/8", 3)):
        assert not drawn.hear(event)
    assert drawn.hear(link(3, up=False))
    assert not drawn.hear(link(2, up=False))
    assert not drawn.hear(link(2, gone=True))
    assert drawn.hear(link(3, gone=True))
    assert drawn.state().links == ()


def test_addresses_go_with_their_link_and_tentative_ones_do_not_count() -> None:
    drawn = picture()
    drawn.hear(link(3))
    drawn.hear(address("192.0.2.9", 3))
    drawn.hear(address("fd00::9", 3, flags=0x40))
    assert [str(interface) for _, interface in drawn.state().addresses] == ["192.0.2.9/24"]
    drawn.hear(address("fd00::9", 3))
    assert len(drawn.state().addresses) == 2
    drawn.hear(link(3, gone=True))
    assert drawn.state().addresses == ()


def test_routes_beyond_the_limit_are_counted_only() -> None:
    events = [route(f"10.{number}.0.0/16") for number in range(7)]
    state = of(*events, kept=5)
    assert (len(state.routes), state.routes_left_out) == (5, 2)
    fewer = of(*events, route("10.6.0.0/16", event=GONE), kept=5)
    assert (len(fewer.routes), fewer.routes_left_out) == (5, 1)


def test_a_bridge_ports_message_does_not_remove_its_link() -> None:
    port = Message(17, 0, 0, pack("=BxHiII", 7, 1, 3, 0, 0) + attribute(3, b"eth3\0"))
    assert len(of(link(3), port).links) == 1
