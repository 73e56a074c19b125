"""kube-router's flags, each with one rule: its keys here, or a sentence that says why there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

from kroute.codec.kube_router.translation import Keys, Translation, boolean, number, seconds

DEFAULT_ASN: Final = 64512
"""kube-router's, and ours."""

Rule = Callable[[str, Translation], Keys]
"""From a flag's value to keys; notes what has no key."""


def _key(path: str, read: Callable[[str], Any]) -> Rule:
    """The flag is one key here."""
    return lambda value, _result: {path: read(value)}


def _nothing(_value: str, _result: Translation) -> Keys:
    """The flag asks for what kroute does anyway, or tunes what kroute does not do."""
    return {}


def _note_if(asked: bool, note: str) -> Rule:
    """A switch without a counterpart: a sentence where it is set to what would be missed."""

    def rule(value: str, result: Translation) -> Keys:
        if boolean(value) is asked:
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
    return number(value, 0, (1 << 32) - 1) or DEFAULT_ASN


def _ibgp(value: str, _result: Translation) -> Keys:
    return {} if boolean(value) else {"peering.topology": "none"}


def _mesh(value: str, result: Translation) -> Keys:
    if boolean(value):
        return {}
    result.notes.append(
        "--nodes-full-mesh=false: nodes annotated kube-router.io/rr.server become reflectors here, all others of their "
        "node.asn their clients; where no node is so annotated, kube-router meshed nodes of equal node.asn: set "
        "peering.topology to fullMesh, which does the same here"
    )
    return {
        "bgp.asnLabel": "kube-router.io/node.asn",
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
    return {"bgp.gracefulRestart.enabled": boolean(value)}


def _verbosity(value: str, _result: Translation) -> Keys:
    return {"logLevel": "debug"} if number(value, 0, 10) > 1 else {}


def _port(path: str) -> Rule:
    return _key(path, lambda value: number(value, 1, 65535))


def _http_port(value: str, result: Translation) -> Keys:
    port = number(value, 0, 65535)
    if not port:
        return {}
    result.notes.append("health and metrics are on one port here: /healthz, /readyz, /metrics")
    return {"http.port": port}


_EGRESS: Final = (
    "kroute does not masquerade what pods send to the world; set cni.extraPlugins, or an nftables rule on the node, or "
    "let the network behind route the pods' addresses"
)
ALWAYS: Final = (
    "pods stay on their bridge and keep their leases, and kube-router's routes (protocol 17) are taken over: they go "
    "once kroute's own are in the kernel",
    "peering.initiate: both lets nodes on either side of the move connect; remove it once kube-router is gone",
    "kube-router's network policies and service proxy are not kroute's: keep it running with --run-router=false for "
    "them, or replace them",
)

RULES: Final[Mapping[str, Rule]] = {
    "cluster-asn": _key("bgp.asn", _asn),
    "bgp-port": _port("bgp.port"),
    "router-id": _router_id,
    "bgp-holdtime": _nothing,
    "enable-ibgp": _ibgp,
    "nodes-full-mesh": _mesh,
    "bgp-graceful-restart": _restart,
    "bgp-graceful-restart-time": _key("bgp.gracefulRestart.restartTime", seconds),
    "bgp-graceful-restart-deferral-time": _key("bgp.gracefulRestart.deferralTime", seconds),
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
    "enable-cni": _key("cni.enabled", boolean),
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

SWITCHES: Final = frozenset(
    name
    for name in RULES
    if name.startswith(("enable-", "run-", "advertise-", "disable-"))
    or name in ("nodes-full-mesh", "override-nexthop", "auto-mtu", "hairpin-mode")
    or name in ("bgp-graceful-restart", "cleanup-config")
)
