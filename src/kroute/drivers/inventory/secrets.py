"""Single Kubernetes Secrets, followed for the keys of peers. Only the entries asked for are kept, and never printed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from kroute.drivers.inventory.api import Api, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.reflector import Reflector
from kroute.model.errors import DriverError
from kroute.model.session_keys import SecretKey

log = logging.getLogger(__name__)

Entries = dict[str, str | None]
"""Of one Secret, by key; None for an entry that is no text."""


class KubernetesSecrets:
    """Follows the Secrets that it is told to, each by a watch of its own (so that rights can name them).

    The API server may be away, or never there: what was read stays, and what never was is told to be missing.
    """

    def __init__(
        self, kubeconfig: str, on_change: Callable[[], None], patience: Patience | None = None
    ) -> None:
        """``on_change`` is called in the event loop when an entry may read another way."""
        self._kubeconfig = kubeconfig
        self._on_change = on_change
        self._patience = patience or Patience()
        self._followed: dict[tuple[str, str], _Secret] = {}

    def follow(self, wanted: Iterable[SecretKey]) -> None:
        """Follow these entries and no others. Needs a running event loop where there are any."""
        entries: dict[tuple[str, str], set[str]] = {}
        for secret in wanted:
            entries.setdefault((secret.namespace, secret.name), set()).add(secret.key)
        for place in list(self._followed):
            if entries.get(place) != self._followed[place].keys:
                self._followed.pop(place).stop()
        for place, keys in entries.items():
            if place not in self._followed:
                found = self._followed[place] = _Secret(*place, keys, self._on_change)
                found.start(Api(partial(find_access, self._kubeconfig), self._patience))

    def read(self, secret: SecretKey) -> str:
        """The entry as it is known now.

        Raises:
            DriverError: it is not known, and why.
        """
        followed = self._followed.get((secret.namespace, secret.name))
        if followed is None:
            raise DriverError(f"{secret} has not been read yet")
        return followed.read(secret)

    def close(self) -> None:
        """Follow nothing any more."""
        self.follow(())


class _Secret:
    """One Secret; the sink of its reflector, whose thread calls it."""

    def __init__(
        self, namespace: str, name: str, keys: set[str], on_change: Callable[[], None]
    ) -> None:
        self.keys = keys
        self._namespace, self._name = namespace, name
        self._on_change: Callable[[], None] | None = on_change
        self._loop = asyncio.get_running_loop()
        self._entries: Entries | None = None
        self._missing = "has not been read yet"
        self._reflector: Reflector[Entries] | None = None

    def start(self, api: Api) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        query = {"fieldSelector": f"metadata.name={self._name}"}
        self._reflector = Reflector(api, path, query, self._slim, self)
        self._reflector.start()

    def stop(self) -> None:
        self._on_change = None
        if self._reflector is not None:
            self._reflector.stop()

    def read(self, secret: SecretKey) -> str:
        if self._entries is None:
            raise DriverError(f"{secret} {self._missing}")
        if secret.key not in self._entries:
            raise DriverError(f"{secret}: the secret has no such key")
        text = self._entries[secret.key]
        if text is None:
            raise DriverError(f"{secret} is no text")
        return text

    def _slim(self, thing: dict[str, Any]) -> Entries:
        data = thing.get("data")
        known = data if isinstance(data, dict) else {}
        return {key: _decoded(known[key]) for key in self.keys if key in known}

    # --- what the reflector tells

    def listed(self, things: list[Entries]) -> None:
        self._take(things[0] if things else None, "does not exist")

    def changed(self, thing: Entries) -> None:
        self._take(thing)

    def deleted(self, thing: Entries) -> None:
        self._take(None, "does not exist any more")

    def failed(self, reason: str) -> None:
        if self._entries is None:
            self._take(None, f"cannot be read: {reason}")

    def recovered(self) -> None:
        """What was read stays in force meanwhile, so there is nothing to take back."""

    def crashed(self, error: BaseException) -> None:
        log.error("the secret %s/%s is followed no more", self._namespace, self._name)
        self.failed(f"internal error {type(error).__name__}, see the log")

    def _take(self, entries: Entries | None, missing: str = "") -> None:
        try:
            self._loop.call_soon_threadsafe(self._put, entries, missing)
        except RuntimeError:
            pass  # the loop has ended before this thread

    def _put(self, entries: Entries | None, missing: str) -> None:
        if self._on_change is not None and (entries, missing) != (self._entries, self._missing):
            self._entries, self._missing = entries, missing
            self._on_change()


def _decoded(value: object) -> str | None:
    """An entry of a Secret's data as text."""
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
