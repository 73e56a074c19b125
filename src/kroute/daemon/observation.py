"""What a daemon observes and hears, handed to `kroute plan`, which rehearses in a process of its own.

So a rehearsal costs the daemon no more than writing down what it knows, and a fault in it costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kroute import __version__
from kroute.codec.config import dump_config, parse_config
from kroute.codec.values import dump, load
from kroute.model.bgp import Attributes, PeerName
from kroute.model.config import Config
from kroute.model.errors import KrouteError
from kroute.model.net import Family, Nlri
from kroute.model.state import Observed
from kroute.plan.routing import PeerState, Routing

if TYPE_CHECKING:
    from kroute.daemon.rehearsal.stage import Voice


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One daemon's view. ``heard`` has every peer; who has no session says nothing, or what is stale."""

    observed: Observed
    heard: dict[PeerName, Voice]
    down: tuple[str, ...]
    """Peers without a session."""


def write(observed: Observed, routing: Routing) -> bytes:
    """The observation as JSON, written piece by piece: one long piece would hold up the daemon's loop."""
    head: dict[str, Any] = {"version": __version__, "config": dump_config(observed.config)}
    head["observed"] = dump(replace(observed, config=Config()))
    peers = list(routing.peers.items())
    head["down"] = sorted(name for name, state in peers if not state.established)
    rows = [
        f"{json.dumps(name)}: [{', '.join(json.dumps(b) for b in _blocks(state))}]"
        for name, state in peers
    ]
    return f'{json.dumps(head)[:-1]}, "heard": {{{", ".join(rows)}}}}}\n'.encode()


def read(answer: Any) -> Observation:
    """The observation in a daemon's answer.

    Raises:
        KrouteError: it is of another version of kroute, whose values may be others.
    """
    version = answer.get("version") if isinstance(answer, dict) else None
    if version != __version__:
        words = f"the daemon is kroute {version}, this is {__version__}; use the daemon's own"
        raise KrouteError(words)
    try:
        config = parse_config(answer["config"], "the daemon's configuration")
        observed = replace(load(Observed, answer["observed"]), config=config)
        heard = {PeerName(name): _voice(rows) for name, rows in answer["heard"].items()}
        return Observation(observed=observed, heard=heard, down=tuple(answer["down"]))
    except (ValueError, LookupError, TypeError) as error:
        raise KrouteError(f"the daemon's observation cannot be read: {error}") from error


def _blocks(state: PeerState) -> Iterator[list[Any]]:
    for family, table in state.tables:
        several = state.places.has_ids(family)
        by_attributes: dict[int, tuple[Attributes, list[Nlri]]] = {}
        for nlri, path in list(table.items()):
            said = path.attributes
            by_attributes.setdefault(id(said), (said, []))[1].append(nlri)
        for attributes, nlris in by_attributes.values():
            yield [int(family), dump(attributes), [n.hex() for n in nlris], several]


def _voice(rows: Any) -> Voice:
    # Only who reads an observation rehearses; a daemon that starts has no time to lose.
    from kroute.daemon.rehearsal.stage import Block, Voice

    return Voice(
        tuple(
            Block(
                Family(family),
                load(Attributes, said),
                tuple(map(bytes.fromhex, nlris)),
                several=several,
            )
            for family, said, nlris, several in rows
        )
    )
