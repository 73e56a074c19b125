"""Values of the model to JSON and back, by the types of their fields: what the daemon observes, for another process.

Small and generic, like the configuration's decoder (docs/adr/0002), but exact instead of kind: bytes are hexadecimal, a
mapping with keys that are no text is a list of pairs, and a default is left out. ``load(T, dump(v)) == v`` for each
value of the model (a property test holds it).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

_READERS: Mapping[type, Any] = {
    IPv4Interface: ip_interface,
    IPv6Interface: ip_interface,
    IPv4Network: ip_network,
    IPv6Network: ip_network,
    IPv4Address: ip_address,
    IPv6Address: ip_address,
}


def dump(value: Any) -> Any:
    """The value as JSON has it."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int | float):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: dump(v) for f in fields(value) if not _is_default(f, v := _of(value, f))}
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: dump(item) for key, item in value.items()}
        return [[dump(key), dump(item)] for key, item in value.items()]
    if isinstance(value, tuple | list | AbstractSet):
        return [dump(item) for item in value]
    return str(value)


def load(kind: Any, value: Any) -> Any:
    """The value of a type that JSON says.

    Raises:
        ValueError: it says no such value.
    """
    try:
        return _load(kind, value)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"that is no {getattr(kind, '__name__', kind)}: {error}") from error


def _of(value: Any, field: Any) -> Any:
    return getattr(value, field.name)


def _is_default(field: Any, value: Any) -> bool:
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return field.default is not MISSING and bool(value == field.default)


def _load(kind: Any, value: Any) -> Any:
    if isinstance(kind, NewType):
        return _load(kind.__supertype__, value)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(parts, value)
    if origin is tuple:
        return _tuple(parts, value)
    if origin is frozenset:
        return frozenset(_load(parts[0], item) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {_load(parts[0], key): _load(parts[1], item) for key, item in pairs}
    return _plain(kind, value)


def _plain(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    if kind in _READERS:
        return _READERS[kind](value)
    if kind is bytes:
        return bytes.fromhex(value)
    if is_dataclass(kind) and isinstance(kind, type):
        known = _hints(kind)
        return kind(**{key: _load(known[key], item) for key, item in value.items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return kind(*_tuple(tuple(_hints(kind).values()), value))
    if kind is float:
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _tuple(parts: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(_load(parts[0], item) for item in value)
    return tuple(_load(part, item) for part, item in zip(parts, value, strict=True))


def _one_of(parts: tuple[Any, ...], value: Any) -> Any:
    """A value of the first of several types that it can be of."""
    if value is None and NoneType in parts:
        return None
    for part in parts:
        try:
            return _load(part, value)
        except (TypeError, KeyError, AttributeError, ValueError):
            continue
    raise TypeError(f"{value!r} is none of {len(parts)} types")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
