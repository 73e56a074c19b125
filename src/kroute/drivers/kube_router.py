"""What kube-router leaves on a node: its routes, tunnels, policy routing, bridge and conflist.

Its own ``--cleanup-config`` removes firewall rules and ipsets, and none of these. Only looked at and removed when an
operator asks for it by name (law 3: another's marks are never touched otherwise).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kroute.model.errors import DriverError

if TYPE_CHECKING:
    from pyroute2 import IPRoute

PROTOCOL: Final = 17
"""rtm_protocol of its routes; rtnetlink.h calls it RTPROT_MROUTED, whose daemon nobody runs any more."""
TABLE: Final = 77
"""Its table of routes into tunnels."""
BRIDGE: Final = "kube-bridge"
FILES: Final = ("10-kuberouter.conflist", "10-kuberouter.conf")

_TUNNEL: Final = re.compile(r"tun-[0-9a-f]{11}")
_TUNNEL_KINDS: Final = ("ipip", "ip6tnl", "sit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that kube-router left, in words, and how it is removed."""

    words: str
    remove: Callable[[], None] = field(compare=False, repr=False)

    def __str__(self) -> str:
        """As an operator would write it."""
        return self.words


def leftovers(directory: str, *, keep_bridge: str = "") -> list[Leftover]:
    """What there is, in the order in which it can go. A bridge that is kroute's now (``keep_bridge``) stays.

    Raises:
        DriverError: the kernel or the CNI folder cannot be read.
    """
    with _netlink() as netlink:
        links = {link["index"]: link for link in netlink.get_links()}
        found = [
            *_rules(netlink),
            *_routes(netlink, links),
            *_tunnels(links.values()),
            *_bridge(links.values(), keep_bridge),
        ]
    return [*found, *_files(Path(directory))]


def _rules(netlink: IPRoute) -> Iterator[Leftover]:
    for family, name in ((2, "ipv4"), (10, "ipv6")):
        for rule in netlink.get_rules(family=family):
            if rule.get_attr("FRA_TABLE") == TABLE:
                source = rule.get_attr("FRA_SRC") or "all"
                wanted = {
                    "family": family,
                    "table": TABLE,
                    "priority": rule.get_attr("FRA_PRIORITY"),
                }
                if rule.get_attr("FRA_SRC"):
                    wanted |= {"src": source, "src_len": rule["src_len"]}
                length = f"/{rule['src_len']}" if source != "all" else ""
                words = f"{name} rule from {source}{length} lookup {TABLE}"
                yield Leftover(words=words, remove=_removal("rule", **wanted))


def _routes(netlink: IPRoute, links: dict[int, Any]) -> Iterator[Leftover]:
    """Routes of its protocol in any table, and whatever its own table holds."""
    for family in (2, 10):
        for route in netlink.get_routes(family=family):
            table = route.get_attr("RTA_TABLE") or route["table"]
            if route["proto"] != PROTOCOL and table != TABLE:
                continue
            length = route["dst_len"]
            prefix = f"{route.get_attr('RTA_DST') or ('0.0.0.0' if family == 2 else '::')}/{length}"
            gateway, oif = route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")
            wanted = {"family": family, "dst": prefix, "table": table, "proto": route["proto"]}
            wanted |= {"scope": route["scope"], "type": route["type"]}
            via = f" via {gateway}" if gateway else ""
            dev = f" dev {links[oif].get_attr('IFLA_IFNAME')}" if oif in links else ""
            words = f"route {prefix}{via}{dev} table {table} proto {route['proto']}"
            yield Leftover(words=words, remove=_removal("route", **wanted))


def _tunnels(links: Any) -> Iterator[Leftover]:
    for link in links:
        name = link.get_attr("IFLA_IFNAME")
        if _TUNNEL.fullmatch(name) and _kind(link) in _TUNNEL_KINDS:
            yield Leftover(words=f"tunnel {name}", remove=_removal("link", index=link["index"]))


def _bridge(links: Any, keep: str) -> Iterator[Leftover]:
    for link in links:
        if link.get_attr("IFLA_IFNAME") != BRIDGE or keep == BRIDGE or _kind(link) != "bridge":
            continue
        ports = sum(other.get_attr("IFLA_MASTER") == link["index"] for other in links)
        words = f"bridge {BRIDGE}" + (
            f", which cuts off {ports} pods that are on it" if ports else ""
        )
        yield Leftover(words=words, remove=_removal("link", index=link["index"]))


def _kind(link: Any) -> str:
    info = link.get_attr("IFLA_LINKINFO")
    return str(info.get_attr("IFLA_INFO_KIND")) if info else ""


def _files(folder: Path) -> Iterator[Leftover]:
    for name in FILES:
        path = folder / name
        if path.exists():
            yield Leftover(words=f"file {path}", remove=_unlinking(path))


def _removal(what: str, **wanted: Any) -> Callable[[], None]:
    def remove() -> None:
        with _netlink() as netlink:
            getattr(netlink, what)("del", **wanted)

    return remove


def _unlinking(path: Path) -> Callable[[], None]:
    def remove() -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DriverError(f"cannot remove {path}: {error.strerror}") from error

    return remove


@contextmanager
def _netlink() -> Iterator[IPRoute]:
    """A socket to the kernel, its errors in our words."""
    from pyroute2 import IPRoute, NetlinkError  # a quarter second that only cleanup pays

    try:
        with IPRoute() as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise DriverError(f"the kernel refused: {error}") from error
