"""What a check expects of a command's end and output, and judging it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kroute.lab.backend import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonExpectation:
    """Something about JSON output: the items at ``path`` that match ``where`` are counted or compared.

    ``path`` is dotted; ``*`` means every item. ``where`` and ``every`` name fields (dotted as well) with the value
    wanted; a text that begins with ``~`` is a regular expression.
    """

    path: str = ""
    where: Mapping[str, Any] | None = None
    count: int | None = None
    at_least: int | None = None
    every: Mapping[str, Any] | None = None
    equals: Any = None

    def complaint(self, document: Any) -> str:
        """What does not hold, or nothing."""
        items = select(document, self.path)
        if len(items) == 1 and isinstance(items[0], list) and self.equals is None:
            items = items[0]
        if self.where is not None:
            items = [item for item in items if matches(item, self.where)]
        what = f"items{f' at {self.path}' if self.path else ''}{f' with {dict(self.where)}' if self.where else ''}"
        if self.count is not None and len(items) != self.count:
            return f"want {self.count} {what}, found {len(items)}"
        if self.at_least is not None and len(items) < self.at_least:
            return f"want at least {self.at_least} {what}, found {len(items)}"
        if self.every is not None and not (items and all(matches(i, self.every) for i in items)):
            odd = next((i for i in items if not matches(i, self.every)), "no item at all")
            return f"want every one of the {what} to have {dict(self.every)}, found {odd}"
        if self.equals is not None and items != [self.equals]:
            return f"want {self.equals!r} at {self.path}, found {items}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Everything expected of one command; all of it must hold. ``status`` None: any."""

    status: int | None = 0
    contains: Sequence[str] = ()
    lacks: Sequence[str] = ()
    regex: Sequence[str] = ()
    json: Sequence[JsonExpectation] = ()

    def complaints(self, result: Result) -> list[str]:
        """What does not hold; empty: all is as expected."""
        return [complaint for complaint in self._complaints(result) if complaint]

    def _complaints(self, result: Result) -> Iterable[str]:
        """One text per expectation; empty where it holds."""
        if self.status is not None and result.status != self.status:
            yield f"ended with status {result.status}, not {self.status}"
        text = result.stdout
        yield from (f"does not contain {part!r}" for part in self.contains if part not in text)
        yield from (f"contains {part!r}" for part in self.lacks if part in text)
        for pattern in self.regex:
            if not re.search(pattern, text, re.MULTILINE):
                yield f"does not match {pattern!r}"
        if self.json:
            try:
                document = json.loads(text)
            except ValueError:
                yield "is not JSON"
                return
            yield from (expectation.complaint(document) for expectation in self.json)


def select(document: Any, path: str) -> list[Any]:
    """All values at a dotted path; ``*`` descends into every item of a list or mapping. Missing ones are left out."""
    found = [document]
    for part in path.split(".") if path else ():
        found = [value for item in found for value in _step(item, part)]
    return found


def _step(item: Any, part: str) -> list[Any]:
    """The values one step below ``item``."""
    match item:
        case dict():
            return list(item.values()) if part == "*" else [item[part]] if part in item else []
        case list():
            if part == "*":
                return list(item)
            return [item[int(part)]] if part.isdigit() and int(part) < len(item) else []
        case _:
            return []


def matches(item: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether each named field of ``item`` has the value wanted."""
    return all(
        any(_equal(value, want) for value in select(item, path)) for path, want in wanted.items()
    )


def _equal(value: Any, want: Any) -> bool:
    """Equality, or a match for ``~regex``."""
    if isinstance(want, str) and want.startswith("~"):
        return re.search(want[1:], str(value)) is not None
    return bool(value == want)
