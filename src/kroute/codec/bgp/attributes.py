"""Path attributes: one block of octets → :class:`Attributes`, with the error handling of RFC 7606.

Two steps. :func:`split` finds the attributes in the block and checks what does not need their values:
flags, duplicates, overrun. :class:`AttributeReader` gives each value to the function of its code, which
checks and stores it. The routes themselves (MP_REACH_NLRI, MP_UNREACH_NLRI) are not read here but handed
back by :func:`split` as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import iter_unpack, unpack

from kroute.codec.bgp.aspath import (
    AS_TRANS,
    AsPath,
    MalformedPath,
    has_confederation,
    merge_as4_path,
    read_as_path,
    without_confederation,
)
from kroute.codec.bgp.drafts import AttributesDraft
from kroute.codec.bgp.multiprotocol import HOST
from kroute.codec.bgp.names import FLAGS, Code, attribute_name
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem
from kroute.model.bgp import Attributes, Origin, Unknown

OPTIONAL = 0x80
TRANSITIVE = 0x40
PARTIAL = 0x20
EXTENDED_LENGTH = 0x10
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
            _problem(Action.WITHDRAW, code, reason, rule, Subcode.UNRECOGNIZED_WELL_KNOWN)
        )
    elif flags & TRANSITIVE:
        kept = flags & (OPTIONAL | TRANSITIVE | PARTIAL)
        out.unknown.append(Unknown(flags=kept, code=code, value=value))


def _problem(
    action: Action, code: int, reason: str, rule: str, subcode: Subcode = Subcode.ATTRIBUTE_LENGTH
) -> UpdateProblem:
    return UpdateProblem(action, attribute_name(code), reason, rule, subcode)


def _overrun(reason: str) -> UpdateProblem:
    return UpdateProblem(
        Action.WITHDRAW, "path attributes", reason, "RFC 7606 §4", Subcode.MALFORMED_ATTRIBUTE_LIST
    )


def _bad_flags(flags: int, code: int) -> UpdateProblem:
    reason = f"flags {flags:#04x} instead of {FLAGS[code]:#04x}"
    return _problem(Action.WITHDRAW, code, reason, "RFC 7606 §3 c", Subcode.ATTRIBUTE_FLAGS)


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
    return _problem(
        Action.DISCARD, code, "appears again", "RFC 7606 §3 g", Subcode.MALFORMED_ATTRIBUTE_LIST
    )


Handler = Callable[[AttributesDraft, bytes], UpdateProblem | None]

_ORIGINS = tuple(Origin)


def _origin(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) == 1 and value[0] < 3:
        draft.origin = _ORIGINS[value[0]]
        return None
    if len(value) != 1:
        return _wrong_length(Code.ORIGIN, value, "1", "RFC 7606 §7.1")
    reason = f"value {value[0]}"
    return _problem(Action.WITHDRAW, Code.ORIGIN, reason, "RFC 7606 §7.1", Subcode.INVALID_ORIGIN)


def _next_hop(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) == 4 and HOST[value[0]]:
        draft.nexthop = value
        return None
    if len(value) != 4:
        return _wrong_length(Code.NEXT_HOP, value, "4", "RFC 7606 §7.3")
    reason = f"{'.'.join(map(str, value))} is no host address"
    return _problem(
        Action.WITHDRAW, Code.NEXT_HOP, reason, "RFC 7606 §7.3", Subcode.INVALID_NEXT_HOP
    )


def _med(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) != 4:
        return _wrong_length(Code.MULTI_EXIT_DISC, value, "4", "RFC 7606 §7.4")
    draft.med = int.from_bytes(value, "big")
    return None


def _local_pref(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) != 4:
        return _wrong_length(Code.LOCAL_PREF, value, "4", "RFC 7606 §7.5")
    draft.local_pref = int.from_bytes(value, "big")
    return None


def _atomic_aggregate(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if value:
        return _wrong_length(Code.ATOMIC_AGGREGATE, value, "0", "RFC 7606 §7.6", Action.DISCARD)
    draft.atomic_aggregate = True
    return None


def _communities(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if not value or len(value) % 4:
        return _wrong_length(Code.COMMUNITIES, value, "a multiple of 4", "RFC 7606 §7.8")
    draft.communities = tuple(sorted(set(unpack(f">{len(value) >> 2}I", value))))
    return None


def _extended_communities(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if not value or len(value) % 8:
        return _wrong_length(Code.EXTENDED_COMMUNITIES, value, "a multiple of 8", "RFC 7606 §7.14")
    draft.extended_communities = tuple(sorted({x for (x,) in iter_unpack("8s", value)}))
    return None


def _large_communities(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if not value or len(value) % 12:
        return _wrong_length(Code.LARGE_COMMUNITY, value, "a multiple of 12", "RFC 8092 §6")
    draft.large_communities = tuple(sorted(set(iter_unpack(">III", value))))
    return None


def _originator_id(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) != 4:
        return _wrong_length(Code.ORIGINATOR_ID, value, "4", "RFC 7606 §7.9")
    draft.originator_id = value
    return None


def _cluster_list(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if not value or len(value) % 4:
        return _wrong_length(Code.CLUSTER_LIST, value, "a multiple of 4", "RFC 7606 §7.10")
    draft.cluster_list = tuple(x for (x,) in iter_unpack("4s", value))
    return None


def _wrong_length(
    code: Code, value: bytes, wanted: str, rule: str, action: Action = Action.WITHDRAW
) -> UpdateProblem:
    return _problem(action, code, f"{len(value)} octets instead of {wanted}", rule)


def _aggregator(asn_size: int) -> Handler:
    """The reader of AGGREGATOR with AS numbers of ``asn_size`` octets."""

    def read(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
        if len(value) != asn_size + 4:
            wanted = str(asn_size + 4)
            rule = "RFC 7606 §7.7"
            return _wrong_length(Code.AGGREGATOR, value, wanted, rule, Action.DISCARD)
        asn = int.from_bytes(value[:asn_size], "big")
        if not asn:
            return _problem(Action.DISCARD, Code.AGGREGATOR, "AS 0", "RFC 7607 §2")
        draft.aggregator = (asn, value[asn_size:])
        return None

    return read


def _as_path(asn_size: int, internal: bool) -> Handler:
    """The reader of AS_PATH; equal octets give the same object, for most blocks of a peer differ elsewhere."""
    known: dict[bytes, AsPath] = {}

    def read(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
        path = known.get(value)
        if path is None:
            try:
                path = read_as_path(value, asn_size)
            except MalformedPath as error:
                return _bad_path(str(error), "RFC 7606 §7.2")
            if not internal and has_confederation(path):
                return _bad_path("confederation segment from outside", "RFC 5065 §5")
            if len(known) >= _KNOWN_PATHS:
                known.clear()
            known[value] = path
        draft.as_path = path
        return None

    return read


_KNOWN_PATHS = 1024


def _bad_path(reason: str, rule: str) -> UpdateProblem:
    return _problem(Action.WITHDRAW, Code.AS_PATH, reason, rule, Subcode.MALFORMED_AS_PATH)


def _discarded(code: Code, reason: str, rule: str) -> Handler:
    """The reader of an attribute that has no business on this session."""
    problem = _problem(Action.DISCARD, code, reason, rule)
    return lambda draft, value: problem


def _later(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    """AS4_PATH and AS4_AGGREGATOR of a 2-octet session are merged when all else is read."""
    return None


class AttributeReader:
    """Reads the attribute values of one session's UPDATEs.

    ``asn4``: AS numbers have four octets (RFC 6793 negotiated). ``internal``: the peer is in our own AS.
    """

    def __init__(self, *, asn4: bool, internal: bool) -> None:
        self._asn4 = asn4
        self._handlers = _handlers(asn4, internal)

    def read(
        self, parts: Split, nexthop: bytes | None = None, link_local: bytes = b""
    ) -> tuple[Attributes, list[UpdateProblem]]:
        """The attributes, and all that is wrong with them (``parts.problems`` included).

        ``nexthop`` and ``link_local`` replace NEXT_HOP where the routes come with an MP_REACH_NLRI of their
        own. Attributes with a problem keep their default; the caller looks at the greatest action.
        """
        draft = AttributesDraft()
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


def _handlers(asn4: bool, internal: bool) -> dict[int, Handler]:
    """The reader of each known attribute, for one kind of session."""
    outside = "from an external peer"
    use: dict[int, Handler] = {
        Code.ORIGIN: _origin,
        Code.AS_PATH: _as_path(4 if asn4 else 2, internal),
        Code.NEXT_HOP: _next_hop,
        Code.MULTI_EXIT_DISC: _med,
        Code.LOCAL_PREF: _local_pref,
        Code.ATOMIC_AGGREGATE: _atomic_aggregate,
        Code.AGGREGATOR: _aggregator(4 if asn4 else 2),
        Code.COMMUNITIES: _communities,
        Code.ORIGINATOR_ID: _originator_id,
        Code.CLUSTER_LIST: _cluster_list,
        Code.EXTENDED_COMMUNITIES: _extended_communities,
        Code.LARGE_COMMUNITY: _large_communities,
        Code.AS4_PATH: _later,
        Code.AS4_AGGREGATOR: _later,
    }
    if not internal:
        use[Code.LOCAL_PREF] = _discarded(Code.LOCAL_PREF, outside, "RFC 7606 §7.5")
        use[Code.ORIGINATOR_ID] = _discarded(Code.ORIGINATOR_ID, outside, "RFC 7606 §7.9")
        use[Code.CLUSTER_LIST] = _discarded(Code.CLUSTER_LIST, outside, "RFC 7606 §7.10")
    if asn4:
        for code in (Code.AS4_PATH, Code.AS4_AGGREGATOR):
            use[code] = _discarded(code, "on a session with 4-octet AS numbers", "RFC 6793 §4.1")
    return use


def _missing(values: dict[int, bytes], nexthop: bytes | None) -> list[UpdateProblem]:
    """The mandatory attributes that are not there."""
    mandatory = [Code.ORIGIN, Code.AS_PATH] + ([Code.NEXT_HOP] if nexthop is None else [])
    return [
        _problem(Action.WITHDRAW, code, "missing", "RFC 7606 §3 d", Subcode.MISSING_WELL_KNOWN)
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
    return _problem(Action.DISCARD, code, reason, "RFC 6793 §6")
