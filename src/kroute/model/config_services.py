"""The part of the configuration about services; see :mod:`kroute.model.config` for how fields become keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kroute.model.net import Address, Prefix


class DownAction(StrEnum):
    """What a failed check means for what is announced."""

    WITHDRAW = "withdraw"
    """Nothing is announced any more."""
    LOWER_PREFERENCE = "lowerPreference"
    """Still announced, but so that any other node is preferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A prefix that is announced in place of the addresses in it."""

    prefix: Prefix
    """Announced while this node announces at least one address in it; must lie within services.ranges."""
    blackhole: bool = True
    """Drop packets to its unused addresses, which would go round in a loop; not done where it holds cluster IPs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """GET, and look at the answer."""

    url: str
    """As in http://127.0.0.1:8080/healthz; of https the certificate is not verified, as kubelets do."""
    status: tuple[int, ...] = ()
    """Status codes that are good; empty: 200 to 399."""
    contains: str = ""
    """Text that must stand in the first 64 KiB of the body; empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """Connect."""

    port: int
    """TCP port."""
    address: str = "127.0.0.1"
    """Address or name to connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck:
    """Run a program; exit code 0 is good."""

    command: tuple[str, ...]
    """The program and its arguments; no shell."""
    user: str = "nobody"
    """User that it runs as, with that user's own group and no capabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How a static service is checked; exactly one of the three."""

    http: HttpCheck | None = None
    """Ask over HTTP."""
    tcp: TcpCheck | None = None
    """Connect over TCP."""
    exec: ExecCheck | None = None
    """Run a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticService:
    """An anycast service without Kubernetes."""

    name: str
    """Unique; shown everywhere as static/NAME."""
    addresses: tuple[Address, ...] = ()
    """Addresses that it is reached at, announced as /32 and /128."""
    prefixes: tuple[Prefix, ...] = ()
    """Whole prefixes that are announced for it."""
    nodes: tuple[str, ...] = ()
    """Only these nodes run it; empty: all that the selector matches."""
    node_selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Only nodes with these labels run it; empty: all."""
    check: Check | None = None
    """How its health is checked; empty: it is always announced."""
    interval: int = 5
    """Seconds between checks."""
    timeout: int = 3
    """Seconds that a check may take."""
    rise: int = 3
    """Good checks in a row until a failed service is announced again; the first check after a start decides alone."""
    fall: int = 3
    """Bad checks in a row until it counts as failed."""
    down_action: DownAction = DownAction.WITHDRAW
    """`withdraw`, or `lowerPreference`: highest MED, local preference 0 and the community graceful-shutdown."""
    communities: tuple[str, ...] = ()
    """Communities that it is announced with: "64512:100", "64512:1:2" (large), a well-known name or one of
    communityNames."""
    med: int | None = None
    """MULTI_EXIT_DISC that it is announced with; empty: none."""
    bind: bool = False
    """Put its addresses on lo, where the service can listen on them; `kroute cleanup` removes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Addresses of services, announced to external peers (docs/services.md)."""

    enabled: bool = False
    """Read Kubernetes' Services and EndpointSlices, and announce what the keys below and annotations ask for."""
    advertise: tuple[str, ...] = ()
    """Any of clusterIP, externalIP, loadBalancerIP; a Service's annotation kroute.io/advertise says otherwise."""
    ranges: tuple[Prefix, ...] = ()
    """Only addresses within these prefixes are announced for Kubernetes' services; empty: none."""
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Only Services with these labels (and those that an annotation names); empty: all."""
    load_balancer_classes: tuple[str, ...] = ()
    """Only load balancer addresses of these spec.loadBalancerClass ("" is none); empty: of any."""
    aggregates: tuple[Aggregate, ...] = ()
    """Prefixes announced in place of single addresses, of services whose traffic policy is Cluster."""
    communities: tuple[str, ...] = ()
    """Communities that all of Kubernetes' services are announced with, besides those of their annotations."""
    internal_peers: bool = False
    """Tell internal peers as well: other nodes then route these addresses to the nodes that announce them."""
    static: tuple[StaticService, ...] = ()
    """Services of this configuration, with health checks of our own."""
