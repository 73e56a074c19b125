"""``checks.yml``: what must hold in a lab, in order; one source for the README, CI and ``kroute lab check``.

Each entry is one of

* a **state**: ``command`` in ``node``/``nodes`` (or on the ``host``), polled until ``expect`` holds
  or ``wait`` is over;
* an **action**: ``action`` in nodes or on the host, run once, must end with 0;
* **pods**: added (``pods``) or deleted (``delete-pods``) with the real CNI plugins;
* a **ping** between pods, nodes and addresses, polled like a state;
* a **no-loss** window: streams of pings run while the steps under ``during`` are performed, and none may be lost.
* a **loss** window: the same where something must be lost: each stream is silent for ``silence`` seconds at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kroute.lab import yamlfile
from kroute.lab.errors import LabError
from kroute.lab.expect import Expectation, JsonExpectation

HOST = ""
"""Stands for the host among node names."""

DEFAULT_WAIT = 10.0
"""Seconds until a state must hold, unless the check says otherwise."""

DEFAULT_RATE = 100.0
"""Pings per second of a stream."""

ALL_PODS = "all-pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A command whose end and output must become as expected within ``wait`` seconds, on each of the nodes."""

    description: str
    nodes: Sequence[str]
    command: str
    expect: Expectation
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A command run once on each of the nodes, at the same time."""

    description: str
    nodes: Sequence[str]
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsStep:
    """Pods to be there (or gone), by node. A pod waits up to ``wait`` seconds for its node's conflist."""

    description: str
    pods: Mapping[str, Sequence[str]]
    delete: bool
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Every source reaches every target (but itself) in each family within ``wait`` seconds; names are of pods,
    then of nodes; a target may be an address."""

    description: str
    sources: Sequence[str]
    targets: Sequence[str]
    families: Sequence[int]
    wait: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLoss:
    """Streams at ``rate`` pings per second while ``during`` is performed; nothing may be lost, or, where ``silence`` is
    more than 0, none of them may be without a reply for longer than those seconds.
    """

    description: str
    streams: Sequence[Ping]
    rate: float
    during: Sequence[Check]
    silence: float = 0.0


Check = State | Action | PodsStep | Ping | NoLoss


def load(path: Path) -> list[Check]:
    """Reads a file of checks.

    Raises:
        LabError: with every complaint about the file at once.
    """
    if not path.is_file():
        raise LabError(f"{path}: no such file; a lab's checks stand beside its topology")
    document = yamlfile.parse(path.name, yamlfile.read(path))
    reader = _Reader(path.name)
    top = reader.mapping("", document, "checks")
    found = reader.checks("checks", top.get("checks"))
    if not found and not reader.errors:
        reader.error("checks", "want at least one check")
    if reader.errors:
        raise LabError(*reader.errors)
    return found


class _Reader:
    """Walks the document, collecting errors under the paths of their keys."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.errors: list[str] = []
        self._kinds: Mapping[str, Callable[[str, Mapping[str, Any]], Check]] = {
            "command": self._state,
            "action": self._action,
            "pods": self._pods,
            "delete-pods": self._delete_pods,
            "ping": self._ping,
            "no-loss": self._no_loss,
            "loss": self._loss,
        }

    def error(self, at: str, what: str) -> None:
        """Notes that the file is refused."""
        self.errors.append(f"{self.source}: {at or 'top'}: {what}")

    def mapping(self, at: str, value: Any, keys: str) -> dict[str, Any]:
        """``value`` as a mapping with no other keys than the named ones."""
        if not isinstance(value, dict):
            self.error(at, f"want a mapping, not {type(value).__name__}")
            return {}
        known = keys.split()
        for key in value:
            if key not in known:
                self.error(
                    f"{at}.{key}".lstrip("."), f"unknown key{yamlfile.suggestion(str(key), known)}"
                )
        return {str(key): item for key, item in value.items()}

    def checks(self, at: str, value: Any) -> list[Check]:
        """A list of checks."""
        if not isinstance(value, list):
            self.error(at, "want a list")
            return []
        found = [self._check(f"{at}[{i}]", item) for i, item in enumerate(value)]
        return [check for check in found if check is not None]

    def _check(self, at: str, value: Any) -> Check | None:
        """One check of the kind that its keys tell."""
        kinds = [kind for kind in self._kinds if isinstance(value, dict) and kind in value]
        if len(kinds) != 1:
            self.error(at, f"want exactly one of {', '.join(self._kinds)}")
            return None
        return self._kinds[kinds[0]](at, value)

    def _state(self, at: str, value: Any) -> State:
        spec = self.mapping(at, value, "description node nodes host command expect wait")
        return State(
            description=self._text(f"{at}.description", spec.get("description")),
            nodes=self._nodes(at, spec),
            command=self._text(f"{at}.command", spec["command"]),
            expect=self._expectation(f"{at}.expect", spec.get("expect", {})),
            wait=self._seconds(at, spec),
        )

    def _action(self, at: str, value: Any) -> Action:
        spec = self.mapping(at, value, "description node nodes host action")
        return Action(
            description=self._text(f"{at}.description", spec.get("description")),
            nodes=self._nodes(at, spec),
            command=self._text(f"{at}.action", spec["action"]),
        )

    def _pods(self, at: str, value: Any) -> PodsStep:
        return self._pods_step(at, value, "pods", "pods added", delete=False)

    def _delete_pods(self, at: str, value: Any) -> PodsStep:
        return self._pods_step(at, value, "delete-pods", "pods deleted", delete=True)

    def _pods_step(self, at: str, value: Any, key: str, words: str, *, delete: bool) -> PodsStep:
        spec = self.mapping(at, value, f"description {key} wait")
        found = self.mapping(f"{at}.{key}", spec[key], " ".join(map(str, spec[key] or ())))
        pods = {node: self._names(f"{at}.{key}.{node}", names) for node, names in found.items()}
        listed = ", ".join(f"{name} on {node}" for node, names in pods.items() for name in names)
        return PodsStep(
            description=str(spec.get("description") or f"{words}: {listed}"),
            pods=pods,
            delete=delete,
            wait=self._seconds(at, spec),
        )

    def _ping(self, at: str, value: Any) -> Ping:
        spec = self.mapping(at, value, "description ping wait")
        description = str(spec.get("description") or "")
        return self._stream(f"{at}.ping", spec["ping"], description, self._seconds(at, spec))

    def _stream(self, at: str, value: Any, description: str, wait: float) -> Ping:
        spec = self.mapping(at, value, "from to family")
        families = spec.get("family", [4])
        families = families if isinstance(families, list) else [families]
        if any(family not in (4, 6) for family in families):
            self.error(f"{at}.family", "want 4, 6 or [4, 6]")
        sources, targets = (self._names(f"{at}.{key}", spec.get(key)) for key in ("from", "to"))
        return Ping(
            description=description or f"{', '.join(sources)} ping {', '.join(targets)}",
            sources=sources,
            targets=targets,
            families=tuple(families),
            wait=wait,
        )

    def _no_loss(self, at: str, value: Any) -> NoLoss:
        return self._window(at, value, "no-loss", "streams rate during")

    def _loss(self, at: str, value: Any) -> NoLoss:
        window = self._window(at, value, "loss", "streams rate during silence")
        silence = value["loss"].get("silence") if isinstance(value["loss"], dict) else None
        if not isinstance(silence, int | float) or not 0 < silence <= 60:
            self.error(f"{at}.loss.silence", "want seconds, more than 0 and at most 60")
            silence = 1
        return replace(window, silence=float(silence))

    def _window(self, at: str, value: Any, key: str, keys: str) -> NoLoss:
        spec = self.mapping(at, value, f"description {key}")
        at_key = f"{at}.{key}"
        inner = self.mapping(at_key, spec[key], keys)
        streams = inner.get("streams")
        if not isinstance(streams, list) or not streams:
            self.error(f"{at_key}.streams", "want a list of at least one {from, to, family}")
            streams = []
        rate = inner.get("rate", DEFAULT_RATE)
        if not isinstance(rate, int | float) or not 1 <= rate <= 1000:
            self.error(f"{at_key}.rate", "want pings per second, 1 to 1000")
            rate = DEFAULT_RATE
        return NoLoss(
            description=self._text(f"{at}.description", spec.get("description")),
            streams=tuple(
                self._stream(f"{at_key}.streams[{i}]", item, "", 0.0)
                for i, item in enumerate(streams)
            ),
            rate=float(rate),
            during=tuple(self.checks(f"{at_key}.during", inner.get("during"))),
        )

    def _expectation(self, at: str, value: Any) -> Expectation:
        spec = self.mapping(at, value, "status contains lacks regex json")
        patterns = self._names(f"{at}.regex", spec.get("regex", []))
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                self.error(f"{at}.regex", f"{pattern!r}: {error}")
        documents = spec.get("json", [])
        documents = documents if isinstance(documents, list) else [documents]
        status = spec.get("status", 0)
        return Expectation(
            status=None if status == "any" else int(status),
            contains=self._names(f"{at}.contains", spec.get("contains", [])),
            lacks=self._names(f"{at}.lacks", spec.get("lacks", [])),
            regex=patterns,
            json=tuple(self._json(f"{at}.json[{i}]", item) for i, item in enumerate(documents)),
        )

    def _json(self, at: str, value: Any) -> JsonExpectation:
        spec = self.mapping(at, value, "path where count at-least every equals")
        return JsonExpectation(
            path=str(spec.get("path", "")),
            where=spec.get("where"),
            count=spec.get("count"),
            at_least=spec.get("at-least"),
            every=spec.get("every"),
            equals=spec.get("equals"),
        )

    def _nodes(self, at: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
        """The nodes a command runs in; ``host: true`` means the host."""
        if spec.get("host") is True:
            return (HOST,)
        return self._names(f"{at}.nodes", spec.get("nodes", spec.get("node")))

    def _names(self, at: str, value: Any) -> tuple[str, ...]:
        """One text or a list of texts."""
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and item for item in items):
            self.error(at, "want a text or a list of texts")
            return ()
        return tuple(items)

    def _text(self, at: str, value: Any) -> str:
        """A text that must not be missing."""
        if not isinstance(value, str) or not value.strip():
            self.error(at, "want a text")
            return ""
        return value.strip()

    def _seconds(self, at: str, spec: Mapping[str, Any]) -> float:
        """How long to wait."""
        value = spec.get("wait", DEFAULT_WAIT)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 600:
            return float(value)
        self.error(f"{at}.wait", f"want seconds up to 600, not {value!r}")
        return DEFAULT_WAIT
