"""What no pod needs any more: attachments, leases, veths. Pure; the same reason is logged, shown and counted.

An attachment whose namespace lives is released for one reason only: Kubernetes has not known its pod for a while. An
API server may be away, restored without its objects, or another cluster's; so absence counts only

- of a pod that Kubernetes could know: the caller said its uid, or its namespace and name; static pods are the
  kubelet's;
- in a list that is followed now, and has been without a gap, for the whole grace;
- while another attached pod of this node *is* in that list: a list that knows none of our pods is not about them;
- while the list of nodes is believed as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil
from typing import NamedTuple

from kroute.model.kni import Attachment, Phase
from kroute.model.pod import PodsSeen

_MARK = "kroute/"
_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
_SOURCE = "kubernetes.io/config.source"
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Cause(StrEnum):
    """Why something is garbage; the values are a metric's labels."""

    BOOT = "boot"
    """Of a former boot."""
    NETNS = "netns"
    """Its network namespace is gone."""
    DETACH = "detach"
    """Its detach was broken off."""
    POD = "pod"
    """Kubernetes does not know its pod."""
    LEASE = "lease"
    """A lease without an owner."""
    VETH = "veth"
    """A veth without an owner."""
    DOMAIN = "domain"
    """A namespace of CreateNetwork that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """That something is garbage, and why."""

    cause: Cause
    reason: str


def why_garbage(attachment: Attachment, *, lives: bool, boot: str) -> Garbage | None:
    """Why nobody needs an attachment any more, or its detach has to be ended; None while it is in order.

    ``lives``: its namespace is there. True of what no call is working on; a detach that runs looks like one that
    was broken off.
    """
    if attachment.boot != boot:
        return Garbage(cause=Cause.BOOT, reason="it is of a former boot")
    if not lives:
        reason = f"its network namespace {attachment.netns} is gone"
        return Garbage(cause=Cause.NETNS, reason=reason)
    if attachment.phase is Phase.DETACHING:
        return Garbage(cause=Cause.DETACH, reason="its detach did not end")
    return None


def ownerless(
    leases: Mapping[str, str], owners: Collection[str], known: Collection[str]
) -> Iterator[str]:
    """Leases (address to container id) whose container is neither attached by us nor in libcni's cache."""
    for address, container in leases.items():
        if container not in owners and container not in known:
            yield address


# --- veths ----------------------------------------------------------------------------------------------


def mark_of(container: str) -> str:
    """The alias of the node's end of a veth: that we made it, and for whom. What bears no such alias is not ours."""
    return _MARK + container


def marked_for(alias: str) -> str:
    """The container that an alias names; empty where it is none of ours."""
    return alias.removeprefix(_MARK) if alias.startswith(_MARK) else ""


def host_ends(attachment: Attachment) -> frozenset[str]:
    """Names of the node's interfaces of an attachment, as far as they are known: none while it is being attached."""
    found = {w.host for w in attachment.wirings if w.host}
    for wiring in attachment.wirings:
        for interface in wiring.result.get("interfaces") or ():
            if not interface.get("sandbox"):
                found.add(str(interface.get("name", "")))
    return frozenset(found)


def stray(
    veths: Mapping[str, str], attachments: Mapping[str, Attachment], known: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Of veths that bear our mark (name to container): those that nobody will ever remove, and why.

    ``known`` are the containers of libcni's cache: their runtime removes them.
    """
    for name, container in veths.items():
        owner = attachments.get(container)
        if owner is None and container not in known:
            yield name, f"container {container} is known neither here nor to libcni"
        elif owner is not None and owner.phase is Phase.ATTACHED:
            ends = host_ends(owner)
            if ends and name not in ends:
                yield name, f"container {container} has been attached anew without it"


# --- pods that Kubernetes does not know -----------------------------------------------------------------

_NONE_OF_OURS = (
    "the API server's list of this node's pods has none of those attached here, so it may lack any"
)
Key = tuple[str, float]
"""An attachment: its id, and when it was attached; another one may bear the id later."""


def key_of(attachment: Attachment) -> Key:
    """What tells an attachment from a later one of the same id."""
    return attachment.id, attachment.since


class Memory(NamedTuple):
    """What one look leaves for the next; seconds of the monotonic clock."""

    unknown: Mapping[Key, float] = {}
    """Attachments whose pods were in no list since then."""
    believed: float | None = None
    """Since when every look believed the list; None: the last one did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An attachment whose pod Kubernetes does not know."""

    attachment: Attachment
    reason: str
    kept: str = ""
    """Why it is kept for now; empty: it may go."""
    stuck: bool = False
    """It is kept by a doubt, and would have gone without."""

    @property
    def key(self) -> Key:
        """The attachment's."""
        return key_of(self.attachment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one look finds."""

    memory: Memory
    verdicts: tuple[Verdict, ...] = field(default=())


def pod_of(attachment: Attachment) -> str:
    """The pod as Kubernetes could know it; empty where the caller did not say, or it is no pod of the API server's.

    The kubelet writes down where it has a pod from; a static one comes from a file and may have no mirror.
    """
    for wiring in attachment.wirings:
        notes = wiring.capabilities.get(_ANNOTATIONS)
        source = notes.get(_SOURCE, "api") if isinstance(notes, Mapping) else "api"
        if source != "api":
            return ""
    name = f"{attachment.namespace}/{attachment.name}"
    if all(_NAME.fullmatch(part) for part in (attachment.namespace, attachment.name)):
        return name
    return f"uid {attachment.uid}" if attachment.uid else ""


def knows(seen: PodsSeen, attachment: Attachment) -> bool:
    """Whether the pod is in the list: by its uid, or by its name where no other uid speaks against that."""
    namesake = seen.pods.get(f"{attachment.namespace}/{attachment.name}")
    if namesake is not None and (namesake.mirror_of or not attachment.uid):
        return True
    uid = attachment.uid
    return bool(uid) and any(uid in (p.uid, p.mirror_of) for p in seen.pods.values())


def judge(
    attachments: Iterable[Attachment],
    seen: PodsSeen,
    doubt: str,
    memory: Memory,
    *,
    now: float,
    grace: float,
) -> Judgement:
    """Which attachments Kubernetes has forgotten. ``doubt``: why the API server is not believed; empty if it is."""
    ours = [a for a in attachments if a.phase is Phase.ATTACHED and pod_of(a)]
    if seen.failure:
        former = {k: memory.unknown[k] for k in map(key_of, ours) if k in memory.unknown}
        return Judgement(memory=Memory(former, None))
    strangers = [a for a in ours if not knows(seen, a)]
    if strangers and len(strangers) == len(ours):
        doubt = doubt or _NONE_OF_OURS
    unknown = {k: memory.unknown.get(k, now) for k in map(key_of, strangers)}
    believed = None if doubt else now if memory.believed is None else memory.believed
    verdicts = []
    for attachment in strangers:
        waited = now - unknown[key_of(attachment)]
        if doubt:
            verdicts.append(_verdict(attachment, doubt, stuck=waited >= grace))
            continue
        assert believed is not None
        waited = min(waited, now - believed, now - seen.since)
        wait = f"released in {ceil(grace - waited)} s unless Kubernetes learns of it"
        verdicts.append(_verdict(attachment, wait if waited < grace else ""))
    return Judgement(memory=Memory(unknown, believed), verdicts=tuple(verdicts))


def confirm(
    verdicts: Iterable[Verdict], attachments: Iterable[Attachment], again: PodsSeen
) -> Iterator[Verdict]:
    """The verdicts after the API server has been asked once more: what it does not deny a second time is kept."""
    doubt = again.failure
    if not doubt and not any(knows(again, a) for a in attachments if pod_of(a)):
        doubt = _NONE_OF_OURS
    for verdict in verdicts:
        if verdict.kept or (not doubt and not knows(again, verdict.attachment)):
            yield verdict
        elif doubt:
            kept = f"asked once more, the API server is in doubt: {doubt}"
            yield replace(verdict, kept=kept, stuck=True)


def _verdict(attachment: Attachment, kept: str, *, stuck: bool = False) -> Verdict:
    reason = f"Kubernetes does not know its pod {pod_of(attachment)} on this node"
    return Verdict(attachment=attachment, reason=reason, kept=kept, stuck=stuck)
