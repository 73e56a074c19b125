"""The control half: events into the observation, a plan of it, and the plan into the drivers.

One inbox, one writer. Events change what is observed at once; after a short settle the whole plan is made anew, and
each driver gets the newest wish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from kroute.codec.config.decode import camel
from kroute.codec.frames import SessionParameters
from kroute.daemon.keyring import Keyring, option_of, place_of
from kroute.daemon.road import Road
from kroute.drivers.speaker import session_parameters
from kroute.model.bgp import Peer, PeerName
from kroute.model.cni import Conflist
from kroute.model.config import Cni, Config
from kroute.model.config_services import StaticService
from kroute.model.net import Family
from kroute.model.problem import Problem, Severity
from kroute.model.session_keys import AnnotatedKey
from kroute.model.state import Desired, Observed
from kroute.plan import plan
from kroute.plan.kube_router import with_annotations
from kroute.plan.observe import ConfigChanged, ControlEvent, Reported, observe
from kroute.plan.origin import origin_check
from kroute.plan.policy import Classes, PeerRules, Self, quad
from kroute.plan.policy.assemble import Rulebook
from kroute.plan.policy.compile import within
from kroute.plan.resolve import Resolver
from kroute.plan.transition import Transition, former_clusters, shape_of, transition

log = logging.getLogger(__name__)

_ARRIVED = Transition(peers={}, holds={}, closing=frozenset())

SETTLE = 0.05
"""Seconds that events may gather before the plan is made."""

FORWARDING = tuple(Family)
"""The families that our OPENs say we kept forwarding for (RFC 4724 F bit): all, in every life. What a node announces
of its own is delivered by its kernel, and what it reflects never passes through it, whether the daemon runs or not;
a peer that dropped our routes when we come back would cut off our pods for no reason."""

RESTART_ONLY = ("node_name", "inventory", "fib", "http", "kni", "paths")
"""Parts of the configuration that are read once, at start."""


class Control:
    """What is observed and desired, and the task that turns one into the other."""

    def __init__(
        self,
        observed: Observed,
        road: Road,
        want_conflist: Callable[[tuple[Cni, Conflist]], None],
        clock: Callable[[], float],
        keyring: Keyring | None = None,
        want_routers: Callable[[frozenset[str]], None] = lambda _interfaces: None,
        planner: Callable[[Observed], Desired] = plan,
    ) -> None:
        self._given = observed
        """What events told."""
        self.observed = with_annotations(observed)
        """The same, with what annotations of nodes add to the configuration."""
        self.desired = Desired()
        self.transition = _ARRIVED
        """On the way from the peers there were to those that are desired; what the drivers were told last."""
        self.plans = 0
        self.complete_since: float | None = None
        """When the first complete plan was made: from then on every expected peer is known."""
        self.restarting = True
        """Our next OPENs say that we have restarted (RFC 4724 R bit)."""
        self.want_statics: Callable[[tuple[StaticService, ...]], None] = lambda _wanted: None
        """Who checks static services, and binds their addresses; nobody in a rehearsal."""
        self.on_config: Callable[[Config], None] = lambda _config: None
        """Who else is told of a configuration that is in force now."""
        self._road = road
        self._want_conflist = want_conflist
        self._want_routers = want_routers
        self._clock = clock
        self._planner = planner
        self._news = asyncio.Event()
        self._keyring = keyring or Keyring()
        self._secrets: dict[PeerName, Problem] = {}
        self._shape: object = None
        """Topology and reflectors of the last plan."""
        self._turned = clock()
        """Since when they are so."""
        self._started_with = observed.config

    @property
    def configured(self) -> Config:
        """The configuration as it was given, without what annotations add."""
        return self._given.config

    def post(self, event: ControlEvent) -> None:
        """Take an event; the plan follows after the settle."""
        before = self._given
        self._given = observe(before, event)
        if self._given == before:
            return
        self.observed = with_annotations(self._given)
        if isinstance(event, ConfigChanged):
            # Only now: a report is an event as well, and would be lost under this one.
            self._warn_of_restart_only(event.config)
            self.on_config(event.config)
        self._news.set()

    def report(self, source: str, problems: tuple[Problem, ...]) -> None:
        """Take a driver's problems."""
        self.post(Reported(source, problems))

    async def run(self) -> None:
        """Plan and apply whenever something was observed."""
        while True:
            await self._news.wait()
            if self.desired.complete:
                await asyncio.sleep(SETTLE)
            self._news.clear()
            self.replan()

    def replan(self) -> None:
        """Make the plan of what is observed now, and hand it to the drivers."""
        self.desired = self._planner(self.observed)
        self.plans += 1
        if self.desired.complete and self.complete_since is None:
            self.complete_since = self._clock()
        self._apply(self.desired)

    def _apply(self, desired: Desired) -> None:
        now = self._clock()
        if desired.conflist is not None:
            self._want_conflist((self.observed.config.cni, desired.conflist))
        if desired.statics is not None:
            self.want_statics(desired.statics)
        routing = self._road.routing
        routing.rib.legs = self.observed.config.bgp.multipath
        routing.deferral = float(self.observed.config.bgp.graceful_restart.deferral_time)
        self._go_on(self._on_the_way(), now)
        peers = self.transition.peers
        routing.set_self(self._self(peers), Resolver(self.observed.kernel), self._own_nexthops())
        if desired.complete:
            # Else the last known truth stays: a list that lacks us says nothing about others either.
            services = within(self.observed.config.services.ranges)
            classes = Classes(me=self.observed.me, owners=desired.owners, services=services)
            routing.set_classes(classes)
        routing.set_peers(peers, self._rules(peers), now)
        routing.set_holds(self.transition.holds)
        if desired.complete:
            self._want_routers(desired.unnumbered)
            routing.undiscovered = desired.unnumbered - self.observed.routers.keys()
            before = routing.rib.origin_check
            routing.set_origin_check(origin_check(self.observed, desired.owners, before))
        routing.set_originations(desired.originations, desired.complete, desired.pending)
        if desired.vouched is not None:
            routing.seeds.want(desired.vouched, self.observed.config.bgp.seeding, now)
        self._road.set_sessions(self._sessions(peers), softly=self.transition.closing)
        self._road.flush()

    def _go_on(self, found: Transition, now: float) -> None:
        known, self.transition = self.transition.holds, found
        for name, hold in found.holds.items():
            if name not in known:
                log.info("peer held peer=%s reason=%s", name, hold.words(now))

    def _on_the_way(self) -> Transition:
        """The peers to have now. Law 2: what is missing from an incomplete plan is not gone."""
        routing, desired, config = self._road.routing, self.desired, self.observed.config.peering
        now, shape = self._clock(), shape_of(config, desired.roles)
        if shape != self._shape:
            self._shape, self._turned = shape, now
        wanted = dict(desired.peers)
        if not desired.complete:
            wanted = {n: s.peer for n, s in routing.peers.items()} | wanted
        return transition(
            routing.peers,
            routing.rib,
            wanted,
            desired.spare,
            self.observed.nodes,
            lambda: former_clusters(self.observed.config.bgp, self.observed.nodes, desired.roles),
            now=now,
            patience=float(config.transition_time),
            turned=self._turned,
        )

    def proceed(self) -> None:
        """Go on with a change of the topology: let go of sessions that others have taken over from, or whose time
        is over. To be called often.
        """
        if self.transition.holds:
            found = self._on_the_way()
            if found.peers != self.transition.peers:
                self._apply(self.desired)
            else:
                self._road.routing.set_holds(found.holds)

    # --- the plan in the drivers' words -------------------------------------------------------------

    def _self(self, peers: Mapping[PeerName, Peer]) -> Self:
        me = self.observed.nodes.get(self.observed.me)
        kernel = self.observed.kernel
        held = {a.packed for a in me.addresses} if me else set()
        if kernel is not None:
            held |= {interface.ip.packed for _, interface in kernel.addresses}
        peer = next(iter(peers.values()), None)
        clusters = {p.cluster_id for p in peers.values() if p.cluster_id}
        return Self(
            router_id=quad(peer.router_id) if peer else b"",
            cluster_id=quad(min(clusters)) if clusters else b"",
            addresses=frozenset(held),
        )

    def _own_nexthops(self) -> dict[Family, bytes] | None:
        me = self.observed.nodes.get(self.observed.me)
        if me is None:
            return None
        return {f: a.packed for f in Family if (a := me.address(f)) is not None}

    def _rules(self, peers: Mapping[PeerName, Peer]) -> dict[PeerName, PeerRules]:
        observed = self.observed
        found = Rulebook(observed.config, observed.nodes, self.desired.owners).rules(peers)
        held = self._road.routing.peers
        # A peer that is not configured any more, but kept while the plan is incomplete (law 2), keeps its rules.
        return {n: found[n] if n in found else held[n].rules for n in peers}

    def _sessions(self, peers: Mapping[PeerName, Peer]) -> dict[PeerName, SessionParameters]:
        """The sessions to hold: one for each peer whose key, if it needs one, is known."""
        self._secrets = {}
        self._keyring.keep({place_of(peer) for peer in peers.values()})
        sessions = {}
        for name, peer in peers.items():
            if peer.shutdown:
                continue
            key = self._keyring.key(place_of(peer))
            if key.complaint:
                self._secrets[name] = Problem(
                    object=name,
                    field=option_of(place_of(peer)),
                    reason=key.complaint,
                    severity=Severity.ERROR,
                )
            if key.text is None:
                self._road.routing.peers[name].attempt = key.complaint
            else:
                sessions[name] = self._parameters(peer, key.text)
        return sessions

    def _parameters(self, peer: Peer, password: str) -> SessionParameters:
        return session_parameters(
            peer,
            password=password,
            listen_port=self.observed.config.bgp.port,
            connect_retry=float(peer.connect_retry or self.observed.config.speaker.connect_retry),
            restarting=self.restarting,
            forwarding=FORWARDING,
        )

    def on_annotated_keys(self, keys: Mapping[str, AnnotatedKey]) -> None:
        """Take the keys that the own node's annotations hold now, and put those that changed in force."""
        self._keyring.told(keys)
        self.look_at_keys()

    def look_at_keys(self) -> None:
        """Files of keys that came, went or changed are noticed here; to be called now and then."""
        if self._keyring.changed():
            self.replan()

    @property
    def secret_problems(self) -> tuple[Problem, ...]:
        """Peers that wait for their secret."""
        return tuple(self._secrets.values())

    def _warn_of_restart_only(self, new: Config) -> None:
        old = self._started_with
        changed = [part for part in RESTART_ONLY if getattr(old, part) != getattr(new, part)]
        self.report(
            "config-restart",
            tuple(
                Problem(
                    object="config",
                    field=camel(part),
                    reason="changed, but is read at start only; restart the daemon to put it in force",
                )
                for part in changed
            ),
        )
