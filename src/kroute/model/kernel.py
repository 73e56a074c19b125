"""What the kernel of this node has besides our own routes: links, addresses, and others' routes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from kroute.model.net import Family, Nlri

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Link:
    """A network interface. ``up`` is its administrative state, ``carrier`` that of the wire (RFC 2863
    dormant counts as without); ``mtu`` is in octets; ``of_pod``: the node's end of a pod's veth.
    """

    index: int
    name: str
    up: bool
    carrier: bool
    mtu: int
    of_pod: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class KernelRoute:
    """A route of someone else in the observed table: connected, static, or of another daemon.

    ``gateway`` is 4 or 16 octets, or None for on-link; ``kind`` is rtm_type (1 unicast, 6 blackhole,
    7 unreachable, 8 prohibit). A multipath route appears once per leg.
    """

    family: Family
    prefix: Nlri
    metric: int
    oif: int
    gateway: bytes | None
    protocol: int
    scope: int
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelState:
    """One look at the kernel; equal states compare equal, whatever the order of events was."""

    links: tuple[Link, ...] = ()
    """By index."""
    addresses: tuple[tuple[int, Interface], ...] = ()
    """(interface index, address with prefix length), usable ones only: no tentative IPv6 address."""
    routes: tuple[KernelRoute, ...] = ()
    """Others' routes, sorted; at most as many as the watcher was told to keep."""
    routes_left_out: int = 0
    """Others' routes beyond that limit. Next hops that only they could resolve stay unresolved."""

    def link(self, index: int) -> Link | None:
        """The link of that index, if there is one."""
        return next((link for link in self.links if link.index == index), None)
