"""kube-router's node annotations. An entry that cannot be read is left out and told; the others count.

kube-router itself drops a whole list for one bad entry, or stops BGP; a mistake here suffers alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from kroute.codec.yaml12 import load
from kroute.model.communities import WELL_KNOWN
from kroute.model.errors import InputError
from kroute.model.kube_router import NodeAnnotations, NodePeer
from kroute.model.net import Address, Prefix
from kroute.model.service import AddressKind
from kroute.model.session_keys import AnnotatedKey, Sealed

PREFIX: Final = "kube-router.io/"
LONGEST: Final = 65536
"""Characters of a value that are read; a list of peers is a few hundred."""
MOST: Final = 256
"""Entries of a list that are read."""

_ADVERTISE: Final[Mapping[str, AddressKind]] = {
    PREFIX + "service.advertise.clusterip": AddressKind.CLUSTER_IP,
    PREFIX + "service.advertise.externalip": AddressKind.EXTERNAL_IP,
    PREFIX + "service.advertise.loadbalancerip": AddressKind.LOAD_BALANCER_IP,
}

_GOBGP_NAMES: Final[Mapping[str, str]] = {
    "planned-shut": "graceful-shutdown",
    "no-peer": "nopeer",
}
"""Well-known communities that the library inside kube-router calls otherwise than IANA."""

_SECRET: Final = (
    PREFIX + "peers",
    PREFIX + "peer.passwords",
    # `kubectl apply` repeats the others in it.
    "kubectl.kubernetes.io/last-applied-configuration",
)

Complain = Callable[[str, str], None]
"""Takes the annotation's key and what is wrong with it."""


def without_secrets(annotations: dict[str, str]) -> dict[str, str]:
    """The annotations but for those that hold passwords."""
    return {key: value for key, value in annotations.items() if key not in _SECRET}


def node_annotations(annotations: Mapping[str, Any], complain: Complain) -> NodeAnnotations | None:
    """What the annotations of a Node object say; None where it bears none of kube-router's."""
    said = _said(annotations)
    if not said:
        return None

    def wrong(name: str, reason: str) -> None:
        complain(PREFIX + name, reason)

    listed = said.get("pod-cidrs", said.get("pod-cidr", ""))
    return NodeAnnotations(
        peers=tuple(peer for peer, _ in _peers(said, wrong)),
        prepend=_prepend(said, wrong),
        communities=tuple(_communities(said.get("node.bgp.communities", ""), wrong)),
        import_reject=tuple(
            _prefixes(
                "node.bgp.customimportreject", said.get("node.bgp.customimportreject", ""), wrong
            )
        ),
        pod_cidrs=tuple(_prefixes("pod-cidrs", listed, wrong)),
    )


def node_keys(annotations: Mapping[str, Any]) -> dict[str, AnnotatedKey]:
    """The TCP MD5 keys in the annotations of a Node object, by the address of the peer that each belongs to."""
    found = _peers(_said(annotations), lambda _name, _reason: None)
    return {str(peer.address): _key(text) for peer, text in found if peer.keyed}


def _said(annotations: Mapping[str, Any]) -> dict[str, str]:
    """kube-router's own, without their prefix."""
    return {
        key.removeprefix(PREFIX): value[:LONGEST]
        for key, value in annotations.items()
        if isinstance(key, str) and key.startswith(PREFIX) and isinstance(value, str)
    }


def advertise_wishes(annotations: Mapping[str, str]) -> dict[AddressKind, bool]:
    """What a Service's annotations say of each kind of address; one that is no truth value says no, as there."""
    said = {
        kind: annotations[key].strip().lower() in ("true", "1", "t")
        for key, kind in _ADVERTISE.items()
        if key in annotations
    }
    if PREFIX + "service.skiplbips" in annotations:
        said[AddressKind.LOAD_BALANCER_IP] = False
    return said


def is_local(annotations: Mapping[str, str]) -> bool:
    """Whether a Service's annotations ask for what externalTrafficPolicy: Local does."""
    return annotations.get(PREFIX + "service.local") == "true"


# --- peers --------------------------------------------------------------------------------------------------


def _peers(said: Mapping[str, str], wrong: Complain) -> Iterator[tuple[NodePeer, Any]]:
    """The peers of the YAML list, or of the older parallel lists; kube-router prefers the former as well.

    With each comes what stands there as its password.
    """
    found = _listed_peers(said["peers"], wrong) if "peers" in said else _parallel_peers(said, wrong)
    taken: set[Address] = set()
    for name, entry in found:
        try:
            peer = _peer(entry)
        except ValueError as error:
            wrong(name, str(error))
            continue
        if peer.address in taken:
            wrong(name, f"{peer.address} is there twice")
        else:
            taken.add(peer.address)
            yield peer, entry.get("password")


Entry = tuple[str, Mapping[str, Any]]
"""Where a peer is written (for complaints), and its fields by kube-router's names."""


def _listed_peers(text: str, wrong: Complain) -> Iterator[Entry]:
    try:
        document = load(text, "peers").value
    except InputError as error:
        # What the parser says may quote a password.
        places = ", ".join(dict.fromkeys(c.path for c in error.complaints if c.path))
        wrong("peers", f"is no YAML{places and f' ({places})'}")
        return
    if not isinstance(document, list):
        wrong("peers", "is no YAML list")
        return
    for index, entry in enumerate(document[:MOST]):
        if isinstance(entry, dict):
            yield f"peers[{index}]", entry
        else:
            wrong(f"peers[{index}]", "is no mapping")


_LISTS: Final[Mapping[str, str]] = {
    "peer.ips": "remoteip",
    "peer.asns": "remoteasn",
    "peer.ports": "port",
    "peer.passwords": "password",
    "peer.localips": "localip",
}


def _parallel_peers(said: Mapping[str, str], wrong: Complain) -> Iterator[Entry]:
    lists = {name: _split(said[name]) for name in _LISTS if name in said}
    addresses = lists.get("peer.ips", [])
    for name, values in lists.items():
        if len(values) != len(addresses):
            wrong(
                name,
                f"has {len(values)} entries for {len(addresses)} in peer.ips; no peer is set up",
            )
            return
    if addresses and "peer.asns" not in lists:
        wrong("peer.asns", "is missing; no peer is set up")
        return
    for index in range(len(addresses)):
        yield (
            f"peer.ips[{index}]",
            {_LISTS[name]: v[index] for name, v in lists.items() if v[index]},
        )


def _peer(entry: Mapping[str, Any]) -> NodePeer:
    local = entry.get("localip")
    return NodePeer(
        address=_address("remoteip", entry.get("remoteip")),
        asn=_number("remoteasn", entry.get("remoteasn"), 1, (1 << 32) - 1),
        port=_number("port", entry.get("port", 179), 1, 65535),
        local_address=_address("localip", local) if local else None,
        keyed=entry.get("password") not in (None, ""),
    )


def _key(value: Any) -> AnnotatedKey:
    """A password as kube-router writes it: the standard base64 of its octets."""
    if not isinstance(value, str):
        return AnnotatedKey(None, "is no text to YAML; put it in quotes")
    try:
        octets = base64.b64decode("".join(value.split()), validate=True)
        return AnnotatedKey(Sealed(octets.decode()))
    except (binascii.Error, ValueError):
        return AnnotatedKey(None, "is not the base64 of a text")


def _address(field: str, value: Any) -> Address:
    try:
        return ip_address(str(value).strip())
    except ValueError:
        raise ValueError(f"{field} {_shown(value)} is no address") from None


def _number(field: str, value: Any, least: int, most: int) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and least <= int(text) <= most):
        raise ValueError(f"{field} {_shown(value)} is no number from {least} to {most}")
    return int(text)


# --- the rest -----------------------------------------------------------------------------------------------


def _prepend(said: Mapping[str, str], wrong: Complain) -> tuple[int, int] | None:
    asn, times = said.get("path-prepend.as"), said.get("path-prepend.repeat-n")
    if asn is None and times is None:
        return None
    if asn is None or times is None:
        missing = "as" if asn is None else "repeat-n"
        wrong(f"path-prepend.{missing}", "is missing; nothing is prepended")
        return None
    try:
        return _number("AS", asn, 1, (1 << 32) - 1), _number("count", times, 1, 255)
    except ValueError as error:
        wrong("path-prepend", str(error))
        return None


def _communities(text: str, wrong: Complain) -> Iterator[int]:
    for word in _split(text):
        try:
            yield _community(word)
        except ValueError:
            wrong("node.bgp.communities", f"{_shown(word)} is no community")


def _community(word: str) -> int:
    name = _GOBGP_NAMES.get(word.lower(), word.lower())
    if name in WELL_KNOWN:
        return WELL_KNOWN[name]
    high, colon, low = word.partition(":")
    if not colon:
        return _number("community", word, 0, (1 << 32) - 1)
    return _number("high", high, 0, 65535) << 16 | _number("low", low, 0, 65535)


def _prefixes(name: str, text: str, wrong: Complain) -> Iterator[Prefix]:
    for word in _split(text):
        try:
            yield ip_network(word, strict=False)
        except ValueError:
            wrong(name, f"{_shown(word)} is no prefix")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")][:MOST] if text.strip() else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
