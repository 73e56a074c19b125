"""What kroute.speaker.hooks relies on inside ExaBGP. When the pin moves, each failure names what to look at again."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import exabgp.reactor.peer
import exabgp.reactor.protocol
import pytest
from exabgp.bgp.fsm import FSM
from exabgp.bgp.message.open.capability import Capabilities
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.neighbor import Neighbor
from exabgp.logger import log
from exabgp.reactor.network.connection import Connection

from kroute.speaker.hooks.peer import Backoff, FlatRib, Peer
from kroute.speaker.hooks.protocol import Offer, Protocol
from kroute.speaker.hooks.wire import Wire

PINNED = "5.0.15"
INSTALLED = version("exabgp")


class Fact(NamedTuple):
    """``where`` must exist, take ``arguments`` and hold each of ``source`` in its text (blanks do not count)."""

    hook: str
    where: str
    arguments: tuple[str, ...] | None
    source: tuple[str, ...] = ()


FACTS = [
    Fact(
        "hooks.install",
        "exabgp.reactor.peer:Peer._connect",
        ("self",),
        ("proto = Protocol(self)", "self.proto = proto"),
    ),
    Fact(
        "hooks.install",
        "exabgp.reactor.protocol:Protocol.new_open",
        ("self",),
        ("Capabilities().new(self.neighbor, self.peer._restarted, local_as=local_as)",),
    ),
    Fact(
        "hooks.install",
        "exabgp.bgp.timer:ReceiveTimer.check_ka_timer",
        None,
        ("int(time.time())", "self.last_read = now"),
    ),
    Fact("hooks.install", "exabgp.bgp.timer:SendTimer.need_ka", ("self",), ("int(time.time())",)),
    Fact(
        "hooks.protocol.Keepalives",
        "exabgp.reactor.keepalive:KA.__init__",
        ("self", "session", "proto"),
        ("self.send_timer = SendTimer(session, proto.negotiated.holdtime)",),
    ),
    Fact(
        "hooks.protocol.Interval",
        "exabgp.bgp.timer:SendTimer.__init__",
        ("self", "session", "holdtime"),
        ("self.keepalive = holdtime.keepalive()",),
    ),
    Fact(
        "hooks.install",
        "exabgp.reactor.peer:Peer._main",
        ("self",),
        ("send_ka = KA(self.proto.connection.session, self.proto)",),
    ),
    Fact(
        "hooks.protocol.Protocol.validate_open",
        "exabgp.bgp.message.open.capability.negotiated:Negotiated.validate",
        ("self", "neighbor"),
        ("if neighbor['peer-as'] is not None and self.peer_as != neighbor['peer-as']:",),
    ),
    Fact("hooks.peer.Peer.me", "exabgp.reactor.peer:Peer.me", ("self", "message")),
    Fact("hooks.peer.Peer", "exabgp.reactor.peer:Peer.__init__", ("self", "neighbor", "reactor")),
    Fact(
        "hooks.peer.Peer._close",
        "exabgp.reactor.peer:Peer._close",
        ("self", "message", "error"),
        (
            "self.proto.close(message)",
            "self._delay.increase()",
            "self.proto = None",
            "self.reactor.processes.down(",
        ),
    ),
    Fact(
        "hooks.peer.Peer.finish",
        "exabgp.reactor.peer:Peer._reset",
        ("self", "message", "error"),
        ("self._close(message, error)", "self.generator = None", "self.neighbor.reset_rib()"),
    ),
    Fact(
        "hooks.peer.Peer.turn",
        "exabgp.reactor.peer:Peer.run",
        ("self",),
        (
            "self.reactor.processes.broken(self.neighbor)",
            "return next(self.generator)",
            "if self._delay.backoff(): return ACTION.LATER",
            "self.generator = self._run() return ACTION.LATER",
        ),
    ),
    Fact(
        "hooks.peer.Peer._close",
        "exabgp.reactor.peer:Peer._run",
        ("self",),
        (
            "self._reset('closing connection', network)",
            "self._reset(f'notification sent ({notify.code},{notify.subcode})', notify)",
            "for _ in self.proto.new_notification(notify):",
        ),
    ),
    Fact(
        "hooks.peer.Peer.up",
        "exabgp.reactor.peer:Peer._main",
        ("self",),
        (
            "self.reactor.processes.up(self.neighbor)",
            "send_eor = not self.neighbor['manual-eor']",
            "self._delay.reset()",
            "for message in self.proto.read_message(): self.recv_timer.check_ka(message)",
            "self.resend(enhanced, (message.afi, message.safi))",
            "self.neighbor.rib.outgoing.pending()",
            "self.neighbor.rib.outgoing.replace_restart(previous, current)",
            "self.neighbor.rib.incoming.clear()",
        ),
    ),
    Fact(
        "hooks.peer.Peer",
        "exabgp.reactor.peer:Peer._establish",
        ("self",),
        (
            "if not self.proto: for action in self._connect():",
            "self.proto.connection.msg_size = self.proto.negotiated.msg_size",
            "self.proto.validate_open() self.fsm.change(FSM.OPENCONFIRM)",
            "self._restarted = False",
        ),
    ),
    Fact(
        "hooks.peer.Peer.resend", "exabgp.reactor.peer:Peer.resend", ("self", "enhanced", "family")
    ),
    Fact("hooks.protocol.Protocol.connect", "exabgp.reactor.protocol:Protocol.connect", ("self",)),
    Fact(
        "hooks.peer.Peer.adopt",
        "exabgp.reactor.protocol:Protocol.accept",
        ("self", "incoming"),
        ("return self",),
    ),
    Fact(
        "hooks.wire.Wire.close",
        "exabgp.reactor.protocol:Protocol.close",
        None,
        ("self.connection.close()",),
    ),
    Fact(
        "hooks.wire.Wire.writer",
        "exabgp.reactor.protocol:Protocol.write",
        None,
        ("self.connection.writer(raw)",),
    ),
    Fact(
        "hooks.wire.Wire.reader",
        "exabgp.reactor.protocol:Protocol.read_message",
        ("self",),
        (
            "for length, msg_id, header, body, notify in self.connection.reader():",
            "if not length: yield _NOP continue",
            "if not self.neighbor['adj-rib-in'] and not (for_api or self.log_routes) and not (parsed or consolidate):"
            " yield _UPDATE return",
            "except (KeyboardInterrupt, SystemExit, Notify): raise",
        ),
    ),
    Fact(
        "hooks.protocol.Protocol.validate_open",
        "exabgp.reactor.protocol:Protocol.validate_open",
        ("self",),
    ),
    Fact(
        "hooks.protocol.Protocol.read_keepalive",
        "exabgp.reactor.protocol:Protocol.read_keepalive",
        ("self",),
        (
            "for message in self.read_message(): if message.TYPE == NOP.TYPE: yield message",
            "if message.TYPE != KeepAlive.TYPE: raise Notify(5, 2) yield message",
        ),
    ),
    Fact(
        "hooks.protocol.Protocol.read_keepalive",
        "exabgp.reactor.peer:Peer._read_ka",
        ("self",),
        ("for message in self.proto.read_keepalive(): self.recv_timer.check_ka_timer(message)",),
    ),
    Fact(
        "hooks.protocol.Offer",
        "exabgp.bgp.message.open.capability:Capabilities.new",
        ("self", "neighbor", "restarted", "local_as"),
        (
            "self._graceful(neighbor, restarted)",
            "self._refresh(neighbor)",
            "self._hostname(neighbor)",
        ),
    ),
    Fact(
        "hooks.protocol.Offer._graceful",
        "exabgp.bgp.message.open.capability.graceful:Graceful.set",
        ("self", "restart_flag", "restart_time", "protos"),
    ),
    Fact(
        "hooks.protocol.Offer._graceful",
        "exabgp.bgp.message.open.capability.graceful:Graceful.extract",
        None,
        ("(self.restart_flag << 12)",),
    ),
    Fact(
        "hooks.wire.Wire",
        "exabgp.reactor.network.connection:Connection.__init__",
        ("self", "afi", "peer", "local"),
    ),
    Fact(
        "hooks.wire.Wire.close",
        "exabgp.reactor.network.connection:Connection.__del__",
        ("self",),
        ("self.close()",),
    ),
    Fact(
        "hooks.wire.Wire", "exabgp.bgp.message:Notify.__init__", ("self", "code", "subcode", "data")
    ),
    Fact(
        "neighbor.set_key",
        "exabgp.reactor.network.tcp:md5",
        ("io", "ip", "port", "md5", "md5_base64"),
    ),
    Fact(
        "neighbor.set_ttl",
        "exabgp.reactor.network.tcp:set_sending_ttl",
        ("io", "afi", "ip", "value"),
    ),
    Fact(
        "neighbor.set_ttl",
        "exabgp.reactor.network.tcp:set_minimum_ttl",
        ("io", "afi", "ip", "minimum"),
    ),
    Fact(
        "neighbor.make_neighbor",
        "exabgp.bgp.neighbor:Neighbor.add_nexthop",
        ("self", "afi", "safi", "nhafi"),
    ),
    Fact("neighbor.make_neighbor", "exabgp.bgp.neighbor:Neighbor.add_family", ("self", "family")),
]


def squeeze(text: str) -> str:
    """Source without comments and with single blanks."""
    return re.sub(r"\s+", " ", re.sub(r"(?m)^\s*#.*$", "", text))


def failure(fact: Fact, what: str, thing: Any = None) -> str:
    file = inspect.getsourcefile(thing) if thing is not None else fact.where
    return (
        f"kroute.speaker.{fact.hook} leans on {fact.where}, but in ExaBGP {INSTALLED} {what} ({file}):"
        f" read it again, adapt the hook, then this table"
    )


def find(fact: Fact) -> Any:
    module, _, names = fact.where.partition(":")
    thing: Any = importlib.import_module(module)
    for name in names.split("."):
        assert hasattr(thing, name), failure(fact, f"there is no {name}")
        thing = getattr(thing, name)
    return thing


def test_the_installed_version_is_the_pinned_one() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert f"exabgp=={PINNED}" in project["project"]["dependencies"], (
        "pyproject.toml pins another ExaBGP"
    )
    assert INSTALLED == PINNED, (
        f"ExaBGP {INSTALLED} is installed, the hooks were read against {PINNED}: go through every fact of this file"
    )


def test_the_table_of_facts_is_not_empty() -> None:
    assert len(FACTS) > 20


@pytest.mark.parametrize("fact", FACTS, ids=lambda f: f"{f.hook} on {f.where}")
def test_exabgp_is_as_the_hooks_expect(fact: Fact) -> None:
    thing = find(fact)
    if fact.arguments is not None:
        found = tuple(inspect.signature(thing).parameters)
        assert found == fact.arguments, failure(
            fact, f"it takes {found} instead of {fact.arguments}", thing
        )
    text = squeeze(inspect.getsource(thing)) if fact.source else ""
    for snippet in fact.source:
        assert snippet in text, failure(fact, f"it no longer says {snippet!r}", thing)


OVERRIDES: list[tuple[type, type, set[str]]] = [
    (Peer, exabgp.reactor.peer.Peer, {"__init__", "_close", "me", "resend"}),
    (Protocol, Protocol.__mro__[1], {"connect", "read_keepalive", "validate_open"}),
    (Offer, Capabilities, {"_graceful", "_refresh", "_hostname"}),
    (Wire, Connection, {"__init__", "reader", "writer", "close", "fd"}),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "meant"), OVERRIDES, ids=lambda v: getattr(v, "__name__", "names")
)
def test_our_classes_override_what_they_mean_to_and_nothing_else(
    ours: type, theirs: type, meant: set[str]
) -> None:
    invisible = {
        "__module__",
        "__doc__",
        "__qualname__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotations__",
    }
    names = set(vars(ours)) - invisible
    assert names & set(dir(theirs)) == meant, (
        f"{ours.__module__}.{ours.__name__} and {theirs.__module__}.{theirs.__name__} of ExaBGP {INSTALLED}"
        f" share other names than {sorted(meant)}: {inspect.getsourcefile(theirs)}"
    )


def test_the_attributes_of_our_instances_are_not_taken_by_exabgp() -> None:
    """A later ExaBGP may use our names for things of its own."""
    text = squeeze(inspect.getsource(exabgp.reactor.peer)) + squeeze(inspect.getsource(Connection))
    for name in (
        "owner",
        "up_since",
        "queued",
        "starved",
        "drained",
        "answered",
        "farewell",
        "on_updates",
        "_out",
        "_at",
    ):
        assert f"self.{name} " not in text, f"ExaBGP {INSTALLED} now uses self.{name} itself"


def test_the_logger_has_the_levels_that_are_replaced() -> None:
    for name in ("debug", "info", "warning", "error", "critical", "fatal"):
        assert callable(getattr(log, name)), (
            f"hooks.install replaces log.{name}, which ExaBGP {INSTALLED} lacks"
        )


def test_the_neighbor_has_the_keys_that_are_set() -> None:
    keys = {
        "peer-address", "local-address", "router-id", "local-as", "peer-as", "hold-time", "adj-rib-in",
        "adj-rib-out", "manual-eor", "capability",
    }  # fmt: skip
    assert keys <= set(Neighbor()), (
        f"neighbor.make_neighbor sets keys that ExaBGP {INSTALLED} does not know"
    )
    assert Neighbor()["capability"]["extended-message"] is True
    assert Neighbor()["capability"]["asn4"] is True
    assert {"graceful-restart", "nexthop"} <= set(Neighbor()["capability"])


def test_states_and_bits_have_the_values_of_the_hooks() -> None:
    assert (FSM.OPENCONFIRM, Graceful.RESTART_STATE, Graceful.FORWARDING_STATE) == (
        0x10,
        0x08,
        0x80,
    )


def test_what_exabgp_calls_on_the_rib_and_the_delay_is_there() -> None:
    peer = inspect.getsource(exabgp.reactor.peer.Peer._main) + inspect.getsource(
        exabgp.reactor.peer.Peer._close
    )
    for side, name in set(re.findall(r"neighbor\.rib\.(incoming|outgoing)\.(\w+)\(", peer)):
        if name not in (
            "update_cache",
            "replace_reload",
        ):  # called for routes and reloads, which we do not have
            assert hasattr(FlatRib(), name), (
                f"hooks.peer.FlatRib lacks {side}.{name}, called by ExaBGP {INSTALLED}"
            )
    for name in set(re.findall(r"self\._delay\.(\w+)\(", inspect.getsource(exabgp.reactor.peer))):
        assert hasattr(Backoff(1.0), name), (
            f"hooks.peer.Backoff lacks {name}, called by ExaBGP {INSTALLED}"
        )


def test_what_exabgp_calls_on_its_processes_is_there() -> None:
    text = inspect.getsource(exabgp.reactor.peer) + inspect.getsource(exabgp.reactor.protocol)
    called = set(re.findall(r"reactor\.processes\.(\w+)", text))
    # told only where the api settings of a neighbor ask for it, and ours ask for neighbor-changes alone
    silent = {"message", "packets", "notification", "negotiated", "fsm"}
    for name in called - silent:
        assert hasattr(Peer, name), (
            f"hooks.peer.Peer lacks {name}, called on processes by ExaBGP {INSTALLED}"
        )
