"""The keys of a peer, or of a group of peers, that its session alone is concerned with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

ADD_PATH_MAX: Final = 8
"""Paths to one prefix that are told unless configured: as many as an ECMP route has legs (`bgp.multipath`)."""


class AddPath(StrEnum):
    """Whether several paths to a prefix are asked of a peer, or told to it (RFC 7911)."""

    OFF = "off"
    RECEIVE = "receive"
    """We take all that it tells."""
    SEND = "send"
    """We tell it several."""
    BOTH = "both"
    """Both ways."""

    @property
    def receives(self) -> bool:
        """Whether several are asked for."""
        return self in (AddPath.RECEIVE, AddPath.BOTH)

    @property
    def sends(self) -> bool:
        """Whether several are told."""
        return self in (AddPath.SEND, AddPath.BOTH)


class PathSelect(StrEnum):
    """Which of the usable paths to a prefix are told to a peer that takes several."""

    EQUAL = "equal"
    """Those that the decision process finds as good as the best one: its ECMP set."""
    ALL = "all"
    """Worse ones as well, best first."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SecretKey:
    """One entry of a Kubernetes Secret."""

    namespace: str
    """The Secret's namespace."""
    name: str
    """The Secret's name."""
    key: str = "password"
    """The entry of its data."""

    def __str__(self) -> str:
        return f"secret {self.namespace}/{self.name}, key {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationKey:
    """The password that kube-router's annotations of the own node give for the peer of an address."""

    address: str
    """The peer's address."""

    def __str__(self) -> str:
        return f"the password of {self.address} in this node's kube-router annotations"


class Sealed:
    """A text that no output can hold: it prints as nothing but that, and is neither written down nor sent anywhere."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text: Final = text

    def reveal(self) -> str:
        """The text, for the one who opens the session."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "(sealed)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("what is sealed leaves this process for the speaker only")


@dataclass(frozen=True, slots=True)
class AnnotatedKey:
    """What annotations say of one peer's key: the key, or in words why it cannot be one."""

    key: Sealed | None
    complaint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRestartKeys:
    """Graceful restart (RFC 4724) with one peer. An empty key is bgp.gracefulRestart's."""

    enabled: bool | None = None
    """Offer the capability and help the peer when it restarts."""
    restart_time: int | None = None
    """Seconds that the peer keeps our routes while we are away (1 to 4095)."""
    stale_time: int | None = None
    """Seconds that we keep the returned peer's stale routes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKeys:
    """What may be said of a session besides its two ends."""

    keepalive: int | None = None
    """Seconds between our KEEPALIVEs, at most a third of the hold time; empty: that third."""
    connect_retry: int | None = None
    """Most seconds between two attempts to connect; empty: speaker.connectRetry."""
    local_port: int | None = None
    """TCP port that we connect from; empty: the kernel's choice."""
    interface: str | None = None
    """Interface whose address of the peer's family is our end of the session; empty: localAddress."""
    bind_to_interface: bool | None = None
    """Let the session's packets pass by `interface` alone, wherever routes lead; empty: false, as routes lead."""
    add_path: AddPath | None = None
    """Several paths to a prefix (RFC 7911): `receive` takes all that the peer tells, `send` tells it several, `both`
    does both, `off` neither; empty: off."""
    add_path_select: PathSelect | None = None
    """Which paths are told by `addPath`: `equal` (as good as the best one) or `all` usable ones; empty: equal."""
    add_path_max: int | None = None
    """Most paths to one prefix that are told by `addPath` (1 to 64); empty: 8."""
    graceful_restart: PeerRestartKeys | None = None
    """RFC 4724 with this peer; empty: bgp.gracefulRestart."""
    shutdown: str | None = None
    """A text holds the session down; the peer is told it (RFC 9003, at most 255 octets). Empty: not shut down."""
    max_prefixes_warning: int | None = None
    """Percent of maxPrefixes at which a problem is reported; empty: 80."""
    max_prefixes_restart: int | None = None
    """Seconds that a session stays down whose peer exceeds maxPrefixes. 0 or empty: stays up, excess is ignored."""
    password_secret: SecretKey | None = None
    """TCP MD5 key from a Kubernetes Secret. While it is missing the session stays down; never opened without."""
    password_annotation: bool | None = None
    """TCP MD5 key from the own node's kube-router annotations, the password of this peer's address; empty: false."""
    tcp_ao: bool | None = None
    """TCP-AO (RFC 5925). Not available: a session that asks for it stays down, and says so."""
