"""Problems of nodes and services as Kubernetes Events, over a connection of its own.

An API server that is away, or refuses, is asked again with growing pauses; what is wrong goes on being in `kroute show
problems`. That nobody may create Events is itself a problem there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from kroute.codec.events import event_object, event_path
from kroute.drivers.inventory.api import Api, ApiError, Patience
from kroute.drivers.inventory.credentials import find_access
from kroute.model.config import KubernetesInventory
from kroute.model.problem import Problem
from kroute.plan.notices import Ledger, Notice, notices

log = logging.getLogger(__name__)

MOST: Final = 20
"""Events that are created in one round."""
ROUND: Final = 5.0
LONGEST_PAUSE: Final = 600.0
"""Seconds from one look at the problems to the next, and between attempts while the server refuses."""
NEVER: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""Answers that another attempt would not change: its namespace is gone, or the server dislikes its form."""


def event_writer(
    config: KubernetesInventory,
    me: str,
    problems: Callable[[], tuple[Problem, ...]],
    uid_of: Callable[[str], str],
    report: Callable[[tuple[Problem, ...]], None],
) -> EventWriter:
    """A writer over the configured access; see :class:`EventWriter`."""
    api = Api(partial(find_access, config.kubeconfig), Patience())
    return EventWriter(api, me, problems, uid_of, report)


class EventWriter:
    """Tells of the own node's view of what is wrong."""

    def __init__(
        self,
        api: Api,
        me: str,
        problems: Callable[[], tuple[Problem, ...]],
        uid_of: Callable[[str], str],
        report: Callable[[tuple[Problem, ...]], None],
    ) -> None:
        """``problems`` is called in a thread; ``uid_of`` gives a node's uid, empty if unknown; ``report`` takes what
        is wrong with the telling itself."""
        self._api = api
        self._me = me
        self._problems = problems
        self._uid_of = uid_of
        self._report = report
        self._ledger = Ledger(me)
        self._pause = ROUND

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await asyncio.sleep(self._pause)
            refusal = await asyncio.to_thread(self.round)
            self._pause = min(self._pause * 2, LONGEST_PAUSE) if refusal else ROUND
            self._report(_complaint(refusal) if refusal else ())

    def round(self) -> ApiError | None:
        """Tell what is due; blocking. The failure that ended it, if one did."""
        present = notices(self._problems(), self._me)
        for notice in self._ledger.due(present, time.monotonic())[:MOST]:
            try:
                self._create(notice)
            except ApiError as error:
                if error.status not in NEVER:
                    return error
                log.warning("no Event for %s %s: %s", notice.kind, notice.name, error)
            self._ledger.told(notice)
        return None

    def _create(self, notice: Notice) -> None:
        body = event_object(
            name=notice.id,
            kind=notice.kind,
            namespace=notice.namespace,
            object_name=notice.name,
            uid=self._uid_of(notice.name) if notice.kind == "Node" else "",
            reason=notice.reason,
            message=notice.message,
            host=self._me,
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        try:
            self._api.create(event_path(notice.namespace), body)
        except ApiError as error:
            if (
                error.status != HTTPStatus.CONFLICT
            ):  # another node has told it, or we in an earlier life
                raise
        else:
            log.info("event %s %s reason=%s", notice.kind, notice.name, notice.reason)


def _complaint(error: ApiError) -> tuple[Problem, ...]:
    forbidden = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    if not forbidden:
        return ()  # a server that is away is told of by the inventory
    reason = (
        f"cannot be created: {error}; problems are told here only. Grant the right to create events (deploy/daemonset."
        "yaml does), or set inventory.kubernetes.events to false"
    )
    return (Problem(object="events", reason=reason),)
