"""The local socket's own door, for root alone: what `kroute apply` and `kroute plan` ask beyond what everybody may.

Called from the threads of the socket's server; what changes anything is done in the event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from kroute.codec.trial import read_wish
from kroute.daemon.answers import unmoved
from kroute.daemon.observation import write
from kroute.daemon.trials import Trials
from kroute.drivers.config_file import ConfigFile
from kroute.drivers.http import Answer
from kroute.model.config import Config
from kroute.model.errors import InputError, KrouteError
from kroute.model.trial import Counts
from kroute.plan.observe import ConfigChanged

if TYPE_CHECKING:
    from kroute.daemon import Daemon

PATIENCE = 10.0
"""Seconds that the event loop may take over what is asked."""


class Door:
    """Lets root change what one daemon does."""

    def __init__(self, daemon: Daemon, file: ConfigFile, state: str) -> None:
        self.trials = Trials(file, state, time.time)
        self._daemon = daemon
        self._acts: Mapping[str, Callable[[bytes], Coroutine[Any, Any, Any]]] = {
            "/v1/apply": self._apply,
            "/v1/confirm": self._confirm,
            "/v1/rollback": lambda _body: self.trials.give_up(self),
        }

    # --- what trials ask of the daemon ----------------------------------------------------------------

    def config_in_force(self) -> Config:
        """The configuration that is planned with."""
        return self._daemon.control.configured

    def put_in_force(self, config: Config) -> None:
        """Plan with this one from now on."""
        logging.getLogger().setLevel(config.log_level.upper())
        self._daemon.control.post(ConfigChanged(config))

    def counts(self) -> Counts:
        """Sessions and routed prefixes, now."""
        routing = self._daemon.routing
        peers = routing.peers.values()
        own = sum(map(len, routing.local.tables.values()))
        return Counts(
            established=sum(p.established for p in peers),
            wanted=len(peers),
            routes=sum(map(len, routing.rib.loc.values())) - own,
            settled=not routing.waiting_for(self._daemon.clock()),
        )

    def respond(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """The answer to a GET: what the desk tells everybody, and what only root may know."""
        if path != "/v1/observation":
            return self._daemon.desk.respond(path, query)
        routing, observed = self._daemon.routing, self._daemon.control.observed
        return Answer(HTTPStatus.OK, unmoved(lambda: write(observed, routing)))

    # --- what is asked --------------------------------------------------------------------------------

    def act(self, path: str, body: bytes) -> Answer | None:
        """The answer to a POST, or None where there is nothing to be done under this name."""
        work = self._acts.get(path)
        loop = self._daemon.loop
        if work is None or loop is None:
            return None
        try:
            found = asyncio.run_coroutine_threadsafe(work(body), loop).result(PATIENCE)
        except InputError as error:
            complaints = [asdict(c) for c in error.complaints]
            return _json({"error": str(error), "complaints": complaints}, HTTPStatus.BAD_REQUEST)
        except KrouteError as error:
            return _json({"error": str(error)}, HTTPStatus.CONFLICT)
        except TimeoutError:
            words = f"not done within {PATIENCE:g} s, but begun; `kroute show status` tells how it goes on"
            return _json({"error": words}, HTTPStatus.CONFLICT)
        return _json(found or {})

    async def _apply(self, body: bytes) -> dict[str, Any]:
        await self.trials.begin(read_wish(body), self)
        return self.trials.state(self)

    async def _confirm(self, _body: bytes) -> dict[str, Any]:
        return {"kept": await self.trials.confirm()}


def _json(value: Any, status: int = HTTPStatus.OK) -> Answer:
    return Answer(status, (json.dumps(value) + "\n").encode())
