"""Both ends of an explicit peer's sessions: the addresses that are configured, annotated, or found in the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from kroute.model.config_peering import PeerConfig
from kroute.model.kernel import KernelRoute, KernelState
from kroute.model.net import Address, Family, family_of
from kroute.model.problem import Problem
from kroute.model.selection import AddressFrom, Gateways, Routers, Unnumbered
from kroute.plan.resolve import RTN_UNICAST
from kroute.plan.sessions import View

RTPROT_RA = 9
"""linux/rtnetlink.h: routes that the kernel took from router advertisements."""

MOST = 64
"""Sessions that one explicit peer may become; more is a mistake."""

_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where a session goes from and to; ``suffix`` tells the sessions of one explicit peer apart."""

    suffix: str
    remote: Address
    local: Address


def ends(view: View, wanted: PeerConfig) -> Iterator[Ends | Problem]:
    """The sessions that an explicit peer stands for on this node, and a problem for each that cannot be."""
    seen: set[Address] = set()
    for found in _remotes(view, wanted):
        if isinstance(found, Problem):
            yield found
            continue
        suffix, remote = found
        if remote in seen:
            continue
        seen.add(remote)
        if len(seen) > MOST:
            reason = f"leads to more than {MOST} peers; the others have no session"
            yield _problem(wanted, "addressFrom", reason)
            return
        local = _local(view, wanted, remote)
        if isinstance(local, str):
            yield _problem(wanted, "localAddress", f"{local}; the session is not set up")
        else:
            yield Ends(suffix=suffix, remote=remote, local=local)


def interfaces_to_discover(view: View, wanted: PeerConfig) -> Iterator[str]:
    """The interfaces of an unnumbered peer where a router can be found: those that are up, with a cable."""
    source = wanted.address_from
    if source is not None and source.unnumbered is not None and view.kernel is not None:
        ready = {link.name for link in view.kernel.links if link.up and link.carrier}
        yield from (name for name in source.unnumbered.interfaces if name in ready)


Found = tuple[str, Address]
"""A session's suffix and the peer's address."""


def _remotes(view: View, wanted: PeerConfig) -> Iterator[Found | Problem]:
    source = wanted.address_from
    if source is None:
        assert wanted.address is not None, "a configuration with neither is refused"
        yield "", wanted.address
    elif source.annotation:
        yield from _annotated(view, wanted, source.annotation)
    elif view.kernel is not None:
        yield from _in_kernel(view, view.kernel, wanted, source)


def _annotated(view: View, wanted: PeerConfig, key: str) -> Iterator[Found | Problem]:
    text = view.me.annotations.get(key)
    if text is None or not text.strip():
        reason = f"node {view.me.name} has no annotation {key}; there is no session"
        yield _problem(wanted, "addressFrom.annotation", reason)
        return
    for item in text.split(","):
        found = read_address(item.strip())
        if isinstance(found, str):
            reason = f"{key} of node {view.me.name}: {found}; there is no such session"
            yield _problem(wanted, "addressFrom.annotation", reason)
        else:
            yield f"/{found}", found


def read_address(text: str) -> Address | str:
    """The address of one host in a text, a link-local one with its interface; or what is wrong with it."""
    try:
        found = ip_address(text)
    except ValueError:
        return f"{text[:60]!r} is no IP address"
    interface = _interface_of(found)
    if found.is_unspecified or found.is_multicast or found.is_loopback:
        return f"{found} is no address of another host"
    if interface and not (_is_link_local(found) and _INTERFACE.fullmatch(interface)):
        return f"{text[:60]!r} names an interface, which only link-local addresses may"
    if _is_link_local(found) and not interface:
        return f"{found} is link-local: it needs its interface, as in {found}%eth0"
    return found


def _in_kernel(
    view: View, kernel: KernelState, wanted: PeerConfig, source: AddressFrom
) -> Iterator[Found | Problem]:
    names = {link.index: link.name for link in kernel.links}
    defaults = [
        (names[route.oif], hop)
        for route in kernel.routes
        if _is_default(route) and route.oif in names and (hop := _gateway(route, names)) is not None
        if source.router_advertisement is None or route.protocol == RTPROT_RA
    ]
    if source.default_gateway is not None:
        yield from _gateways(wanted, source.default_gateway, defaults)
    elif source.router_advertisement is not None:
        yield from _advertisers(wanted, source.router_advertisement, defaults)
    elif source.unnumbered is not None:
        yield from _neighbours(view, kernel, wanted, source.unnumbered)


def _gateways(
    wanted: PeerConfig, source: Gateways, defaults: list[tuple[str, Address]]
) -> Iterator[Found | Problem]:
    found = [hop for name, hop in defaults if source.interface in ("", name)]
    if not found:
        by = f" that leaves by {source.interface}" if source.interface else ""
        reason = f"the kernel has no default route{by}; there is no session until it has"
        yield _problem(wanted, "addressFrom.defaultGateway", reason)
    yield from ((f"/{hop}", hop) for hop in sorted(found, key=_order))


def _advertisers(
    wanted: PeerConfig, source: Routers, defaults: list[tuple[str, Address]]
) -> Iterator[Found | Problem]:
    uplinks = source.interfaces or tuple(sorted({name for name, _ in defaults}))
    if not uplinks:
        reason = "the kernel has no default route from a router advertisement (accept_ra); there is no session"
        yield _problem(wanted, "addressFrom.routerAdvertisement", reason)
    for uplink in uplinks:
        found = [hop for name, hop in defaults if name == uplink]
        if found:
            yield f"/{uplink}", min(found, key=_order)
        else:
            reason = f"the kernel has no default route from a router advertisement on {uplink}; there is no session"
            yield _problem(wanted, "addressFrom.routerAdvertisement", reason)


def _neighbours(
    view: View, kernel: KernelState, wanted: PeerConfig, source: Unnumbered
) -> Iterator[Found | Problem]:
    links = {link.name: link for link in kernel.links}
    for name in dict.fromkeys(source.interfaces):
        link, heard = links.get(name), view.routers.get(name, ())
        if link is None:
            reason = f"there is no interface {name}"
        elif not (link.up and link.carrier):
            reason = f"{name} is down or has no carrier"
        elif not heard:
            reason = f"no router advertisement was heard on {name} yet"
        else:
            yield f"/{name}", IPv6Address(f"{min(heard)}%{name}")
            continue
        yield _problem(wanted, "addressFrom.unnumbered", f"{reason}; there is no session")


def _is_default(route: KernelRoute) -> bool:
    return route.prefix[0] == 0 and route.kind == RTN_UNICAST and route.gateway is not None


def _gateway(route: KernelRoute, names: dict[int, str]) -> Address | None:
    """The gateway as an address to connect to: a link-local one with its interface."""
    hop = ip_address(route.gateway or b"")
    return IPv6Address(f"{hop}%{names[route.oif]}") if _is_link_local(hop) else hop


def _local(view: View, wanted: PeerConfig, remote: Address) -> Address | str:
    """Our end of a session: as configured, else what the kernel would choose; or why there is none."""
    if wanted.local_address is not None and wanted.local_address.version == remote.version:
        return wanted.local_address
    if interface := _interface_of(remote):
        return _link_local(view.kernel, interface)
    own = view.me.address(family_of(remote))
    if wanted.interface:
        return _of_interface(view.kernel, wanted.interface, remote)
    near = _in_one_network(view.kernel, remote)
    if near and own not in near:
        return near[0]
    if own is None:
        family = family_of(remote).label
        return f"node {view.me.name} has no {family} address to reach {remote} from"
    return own


def _link_local(kernel: KernelState | None, interface: str) -> Address | str:
    links = {link.name: link.index for link in kernel.links} if kernel else {}
    if interface not in links:
        return f"there is no interface {interface}"
    found = [
        held.ip
        for index, held in (kernel.addresses if kernel else ())
        if index == links[interface] and _is_link_local(held.ip)
    ]
    if not found:
        return f"{interface} has no IPv6 link-local address"
    return IPv6Address(f"{min(found, key=_order)}%{interface}")


def _of_interface(kernel: KernelState | None, name: str, remote: Address) -> Address | str:
    """The lowest address of the peer's family on an interface."""
    links = {link.name: link.index for link in kernel.links} if kernel else {}
    if name not in links:
        return f"there is no interface {name}"
    found = [
        held.ip
        for index, held in (kernel.addresses if kernel else ())
        if index == links[name] and held.version == remote.version and not _is_link_local(held.ip)
    ]
    if not found:
        return f"{name} has no address to reach {remote} from"
    return min(found, key=_order)


def _in_one_network(kernel: KernelState | None, remote: Address) -> list[Address]:
    """Our addresses whose networks the peer is in, the most specific network's first."""
    bits = Family.IPV4.bits if remote.version == 4 else Family.IPV6.bits
    near = [
        held
        for _, held in (kernel.addresses if kernel else ())
        if held.version == remote.version
        and held.network.prefixlen < bits
        and remote in held.network
        and held.ip != remote
    ]
    near.sort(key=lambda held: (-held.network.prefixlen, _order(held.ip)))
    return [held.ip for held in near]


def _is_link_local(address: Address) -> bool:
    return address.version == 6 and address.is_link_local


def _interface_of(address: Address) -> str:
    return "" if isinstance(address, IPv4Address) else address.scope_id or ""


def _order(address: Address) -> tuple[int, int, str]:
    return address.version, int(address), _interface_of(address)


def _problem(wanted: PeerConfig, field: str, reason: str) -> Problem:
    return Problem(object=f"peer/{wanted.name}", field=field, reason=reason)
