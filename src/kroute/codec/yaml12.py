"""YAML as YAML 1.2's core schema reads it, with line numbers and limits.

PyYAML is YAML 1.1: there the community ``65000:30`` is the number 3900030 and ``no`` is false. Here only ``true``,
``false``, ``null``, plain decimal, ``0x`` and ``0o`` numbers and floats are anything but text, and ``<<`` is a key like
any other. PyYAML does the parsing, up to its events; values are built here, because its own composer recurses in C
without a bound and crashes the process on a hundred thousand ``[``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import yaml

from kroute.model.errors import Complaint, InputError

MAX_DEPTH: Final = 64
"""Collections within each other; Kubernetes objects need about a dozen."""
MAX_UNFOLDED: Final = 100_000
"""Values that the aliases of one document may stand for: more is an attack or a mistake."""
MAX_DIGITS: Final = 64
"""Characters of a whole number."""
MAX_COMPLAINTS: Final = 100

_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG: Final = "tag:yaml.org,2002:"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = tuple[str | int, ...]
Keep = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A value and where its parts stand: path of keys and indexes to line (from 1)."""

    value: Any
    lines: dict[Path, int]


class _Hopeless(Exception):
    """Reading on makes no sense; the complaint is already noted."""


def load(text: str, source: str) -> Document:
    """The one document in a text, with its lines; None where it is empty.

    Raises:
        InputError: it is no YAML, holds several documents, a key twice, or too much.
    """
    documents = list(_documents(text, source, lines=True))
    if len(documents) > 1:
        reason = f"holds {len(documents)} documents where one is expected"
        raise InputError(source, [Complaint("", reason)])
    return documents[0] if documents else Document(None, {})


def load_all(text: str, source: str, keep: Keep | None = None) -> list[Any]:
    """The value of every document in a text.

    With ``keep``, the entries of a document's own ``items`` are replaced, each as soon as it is read, by what that
    makes of them: a list of thousands of objects is then never in memory as a whole.

    Raises:
        InputError: it is no YAML, holds a key twice, or too much.
    """
    return [document.value for document in _documents(text, source, lines=False, keep=keep)]


def _documents(
    text: str, source: str, *, lines: bool, keep: Keep | None = None
) -> Iterator[Document]:
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        reason = f"a character that YAML does not allow: U+{ord(found[0]):04X}"
        raise InputError(source, [Complaint(f"line {line}", reason)])
    complaints: list[Complaint] = []
    documents: list[Document] = []
    try:
        events = yaml.parse(text, Loader=_Loader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder(events, complaints, lines=lines, keep=keep)
                documents.append(Document(builder.build(next(events), (), 0), builder.lines))
    except _Hopeless:
        pass
    except yaml.YAMLError as error:
        complaints.append(_explain(error, text))
    if complaints:
        raise InputError(source, complaints)
    yield from documents


def _explain(error: yaml.YAMLError, text: str) -> Complaint:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return Complaint("", f"is not YAML: {problem}")
    line = (text.split("\n", mark.line + 1)[mark.line :] or [""])[0]
    if line[mark.column : mark.column + 1] == "\t":
        problem = "a tab where only spaces may indent"
    return Complaint(f"line {mark.line + 1}", f"is not YAML: {problem}")


class _Builder:
    """The events of one document to its value. Complains about what is merely wrong, and reads on."""

    def __init__(
        self,
        events: Iterator[Any],
        complaints: list[Complaint],
        *,
        lines: bool,
        keep: Keep | None,
    ) -> None:
        self.lines: dict[Path, int] = {}
        self._keep = keep
        self._keep_next: Keep | None = None
        """What the sequence that begins next does with its entries."""
        self._events = events
        self._complaints = complaints
        self._noting = lines
        self._anchors: dict[str, tuple[Any, int]] = {}
        """Value and the number of values in it, by anchor."""
        self._count = 0
        self._unfolded = 0

    def build(self, event: Any, path: Path, depth: int) -> Any:
        """The value that begins with an event."""
        self._count += 1
        if self._noting:
            self.lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            self._give_up(event, f"is nested more than {MAX_DEPTH} levels deep")
        before = self._count
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._expect_tag(event, "seq")
            value = self._sequence(path, depth)
        else:
            self._expect_tag(event, "map")
            value = self._mapping(path, depth)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _alias(self, event: Any) -> Any:
        """The value that was built already, counted again: whoever walks it will walk all of it."""
        if event.anchor not in self._anchors:
            self._give_up(event, f"the alias *{event.anchor} stands for nothing before it")
        value, size = self._anchors[event.anchor]
        self._count += size
        self._unfolded += size
        if self._unfolded > MAX_UNFOLDED:
            self._give_up(event, f"its aliases stand for more than {MAX_UNFOLDED} values")
        return value

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        out: list[Any] = []
        keep, self._keep_next = self._keep_next, None
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            out.append(self.build(event, (*path, len(out)) if self._noting else path, depth + 1))
            if keep is not None:
                out[-1] = keep(out[-1])
        return out

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                self._give_up(event, "a key that is no plain text")
            key = event.value
            if key in out:
                self._complain(event, f"the key {_short(key)} stands here a second time")
            below = (*path, key) if self._noting else path
            if event.anchor:
                self._anchors[event.anchor] = (key, 1)
            self._keep_next = self._keep if depth == 0 and key == "items" else None
            out[key] = self.build(next(self._events), below, depth + 1)
        return out

    def _scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag is None:
            return self._plain(event, text) if event.implicit[0] else text
        if tag in ("!", _TAG + "str"):
            return text
        value = self._plain(event, text)
        if tag != _TAG + _kind(value):
            self._complain(event, f"{_short(text)} with the tag {tag!r}; only plain YAML is read")
        return value

    def _plain(self, event: Any, text: str) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "-+.0123456789":
            return text
        if _INT.fullmatch(text):
            if len(text) > MAX_DIGITS:
                self._complain(event, f"a number of {len(text)} digits")
                return 0
            return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _expect_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            self._complain(event, f"a value with the tag {event.tag!r}; only plain YAML is read")

    def _complain(self, event: Any, reason: str) -> None:
        self._complaints.append(Complaint(f"line {event.start_mark.line + 1}", reason))
        if len(self._complaints) >= MAX_COMPLAINTS:
            raise _Hopeless

    def _give_up(self, event: Any, reason: str) -> NoReturn:
        self._complain(event, reason)
        raise _Hopeless


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "bool", int: "int", float: "float"}.get(type(value), "str")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
