"""Whatever lies in the CNI folder is judged, never raised about; whatever we render, we recognise."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.conflist import VERSIONS, inspect, render
from kroute.model.cni import Conflist

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
KEYS = st.sampled_from(["name", "cniVersion", "plugins", "type", "ipam", "bridge", "x"])
NEARLY = st.recursive(
    JSON,
    lambda inner: st.dictionaries(KEYS, inner | st.lists(inner, max_size=3), max_size=5),
    max_leaves=30,
)
RANGES = st.builds(lambda n: IPv4Network((n << 8, 24)), st.integers(0, 2**24 - 1)) | st.builds(
    lambda n: IPv6Network((n << 64, 64)), st.integers(0, 2**64 - 1)
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
CONFLISTS = st.builds(
    Conflist,
    name=NAMES,
    cni_version=st.sampled_from(VERSIONS),
    bridge=NAMES,
    ranges=st.lists(RANGES, min_size=1, max_size=2).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    hairpin=st.booleans(),
    default_gateway=st.booleans(),
    port_map=st.booleans(),
    loopback=st.booleans(),
    data_dir=st.text(),
    extra_plugins=st.lists(
        st.dictionaries(st.text(), JSON, max_size=3).map(lambda d: {**d, "type": "extra"}),
        max_size=2,
    ).map(tuple),
)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_judged(data: bytes, single: bool):
    inspect(data, single=single)


@given(NEARLY, st.booleans())
def test_anything_shaped_like_a_network_is_judged(document: object, single: bool):
    seen = inspect(json.dumps(document).encode(), single=single)
    assert seen.fault or (seen.name and all(seen.plugins))


@given(CONFLISTS, st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_file_of_ours_is_judged(conflist: Conflist, position: int, octet: int):
    data = bytearray(render(conflist))
    data[position % len(data)] = octet
    inspect(bytes(data))
    inspect(bytes(data[: position % len(data)]))


@given(CONFLISTS)
def test_what_is_rendered_is_stable_and_recognised(conflist: Conflist):
    data = render(conflist)
    assert render(conflist) == data
    seen = inspect(data)
    assert (seen.name, seen.bridge, seen.fault) == (conflist.name, conflist.bridge, "")
    subnets = [r[0]["subnet"] for r in json.loads(data)["plugins"][0]["ipam"]["ranges"]]
    assert subnets == [str(r) for r in conflist.ranges]
