"""The own node's podCIDRs as a CNI network.

Nothing is wanted before the podCIDRs are known (law 2): the file that an earlier life wrote stays
as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from kroute.model.cni import Conflist
from kroute.model.config import Cni
from kroute.model.net import Family, Prefix, family_of
from kroute.model.node import Node
from kroute.model.problem import Problem, Severity

_SMALLEST_HOST_BITS = 2
"""host-local refuses a range without room for network, gateway and one pod: IPv4 /31, IPv6 /127."""
_IPV6_MINIMUM_MTU = 1280
"""RFC 8200 §5; below it the kernel turns IPv6 off on the interface."""


def conflist(node: Node, config: Cni, uplink_mtu: int | None) -> Conflist | None:
    """The network of this node's pods, or None while nothing can be said (or nothing shall be
    written).

    One range for each family, in the order of ``spec.podCIDRs``. ``uplink_mtu`` is the MTU, in
    octets, of the interface that holds the node's address; None leaves the bridge plugin's
    default, so ask only once the kernel's links have been read.
    """
    ranges = _ranges(node)
    if not config.enabled or not ranges:
        return None
    return Conflist(
        name=config.network,
        cni_version=config.cni_version,
        bridge=config.bridge,
        ranges=ranges,
        mtu=config.mtu or uplink_mtu,
        hairpin=config.hairpin,
        default_gateway=config.default_gateway,
        port_map=config.port_map,
        loopback=config.loopback,
        data_dir=config.data_directory,
        extra_plugins=config.extra_plugins,
    )


def cni_problems(node: Node, config: Cni, uplink_mtu: int | None) -> tuple[Problem, ...]:
    """What keeps this node's pods from getting the addresses that the Node object promises."""
    if not config.enabled:
        return ()
    if not node.pod_cidrs:
        return (_unassigned(node),)
    return (*_unusable(node), *_mtu_too_small(node, config.mtu or uplink_mtu))


def _usable(prefix: Prefix) -> bool:
    return prefix.max_prefixlen - prefix.prefixlen >= _SMALLEST_HOST_BITS


def _ranges(node: Node) -> tuple[Prefix, ...]:
    """The first usable podCIDR of each family: the bridge holds one gateway address of each."""
    first: dict[Family, Prefix] = {}
    for prefix in node.pod_cidrs:
        if _usable(prefix):
            first.setdefault(family_of(prefix), prefix)
    return tuple(first.values())


def _unassigned(node: Node) -> Problem:
    return Problem(
        object=f"node/{node.name}",
        field="spec.podCIDRs",
        reason="no podCIDR has been assigned to this node yet: its conflist is not written, and "
        "pods cannot start on a node that has none from before. In a cluster the controller manager "
        "assigns it (--allocate-node-cidrs)",
    )


def _unusable(node: Node) -> Iterable[Problem]:
    used = _ranges(node)
    for position, prefix in enumerate(node.pod_cidrs):
        if prefix in used:
            continue
        why = (
            f"pods get addresses of {_rival(prefix, used)}, this node's first of that family"
            if _usable(prefix)
            else "it has no room for pods"
        )
        yield Problem(
            object=f"node/{node.name}",
            field=f"spec.podCIDRs[{position}]",
            reason=f"{prefix} is not in the conflist: {why}",
            severity=Severity.WARNING if used else Severity.ERROR,
        )


def _rival(prefix: Prefix, used: tuple[Prefix, ...]) -> Prefix:
    return next(p for p in used if family_of(p) is family_of(prefix))


def _mtu_too_small(node: Node, mtu: int | None) -> Iterable[Problem]:
    if mtu is not None and mtu < _IPV6_MINIMUM_MTU and any(p.version == 6 for p in _ranges(node)):
        yield Problem(
            object=f"node/{node.name}",
            field="cni.mtu",
            reason=f"an MTU of {mtu} is below IPv6's least of {_IPV6_MINIMUM_MTU} (RFC 8200 §5): "
            "pods will get no IPv6 address",
            severity=Severity.ERROR,
        )
