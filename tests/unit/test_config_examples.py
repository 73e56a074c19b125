"""What config/ shows is true: the explained file holds every key and every default, the variants are right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import pytest

from kroute.codec.config import dump_config, json_schema, parse_config
from kroute.codec.config.decode import camel
from kroute.codec.config.decode import keys as in_order
from kroute.codec.yaml12 import load
from kroute.model.config import Config, InventoryKind
from kroute.model.config_peering import PeerConfig, Topology
from kroute.model.config_services import StaticService

ROOT = Path(__file__).parents[2]
EXPLAINED = ROOT / "config" / "kroute.yaml"
EXAMPLES = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("labs/*/kroute.yaml")])


def keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """Every key of the model outside of lists, dotted."""
    for field in fields(cls):
        kind = get_type_hints(cls)[field.name]
        yield prefix + camel(field.name)
        if is_dataclass(kind):
            yield from keys(kind, f"{prefix}{camel(field.name)}.")


def present(value: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a document that the model has a dataclass for."""
    for key, below in value.items() if isinstance(value, dict) else ():
        yield prefix + key
        yield from present(below, f"{prefix}{key}.")


def explained_peer() -> str:
    """The peer that the explained file shows in comments, as a file."""
    return "peering:\n  peers:\n" + explained_entry("tor1")


def explained_entry(name: str) -> str:
    """The entry of a list of that name, which stands in comments."""
    pattern = rf"(?m)(^  # - name: {name} .*\n(?:^  #   .*\n)+)"
    block = re.search(pattern, EXPLAINED.read_text())
    assert block is not None
    lines = [line.removeprefix("  # ") for line in block[1].splitlines()]
    return "".join(f"    {line}\n" for line in lines)


def test_there_are_examples():
    assert {"kroute", "mesh", "reflector", "tor", "static-inventory", "kubernetes"} == {
        p.stem for p in ROOT.glob("config/*.yaml")
    }
    assert len(EXAMPLES) >= 10


def test_the_explained_file_says_exactly_the_defaults():
    assert parse_config(EXPLAINED.read_text()) == Config()


def test_the_explained_file_holds_every_key_and_no_other():
    document = load(EXPLAINED.read_text(), "kroute.yaml").value
    assert sorted(present(document)) == sorted(keys(Config))


def test_the_explained_peer_holds_every_key_and_every_default():
    text = explained_peer()
    (peer,) = parse_config(text).peering.peers
    assert peer == PeerConfig(name=peer.name, address=peer.address, asn=peer.asn)
    document = load(text, "peer").value["peering"]["peers"][0]
    assert list(document) == [camel(f.name) for f in in_order(PeerConfig)]


def test_the_explained_static_service_holds_every_key_and_every_default():
    text = "services:\n  static:\n" + explained_entry("dns")
    (service,) = parse_config(text).services.static
    assert service == StaticService(name=service.name, addresses=service.addresses)
    document = load(text, "service").value["services"]["static"][0]
    assert list(document) == [camel(f.name) for f in fields(StaticService)]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_an_example_is_right_for_the_daemon_and_for_editors(path: Path):
    parse_config(path.read_text(), str(path))
    jsonschema.validate(load(path.read_text(), str(path)).value, json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_an_example_survives_being_dumped(path: Path):
    config = parse_config(path.read_text())
    assert parse_config(dump_config(config)) == config


def test_the_variants_show_what_their_names_say():
    def variant(name: str) -> Config:
        return parse_config((ROOT / "config" / f"{name}.yaml").read_text())

    assert variant("mesh").peering.topology is Topology.FULL_MESH
    assert variant("reflector").peering.topology is Topology.ROUTE_REFLECTOR
    assert len(variant("tor").peering.peers) == 2
    assert variant("static-inventory").inventory.kind is InventoryKind.STATIC
    assert variant("kubernetes").inventory.kubernetes.kubeconfig


def test_the_schema_is_valid_and_knows_the_same_keys_as_the_model():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def properties(part: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for key, below in part.get("properties", {}).items():
            yield prefix + key
            yield from properties(below, f"{prefix}{key}.")

    assert sorted(properties(schema)) == sorted(keys(Config))
    peers = schema["properties"]["peering"]["properties"]["peers"]["items"]
    assert list(peers["properties"]) == [camel(f.name) for f in in_order(PeerConfig)]
    assert peers["required"] == ["name"]


@pytest.mark.parametrize(
    "text",
    ["colour: blue", "bgp: {asn: 0}", "bgp: {asn: 23456}", "bgp: {holdTime: 2}", "logLevel: loud",
     "peering: {topology: mesh}", "peering: {peers: [{name: a}]}",
     "peering: {peers: [{name: a, address: 192.0.2.1}]}", "fib: {protocol: 16}",
     "fib: {formerProtocols: [12]}", "cni: {bridge: ''}", "bgp: 5", "fib: {enabled: 'true'}"],
)  # fmt: skip
def test_what_the_daemon_refuses_editors_underline(text: str):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(load(text, "file").value, json_schema())
