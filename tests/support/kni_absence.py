"""What Kubernetes and the container runtime are told to say, and a look at who they deny, at any time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kroute.model.kni import Attachment, Domain, Generation, Phase
from kroute.model.pod import Pod, PodsSeen
from kroute.model.sandbox import Sandbox, SandboxesSeen
from kroute.plan import kni_absence as plan
from kroute.plan.kni_holdings import Holding, of_attachment, of_domain

GRACE = 600.0


def attachment(id: str = "a", **more: Any) -> Attachment:
    base = {"id": id, "netns": "/n/a", "boot": "b"}
    return Attachment(**base | {"phase": Phase.ATTACHED, "generation": Generation.V008} | more)


def made(name: str, /, *, occupied: bool = False, **more: Any) -> Holding:
    """A namespace that CreateNetwork made for a pod of the API server's."""
    domain = Domain(path=f"/n/{name}", name=name, namespace="default")
    return of_domain(replace(domain, **more), occupied=occupied)


def pod(name: str, uid: str = "", **more: str) -> Pod:
    return Pod(namespace="default", name=name, uid=uid or f"uid-{name}", **more)


def of(name: str, uid: str | None = None, **more: Any) -> Attachment:
    """The attachment of a pod of the API server's."""
    identity: dict[str, Any] = {"name": name, "namespace": "default"}
    identity["uid"] = f"uid-{name}" if uid is None else uid
    return attachment(f"c-{name}", **identity | more)


def known(*pods: Pod, since: float = 0.0) -> PodsSeen:
    return PodsSeen(pods={p.key: p for p in pods}, since=since, failure="")


def listing(*boxes: Sandbox, runtime: str = "containerd at /s") -> SandboxesSeen:
    return SandboxesSeen(sandboxes={b.id: b for b in boxes}, runtime=runtime)


def box(name: str, id: str = "", *, ready: bool = True, uid: str = "") -> Sandbox:
    """The sandbox that :func:`of` attaches, or another one of that pod."""
    identity = {"namespace": "default", "name": name, "uid": uid or f"uid-{name}"}
    return Sandbox(id=id or f"c-{name}", ready=ready, **identity)


class Watch:
    """Looks at attachments, and at namespaces that were made for pods, one look after the other."""

    def __init__(
        self, *attachments: Attachment, made: Iterable[Holding] = (), doubt: str = ""
    ) -> None:
        self.attachments = attachments
        self.made = tuple(made)
        self.doubt = doubt
        self.memory = plan.Memory()

    def look(
        self, now: float, pods: PodsSeen | None, boxes: SandboxesSeen | None = None
    ) -> tuple[plan.Verdict, ...]:
        heard = plan.Heard(pods, boxes, self.doubt)
        ours = [*map(of_attachment, self.attachments), *self.made]
        found = plan.judge(ours, heard, self.memory, now=now, grace=GRACE)
        self.memory = found.memory
        return found.verdicts

    def due(
        self, now: float, pods: PodsSeen | None, boxes: SandboxesSeen | None = None
    ) -> list[str]:
        """Ids of those that may go."""
        return [v.holding.id for v in self.look(now, pods, boxes) if not v.kept]
