"""The daemon: the composition root that wires drivers to the core, and the one TaskGroup they run in.

``road`` moves routes, ``control`` moves everything else, ``answers`` tells people about both, ``metrics`` tells
Prometheus. Nothing here decides (that is :mod:`kroute.plan`) and nothing here touches the outside (that is
:mod:`kroute.drivers`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kroute.daemon.answers import Desk
from kroute.daemon.control import Control
from kroute.daemon.door import Door
from kroute.daemon.forwarding import NoFib, open_fib
from kroute.daemon.keyring import Keyring
from kroute.daemon.leftovers import release
from kroute.daemon.marks import remember_protocol
from kroute.daemon.review import SLICE, review
from kroute.daemon.road import Road
from kroute.daemon.services import Following, StaticServices
from kroute.daemon.telling import writer_of
from kroute.drivers import systemd
from kroute.drivers.cni import CniDirectory
from kroute.drivers.config_file import ConfigFile
from kroute.drivers.discovery import RouterDiscovery
from kroute.drivers.http import HttpServer, serve_tcp, serve_unix
from kroute.drivers.inventory.secrets import KubernetesSecrets
from kroute.drivers.kernel import KernelWatcher
from kroute.drivers.speaker import Speaker, SpeakerDied, SpeakerEvent, SpeakerLog, SpeakerReady
from kroute.model.cni import Conflist
from kroute.model.config import Cni, Config
from kroute.model.errors import ConfigError, DriverError, KrouteError
from kroute.model.kernel import KernelState
from kroute.model.problem import Problem, Severity
from kroute.model.state import Observed
from kroute.plan.observe import ConfigChanged, KernelChanged, PodsAttached, RoutersHeard
from kroute.plan.routing import Routing
from kroute.reconcile import Reconciler

if TYPE_CHECKING:
    from kroute.drivers.kni.runtime import KniRuntime

log = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between looks at deadlines."""

NOW_AND_THEN = 2.0
"""Seconds between looks at the files of TCP MD5 keys, and between attempts to listen for HTTP."""


KNI_RETRY = 2.0
"""Seconds between attempts to serve KNI."""


def node_name(config: Config) -> str:
    """The own node's name: configuration, $NODE_NAME, host name."""
    return config.node_name or os.environ.get("NODE_NAME", "") or socket.gethostname()


class Daemon:
    """One run of kroute on one node."""

    def __init__(self, config: Config, config_file: ConfigFile) -> None:
        self.config = config
        self.clock = time.monotonic
        self.door = Door(self, config_file, config.paths.state)
        begun = self.door.trials.resume(config)
        legs, restart = config.bgp.multipath, config.bgp.graceful_restart
        self.routing = Routing(now=self.clock(), legs=legs, deferral=float(restart.deferral_time))
        former = remember_protocol(config)
        self.fib = open_fib(config, former) if config.fib.enabled else None
        self.watcher = KernelWatcher(
            on_change=self._on_kernel, ours={config.fib.protocol, *former}, table=config.fib.table
        )
        self.speaker = Speaker(self._on_speaker, user=config.speaker.user)
        self.road = Road(self.routing, self.speaker, self.fib or NoFib(), self.clock, SLICE)
        kubeconfig = config.inventory.kubernetes.kubeconfig
        self.secrets = KubernetesSecrets(kubeconfig, self._on_secret)
        self.conflist = Reconciler[tuple[Cni, Conflist]]("cni", _write_conflist, self._report)
        self.discovery = RouterDiscovery(
            lambda heard: self.control.post(RoutersHeard(heard)),
            lambda problems: self._report("discovery", problems),
        )
        self.control = Control(
            Observed(me=node_name(config), config=begun),
            self.road,
            self.conflist.want,
            self.clock,
            want_routers=self.discovery.want,
            keyring=Keyring(self.secrets),
        )
        self._following = Following(self.control, config.inventory)
        self.statics = StaticServices(self.control, config.fib.protocol)
        self.desk = Desk(self)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._config_file = config_file
        self._stop = asyncio.Event()
        self._servers: list[HttpServer] = []
        self._http: HttpServer | None = None
        self.kni: KniRuntime | None = None
        """Serves kubelets, where that is enabled."""
        self._was_ready = self._was_in_sync = False
        self._ending = False
        self._next_look = 0.0
        self._broken: Exception | None = None
        """What made a callback fail."""
        self.ticked = self.clock()
        """When the event loop last looked at deadlines."""
        self.longest_turn = 0.0
        """Seconds that the longest batch of the speaker's events held up the event loop."""

    # --- life -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT. Leaves routes and files as they are (law 4)."""
        self.loop = loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._servers.append(
            serve_unix(
                Path(self.config.paths.run) / "kroute.sock", self.door.respond, self.door.act
            )
        )
        self._serve_http()
        loop.set_exception_handler(self._on_lost_exception)
        try:
            await self._live()
        except BaseExceptionGroup as group:
            known, bugs = group.split(KrouteError)
            if bugs is not None or known is None:
                raise
            raise _first(known) from None
        finally:
            await self._end()
        if self._broken is not None:
            raise RuntimeError("a callback failed") from self._broken

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            jobs = (
                ("control", self.control.run()),
                *self.statics.jobs(),
                ("conflist", self.conflist.run()),
                ("ticks", self._tick_for_ever()),
                ("review", review(self.road, self.clock)),
                ("config", self._config_file.watch(self._on_config)),
            )
            tasks = [group.create_task(job, name=name) for name, job in jobs]
            tasks.append(group.create_task(self._start(group, tasks), name="start"))
            await self._stop.wait()
            for task in tasks:
                task.cancel()

    async def _start(self, group: asyncio.TaskGroup, tasks: list[asyncio.Task[None]]) -> None:
        """Open the outside: the kernel first, since next hops are resolved by what it has."""
        if self.fib is not None:
            tasks.append(group.create_task(self.fib.run(), name="fib"))
        await self.watcher.start()
        if self.config.kni.enabled:  # before the speaker's process takes its share of the machine
            tasks.append(group.create_task(self._serve_kni(), name="kni"))
        await self.speaker.start()
        tasks.append(group.create_task(self._following.run(), name="inventory"))
        if (writer := writer_of(self)) is not None:
            tasks.append(group.create_task(writer.run(), name="events"))
        # What lives for ever is not looked at again by the garbage collector: full collections would stall the loop.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    async def _end(self) -> None:
        self._ending = True
        with suppress(DriverError):
            systemd.stopping()
        if self.kni is not None:
            await asyncio.to_thread(self.kni.close)
        await asyncio.gather(*(asyncio.to_thread(server.close) for server in self._servers))
        await asyncio.to_thread(self.door.trials.close)
        self.secrets.close()
        await self.speaker.stop()
        self.watcher.close()
        self.discovery.close()
        log.info("stopped; routes and conflist stay as they are")

    def _on_lost_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a forgotten task failed: a bug. What it should have done is lost, so a new life must begin.

        Routes stay in the kernel, and peers that help with graceful restart keep ours (law 4).
        """
        loop.default_exception_handler(context)
        if isinstance(context.get("exception"), Exception) and not self._ending:
            self._broken = self._broken or context["exception"]
            self._stop.set()

    def _serve_http(self) -> None:
        """Listen for HTTP unless we do; a port that somebody else holds keeps nothing else from working."""
        http = self.config.http
        if not http.enabled or self._http is not None:
            return
        try:
            self._http = serve_tcp(http.address, http.port, self.desk.respond)
        except DriverError as error:
            problems = (Problem(object="http", reason=str(error), severity=Severity.ERROR),)
            if self.control.observed.reports.get("http") != problems:
                log.error("%s; it is tried again", error)
                self._report("http", problems)
        else:
            self._servers.append(self._http)
            self._report("http", ())

    async def _serve_kni(self) -> None:
        """Serve kubelets, and try again where the store or a socket is not to be had yet; nothing else waits for it."""
        from kroute.daemon.kni import start as start_kni  # nothing of KNI is loaded where it is off

        while self.kni is None:
            try:
                await _to_the_end(asyncio.to_thread(start_kni, self))
            except DriverError as error:
                problem = (Problem(object="kni", reason=str(error), severity=Severity.ERROR),)
                if self.control.observed.reports.get("kni-start") != problem:
                    log.error("%s; KNI is not served yet, it is tried again", error)
                    self._report("kni-start", problem)
                    self.control.post(PodsAttached(()))  # peers do not wait for it
                await asyncio.sleep(KNI_RETRY)
        self._report("kni-start", ())

    # --- events ---------------------------------------------------------------------------------------

    def _report(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.control.report(source, problems)

    def _on_speaker(self, events: list[SpeakerEvent]) -> None:
        if self._ending:
            return
        began = self.clock()
        for event in events:
            if isinstance(event, SpeakerDied):
                self._on_speaker_death(event.reason)
            elif isinstance(event, SpeakerReady):
                log.info(
                    "speaker ready exabgp=%s pid=%d %s", event.version, event.pid, event.privileges
                )
                self._report("speaker", ())
            elif isinstance(event, SpeakerLog):
                log.log(event.severity, "speaker: %s", event.text)
        self.road.on_events(events)
        self.longest_turn = max(self.longest_turn, self.clock() - began)

    def _on_speaker_death(self, reason: str) -> None:
        """All sessions are lost and our next OPENs announce a restart; the kernel keeps forwarding."""
        log.error(
            "speaker ended reason=%s; it is started again, the kernel keeps forwarding", reason
        )
        self._report(
            "speaker", (Problem(object="speaker", reason=reason, severity=Severity.ERROR),)
        )
        self.control.restarting = True
        self.control.replan()

    def _on_secret(self) -> None:
        self.control.look_at_keys()

    def _on_kernel(self, state: KernelState) -> None:
        self.control.post(KernelChanged(state))

    def _on_config(self, outcome: Config | ConfigError) -> None:
        """A new version of the file: in force from now on, or refused with its reasons."""
        if isinstance(outcome, ConfigError):
            log.error("configuration refused, the one before stays in force: %s", outcome)
            self._report(
                "config",
                tuple(
                    Problem(
                        object=f"file/{outcome.source}",
                        field=c.path,
                        reason=f"{c.reason}; the configuration before stays in force",
                        severity=Severity.ERROR,
                    )
                    for c in outcome.complaints
                ),
            )
            return
        self._report("config", ())
        if not self.door.trials.file_says(outcome):
            return
        if outcome != self.control.configured:
            log.info("configuration changed")
            logging.getLogger().setLevel(outcome.log_level.upper())
            self.control.post(ConfigChanged(outcome))

    # --- time -----------------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._tick()

    def _tick(self) -> None:
        now = self.ticked = self.clock()
        with suppress(DriverError):
            systemd.watchdog()
        if now >= self._next_look:
            self._next_look = now + NOW_AND_THEN
            self.control.look_at_keys()
            self.road.ask_again()
            self._serve_http()
        self.routing.tick(now)
        self.control.proceed()
        self.road.resume()
        self.road.flush()
        self.door.trials.tick(self.door)
        if not self.routing.waiting_for(now):
            self._in_sync()
        elif self.fib is not None and not self._was_in_sync:
            release(self.fib, self.control.desired, self.routing)
        if not self._was_ready and not self.desk.missing():
            self._was_ready = True
            log.info("ready")
            with suppress(DriverError):
                systemd.ready("forwarding")

    def _in_sync(self) -> None:
        """All that could be learned has been: what nobody announced may go, and we are no longer restarting."""
        if self.fib is not None and not self._was_in_sync:
            self.fib.complete(True)
        self._was_in_sync = True
        if self.control.restarting:
            self.control.restarting = False
            self.control.replan()


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for what a thread does, also where we are cancelled meanwhile: only what it has finished can be closed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(DriverError):
            await task
        raise


def _first(group: BaseExceptionGroup[KrouteError]) -> KrouteError:
    """One sentence is enough: the first error is why the others, if any, came."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _write_conflist(wish: tuple[Cni, Conflist]) -> tuple[Problem, ...]:
    config, wanted = wish
    return CniDirectory(config).apply(wanted)
