"""Metrics for Prometheus, read at each scrape; desired and installed side by side, so that a gap can be alarmed on.

No series carries the name of a route, and peers appear once each: a mesh of n nodes has n series a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kroute import __version__
from kroute.daemon.kni import metrics as kni_metrics
from kroute.model.net import Family
from kroute.model.service import Announceable, CheckState
from kroute.plan import queries
from kroute.plan.origin_report import tally
from kroute.plan.peers import PeerState
from kroute.plan.tables import rejected

if TYPE_CHECKING:
    from kroute.daemon import Daemon


def exposition(daemon: Daemon) -> bytes:
    """All metrics in the text format."""
    registry = CollectorRegistry()
    registry.register(_Reader(daemon))
    return generate_latest(registry)


class _Reader(Collector):
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> Iterable[Metric]:
        yield _one("kroute_build_info", "Version of the daemon.", 1, version=__version__)
        yield from self._control()
        yield from self._sessions()
        control = self._daemon.control
        yield from service_metrics(control.desired.services, dict(control.observed.checks))
        yield from self._routes()
        yield from self._fib()
        yield from kni_metrics(self._daemon)

    def _control(self) -> Iterator[Metric]:
        control, desk = self._daemon.control, self._daemon.desk
        yield _one("kroute_nodes", "Nodes in the inventory.", len(control.observed.nodes))
        yield _one(
            "kroute_inventory_listed",
            "Whether the inventory was listed whole.",
            control.observed.listed,
        )
        yield _one("kroute_ready", "Whether /readyz says yes.", not desk.missing())
        yield _one(
            "kroute_conflist_written",
            "Whether the conflist is as wanted.",
            self._daemon.conflist.done,
        )
        yield _one("kroute_problems", "What `kroute show problems` lists.", len(desk.problems()))
        yield _count("kroute_plans", "Plans made.", control.plans)
        turn = self._daemon.longest_turn
        yield _one(
            "kroute_longest_turn_seconds", "Longest hold-up of the event loop by routes.", turn
        )

    def _sessions(self) -> Iterator[Metric]:
        peers = list(self._daemon.routing.peers.values())
        yield _one("kroute_peers_desired", "Configured peers.", len(peers))
        yield _one(
            "kroute_sessions_established",
            "Sessions that are up.",
            sum(p.established for p in peers),
        )
        yield _one(
            "kroute_peers_held",
            "Peers that are not just what the topology wants: leaving, still reflected to, or left of a mesh.",
            sum(p.hold is not None for p in peers),
        )
        up = GaugeMetricFamily("kroute_session_up", "Whether the session is up.", labels=["peer"])
        received = GaugeMetricFamily(
            "kroute_peer_prefixes_received", "Prefixes in Adj-RIB-In.", labels=["peer"]
        )
        announced = GaugeMetricFamily(
            "kroute_peer_paths_announced",
            "Paths in Adj-RIB-Out that the peer was told; one to a prefix unless addPath sends more.",
            labels=["peer"],
        )
        flaps = CounterMetricFamily(
            "kroute_session_flaps", "Established sessions lost.", labels=["peer"]
        )
        faults = CounterMetricFamily(
            "kroute_peer_faults", "Faulty UPDATEs (RFC 7606).", labels=["peer"]
        )
        over = GaugeMetricFamily(
            "kroute_peer_prefixes_over_limit", "Prefixes ignored over the limit.", labels=["peer"]
        )
        for p in peers:
            name = [p.peer.name]
            up.add_metric(name, p.established)
            received.add_metric(name, p.places.paths)
            announced.add_metric(name, p.out.count(p.peer.name) if p.out else 0)
            flaps.add_metric(name, p.flaps)
            faults.add_metric(name, p.faults)
            over.add_metric(name, sum(p.adj_in.over.values()))
        yield from (up, received, announced, flaps, faults, over)
        yield _rejected(peers)

    def _routes(self) -> Iterator[Metric]:
        routing = self._daemon.routing
        rib, seeded = routing.rib, queries.seeded(routing)
        metric = GaugeMetricFamily(
            "kroute_rib_prefixes", "Prefixes in the Loc-RIB.", labels=["family"]
        )
        for family in Family:
            metric.add_metric([family.label], len(rib.loc[family]))
        yield metric
        metric = GaugeMetricFamily(
            "kroute_routes_seeded",
            "Prefixes routed by the inventory's word alone.",
            labels=["family"],
        )
        for family in Family:
            metric.add_metric([family.label], seeded[family])
        yield metric
        yield _one(
            "kroute_rib_reviewing",
            "Stored announcements that wait to be judged again after a change of policy, owners, next hops or peers.",
            rib.review.left,
        )
        yield _one(
            "kroute_rib_telling",
            "Prefixes that peers whose whole table is being told still wait for.",
            self._daemon.routing.announcer.joinings.left,
        )
        origins = GaugeMetricFamily(
            "kroute_rib_origins",
            "Paths of peers by what the origin check says; the reason where that is invalid.",
            labels=["state", "reason"],
        )
        for (state, why), count in sorted(tally(self._daemon.routing).items()):
            origins.add_metric([state.value, why], count)
        yield origins

    def _fib(self) -> Iterator[Metric]:
        state = self._daemon.desk.fib_state()
        if state is None:
            return
        for name, words, counts in (
            ("desired", "Routes that the kernel should have.", state.desired),
            ("installed", "Routes of ours that the kernel has.", state.installed),
        ):
            metric = GaugeMetricFamily(f"kroute_fib_routes_{name}", words, labels=["family"])
            for family in Family:
                metric.add_metric([family.label], counts.get(family, 0))
            yield metric
        yield _one("kroute_fib_synced", "Whether kernel and wish are equal.", state.synced)
        yield _one("kroute_fib_pending", "Changes not written yet.", state.pending)
        yield _one("kroute_fib_failed", "Routes that the kernel refused.", state.failed)
        yield _one(
            "kroute_fib_foreign", "Routes whose place another protocol holds.", state.foreign
        )
        yield _count("kroute_fib_written", "Route messages sent.", state.written)
        yield _count("kroute_fib_heals", "Own routes that others removed, put back.", state.heals)
        yield _count(
            "kroute_fib_overruns", "Event losses that led to a comparison.", state.overruns
        )


def _rejected(peers: Iterable[PeerState]) -> Metric:
    metric = GaugeMetricFamily(
        "kroute_paths_rejected", "Announced prefixes not used.", labels=["peer", "reason"]
    )
    for state in peers:
        for why, count in rejected(state).items():
            metric.add_metric([state.peer.name, why.value], count)
    return metric


def service_metrics(
    rows: Iterable[Announceable], states: Mapping[str, CheckState]
) -> Iterator[Metric]:
    """How many addresses of services are announced, how many are not and why, and what the checks say."""
    found = list(rows)
    announced = GaugeMetricFamily(
        "kroute_services_announced",
        "Addresses of services that this node announces, alone or in an aggregate.",
        labels=["class"],
    )
    withheld = GaugeMetricFamily(
        "kroute_services_withheld",
        "Addresses of services that were asked for and are not announced, by reason.",
        labels=["reason"],
    )
    checks = GaugeMetricFamily(
        "kroute_service_check_up", "Whether a static service's check is good.", labels=["service"]
    )
    for kind, count in Counter(r.kind.value for r in found if r.is_announced).items():
        announced.add_metric([kind], count)
    for verdict, count in Counter(r.verdict.value for r in found if not r.is_announced).items():
        withheld.add_metric([verdict], count)
    for name, state in states.items():
        checks.add_metric([name], state.up)
    yield from (announced, withheld, checks)


def _one(name: str, words: str, value: float, **labels: str) -> Metric:
    metric = GaugeMetricFamily(name, words, labels=list(labels))
    metric.add_metric(list(labels.values()), float(value))
    return metric


def _count(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value=float(value))
