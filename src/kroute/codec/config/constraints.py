"""What the types of the configuration cannot say: ranges, formats, and how keys depend on each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from kroute.model.config import Cni, Config, PeerConfig
from kroute.model.net import family_of

Complain = Callable[[tuple[str | int, ...], str], None]

RANGES: Final[dict[str, tuple[int, int]]] = {
    "asn": (1, 4294967295),
    "localAsn": (1, 4294967295),
    "port": (1, 65535),
    "multipath": (1, 64),
    "maxPrefixes": (1, 10_000_000),
    "restartTime": (1, 4095),
    "staleTime": (1, 86400),
    "deferralTime": (0, 3600),
    "ttlSecurity": (1, 254),
    "multihop": (2, 255),
    "table": (1, 4294967295),
    "protocol": (5, 255),
    "formerProtocols": (5, 255),
    "metric": (1, 4294967295),
    "auditInterval": (1, 86400),
    "mtu": (576, 65535),
    "connectRetry": (1, 600),
}
"""Least and greatest value of a number, by its key."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "cniVersion": ("0.3.1", "0.4.0", "1.0.0", "1.1.0"),
    "logLevel": ("debug", "info", "warning", "error"),
    "families": ("ipv4", "ipv6"),
}
"""Words that a text may be, by its key."""

PATTERNS: Final[dict[str, tuple[str, str]]] = {
    "bridge": (r"[^\s/:]{1,15}", "an interface name: 1 to 15 characters, no space, slash or colon"),
    "routerId": (r"(?:\d{1,3}(?:\.\d{1,3}){3})?", "a dotted quad such as 192.0.2.1"),
    "clusterId": (r"(?:\d{1,3}(?:\.\d{1,3}){3})?", "a dotted quad such as 192.0.2.1"),
    "name": (
        r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?",
        "a name of letters, digits, '-', '.' or '_'",
    ),
    "network": (r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, '-', '.' or '_'"),
    "file": (r"[^/\0]+\.conflist", "a file name that ends in .conflist"),
}
"""Form of a text, by its key, with words for it."""


def objection(key: str, value: object) -> str | None:
    """What is wrong with a scalar of the right type under a key; None if nothing is."""
    if isinstance(value, int) and not isinstance(value, bool) and key in RANGES:
        least, most = RANGES[key]
        return (
            None
            if least <= value <= most
            else f"expected a number from {least} to {most}, got {value}"
        )
    if (
        key == "holdTime"
        and isinstance(value, int)
        and (value in (1, 2) or not 0 <= value <= 65535)
    ):
        return f"expected 0 or a number from 3 to 65535 (RFC 4271 §4.2), got {value}"
    if isinstance(value, str) and key in CHOICES and value not in CHOICES[key]:
        return f"expected one of {', '.join(CHOICES[key])}, got {value!r}"
    if isinstance(value, str) and key in PATTERNS and not re.fullmatch(PATTERNS[key][0], value):
        return f"expected {PATTERNS[key][1]}, got {value!r}"
    return None


def check(config: Config, complain: Complain) -> None:
    """Complain about keys that do not go together."""
    _check_peers(config.peering.peers, complain)
    _check_plugins(config.cni, complain)


def _check_peers(peers: tuple[PeerConfig, ...], complain: Complain) -> None:
    names: dict[str, int] = {}
    for i, peer in enumerate(peers):
        path = ("peering", "peers", i)
        first = names.setdefault(peer.name, i)
        if first != i:
            complain(
                (*path, "name"), f"{peer.name!r} is already the name of peering.peers[{first}]"
            )
        local = peer.local_address
        if local is not None and family_of(local) is not family_of(peer.address):
            complain(
                (*path, "localAddress"), f"{local} is not of the family of address {peer.address}"
            )
        if peer.ttl_security and peer.multihop:
            complain((*path, "multihop"), "cannot be combined with ttlSecurity (RFC 5082)")
        if peer.reflector and peer.asn != (peer.local_asn or peer.asn):
            complain((*path, "reflector"), "a reflector must be of our own AS (RFC 4456)")


def _check_plugins(cni: Cni, complain: Complain) -> None:
    for i, plugin in enumerate(cni.extra_plugins):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str):
            complain(
                ("cni", "extraPlugins", i), "expected a plugin: a mapping with a text key `type`"
            )
