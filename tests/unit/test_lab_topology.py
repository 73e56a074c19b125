"""Reading containerlab's topology file: what it means, and what is said when it is wrong."""

from pathlib import Path

import pytest

from kroute.lab import clabfile, graph
from kroute.lab.errors import LabError
from kroute.lab.topology import Bind
from kroute.lab.yamlfile import expand

MESH = """
name: mesh
topology:
  defaults: { network-mode: none, env: { A: default, B: default } }
  kinds:
    linux: { image: "debian:12", exec: ["ip link set lo up"] }
  groups:
    router: { image: "localhost/bird:2", env: { B: group }, binds: ["r.conf:/etc/r.conf:ro"] }
  nodes:
    sw:
    br0|sw: { kind: bridge, network-mode: "container:sw" }
    r1: { group: router, env: { C: true }, exec: ["ip address add 192.0.2.1/24 dev eth1"] }
    r2: { group: router, binds: ["other.conf:/etc/r.conf"], cmd: "sh -c 'echo $$HOME'" }
  links:
    - endpoints: ["r1:eth1", "br0|sw:r1"]
    - type: veth
      mtu: 1400
      endpoints: [{ node: r2, interface: eth1 }, { node: br0|sw, interface: r2 }]
"""


@pytest.fixture
def write(tmp_path):
    for name in ("r.conf", "other.conf"):
        (tmp_path / name).touch()

    def write(text: str) -> Path:
        path = tmp_path / "lab.clab.yml"
        path.write_text(text)
        return path

    return write


def complaints(path: Path) -> list[str]:
    with pytest.raises(LabError) as caught:
        clabfile.load(path)
    return list(caught.value.messages)


def test_node_values_are_merged_from_defaults_kind_group_and_node(write):
    read = clabfile.load(write(MESH))
    r1 = read.nodes["r1"]
    assert r1.image == "localhost/bird:2"
    assert r1.env == {"A": "default", "B": "group", "C": "true"}
    assert r1.exec == (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", "192.0.2.1/24", "dev", "eth1"),
    )


def test_of_binds_with_one_target_the_nearest_layer_wins(write, tmp_path):
    read = clabfile.load(write(MESH))
    assert read.nodes["r1"].binds == (
        Bind(source=tmp_path / "r.conf", target="/etc/r.conf", read_only=True),
    )
    assert read.nodes["r2"].binds == (Bind(source=tmp_path / "other.conf", target="/etc/r.conf"),)


def test_a_bridge_lives_in_the_namespace_of_the_node_after_the_bar(write):
    switch = clabfile.load(write(MESH)).nodes["br0|sw"]
    assert (switch.is_switch, switch.bridge, switch.namespace_owner) == (True, "br0", "sw")


def test_links_are_read_in_both_forms_with_containerlabs_default_mtu(write):
    brief, extended = clabfile.load(write(MESH)).links
    assert (brief.a.node, brief.b.interface, brief.mtu) == ("r1", "r1", 9500)
    assert (extended.a.node, extended.mtu) == ("r2", 1400)


def test_commands_are_split_as_a_shell_would_and_dollars_are_escaped_by_doubling(write):
    assert clabfile.load(write(MESH)).nodes["r2"].command == ("sh", "-c", "echo $HOME")


def test_containerlabs_own_variables_are_filled_in(write):
    read = clabfile.load(
        write(
            "name: x\ntopology: { nodes: { n: { exec: ['echo __clabNodeName__ __clabLabName__'] } } }"
        )
    )
    assert read.nodes["n"].exec == (("echo", "n", "clab-x"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A ${A} $$A", "a a $A"),
        ("${A:-x} ${E:-x} ${U:-x}", "a x x"),
        ("${E-x} ${U-x}", " x"),
        ("${U:=x} ${A:+x} ${E:+x} ${E+x}", "x x  x"),
        ("[$U] costs 5$", "[] costs 5$"),
    ],
)
def test_shell_like_variables_are_expanded(text, expected):
    assert expand(text, {"A": "a", "E": ""}) == expected


def test_all_complaints_come_at_once_with_file_and_key_path(write):
    said = complaints(
        write(
            """
name: "bad name"
topology:
  nodes:
    a: { kind: nokia_srlinux }
    b: { kind: linux, imgae: debian, binds: ["gone:/x"] }
    host: { kind: linux }
    br0|q: { kind: bridge, network-mode: "container:q" }
  links:
    - endpoints: ["b:eth1", "c:eth1"]
    - endpoints: ["b:eth2", "b:eth2"]
    - type: vxlan
    - endpoints: ["b:interface-name-too-long", "b:eth3"]
"""
        )
    )
    text = "\n".join(said)
    assert all(line.startswith("lab.clab.yml: ") for line in said)
    for part in (
        "name: want letters",
        "topology.nodes.a.kind: nokia_srlinux needs containerlab",
        "topology.nodes.b.imgae: containerlab has no such key (did you mean image?)",
        "topology.nodes.b.binds[0]:",
        "topology.nodes.host: containerlab keeps this name",
        "topology.nodes.br0|q: there is no node q",
        "topology.links[0].endpoints[1]: there is no node c",
        "topology.links[1]: b:eth2 is used by links[1] already",
        "topology.links[2].type: vxlan links need containerlab",
        "topology.links[3].endpoints[0]: want an interface name",
    ):
        assert part in text


def test_keys_that_namespaces_cannot_honour_are_warned_about(write):
    read = clabfile.load(
        write(
            "name: x\nmgmt: { network: m }\ntopology: { nodes: { n: { ports: ['1:1'], memory: 1g } } }"
        )
    )
    assert [line.split(":")[0] for line in read.warnings] == [
        "mgmt",
        "topology.nodes.n.ports",
        "topology.nodes.n.memory",
    ]


def test_of_stages_only_waiting_is_understood(write):
    stages = "{ configure: { wait-for: [] }, create: { exec: [] } }"
    read = clabfile.load(write(f"name: x\ntopology: {{ nodes: {{ n: {{ stages: {stages} }} }} }}"))
    assert [line.split(":")[0] for line in read.warnings] == ["topology.nodes.n.stages.create"]


def test_a_key_that_stands_twice_is_refused_with_its_line(write):
    said = complaints(write("name: x\nname: y\ntopology: {}\n"))
    assert said == ["lab.clab.yml:2:1: the key 'name' stands here twice"]


def test_a_file_that_cannot_be_read_or_is_nested_without_end_is_refused_in_words(write):
    path = write("a: " + "[" * 5000)
    assert complaints(path) == ["lab.clab.yml: is nested too deeply"]
    path.write_bytes(b"\xff\xfe")
    assert "cannot be read" in complaints(path)[0]


@pytest.mark.parametrize(
    "text", ["", "[]", "name: x", "a: [", "topology: 3", "name: x\ntopology: {links: 3}"]
)
def test_nonsense_is_refused_in_words(write, text):
    assert complaints(write(text))


def test_a_folder_means_its_only_topology_file(write, tmp_path):
    path = write(MESH)
    assert clabfile.find(tmp_path) == path
    (tmp_path / "second.clab.yml").touch()
    with pytest.raises(LabError, match="want one"):
        clabfile.find(tmp_path)


def test_the_graph_names_every_node_and_cable(write):
    read = clabfile.load(write(MESH))
    drawn = graph.mermaid(read)
    assert 'r1 ---|"eth1 - r1"| br0_sw' in drawn
    assert drawn.startswith("graph TD\n")
    assert "  eth1 ── br0|sw:r2" in graph.text(read)


def test_every_shipped_lab_is_read_without_warnings():
    files = sorted(Path(__file__).parents[2].glob("labs/*/*.clab.yml"))
    assert files, "there are no labs"
    for file in files:
        read = clabfile.load(file)
        assert not read.warnings
        assert file.name == f"{read.name}.clab.yml" == f"{file.parent.name}.clab.yml"
