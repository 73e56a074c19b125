"""Plain values to dataclasses, by the types of their fields; every complaint, none raised.

Small and generic on purpose (docs/adr/0002): it knows dataclasses, enums, tuples, mappings, optional values, addresses,
prefixes and scalars, and no key of ours.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from ipaddress import ip_address, ip_network
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from kroute.model.errors import Complaint
from kroute.model.net import Address, Prefix

Path = tuple[str | int, ...]

MAX_COMPLAINTS: Final = 100
_SIMPLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WITH_LENGTH: Final = re.compile(r".+/[0-9]{1,3}")


class _Bad:
    """Stands for a value that was complained about."""


BAD: Final = _Bad()


def camel(name: str) -> str:
    """A field's name as the file writes it: ``hold_time`` is ``holdTime``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def dotted(path: Path) -> str:
    """A path as an operator reads it: ``peering.peers[2].nodeSelector["kroute.io/rack"]``."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        elif _SIMPLE.fullmatch(part):
            out += f".{part}" if out else part
        else:
            out += f"[{json.dumps(part if len(part) <= 60 else part[:57] + '...')}]"
    return out


@cache
def keys(cls: Any) -> tuple[Field[Any], ...]:
    """The fields of a dataclass as the file has them: first its own, then those it shares with more and more others."""
    rank = {
        name: place
        for place, base in reversed(list(enumerate(cls.__mro__)))
        for name in inspect.get_annotations(base)
    }
    return tuple(sorted(fields(cls), key=lambda f: rank[f.name]))


@cache
def hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    return get_type_hints(cls)


class Decoder:
    """Decodes one document; ``complaints`` fills as it goes."""

    def __init__(
        self,
        lines: dict[Path, int],
        objection: Callable[[str, Any], str | None],
        objections: Callable[[Any], Iterable[tuple[Path, str]]],
    ) -> None:
        """``objection``: what is wrong with a scalar under a key, or None; ``objections``: with a dataclass."""
        self.complaints: list[Complaint] = []
        self._lines = lines
        self._objection = objection
        self._objections = objections

    def complain(self, path: Path, reason: str) -> None:
        """Note what is wrong at a path; the line is that of the nearest part that is there."""
        where = path
        while where and where not in self._lines:
            where = where[:-1]
        line = self._lines.get(where)
        suffix = f" (line {line})" if line and path else ""
        if len(self.complaints) < MAX_COMPLAINTS:
            self.complaints.append(Complaint(dotted(path), reason + suffix))
        elif len(self.complaints) == MAX_COMPLAINTS:
            self.complaints.append(Complaint("", "and more: these are the first complaints"))

    def decode(self, wanted: Any, value: Any, path: Path, *, ours: bool = True) -> Any:
        """The value as the wanted type, or BAD after complaining. ``ours``: the key is one of the model's."""
        if is_dataclass(wanted) and isinstance(wanted, type):
            return self._dataclass(wanted, value, path)
        origin = get_origin(wanted)
        if origin in (Union, UnionType):
            return self._union(wanted, value, path)
        if origin is tuple:
            return self._tuple(get_args(wanted)[0], value, path)
        if origin is not None:
            return self._mapping(get_args(wanted), value, path)
        found = self._scalar(wanted, value, path)
        if found is not BAD and ours:
            key = next((part for part in reversed(path) if isinstance(part, str)), "")
            if (reason := self._objection(key, found)) is not None:
                self.complain(path, reason)
                return BAD
        return found

    def _dataclass(self, cls: type[Any], value: Any, path: Path) -> Any:
        if value is None:
            value = {}  # `bgp:` with nothing under it
        if not isinstance(value, dict):
            return self._expected("a mapping of keys", value, path)
        parts = keys(cls)  # type: ignore[arg-type]
        known = {camel(f.name): f.name for f in parts}
        types = hints(cls)  # type: ignore[arg-type]
        found: dict[str, Any] = {}
        bad = False
        for key, item in value.items():
            name = known.get(key)
            if name is None:
                self._unknown(key, known, path)
                bad = True
                continue
            found[name] = self.decode(types[name], item, (*path, key))
            bad |= found[name] is BAD
        missing = [camel(f.name) for f in parts if f.name not in found and _is_required(f)]
        for key in missing:
            self.complain((*path, key), "is required")
        if bad or missing:
            return BAD
        before = len(self.complaints)
        whole = cls(**found)
        for below, reason in self._objections(whole):
            self.complain((*path, *below), reason)
        return whole if len(self.complaints) == before else BAD

    def _unknown(self, key: str, known: dict[str, str], path: Path) -> None:
        if len(self.complaints) > MAX_COMPLAINTS:
            return
        folded = {k.lower(): k for k in known}
        wanted = re.sub("[-_]", "", key[:60]).lower()
        close = get_close_matches(wanted, folded, n=1, cutoff=0.6)
        hint = (
            f"did you mean {folded[close[0]]}?"
            if close
            else f"known here: {', '.join(sorted(known))}"
        )
        self.complain((*path, key), f"is no known key; {hint}")

    def _union(self, wanted: Any, value: Any, path: Path) -> Any:
        choices = [c for c in get_args(wanted) if c is not NoneType]
        if value is None and len(choices) < len(get_args(wanted)):
            return None
        if set(choices) == set(get_args(Address)):
            return self._parsed(ip_address, "an IP address", value, path)
        if set(choices) == set(get_args(Prefix)):
            words = "a prefix such as 10.1.0.0/16 without host bits"
            if isinstance(value, str) and not _WITH_LENGTH.fullmatch(value):
                return self._expected(words, value, path)
            return self._parsed(ip_network, words, value, path)
        if len(choices) == 1:
            return self.decode(choices[0], value, path)
        chosen = next((c for c in choices if _takes(c, value)), None)
        if chosen is None:
            return self._expected(" or ".join(map(_words, choices)), value, path)
        return self.decode(chosen, value, path)

    def _parsed(self, parse: Any, words: str, value: Any, path: Path) -> Any:
        if not isinstance(value, str):
            return self._expected(words, value, path)
        try:
            return parse(value)
        except ValueError:
            return self._expected(words, value, path)

    def _tuple(self, item: Any, value: Any, path: Path) -> Any:
        if value is None:
            return ()
        if not isinstance(value, list):
            return self._expected("a list", value, path)
        found = tuple(self.decode(item, v, (*path, i)) for i, v in enumerate(value))
        return BAD if BAD in found else found

    def _mapping(self, types: tuple[Any, ...], value: Any, path: Path) -> Any:
        if value is None:
            return {}
        if not isinstance(value, dict):
            return self._expected("a mapping", value, path)
        if types[1] is Any:
            return value if self._is_plain(value, path) else BAD
        found = {k: self.decode(types[1], v, (*path, k), ours=False) for k, v in value.items()}
        return BAD if BAD in found.values() else found

    def _scalar(self, wanted: Any, value: Any, path: Path) -> Any:
        if issubclass(wanted, StrEnum):
            if isinstance(value, str) and value in [e.value for e in wanted]:
                return wanted(value)
            return self._expected("one of " + ", ".join(e.value for e in wanted), value, path)
        if wanted is bool or wanted is int:
            if type(value) is wanted:
                return value
            return self._expected(
                "true or false" if wanted is bool else "a whole number", value, path
            )
        if isinstance(value, str):
            return self._text(value, path)
        quotes = "" if value is None or isinstance(value, dict | list) else " in quotes"
        return self._expected(f"text{quotes}", value, path)

    def _text(self, value: str, path: Path) -> Any:
        if found := _CONTROL.search(value):
            self.complain(path, f"holds the control character U+{ord(found[0]):04X}")
            return BAD
        return value

    def _is_plain(self, value: Any, path: Path) -> bool:
        """Whether a value of free form can be passed on as JSON and as text."""
        if isinstance(value, dict):
            keys = [self._text(key, path) is not BAD for key in value]
            return all([*keys, *(self._is_plain(v, (*path, k)) for k, v in value.items())])
        if isinstance(value, list):
            found = [self._is_plain(v, (*path, i)) for i, v in enumerate(value)]
            return all(found)  # a list first: every complaint is wanted
        if isinstance(value, float) and not isfinite(value):
            self._expected("a finite number", value, path)
            return False
        return not isinstance(value, str) or self._text(value, path) is not BAD

    def _expected(self, words: str, value: Any, path: Path) -> _Bad:
        shown = "nothing" if value is None else _shown(value)
        self.complain(path, f"expected {words}, got {shown}")
        return BAD


def _takes(choice: Any, value: Any) -> bool:
    """Whether a value is meant as this one of several types; of a mapping its keys tell."""
    if is_dataclass(choice):
        names = {camel(f.name) for f in keys(choice)}  # type: ignore[arg-type]
        return isinstance(value, dict) and not names.isdisjoint(value)
    if get_origin(choice) is not None:
        return isinstance(value, dict)
    if issubclass(choice, StrEnum):
        return isinstance(value, str) and value in [e.value for e in choice]
    return type(value) is choice


def _words(choice: Any) -> str:
    if is_dataclass(choice):
        return f"a mapping with {', '.join(camel(f.name) for f in keys(choice))}"  # type: ignore[arg-type]
    if get_origin(choice) is not None:
        return "a mapping"
    if issubclass(choice, StrEnum):
        return ", ".join(e.value for e in choice)
    return "a whole number"


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
