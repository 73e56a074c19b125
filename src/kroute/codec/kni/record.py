"""An attachment as it is stored: JSON with short, stable keys, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from kroute.model.errors import KrouteError
from kroute.model.kni import Attachment, Domain, Generation, How, Phase, Wiring
from kroute.model.sandbox import Listed


class Unreadable(KrouteError):
    """A stored record that is none."""


def write(attachment: Attachment) -> str:
    """The record; equal attachments give equal texts."""
    found = _shallow(attachment)
    found["wirings"] = [_shallow(wiring) for wiring in attachment.wirings]
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _shallow(value: Attachment | Wiring) -> dict[str, Any]:
    """As :func:`dataclasses.asdict`, without copying a conflist at each write."""
    return {f.name: getattr(value, f.name) for f in fields(value)}


def read(text: str) -> Attachment:
    """The attachment of a record.

    Raises:
        Unreadable: it is not a record of this version.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        wirings = tuple(Wiring(**{**w, "how": How(w["how"])}) for w in found.pop("wirings"))
        phase, generation = Phase(found.pop("phase")), Generation(found.pop("generation"))
        return Attachment(phase=phase, generation=generation, wirings=wirings, **found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"a stored attachment cannot be read: {error}") from error


def write_domain(domain: Domain) -> str:
    """The record of a namespace."""
    found = asdict(domain)
    for key in (
        "intent",
        "container",
    ):  # left out where a kroute that does not know them can do without
        if not found[key]:
            del found[key]
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def read_domain(text: str) -> Domain:
    """The namespace of a record.

    Raises:
        Unreadable: it is not a record of this version.
    """
    try:
        return Domain(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise Unreadable(f"a stored namespace cannot be read: {error}") from error


def write_listed(listed: Listed) -> str:
    """Which attachments a runtime has listed, one file's content."""
    return json.dumps({"runtime": listed.runtime, "listed": sorted(listed.keys)}) + "\n"


def read_listed(text: str) -> Listed:
    """The same back.

    Raises:
        Unreadable: it is none.
    """
    try:
        found = json.loads(text)
        keys = frozenset((str(id), float(since)) for id, since in found["listed"])
        return Listed(str(found["runtime"]), keys)
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"what the CRI has listed cannot be read: {error}") from error
