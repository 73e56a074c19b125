"""YAML as YAML 1.2's core schema reads it, with line numbers and limits.

PyYAML is YAML 1.1: there the community ``65000:30`` is the number 3900030 and ``no`` is false. Here only ``true``,
``false``, ``null``, plain decimal, ``0x`` and ``0o`` numbers and floats are anything but text. Keys that stand twice,
and aliases that would unfold into more than :data:`MAX_NODES` values, are errors.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import yaml

from kroute.model.errors import Complaint, InputError

MAX_NODES: Final = 2_000_000
"""Values in one document, aliases counted each time: more is an attack or a mistake."""

_CORE: Final = (
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    (
        "tag:yaml.org,2002:int",
        re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
        "-+0123456789",
    ),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
)

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """A value and where its parts stand: path of keys and indexes to line (from 1)."""

    value: Any
    lines: dict[tuple[str | int, ...], int]


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader with the core schema in place of YAML 1.1's."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))


class _Refused(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.complaint = Complaint(f"line {line}", reason)


def load(text: str, source: str) -> Document:
    """The one document in a text; None where it is empty.

    Raises:
        InputError: it is no YAML, holds several documents, a key twice, or too much.
    """
    documents = load_all(text, source)
    if len(documents) > 1:
        raise InputError(
            source, [Complaint("", f"holds {len(documents)} documents where one is expected")]
        )
    return documents[0] if documents else Document(None, {})


def load_all(text: str, source: str) -> list[Document]:
    """Every document in a text.

    Raises:
        InputError: it is no YAML, holds a key twice, or too much.
    """
    try:
        loader = _Loader(text)
        try:
            documents = []
            while loader.check_node():
                documents.append(_Builder().document(loader.get_node()))
            return documents
        finally:
            loader.dispose()
    except _Refused as error:
        raise InputError(source, [error.complaint]) from None
    except yaml.YAMLError as error:
        raise InputError(source, [_explain(error)]) from error
    except RecursionError:
        raise InputError(source, [Complaint("", "is nested too deeply")]) from None


def _explain(error: yaml.YAMLError) -> Complaint:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if "\\t" in problem or "'\t'" in problem:
        problem = "a tab where only spaces may indent"
    return Complaint(f"line {mark.line + 1}" if mark else "", f"is not YAML: {problem}")


class _Builder:
    """Nodes to values, noting lines."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.count = 0

    def document(self, node: yaml.Node) -> Document:
        return Document(self.build(node, ()), self.lines)

    def build(self, node: yaml.Node, path: tuple[str | int, ...]) -> Any:
        self.count += 1
        line = node.start_mark.line + 1
        if self.count > MAX_NODES:
            raise _Refused(
                line, f"holds more than {MAX_NODES} values once its aliases are unfolded"
            )
        self.lines[path] = line
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: yaml.Node, path: tuple[str | int, ...]) -> dict[Hashable, Any]:
        out: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(line, "a key that is no plain text")
            key = key_node.value
            if key in out:
                raise _Refused(line, f"the key {key!r} stands here a second time")
            out[key] = self.build(value_node, (*path, key))
        return out


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    tag, text = node.tag.rpartition(":")[2], node.value
    try:
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            case "str":
                return text
    except ValueError:
        raise _Refused(line, f"{text!r} is no {tag}") from None
    raise _Refused(line, f"a value with the tag {node.tag!r}; only plain YAML is read")
