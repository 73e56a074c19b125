"""Our rtnetlink encoder against pyroute2's, octet by octet, for every kind of message that we send."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from kroute.codec.rtnetlink_lookup import lookup_request
from kroute.codec.rtnetlink_route import RouteEncoder, decode_route
from kroute.model.fib import Nexthop, Nexthops, ecmp
from kroute.model.net import Family, nlri_of

REPLACE, ADD, REMOVE = 0x501, 0x601, 0x1
V4, V6 = ip_address("192.0.2.1"), ip_address("fd00::1")
V4_B, V6_B = ip_address("192.0.3.1"), ip_address("fd00:3::1")


class WithNexthopId(rtmsg):
    """pyroute2 0.9.7 does not know RTA_NH_ID."""

    __slots__ = ()
    nla_map = (
        *rtmsg.nla_map,
        *((f"RTA_{number}", "hex") for number in range(len(rtmsg.nla_map), 30)),
        ("RTA_NH_ID", "uint32"),
    )


def _way(family: Family, legs: Nexthops) -> list[list[Any]]:
    def gateway(leg: Nexthop) -> list[list[Any]]:
        if leg.gateway is None:
            return []
        text = str(ip_address(leg.gateway))
        if family is Family.IPV4 and ":" in text:
            return [["RTA_VIA", {"family": 10, "addr": text}]]
        return [["RTA_GATEWAY", text]]

    if len(legs) == 1:
        return gateway(legs[0]) + ([["RTA_OIF", legs[0].oif]] if legs[0].oif else [])
    hops = [
        {"hops": leg.weight - 1, "oif": leg.oif, "flags": 0, "attrs": gateway(leg)} for leg in legs
    ]
    return [["RTA_MULTIPATH", hops]] if legs else []


def _by_pyroute2(
    prefix: str, flags: int, table: int, metric: int, way: list[list[Any]], kind: int
) -> bytes:
    network = ip_network(prefix)
    removal = flags == REMOVE
    route = WithNexthopId()
    route["family"] = 2 if network.version == 4 else 10
    route["dst_len"] = network.prefixlen
    route["table"] = table if table < 256 else 252
    route["proto"] = 201
    route["type"] = 0 if removal else kind
    route["scope"] = 255 if removal and network.version == 4 else 0
    route["attrs"] = [["RTA_DST", str(network.network_address)], ["RTA_TABLE", table]]
    route["attrs"] += ([["RTA_PRIORITY", metric]] if metric else []) + way
    route["header"]["type"] = 25 if removal else 24
    route["header"]["flags"] = flags
    route["header"]["sequence_number"] = 1
    route["header"]["pid"] = 0
    route.encode()
    return bytes(route.data)


LEGS = {
    "gateway and interface": (Nexthop(V4.packed, 3),),
    "gateway alone": (Nexthop(V4.packed, 0),),
    "on-link": (Nexthop(None, 3),),
    "IPv6 gateway": (Nexthop(V6.packed, 3),),
    "blackhole": (),
    "ECMP": ecmp({Nexthop(V4.packed, 3), Nexthop(V4_B.packed, 4, 5)}),
    "ECMP of both families": ecmp({Nexthop(V4.packed, 3), Nexthop(V6.packed, 4)}),
    "ECMP over IPv6": ecmp({Nexthop(V6.packed, 3), Nexthop(V6_B.packed, 4, 256)}),
    "ECMP on-link": ecmp({Nexthop(None, 3), Nexthop(None, 4)}),
}
V6_LEGS = ("IPv6 gateway", "on-link", "blackhole", "ECMP over IPv6", "ECMP on-link")
CASES = [("10.1.2.0/23", name) for name in LEGS]
CASES += [("0.0.0.0/0", "gateway and interface"), ("10.1.2.3/32", "ECMP")]
CASES += [
    (prefix, name) for prefix in ("2001:db8:7::/61", "::/0", "fd01::1/128") for name in V6_LEGS
]


@pytest.mark.parametrize("table, metric", [(254, 201), (254, 0), (1000, 4_000_000_000)])
@pytest.mark.parametrize("prefix, name", CASES)
def test_every_kind_of_route_is_encoded_as_pyroute2_does(
    prefix: str, name: str, table: int, metric: int
) -> None:
    network = ip_network(prefix)
    family, nlri = Family(1 if network.version == 4 else 2), nlri_of(network)
    template = RouteEncoder(table=table, protocol=201, metric=metric).template(family, LEGS[name])
    kind = 1 if LEGS[name] else 6
    for flags, heads in ((ADD, template.add), (REPLACE, template.replace)):
        ours = heads[nlri[0]] + nlri[1:] + template.tails[len(nlri)]
        way = _way(family, LEGS[name])
        assert ours == _by_pyroute2(prefix, flags, table, metric, way, kind)
        _, read, form = decode_route(ours[16:])
        assert (read, form.nexthops) == (nlri, LEGS[name])


@pytest.mark.parametrize("table, metric", [(254, 201), (254, 0), (1000, 1)])
@pytest.mark.parametrize("prefix", ["10.1.2.0/23", "0.0.0.0/0", "2001:db8:7::/61", "::/0"])
def test_removals_are_encoded_as_pyroute2_does(prefix: str, table: int, metric: int) -> None:
    network = ip_network(prefix)
    family, nlri = Family(1 if network.version == 4 else 2), nlri_of(network)
    template = RouteEncoder(table=table, protocol=201, metric=metric).removal(family)
    ours = template.add[nlri[0]] + nlri[1:] + template.tails[len(nlri)]
    assert ours == _by_pyroute2(prefix, REMOVE, table, metric, [], 0)


def test_a_route_over_a_nexthop_object_is_encoded_as_pyroute2_does() -> None:
    nlri = nlri_of(ip_network("10.1.2.0/24"))
    encoder = RouteEncoder(table=254, protocol=201, metric=201)
    template = encoder.template(Family.IPV4, LEGS["ECMP"], nhid=0x4B520001)
    ours = template.replace[24] + nlri[1:] + template.tails[len(nlri)]
    way = [["RTA_NH_ID", 0x4B520001]]
    assert ours == _by_pyroute2("10.1.2.0/24", REPLACE, 254, 201, way, 1)
    assert decode_route(ours[16:])[2].nhid == 0x4B520001


@pytest.mark.parametrize(("address", "flags"), [("10.1.2.3", 0x3000), ("2001:db8::1", 0x2000)])
def test_a_lookup_is_encoded_as_pyroute2_does(address: str, flags: int) -> None:
    packed = ip_address(address).packed
    family = Family.IPV4 if len(packed) == 4 else Family.IPV6
    route = rtmsg()
    route["family"], route["dst_len"], route["flags"] = (
        2 if len(packed) == 4 else 10,
        8 * len(packed),
        flags,
    )
    route["attrs"] = [["RTA_DST", address]]
    route["header"] |= {"type": 26, "flags": 1, "sequence_number": 1, "pid": 0}
    route.encode()
    assert lookup_request(family, packed) == bytes(route.data)
