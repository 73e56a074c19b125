"""kube-router's deployment as a kroute configuration, and in words what will be different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

from kroute.codec.kube_router.deployment import Deployment
from kroute.codec.kube_router.flags import ALWAYS, DEFAULT_ASN, RULES, SWITCHES
from kroute.codec.kube_router.translation import Translation, boolean, listed, number, odd, seconds

MOST_ARGUMENTS: Final = 1000
"""Arguments that are looked at; no command line has more."""
_SECRETS: Final = "/etc/kroute/secrets"


def translate(deployed: Deployment) -> Translation:
    """kube-router's deployment as a kroute configuration that keeps its marks on the node in use (bridge, routes)."""
    result = Translation()
    flags = _flags(deployed.arguments, result)
    result.put("inventory.kind", "kubernetes")
    result.put("bgp.asn", DEFAULT_ASN)
    # Adoption: pods stay on their bridge with their leases, and kube-router's routes are ours to replace.
    result.put("cni.bridge", deployed.bridge)
    result.put("cni.network", deployed.network)
    result.put("fib.formerProtocols", [17])
    result.put("peering.initiate", "both")
    result.put("peering.kubeRouterAnnotations", True)
    result.notes += ALWAYS
    for name, value in flags.items():
        rule = RULES.get(name)
        if rule is None:
            odd(result, name, "is no flag of kube-router 2.11 that is known here")
            continue
        try:
            for path, translated in rule(value, result).items():
                result.put(path, translated)
        except ValueError as error:
            odd(result, name, str(error))
    _peers(flags, result)
    _services(flags, result)
    return result


def _flags(arguments: Iterable[str], result: Translation) -> dict[str, str]:
    """The flags by name; a flag given twice counts as given last, as pflag has it."""
    words = list(arguments)[:MOST_ARGUMENTS]
    flags: dict[str, str] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "--":
            continue
        name, given, value = word.lstrip("-").partition("=")
        if not given:
            follows = words[position] if position < len(words) else ""
            if name in SWITCHES or not follows or follows.startswith("-"):
                value = "true"
            else:
                value = follows
                position += 1
        flags[name] = value
    if not flags:
        result.notes.append("no flags were given; what follows is kube-router's default behaviour")
    return flags


# --- peers: parallel lists there, objects here ------------------------------------------------------------------


def _peers(flags: Mapping[str, str], result: Translation) -> None:
    lists = {
        name: listed(flags.get(f"peer-router-{name}", ""))
        for name in ("ips", "asns", "ports", "passwords")
    }
    addresses = lists.pop("ips")
    if not addresses:
        return
    for name, values in lists.items():
        if (values or name == "asns") and len(values) != len(addresses):
            reason = f"has {len(values)} entries for {len(addresses)} peers; no peer is taken over"
            odd(result, f"peer-router-{name}", reason)
            return
    keyed = bool(flags.get("peer-router-passwords-file")) or bool(lists["passwords"])
    try:
        result.put(
            "peering.peers",
            [_peer(i, address, lists, flags, keyed) for i, address in enumerate(addresses)],
        )
    except ValueError as error:
        odd(result, "peer-router-ips", f"{error}; no peer is taken over")
        return
    if keyed:
        result.notes.append(
            "the peers' passwords are base64 in kube-router's list; write each, decoded, into the file that its "
            "passwordFile names (mode 0600)"
        )


def _peer(
    index: int,
    address: str,
    lists: Mapping[str, Sequence[str]],
    flags: Mapping[str, str],
    keyed: bool,
) -> dict[str, Any]:
    name = f"router{index + 1}"
    peer: dict[str, Any] = {
        "name": name,
        "address": str(ip_address(address)),
        "asn": number(lists["asns"][index], 1, (1 << 32) - 1),
        # kube-router takes everything but default routes and service addresses from external peers.
        "accept": "all",
    }
    if lists["ports"]:
        peer["port"] = number(lists["ports"][index], 1, 65535)
    if keyed and (not lists["passwords"] or lists["passwords"][index]):
        peer["passwordFile"] = f"{_SECRETS}/{name}"
    hops = number(flags.get("peer-router-multihop-ttl", "0"), 0, 255)
    if hops >= 2:
        peer["multihop"] = hops
    peer["holdTime"] = seconds(flags.get("bgp-holdtime", "90s"))
    return peer


# --- services -------------------------------------------------------------------------------------------------------

_ADVERTISE: Final[Mapping[str, tuple[str, str, str]]] = {
    "advertise-cluster-ip": ("clusterIP", "service-cluster-ip-range", "10.96.0.0/12"),
    "advertise-external-ip": ("externalIP", "service-external-ip-range", ""),
    "advertise-loadbalancer-ip": ("loadBalancerIP", "loadbalancer-ip-range", ""),
}
"""Flag to the kind of address, the flag that names its ranges, and their default."""


def _services(flags: Mapping[str, str], result: Translation) -> None:
    """Which addresses of services are announced, and the ranges that they must be in."""
    kinds, ranges = [], dict[str, None]()
    for flag, (kind, range_flag, default) in _ADVERTISE.items():
        try:
            if not boolean(flags.get(flag, "false")):
                continue
            kinds.append(kind)
            ranges |= {str(ip_network(r)): None for r in listed(flags.get(range_flag, default))}
        except ValueError as error:
            odd(result, range_flag if flag in flags else flag, str(error))
    if not kinds:
        result.notes.append(
            "annotations such as kube-router.io/service.advertise.clusterip need services.enabled and services.ranges; "
            "no flag asks for services here"
        )
        return
    result.put("services.enabled", True)
    result.put("services.advertise", kinds)
    result.put("services.ranges", list(ranges))
    if not ranges:
        result.notes.append(
            "services.ranges is empty, so no address is announced until you name their ranges"
        )
