"""What a pod holds on this node, and whether a source has that pod. Pure; :mod:`kroute.plan.kni_absence` judges.

Kubernetes knows pods, by name and uid. The container runtime (CRI) knows sandboxes: an attachment's is its own, a
namespace that was made for a pod (CreateNetwork) may be any sandbox's of that pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kroute.model.kni import Attachment, Domain
from kroute.model.pod import PodsSeen
from kroute.model.sandbox import Key, Sandbox, SandboxesSeen

_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
_SOURCE = "kubernetes.io/config.source"
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One thing that stands or falls with a pod."""

    id: str
    """The container's of an attachment, the path of a namespace."""
    since: float
    pod: str
    """As Kubernetes could know it; empty where it could not."""
    name: str
    namespace: str
    uid: str = ""
    container: str = ""
    """Whose sandbox it is; of a namespace, who was attached in it last."""
    is_attachment: bool = True
    occupied: bool = False
    """Of a namespace: somebody is attached in it. It is not to be judged then; the attachment is."""

    @property
    def key(self) -> Key:
        """Tells it from a later one of the same id, or from the same namespace once it has been given away anew."""
        return self.id, self.since

    @property
    def object(self) -> str:
        """As people are told of it."""
        return f"{'attachment' if self.is_attachment else 'netns'}/{self.id}"


def key_of(held: Attachment | Domain) -> Key:
    """The key of its holding."""
    return (held.path if isinstance(held, Domain) else held.id), held.since


def of_attachment(attachment: Attachment) -> Holding:
    """A pod's attachment.

    The kubelet writes down where it has a pod from; a static one comes from a file and may have no mirror, so
    Kubernetes could not know it.
    """
    static = False
    for wiring in attachment.wirings:
        notes = wiring.capabilities.get(_ANNOTATIONS)
        static |= isinstance(notes, Mapping) and notes.get(_SOURCE, "api") != "api"
    pod = _named(attachment) or (f"uid {attachment.uid}" if attachment.uid else "")
    return Holding(
        id=attachment.id,
        since=attachment.since,
        pod="" if static else pod,
        name=attachment.name,
        namespace=attachment.namespace,
        uid=attachment.uid,
        container=attachment.id,
    )


def of_domain(domain: Domain, *, occupied: bool) -> Holding:
    """A namespace that was made for a pod, which CreateNetwork names or does not."""
    return Holding(
        id=domain.path,
        since=domain.since,
        pod=_named(domain),
        name=domain.name,
        namespace=domain.namespace,
        container=domain.container,
        is_attachment=False,
        occupied=occupied,
    )


def _named(held: Attachment | Domain) -> str:
    parts = held.namespace, held.name
    return "/".join(parts) if all(_NAME.fullmatch(part) for part in parts) else ""


def knows(seen: PodsSeen, holding: Holding) -> bool:
    """Whether the pod is in the list: by its uid, or by its name where no other uid speaks against that."""
    namesake = seen.pods.get(f"{holding.namespace}/{holding.name}")
    if namesake is not None and (namesake.mirror_of or not holding.uid):
        return True
    uid = holding.uid
    return bool(uid) and any(uid in (p.uid, p.mirror_of) for p in seen.pods.values())


def lists(seen: SandboxesSeen, holding: Holding) -> bool:
    """Whether the sandbox is in the list, ready or not; for a namespace any sandbox of its pod."""
    if holding.container in seen.sandboxes:
        return True
    boxes = () if holding.is_attachment else seen.sandboxes.values()
    return any(_same_pod(holding, box) for box in boxes)


def has_heir(seen: SandboxesSeen, holding: Holding) -> bool:
    """Whether another sandbox of the same pod is ready: a kubelet lets no two be, so this one is a former one."""
    boxes = seen.sandboxes.values()
    return any(b.ready and b.id != holding.container and _same_pod(holding, b) for b in boxes)


def _same_pod(holding: Holding, box: Sandbox) -> bool:
    if holding.uid:
        return holding.uid == box.uid
    names = holding.namespace, holding.name
    return all(names) and names == (box.namespace, box.name)
