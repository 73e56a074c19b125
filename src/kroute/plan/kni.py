"""KNI's decisions, pure: where a pod lives, what plugins are told about it, what is answered; `kni_gc` has garbage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from kroute.model.kni import (
    PROTOCOLS,
    Attachment,
    AttachRequest,
    Generation,
    IpConfig,
    KniError,
    Network,
    NodeFacts,
    NodesReply,
    OtherNode,
    Phase,
    PodReply,
    PortMapping,
    Refusal,
    Words,
)

PRIMARY = "eth0"
"""The interface that every client reads."""
MULTI_NETWORK = "kni.io/multi-network"
NPWG_NETWORKS = "k8s.v1.cni.cncf.io/networks"
ANNOUNCE = "kroute.io/announce"
OVERLAY = "none"
"""Pods are reached by plain routes: kroute encapsulates nothing."""
_POD_LABEL = "io.kubernetes.pod."
_INTERFACE = re.compile(r"(?!\.{1,2}\Z)[^\s/:]{1,15}\Z")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_RATE = re.compile(r"\+?(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})([kMGTP]|[KMGTP]i|[eE]\d{1,2})?\Z")
"""A quantity of Kubernetes as far as it can be a rate that is allowed."""
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "": 1} | {
    f"{letter}i": 1 << 10 * power for power, letter in enumerate("KMGTP", 1)
}
_PORTS = range(1, 1 << 16)
_BURST = (1 << 32) - 1
"""What kubelets and containerd give as burst: no limit of its own."""


# --- attach: who and where ------------------------------------------------------------------------------


def netns_of(request: AttachRequest, created: str) -> str:
    """The pod's network namespace, wherever this client says it (C4); empty where it says nothing.

    ``created`` is the path of a namespace that CreateNetwork made for this pod before.
    """
    path = request.isolation.path if request.isolation else ""
    places = (
        path,
        request.extradata.get("netns", ""),
        request.annotations.get("netns", ""),
        request.annotations.get("kni.dev/netns", ""),
        created,
    )
    return next((p for p in places if p), "")


def may_have_no_netns(generation: Generation) -> bool:
    """Whether an attach without a namespace is answered OK and empty, as the demo's server did (C4)."""
    return generation is Generation.V005


def identity(request: AttachRequest) -> tuple[str, str, str]:
    """Name, namespace and uid of the pod; the demo's kubelet says them in labels only (C8)."""
    labels = request.labels
    return (
        labels.get(f"{_POD_LABEL}name") or request.name,
        labels.get(f"{_POD_LABEL}namespace") or request.namespace,
        labels.get(f"{_POD_LABEL}uid", ""),
    )


class Known(Enum):
    """How an attach stands to what is attached under its id."""

    NEW = "new"
    SAME = "same"
    """The stored answer is the answer (C6)."""
    LEFTOVER = "leftover"
    """Remains of a former life or of a namespace that is gone: released first."""


def compare(known: Attachment | None, netns: str, inode: int, boot: str, *, lives: bool) -> Known:
    """Decide what an attach of this id and namespace is; ``lives`` says whether the known one's is still there.

    Raises:
        KniError: the id is attached in another namespace that is still alive; ids are unique per sandbox.
    """
    if known is None:
        return Known.NEW
    if known.phase is not Phase.ATTACHED or known.boot != boot:
        return Known.LEFTOVER
    if known.inode == inode:
        return Known.SAME
    if not lives:
        return Known.LEFTOVER
    raise KniError(
        Refusal.CONFLICT,
        f"{known.id} is attached in {known.netns}, which is alive; detach it before attaching it in {netns}",
    )


# --- attach: what plugins are told ----------------------------------------------------------------------


def cni_args(container: str, name: str, namespace: str, uid: str) -> str:
    """CNI_ARGS: the pod's identity and nothing else; labels and annotations would break it with `;` and `=`."""
    pairs = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": namespace,
        "K8S_POD_NAME": name,
        "K8S_POD_INFRA_CONTAINER_ID": container,
        "K8S_POD_UID": uid,
    }
    return ";".join(f"{k}={v}" for k, v in pairs.items() if v and not set(v) & set(";="))


def capabilities(request: AttachRequest) -> dict[str, Any]:
    """The runtimeConfig on offer; each plugin gets those that its configuration declares.

    Raises:
        KniError: a bandwidth, or a port of the node that is to lead to the pod, is none.
    """
    ports = [_mapped(p) for p in request.port_mappings if p.host_port]
    dns = request.dns_config
    notes = request.annotations
    offered: dict[str, Any] = {
        "portMappings": ports,
        "bandwidth": _bandwidth(notes),
        "dns": _dns(dns.servers, dns.searches, dns.options) if dns else {},
        "ips": _listed(notes.get("kroute.io/ips", "")),
        "mac": notes.get("kroute.io/mac", ""),
        "aliases": _listed(notes.get("kroute.io/aliases", "")),
        "cgroupPath": request.extradata.get("cgroupPath", ""),
        "io.kubernetes.cri.pod-annotations": dict(notes),
    }
    return {key: value for key, value in offered.items() if value}


def _mapped(port: PortMapping) -> dict[str, Any]:
    usable = port.host_port in _PORTS and port.container_port in _PORTS
    if not usable or not 0 <= port.protocol < len(PROTOCOLS):
        said = f"port mapping {port.host_port} to {port.container_port}, protocol {port.protocol}"
        raise KniError(Refusal.INVALID, f"{said}: ports are 1 to 65535, protocols 0 to 2")
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": PROTOCOLS[port.protocol],
        "hostIP": port.host_ip,
    }


def _dns(servers: Iterable[str], searches: Iterable[str], options: Iterable[str]) -> dict[str, Any]:
    said = {"servers": [*servers], "searches": [*searches], "options": [*options]}
    return {k: v for k, v in said.items() if v}


def _bandwidth(annotations: Words) -> dict[str, int]:
    found: dict[str, int] = {}
    for way in ("ingress", "egress"):
        text = annotations.get(f"kubernetes.io/{way}-bandwidth", "")
        if not text:
            continue
        rate = _rate(text)
        if rate is None:
            reason = f"kubernetes.io/{way}-bandwidth: {text!r} is no rate between 1k and 1P"
            raise KniError(Refusal.INVALID, reason)
        found |= {f"{way}Rate": rate, f"{way}Burst": _BURST}
    return found


def _rate(text: str) -> int | None:
    match = _RATE.match(text.strip())
    if match is None:
        return None
    unit = match[2] or ""
    times = 10 ** int(unit[1:]) if unit[:1] in ("e", "E") else _UNITS[unit]
    whole, _, fraction = match[1].partition(".")
    rate = -(-int(whole + fraction) * times // 10 ** len(fraction))  # rounded up
    return rate if 10**3 <= rate <= 10**15 else None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def further_networks(annotations: Words) -> tuple[tuple[str, str], ...]:
    """Networks besides the first and the interface of each, from ``kni.io/multi-network`` or the simple form of the
    Network Plumbing Working Group's annotation (``[namespace/]network[@interface]``, separated by commas).

    Raises:
        KniError: a name that is none, an interface twice.
    """
    text = annotations.get(MULTI_NETWORK) or annotations.get(NPWG_NETWORKS) or ""
    if text.lstrip().startswith("["):
        text = ",".join(_npwg_list(text))
    found: list[tuple[str, str]] = []
    for number, item in enumerate(_listed(text), 1):
        network, _, interface = item.rpartition("/")[2].partition("@")
        interface = interface or f"net{number}"
        taken = {PRIMARY, "lo", *(i for _, i in found)}
        if not _NETWORK.match(network) or not _INTERFACE.match(interface) or interface in taken:
            raise KniError(
                Refusal.INVALID, f"network {item!r} in the pod's annotation is not usable"
            )
        found.append((network, interface))
    return tuple(found)


def _npwg_list(text: str) -> Iterator[str]:
    """The JSON form as far as the simple form says it: name and interface."""
    try:
        for item in json.loads(text):
            interface = item.get("interface")
            yield f"{item['name']}@{interface}" if interface else str(item["name"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KniError(Refusal.INVALID, f"annotation {NPWG_NETWORKS} cannot be read") from error


# --- answers --------------------------------------------------------------------------------------------


def pod_reply(attachment: Attachment | None) -> PodReply:
    """Addresses of a pod by interface; empty for a pod that is unknown, not ready or going (C13, C14)."""
    if attachment is None or attachment.phase is not Phase.ATTACHED:
        return PodReply()
    found: dict[str, IpConfig] = {PRIMARY: IpConfig()}
    for wiring in attachment.wirings:
        found.update(_interfaces(wiring.result, wiring.interface))
    found["lo"] = IpConfig(ip=("127.0.0.1", "::1"), mac="00:00:00:00:00:00")
    return PodReply(
        ipconfigs=found,
        extradata={"netns": attachment.netns, "how": attachment.wirings[0].how.value}
        if attachment.wirings
        else {},
    )


def _interfaces(result: Mapping[str, Any], primary: str) -> Iterator[tuple[str, IpConfig]]:
    """Every interface of a CNI result with its bare addresses, the node's side included (C5)."""
    interfaces = result.get("interfaces") or []
    ips: dict[str, list[str]] = {primary: []}
    extra: dict[str, dict[str, str]] = {}
    for ip in result.get("ips") or ():
        at = ip.get("interface")
        inside = isinstance(at, int) and 0 <= at < len(interfaces)
        name = str(interfaces[at].get("name", primary)) if inside else primary
        ips.setdefault(name, []).append(str(ip.get("address", "")).partition("/")[0])
        _describe(extra.setdefault(name, {}), ip)
    macs = {str(i.get("name", "")): str(i.get("mac", "")) for i in interfaces}
    for name in {primary: None} | macs | dict.fromkeys(ips):
        addresses = tuple(ips.get(name, ()))
        yield name, IpConfig(ip=addresses, mac=macs.get(name, ""), extradata=extra.get(name, {}))


def _describe(extra: dict[str, str], ip: Mapping[str, Any]) -> None:
    """What KNI has no field for: prefix length and gateway, one list each, in the order of the addresses."""
    address, gateway = str(ip.get("address", "")), str(ip.get("gateway") or "")
    for key, value in (("cidrs", address), ("gateways", gateway)):
        if value:
            extra[key] = f"{extra[key]},{value}" if key in extra else value


def unready(facts: NodeFacts) -> tuple[str, ...]:
    """What keeps pods from being attached here, in words (C16); empty when nothing does."""
    reasons = []
    if not facts.pod_cidrs:
        reasons.append("no podCIDR has been assigned to this node")
    if not facts.conflist_written:
        reasons.append(f"the conflist {facts.conflist_path} is not written")
    if facts.missing_plugins:
        reasons.append(f"CNI plugins are missing: {', '.join(facts.missing_plugins)}")
    reasons += facts.complaints
    if facts.store_fault:
        reasons.append(facts.store_fault)
    return tuple(reasons)


def nodes_reply(facts: NodeFacts) -> NodesReply:
    """The own node's network first, then those of other nodes where they are wanted. Keys are documented as stable."""
    reasons = unready(facts)
    exhausted = [pool.prefix for pool in facts.pools if pool.free == 0]
    sessions = f"{facts.established}/{facts.sessions}"
    extradata = {
        "node": facts.node,
        "podCIDRs": ",".join(facts.pod_cidrs),
        "conflist": facts.conflist_path if facts.conflist_written else "",
        "bridge": facts.bridge,
        "mtu": str(facts.mtu or ""),
        "reasons": "; ".join(reasons),
        "attachments": str(facts.attachments),
        "freeAddresses": ",".join(f"{p.prefix}={p.free}" for p in facts.pools),
        "exhausted": ",".join(exhausted),
        "bgpSessions": sessions,
        "routes": f"{facts.routes_installed}/{facts.routes_desired}",
        "overlay": OVERLAY,
        "problem": facts.problem,
    }
    own = Network(name=facts.network, ready=not reasons, extradata=extradata)
    return NodesReply(networks=(own, *(_other(node) for node in facts.others)))


def _other(node: OtherNode) -> Network:
    """Another node: ready when all its podCIDRs are routed to."""
    return Network(
        name=f"node/{node.name}",
        ready=bool(node.pod_cidrs) and node.routed == len(node.pod_cidrs),
        extradata={
            "node": node.name,
            "podCIDRs": ",".join(node.pod_cidrs),
            "routes": f"{node.routed}/{len(node.pod_cidrs)}",
            "bgpSessions": f"{node.established}/{node.sessions}",
        },
    )


def pods(attachments: Iterable[Attachment], now: float) -> Iterator[dict[str, Any]]:
    """What ``kroute show pods`` lists; a clock that jumped back gives the age 0."""
    for a in sorted(attachments, key=lambda a: (a.namespace, a.name, a.id)):
        reply = pod_reply(a)
        yield {
            "id": a.id,
            "pod": a.pod if a.name else "",
            "netns": a.netns,
            "phase": a.phase.value,
            "addresses": [
                ip for w in a.wirings for ip in reply.ipconfigs.get(w.interface, IpConfig()).ip
            ],
            "interfaces": [w.interface for w in a.wirings],
            "age": max(now - a.since, 0.0),
            "generation": a.generation.value,
            "how": ", ".join(dict.fromkeys(w.how.value for w in a.wirings)),
        }
