"""What no pod needs any more: attachments, leases, veths. Pure; the same reason is logged, shown and counted.

Attachments whose namespace lives, and such namespaces, are another matter: :mod:`kroute.plan.kni_absence`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kroute.model.kni import Attachment, Phase

_MARK = "kroute/"


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
    SANDBOX = "sandbox"
    """The container runtime lists its sandbox no more."""
    LEASE = "lease"
    """A lease without an owner."""
    VETH = "veth"
    """A veth without an owner."""
    DOMAIN = "domain"
    """A namespace of CreateNetwork that is gone."""
    UNUSED = "unused"
    """A namespace of CreateNetwork that nobody is attached in, and whose pod Kubernetes does not know."""


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
