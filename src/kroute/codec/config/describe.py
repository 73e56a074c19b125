"""The configuration's JSON Schema for editors, and its reference for people, both from the model itself."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, is_dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from kroute.codec.config.constraints import ALTERNATIVES, CHOICES, PATTERNS, RANGES, REFUSED
from kroute.codec.config.decode import camel, hints, keys
from kroute.codec.config.encode import plain
from kroute.model.config import Config
from kroute.model.net import Address, Prefix
from kroute.model.policies import NexthopRule, OriginClass, OriginState, PolicyConfig, Then


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kroute.yaml",
        **_schema(Config, ""),
    }


def _schema(wanted: Any, key: str) -> dict[str, Any]:
    origin = get_origin(wanted)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _object(wanted)
    if origin in (Union, UnionType):
        return _union(wanted, key)
    if origin is tuple:
        return {"type": ["array", "null"], "items": _schema(get_args(wanted)[0], key)}
    if origin is not None:
        values = get_args(wanted)[1]
        return {
            "type": ["object", "null"],
            **({} if values is Any else {"additionalProperties": _schema(values, "")}),
        }
    return _scalar(wanted, key)


def _object(cls: type) -> dict[str, Any]:
    texts = docs(cls)
    properties = {}
    required = []
    for f in keys(cls):
        key = camel(f.name)
        properties[key] = {**_schema(hints(cls)[f.name], key), "description": texts.get(f.name, "")}
        default = f.default if f.default is not MISSING else MISSING
        if default is not MISSING:
            properties[key]["default"] = plain(default)
        elif f.default_factory is MISSING:
            required.append(key)
    found: dict[str, Any] = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": properties,
    }
    if required:
        found |= {"type": "object", "required": required}
    if cls in ALTERNATIVES:
        found["allOf"] = [
            {"anyOf": [{"required": [key]} for key in either]} for either in ALTERNATIVES[cls]
        ]
    return found


def _union(wanted: Any, key: str) -> dict[str, Any]:
    choices = [c for c in get_args(wanted) if c is not NoneType]
    if set(choices) <= {*get_args(Address), *get_args(Prefix)}:
        found: dict[str, Any] = {"type": "string"}
    elif len(choices) > 1:
        every = [_schema(c, key) for c in choices]
        return {"anyOf": [*every, {"type": "null"}] if NoneType in get_args(wanted) else every}
    else:
        found = _schema(choices[0], key)
    if NoneType in get_args(wanted):
        kind = found["type"]
        kinds = kind if isinstance(kind, list) else [kind]
        found["type"] = [*(k for k in kinds if k != "null"), "null"]
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    return found


def _scalar(wanted: Any, key: str) -> dict[str, Any]:
    if issubclass(wanted, StrEnum):
        return {"type": "string", "enum": [e.value for e in wanted]}
    if wanted is bool:
        return {"type": "boolean"}
    if wanted is int:
        return {"type": "integer", **_limits(key)}
    if key in CHOICES:
        return {"type": "string", "enum": list(CHOICES[key])}
    return {"type": "string", **({"pattern": f"^{PATTERNS[key][0]}$"} if key in PATTERNS else {})}


def _limits(key: str) -> dict[str, Any]:
    if key not in RANGES:
        return {}
    limits: dict[str, Any] = {"minimum": RANGES[key][0], "maximum": RANGES[key][1]}
    if key in REFUSED:
        limits["not"] = {"enum": list(REFUSED[key])}
    return limits


@cache
def docs(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass and of what it is made from, read from their source."""
    found: dict[str, str] = {}
    for base in reversed([c for c in cls.__mro__ if is_dataclass(c) or c is cls]):
        found |= _own_docs(base)
    return found


def _own_docs(cls: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for node, following in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(node, ast.AnnAssign | ast.Assign) or not isinstance(following, ast.Expr):
            continue
        name = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        text = following.value
        if (
            isinstance(text, ast.Constant)
            and isinstance(text.value, str)
            and isinstance(name, ast.Name)
        ):
            found[name.id] = inspect.cleandoc(text.value)
    return found


def reference() -> str:
    """Every key with its meaning and default, as Markdown."""
    lines = [
        "# Configuration reference",
        "",
        "Generated by `make docs` from `src/kroute/model/config.py`. The file is YAML (scalars as in 1.2);",
        "every key may be left out. `kroute check-config FILE` checks one, `kroute check-config --schema` prints",
        "its JSON Schema.",
    ]
    lines += _section(Config, "")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- generated by `make docs`: begin -->", "<!-- generated by `make docs`: end -->"
"""Between these lines of a page stands what is generated."""


def policy_reference() -> str:
    """The keys of a policy and the words that they know, as Markdown."""
    lines = [*_section(PolicyConfig, "policies[].", "###")]
    for words in (OriginClass, OriginState, Then, NexthopRule):
        lines += ["", f"### {words.__name__}: {_summary(words)}", "", "| word | meaning |"]
        texts = docs(words)
        lines += ["|---|---|", *(f"| `{w.value}` | {texts.get(w.name, '')} |" for w in words)]
    return "\n".join(lines).strip() + "\n"


def with_generated(page: str, generated: str) -> str:
    """A page with its generated part replaced.

    Raises:
        ValueError: the page has no place for it.
    """
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{generated}\n{END}{after}"


def _summary(cls: type) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


def _section(cls: Any, prefix: str, mark: str = "##") -> Iterator[str]:
    yield ""
    yield f"{mark} {prefix.rstrip('.') or 'Top level'}"
    yield ""
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    parts = []
    for f in keys(cls):
        kind = hints(cls)[f.name]
        inner = (
            kind
            if is_dataclass(kind)
            else next((a for a in get_args(kind) if is_dataclass(a)), None)
        )
        key = prefix + camel(f.name)
        default = "" if f.default is MISSING else f"`{_word(f.default)}`"
        if inner is not None:
            listed = get_origin(kind) is tuple
            parts.append((inner, key + ("[]." if listed else ".")))
            default = "see below" if listed or inner is kind else default
        yield f"| `{key}` | {default} | {docs(cls).get(f.name, '')} |"
    for inner, name in parts:
        yield from _section(inner, name, mark)


def _word(value: Any) -> str:
    shown = plain(value)
    if isinstance(shown, list | dict):
        return ", ".join(map(str, shown)) or "empty"
    if isinstance(shown, bool):
        return "true" if shown else "false"
    return str(shown) if shown not in (None, "") else "empty"
