"""The values of single path attributes: length, contents, and what RFC 7606 §7 says if they are wrong.

Each reader takes the draft to fill and the value's octets, and gives back what was wrong, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import iter_unpack, unpack

from kroute.codec.bgp.aspath import AsPath, MalformedPath, has_confederation, read_as_path
from kroute.codec.bgp.drafts import AttributesDraft
from kroute.codec.bgp.multiprotocol import HOST
from kroute.codec.bgp.names import Code, attribute_name
from kroute.codec.bgp.problems import Action, Subcode, UpdateProblem
from kroute.model.bgp import Origin


def problem_with(
    action: Action, code: int, reason: str, rule: str, subcode: Subcode = Subcode.ATTRIBUTE_LENGTH
) -> UpdateProblem:
    """A problem of the attribute with this code."""
    return UpdateProblem(action, attribute_name(code), reason, rule, subcode)


Handler = Callable[[AttributesDraft, bytes], UpdateProblem | None]

_ORIGINS = tuple(Origin)


def _origin(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) == 1 and value[0] < 3:
        draft.origin = _ORIGINS[value[0]]
        return None
    if len(value) != 1:
        return _wrong_length(Code.ORIGIN, value, "1", "RFC 7606 §7.1")
    reason = f"value {value[0]}"
    return problem_with(
        Action.WITHDRAW, Code.ORIGIN, reason, "RFC 7606 §7.1", Subcode.INVALID_ORIGIN
    )


def _next_hop(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    if len(value) == 4 and HOST[value[0]]:
        draft.nexthop = value
        return None
    if len(value) != 4:
        return _wrong_length(Code.NEXT_HOP, value, "4", "RFC 7606 §7.3")
    reason = f"{'.'.join(map(str, value))} is no host address"
    return problem_with(
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
    return problem_with(action, code, f"{len(value)} octets instead of {wanted}", rule)


def _aggregator(asn_size: int) -> Handler:
    """The reader of AGGREGATOR with AS numbers of ``asn_size`` octets."""

    def read(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
        if len(value) != asn_size + 4:
            wanted = str(asn_size + 4)
            rule = "RFC 7606 §7.7"
            return _wrong_length(Code.AGGREGATOR, value, wanted, rule, Action.DISCARD)
        asn = int.from_bytes(value[:asn_size], "big")
        if not asn:
            return problem_with(Action.DISCARD, Code.AGGREGATOR, "AS 0", "RFC 7607 §2")
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
    return problem_with(Action.WITHDRAW, Code.AS_PATH, reason, rule, Subcode.MALFORMED_AS_PATH)


def _discarded(code: Code, reason: str, rule: str) -> Handler:
    """The reader of an attribute that has no business on this session."""
    problem = problem_with(Action.DISCARD, code, reason, rule)
    return lambda draft, value: problem


def _later(draft: AttributesDraft, value: bytes) -> UpdateProblem | None:
    """AS4_PATH and AS4_AGGREGATOR of a 2-octet session are merged when all else is read."""
    return None


def handlers_for(asn4: bool, internal: bool) -> dict[int, Handler]:
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
