"""What the daemon observes comes out of its JSON as it went in, whatever it is."""

from __future__ import annotations

import json
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.values import dump, load
from kroute.model.bgp import Attributes, Peer
from kroute.model.config import Config
from kroute.model.kernel import KernelState
from kroute.model.node import Node
from kroute.model.service import EndpointSlice, Service

numbers = st.integers(0, 2**32 - 1)
st.register_type_strategy(IPv4Network, st.builds(lambda n: IPv4Network((n, 32)), numbers))
st.register_type_strategy(IPv6Network, st.builds(lambda n: IPv6Network((n, 128)), numbers))
st.register_type_strategy(IPv4Interface, st.builds(lambda n: IPv4Interface((n, 24)), numbers))
st.register_type_strategy(IPv6Interface, st.builds(lambda n: IPv6Interface((n, 64)), numbers))


def there_and_back(value: Any) -> Any:
    return load(type(value), json.loads(json.dumps(dump(value))))


@pytest.mark.parametrize("kind", [Attributes, EndpointSlice, KernelState, Node, Peer, Service])
@given(data=st.data())
def test_each_value_of_the_model_survives(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    assert there_and_back(value) == value


@pytest.mark.parametrize(
    ("kind", "wrong"), [(Node, 1), (Node, {"nome": 1}), (Config, {"bgp": []}), (Node, {"name": 5})]
)
def test_what_is_no_such_value_is_refused(kind: type, wrong: Any) -> None:
    with pytest.raises(ValueError, match="that is no"):
        load(kind, wrong)
