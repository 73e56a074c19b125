"""KNI within the daemon: started on demand, fed with the daemon's real state, read by metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
from kroute.model.config import AnnouncePods, InventoryKind
from kroute.model.inventory import NODES
from kroute.model.kni import Attachment, NodeFacts, OtherNode, Phase
from kroute.model.problem import Problem, Severity
from kroute.model.state import AttachedPod
from kroute.plan import queries
from kroute.plan.observe import PodsAttached

if TYPE_CHECKING:
    from kroute.daemon import Daemon
    from kroute.drivers.inventory.pods import KubernetesPods
    from kroute.drivers.kni.forgotten import Forgotten
    from kroute.drivers.kni.gc import Finding
    from kroute.drivers.kni.runtime import KniRuntime

log = logging.getLogger(__name__)

_LOOK = 0.1
"""Seconds between an attach or detach and the look at how full the ranges are."""
HOW_TO_BE_ALLOWED = "Grant the right to list and watch pods (as deploy/overlays/kni), or set kni.forgottenPodGrace to 0"
LISTED = "kni.sandboxes.json"
"""Among the daemon's state: which attachments the container runtime has listed."""
MOST_PROBLEMS = 20
"""Pieces of garbage that are named among the problems; the rest is in metrics and in `kroute kni gc --dry-run`."""


def start(daemon: Daemon) -> None:
    """Serve KNI as ``daemon.kni``; grpcio and SQLite are loaded here and nowhere else. Waits for the disk: not for the
    event loop.

    Raises:
        DriverError: the store or a socket cannot be had.
    """
    from kroute.drivers.kni.runtime import KniRuntime

    config = daemon.config
    runtime: list[KniRuntime] = []
    watch, announcer = _Exhaustion(daemon, runtime), _Announcer(daemon, runtime)
    garbage = _Garbage(daemon)

    def changed() -> None:
        watch.look()
        announcer.look()

    def collected(found: list[Finding]) -> None:
        garbage.collected(found)
        watch.look()  # leases go without an attachment, too

    runtime.append(
        KniRuntime(
            config.kni,
            config.cni,
            Path(config.paths.state),
            lambda: facts(daemon),
            on_change=changed,
            forgotten=garbage.forgotten,
            on_collect=collected,
            on_doors=lambda problems: _report(daemon, "kni-sockets", problems),
        )
    )
    # Before its sockets answer: whoever has been told of a pod finds it in `kroute show pods` and in the metrics.
    daemon.kni = runtime[0]
    try:
        daemon.kni.serve()
    except BaseException:
        daemon.kni = None
        raise
    garbage.start()
    changed()


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
                field="addresses.exhausted",
                reason="every address is leased: no further pod can be attached on this node; "
                "`kroute kni gc` releases what no pod needs",
                severity=Severity.ERROR,
            )
            for prefix in full
        )
        self._daemon.control.report("kni", problems)


class _Garbage:
    """Follows the own node's pods where Kubernetes tells of them, and asks the container runtime where its socket is
    configured; reports what garbage collection is stuck with."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._pods: KubernetesPods | None = None
        self.forgotten: Forgotten | None = None
        """None where nobody is asked whether attached pods are still wanted."""
        inventory, config = daemon.config.inventory, daemon.config.kni
        if not config.forgotten_pod_grace:
            return
        if inventory.kind is InventoryKind.KUBERNETES:
            from kroute.drivers.inventory.pods import KubernetesPods

            me = daemon.control.observed.me
            self._pods = KubernetesPods(inventory.kubernetes, me, self._pods_changed)
        sandboxes = None
        if config.cri_socket:
            from kroute.drivers.kni.sandboxes import Sandboxes

            file = Path(daemon.config.paths.state) / LISTED
            sandboxes = Sandboxes(config.cri_socket, file)
        if self._pods or sandboxes:
            from kroute.drivers.kni.forgotten import Forgotten

            grace = float(config.forgotten_pod_grace)
            self.forgotten = Forgotten(self._pods, grace, sandboxes=sandboxes, doubt=self._doubt)

    def start(self) -> None:
        """Begin to follow."""
        if self._pods is not None:
            self._pods.start()

    def collected(self, found: list[Finding]) -> None:
        """Report what ought to have gone."""
        stuck = [f for f in found if f.stuck]
        _report(
            self._daemon,
            "kni-garbage",
            tuple(
                Problem(object=f.object, reason=f"{f.reason}: {f.outcome}")
                for f in stuck[:MOST_PROBLEMS]
            ),
        )

    def _pods_changed(self) -> None:
        assert self._pods is not None
        failure = self._pods.refusal
        reason = (
            f"this node's pods cannot be followed: {failure}; none counts as forgotten meanwhile"
        )
        if failure.startswith(("401", "403")):
            reason += f". {HOW_TO_BE_ALLOWED}"
        problems = (Problem(object="pods", reason=reason),) if failure else ()
        _report(self._daemon, "kni-pods", problems)

    def _doubt(self) -> str:
        """Why the inventory as a whole is not believed: what is wrong about nodes may be wrong about pods."""
        observed = self._daemon.control.observed
        doubts = observed.reports.get(f"inventory-source-{NODES}", ())
        if doubts:
            return doubts[0].reason
        return "" if observed.listed else "the nodes have not been listed yet"


def _report(daemon: Daemon, source: str, problems: tuple[Problem, ...]) -> None:
    """Tell of problems from whichever thread notices."""
    loop = daemon.loop
    if loop is not None and not loop.is_closed():
        with suppress(RuntimeError):  # the loop ends before this thread
            loop.call_soon_threadsafe(daemon.control.report, source, problems)


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
    """The pods that are attached, with their addresses on ``eth0``; those that are on their way are not. Addresses of
    further networks mean something on this node only, and may be others' elsewhere."""
    for attachment in attachments:
        if attachment.phase is Phase.ATTACHED:
            texts = [text for wiring in attachment.wirings[:1] for text in leased(wiring.result)]
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
    if not daemon.config.kni.enabled:
        return
    ready = runtime is not None and runtime.core.query_nodes().networks[0].ready
    yield GaugeMetricFamily(
        "kroute_kni_ready", "Whether kubelets are told that this node's network is ready.", ready
    )
    if runtime is None:
        return
    meter = runtime.meter
    attached = GaugeMetricFamily(
        "kroute_kni_attachments", "Pods on record: attached, or on their way in or out."
    )
    attached.add_metric([], len(runtime.core.store.attachments))
    flying = GaugeMetricFamily("kroute_kni_in_flight", "KNI calls at work.")
    flying.add_metric([], meter.in_flight)
    errors = CounterMetricFamily(
        "kroute_kni_errors", "KNI calls refused, by gRPC status.", labels=["method", "code"]
    )
    for (method, code), count in list(meter.errors.items()):
        errors.add_metric([method, code], count)
    yield from (attached, flying, errors, _durations(runtime))
    yield from (*_sockets(runtime), *_garbage(runtime), *_pools(runtime))


def _sockets(runtime: KniRuntime) -> Iterator[Metric]:
    in_place = GaugeMetricFamily(
        "kroute_kni_socket_in_place",
        "Whether a socket's path leads to kroute's socket.",
        labels=["socket"],
    )
    mended = CounterMetricFamily(
        "kroute_kni_socket_mended",
        "What others did to a socket and was undone: removed, lost (with its second name), access, lock.",
        labels=["socket", "harm"],
    )
    strangers = CounterMetricFamily(
        "kroute_kni_strangers",
        "Connections ended that others than root had made while a socket was open to them.",
    )
    guard = runtime.guard
    for socket, is_ours in guard.places().items():
        in_place.add_metric([socket], is_ours)
    for (socket, harm), count in list(guard.mended.items()):
        mended.add_metric([socket, harm], count)
    strangers.add_metric([], guard.strangers)
    yield from (in_place, mended, strangers)


def _garbage(runtime: KniRuntime) -> Iterator[Metric]:
    released = CounterMetricFamily(
        "kroute_kni_garbage_released", "What no pod needed any more, by cause.", labels=["cause"]
    )
    left = GaugeMetricFamily(
        "kroute_kni_garbage_left",
        "Garbage that the last collection found and left: it waits, is doubted, or could not be released.",
        labels=["cause"],
    )
    for cause, count in runtime.tally.released.items():
        released.add_metric([cause.value], count)
    for cause, count in runtime.tally.left.items():
        left.add_metric([cause.value], count)
    yield from (released, left)


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
        "kroute_kni_seconds",
        "Time from a call's message to its answer; path: who attached or detached (exec, fast), empty for other calls.",
        labels=["method", "path"],
    )
    for (method, how), histogram in list(runtime.meter.durations.items()):
        total, buckets = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        metric.add_metric([method, how], buckets, histogram.total)
    return metric
