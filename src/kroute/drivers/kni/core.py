"""Attach, detach, query: idempotent, atomic, durable, whatever generation asked.

Each attach writes an intent, works, and writes the result before it answers; a failure, a deadline or a crash in
between is undone with the very arguments of the intent. Calls for one pod exclude each other, queries wait for nobody.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kroute.codec.kni import record
from kroute.codec.kni.cni import CONTAINER_ID, Json, cache_of
from kroute.drivers.kni import netns as ns
from kroute.drivers.kni.clock import Clock
from kroute.drivers.kni.departures import Departures
from kroute.drivers.kni.domains import Domains
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.libcni import LibcniCache
from kroute.drivers.kni.locks import Locks
from kroute.drivers.kni.networks import Networks
from kroute.drivers.kni.plugins import Deadline, Plugins
from kroute.drivers.kni.store import Store
from kroute.model.kni import (
    Attachment,
    AttachRequest,
    Generation,
    How,
    KniError,
    NodeFacts,
    NodesReply,
    Phase,
    PodReply,
    Refusal,
    Wiring,
)
from kroute.plan import kni as plan
from kroute.plan.kni_gc import Garbage, why_garbage

log = logging.getLogger(__name__)

FAST_AT_ONCE = 2
"""Pods that the fast path attaches at once: more would wait for each other's turn in the interpreter all the time, no
pod would be ready sooner, and queries would come last."""
GRACE = 15.0
"""Seconds that undoing may take once a call's own time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator decides about the core."""

    deadline: float = 60.0
    """Seconds that an attach or a detach may take; clients of the proof of concept set no limit."""
    netns_folder: Path = ns.FOLDER


class Core:
    """The one attach/detach/query behind all generations."""

    def __init__(
        self,
        store: Store,
        plugins: Plugins,
        cache: LibcniCache,
        networks: Networks,
        facts: Callable[[], NodeFacts],
        *,
        settings: Settings | None = None,
        fast: FastPath | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.plugins = plugins
        self.cache = cache
        self.networks = networks
        self.settings = settings or Settings()
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.locks = Locks()
        self.clock = Clock()
        self.domains = Domains(
            store, self.locks, self.settings.netns_folder, self.settings.deadline, self.detach
        )
        self._fast = fast
        self._few = threading.BoundedSemaphore(FAST_AT_ONCE)
        self._departures = Departures(store, plugins, cache, fast, self.boot)
        self._facts = facts
        self._on_change = on_change

    # --- attach -------------------------------------------------------------------------------------------

    def attach(self, request: AttachRequest, generation: Generation) -> PodReply:
        """Give the pod its interfaces; the addresses are stored when this returns.

        Raises:
            KniError: the pod has nothing now, and says what an operator can do.
        """
        deadline = Deadline(self.settings.deadline)
        container = _container(request.id)
        path = plan.netns_of(request, self.domains.made_for(container, *plan.identity(request)[:2]))
        if not path:
            if plan.may_have_no_netns(generation):
                return PodReply()
            raise KniError(
                Refusal.INVALID,
                "the request names no network namespace: isolation.path, extradata or annotation `netns`",
            )
        with (
            self.locks.held(container, deadline.left),
            self.domains.entered(path, container, deadline.left) as netns,
        ):
            return self._attach(container, path, netns, request, generation, deadline)

    def _attach(
        self,
        container: str,
        path: str,
        netns: int,
        request: AttachRequest,
        generation: Generation,
        deadline: Deadline,
    ) -> PodReply:
        known, inode = self.store.attachments.get(container), os.fstat(netns).st_ino
        lives = known is not None and ns.lives(known.netns, known.inode)
        match plan.compare(known, path, inode, self.boot, lives=lives):
            case plan.Known.SAME:
                return plan.pod_reply(known)
            case plan.Known.LEFTOVER:
                assert known is not None
                self._departures.release(known, deadline)
        name, namespace, uid = plan.identity(request)
        wirings = self._wirings(container, request, name, namespace, uid)
        intent = Attachment(
            id=container,
            netns=path,
            inode=inode,
            phase=Phase.ATTACHING,
            generation=generation,
            name=name,
            namespace=namespace,
            uid=uid,
            since=time.time(),
            boot=self.boot,
            announce=request.annotations.get(plan.ANNOUNCE, "").lower() == "true",
            wirings=wirings,
        )
        with self._turn(wirings, deadline):
            self.store.put(intent, synced=False)
            return self._carry_out(intent, netns, deadline)

    @contextmanager
    def _turn(self, wirings: tuple[Wiring, ...], deadline: Deadline) -> Iterator[None]:
        """Wait until few others are at work; not for those who wait for plugins most of the time."""
        if any(w.how is How.EXEC for w in wirings):
            yield
            return
        if not self._few.acquire(timeout=deadline.left):
            raise KniError(Refusal.LATE, "attaches that came before this one did not end in time")
        try:
            yield
        finally:
            self._few.release()

    def _wirings(
        self, container: str, request: AttachRequest, name: str, namespace: str, uid: str
    ) -> tuple[Wiring, ...]:
        """What is to be done, interface by interface, ``eth0`` first; nothing is done yet."""
        args = plan.cni_args(container, name, namespace, uid)
        capabilities = plan.capabilities(request)
        wanted = [(self.networks.default(), plan.PRIMARY)]
        for other, interface in plan.further_networks(request.annotations):
            wanted.append((self.networks.named(other), interface))
        found = []
        for network, interface in wanted:
            # Ports lead to the first network only, as with every runtime.
            offered = {
                k: v
                for k, v in capabilities.items()
                if interface == plan.PRIMARY or k not in ("portMappings", "ips", "mac")
            }
            wiring = Wiring(interface=interface, network=network, capabilities=offered, args=args)
            fast = self._fast.prepare(container, wiring) if self._fast else None
            found.append(fast or wiring)
        return tuple(found)

    def _carry_out(self, intent: Attachment, netns: int, deadline: Deadline) -> PodReply:
        done: list[Wiring] = []
        try:
            if any(
                w.how is How.EXEC for w in intent.wirings
            ):  # the fast path does it along the way
                ns.loopback_up(netns)
            for wiring in intent.wirings:
                done.append(replace(wiring, result=self._add(intent, wiring, netns, deadline)))
            deadline.check("attach")
            attached = replace(intent, phase=Phase.ATTACHED, wirings=tuple(done))
            self.store.put(attached, synced=True)
        except BaseException as error:
            log.warning("attach id=%s undone: %s", intent.id, error)
            self._undo(intent, done)
            self._on_change()  # it may have met a full range
            raise
        self.cache.put(attached)
        reply = plan.pod_reply(attached)
        _log_attached(attached, reply)
        self._on_change()
        return reply

    def _add(self, intent: Attachment, wiring: Wiring, netns: int, deadline: Deadline) -> Json:
        if wiring.how is How.FAST and self._fast is not None:
            return self._fast.add(intent.id, intent.netns, netns, wiring, deadline)
        return self.plugins.add(intent.id, intent.netns, wiring, deadline)

    def _undo(self, intent: Attachment, done: list[Wiring]) -> None:
        """Take back what an attach did. What cannot be taken back now keeps its record, for the next collection."""
        begun = (*done, *intent.wirings[len(done) :])
        try:
            self._departures.release(replace(intent, wirings=begun), Deadline(GRACE), anyway=True)
        except KniError as error:
            log.error(
                "attach id=%s could not be undone and is tried again later: %s", intent.id, error
            )

    # --- detach -------------------------------------------------------------------------------------------

    def detach(self, container: str) -> None:
        """Take the pod's interfaces and addresses away; an unknown pod is no error (C10).

        Raises:
            KniError: a plugin refused; the record stays, and the next call or collection tries again.
        """
        if not container:
            raise KniError(Refusal.INVALID, "the request has no id")
        self._detach(container, lambda _known: True)

    def discard(self, container: str, why: Callable[[Attachment], object] | None = None) -> bool:
        """Detach a pod that nobody needs any more; whether that is still so once no call is working on it.

        ``why`` says so of the attachment that is there then; :meth:`why_garbage` by itself.

        Raises:
            KniError: as :meth:`detach`.
        """
        judge = why or self.why_garbage
        return self._detach(container, lambda known: bool(judge(known)))

    def why_garbage(self, attachment: Attachment) -> Garbage | None:
        """Why nobody needs it any more; None while it is in order, or while a call is working on it."""
        lives = ns.lives(attachment.netns, attachment.inode)
        return why_garbage(attachment, lives=lives, boot=self.boot)

    def _detach(self, container: str, wanted: Callable[[Attachment], bool]) -> bool:
        deadline = Deadline(self.settings.deadline)
        with self.locks.held(container, deadline.left):
            known = self.store.attachments.get(container)
            if known is None or not wanted(known):
                return False
            self._departures.release(known, deadline)
        self._on_change()
        return True

    # --- queries ------------------------------------------------------------------------------------------

    def query_pod(self, container: str) -> PodReply:
        """Addresses of a pod, from memory; unknown or detached: empty, and no error (C13, C14)."""
        return plan.pod_reply(self.store.attachments.get(container))

    def query_nodes(self) -> NodesReply:
        """Networks of this node, and of the others where configured (C16)."""
        facts = self._facts()
        return plan.nodes_reply(
            replace(facts, attachments=len(self.store.attachments), store_fault=self.store.fault)
        )

    # --- after a crash ------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Undo or finish what an earlier life left open; rebuild a store that was lost. Call it before serving."""
        if self.store.is_new:
            self._rebuild()
        self.domains.recover()
        known = list(self.store.attachments.values())
        opened = [a for a in known if a.phase is not Phase.ATTACHED]
        if opened:
            self.plugins.end_orphans({a.id for a in opened})
        for attachment in opened:
            log.warning("%s id=%s was open: undone", attachment.phase.value, attachment.id)
            try:
                self._departures.release(attachment, Deadline(GRACE))
            except KniError as error:
                log.error("id=%s is tried again later: %s", attachment.id, error)

    def complete_cache(self) -> None:
        """Write what libcni should know and an earlier life has not come to. Calls may be served meanwhile.

        Raises:
            KniError: a call for one of the pods does not end.
        """
        for attachment in list(self.store.attachments.values()):
            if attachment.phase is Phase.ATTACHED and not self.cache.has(attachment):
                with self.locks.held(attachment.id, GRACE):
                    if self.store.attachments.get(attachment.id) is attachment:
                        self.cache.put(attachment)

    def _rebuild(self) -> None:
        """Attachments out of libcni's cache, as far as their namespaces are alive."""
        for data in self.cache.entries():
            entry = cache_of(data)
            text = entry.get("kroute") if entry else None
            if not text:
                continue
            try:
                attachment = record.read(text)
            except record.Unreadable as error:
                log.error("libcni's cache: %s", error)
                continue
            if attachment.boot == self.boot and ns.lives(attachment.netns, attachment.inode):
                self.store.put(attachment, synced=True)
        if self.store.set_aside or self.store.attachments:
            log.warning("rebuilt %d attachments from libcni's cache", len(self.store.attachments))


def _log_attached(attachment: Attachment, reply: PodReply) -> None:
    """What the demo's server printed: who got which addresses on which interface."""
    shown = " ".join(
        f"{name}={','.join(config.ip) or config.mac or '-'}"
        for name, config in reply.ipconfigs.items()
    )
    log.info(
        "attached id=%s pod=%s netns=%s how=%s generation=%s %s",
        attachment.id,
        attachment.pod,
        attachment.netns,
        attachment.wirings[0].how.value,
        attachment.generation.value,
        shown,
    )


def _container(container: str) -> str:
    if not CONTAINER_ID.match(container):
        raise KniError(
            Refusal.INVALID,
            f"id {container[:80]!r} is no container id (up to 200 letters, digits, '_', '.', '-')",
        )
    return container
