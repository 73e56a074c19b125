"""What the types of the configuration cannot say: ranges, formats, and how keys depend on each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from ipaddress import AddressValueError, IPv4Address, ip_address
from posixpath import normpath
from typing import Any, Final

from kroute.codec.config import services as service_constraints
from kroute.codec.config.decode import camel
from kroute.codec.config.policies import policy_objections, policy_references
from kroute.model.bgp import RESERVED_ASNS
from kroute.model.config import Cni, Config, Kni, OriginCheck
from kroute.model.config_peering import PeerConfig, PeerGroup, Peering, PeerKeys
from kroute.model.config_services import Check, Services, StaticService
from kroute.model.net import family_of
from kroute.model.peering import effective_peers
from kroute.model.selection import AddressFrom, Operator, RemoteAs, Requirement

Path = tuple[str | int, ...]

LONGEST_SHUTDOWN: Final = 255
"""Octets of a Shutdown Communication at most (RFC 9003 §2)."""

RANGES: Final[dict[str, tuple[int, int]]] = {
    "asn": (1, 4294967295),
    "localAsn": (1, 4294967295),
    "port": (1, 65535),
    "holdTime": (0, 65535),
    "multipath": (1, 64),
    "maxPrefixes": (1, 10_000_000),
    "restartTime": (1, 4095),
    "staleTime": (1, 86400),
    "deferralTime": (0, 3600),
    "lifetime": (1, 86400),
    "notReadyTime": (0, 86400),
    "ttlSecurity": (1, 254),
    "multihop": (2, 255),
    "table": (1, 4294967295),
    "protocol": (5, 255),
    "formerProtocols": (5, 255),
    "metric": (1, 4294967295),
    "auditInterval": (1, 86400),
    "mtu": (576, 65535),
    "connectRetry": (1, 600),
    "keepalive": (1, 21845),
    "localPort": (1, 65535),
    "addPathMax": (1, 64),
    "maxPrefixesWarning": (1, 100),
    "maxPrefixesRestart": (0, 86400),
    "deadline": (1, 600),
    "gcInterval": (5, 86400),
    "forgottenPodGrace": (0, 86400),
    "threshold": (0, 100_000),
    "hysteresis": (0, 100_000),
    "reflectorsPerZone": (1, 64),
    "perClient": (1, 64),
    "transitionTime": (0, 3600),
    "interval": (1, 3600),
    "timeout": (1, 600),
    "rise": (1, 100),
    "fall": (1, 100),
    "med": (0, 4294967295),
    "status": (100, 599),
    "ge": (0, 128),
    "le": (0, 128),
    "minLength": (0, 4096),
    "maxLength": (0, 4096),
    "contains": (1, 4294967295),
    "origin": (1, 4294967295),
    "localPref": (0, 4294967295),
    "weight": (1, 256),
    "times": (1, 32),
}
"""Least and greatest value of a number, by its key."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "cniVersion": ("0.3.1", "0.4.0", "1.0.0", "1.1.0"),
    "logLevel": ("debug", "info", "warning", "error"),
    "families": ("ipv4", "ipv6"),
    "advertise": ("clusterIP", "externalIP", "loadBalancerIP"),
}
"""Words that a text may be, by its key."""

_INTERFACE: Final = r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}"
_AN_INTERFACE: Final = "an interface name: 1 to 15 letters, digits, '-', '.' or '_'"
_KEY: Final = (
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
_A_KEY: Final = "the key of a label or annotation, such as kroute.io/asn"
_QUAD: Final = (
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?",
    "a dotted quad such as 192.0.2.1, not 0.0.0.0",
)
_PLACE: Final = (r"[\s\S]+", "a path, not an empty one")
# `kroute cleanup` removes these folders whole: neither / nor one that the system is made of.
_OWN_FOLDER: Final = (
    r"(?:/(?!\.{1,2}(?:/|$))[^/]+){2,}/?",
    "the absolute path of a folder of our own, not directly under /",
)

PATTERNS: Final[dict[str, tuple[str, str]]] = {
    "bridge": (_INTERFACE, _AN_INTERFACE),
    "interface": (f"(?:{_INTERFACE})?", _AN_INTERFACE),
    "interfaces": (_INTERFACE, _AN_INTERFACE),
    "fromLabel": (_KEY, _A_KEY),
    "key": (_KEY, _A_KEY),
    "annotation": (f"(?:{_KEY})?", _A_KEY),
    "asnLabel": (f"(?:{_KEY})?", _A_KEY),
    "nodeAnnotation": (f"{_KEY}(?:=.*)?", "KEY or KEY=VALUE, such as kroute.io/tor"),
    "namespace": (r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "the name of a namespace"),
    "routerId": _QUAD,
    "clusterId": _QUAD,
    "name": (
        r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?",
        "a name of letters, digits, '-', '.' or '_'",
    ),
    "network": (r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, '-', '.' or '_'"),
    "file": (r"[^/]+\.conflist", "a file name that ends in .conflist"),
    "path": _PLACE,
    "directory": _PLACE,
    "binDirectories": _PLACE,
    "run": _OWN_FOLDER,
    "cacheDirectory": _PLACE,
    "sockets": (r"/[\s\S]*[^/]", "the absolute path of a socket"),
    "criSocket": (r"(?:/[\s\S]*[^/])?", "the absolute path of a socket, or nothing"),
    "state": _OWN_FOLDER,
    "user": (r"[^\s:]+", "the name of a user"),
    "url": (r"https?://[^\s/]+(?:/\S*)?", "a URL such as http://127.0.0.1:8080/healthz"),
}
"""Form of a text, by its key, with words for it."""

_FOREIGN_MARKS: Final = {
    number: f"marks the routes of {name} (linux/rtnetlink.h)"
    for number, name in {
        8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp",
        15: "ntk", 16: "dhcp", 18: "keepalived", 42: "babel", 84: "ovn", 99: "openr", 186: "bgp",
        187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
    }.items()
}  # fmt: skip
"""As marks of ours they would let us remove what is not ours (law 3).

17 is missing on purpose: kube-router marks its routes with it, and ``formerProtocols: [17]`` adopts them.
"""

REFUSED: Final[dict[str, dict[int, str]]] = {
    "asn": RESERVED_ASNS,
    "localAsn": RESERVED_ASNS,
    "holdTime": dict.fromkeys((1, 2), "is neither 0 nor at least 3 (RFC 4271 §4.2)"),
    "protocol": _FOREIGN_MARKS,
    "formerProtocols": _FOREIGN_MARKS,
}
"""Numbers within range that will not do, and why, by key."""


ALTERNATIVES: Final[dict[type, tuple[tuple[str, ...], ...]]] = {
    PeerConfig: (("address", "addressFrom"), ("asn", "group"))
}
"""Of these keys of a mapping one must be there at least."""

BROADCAST: Final = IPv4Address("255.255.255.255")


def objection(key: str, value: object) -> str | None:
    """What is wrong with a scalar of the right type under a key; None if nothing is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(key, value)
    if not isinstance(value, str):
        return None
    if key in CHOICES and value not in CHOICES[key]:
        return f"expected one of {', '.join(CHOICES[key])}, got {value!r}"
    if key in PATTERNS and not (re.fullmatch(PATTERNS[key][0], value) and _reads(key, value)):
        return f"expected {PATTERNS[key][1]}, got {value!r}"
    return None


def _number(key: str, value: int) -> str | None:
    least, most = RANGES.get(key, (value, value))
    if not least <= value <= most:
        return f"expected a number from {least} to {most}, got {value}"
    reason = REFUSED.get(key, {}).get(value)
    return f"{value} {reason}" if reason else None


def _reads(key: str, value: str) -> bool:
    """Whether a dotted quad is one: each part at most 255, not all zero (RFC 6286)."""
    if key not in ("routerId", "clusterId") or not value:
        return True
    try:
        return int(IPv4Address(value)) != 0
    except AddressValueError:
        return False


def objections(part: Any) -> Iterator[tuple[Path, str]]:
    """Keys of one mapping of the file that do not go together, or with what is below it."""
    match part:
        case PeerKeys():
            yield from _peer(part)
        case Peering():
            yield from _names("peers", part.peers)
            yield from _names("groups", part.groups)
            yield from _inherited(part)
        case OriginCheck():
            yield from _cluster_ranges(part)
        case AddressFrom():
            yield from _one_source(part)
        case Requirement():
            yield from _operands(part)
        case Cni():
            yield from _plugins(part)
        case Kni():
            yield from _sockets(part)
        case Check():
            yield from service_constraints.check(part)
        case StaticService():
            yield from service_constraints.static(part)
        case Services():
            yield from service_constraints.services(part)
        case Config():
            yield from _reflectors(part)
            yield from _http(part)
            yield from _kni(part)
            yield from service_constraints.communities(part)
            yield from policy_references(part)
        case _:
            yield from policy_objections(part)


def _peer(peer: PeerKeys) -> Iterator[tuple[Path, str]]:
    """What a peer or a group says by itself."""
    remote = None
    if isinstance(peer, PeerConfig):
        remote = peer.address
        yield from _required(peer)
    for key, address in (("address", remote), ("localAddress", peer.local_address)):
        if address is None:
            continue
        if address.is_unspecified or address.is_multicast or address == BROADCAST:
            yield (key,), f"{address} is no address of one host"
        scope = getattr(address, "scope_id", None)
        if scope and not address.is_link_local:
            yield (key,), f"{address} names an interface, which only link-local addresses may"
        if address.version == 6 and address.is_link_local and not scope:
            yield (key,), f"{address} is link-local: it needs its interface, as in {address}%eth0"
    local = peer.local_address
    if local is not None and remote is not None and family_of(local) is not family_of(remote):
        yield ("localAddress",), f"{local} is not of the family of address {remote}"
    if peer.ttl_security and peer.multihop:
        yield ("multihop",), "cannot be combined with ttlSecurity (RFC 5082)"
    yield from _session(peer)
    if peer.families and len(set(peer.families)) < len(peer.families):
        yield ("families",), "names a family twice"


def _required(peer: PeerConfig) -> Iterator[tuple[Path, str]]:
    if peer.asn is None and not peer.group:
        yield ("asn",), "is required, unless its group has it"
    if peer.address is None and peer.address_from is None:
        yield ("address",), "is required, or else addressFrom"
    if peer.address is not None and peer.address_from is not None:
        yield ("addressFrom",), "cannot be combined with address"


def _one_source(source: AddressFrom) -> Iterator[tuple[Path, str]]:
    given = [getattr(source, f.name) for f in fields(source) if getattr(source, f.name)]
    if len(given) != 1:
        named = ", ".join(camel(f.name) for f in fields(source))
        yield (), f"expected one of {named}, got {len(given) or 'none'}"
    if source.unnumbered is not None and not source.unnumbered.interfaces:
        yield ("unnumbered", "interfaces"), "names no interface"


def _operands(requirement: Requirement) -> Iterator[tuple[Path, str]]:
    takes_values = requirement.operator in (Operator.IN, Operator.NOT_IN)
    if takes_values != bool(requirement.values):
        wanted = "needs at least one value" if takes_values else "takes no values"
        yield ("values",), f"{requirement.operator.value} {wanted}"


def _session(peer: PeerKeys) -> Iterator[tuple[Path, str]]:
    if peer.interface and peer.local_address is not None:
        yield ("interface",), "cannot be combined with localAddress"
    if peer.password_secret is not None and peer.password_file:
        yield ("passwordSecret",), "cannot be combined with passwordFile"
    if peer.password_annotation and (peer.password_secret is not None or peer.password_file):
        other = "passwordFile" if peer.password_file else "passwordSecret"
        yield ("passwordAnnotation",), f"cannot be combined with {other}"
    if peer.keepalive and peer.hold_time and 3 * peer.keepalive > peer.hold_time:
        yield ("keepalive",), f"{peer.keepalive} is more than a third of holdTime {peer.hold_time}"
    if peer.shutdown and len(peer.shutdown.encode()) > LONGEST_SHUTDOWN:
        size = len(peer.shutdown.encode())
        yield ("shutdown",), f"has {size} octets; {LONGEST_SHUTDOWN} reach the peer (RFC 9003)"


def _names(key: str, named: Sequence[PeerConfig | PeerGroup]) -> Iterator[tuple[Path, str]]:
    names: dict[str, int] = {}
    for i, one in enumerate(named):
        first = names.setdefault(one.name, i)
        if first != i:
            yield (key, i, "name"), f"{one.name!r} is already the name of {key}[{first}]"


def _inherited(peering: Peering) -> Iterator[tuple[Path, str]]:
    """What is wrong only once a peer has its group's keys."""
    known = {group.name for group in peering.groups}
    for i, (peer, whole) in enumerate(zip(peering.peers, effective_peers(peering), strict=True)):
        where: Path = ("peers", i)
        if peer.group and peer.group not in known:
            have = ", ".join(sorted(known)) or "none"
            yield (*where, "group"), f"there is no group {peer.group!r} (there is: {have})"
        elif whole.asn is None:
            reason = f"is required: neither peer {peer.name!r} nor its group {peer.group!r} has it"
            yield (*where, "asn"), reason
        elif whole.bind_to_interface and not whole.interface:
            yield (*where, "bindToInterface"), "needs interface to say which one"
        elif peer.group:
            for below, reason in _peer(whole):
                both = f"peer {peer.name!r} with what its group {peer.group!r} says"
                yield (*where, *below), f"{reason} ({both})"


def _cluster_ranges(check: OriginCheck) -> Iterator[tuple[Path, str]]:
    for i, prefix in enumerate(check.cluster_ranges):
        if not prefix.prefixlen:
            yield ("clusterRanges", i), f"{prefix} is everything there is, not the cluster's"


def _plugins(cni: Cni) -> Iterator[tuple[Path, str]]:
    for i, plugin in enumerate(cni.extra_plugins):
        if not isinstance(plugin.get("type"), str) or not plugin["type"]:
            yield ("extraPlugins", i), "expected a plugin: a mapping with a text key `type`"


def _sockets(kni: Kni) -> Iterator[tuple[Path, str]]:
    if kni.enabled and not kni.sockets:
        yield ("sockets",), "names none: nobody could ask"
    known: dict[str, int] = {}
    for i, socket in enumerate(kni.sockets):
        if (first := known.setdefault(normpath(socket), i)) != i:
            yield ("sockets", i), f"{socket} is sockets[{first}] as well"


def _kni(config: Config) -> Iterator[tuple[Path, str]]:
    if config.kni.enabled and not config.cni.enabled:
        yield ("kni", "enabled"), "needs cni.enabled: pods are attached to that network"


def _reflectors(config: Config) -> Iterator[tuple[Path, str]]:
    for i, peer in enumerate(effective_peers(config.peering)):
        ours = peer.local_asn or config.bgp.asn
        told = isinstance(peer.asn, int) and isinstance(ours, int) and not config.bgp.asn_label
        other = peer.asn is RemoteAs.EXTERNAL or (told and peer.asn != ours)
        if peer.reflector and other:
            reason = f"a reflector must be of our own AS, {ours} (RFC 4456)"
            yield ("peering", "peers", i, "reflector"), reason


def _http(config: Config) -> Iterator[tuple[Path, str]]:
    try:
        ip_address(config.http.address)
    except ValueError:
        reason = f"expected an IP address such as 127.0.0.1, got {config.http.address!r}"
        yield ("http", "address"), reason
