"""Path attributes: one block of octets → :class:`Attributes`, with the error handling of RFC 7606.

Two steps. :func:`split` finds the attributes in the block and checks what does not need their values:
flags, duplicates, overrun. :class:`AttributeReader` gives each value to the function of its code, which
checks and stores it. The routes themselves (MP_REACH_NLRI, MP_UNREACH_NLRI) are not read here but handed
back by :func:`split` as they came.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kroute.codec.bgp.aspath import (
    AS_TRANS,
    MalformedPath,
    merge_as4_path,
    read_as_path,
    without_confederation,
)
from kroute.codec.bgp.drafts import AttributesDraft, fresh_draft
from kroute.codec.bgp.names import (
    EXTENDED_LENGTH,
    FLAGS,
    OPTIONAL,
    PARTIAL,
    TRANSITIVE,
    Code,
    attribute_name,
)
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem
from kroute.codec.bgp.values import handlers_for, problem_with
from kroute.model.bgp import Attributes, Unknown

_KIND = OPTIONAL | TRANSITIVE
_FLAGS = bytes(FLAGS.get(code, 0xFF) for code in range(256))


@dataclass(slots=True)
class Split:
    """What a block consists of: known values by code, unknown attributes to keep, and what was wrong."""

    values: dict[int, bytes]
    unknown: list[Unknown] = field(default_factory=list)
    problems: list[UpdateProblem] = field(default_factory=list)


def split(block: bytes) -> Split:
    """The attributes of a block.

    Raises:
        UpdateError: MP_REACH_NLRI or MP_UNREACH_NLRI appears twice (RFC 7606 §3 g).
    """
    values: dict[int, bytes] = {}
    at, size = 0, len(block)
    try:
        while at < size:
            flags = block[at]
            code = block[at + 1]
            if flags & EXTENDED_LENGTH:
                start = at + 4
                at = start + (block[at + 2] << 8 | block[at + 3])
            else:
                start = at + 3
                at = start + block[at + 2]
            if flags & _KIND != _FLAGS[code] or code in values:
                return _split_carefully(block)
            values[code] = block[start:at]
    except IndexError:
        return _split_carefully(block)
    return Split(values) if at == size else _split_carefully(block)


def _split_carefully(block: bytes) -> Split:
    """The same, for a block in which something is unusual or wrong."""
    out = Split({})
    at, size = 0, len(block)
    seen: set[int] = set()
    while at < size:
        header = 4 if block[at] & EXTENDED_LENGTH else 3
        start = at + header
        if start > size:
            out.problems.append(_overrun("fewer octets left than an attribute header has"))
            break
        flags, code = block[at], block[at + 1]
        at = start + int.from_bytes(block[at + 2 : start], "big")
        if at > size:
            out.problems.append(
                _overrun(f"{attribute_name(code)} is longer than the attribute list")
            )
            break
        if code in seen:
            out.problems.append(_duplicate(code))
            continue
        seen.add(code)
        _take(out, flags, code, block[start:at])
    out.unknown.sort(key=lambda u: u.code)
    return out


def _take(out: Split, flags: int, code: int, value: bytes) -> None:
    """Put one attribute where it belongs by its code and flags."""
    if code in FLAGS:
        if flags & _KIND != FLAGS[code]:
            out.problems.append(_bad_flags(flags, code))
        out.values[code] = value
    elif not flags & OPTIONAL:
        reason = "not known here though its flags say well-known"
        rule = "RFC 4271 §6.3"
        out.problems.append(
            problem_with(Action.WITHDRAW, code, reason, rule, Subcode.UNRECOGNIZED_WELL_KNOWN)
        )
    elif flags & TRANSITIVE:
        kept = flags & (OPTIONAL | TRANSITIVE | PARTIAL)
        out.unknown.append(Unknown(flags=kept, code=code, value=value))


def _overrun(reason: str) -> UpdateProblem:
    return UpdateProblem(
        Action.WITHDRAW, "path attributes", reason, "RFC 7606 §4", Subcode.MALFORMED_ATTRIBUTE_LIST
    )


def _bad_flags(flags: int, code: int) -> UpdateProblem:
    reason = f"flags {flags:#04x} instead of {FLAGS[code]:#04x}"
    return problem_with(Action.WITHDRAW, code, reason, "RFC 7606 §3 c", Subcode.ATTRIBUTE_FLAGS)


def _duplicate(code: int) -> UpdateProblem:
    """Report an attribute that is there twice.

    Raises:
        UpdateError: it is one of those that carry routes.
    """
    if code in (Code.MP_REACH_NLRI, Code.MP_UNREACH_NLRI):
        raise UpdateError(
            Subcode.MALFORMED_ATTRIBUTE_LIST,
            f"{attribute_name(code)} appears twice",
            "RFC 7606 §3 g",
        )
    return problem_with(
        Action.DISCARD, code, "appears again", "RFC 7606 §3 g", Subcode.MALFORMED_ATTRIBUTE_LIST
    )


class AttributeReader:
    """Reads the attribute values of one session's UPDATEs.

    ``asn4``: AS numbers have four octets (RFC 6793 negotiated). ``internal``: the peer is in our own AS.
    """

    def __init__(self, *, asn4: bool, internal: bool) -> None:
        self._asn4 = asn4
        self._handlers = handlers_for(asn4, internal)

    def read(
        self, parts: Split, nexthop: bytes | None = None, link_local: bytes = b""
    ) -> tuple[Attributes, list[UpdateProblem]]:
        """The attributes, and all that is wrong with them (``parts.problems`` included).

        ``nexthop`` and ``link_local`` replace NEXT_HOP where the routes come with an MP_REACH_NLRI of their
        own. Attributes with a problem keep their default; the caller looks at the greatest action.
        """
        draft = fresh_draft()
        handlers = self._handlers
        values = parts.values
        problems = parts.problems
        for code, value in values.items():
            problem = handlers[code](draft, value)
            if problem is not None:
                problems = [*problems, problem]
        if nexthop is not None:
            draft.nexthop = nexthop
            draft.link_local = link_local
        if 1 not in values or 2 not in values or (nexthop is None and 3 not in values):
            problems = [*problems, *_missing(values, nexthop)]
        if parts.unknown:
            draft.unknown = tuple(parts.unknown)
        if not self._asn4:
            problems = [*problems, *_merge_as4(draft, values)]
        return draft.freeze(), problems


def _missing(values: dict[int, bytes], nexthop: bytes | None) -> list[UpdateProblem]:
    """The mandatory attributes that are not there."""
    mandatory = [Code.ORIGIN, Code.AS_PATH] + ([Code.NEXT_HOP] if nexthop is None else [])
    return [
        problem_with(Action.WITHDRAW, code, "missing", "RFC 7606 §3 d", Subcode.MISSING_WELL_KNOWN)
        for code in mandatory
        if code not in values
    ]


def _merge_as4(draft: AttributesDraft, values: dict[int, bytes]) -> list[UpdateProblem]:
    """Put the true AS numbers of a 2-octet session in place (RFC 6793 §4.2.3, errors §6)."""
    problems: list[UpdateProblem] = []
    aggregator = values.get(Code.AS4_AGGREGATOR)
    if aggregator is not None and draft.aggregator is not None:
        if draft.aggregator[0] != AS_TRANS:
            return problems  # an old speaker aggregated after AS4_* were made: both are stale
        if len(aggregator) == 8 and any(aggregator[:4]):
            draft.aggregator = (int.from_bytes(aggregator[:4], "big"), aggregator[4:])
        else:
            problems.append(_bad_as4(Code.AS4_AGGREGATOR, "malformed"))
    path = values.get(Code.AS4_PATH)
    if path is not None:
        try:
            as4_path = without_confederation(read_as_path(path, 4))
        except MalformedPath as error:
            problems.append(_bad_as4(Code.AS4_PATH, str(error)))
        else:
            draft.as_path = merge_as4_path(draft.as_path, as4_path)
    return problems


def _bad_as4(code: Code, reason: str) -> UpdateProblem:
    return problem_with(Action.DISCARD, code, reason, "RFC 6793 §6")
