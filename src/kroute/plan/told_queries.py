"""To whom a prefix is told with several paths (RFC 7911): that part of `kroute why`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kroute.model.net import Family, Nlri, address_of
from kroute.plan.adj_out_paths import AdjRibOutPaths
from kroute.plan.routing import Routing

Answer = dict[str, Any]

SHOWN = 3
"""Peers that a sentence names."""


def told(routing: Routing, family: Family, nlri: Nlri) -> list[Answer]:
    """Each group of peers that are told several paths alike, and which; a peer is told none of its own."""
    outs = list(routing.announcer.outs.values())
    return [
        {"peers": sorted(out.members), "paths": list(_paths(out, family, nlri))}
        for out in outs
        if isinstance(out, AdjRibOutPaths) and family in out.paths
    ]


def _paths(out: AdjRibOutPaths, family: Family, nlri: Nlri) -> Iterator[Answer]:
    for path_id, (attributes, source) in out.paths[family].get(nlri, ()):
        yield {
            "pathId": int.from_bytes(path_id, "big"),
            "from": source or "local",
            "nexthop": str(address_of(attributes.nexthop)),
        }


def told_words(told: list[Answer]) -> Iterator[str]:
    """The same in sentences."""
    for group in told:
        names, paths = group["peers"], group["paths"]
        to = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" * (len(names) > SHOWN))
        if not paths:
            yield f"told to {to}: no path (`kroute show rib out NAME --rejected` says why)"
            continue
        several = "; ".join(map(_words, paths))
        yield f"told to {to}, but for what came from the peer itself: {several}"


def _words(path: Mapping[str, Any]) -> str:
    return f"path {path['pathId']} from {path['from']} via {path['nexthop']}"
