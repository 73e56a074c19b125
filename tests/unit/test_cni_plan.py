"""The own node's podCIDRs become one network; what stands in the way is said."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from kroute.model.config import Cni
from kroute.model.node import Node
from kroute.model.problem import Severity
from kroute.plan.cni import cni_problems, conflist

V4, V6 = ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")
CONFIG = Cni()


def node(*cidrs: Any) -> Node:
    return Node(name="n1", pod_cidrs=tuple(cidrs))


def test_nothing_is_written_before_the_podcidrs_are_known():
    assert conflist(node(), CONFIG, 1500) is None
    (problem,) = cni_problems(node(), CONFIG, 1500)
    assert problem.object == "node/n1"
    assert problem.field == "spec.podCIDRs"
    assert "no podCIDR has been assigned" in problem.reason


def test_nothing_is_written_and_nothing_is_wrong_when_turned_off():
    off = replace(CONFIG, enabled=False)
    assert conflist(node(V4), off, 1500) is None
    assert cni_problems(node(), off, 1500) == ()


@pytest.mark.parametrize("cidrs", [(V4,), (V6,), (V4, V6), (V6, V4)])
def test_each_podcidr_is_one_range_in_the_node_objects_order(cidrs: tuple[Any, ...]):
    wanted = conflist(node(*cidrs), CONFIG, 1500)
    assert wanted is not None
    assert wanted.ranges == cidrs
    assert cni_problems(node(*cidrs), CONFIG, 1500) == ()


def test_a_changed_podcidr_replaces_the_range_before():
    other = ip_network("10.244.9.0/24")
    wanted = conflist(node(other), CONFIG, 1500)
    assert wanted is not None
    assert wanted.ranges == (other,)


@pytest.mark.parametrize(
    ("configured", "uplink", "expected"),
    [(None, 1450, 1450), (1400, 1450, 1400), (None, None, None), (9000, None, 9000)],
)
def test_the_mtu_is_the_configured_one_else_the_uplinks(
    configured: int | None, uplink: int | None, expected: int | None
):
    wanted = conflist(node(V4), replace(CONFIG, mtu=configured), uplink)
    assert wanted is not None
    assert wanted.mtu == expected


def test_every_key_of_the_configuration_arrives():
    extra = {"type": "bandwidth"}
    config = Cni(
        network="pods",
        cni_version="0.4.0",
        bridge="br-pods",
        mtu=1400,
        hairpin=False,
        default_gateway=False,
        port_map=False,
        loopback=True,
        data_directory="/run/leases",
        extra_plugins=(extra,),
    )
    wanted = conflist(node(V4), config, None)
    assert wanted is not None
    assert (wanted.name, wanted.cni_version, wanted.bridge) == ("pods", "0.4.0", "br-pods")
    assert (wanted.hairpin, wanted.default_gateway, wanted.port_map) == (False, False, False)
    assert (wanted.loopback, wanted.data_dir) == (True, "/run/leases")
    assert wanted.extra_plugins == (extra,)


def test_a_second_podcidr_of_a_family_is_left_out_and_reported():
    second = ip_network("10.244.2.0/24")
    given = node(V4, second, V6)
    wanted = conflist(given, CONFIG, 1500)
    assert wanted is not None
    assert wanted.ranges == (V4, V6)
    (problem,) = cni_problems(given, CONFIG, 1500)
    assert problem.field == "spec.podCIDRs[1]"
    assert "10.244.2.0/24 is not in the conflist: pods get addresses of 10.244.1.0/24" in (
        problem.reason
    )


def test_a_podcidr_written_twice_is_one_range():
    wanted = conflist(node(V4, V4), CONFIG, 1500)
    assert wanted is not None
    assert wanted.ranges == (V4,)


@pytest.mark.parametrize("tiny", ["10.244.1.0/31", "10.244.1.1/32", "fd00::/127", "fd00::1/128"])
def test_a_podcidr_without_room_for_pods_is_an_error(tiny: str):
    given = node(ip_network(tiny))
    assert conflist(given, CONFIG, 1500) is None
    (problem,) = cni_problems(given, CONFIG, 1500)
    assert problem.severity is Severity.ERROR
    assert f"{tiny} is not in the conflist: it has no room for pods" in problem.reason


def test_a_tiny_podcidr_does_not_spoil_the_other_family():
    wanted = conflist(node(ip_network("10.244.1.0/32"), V6), CONFIG, 1500)
    assert wanted is not None
    assert wanted.ranges == (V6,)


def test_an_mtu_too_small_for_ipv6_is_an_error_only_where_there_is_ipv6():
    assert cni_problems(node(V4), CONFIG, 1000) == ()
    (problem,) = cni_problems(node(V4, V6), CONFIG, 1000)
    assert "MTU of 1000 is below IPv6's least of 1280" in problem.reason
