"""The fast path against the real plugins: the same requests, then everything that can be seen is compared."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest

from kroute.drivers.kni.core import Core
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import Generation, How, KniError, PortMapping, Refusal
from support.daemon import reaches
from support.kni import KniNode, request
from support.netns import Namespace, run

pytestmark = pytest.mark.root
V = Generation.V008
FOUR, SIX = "10.244.1.0/24", "fd00:10:244:1::/64"
SYSCTLS = (
    "for f in $(find /proc/sys/net/ipv4/conf/{0} /proc/sys/net/ipv6/conf/{0} -type f); do "
    'echo "$f=$(cat $f 2>/dev/null)"; done'
)
VARIANTS: dict[str, dict[str, Any]] = {
    "dual-stack": {"ranges": (FOUR, SIX)},
    "ipv6-first": {"ranges": (SIX, FOUR)},
    "ipv4": {"ranges": (FOUR,)},
    "ipv6": {"ranges": (SIX,)},
    "no-mtu": {"mtu": None},
    "no-hairpin": {"hairpin": False},
    "no-default-route": {"default_gateway": False},
    "no-portmap": {"port_map": False},
    "0.3.1": {"cni_version": "0.3.1"},
    "0.4.0": {"cni_version": "0.4.0"},
}


def sysctls(where: Namespace, *interfaces: str) -> list[str]:
    found = [where.run(["sh", "-c", SYSCTLS.format(i)]).splitlines() for i in interfaces]
    return sorted(line for lines in found for line in lines if "stable_secret" not in line)


def picture(node: KniNode, pod: Namespace) -> dict[str, Any]:
    """Everything that can be seen of a pod and of its node."""
    host = node.veths()
    return {
        "pod links": json.loads(pod.run(["ip", "-j", "-d", "addr"])),
        "pod routes": [json.loads(pod.run(["ip", "-j", f"-{f}", "route"])) for f in (4, 6)],
        "pod sysctls": sysctls(pod, "all", "default", "lo", "eth0"),
        "node links": settled(json.loads(node.node.run(["ip", "-j", "-d", "addr"]))),
        "node routes": [json.loads(node.node.run(["ip", "-j", f"-{f}", "route"])) for f in (4, 6)],
        "node sysctls": sysctls(node.node, "all", "kroute0", *host),
        "ports": json.loads(node.node.run(["bridge", "-j", "-d", "link"])),
        "rules": node.node.run(["nft", "list", "ruleset"]),
        "leases": {
            p.name: p.read_bytes() if p.name[0] != "l" else p.read_text()
            for p in sorted((node.leases / "kroute").iterdir())
            if not p.name.startswith(".kroute-spare-")
        },
        "cache": {
            p.name: json.loads(p.read_bytes())["result"]
            for p in (node.folder / "cache" / "results").iterdir()
        },
    }


def settled(links: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The node's links once duplicate detection on its bridge is over, whenever that is."""
    for link in links:
        for address in link.get("addr_info", ()):
            address.pop("tentative", None)
    return links


NEWER = (
    (r', "txqlen": \d+', ""),
    (r"/keep_addr_on_down=[01]", "/keep_addr_on_down=?"),
    (r'"dns": \{\}, ', ""),
)
"""What plugins that speak version 1.1.0 do otherwise than those of Debian 12, which the fast path follows."""


def like_newer_plugins(core: Core, picture: str) -> str:
    """The picture without what the plugins that are tested here do otherwise."""
    newer = "1.1.0" in core.plugins.versions("bridge", Deadline(10.0))
    for pattern, replacement in NEWER if newer else ():
        picture = re.sub(pattern, replacement, picture)
    return picture


def alike(thing: Any, names: dict[str, str]) -> str:
    """A picture with random names, MACs and indexes, times and the lab's names made equal."""
    text = json.dumps(thing, sort_keys=True, default=repr)
    for name, stands_for in names.items():
        text = text.replace(name, stands_for)
    text = re.sub(r"veth[0-9a-f]{8}", "VETH", text)
    text = re.sub(r"(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}\b", "MAC", text)
    text = re.sub(r"fe80::[0-9a-f:]+", "LINKLOCAL", text)
    text = re.sub(r'"(ifindex|link_index|[a-z_]*timer|link_netnsid)": [-0-9.]+', r'"\1": 0', text)
    return re.sub(r'"[a-z_]*(life_time|age)": \d+', '"life": 0', text)


def both(variant: dict[str, Any], **asked: Any) -> tuple[list[str], list[How]]:
    """The picture of the second pod of a node, once by the plugins, once by the fast path."""
    pictures, hows = [], []
    for enabled in (False, True):
        with KniNode(**variant) as node:
            core = node.core(fast=FastPath(enabled=enabled))
            first, pod = node.pod("first"), node.pod("pod")
            with node.node.entered():
                core.attach(request(first, id="first"), V)
                core.detach("first")
                reply = core.attach(request(pod, id="pod", **asked), V)
                hows.append(core.store.attachments["pod"].wirings[0].how)
            names = {node.lab.prefix: "LAB", str(node.folder): "FOLDER"}
            seen = picture(node, pod) | {"reply": repr(reply.ipconfigs), "how": ""}
            pictures.append(like_newer_plugins(core, alike(seen, names)))
            with node.node.entered():
                core.detach("pod")
            assert node.veths() == []
            assert node.leased() == {}
    return pictures, hows


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two pictures differ, one line each."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{where}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in pairs for d in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [f"{where}: {a} != {b}"]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_fast_path_leaves_what_the_plugins_leave(variant):
    (by_plugins, in_process), hows = both(VARIANTS[variant])
    assert hows == [How.EXEC, How.FAST]
    assert differences(json.loads(by_plugins), json.loads(in_process)) == []


def test_what_is_not_plain_is_left_to_the_plugins():
    ports = (PortMapping(container_port=80, host_port=8080),)
    _, hows = both({}, port_mappings=ports)
    assert hows == [How.EXEC, How.EXEC]
    for odd in (
        {"cni_version": "1.1.0"},
        {"loopback": True},
        {"extra_plugins": ({"type": "tuning"},)},
    ):
        with KniNode(**odd) as node:
            core, pod = node.core(fast=FastPath()), node.pod("pod")
            with node.node.entered():
                intent = core._wirings("pod", request(pod), "", "", "")
            assert intent[0].how is How.EXEC, odd


@pytest.fixture
def node():
    with KniNode() as made:
        yield made


def prepared(node: KniNode):
    """A core whose bridge is there, so that the next pod takes the fast path."""
    core, first = node.core(fast=FastPath()), node.pod("first")
    with node.node.entered():
        core.attach(request(first, id="first"), V)
        assert core.store.attachments["first"].wirings[0].how is How.EXEC
    return core


def test_plugins_can_detach_what_the_fast_path_attached_and_see_its_leases(node):
    core, pod = prepared(node), node.pod("pod")
    with node.node.entered():
        core.attach(request(pod, id="pod"), V)
    wiring = core.store.attachments["pod"].wirings[0]
    assert wiring.how is How.FAST
    with node.node.entered():
        from kroute.drivers.kni.plugins import Deadline

        core.plugins.check("pod", pod.path, wiring, Deadline(10))
        core.plugins.delete("pod", pod.path, wiring, Deadline(10))
        assert set(node.leased().values()) == {"first"}
        core.detach("pod")
    assert len(node.veths()) == 1


def test_addresses_follow_host_local_s_round_robin_across_both_ways():
    taken: list[list[str]] = []
    for order in ((False, False, True, True, False), (False,) * 5):
        with KniNode(ranges=("10.244.1.0/29",)) as node:
            store, got = node.store(), []
            for i, fast in enumerate(order):
                core, pod = node.core(store, fast=FastPath(enabled=fast)), node.pod(f"p{i}")
                with node.node.entered():
                    reply = core.attach(request(pod, id=f"p{i}"), V)
                    got.append(reply.ipconfigs["eth0"].ip[0])
                    if i in (1, 2):
                        core.detach(f"p{i - 1}")
            taken.append(got)
    assert taken[0] == taken[1]


def test_a_full_range_is_refused_and_leaves_nothing():
    with KniNode(ranges=("10.244.1.0/30",)) as node:
        core, pod = prepared(node), node.pod("pod")
        with node.node.entered():
            with pytest.raises(KniError) as caught:
                core.attach(request(pod, id="pod"), V)
            assert caught.value.refusal is Refusal.EXHAUSTED
            assert len(node.veths()) == 1
            core.detach("first")
            reply = core.attach(request(pod, id="pod"), V)
            assert reply.ipconfigs["eth0"].ip == ("10.244.1.2",)


def test_an_interface_that_is_there_already_is_not_touched_and_nothing_is_left(node):
    core, pod = prepared(node), node.pod("pod")
    pod.ip("link add eth0 type veth peer name other")
    with (
        node.node.entered(),
        pytest.raises(KniError, match="has an interface eth0 already") as told,
    ):
        core.attach(request(pod, id="pod"), V)
    assert told.value.refusal is Refusal.CONFLICT
    assert "eth0" in pod.ip("link")
    assert len(node.veths()) == 1
    assert set(node.leased().values()) == {"first"}


def test_detaches_that_come_together_go_together_and_take_nobody_else_along(node):
    core = prepared(node)
    pods = [node.pod(f"p{i}") for i in range(20)]

    def each(call) -> None:
        def work(pod: Namespace) -> None:
            with node.node.entered():
                call(pod)

        threads = [threading.Thread(target=work, args=(pod,)) for pod in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    each(lambda pod: core.attach(request(pod), V))
    assert len(node.veths()) == 21
    assert len(set(node.leased().values())) == 21
    each(lambda pod: core.detach(pod.name))
    assert len(node.veths()) == 1
    assert set(node.leased().values()) == {"first"}


def test_a_fast_attachment_is_undone_and_detached_also_when_its_namespace_is_gone(node):
    core, pod = prepared(node), node.pod("pod")
    with node.node.entered():
        core.attach(request(pod), V)
    node.gone(pod)
    with node.node.entered():
        core.detach(pod.name)
    assert set(node.leased().values()) == {"first"}


def test_pods_of_both_ways_reach_each_other(node):
    core, pod, first = prepared(node), node.pod("pod"), f"{node.lab.prefix}-first"
    with node.node.entered():
        core.attach(request(pod), V)
    for target in ("10.244.1.2", "fd00:10:244:1::2", "10.244.1.1", "fd00:10:244:1::1"):
        reaches(pod, target)  # the bridge's own IPv6 address is tentative for a second
    run(["ip", "netns", "exec", first, "ping", "-c1", "-W2", "10.244.1.3"])
