"""BGP communities of all three kinds as text, and patterns of them (RFC 1997, 4360, 5668, 8092).

``64512:100`` or a well-known name is a standard community, ``64512:1:2`` a large one, ``rt:64512:100`` or
``0x`` and 16 hexadecimal digits an extended one. ``*`` stands for any number in standard and large ones.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import pack, unpack
from typing import Final, NamedTuple

WELL_KNOWN_COMMUNITIES: Final = {
    0xFFFF0000: "graceful-shutdown",
    0xFFFF0001: "accept-own",
    0xFFFF0006: "llgr-stale",
    0xFFFF0007: "no-llgr",
    0xFFFF029A: "blackhole",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
    0xFFFFFF03: "no-export-subconfed",
    0xFFFFFF04: "nopeer",
}
"""Names of IANA's well-known communities (RFC 1997, 3765, 7611, 7999, 8326, 9494)."""

WELL_KNOWN: Final = {name: number for number, name in WELL_KNOWN_COMMUNITIES.items()}
"""The same, by name."""

GRACEFUL_SHUTDOWN: Final = WELL_KNOWN["graceful-shutdown"]
"""RFC 8326: receivers that know it prefer any other path."""

NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED = 0xFFFFFF01, 0xFFFFFF02, 0xFFFFFF03
"""RFC 1997: not to external peers; to nobody; not to external peers, nor to other members of a confederation."""

Large = tuple[int, int, int]
Community = int | bytes | Large
"""A standard one as 32-bit number, an extended one as 8 octets, a large one as three 32-bit numbers."""

_ROLES: Final = {0x02: "rt", 0x03: "ro"}
_BY_ROLE: Final = {name: number for number, name in _ROLES.items()}
_FORMS: Final = "a well-known name, a name of communityNames, or numbers as in 64512:100, 64512:1:2, rt:64512:100"


@dataclass(frozen=True, slots=True)
class CommunityPattern:
    """One community (``exact``), or all whose numbers are ``parts``, None being any number."""

    exact: Community | None
    parts: tuple[int | None, ...] = ()

    def among(
        self, standard: tuple[int, ...], extended: tuple[bytes, ...], large: tuple[Large, ...]
    ) -> bool:
        """Whether one of these communities is meant."""
        exact = self.exact
        if exact is None:
            return any(map(self.names, standard if len(self.parts) == 2 else large))
        if isinstance(exact, int):
            return exact in standard
        return exact in (extended if isinstance(exact, bytes) else large)

    def names(self, community: Community) -> bool:
        """Whether a community is meant."""
        if self.exact is not None:
            return community == self.exact
        if isinstance(community, int):
            found: tuple[int, ...] = (community >> 16, community & 0xFFFF)
        elif isinstance(community, bytes):
            return False
        else:
            found = community
        return len(found) == len(self.parts) and all(
            wanted in (None, have) for wanted, have in zip(self.parts, found, strict=True)
        )


def parse_community(text: str, names: Mapping[str, str]) -> CommunityPattern:
    """The communities that a text means; ``names`` are the operator's own.

    Raises:
        ValueError: in words for the operator; the text is no community.
    """
    text = names.get(text, text)
    if text in WELL_KNOWN:
        return CommunityPattern(WELL_KNOWN[text])
    if re.fullmatch(r"0x[0-9a-fA-F]{16}", text):
        return CommunityPattern(bytes.fromhex(text[2:]))
    parts = text.split(":")
    if parts[0] in _BY_ROLE and len(parts) == 3:
        return CommunityPattern(_extended(text, *parts))
    if len(parts) in (2, 3) and all(re.fullmatch(r"\*|[0-9]{1,10}", part) for part in parts):
        return _numbers(text, parts)
    raise ValueError(f"expected {_FORMS}, got {text!r}")


def _numbers(text: str, parts: list[str]) -> CommunityPattern:
    most = 0xFFFF if len(parts) == 2 else 0xFFFFFFFF
    found = tuple(None if part == "*" else int(part) for part in parts)
    if any(part is not None and part > most for part in found):
        kind = "standard" if len(parts) == 2 else "large"
        raise ValueError(f"the numbers of a {kind} community are at most {most}, got {text!r}")
    match found:
        case (int(who), int(what)):
            return CommunityPattern(who << 16 | what)
        case (int(who), int(first), int(second)):
            return CommunityPattern((who, first, second))
    return CommunityPattern(None, found)


def _extended(text: str, role: str, who: str, what: str) -> bytes:
    """RFC 4360 §4, RFC 5668: two octets of AS and four of number, or an address or larger AS and two of number."""
    try:
        number = int(what)
        if "." in who:
            return pack(">BB4sH", 1, _BY_ROLE[role], IPv4Address(who).packed, number)
        if int(who) > 0xFFFF:
            return pack(">BBIH", 2, _BY_ROLE[role], int(who), number)
        return pack(">BBHI", 0, _BY_ROLE[role], int(who), number)
    except (ValueError, struct.error) as error:
        raise ValueError(
            f"expected an extended community as in rt:64512:100, got {text!r}"
        ) from error


def community_text(community: int) -> str:
    """``64512:100``, or the well-known name."""
    return WELL_KNOWN_COMMUNITIES.get(community, f"{community >> 16}:{community & 0xFFFF}")


def large_community_text(community: Large) -> str:
    """``64512:1:2`` (RFC 8092 §4)."""
    return ":".join(map(str, community))


def extended_community_text(community: bytes) -> str:
    """``rt:64512:100``, ``ro:192.0.2.1:5``, or the octets in hexadecimal (RFC 4360, 5668)."""
    kind, role = community[0] & 0x3F, _ROLES.get(community[1])
    if role is None or kind > 2:
        return f"0x{community.hex()}"
    if kind == 0:
        who, what = unpack(">HI", community[2:])
        return f"{role}:{who}:{what}"
    who, what = unpack(">IH", community[2:])
    return f"{role}:{IPv4Address(who) if kind == 1 else who}:{what}"


class Communities(NamedTuple):
    """Standard and large communities, sorted, each once."""

    standard: tuple[int, ...] = ()
    large: tuple[Large, ...] = ()

    def texts(self) -> tuple[str, ...]:
        """As people write them."""
        return (*map(community_text, self.standard), *map(large_community_text, self.large))

    def __or__(self, other: object) -> Communities:
        """Those of both."""
        if not isinstance(other, Communities):
            return NotImplemented
        return Communities(
            tuple(sorted({*self.standard, *other.standard})),
            tuple(sorted({*self.large, *other.large})),
        )


def read_communities(texts: Iterable[str], names: Mapping[str, str] | None = None) -> Communities:
    """The standard and large communities that texts name, well-known names in any case; ``names`` are the operator's
    own, as written.

    Raises:
        ValueError: one is none; says which and what is expected.
    """
    standard: set[int] = set()
    large: set[Large] = set()
    for text in texts:
        try:
            text = (names or {}).get(text.strip(), text)
            found = parse_community(text.strip().lower(), {}).exact
        except ValueError:
            found = None
        match found:
            case int():
                standard.add(found)
            case (_, _, _):
                large.add(found)
            case _:
                raise ValueError(
                    f"expected a community such as 64512:100, 64512:1:2 or no-export, got {text[:60]!r}"
                )
    return Communities(tuple(sorted(standard)), tuple(sorted(large)))
