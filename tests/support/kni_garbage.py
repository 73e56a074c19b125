"""What garbage collection asks, in the hands of a test: the time, and what an API server says of a node's pods."""

from __future__ import annotations

from collections.abc import Callable

from kroute.model.pod import Pod, PodsSeen


def labels(name: str) -> dict[str, str]:
    """What a kubelet of any generation says of the pod `default/NAME` when it attaches it."""
    known = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    return {f"io.kubernetes.pod.{key}": value for key, value in known.items()}


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ApiPods:
    """What an API server says of this node's pods."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self.failure = ""
        self.asked = 0
        self.on_ask: Callable[[], object] = lambda: None

    def run(self, *names: str) -> None:
        """Exactly these pods are on the node."""
        pods = [Pod(namespace="default", name=name, uid=f"uid-{name}") for name in names]
        self.pods = {pod.key: pod for pod in pods}

    def seen(self) -> PodsSeen:
        return PodsSeen(pods=dict(self.pods), failure=self.failure)

    def ask(self) -> PodsSeen:
        self.asked += 1
        self.on_ask()
        return self.seen()

    def close(self) -> None:
        """Nothing is held."""
