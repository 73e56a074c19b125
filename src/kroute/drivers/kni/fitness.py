"""Whether the plugins of the node's network could serve an ADD: VERSION and STATUS of the CNI specification.

They are asked in a thread of their own, since a kubelet waits for the answer that this is part of; who wants to know
gets what was heard last.
"""

from __future__ import annotations

import threading
import time

from kroute.codec.kni.cni import Json, version
from kroute.drivers.kni.networks import Networks
from kroute.drivers.kni.plugins import Deadline, Plugins
from kroute.model.kni import KniError

FRESH = 10.0
"""Seconds that what plugins said of themselves is believed."""
_FIRST = 1.0
"""Seconds until they are asked for the first time: a daemon that starts has better things to do."""
_PATIENCE = 10.0
"""Seconds that all of them may take."""


class Fitness:
    """Asks while somebody wants to know."""

    def __init__(self, plugins: Plugins, networks: Networks) -> None:
        self._plugins = plugins
        self._networks = networks
        self._asking = threading.Lock()
        self._heard = time.monotonic() - FRESH + _FIRST
        self._speaks: Json | None = None
        """The network whose version all plugins were found to speak."""
        self._complaints: tuple[str, ...] = ()

    def complaints(self) -> tuple[str, ...]:
        """Why an ADD would fail, in the words of the plugins or about them; never waits."""
        if time.monotonic() - self._heard >= FRESH and self._asking.acquire(blocking=False):
            threading.Thread(target=self._ask, name="kni-fitness", daemon=True).start()
        return self._complaints

    def _ask(self) -> None:
        try:
            network, deadline = self._networks.default(), Deadline(_PATIENCE)
            self._complaints = (*self._dumb(network, deadline), *self._unfit(network, deadline))
        except KniError:
            self._complaints = ()  # no conflist: that is told by itself
        finally:
            self._heard = time.monotonic()
            self._asking.release()

    def _dumb(self, network: Json, deadline: Deadline) -> tuple[str, ...]:
        """Plugins that do not speak the network's version; who does not answer is not blamed for that."""
        if self._speaks is network:
            return ()
        wanted, found = network["cniVersion"], []
        for kind in dict.fromkeys(str(plugin["type"]) for plugin in network["plugins"]):
            try:
                spoken = self._plugins.versions(kind, deadline)
            except KniError:
                continue
            if wanted not in spoken:
                last = max(spoken, default="none", key=_order)
                found.append(f"CNI plugin {kind} does not speak version {wanted}, {last} at most")
        if not found:
            self._speaks = network
        return tuple(found)

    def _unfit(self, network: Json, deadline: Deadline) -> tuple[str, ...]:
        if version(network) < (1, 1, 0):
            return ()
        try:
            self._plugins.status(network, deadline)
        except KniError as error:
            return (str(error),)
        return ()


def _order(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
