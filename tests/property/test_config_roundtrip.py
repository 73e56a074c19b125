"""Any configuration survives being written and read: ``parse_config(dump_config(c)) == c``."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kroute.codec.config import dump_config, json_schema, parse_config, plain
from kroute.codec.config.constraints import CHOICES, PATTERNS, RANGES, REFUSED, objections
from kroute.codec.config.decode import camel
from kroute.codec.yaml12 import load
from kroute.model.config import Config
from kroute.model.config_peering import PeerConfig
from kroute.model.net import Address, Prefix
from kroute.model.selection import AddressFrom

TEXT = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="\ufeff\ufffe\uffff")
    .filter(lambda c: not 0xFFFE <= ord(c) & 0xFFFF <= 0xFFFF),
    max_size=20,
)  # fmt: skip
TRICKY = st.sampled_from(
    ["yes", "no", "on", "null", "~", "true", "1", "0x1f", "1e3", ".inf", "65000:30", "2026-01-01", "<<", "=", "-", "?",
     "a: b", "# a", " a", "a ", "", "*a", "&a", "!a", "%a", "@a", "`a`", "'", '"', "[", "{", "---", "...", "a\u00a0b"]
)  # fmt: skip
WORDS = TEXT | TRICKY
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(WORDS, below, max_size=3),
    max_leaves=8,
)  # fmt: skip
HOST4 = st.ip_addresses(v=4).filter(lambda a: not a.is_multicast and not a.is_unspecified)
HOST6 = st.ip_addresses(v=6).filter(
    lambda a: not a.is_multicast and not a.is_unspecified and not a.is_link_local
)


def prefixes() -> st.SearchStrategy[Any]:
    def made(bits: int, cls: Any) -> st.SearchStrategy[Any]:
        return st.tuples(st.integers(0, 2**bits - 1), st.integers(0, bits)).map(
            lambda pair: cls(pair, strict=False)
        )

    return made(32, IPv4Network) | made(128, IPv6Network)


def number(key: str) -> st.SearchStrategy[int]:
    least, most = RANGES.get(key, (-(2**63), 2**63))
    refused = REFUSED.get(key, {})
    return st.integers(least, most).filter(lambda n: n not in refused)


def word(key: str) -> st.SearchStrategy[str]:
    if key in ("routerId", "clusterId"):
        return st.just("") | st.ip_addresses(v=4).filter(int).map(str)
    if key == "communities":
        return st.sampled_from(["64512:100", "no-export", "64512:1:2"])
    if key in CHOICES:
        return st.sampled_from(CHOICES[key])
    if key in PATTERNS:
        return st.from_regex(f"(?:{PATTERNS[key][0]})\\Z", fullmatch=True).filter(
            lambda text: all(ord(c) >= 0x20 and c.isprintable() for c in text)
        )
    return WORDS


def values(kind: Any, key: str) -> st.SearchStrategy[Any]:
    origin, args = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return configs(kind)
    if origin in (Union, UnionType):
        choices = {a for a in args if a is not NoneType}
        if choices == set(get_args(Address)):
            inner: st.SearchStrategy[Any] = HOST4 | HOST6
        elif choices == set(get_args(Prefix)):
            inner = prefixes()
        else:
            inner = st.one_of([values(a, key) for a in args if a is not NoneType])
        return st.none() | inner if NoneType in args else inner
    if origin is tuple:
        return st.lists(values(args[0], key), max_size=3).map(tuple)
    if origin is not None:
        below = FREE if args[1] is Any else values(args[1], "")
        return st.dictionaries(WORDS, below, max_size=3)
    if issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    if kind is bool:
        return st.booleans()
    return number(key) if kind is int else word(key)


def configs(cls: Any) -> st.SearchStrategy[Any]:
    """Values of a dataclass of the model; each field its default or something else that is allowed."""
    types = get_type_hints(cls)
    made = {}
    for field in fields(cls):
        chosen = values(types[field.name], camel(field.name))
        if cls.__name__ == "Http" and field.name == "address":
            chosen = st.ip_addresses().map(str)
        if cls.__name__ == "Cni" and field.name == "extra_plugins":
            plugin = st.dictionaries(WORDS, FREE, max_size=3).map(lambda d: {**d, "type": "tuning"})
            chosen = st.lists(plugin, max_size=2).map(tuple)
        if field.default is not MISSING:
            chosen = st.just(field.default) | chosen
        made[field.name] = chosen
    if cls is AddressFrom:
        one_key = [st.builds(cls, **{key: some}) for key, some in made.items()]
        return st.one_of(one_key).filter(lambda part: not list(objections(part)))
    if cls is PeerConfig:
        where = st.sampled_from(["address", "address_from"])
        both = st.builds(cls, **made | {"address": HOST4 | HOST6, "asn": values(int, "asn")})
        return st.builds(only, both, where).filter(lambda part: not list(objections(part)))
    return st.builds(cls, **made).filter(lambda part: not list(objections(part)))


def only(peer: PeerConfig, where: str) -> PeerConfig:
    """The peer with one of its two ways to name an address."""
    if where == "address" or peer.address_from is None:
        return replace(peer, address_from=None)
    return replace(peer, address=None)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs(Config))
def test_a_configuration_survives_being_written_and_read(config: Config):
    text = dump_config(config)
    assert parse_config(text) == config
    assert dump_config(parse_config(text)) == text
    jsonschema.validate(load(text, "dump").value, json_schema())


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs(Config))
def test_a_configuration_survives_being_written_as_json(config: Config):
    assert parse_config(json.dumps(plain(config), ensure_ascii=False)) == config
