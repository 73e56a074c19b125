"""The runtime's part of CNI: order, results handed on, and what happens when a plugin refuses."""

import json
from dataclasses import dataclass, field

import pytest

from kroute.lab import cni_exec, images
from kroute.lab.backend import Result
from kroute.lab.cni_exec import Attachment, Network
from kroute.lab.errors import LabError
from kroute.lab.topology import Node

NETWORK = Network(
    name="pods",
    version="1.0.0",
    plugins=({"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": True}}),
)


@dataclass
class FakeNode:
    """Stands for a back-end: records calls, answers like plugins do."""

    refuses: str = ""
    conflist: str = ""
    calls: list = field(default_factory=list)

    def run(self, node, argv, *, text="", timeout=60.0):
        if argv[0] == "sh":
            return Result(status=0, stdout=self.conflist, stderr="")
        settings = dict(word.split("=", 1) for word in argv if word.startswith("CNI_"))
        plugin, command, config = argv[-1], settings["CNI_COMMAND"], json.loads(text)
        self.calls.append((command, plugin, config))
        if f"{command} {plugin}" == self.refuses:
            return Result(
                status=1, stdout=json.dumps({"code": 7, "msg": "no", "details": "way"}), stderr=""
            )
        answer = {"ips": [{"address": "10.0.0.2/24"}], "by": plugin} if command == "ADD" else {}
        return Result(status=0, stdout=json.dumps(answer), stderr="")


def attachment(**more):
    return Attachment(container="c1", netns="/run/netns/p1", **more)


def test_add_hands_each_plugin_the_result_before_it():
    node = FakeNode()
    result = cni_exec.add(node, "n1", NETWORK, attachment())
    (_, first, config1), (_, second, config2) = node.calls
    assert (first, second) == ("bridge", "portmap")
    assert "prevResult" not in config1
    assert config2["prevResult"]["by"] == "bridge"
    assert (config1["name"], config1["cniVersion"]) == ("pods", "1.0.0")
    assert result["by"] == "portmap"


def test_capabilities_become_runtime_config_where_the_container_has_ports():
    node = FakeNode()
    cni_exec.add(
        node, "n1", NETWORK, attachment(port_mappings=[{"hostPort": 80, "containerPort": 80}])
    )
    bridge, portmap = (call[2] for call in node.calls)
    assert "runtimeConfig" not in bridge
    assert portmap["runtimeConfig"]["portMappings"][0]["hostPort"] == 80
    assert "capabilities" not in portmap


def test_delete_calls_the_plugins_in_reverse_order_with_the_result_of_add():
    node = FakeNode()
    cni_exec.delete(node, "n1", NETWORK, attachment(), {"by": "portmap"})
    assert [(call[0], call[1]) for call in node.calls] == [("DEL", "portmap"), ("DEL", "bridge")]
    assert all(call[2]["prevResult"] == {"by": "portmap"} for call in node.calls)


def test_a_refused_add_is_undone_by_all_plugins_and_told_in_the_plugins_words():
    node = FakeNode(refuses="ADD portmap")
    with pytest.raises(LabError, match="portmap ADD: no way"):
        cni_exec.add(node, "n1", NETWORK, attachment())
    assert [(call[0], call[1]) for call in node.calls][2:] == [
        ("DEL", "portmap"),
        ("DEL", "bridge"),
    ]


def test_a_refused_delete_does_not_spare_the_other_plugins():
    node = FakeNode(refuses="DEL portmap")
    with pytest.raises(LabError, match="portmap DEL"):
        cni_exec.delete(node, "n1", NETWORK, attachment(), None)
    assert len(node.calls) == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": "x"}', "3"])
def test_a_broken_conflist_is_refused(text):
    with pytest.raises(LabError, match="no CNI configuration"):
        cni_exec.network(FakeNode(conflist=text), "n1")


def test_no_conflist_means_no_network_yet():
    assert cni_exec.network(FakeNode(), "n1") is None


@pytest.mark.parametrize(
    ("image", "program"),
    [
        ("localhost/kroute:dev", "kroute"),
        ("registry.example/x/kroute@sha256:0", "kroute"),
        ("registry.example/frrouting/frr:9.1.0", "/usr/lib/frr/zebra"),
        ("frrouting/frr:v8.4.0", "/usr/lib/frr/zebra"),
        ("pierky/bird:2.0", "bird"),
        ("jauderho/gobgp:v3", "gobgpd"),
        ("openbgpd/openbgpd:8", "/usr/sbin/bgpd"),
        ("alpine:3.20", ""),
        ("nicolaka/netshoot:v0.13", ""),
        ("example.com/unheard-of:1", ""),
    ],
)
def test_images_stand_for_programs_of_the_host(image, program):
    assert images.native_for(Node(name="n", image=image)).program == program


def test_a_label_names_the_program_instead_of_the_image():
    node = Node(name="n", image="x", labels={images.NATIVE_LABEL: "bird"})
    assert images.native_for(node).program == "bird"
    with pytest.raises(LabError, match="want one of kroute"):
        images.native_for(Node(name="n", labels={images.NATIVE_LABEL: "brid"}))


def test_kroute_is_restarted_unless_its_node_says_otherwise():
    assert images.restarts(Node(name="n", image="kroute:1"))
    assert not images.restarts(
        Node(name="n", image="kroute:1", labels={images.RESTART_LABEL: "no"})
    )
    assert not images.restarts(Node(name="n", image="bird:2"))
    assert images.restarts(Node(name="n", image="bird:2", labels={images.RESTART_LABEL: "always"}))


def test_a_missing_program_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(images, "search_path", lambda: "/nonexistent")
    with pytest.raises(LabError, match=r"r1 .bird:2. needs bird: apt-get install bird2"):
        images.require([Node(name="r1", image="bird:2")])


def test_plain_hosts_and_shells_run_nothing_by_themselves():
    assert images.main_script(Node(name="n", image="alpine:3")) == ""
    assert images.main_script(Node(name="n", image="kroute:1", command=("bash",))) == ""
    assert images.main_script(Node(name="n", command=("a", "b c"))) == "exec 'a' 'b c'"
