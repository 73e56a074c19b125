"""The route road: frames of the speaker in, kernel changes and UPDATEs out, in one turn of the event loop.

::

    speaker ─ frames ─▶ UpdateDecoder ─ steps ─▶ Routing ─ flush ─┬─▶ fib.update   (its own writer thread)
                                                                  └─▶ codec.bgp ─▶ speaker.send

Work is done once for each distinct attribute block: the decoder keeps, for a block it has seen, the judged path that
:meth:`~kroute.plan.rib.Rib.judge` made of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Container, Mapping

from kroute.codec.bgp import (
    Decoded,
    Row,
    Subcode,
    UpdateDecoder,
    UpdateError,
    route_refresh,
)
from kroute.codec.frames import SessionParameters
from kroute.daemon.ports import FibPort, SpeakerPort
from kroute.daemon.words import encode
from kroute.drivers.speaker import (
    Attempt,
    Backlog,
    Down,
    Refresh,
    SpeakerDied,
    SpeakerEvent,
    Up,
    Updates,
)
from kroute.model.bgp import (
    Attributes,
    CeaseSubcode,
    Negotiated,
    NoticeCode,
    Peer,
    PeerName,
    SessionState,
)
from kroute.model.net import SAFI_UNICAST, Family
from kroute.plan.adj_out import Tell
from kroute.plan.paths import Path
from kroute.plan.routing import PeerState, Routing

log = logging.getLogger(__name__)


FLOOD = 500
"""Routes that have changed after which their objects are set aside from the garbage collector."""

ASK_AGAIN = 30.0
"""Seconds between two requests for a peer's whole table at least."""

UNREADABLE = UpdateError(
    Subcode.MALFORMED_ATTRIBUTE_LIST, "an UPDATE could not be read, see the log", "internal error"
)


class Lane:
    """One peer's place on the road: its index at the speaker, and what is needed to read its UPDATEs."""

    __slots__ = ("asked_at", "decoder", "index", "parameters")

    def __init__(self, index: int, parameters: SessionParameters) -> None:
        self.index = index
        self.parameters = parameters
        self.decoder: UpdateDecoder[Path] | None = None
        self.asked_at = float("-inf")
        """When the peer was last asked to tell all again."""


class Road:
    """Moves routes between sessions, tables and kernel."""

    def __init__(
        self,
        routing: Routing,
        speaker: SpeakerPort,
        fib: FibPort,
        clock: Callable[[], float],
        most: int | None = None,
    ) -> None:
        """``most``: how many stored prefixes one :meth:`flush` judges again or tells (:mod:`kroute.daemon.review`)."""
        self.routing = routing
        self.unfinished = asyncio.Event()
        """Set where a flush has left some."""
        self._speaker = speaker
        self._fib = fib
        self._clock = clock
        self._most = most
        self._changed = 0
        """Routes that have changed, or had a turn, since their objects were set aside from the garbage collector."""
        self._lanes: dict[PeerName, Lane] = {}
        self._names: dict[int, PeerName] = {}
        self._last_index = 0
        self._wanted: Mapping[PeerName, SessionParameters] = {}
        self._penalties: dict[PeerName, tuple[float, Peer]] = {}
        """Until when peers that exceeded their limit have no session, and what was configured then."""

    @property
    def sessions(self) -> Mapping[PeerName, tuple[int, SessionParameters]]:
        """The sessions that are held: each peer's index at the speaker, and what the speaker was told of it."""
        return {name: (lane.index, lane.parameters) for name, lane in self._lanes.items()}

    # --- peers come and go -------------------------------------------------------------------------

    def set_sessions(
        self, wanted: Mapping[PeerName, SessionParameters], softly: Container[PeerName] = ()
    ) -> None:
        """Hold exactly these sessions; those whose parameters are equal are not touched. Peers that go ``softly``
        may keep our routes as stale for a while (RFC 8538).
        """
        self._wanted = wanted
        self._pardon()
        for name in [n for n in self._lanes if n not in wanted]:
            if self._shut(name):
                continue
            # A peer that is still wanted, but must have no session now, keeps its paths for a while.
            self.routing.session_replaced(name, self._clock())
            lane = self._lanes.pop(name)
            del self._names[lane.index]
            subcode = CeaseSubcode.PEER_DECONFIGURED
            if name in softly:
                subcode = CeaseSubcode.OTHER_CONFIG_CHANGE
            self._speaker.remove(lane.index, subcode=subcode)
            log.info("peer removed peer=%s", name)
        for name, parameters in wanted.items():
            if name not in self._penalties:
                self._set_session(name, parameters)

    def _shut(self, name: PeerName) -> bool:
        """Whether a peer is shut down by its configuration: it is told the words, and its paths go at once."""
        state = self.routing.peers.get(name)
        if state is None or not state.peer.shutdown:
            return False
        words = f'shut down by its configuration: "{state.peer.shutdown}"'
        self._close(name, words, subcode=CeaseSubcode.ADMIN_SHUTDOWN, text=state.peer.shutdown)
        return True

    def _close(
        self, name: PeerName, words: str, *, subcode: int, text: str = "", data: bytes = b""
    ) -> None:
        """End a session of our own will; all that it brought goes."""
        lane = self._lanes.pop(name)
        del self._names[lane.index]
        self._speaker.remove(lane.index, subcode=subcode, text=text, data=data)
        self.routing.session_closed(name, words, subcode, self._clock())
        log.warning("session closed peer=%s reason=%s", name, words)

    # --- peers that exceed their limit ----------------------------------------------------------------

    def _punish(self, name: PeerName, state: PeerState) -> None:
        """A peer told more prefixes than its limit: close its session for as long as configured (RFC 4486 §4)."""
        limit, seconds = state.adj_in.limit, state.peer.max_prefixes_restart
        family = next(iter(state.adj_in.over), None)
        if family is None or seconds is None:
            return
        words = f"announced more than {limit} {family.label} prefixes; down for {seconds} s"
        data = family.to_bytes(2, "big") + bytes((SAFI_UNICAST,)) + limit.to_bytes(4, "big")
        self._close(name, words, subcode=CeaseSubcode.MAX_PREFIXES, data=data)
        state.down_until = self._clock() + seconds
        self._penalties[name] = state.down_until, state.peer

    def _pardon(self) -> None:
        """End the penalties whose time is over, whose peer is gone, or whose configuration is another one."""
        now = self._clock()
        for name, (until, then) in list(self._penalties.items()):
            state = self.routing.peers.get(name)
            if state is None or state.peer != then or now >= until or name not in self._wanted:
                del self._penalties[name]
                if state is not None:
                    state.down_until = None

    def resume(self) -> None:
        """Open the sessions whose penalty is over. To be called now and then."""
        waiting = list(self._penalties)
        self._pardon()
        for name in waiting:
            if name not in self._penalties and name in self._wanted:
                self._set_session(name, self._wanted[name])

    def _set_session(self, name: PeerName, parameters: SessionParameters) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            self._last_index += 1
            lane = self._lanes[name] = Lane(self._last_index, parameters)
            self._names[lane.index] = name
            self._speaker.add(lane.index, parameters)
            self.routing.session_opened(name)
            log.info(
                "peer added peer=%s address=%s asn=%d", name, parameters.address, parameters.asn
            )
        elif lane.parameters != parameters:
            if not lane.parameters.same_session(parameters):
                log.info("peer changed, its session starts again peer=%s", name)
                self.routing.session_replaced(name, self._clock())
                # The index changes with the session: frames of the old one must not be read as the new one's.
                self._speaker.remove(lane.index, subcode=CeaseSubcode.OTHER_CONFIG_CHANGE)
                del self._names[lane.index], self._lanes[name]
                self._set_session(name, parameters)
                return
            lane.parameters = parameters
            self._speaker.add(lane.index, parameters)

    # --- events -------------------------------------------------------------------------------------

    def on_events(self, events: list[SpeakerEvent]) -> None:
        """Everything the speaker said in one turn; consequences leave at the end of it."""
        if any(isinstance(event, SpeakerDied) for event in events):
            self._speaker_died()
            return
        for event in events:
            if isinstance(event, Updates):
                self._on_updates(event)
            elif isinstance(event, Up | Down | Attempt | Refresh | Backlog):
                self._on_session(event)
        self.flush()

    def _on_updates(self, event: Updates) -> None:
        name = self._names.get(event.peer)
        if name is None:
            return
        lane, state = self._lanes[name], self.routing.peers.get(name)
        if lane.decoder is None or state is None:
            return
        try:
            decoded = lane.decoder.decode_run(event.bodies)
        except UpdateError as error:
            self._refuse(name, state, error)
            return
        except Exception:
            # No table has been touched yet: a fault of ours that one peer can provoke is not all peers' end.
            log.exception("an UPDATE could not be read; please report this peer=%s", name)
            self._refuse(name, state, UNREADABLE)
            return
        state.updates += len(event.bodies)
        self._take(state, decoded)
        for problem, count in decoded.problems.items():
            state.faults += count
            state.last_fault = str(problem)
        for family in decoded.end_of_rib:
            self.routing.end_of_rib(state, family)
        if state.adj_in.over:
            self._punish(name, state)

    def _take(self, state: PeerState, decoded: Decoded[Path]) -> None:
        """Bring a peer's tables up to date with what it said."""
        rib, adj_in = self.routing.rib, state.adj_in
        several = state.negotiated.add_path if state.negotiated else ()
        for part in decoded.parts:
            if part[0] in several:
                for step in part.steps() if isinstance(part, Row) else (part,):
                    self._take_several(state, *step)
            elif isinstance(part, Row):
                rib.learn_each(adj_in, *part)
            elif part[1] is None:
                rib.forget(adj_in, part[0], part[2])
            else:
                rib.learn(adj_in, part[0], part[1], part[2])

    def _take_several(
        self, state: PeerState, family: Family, path: Path | None, entries: list[bytes]
    ) -> None:
        """Prefixes behind path identifiers (RFC 7911)."""
        if path is None:
            state.places.forget(self.routing.rib, family, entries)
        else:
            state.places.learn(self.routing.rib, family, path, entries)

    def _refuse(self, name: PeerName, state: PeerState, error: UpdateError) -> None:
        """An UPDATE that no session survives (RFC 7606 §3): tell the peer, and read nothing more of it."""
        log.error("session reset peer=%s reason=%s", name, error)
        state.faults += 1
        state.last_fault = str(error)
        self._lanes[name].decoder = None
        index = self._lanes[name].index
        code = NoticeCode.UPDATE_ERROR
        self._speaker.reset(index, code=code, subcode=error.subcode, data=error.data)

    def _on_session(self, event: Up | Down | Attempt | Refresh | Backlog) -> None:
        name = self._names.get(event.peer)
        state = self.routing.peers.get(name) if name is not None else None
        if name is None or state is None:
            return
        now = self._clock()
        match event:
            case Up(_, negotiated):
                self._on_up(name, state, negotiated, now)
            case Down(_, down):
                self._lanes[name].decoder = None
                self.routing.session_down(name, down, now)
                log.warning("session down peer=%s reason=%s", name, down.reason)
            case Attempt(_, text):
                state.attempt = text
            case Refresh():
                self.routing.refresh(name)
            case Backlog(_, octets):
                state.backlog = octets

    def _on_up(self, name: PeerName, state: PeerState, negotiated: Negotiated, now: float) -> None:
        lane = self._lanes[name]
        self.routing.session_up(name, negotiated, now)
        adj_in, rib_judge = state.adj_in, self.routing.rib.judge

        def judge(_family: Family, attributes: Attributes) -> Path:
            return rib_judge(adj_in, attributes)

        lane.decoder = UpdateDecoder(negotiated, internal=state.peer.internal, make=judge)
        log.info(
            "session up peer=%s asn=%d routerId=%s", name, negotiated.asn, negotiated.router_id
        )

    def ask_again(self) -> None:
        """Ask peers that were held at their limit, and have left room since, to tell what was refused.

        To be called now and then. A peer that does not know ROUTE-REFRESH must be reset by hand.
        """
        now = self._clock()
        for name, lane in self._lanes.items():
            state = self.routing.peers.get(name)
            if state is None or now - lane.asked_at < ASK_AGAIN:
                continue
            for family in _roomy(state):
                lane.asked_at = now
                state.adj_in.over.pop(family)
                self._speaker.send([lane.index], route_refresh(family))
                log.info(
                    "peer asked for its refused prefixes peer=%s family=%s", name, family.label
                )

    def _speaker_died(self) -> None:
        """The speaker ended: all sessions are lost, nothing else is."""
        for lane in self._lanes.values():
            lane.decoder = None
        self.routing.speaker_died(self._clock())
        self.flush()

    # --- consequences -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand over what has changed: routes to the kernel, UPDATEs to the peers."""
        effects = self.routing.flush(self._clock(), self._most)
        if self.routing.is_busy:
            self.unfinished.set()
            self._changed += self._most or 0
        for family, changes in effects.fib.items():
            if changes:
                self._fib.update(family, changes)
        for tell in effects.tells:
            self.tell(tell)
        self._changed += sum(map(len, effects.fib.values()))
        if self._changed >= FLOOD:
            self._changed = 0
            # Routes and paths refer to each other one way only and go by reference count, which a unit test holds
            # them to. To walk over a flood of them in search of cycles stops the loop for 15 to 30 ms at a time.
            gc.freeze()

    def tell(self, tell: Tell) -> None:
        """Send what some peers have to be told to those of them whose sessions are up."""
        indexes = [
            self._lanes[name].index
            for name in tell.peers
            if name in self._lanes and self.routing.peers[name].state is SessionState.ESTABLISHED
        ]
        messages = encode(tell)
        if indexes and messages:
            self._speaker.send(indexes, messages)


def _roomy(state: PeerState) -> list[Family]:
    """The families in which a peer was held at its limit and has left a tenth of it free again."""
    able = state.established and state.negotiated is not None and state.negotiated.route_refresh
    adj_in = state.adj_in
    return [f for f in adj_in.over if able and len(adj_in.tables[f]) <= 0.9 * adj_in.limit]
