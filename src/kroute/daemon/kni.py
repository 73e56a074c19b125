"""KNI within the daemon: started on demand, fed with the daemon's real state, read by metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from kroute.codec.kni.cni import leased
from kroute.model.config import AnnouncePods
from kroute.model.kni import Attachment, NodeFacts, OtherNode, Phase
from kroute.model.problem import Problem, Severity
from kroute.model.state import AttachedPod
from kroute.plan import queries
from kroute.plan.observe import PodsAttached

if TYPE_CHECKING:
    from kroute.daemon import Daemon
    from kroute.drivers.kni.runtime import KniRuntime

log = logging.getLogger(__name__)

_LOOK = 0.1
"""Seconds between an attach or detach and the look at how full the ranges are."""


def start(daemon: Daemon) -> KniRuntime:
    """Serve KNI; grpcio and SQLite are loaded here and nowhere else. Waits for the disk: not for the event loop.

    Raises:
        DriverError: the store or a socket cannot be had.
    """
    from kroute.drivers.kni.runtime import KniRuntime

    config = daemon.config
    runtime: list[KniRuntime] = []
    watch, announcer = _Exhaustion(daemon, runtime), _Announcer(daemon, runtime)

    def changed() -> None:
        watch.look()
        announcer.look()

    runtime.append(
        KniRuntime(
            config.kni,
            config.cni,
            Path(config.paths.state),
            lambda: facts(daemon),
            on_change=changed,
        )
    )
    changed()
    return runtime[0]


class _Exhaustion:
    """Says when the last address is taken, and when there is room again; from whichever thread notices.

    A storm of attaches is looked at once in a while: the leases are a folder of files that has to be read.
    """

    def __init__(self, daemon: Daemon, runtime: list[KniRuntime]) -> None:
        self._daemon = daemon
        self._runtime = runtime
        self._full: tuple[str, ...] = ()
        self._due = False

    def look(self) -> None:
        loop = self._daemon.loop
        if self._runtime and loop is not None and not self._due:
            self._due = True
            loop.call_soon_threadsafe(loop.call_later, _LOOK, self._look)

    def _look(self) -> None:
        self._due = False
        full = tuple(p.prefix for p in self._runtime[0].pools() if p.free == 0)
        if full == self._full:
            return
        self._full = full
        log.warning("pod addresses %s", f"exhausted: {', '.join(full)}" if full else "free again")
        problems = tuple(
            Problem(
                object=f"range/{prefix}",
                reason="every address is leased: no further pod can be attached on this node; "
                "`kroute kni gc` releases what no pod needs",
                severity=Severity.ERROR,
            )
            for prefix in full
        )
        self._daemon.control.report("kni", problems)


class _Announcer:
    """Tells the plan which pods are attached, where their addresses may be announced; from whichever thread notices."""

    def __init__(self, daemon: Daemon, runtime: list[KniRuntime]) -> None:
        self._daemon = daemon
        self._runtime = runtime
        self._wanted = daemon.config.kni.announce_pods is not AnnouncePods.NONE
        self._due = False

    def look(self) -> None:
        loop = self._daemon.loop
        if self._wanted and self._runtime and loop is not None and not self._due:
            self._due = True
            loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._due = False
        known = list(self._runtime[0].core.store.attachments.values())
        self._daemon.control.post(PodsAttached(tuple(attached_pods(known))))


def attached_pods(attachments: Iterable[Attachment]) -> Iterator[AttachedPod]:
    """The pods that are attached, with their addresses of all interfaces; those that are on their way are not."""
    for attachment in attachments:
        if attachment.phase is Phase.ATTACHED:
            texts = [text for wiring in attachment.wirings for text in leased(wiring.result)]
            name = f"{attachment.namespace}/{attachment.name}".strip("/") or attachment.id
            addresses = tuple(ip_address(text) for text in texts)
            yield AttachedPod(name=name, addresses=addresses, asks=attachment.announce)


def facts(daemon: Daemon) -> NodeFacts:
    """What QueryNodeNetworks is answered from. Called from the server's threads; reads, and never waits."""
    control, config = daemon.control, daemon.control.observed.config
    observed, desired = control.observed, control.desired
    me = observed.nodes.get(observed.me)
    reported = observed.reports.get("cni", ())
    peers = list(daemon.routing.peers.values())
    fib = daemon.desk.fib_state()
    problems = daemon.desk.problems()
    return NodeFacts(
        node=observed.me,
        network=config.cni.network,
        pod_cidrs=tuple(map(str, me.pod_cidrs)) if me else (),
        conflist_written=desired.conflist is not None and daemon.conflist.done,
        conflist_path=str(Path(config.cni.directory) / config.cni.file),
        missing_plugins=tuple(
            p.object.removeprefix("plugin/") for p in reported if p.object.startswith("plugin/")
        ),
        bridge=config.cni.bridge,
        mtu=desired.conflist.mtu if desired.conflist else None,
        established=sum(p.established for p in peers),
        sessions=len(peers),
        routes_desired=sum(fib.desired.values()) if fib else 0,
        routes_installed=sum(fib.installed.values()) if fib else 0,
        problem=f"{problems[0].object}: {problems[0].reason}" if problems else "",
        others=tuple(_others(daemon)) if config.kni.other_nodes else (),
    )


def _others(daemon: Daemon) -> Iterator[OtherNode]:
    rows = queries.nodes(daemon.control.observed, daemon.control.desired, daemon.routing)
    for row in rows:
        if not row["own"]:
            yield OtherNode(
                name=row["name"],
                pod_cidrs=tuple(row["podCIDRs"]),
                established=row["established"],
                sessions=row["sessions"],
                routed=row["routed"],
            )


def metrics(daemon: Daemon) -> Iterator[Metric]:
    """What is attached, how long calls took, what was refused; nothing where KNI is off."""
    runtime = daemon.kni
    if runtime is None:
        return
    meter = runtime.meter
    attached = GaugeMetricFamily("kroute_kni_attachments", "Pods attached.")
    attached.add_metric([], len(runtime.core.store.attachments))
    flying = GaugeMetricFamily("kroute_kni_in_flight", "Calls that run.")
    flying.add_metric([], meter.in_flight)
    errors = CounterMetricFamily(
        "kroute_kni_errors", "Calls refused, by cause.", labels=["method", "code"]
    )
    for (method, code), count in list(meter.errors.items()):
        errors.add_metric([method, code], count)
    yield from (attached, flying, errors, *_pools(runtime), _durations(runtime))


def _pools(runtime: KniRuntime) -> Iterator[Metric]:
    used = GaugeMetricFamily("kroute_kni_leases_used", "Pod addresses leased.", labels=["range"])
    free = GaugeMetricFamily("kroute_kni_leases_free", "Pod addresses free.", labels=["range"])
    for pool in runtime.pools():
        used.add_metric([pool.prefix], pool.used)
        free.add_metric([pool.prefix], float(pool.free))
    yield from (used, free)


def _durations(runtime: KniRuntime) -> Metric:
    from kroute.drivers.kni.meter import BUCKETS

    metric = HistogramMetricFamily(
        "kroute_kni_seconds", "Duration of calls.", labels=["method", "path"]
    )
    for (method, how), histogram in list(runtime.meter.durations.items()):
        total, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        metric.add_metric([method, how], buckets, histogram.total)
    return metric
