"""The own node's pods, followed for garbage collection. Of each object only its names are kept.

A server that is away, refuses, or sends what cannot be read leaves no opinion: :attr:`PodsSeen.failure` says why, and
what is known counts as known without a gap only from its next list or watch on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kroute.codec.pods import pod_of
from kroute.drivers.inventory.api import Api, ApiError, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.reflector import PAGE, Reflector
from kroute.model.config import KubernetesInventory
from kroute.model.pod import Pod, PodsSeen

log = logging.getLogger(__name__)

PATH: Final = "/api/v1/pods"
_ODD: Final = "the API server sent a pod without a name, namespace or uid"


class KubernetesPods:
    """Follows the pods of one node by a watch of its own; the sink of its reflector, whose thread calls it."""

    def __init__(
        self,
        config: KubernetesInventory,
        node: str,
        on_change: Callable[[], None] = lambda: None,
        *,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_change`` is called in the reflector's thread when :attr:`PodsSeen.failure` may have changed."""
        self._patience = patience or Patience()
        self._find = partial(find_access, config.kubeconfig)
        self._query = {"fieldSelector": f"spec.nodeName={node}"}
        self._on_change = on_change
        self._clock = clock
        self._mutex = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._listed = self._odd = False
        self._failure = ""
        self._since = 0.0
        api = Api(self._find, self._patience)
        self._reflector = Reflector(api, PATH, self._query, pod_of, self)

    def start(self) -> None:
        """Follow until :meth:`close`."""
        self._reflector.start()

    def close(self) -> None:
        """Follow no more; safe before :meth:`start`."""
        self._reflector.stop()

    @property
    def refusal(self) -> str:
        """Why the server's words are not taken; empty while they are, or while it has said nothing yet."""
        return self._failure or (_ODD if self._odd else "")

    def seen(self) -> PodsSeen:
        """What is known now; from any thread."""
        with self._mutex:
            pods, since, failure = dict(self._pods), self._since, self.refusal
            if not self._listed:
                failure = failure or PodsSeen().failure
        return PodsSeen(pods=pods, since=since, failure=failure)

    def ask(self) -> PodsSeen:
        """List the pods anew, over a connection of its own; blocks while the server answers.

        The list is as new as the server's storage: no watch that hangs unnoticed stands between.
        """
        api = Api(self._find, self._patience)
        pods: dict[str, Pod] = {}
        query = {**self._query, "limit": str(PAGE)}
        try:
            while True:
                answer = api.get(PATH, query)
                for pod in map(pod_of, _items(answer)):
                    if pod is None:
                        return PodsSeen(failure=_ODD)
                    pods[pod.key] = pod
                metadata = answer.get("metadata")
                following = metadata.get("continue") if isinstance(metadata, dict) else None
                if not following:
                    return PodsSeen(pods=pods, since=self._clock(), failure="")
                query["continue"] = str(following)
        except ApiError as error:
            return PodsSeen(failure=str(error))
        finally:
            api.forget()

    # --- what the reflector tells

    def listed(self, things: list[Pod | None]) -> None:
        """These are all."""
        with self._mutex:
            self._resume()
            self._odd = None in things
            self._pods = {pod.key: pod for pod in things if pod is not None}
            self._listed = True
        self._on_change()

    def changed(self, thing: Pod | None) -> None:
        """One is new, or has changed."""
        with self._mutex:
            if thing is not None:
                self._pods[thing.key] = thing
                return
            self._odd = True
        self._on_change()

    def deleted(self, thing: Pod | None) -> None:
        """One is gone."""
        with self._mutex:
            if thing is not None:
                self._pods.pop(thing.key, None)

    def failed(self, reason: str) -> None:
        """The server does not answer as it should: no opinion from now on."""
        if reason != self._failure:
            log.warning("pods of this node: %s; none counts as forgotten meanwhile", reason)
        with self._mutex:
            self._failure = reason
        self._on_change()

    def recovered(self) -> None:
        """It does again; what happens from now on is known."""
        if self._failure:
            log.info("pods of this node: the API server answers as it should again")
            with self._mutex:
                self._resume()
            self._on_change()

    def crashed(self, error: BaseException) -> None:
        """The reflector has ended by a bug: no opinion any more."""
        log.error("the pods of this node are followed no more")
        self.failed(f"internal error {type(error).__name__}, see the log")

    def _resume(self) -> None:
        """Without a gap from now on, unless there was none."""
        if self._failure or self._odd or not self._listed:
            self._since = self._clock()
        self._failure = ""


def _items(answer: dict[str, Any]) -> list[Any]:
    items = answer.get("items")
    return items if isinstance(items, list) else []
