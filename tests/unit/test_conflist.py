"""The conflist codec: bytes that every runtime reads alike, and a calm word about bytes of others."""

from __future__ import annotations

import json
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any

import pytest

from kroute.codec.conflist import VERSIONS, binaries, inspect, render
from kroute.model.cni import Conflist

V4, V6 = ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")


def network(**changes: Any) -> Conflist:
    given: dict[str, Any] = {
        "name": "kroute",
        "cni_version": "1.0.0",
        "bridge": "kroute0",
        "ranges": (V4, V6),
    }
    return Conflist(**given | changes)


def rendered(**changes: Any) -> dict[str, Any]:
    return json.loads(render(network(**changes)))


def test_the_whole_file_reads_as_documented():
    assert render(network(mtu=1450)).decode() == (
        """\
{
  "cniVersion": "1.0.0",
  "name": "kroute",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "kroute0",
      "isGateway": true,
      "isDefaultGateway": true,
      "forceAddress": true,
      "ipMasq": false,
      "hairpinMode": true,
      "mtu": 1450,
      "ipam": {
        "type": "host-local",
        "ranges": [
          [
            {
              "subnet": "10.244.1.0/24"
            }
          ],
          [
            {
              "subnet": "fd00:10:244:1::/64"
            }
          ]
        ]
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      },
      "snat": true
    }
  ]
}
"""
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_the_specification_can_be_declared(version: str):
    assert rendered(cni_version=version)["cniVersion"] == version


def test_an_unknown_version_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'2.0.0' is none of 0.3.1, 0.4.0, 1.0.0, 1.1.0"):
        render(network(cni_version="2.0.0"))


def test_the_default_route_comes_from_the_gateway_alone():
    bridge = rendered()["plugins"][0]
    assert bridge["isDefaultGateway"] is True
    assert "routes" not in bridge["ipam"]


def test_without_a_known_mtu_the_plugin_chooses():
    assert "mtu" not in rendered()["plugins"][0]


def test_plugins_come_in_order_bridge_loopback_portmap_extras():
    extra = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    plugins = rendered(loopback=True, extra_plugins=(extra,))["plugins"]
    assert [p["type"] for p in plugins] == ["bridge", "loopback", "portmap", "bandwidth"]
    assert plugins[-1] == extra


def test_portmap_hairpin_and_default_gateway_can_be_turned_off():
    plugins = rendered(port_map=False, hairpin=False, default_gateway=False)["plugins"]
    assert [p["type"] for p in plugins] == ["bridge"]
    assert plugins[0]["hairpinMode"] is False
    assert plugins[0]["isDefaultGateway"] is False


def test_a_lease_folder_is_named_only_if_it_is_not_the_default():
    assert "dataDir" not in rendered()["plugins"][0]["ipam"]
    assert rendered(data_dir="/run/leases")["plugins"][0]["ipam"]["dataDir"] == "/run/leases"


def test_extra_plugins_may_be_read_only_mappings():
    extra = MappingProxyType({"type": "tuning", "sysctl": MappingProxyType({"a": "1"})})
    plugins = rendered(extra_plugins=(extra,))["plugins"]
    assert plugins[-1] == {"type": "tuning", "sysctl": {"a": "1"}}


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, float("nan"), "\ud800"])
def test_an_extra_plugin_that_is_no_json_is_refused_in_words(value: Any):
    with pytest.raises(ValueError, match="extra plugin cannot be written as JSON"):
        render(network(extra_plugins=({"type": "x", "key": value},)))


def test_binaries_are_named_once_each_with_those_of_the_ipam():
    extras = ({"type": "portmap"}, {"type": "sbr", "ipam": {"type": "static"}})
    wanted = binaries(network(loopback=True, extra_plugins=extras))
    assert wanted == ("bridge", "host-local", "loopback", "portmap", "sbr", "static")


def test_our_own_file_is_recognised():
    seen = inspect(render(network()))
    assert (seen.name, seen.version, seen.bridge) == ("kroute", "1.0.0", "kroute0")
    assert (seen.plugins, seen.fault) == (("bridge", "portmap"), "")


def test_a_single_plugin_file_is_judged_as_one():
    seen = inspect(b'{"cniVersion":"0.3.1","name":"lo","type":"loopback"}', single=True)
    assert (seen.name, seen.plugins, seen.fault) == ("lo", ("loopback",), "")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"name":"a","type":"bridge"}', "lists no plugins"),
        (b'{"name":"a","plugins":[]}', "lists no plugins"),
        (b'{"name":"a","plugins":{"type":"x"}}', "lists no plugins"),
        (b'{"name":"a","plugins":[{"type":"x"},7]}', "has no type"),
        (b'{"name":"a","plugins":[{"type":""}]}', "has no type"),
        (b'{"plugins":[{"type":"x"}]}', "no valid name"),
        (b'{"name":"../a","plugins":[{"type":"x"}]}', "no valid name"),
        (b'{"name":["a"],"plugins":[{"type":"x"}]}', "no valid name"),
    ],
)
def test_what_a_runtime_would_refuse_is_said_in_words(data: bytes, fault: str):
    assert fault in inspect(data).fault
