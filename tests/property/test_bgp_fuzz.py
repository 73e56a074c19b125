"""Whatever a hostile peer sends, the decoder answers with a result or with UpdateError, and keeps its promises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.bgp import Decoded, UpdateDecoder, UpdateError
from kroute.codec.bgp.nlri import IPV4_SIZE, IPV6_SIZE, UNUSED
from kroute.model.bgp import Attributes
from support.bgp_bytes import (
    AS_PATH,
    LOCAL_PREF,
    MANDATORY,
    ORIGIN,
    V4,
    V6,
    address,
    attribute,
    body,
    decoder,
    nlri,
    reach,
    unreach,
)

ROUTES4 = nlri("10.1.0.0/16") + nlri("10.2.3.0/24") + nlri("10.9.0.0/17")
ROUTES6 = nlri("2001:db8::/32") + nlri("2001:db8:1::/48")
EVERYTHING = (
    attribute(4, bytes(4))
    + LOCAL_PREF
    + attribute(6, b"")
    + attribute(7, bytes((0, 0, 255, 1, 1, 2, 3, 4)))
    + attribute(8, bytes(range(1, 13)))
    + attribute(9, b"\1\2\3\4")
    + attribute(10, b"\1\2\3\4\5\6\7\x08")
    + attribute(16, bytes(range(16)))
    + attribute(32, bytes(range(24)))
    + attribute(99, b"unknown", 0xC0)
)
SEEDS = [
    body(attributes=MANDATORY, announced=ROUTES4),
    body(attributes=MANDATORY + EVERYTHING, announced=ROUTES4),
    body(withdrawn=ROUTES4),
    body(withdrawn=ROUTES4, attributes=MANDATORY, announced=nlri("10.1.0.0/16")),
    body(attributes=reach(2, address("2001:db8::1"), ROUTES6) + ORIGIN + AS_PATH + EVERYTHING),
    body(attributes=reach(1, address("2001:db8::1"), ROUTES4) + ORIGIN + AS_PATH),
    body(attributes=unreach(2, ROUTES6)),
    body(attributes=unreach(2, b"")),
    body(attributes=ORIGIN + AS_PATH + unreach(2, ROUTES6) + reach(2, bytes(32), ROUTES6)),
    body(attributes=reach(2, address("2001:db8::1"), b"") + ORIGIN + AS_PATH),
    body(withdrawn=ROUTES4, attributes=reach(2, bytes(15) + b"\1", ROUTES6) + ORIGIN + AS_PATH),
    body(),
]
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "flip"]),
        st.integers(0, 400),
        st.binary(max_size=6),
    ),
    max_size=6,
)


def mutate(data: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    """Change a body here and there."""
    out = bytearray(data)
    for how, where, what in steps:
        at = where % (len(out) + 1)
        if how == "set":
            out[at : at + len(what)] = what
        elif how == "cut":
            del out[at : at + len(what)]
        elif how == "insert":
            out[at:at] = what
        elif at < len(out):
            out[at] ^= 1 << (where % 8)
    return bytes(out)


def check(result: Decoded[Attributes]) -> None:
    """What every result promises."""
    for family, path, nlris in result.steps:
        sizes = IPV4_SIZE if family is V4 else IPV6_SIZE
        assert nlris
        assert all(len(n) == sizes[n[0]] and not n[-1] & UNUSED[n[0]] for n in nlris if n[0])
        if path is not None:
            assert type(path) is Attributes
            assert len(path.nexthop) in (4, 16)
            assert hash(path) == hash(path)
    for family, nlris, problem in result.refused:
        assert (family, None, nlris) in result.steps
        assert problem in result.problems


def check_error(error: UpdateError) -> None:
    """What every reset promises: a NOTIFICATION that RFC 4271 §4.5 knows, and words."""
    assert error.code == 3
    assert 1 <= error.subcode <= 11
    assert str(error)


def feed(session: UpdateDecoder[Attributes], data: bytes) -> None:
    try:
        check(session.decode(data))
    except UpdateError as error:
        check_error(error)


SESSIONS = st.fixed_dictionaries(
    {
        "asn4": st.booleans(),
        "internal": st.booleans(),
        "extended_nexthop": st.booleans(),
        "families": st.sampled_from([(V4, V6), (V4,), (V6,)]),
    }
)


@given(session=SESSIONS, data=st.lists(st.binary(max_size=120), max_size=4))
@settings(max_examples=300, deadline=None)
def test_random_octets_raise_nothing_but_update_errors(session, data):
    reader = decoder(**session)
    for each in data:
        feed(reader, each)


@given(
    session=SESSIONS, seed=st.sampled_from(SEEDS), steps=st.lists(MUTATIONS, min_size=1, max_size=4)
)
@settings(max_examples=1500, deadline=None)
def test_damaged_updates_raise_nothing_but_update_errors(session, seed, steps):
    reader = decoder(**session)
    feed(reader, seed)
    for each in steps:
        feed(reader, mutate(seed, each))
    feed(reader, seed)


@given(session=SESSIONS, block=st.binary(max_size=80))
@settings(max_examples=500, deadline=None)
def test_random_attribute_blocks_never_hide_readable_routes(session, block):
    reader = decoder(**session)
    try:
        result = reader.decode(body(attributes=block, announced=ROUTES4))
    except UpdateError:
        return
    if V4 in session["families"]:
        assert sum(len(n) for f, _, n in result.steps if f is V4) >= 3
    check(result)


@given(session=SESSIONS, seed=st.sampled_from(SEEDS), steps=MUTATIONS)
@settings(max_examples=500, deadline=None)
def test_a_body_means_the_same_whatever_came_before(session, seed, steps):
    damaged = mutate(seed, steps)
    warm = decoder(**session)
    for each in SEEDS:
        feed(warm, each)
    assert _said(warm, damaged) == _said(decoder(**session), damaged)


def _said(reader: UpdateDecoder[Attributes], data: bytes) -> object:
    try:
        result = reader.decode(data)
    except UpdateError as error:
        return str(error)
    return result.steps, result.end_of_rib, result.refused
