"""KNI in the whole daemon: a kubelet's life, restarts in between, crashes at any point."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from kroute.drivers.kni.client import Refused
from kroute.model.kni import Generation, PodReply
from support.daemon import Kroute, Site, reaches
from support.kni_daemon import (
    Kubelet,
    client,
    further_plugin,
    killed_while_attaching,
    kni_node,
    leases,
    ready,
    veths,
)
from support.netns import Namespace, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def site():
    with Site("kni") as made:
        yield made


def addresses(pod: Namespace) -> set[str]:
    links = json.loads(pod.run(["ip", "-j", "addr", "show", "scope", "global"]))
    return {a["local"] for link in links for a in link.get("addr_info", ()) if a}


def nothing_left(kroute: Kroute) -> None:
    assert veths(kroute) == []
    assert leases(kroute) == {}
    assert kroute.ask("pods") == []


def test_c16_readiness_follows_podcidr_conflist_and_plugins_and_says_why_not(site):
    node = kni_node(site)
    node.configure({"cni": {"binDirectories": [str(node.folder / "none")]}})
    node.start()
    wait_for((node.folder / "kni.sock").exists, what="the socket")
    with client(node) as wire:

        def reasons():
            return wire.nodes().networks[0].extradata["reasons"]

        wait_for(lambda: "plugins are missing: bridge" in reasons(), what="the missing plugins")
        assert wire.nodes().networks[0].ready is False
    node.configure({"cni": {"binDirectories": ["/usr/lib/cni"]}})
    ready(node)
    with client(node) as wire:
        own = wire.nodes().networks[0]
    assert own.extradata["podCIDRs"] == "10.244.1.0/24,fd00:10:244:1::/64"
    assert own.extradata["freeAddresses"].startswith("10.244.1.0/24=253,")
    assert own.extradata["bridge"] == "kroute0"
    conflist = Path(own.extradata["conflist"])
    there = conflist.read_bytes()
    conflist.unlink()
    pod = site.lab.namespace("pod")
    with client(node) as wire:
        (own,) = wire.nodes().networks
        assert (own.ready, own.extradata["reasons"]) == (
            False,
            f"the conflist {conflist} is not written",
        )
        with pytest.raises(Refused, match="is not there: it is written once"):
            wire.attach(pod.name, pod.path)
        conflist.write_bytes(there)
        assert wire.nodes().networks[0].ready


def test_a_pod_attached_through_kni_reaches_a_pod_of_another_node_by_bgp(site):
    a, b = kni_node(site, 1, otherNodes=True), kni_node(site, 2)
    for node in (a, b):
        node.start()
    a.established("node/n2")
    for node in (a, b):
        ready(node)
    here, there = site.lab.namespace("here"), site.lab.namespace("there")
    Kubelet(a).start(here)
    target = Kubelet(b).start(there, Generation.V006)
    reaches(here, target)
    reaches(here, "fd00:10:244:2::2")
    with client(a) as wire:
        other = wire.nodes().networks[1]
    assert (other.name, other.ready) == ("node/n2", True)
    assert "attached id=" in a.words()
    rows = a.ask("pods")
    assert [r["addresses"] for r in rows] == [["10.244.1.2", "fd00:10:244:1::2"]]
    assert "10.244.1.2" in a.run("show", "pods", "--socket", str(a.socket)).stdout


def test_pods_that_ask_for_it_are_announced_while_they_are_attached(site):
    node, other = kni_node(site, 1, announcePods="annotated"), site.node(2)
    for each in (node, other):
        each.start()
    ready(node)
    asks, quiet = site.lab.namespace("asks"), site.lab.namespace("quiet")
    podcidrs = {"10.244.1.0/24", "fd00:10:244:1::/64"}
    with client(node) as wire:
        wire.attach(quiet.name, quiet.path)
        wire.attach(asks.name, asks.path, annotations={"kroute.io/announce": "true"})
        own = {str(address) for address in wire.query(asks.name).ipconfigs["eth0"].ip}
        other.has(*podcidrs, *own)
        assert other.kernel()[min(own)] == {"192.0.2.1"}
        node.restart(signal.SIGKILL)
        ready(node)
        other.established("node/n1")
        other.has(*podcidrs, *own)

        def story() -> str:
            return " ".join(node.ask("why", target=f"{min(own)}/32")["story"])

        wait_for(lambda: "address of pod" in story(), what="its own pods to be known again")
    with client(node) as wire:
        wire.detach(asks.name)
        other.has(*podcidrs)


def test_a_kubelet_s_life_with_restarts_in_between(site):
    node = kni_node(site)
    node.start()
    ready(node)
    kubelet = Kubelet(node)
    pods = [site.lab.namespace(f"p{i}") for i in range(30)]
    given: dict[str, str] = {}
    for i, pod in enumerate(pods):
        given[pod.name] = kubelet.start(pod, list(Generation)[i % 4])
        assert kubelet.status()
        if i % 12 == 11:
            node.restart()
            ready(node)
    assert len(set(given.values())) == len(pods)
    told = kubelet.sync("dead-1", "dead-2")
    assert {n: r.ipconfigs["eth0"].ip[0] for n, r in told.items() if r.ipconfigs} == given
    assert told["dead-1"] == PodReply()
    for i, pod in enumerate(pods):
        kubelet.kill(pod.name)
        if i == 15:
            node.restart(signal.SIGKILL)
            ready(node)
    nothing_left(node)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_with_sigkill_at_random_points_leaks_nothing_and_keeps_what_was_acknowledged(
    site, seed
):
    node = kni_node(site)
    node.start()
    ready(node)
    pods = [site.lab.namespace(f"p{i}") for i in range(12)]
    rolls = random.Random(seed)
    for _ in range(4):
        held: dict[str, tuple[str, ...] | None] = {}

        def storm(mine: list[Namespace], seed: int, held=held) -> None:
            """Attach and detach at random; remembers what was acknowledged last (None: unknown)."""
            dice = random.Random(seed)
            with suppress(Refused), client(node) as wire:
                while True:
                    pod = dice.choice(mine)
                    held.pop(pod.name, None)
                    held[pod.name] = None
                    if dice.random() < 0.6:
                        held[pod.name] = wire.attach(pod.name, pod.path).ipconfigs["eth0"].ip
                    else:
                        wire.detach(pod.name)
                        held[pod.name] = ()

        threads = [
            threading.Thread(target=storm, args=(pods[i::4], rolls.randrange(1 << 30)))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        threads[0].join(rolls.uniform(0.2, 1.2))
        assert node.process is not None
        node.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
        node.start()
        ready(node)
        consistent(node, pods, held)
    with client(node) as wire:
        for pod in pods:
            wire.detach(pod.name)
    nothing_left(node)


def consistent(node: Kroute, pods: list[Namespace], held) -> None:
    """Records, leases, veths and addresses tell one story, and it holds what was acknowledged."""
    by_id = {p.name: p for p in pods}
    rows = {r["id"]: tuple(r["addresses"]) for r in node.ask("pods")}
    for name, ips in held.items():
        if ips is not None:
            assert rows.get(name, ()) == ips
    every = [ip for ips in rows.values() for ip in ips]
    assert len(every) == len(set(every))
    assert leases(node) == {ip: name for name, ips in rows.items() for ip in ips}
    assert len(veths(node)) == len(rows)
    for name, pod in by_id.items():
        assert addresses(pod) == set(rows.get(name, ()))


def test_sigkill_between_every_two_durable_steps_is_undone_or_finished(site):
    """A plugin that kills the daemon stands at each step of the chain, in ADD and in DEL."""
    node = kni_node(site)
    trap, plugin = node.folder / "trap", node.folder / "bin" / "trap"
    plugin.parent.mkdir()
    plugin.write_text(
        f'#!/bin/sh\nread -r text\n[ "$(cat {trap} 2>/dev/null)" = "$CNI_COMMAND" ] && rm {trap} && kill -9 $PPID\n'
        '[ "$CNI_COMMAND" = ADD ] && printf %s "$text" | sed \'s/.*"prevResult": //; s/}$//\'; exit 0\n'
    )
    plugin.chmod(0o755)
    node.configure(
        {
            "cni": {
                "binDirectories": ["/usr/lib/cni", str(plugin.parent)],
                "extraPlugins": [{"type": "trap"}],
            }
        }
    )
    node.start()
    ready(node)
    pod = site.lab.namespace("pod")
    for command in ("ADD", "DEL"):
        with client(node) as wire:
            if command == "DEL":
                wire.attach(pod.name, pod.path)
            trap.write_text(command)
            with pytest.raises(Refused):
                wire.attach(pod.name, pod.path) if command == "ADD" else wire.detach(pod.name)
        assert node.process is not None
        node.process.wait(10)
        node.start()
        ready(node)
        nothing_left(node)


def runs(pid: str) -> bool:
    """Whether the process lives; one that nobody has waited for yet has no command line any more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_a_plugin_that_outlives_the_daemon_is_ended_before_its_work_is_undone(site):
    node = kni_node(site)
    pid = node.folder / "pid"
    script = (
        f'[ "$CNI_COMMAND" = ADD ] || exit 0\necho $$ >{pid}.draft; mv {pid}.draft {pid}\n'
        "while :; do sleep 0.1; done\n"
    )
    further_plugin(node, "late", script)
    node.start()
    ready(node)
    killed_while_attaching(node, site.lab.namespace("pod"), pid)
    assert runs(pid.read_text().strip())
    node.start()
    ready(node)
    assert not runs(pid.read_text().strip())
    nothing_left(node)


def test_garbage_of_vanished_sandboxes_is_found_reported_and_released(site):
    node = kni_node(site)
    node.start()
    ready(node)
    kubelet = Kubelet(node)
    keep, lost = site.lab.namespace("keep"), site.lab.namespace("lost")
    kubelet.start(keep)
    kubelet.start(lost)
    site.lab._namespaces.remove(lost)
    from support.netns import run

    run(["ip", "netns", "delete", lost.name])
    with client(node) as wire:
        found = json.loads(wire.raw("/kroute.Kni/Collect", b"dry-run"))
        assert [f["object"] for f in found] == [f"attachment/{lost.name}"]
        assert len(node.ask("pods")) == 2
        found = json.loads(wire.raw("/kroute.Kni/Collect", b""))
        assert [f["outcome"] for f in found] == ["released"]
    assert set(leases(node).values()) == {keep.name}
    assert [r["id"] for r in node.ask("pods")] == [keep.name]


def test_sigterm_leaves_pods_alone_and_exhaustion_is_a_problem_until_there_is_room(site):
    node = kni_node(site)
    site.join("n1", ["10.244.1.0/30"], ["192.0.2.1"])
    node.start()
    ready(node)
    a, b = site.lab.namespace("a"), site.lab.namespace("b")
    kubelet = Kubelet(node)
    kubelet.start(a)
    full = "range/10.244.1.0/30 addresses.exhausted"
    wait_for(lambda: full in node.problems(), what="the problem")
    with pytest.raises(Refused, match="RESOURCE_EXHAUSTED"):
        kubelet.start(b)
    assert kubelet.status()
    with client(node) as wire:
        assert wire.nodes().networks[0].extradata["exhausted"] == "10.244.1.0/30"
    node.restart()
    assert addresses(a) == {"10.244.1.2"}
    ready(node)
    kubelet.kill(a.name)
    wait_for(lambda: full not in node.problems(), what="room")
    kubelet.start(b)


def test_kni_is_served_as_soon_as_another_runtime_leaves_the_socket(site):
    node = kni_node(site)
    path = node.folder / "kni.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        node.start()
        wait_for(lambda: "kni" in node.problems(), what="the problem")
        assert "another network runtime answers there" in node.problems()["kni"]
        assert node.words().count("another network runtime answers there") == 1, "said once"
    ready(node)
    wait_for(lambda: "kni" not in node.problems(), what="the problem to be solved")


def test_the_command_line_drives_a_server_as_a_kubelet_does(site):
    node = kni_node(site)
    node.start()
    ready(node)
    pod, socket = site.lab.namespace("pod"), ["--socket", str(node.folder / "kni.sock")]
    done = node.run(
        "kni", "attach", pod.name, pod.path, "--name", "web", "--namespace", "x", *socket
    )
    assert done.returncode == 0, done.stderr
    assert any(
        line.split()[0] == "eth0" and "10.244.1.2" in line for line in done.stdout.splitlines()
    )
    for generation in Generation:
        words = ("kni", "query", pod.name, "--generation", generation.value, "-o", "json", *socket)
        told = json.loads(node.run(*words).stdout)
        assert told["eth0"]["ip"] == ["10.244.1.2", "fd00:10:244:1::2"]
    assert "x/web" in node.run("show", "pods", "--socket", str(node.socket)).stdout
    assert "x/web" in node.run("kni", "ls", "--socket", str(node.socket)).stdout
    assert node.run("kni", "nodes", *socket).returncode == 0
    assert node.run("kni", "gc", "--dry-run", *socket).stdout == ""
    assert node.run("kni", "detach", pod.name, *socket).returncode == 0
    assert node.run("kni", "query", pod.name, *socket).returncode == 1
    path = node.run("kni", "create", "--name", pod.name, *socket).stdout.strip()
    assert Path(path).exists()
    assert node.run("kni", "delete", "--netns", path, *socket).returncode == 0
    foreign = node.run("kni", "delete", "--netns", "/proc/self/ns/net", *socket)
    assert (foreign.returncode, "has not made it" in foreign.stderr) == (1, True)
    assert not Path(path).exists()
    wrong = node.run("kni", "ls", *socket)
    assert (wrong.returncode, "is not kroute's daemon" in wrong.stderr) == (3, True)
    nowhere = node.run("kni", "nodes", "--socket", str(node.folder / "none.sock"))
    assert nowhere.returncode == 3
    said = (
        f"kroute kni nodes: no KNI server answers at {node.folder / 'none.sock'}: does kroute run"
    )
    assert nowhere.stderr.startswith(said)
