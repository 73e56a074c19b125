"""What kube-router leaves on a node is shown first, removed when asked for, and nothing else is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.netns import CommandFailed, Lab, Namespace

pytestmark = pytest.mark.root

KROUTE = str(Path(sys.executable).with_name("kroute"))


@pytest.fixture
def node(tmp_path):
    """A node as kube-router 2.11 leaves it, by its documented marks; and things of others."""
    with Lab("kr") as lab:
        made = lab.namespace("n1")
        peer = lab.namespace("n2")
        lab.veth(made, "eth0", peer, "eth0")
        made.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
        made.ip("link add kube-bridge type bridge")
        made.ip("link set kube-bridge up")
        made.ip("route add 10.244.2.0/24 via 192.0.2.2 proto 17")
        made.ip("-6 route add fd00:2::/64 via 2001:db8::2 proto 17")
        made.ip("route add 192.0.2.9 dev eth0 table 77")
        made.ip("rule add from 10.244.1.0/24 lookup 77")
        made.ip("route add 198.51.100.0/24 via 192.0.2.2 proto static")
        made.ip("rule add from 10.9.0.0/16 lookup 78")
        made.ip("link add tun-0123456789a type veth peer name other0")
        folder = tmp_path / "net.d"
        folder.mkdir()
        (folder / "10-kuberouter.conflist").write_text("{}")
        (folder / "87-other.conflist").write_text("{}")
        yield made, folder


def cleanup(node: Namespace, folder: Path, *options: str, bridge: str = "kroute0") -> str:
    file = folder.parent / "kroute.yaml"
    file.write_text(json.dumps({"cni": {"directory": str(folder), "bridge": bridge}}))
    return node.run([KROUTE, "cleanup", "--kube-router", "--config", str(file), *options])


def test_leftovers_are_shown_and_nothing_is_removed_unless_asked_for(node):
    namespace, folder = node
    shown = cleanup(namespace, folder).splitlines()
    assert sorted(shown[:-1]) == sorted(
        [
            "ipv4 rule from 10.244.1.0/24 lookup 77",
            "route 192.0.2.9/32 dev eth0 table 77 proto 3",
            "route 10.244.2.0/24 via 192.0.2.2 dev eth0 table 254 proto 17",
            "route fd00:2::/64 via 2001:db8::2 dev eth0 table 254 proto 17",
            "bridge kube-bridge",
            f"file {folder}/10-kuberouter.conflist",
        ]
    )
    assert shown[-1] == "6 things of kube-router; stop it and add --yes to remove them"
    assert "10.244.2.0/24" in namespace.ip("route show proto 17")


def test_what_was_shown_is_removed_and_what_others_own_stays(node):
    namespace, folder = node
    assert cleanup(namespace, folder, "--yes").splitlines()[-1] == "6 things removed"
    assert cleanup(namespace, folder).splitlines() == [
        "0 things of kube-router; stop it and add --yes to remove them"
    ]
    assert namespace.ip("route show proto 17") == ""
    assert namespace.ip("-6 route show proto 17") == ""
    with pytest.raises(CommandFailed):
        namespace.ip("link show kube-bridge")
    assert "198.51.100.0/24" in namespace.ip("route show proto static")
    assert "lookup 78" in namespace.ip("rule show")
    assert "lookup 77" not in namespace.ip("rule show")
    assert "tun-0123456789a" in namespace.ip("link show")  # its name, but no tunnel
    assert [path.name for path in folder.iterdir()] == ["87-other.conflist"]


def test_a_bridge_that_kroute_took_over_stays(node):
    namespace, folder = node
    assert cleanup(namespace, folder, "--yes", bridge="kube-bridge").splitlines()[-1] == (
        "5 things removed"
    )
    assert "kube-bridge" in namespace.ip("link show kube-bridge")
