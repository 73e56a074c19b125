"""What kube-router's annotations say of a node, for clusters that come from it."""

from __future__ import annotations

from dataclasses import dataclass

from kroute.model.net import Address, Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePeer:
    """One external peer of a node's annotations. ``keyed``: a password belongs to it, which is not kept here
    (:class:`~kroute.model.session_keys.AnnotationKey`)."""

    address: Address
    asn: int
    port: int = 179
    local_address: Address | None = None
    keyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnnotations:
    """A node's ``kube-router.io/…`` annotations; empty where it has none.

    ``prepend`` is the AS and how often it is put before a path to external peers, ``communities`` are RFC 1997
    numbers that are added there, ``import_reject`` are ranges of which nothing is taken from external peers.
    """

    peers: tuple[NodePeer, ...] = ()
    prepend: tuple[int, int] | None = None
    communities: tuple[int, ...] = ()
    import_reject: tuple[Prefix, ...] = ()
    pod_cidrs: tuple[Prefix, ...] = ()
