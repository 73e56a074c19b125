"""What is encoded decodes to the same; both ways through an attribute block agree."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from kroute.codec.bgp import attribute_block, encode_updates
from kroute.codec.bgp.attributes import AttributeReader, split
from kroute.codec.bgp.nlri import read_nlri
from kroute.codec.bgp.plain import PlainReader
from kroute.model.bgp import AsSegment, Attributes, Origin, SegmentType, Unknown
from kroute.model.net import Family, nlri_of
from support.bgp_bytes import V4, V6, body, decoder, rib_of

U32 = st.integers(0, 2**32 - 1)
ASNS = st.one_of(st.integers(1, 65535), st.integers(1, 2**32 - 1), st.just(23456))
V4_HOSTS = st.tuples(st.integers(1, 223), st.binary(min_size=3, max_size=3)).map(
    lambda t: bytes((t[0],)) + t[1]
)
V6_HOSTS = st.binary(min_size=15, max_size=15).map(lambda b: b"\x20" + b)
LINK_LOCAL = st.binary(min_size=8, max_size=8).map(lambda b: b"\xfe\x80" + bytes(6) + b)
SEGMENTS = st.builds(
    AsSegment,
    st.sampled_from([SegmentType.AS_SEQUENCE, SegmentType.AS_SET]),
    st.lists(ASNS, min_size=1, max_size=255).map(tuple),
)
SHORT_SEGMENTS = st.builds(
    AsSegment, st.just(SegmentType.AS_SEQUENCE), st.lists(ASNS, min_size=1, max_size=4).map(tuple)
)
PATHS = st.one_of(st.just(()), st.tuples(SHORT_SEGMENTS), st.lists(SEGMENTS, max_size=3).map(tuple))
UNKNOWN_CODES = st.sampled_from([11, 20, 23, 25, 35, 128, 255])


def ordered(values: st.SearchStrategy, most: int = 70) -> st.SearchStrategy:
    """Sorted tuples without repetition, as the model wants them."""
    return st.sets(values, max_size=most).map(lambda s: tuple(sorted(s)))


def unknown(codes: list[int]) -> st.SearchStrategy:
    return st.tuples(
        *(
            st.builds(Unknown, flags=st.just(0xE0), code=st.just(c), value=st.binary(max_size=300))
            for c in sorted(codes)
        )
    )


ATTRIBUTES = st.builds(
    Attributes,
    origin=st.sampled_from(Origin),
    as_path=PATHS,
    nexthop=V4_HOSTS,
    med=st.none() | U32,
    local_pref=st.none() | U32,
    atomic_aggregate=st.booleans(),
    aggregator=st.none() | st.tuples(ASNS, st.binary(min_size=4, max_size=4)),
    communities=ordered(U32),
    extended_communities=ordered(st.binary(min_size=8, max_size=8)),
    large_communities=ordered(st.tuples(U32, U32, U32)),
    originator_id=st.none() | st.binary(min_size=4, max_size=4),
    cluster_list=st.lists(st.binary(min_size=4, max_size=4), max_size=4).map(tuple),
    unknown=st.lists(UNKNOWN_CODES, unique=True, max_size=2).flatmap(unknown),
)


def prefixes(family: Family, most: int = 40) -> st.SearchStrategy:
    """Different keys of one family."""
    kind = st.ip_addresses(v=4 if family is V4 else 6)
    bits = st.integers(0, family.bits)

    def key(address, length):
        size = family.bits
        value = int(address) >> (size - length) << (size - length)
        return bytes((length,)) + value.to_bytes(size // 8, "big")[: (length + 7) // 8]

    return st.lists(st.builds(key, kind, bits), unique=True, max_size=most)


@given(attributes=ATTRIBUTES, v6=V6_HOSTS, link_local=LINK_LOCAL, data=st.data())
@settings(max_examples=300)
def test_every_set_of_routes_survives_the_way_over_the_wire(attributes, v6, link_local, data):
    family = data.draw(st.sampled_from(Family))
    if family is V6 or data.draw(st.booleans()):
        local = data.draw(st.sampled_from([b"", link_local]))
        attributes = replace(attributes, nexthop=v6, link_local=local)
    routes = data.draw(prefixes(family))
    gone = data.draw(prefixes(family))
    messages = encode_updates(family, attributes, routes, gone, asn4=True, message_size=65535)
    result = decoder().decode_run([m[19:] for m in messages])
    assert not result.problems
    assert rib_of([result]) == {(family, n): attributes for n in routes}
    assert {n for f, p, ns in result.steps if p is None for n in ns} == set(gone)


@given(attributes=ATTRIBUTES, routes=prefixes(V4))
def test_a_two_octet_session_carries_the_same_routes(attributes, routes):
    messages = encode_updates(V4, attributes, routes, asn4=False, message_size=65535)
    result = decoder(asn4=False).decode_run([m[19:] for m in messages])
    assert rib_of([result]) == {(V4, n): attributes for n in routes}


@given(attributes=ATTRIBUTES, routes=prefixes(V4, 400), size=st.integers(3800, 4096))
@settings(max_examples=60)
def test_no_message_is_longer_than_the_session_allows(attributes, routes, size):
    small = replace(attributes, as_path=(), communities=(), unknown=(), large_communities=())
    small = replace(small, extended_communities=())
    messages = encode_updates(V4, small, routes, routes, asn4=True, message_size=size)
    assert all(len(m) <= size and m[16:18] == len(m).to_bytes(2, "big") for m in messages)
    assert rib_of([decoder().decode_run([m[19:] for m in messages])]).keys() == {
        (V4, n) for n in routes
    }


@given(attributes=ATTRIBUTES)
def test_decoding_and_encoding_again_gives_the_same_octets(attributes):
    block = attribute_block(V4, attributes, asn4=True).attributes
    read, problems = AttributeReader(asn4=True, internal=True).read(split(block))
    assert not problems
    assert attribute_block(V4, read, asn4=True).attributes == block


@given(routes=st.lists(ATTRIBUTES, max_size=4), v6=V6_HOSTS, link_local=LINK_LOCAL)
@settings(max_examples=200)
def test_the_plain_and_the_careful_way_read_the_same(routes, v6, link_local):
    plain = PlainReader(internal=True)
    careful = AttributeReader(asn4=True, internal=True)
    tails = [replace(routes[0], origin=r.origin, as_path=r.as_path) for r in routes]
    for each in [*routes, *tails]:
        block = attribute_block(V4, each, asn4=True).attributes
        read, _ = careful.read(split(block))
        assert plain.read(block) == (read if _is_plain(each) else None)
        beside_reach = replace(each, nexthop=v6, link_local=link_local)
        block = attribute_block(V6, beside_reach, asn4=True).attributes
        assert plain.read(block, v6, link_local) == (beside_reach if _is_plain(each) else None)


def _is_plain(attributes: Attributes) -> bool:
    """No unknown attribute, and none of more than 255 octets except AS_PATH at the beginning."""
    path = sum(2 + 4 * len(segment.asns) for segment in attributes.as_path)
    rest = (
        4 * len(attributes.communities),
        8 * len(attributes.extended_communities),
        12 * len(attributes.large_communities),
    )
    return max(path, *rest) < 256 and not attributes.unknown


@given(attributes=ATTRIBUTES, cut=st.integers(0, 60), noise=st.binary(max_size=8))
@settings(max_examples=400)
def test_the_plain_way_never_accepts_what_the_careful_way_refuses(attributes, cut, noise):
    block = attribute_block(V4, attributes, asn4=True).attributes
    broken = block[:cut] + noise + block[cut + len(noise) :]
    plain = PlainReader(internal=True)
    plain.read(block)
    quick = plain.read(broken)
    if quick is not None:
        read, problems = AttributeReader(asn4=True, internal=True).read(split(broken))
        assert not problems
        assert quick == read


@given(family=st.sampled_from(Family), data=st.data())
def test_nlri_fields_read_as_the_prefixes_they_hold(family, data):
    routes = data.draw(prefixes(family))
    assert read_nlri(family, b"".join(routes)) == routes


@given(data=st.data(), noise=st.binary(min_size=40, max_size=40))
def test_unused_bits_never_make_another_key(data, noise):
    routes = data.draw(prefixes(V4))
    dirty = b""
    for index, key in enumerate(routes):
        mask = (0xFF >> key[0] % 8) if key[0] % 8 else 0
        dirty += key[:-1] + bytes((key[-1] | (noise[index] & mask),))
    assert read_nlri(V4, dirty) == routes


@given(attributes=ATTRIBUTES, routes=prefixes(V4), chunks=st.integers(1, 5))
def test_a_run_says_the_same_as_its_bodies_one_by_one(attributes, routes, chunks):
    block = attribute_block(V4, attributes, asn4=True).attributes
    bodies = [body(attributes=block, announced=r) for r in routes]
    bodies += [body(withdrawn=r) for r in routes[::3]]
    at_once = decoder().decode_run(bodies)
    single = decoder()
    assert rib_of([at_once]) == rib_of(single.decode(b) for b in bodies)
    parts = decoder()
    assert rib_of([at_once]) == rib_of(
        parts.decode_run(bodies[i : i + chunks]) for i in range(0, len(bodies), chunks)
    )


def test_the_key_of_a_prefix_is_the_models_own():
    for text in ("0.0.0.0/0", "10.244.1.0/24", "10.244.1.128/25", "2001:db8::/33"):
        prefix = ip_network(text)
        family = V4 if prefix.version == 4 else V6
        assert read_nlri(family, nlri_of(prefix)) == [nlri_of(prefix)]
