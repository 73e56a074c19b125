"""Fields of Kubernetes objects, read so that odd input never raises; shared by the readers of all kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from sys import intern
from typing import Any, Final

from kroute.model.net import Address

MOST_ENTRIES: Final = 32
"""Addresses and podCIDRs of one object that are looked at: more is no node, and anybody may write what he likes."""
LONGEST_ANNOTATION: Final = 1024
"""Characters of an annotation's value; longer ones are others' notes to themselves and are left out."""
LONGEST_NAME: Final = 253

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")

Complain = Callable[[str, str], None]
"""Told a field and what is wrong with it."""


def is_name(value: object) -> bool:
    """Whether a value is the name of an object."""
    return (
        isinstance(value, str) and len(value) <= LONGEST_NAME and _NAME.fullmatch(value) is not None
    )


_BROADCAST: Final = ip_address("255.255.255.255")


def host_address(text: object) -> Address | None:
    """The address by which others reach one host that a text is; None where it is none."""
    try:
        address = ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if address is None or address.is_multicast or address.is_unspecified or "%" in str(text):
        return None
    return None if address.is_loopback or address == _BROADCAST else address


def mapping(thing: Any, key: str) -> Mapping[str, Any]:
    """The mapping under a key; empty where there is none."""
    value = thing.get(key) if isinstance(thing, dict) else None
    return value if isinstance(value, dict) else {}


def strings(metadata: Mapping[str, Any], key: str, complain: Complain) -> dict[str, str]:
    """Labels or annotations. Nodes share most keys and many values: those are held once."""
    found: dict[str, str] = {}
    refused: list[str] = []
    for name, value in mapping(metadata, key).items():
        if not isinstance(value, str):
            refused.append(name)
        elif len(value) <= LONGEST_ANNOTATION:
            found[intern(str(name))] = intern(value)
    for name in refused[:MOST_ENTRIES]:
        # `true` without quotes in a file written by hand, mostly; the API server refuses it as well.
        complain(f"metadata.{key}", f"{shown(name)} is no text; write its value in quotes")
    return found


def string(value: Any) -> str:
    """A text that is not too long; else none."""
    return value if isinstance(value, str) and len(value) <= LONGEST_ANNOTATION else ""


def shown(thing: Any) -> str:
    """A value as a person sees it, never a long one."""
    if isinstance(thing, dict | list):
        return f"a {'mapping' if isinstance(thing, dict) else 'list'}"
    text = repr(thing[:81] if isinstance(thing, str) else thing)
    return text if len(text) <= 80 else text[:77] + "..."
