"""Configuration to YAML. ``parse_config(dump_config(c)) == c`` (a property test holds it)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any

import yaml

from kroute.codec.config.decode import camel, keys
from kroute.model.config import Config


def dump_config(config: Config) -> str:
    """The whole configuration, defaults included, as the file would say it."""
    return str(
        yaml.dump(plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    )


def plain(value: Any) -> Any:
    """Values of the model as mappings, lists and scalars."""
    items = plain_items(value)
    if items is None:
        return value.value if isinstance(value, StrEnum) else _scalar(value)
    if isinstance(value, tuple | list):
        return [plain(item) for _, item in items]
    return {key: plain(item) for key, item in items}


def plain_items(value: Any) -> Iterable[tuple[str | int, Any]] | None:
    """The parts of a dataclass, mapping or tuple, by key or index; None for a scalar."""
    if is_dataclass(value) and not isinstance(value, type):
        return [(camel(f.name), getattr(value, f.name)) for f in keys(type(value))]
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    return None


def _scalar(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.1 or 1.2 could take for something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    simple = value[:1].isalpha() and all(c.isalnum() or c in "-._/" for c in value)
    risky = value.lower() in ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style=None if simple and not risky else '"'
    )


_Dumper.add_representer(str, _text)
