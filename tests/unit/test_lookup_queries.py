"""What `kroute why` says of a kernel that goes its own way."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from kroute.model.fib import Fate, Lookup, Nexthop, Nexthops
from kroute.model.net import nlri_of
from kroute.plan.lookup_queries import beside_ours, can_be_looked_up, without_ours

OURS = (201, 17)
A = ip_address("10.244.2.7")
ONE: Nexthops = (Nexthop(ip_address("192.0.2.9").packed, 2),)
TWO: Nexthops = (*ONE, Nexthop(None, 3))


def name_of(index: int) -> str:
    return f"eth{index}"


def route(prefix: str, protocol: int, nexthops: Nexthops = ONE, **more: int) -> Lookup:
    found = nlri_of(ip_network(prefix))
    return Lookup(fate=Fate.FORWARDED, prefix=found, protocol=protocol, nexthops=nexthops, **more)


@pytest.mark.parametrize("protocol", OURS)
def test_our_route_is_no_news(protocol: int) -> None:
    assert beside_ours(route("10.244.2.0/24", protocol), A, OURS, name_of) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            route("0.0.0.0/0", 16, metric=100),
            "default via 192.0.2.9 dev eth2 proto dhcp metric 100",
        ),
        (
            route("10.244.2.0/25", 99, TWO, table=7),
            "10.244.2.0/25 nexthop via 192.0.2.9 dev eth2 nexthop dev eth3 proto 99 table 7",
        ),
    ],
)
def test_a_route_of_others_is_written_as_ip_route_does(found: Lookup, words: str) -> None:
    by = f"it forwards {A} by a route of others: {words}"
    assert beside_ours(found, A, OURS, name_of) == f"but {by}"
    assert without_ours(found, A, OURS, name_of) == by.replace("it", "the kernel", 1)


def test_a_route_of_an_earlier_life_is_called_so() -> None:
    said = without_ours(route("10.9.0.0/16", 201), A, OURS, name_of)
    assert said == (
        f"the kernel still forwards {A} by our route of an earlier life: "
        "10.9.0.0/16 via 192.0.2.9 dev eth2 proto 201"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Lookup(fate=Fate.NO_ROUTE), f"the kernel has no route to {A}"),
        (Lookup(fate=Fate.LOCAL), f"{A} is this node's own"),
        (
            Lookup(fate=Fate.BLACKHOLE),
            f"the kernel drops packets to {A}: blackhole by a route or rule",
        ),
        (
            Lookup(fate=Fate.PROHIBIT, prefix=nlri_of(ip_network("10.0.0.0/8")), protocol=4),
            f"the kernel drops packets to {A}: prohibit 10.0.0.0/8 proto static",
        ),
    ],
)
def test_what_is_not_forwarded_is_told(found: Lookup, words: str) -> None:
    assert without_ours(found, A, OURS, name_of) == words
    assert beside_ours(found, A, OURS, name_of) == f"but {words}"


def test_addresses_of_an_interface_alone_are_not_looked_up() -> None:
    for address in ("0.0.0.0", "::", "fe80::1", "169.254.1.1", "224.0.0.5", "ff02::1"):
        assert not can_be_looked_up(ip_address(address)), address
    assert can_be_looked_up(A)
