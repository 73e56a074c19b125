"""Which networks the fast path can do as their plugins would, to the letter; anything unknown is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from kroute.model.kni import Wiring
from kroute.model.net import Address, Prefix

_BRIDGE_KEYS = {
    "type", "bridge", "isGateway", "isDefaultGateway", "forceAddress", "ipMasq", "hairpinMode",
    "mtu", "ipam",
}  # fmt: skip
_IPAM_KEYS = {"type", "ranges", "dataDir"}
_NETWORK_KEYS = {"cniVersion", "name", "plugins"}
_VERSIONS = ("0.3.1", "0.4.0", "1.0.0")
"""Since 1.1.0 results say more, and the plugins that say it are not those we are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A network as far as the fast path needs it: the gateway of each range is its first address."""

    bridge: str
    ranges: tuple[Prefix, ...]
    folder: str
    """host-local's dataDir; empty: its default."""
    mtu: int | None
    hairpin: bool
    default_gateway: bool
    name: str
    version: str

    def gateway(self, prefix: Prefix) -> Address:
        """The bridge's address in a range."""
        return prefix[1]


def recipe(wiring: Wiring) -> Recipe | None:
    """How to do this network's work in process; None where a plugin has to do it."""
    network = wiring.network
    plugins = network["plugins"]
    if not set(network) <= _NETWORK_KEYS or network["cniVersion"] not in _VERSIONS:
        return None
    if not all(_is_idle_portmap(p, wiring.capabilities) for p in plugins[1:]):
        return None
    bridge = plugins[0]
    plain = (
        bridge["type"] == "bridge"
        and set(bridge) <= _BRIDGE_KEYS
        and isinstance(bridge.get("bridge"), str)
        and bridge.get("isGateway") is True
        and bridge.get("ipMasq", False) is False
        and isinstance(bridge.get("mtu", 0), int)
    )
    ranges = _ranges(bridge.get("ipam"))
    if not plain or not ranges:
        return None
    return Recipe(
        bridge=bridge["bridge"],
        ranges=ranges,
        folder=str(bridge["ipam"].get("dataDir") or ""),
        mtu=bridge.get("mtu") or None,
        hairpin=bridge.get("hairpinMode") is True,
        default_gateway=bridge.get("isDefaultGateway") is True,
        name=str(network["name"]),
        version=str(network["cniVersion"]),
    )


def _is_idle_portmap(plugin: Mapping[str, Any], capabilities: Mapping[str, Any]) -> bool:
    """A portmap plugin without ports to map passes the result on and does nothing."""
    return plugin["type"] == "portmap" and not capabilities.get("portMappings")


def _ranges(ipam: Any) -> tuple[Prefix, ...]:
    if (
        not isinstance(ipam, dict)
        or ipam.get("type") != "host-local"
        or not set(ipam) <= _IPAM_KEYS
    ):
        return ()
    try:
        if any(len(ranges) != 1 or set(ranges[0]) != {"subnet"} for ranges in ipam["ranges"]):
            return ()
        found = tuple(ip_network(ranges[0]["subnet"]) for ranges in ipam["ranges"])
    except (KeyError, TypeError, ValueError, IndexError):
        return ()
    versions = [prefix.version for prefix in found]
    return found if len(set(versions)) == len(versions) else ()


def result(
    made: Recipe,
    addresses: list[Address],
    *,
    interface: str,
    sandbox: str,
    host: str,
    macs: Mapping[str, str],
) -> dict[str, Any]:
    """What the plugins would have answered; ``macs`` by interface name, ``bridge`` for the bridge's."""
    ips, routes = [], []
    for address, prefix in zip(addresses, made.ranges, strict=True):
        gateway = str(made.gateway(prefix))
        ip: dict[str, Any] = {
            "interface": 2,
            "address": f"{address}/{prefix.prefixlen}",
            "gateway": gateway,
        }
        if not made.version.startswith("1."):
            ip = {"version": str(prefix.version), **ip}
        ips.append(ip)
        if made.default_gateway:
            anywhere = "0.0.0.0/0" if prefix.version == 4 else "::/0"
            routes.append({"dst": anywhere, "gw": gateway})
    interfaces = [
        {"name": made.bridge, "mac": macs["bridge"]},
        {"name": host, "mac": macs["host"]},
        {"name": interface, "mac": macs["pod"], "sandbox": sandbox},
    ]
    found: dict[str, Any] = {"cniVersion": made.version, "interfaces": interfaces, "ips": ips}
    if routes:
        found["routes"] = routes
    return {**found, "dns": {}}
