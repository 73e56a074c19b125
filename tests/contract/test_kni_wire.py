"""KNI's bytes: what each client sends is read field by field, and Google's protobuf agrees with our tables."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from kroute.codec.kni import messages as m
from kroute.codec.kni.descriptors import DESCRIPTORS
from kroute.codec.kni.methods import METHODS, attach_generation, read
from kroute.codec.kni.wire import Kind, MalformedMessage, Message, decode, encode
from kroute.model.kni import Generation, Isolation
from support import kni_clients
from support.kni_clients import ANNOTATIONS, CALLS, ID, LABELS, NETNS

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "contract" / "data" / "kni"
GENERATION = {
    "demo": Generation.V005,
    "demo-info": Generation.V005,
    "kubelet-v0.0.6": Generation.V006,
    "kubelet-v0.0.8": Generation.V008,
    "containerd": Generation.V008,
    "knix": Generation.V008,
}
FILES = sorted(file for file in DESCRIPTORS if file.startswith("kni"))


def recorded(name: str) -> bytes:
    return bytes.fromhex((RECORDED / f"{name}.hex").read_text())


def test_every_recorded_request_belongs_to_a_client():
    assert {p.stem for p in RECORDED.glob("*.hex")} == {c.name for c in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.name)
def test_recorded_bytes_are_what_the_client_encodes(call):
    assert recorded(call.name) == kni_clients.encode(call.file, call.message, call.content)


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.name)
def test_a_recorded_request_is_read_field_by_field_as_protobuf_reads_it(call):
    value, _ = read(METHODS[call.method], recorded(call.name))
    said = kni_clients.decode(call.file, call.message, recorded(call.name))
    ours = {k: v for k, v in _plain(asdict(value)).items() if v is not None}
    assert {k: v for k, v in ours.items() if k in said} == said
    assert not any(v for k, v in ours.items() if k not in said)


@pytest.mark.parametrize(
    "call", [c for c in CALLS if c.method.startswith("Attach")], ids=lambda c: c.name
)
def test_c2_each_client_s_attach_is_understood_in_its_own_layout(call):
    value, generation = read(METHODS[call.method], recorded(call.name))
    assert generation is GENERATION[call.client]
    assert value.id == ID
    assert value.labels == LABELS
    assert value.annotations == ANNOTATIONS
    assert NETNS in (value.isolation or Isolation()).path + value.extradata.get("netns", "")


def test_the_layout_can_be_forced():
    data = recorded("demo-AttachNetwork")
    value, generation = read(METHODS["AttachNetwork"], data, Generation.V006)
    assert generation is Generation.V006
    assert value.annotations == {}


def test_a_port_mapping_alone_tells_the_newer_layout():
    content = {"id": "a", "port_mappings": [{"container_port": 80, "host_port": 1}]}
    data = kni_clients.encode("kni-v0.0.6.proto", "AttachNetworkRequest", content)
    assert attach_generation(data) is Generation.V006


@pytest.mark.parametrize("name", FILES)
def test_the_tables_say_what_the_proto_files_say(name):
    described = descriptor_pb2.FileDescriptorProto.FromString(_descriptor(name))
    tables = {t.name: t for t in vars(m).values() if isinstance(t, Message)}
    tables["AttachNetworkRequest"] = m.ATTACH_V005 if "v0.0.5" in name else m.ATTACH_V006
    for message in described.message_type:
        table = tables.get(_alias(message.name)) or m.EMPTY
        assert {f.number: f.name for f in table.fields} == {
            f.number: f.name for f in message.field
        }, message.name
        for field in table.fields:
            wanted = next(f for f in message.field if f.number == field.number)
            assert _kind(wanted, message) is field.kind, f"{message.name}.{field.name}"


def test_every_method_of_every_generation_is_served():
    names = set()
    for name in FILES:
        service = descriptor_pb2.FileDescriptorProto.FromString(_descriptor(name)).service[0]
        names |= {method.name for method in service.method}
    assert names == set(METHODS)


def test_the_compiled_descriptors_are_fresh(tmp_path):
    made = tmp_path / "descriptors.py"
    subprocess.run([ROOT / "scripts" / "proto", made], cwd=ROOT, check=True)
    assert made.read_text() == (ROOT / "src/kroute/codec/kni/descriptors.py").read_text(), (
        "run `make proto`"
    )


words = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
POD = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=8),
        "id": st.text(max_size=8),
        "isolation": st.fixed_dictionaries(
            {}, optional={"path": st.text(max_size=8), "extradata": words}
        ),
        "labels": words,
        "annotations": words,
        "extradata": words,
    },
)
NEWER = st.fixed_dictionaries(
    {},
    optional={
        "dns_config": st.fixed_dictionaries(
            {}, optional={"servers": st.lists(st.text(max_size=6), max_size=3)}
        ),
        "port_mappings": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "protocol": st.integers(0, 2),
                    "container_port": st.integers(-(2**31), 2**31 - 1),
                    "host_ip": st.text(max_size=5),
                },
            ),
            max_size=3,
        ),
    },
)


@given(pod=POD, newer=NEWER)
def test_protobuf_reads_what_we_write_and_we_read_what_it_writes(pod, newer):
    for file, table, content in (
        ("kni-v0.0.5.proto", m.ATTACH_V005, pod),
        ("kni-v0.0.6.proto", m.ATTACH_V006, {**pod, **newer}),
    ):
        theirs = kni_clients.encode(file, "AttachNetworkRequest", content)
        value = decode(table, theirs)
        assert decode(table, encode(table, value)) == value
        ours = kni_clients.decode(file, "AttachNetworkRequest", encode(table, value))
        assert ours == kni_clients.decode(file, "AttachNetworkRequest", theirs)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data):
    for table in (m.ATTACH_V005, m.ATTACH_V006, m.POD_REPLY, m.NODES_REPLY):
        try:
            decode(table, data)
        except MalformedMessage:
            continue


@given(st.binary(max_size=60), st.integers(0, 400))
def test_a_damaged_request_never_does_worse_than_malformed(noise, where):
    data = recorded("kubelet-v0.0.6-AttachNetwork")
    damaged = data[:where] + noise + data[where + len(noise) :]
    with suppress(MalformedMessage):
        read(METHODS["AttachNetwork"], damaged)


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _descriptor(name):
    from base64 import b85decode

    return b85decode(DESCRIPTORS[name])


def _alias(name):
    name = name.replace("IsolationDomain", "Network").replace("DetachInterface", "DetachNetwork")
    if name.startswith("Attach") and name.endswith("Response"):
        return "QueryPodNetworkResponse"
    return name


def _kind(field, message):
    repeated = field.label == field.LABEL_REPEATED
    if field.type == field.TYPE_MESSAGE:
        nested = {n.name: n for n in message.nested_type if n.options.map_entry}
        entry = nested.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            value = entry.field[1]
            return Kind.NAMED if value.type == value.TYPE_MESSAGE else Kind.WORDS
        return Kind.MESSAGES if repeated else Kind.MESSAGE
    if field.type == field.TYPE_STRING:
        return Kind.TEXTS if repeated else Kind.TEXT
    return Kind.BOOL if field.type == field.TYPE_BOOL else Kind.INT32
