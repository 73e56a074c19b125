"""Explicit peers with all that their groups say of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from kroute.model.config_peering import PeerConfig, PeerGroup, Peering, PeerKeys


def effective_peers(peering: Peering) -> Iterator[PeerConfig]:
    """Each explicit peer with the keys of its group, in the order of the file."""
    groups = {group.name: group for group in peering.groups}
    for peer in peering.peers:
        yield inherit(peer, groups.get(peer.group))


def inherit(peer: PeerConfig, group: PeerGroup | None) -> PeerConfig:
    """The peer with its group's value for each key that it leaves empty (None); what it says itself wins."""
    if group is None:
        return peer
    inherited = {
        key.name: value
        for key in fields(PeerKeys)
        if getattr(peer, key.name) is None and (value := getattr(group, key.name)) is not None
    }
    return replace(peer, **inherited)
