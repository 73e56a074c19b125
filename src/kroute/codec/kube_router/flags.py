"""kube-router's command line as a kroute configuration, and in words what will be different.

Each flag has one rule: a function from its value to keys of the file, or a sentence that says why there are none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

from kroute.codec.conflist import inspect
from kroute.codec.yaml12 import load_all
from kroute.model.errors import Complaint, InputError

MOST_ARGUMENTS: Final = 1000
"""Arguments that are looked at; no command line has more."""

_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = ("1", "t", "true")
_FALSE: Final = ("0", "f", "false")
_DEFAULT_ASN: Final = 64512
_SECRETS: Final = "/etc/kroute/secrets"

Keys = Mapping[str, Any]
"""Dotted paths of kroute's configuration file, with their values."""


@dataclass(slots=True)
class Translation:
    """A command line in kroute's words.

    ``document`` is the configuration file as nested mappings, without defaults. ``notes`` say what differs or is left
    to do, ``complaints`` which flags could not be read and were left out.
    """

    document: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    def put(self, path: str, value: Any) -> None:
        """Set a key, given by its dotted path."""
        *folders, name = path.split(".")
        place = self.document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value


# --- finding the command line -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """kube-router as it was deployed: its arguments, and the bridge and CNI network that its pods are on."""

    arguments: tuple[str, ...]
    bridge: str = "kube-bridge"
    network: str = "mynet"
    """Names the folder of host-local's leases, so it must stay while pods hold addresses."""


def read_deployment(text: str, source: str) -> Deployment:
    """kube-router's deployment from its manifest (DaemonSet, ConfigMap), or from the text of its command line.

    Raises:
        InputError: neither is in the text.
    """
    if "containers" in text:
        documents = [each for document in load_all(text, source) for each in _objects(document)]
        for container in (c for document in documents for c in _containers(document)):
            if _runs_kube_router(container):
                words = tuple(str(word) for word in _words(container))
                return Deployment(arguments=words, **_conflist_names(documents))
        raise InputError(source, [Complaint("", "has no container that runs kube-router")])
    try:
        words = tuple(shlex.split(text.replace("\\\n", " "), comments=True))
    except ValueError as error:
        raise InputError(source, [Complaint("", f"is no command line: {error}")]) from error
    if not any(word.startswith("--") for word in words):
        raise InputError(source, [Complaint("", "is neither a manifest nor a command line")])
    return Deployment(arguments=words)


def _objects(document: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a document: itself, or the items of a list."""
    if isinstance(document, dict):
        items = document.get("items")
        yield from (
            (i for i in items if isinstance(i, dict)) if isinstance(items, list) else (document,)
        )


def _conflist_names(documents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Bridge and network of the conflist in kube-router's ConfigMap, where it names them."""
    for document in documents:
        data = document.get("data")
        text = data.get("cni-conf.json") if isinstance(data, dict) else None
        if isinstance(text, str):
            seen = inspect(text.encode())
            if seen.fault:
                seen = inspect(text.encode(), single=True)
            return {k: v for k, v in (("bridge", seen.bridge), ("network", seen.name)) if v}
    return {}


def _containers(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The containers of a workload object."""
    spec: Any = document
    for key in ("spec", "template", "spec"):
        spec = spec.get(key) if isinstance(spec, dict) else None
    listed = spec.get("containers") if isinstance(spec, dict) else None
    yield from (c for c in listed if isinstance(c, dict)) if isinstance(listed, list) else ()


def _runs_kube_router(container: Mapping[str, Any]) -> bool:
    said = " ".join(str(container.get(key, "")) for key in ("name", "image", "command"))
    return "kube-router" in said


def _words(container: Mapping[str, Any]) -> Iterator[Any]:
    for key in ("command", "args"):
        listed = container.get(key)
        yield from listed if isinstance(listed, list) else ()


# --- reading it ---------------------------------------------------------------------------------------------


def translate(deployed: Deployment) -> Translation:
    """kube-router's deployment as a kroute configuration that keeps its marks on the node in use (bridge, routes)."""
    result = Translation()
    flags = _flags(deployed.arguments, result)
    result.put("inventory.kind", "kubernetes")
    result.put("bgp.asn", _DEFAULT_ASN)
    # Adoption: pods stay on their bridge with their leases, and kube-router's routes are ours to replace.
    result.put("cni.bridge", deployed.bridge)
    result.put("cni.network", deployed.network)
    result.put("fib.formerProtocols", [17])
    result.put("peering.initiate", "both")
    result.put("peering.kubeRouterAnnotations", True)
    result.notes += _ALWAYS
    for name, value in flags.items():
        rule = _RULES.get(name)
        if rule is None:
            _odd(result, name, "is no flag of kube-router 2.11 that is known here")
            continue
        try:
            for path, translated in rule(value, result).items():
                result.put(path, translated)
        except ValueError as error:
            _odd(result, name, str(error))
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
            if name in _SWITCHES or not follows or follows.startswith("-"):
                value = "true"
            else:
                value = follows
                position += 1
        flags[name] = value
    if not flags:
        result.notes.append("no flags were given; what follows is kube-router's default behaviour")
    return flags


def _odd(result: Translation, flag: str, reason: str) -> None:
    result.complaints.append(Complaint(f"--{flag}", reason))


# --- values ---------------------------------------------------------------------------------------------------


def _bool(value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _number(value: str, least: int, most: int) -> int:
    if not value.isdecimal() or not least <= int(value) <= most:
        raise ValueError(f"{value!r} is no number from {least} to {most}")
    return int(value)


def _seconds(value: str) -> int:
    """A Go duration (``1m30s``) in whole seconds."""
    parts = _DURATION.findall(value)
    if not parts or "".join(a + b for a, b in parts) != value:
        raise ValueError(f"{value!r} is no duration such as 90s or 6m")
    return round(sum(float(amount) * _SECONDS[unit] for amount, unit in parts))


def _list(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")] if value else []


# --- rules ----------------------------------------------------------------------------------------------------

Rule = Callable[[str, Translation], Keys]


def _key(path: str, read: Callable[[str], Any]) -> Rule:
    """The flag is one key here."""
    return lambda value, _result: {path: read(value)}


def _nothing(_value: str, _result: Translation) -> Keys:
    """The flag asks for what kroute does anyway, or tunes what kroute does not do."""
    return {}


def _note_if(asked: bool, note: str) -> Rule:
    """A switch without a counterpart: a sentence where it is set to what would be missed."""

    def rule(value: str, result: Translation) -> Keys:
        if _bool(value) is asked:
            result.notes.append(note)
        return {}

    return rule


def _note(note: str) -> Rule:
    """A flag without a counterpart, whatever its value."""

    def rule(_value: str, result: Translation) -> Keys:
        result.notes.append(note)
        return {}

    return rule


def _asn(value: str) -> int:
    return _number(value, 0, (1 << 32) - 1) or _DEFAULT_ASN


def _ibgp(value: str, _result: Translation) -> Keys:
    return {} if _bool(value) else {"peering.topology": "none"}


def _mesh(value: str, result: Translation) -> Keys:
    if _bool(value):
        return {}
    result.notes.append(
        "--nodes-full-mesh=false: nodes annotated kube-router.io/rr.server become reflectors here and all others their "
        "clients; without such annotations, kube-router meshed nodes of equal node.asn, which topology none with "
        "explicit peers says here"
    )
    return {
        "peering.topology": "routeReflector",
        "peering.routeReflector.label": "kube-router.io/rr.server",
    }


def _router_id(value: str, result: Translation) -> Keys:
    if value in ("", "generate"):
        if value:
            result.notes.append(
                "--router-id=generate: kroute makes one of the node's IPv4 address, or of its name where it has none"
            )
        return {}
    result.notes.append("--router-id is one node's own; set bgp.routerId in that node's file only")
    ip_address(value)
    return {"bgp.routerId": value}


def _restart(value: str, _result: Translation) -> Keys:
    return {"bgp.gracefulRestart.enabled": _bool(value)}


def _verbosity(value: str, _result: Translation) -> Keys:
    return {"logLevel": "debug"} if _number(value, 0, 10) > 1 else {}


def _port(path: str) -> Rule:
    return _key(path, lambda value: _number(value, 1, 65535))


def _http_port(value: str, result: Translation) -> Keys:
    port = _number(value, 0, 65535)
    if not port:
        return {}
    result.notes.append("health and metrics are on one port here: /healthz, /readyz, /metrics")
    return {"http.port": port}


_EGRESS: Final = (
    "kroute does not masquerade what pods send to the world; set cni.extraPlugins, or an nftables rule on the node, or "
    "let the network behind route the pods' addresses"
)
_ALWAYS: Final = (
    "pods stay on their bridge and keep their leases, and kube-router's routes (protocol 17) are taken over: they go "
    "once kroute's own are in the kernel",
    "peering.initiate: both lets nodes on either side of the move connect; remove it once kube-router is gone",
    "kube-router's network policies and service proxy are not kroute's: keep it running with --run-router=false for "
    "them, or replace them",
)

_RULES: Final[Mapping[str, Rule]] = {
    "cluster-asn": _key("bgp.asn", _asn),
    "bgp-port": _port("bgp.port"),
    "router-id": _router_id,
    "bgp-holdtime": _nothing,
    "enable-ibgp": _ibgp,
    "nodes-full-mesh": _mesh,
    "bgp-graceful-restart": _restart,
    "bgp-graceful-restart-time": _key("bgp.gracefulRestart.restartTime", _seconds),
    "bgp-graceful-restart-deferral-time": _key("bgp.gracefulRestart.deferralTime", _seconds),
    "peer-router-ips": _nothing,
    "peer-router-asns": _nothing,
    "peer-router-ports": _nothing,
    "peer-router-passwords": _nothing,
    "peer-router-passwords-file": _nothing,
    "peer-router-multihop-ttl": _nothing,
    "override-nexthop": _note_if(
        True, "--override-nexthop: external peers always get the node as next hop here"
    ),
    "enable-bfd": _note_if(True, "--enable-bfd: kroute has no BFD yet; lower holdTime instead"),
    "bfd-port": _nothing,
    "bfd-detection-multiplier": _nothing,
    "bfd-desired-min-tx-interval": _nothing,
    "bfd-required-min-rx-interval": _nothing,
    "advertise-pod-cidr": _note_if(
        False, "--advertise-pod-cidr=false: external peers are told the node's podCIDRs here"
    ),
    "advertise-cluster-ip": _nothing,
    "advertise-external-ip": _nothing,
    "advertise-loadbalancer-ip": _nothing,
    "service-cluster-ip-range": _nothing,
    "service-external-ip-range": _nothing,
    "loadbalancer-ip-range": _nothing,
    "strict-external-ip-validation": _nothing,
    "service-node-port-range": _nothing,
    "enable-overlay": _note_if(
        True,
        "--enable-overlay: kroute builds no tunnels; nodes of different subnets need a network "
        "that routes the pods' ranges between them",
    ),
    "overlay-type": _nothing,
    "overlay-encap": _nothing,
    "overlay-encap-port": _nothing,
    "enable-cni": _key("cni.enabled", _bool),
    "auto-mtu": _note_if(
        False, "--auto-mtu=false: set cni.mtu if pods need another than the uplink's"
    ),
    "enable-pod-egress": _note_if(True, _EGRESS),
    "enable-ipv4": _nothing,
    "enable-ipv6": _nothing,
    "disable-source-dest-check": _note(
        "--disable-source-dest-check: kroute speaks to no cloud; switch the check off there"
    ),
    "hairpin-mode": _nothing,
    "health-port": _http_port,
    "metrics-port": _http_port,
    "health-addr": _key("http.address", str),
    "metrics-addr": _key("http.address", str),
    "metrics-path": _note("--metrics-path: metrics are at /metrics"),
    "hostname-override": _key("nodeName", str),
    "kubeconfig": _key("inventory.kubernetes.kubeconfig", str),
    "master": _note("--master: name the server in a kubeconfig (inventory.kubernetes.kubeconfig)"),
    "v": _verbosity,
    "run-router": _nothing,
    "run-firewall": _nothing,
    "run-service-proxy": _nothing,
    "run-loadbalancer": _note_if(
        True,
        "--run-loadbalancer: kroute assigns no addresses; it announces those that others assign",
    ),
    "loadbalancer-default-class": _nothing,
    "gobgp-admin-address": _nothing,
    "gobgp-admin-port": _nothing,
    "routes-sync-period": _nothing,
    "injected-routes-sync-period": _nothing,
    "cache-sync-timeout": _nothing,
    "cleanup-config": _nothing,
    "enable-pprof": _nothing,
}

_SWITCHES: Final = frozenset(
    name
    for name in _RULES
    if name.startswith(("enable-", "run-", "advertise-", "disable-"))
    or name in ("nodes-full-mesh", "override-nexthop", "auto-mtu", "hairpin-mode")
    or name in ("bgp-graceful-restart", "cleanup-config")
)


# --- peers: parallel lists there, objects here ------------------------------------------------------------------


def _peers(flags: Mapping[str, str], result: Translation) -> None:
    lists = {
        name: _list(flags.get(f"peer-router-{name}", ""))
        for name in ("ips", "asns", "ports", "passwords")
    }
    addresses = lists.pop("ips")
    if not addresses:
        return
    for name, values in lists.items():
        if (values or name == "asns") and len(values) != len(addresses):
            reason = f"has {len(values)} entries for {len(addresses)} peers; no peer is taken over"
            _odd(result, f"peer-router-{name}", reason)
            return
    keyed = bool(flags.get("peer-router-passwords-file")) or bool(lists["passwords"])
    try:
        result.put(
            "peering.peers",
            [_peer(i, address, lists, flags, keyed) for i, address in enumerate(addresses)],
        )
    except ValueError as error:
        _odd(result, "peer-router-ips", f"{error}; no peer is taken over")
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
        "asn": _number(lists["asns"][index], 1, (1 << 32) - 1),
        # kube-router takes everything but default routes and service addresses from external peers.
        "accept": "all",
    }
    if lists["ports"]:
        peer["port"] = _number(lists["ports"][index], 1, 65535)
    if keyed and (not lists["passwords"] or lists["passwords"][index]):
        peer["passwordFile"] = f"{_SECRETS}/{name}"
    hops = _number(flags.get("peer-router-multihop-ttl", "0"), 0, 255)
    if hops >= 2:
        peer["multihop"] = hops
    peer["holdTime"] = _seconds(flags.get("bgp-holdtime", "90s"))
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
            if not _bool(flags.get(flag, "false")):
                continue
            kinds.append(kind)
            ranges |= {str(ip_network(r)): None for r in _list(flags.get(range_flag, default))}
        except ValueError as error:
            _odd(result, range_flag if flag in flags else flag, str(error))
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
