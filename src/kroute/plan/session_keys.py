"""From a peer's session keys to the parameters of its session."""

from __future__ import annotations

from typing import Any, Final

from kroute.model.bgp import GracefulRestart
from kroute.model.config import Bgp
from kroute.model.config_peering import PeerConfig
from kroute.model.net import Family
from kroute.model.problem import Problem, Severity
from kroute.model.session_keys import PeerRestartKeys
from kroute.plan.sessions import add_path, graceful_restart

DEFAULT_WARNING: Final = 80
"""Percent of a peer's limit of prefixes at which a problem is reported."""


def session_parameters(
    bgp: Bgp, wanted: PeerConfig, families: tuple[Family, ...]
) -> dict[str, Any]:
    """The fields of :class:`~kroute.model.bgp.Peer` that a peer's session keys decide."""
    return {
        "hold_time": bgp.hold_time if wanted.hold_time is None else wanted.hold_time,
        "keepalive": wanted.keepalive,
        "connect_retry": wanted.connect_retry,
        "local_port": wanted.local_port,
        "device": (wanted.interface or "") if wanted.bind_to_interface else "",
        **add_path(wanted.add_path, wanted.add_path_select, wanted.add_path_max, families),
        "graceful_restart": _restart(bgp, wanted.graceful_restart),
        "ttl_security": wanted.ttl_security,
        "multihop": wanted.multihop,
        "password_file": wanted.password_file or "",
        "password_secret": wanted.password_secret,
        "password_annotation": bool(wanted.password_annotation),
        "max_prefixes_warning": wanted.max_prefixes_warning or DEFAULT_WARNING,
        "max_prefixes_restart": wanted.max_prefixes_restart or None,
        "shutdown": wanted.shutdown or "",
        "description": wanted.description or "",
    }


def _restart(bgp: Bgp, own: PeerRestartKeys | None) -> GracefulRestart | None:
    shared = bgp.graceful_restart
    if own is None:
        return graceful_restart(bgp)
    if not (shared.enabled if own.enabled is None else own.enabled):
        return None
    return GracefulRestart(
        restart_time=own.restart_time or shared.restart_time,
        stale_time=own.stale_time or shared.stale_time,
    )


def not_available(wanted: PeerConfig) -> Problem | None:
    """What a peer asks for that nobody here can do; its session is not set up without it."""
    if not wanted.tcp_ao:
        return None
    return Problem(
        object=f"peer/{wanted.name}",
        field="tcpAo",
        reason="TCP-AO (RFC 5925) is not available: ExaBGP, which holds the sessions, cannot set its keys; "
        "the session is not set up, and not opened without it",
        severity=Severity.ERROR,
    )
