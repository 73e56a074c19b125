"""CHECK, STATUS and VERSION: what plugins say of a node and of its pods is heard and told."""

from __future__ import annotations

import json

import pytest

from kroute.drivers.kni import checks, fitness
from kroute.drivers.kni.fast import FastPath
from kroute.drivers.kni.fitness import Fitness
from kroute.model.kni import Generation, How
from support.daemon import Site
from support.kni import KniNode, request
from support.kni_daemon import client, kni_node, ready
from support.netns import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def node():
    with KniNode() as made:
        yield made


@pytest.fixture
def asked(monkeypatch):
    """Plugins are asked at every look."""
    monkeypatch.setattr(fitness, "FRESH", 0.0)


def hears(fit: Fitness, *expected: str) -> None:
    wait_for(lambda: fit.complaints() == expected, 10.0, f"{expected}, not {fit.complaints()}")


def test_a_plugin_that_does_not_speak_the_network_s_version_is_named(node, asked):
    node.script("old", 'echo \'{"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0"]}\'')
    node.script("mute", "exit 1")
    core = node.core()
    fit = Fitness(core.plugins, core.networks)
    node.plain("kroute", {"type": "old"}, {"type": "mute"}, {"type": "old"})
    hears(fit, "CNI plugin old does not speak version 1.0.0, 0.4.0 at most")
    node.plain("kroute", {"type": "old"}, version="0.4.0")
    hears(fit)
    (node.conf / "10-kroute.conflist").unlink()
    hears(fit)


def test_a_plugin_whose_status_is_bad_is_quoted_since_there_is_status(node, asked):
    bad = node.folder / "bad"
    node.script(
        "moody",
        '[ "$CNI_COMMAND" = VERSION ] && echo \'{"supportedVersions": ["1.0.0", "1.1.0"]}\' && exit 0\n'
        f'[ "$CNI_COMMAND" = STATUS ] && [ -e {bad} ] && echo \'{{"code": 50, "msg": "no uplink"}}\' && exit 1\n'
        "exit 0",
    )
    core = node.core()
    fit = Fitness(core.plugins, core.networks)
    node.plain("kroute", {"type": "moody"}, version="1.1.0")
    bad.touch()
    hears(fit, "STATUS of CNI plugin moody: no uplink")
    bad.unlink()
    hears(fit)
    bad.touch()
    node.plain("kroute", {"type": "moody"}, version="1.0.0")
    hears(fit)


def test_a_node_whose_plugins_are_too_old_for_its_conflist_is_not_ready_and_says_so():
    with Site("knv") as site:
        node = kni_node(site)
        node.configure({"cni": {"cniVersion": "1.1.0"}})
        node.start()

        def told() -> str:
            with client(node) as wire:
                own = wire.nodes().networks[0]
            assert own.ready is (own.extradata["reasons"] == "")
            return own.extradata["reasons"]

        wait_for((node.folder / "kni.sock").exists, what="the socket")
        old = "CNI plugin bridge does not speak version 1.1.0, 1.0.0 at most"
        wait_for(lambda: old in told(), 30.0, "the reason")
        node.configure({"cni": {"cniVersion": "1.0.0"}})
        wait_for(lambda: told() == "", 30.0, "the node to be ready again")


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_plugins_check_what_either_way_attached_and_find_what_is_broken(node, version):
    node.write(cni_version=version)
    core = node.core(fast=FastPath())
    pods = [node.pod(name) for name in ("exec", "fast")]
    with node.node.entered():
        for pod in pods:
            core.attach(request(pod), Generation.V008)
        hows = [core.store.attachments[pod.name].wirings[0].how for pod in pods]
        assert hows == [How.EXEC, How.FAST]
        found = checks.check(core)
        fine = "not asked: there is no CHECK in CNI 0.3.1" if version == "0.3.1" else "in order"
        assert [(c.id, c.outcome, c.broken) for c in found] == [
            (pod.name, fine, False) for pod in pods
        ]
        for pod in pods:
            pod.ip("addr flush dev eth0")
            (found,) = checks.check(core, pod.name)
            assert found.broken is (version != "0.3.1"), found
            core.detach(pod.name)
        assert checks.check(core, pods[0].name) == []


def test_the_command_line_has_plugins_check_pods():
    with Site("knv") as site:
        node = kni_node(site)
        node.start()
        ready(node)
        pod = site.lab.namespace("pod")

        def check(*words: str) -> tuple[int, str]:
            socket = ("--socket", str(node.folder / "kni.sock"))
            done = node.run("kni", "check", *words, *socket)
            return done.returncode, done.stdout + done.stderr

        assert check() == (0, "")
        with client(node) as wire:
            wire.attach(pod.name, pod.path, name="web", namespace="shop")
        assert check() == (0, f"{pod.name} shop/web eth0: in order\n")
        assert json.loads(check("-o", "json")[1])[0]["outcome"] == "in order"
        pod.ip("link set eth0 down")
        pod.ip("addr flush dev eth0")
        status, told = check(pod.name)
        assert status == 1
        assert told.startswith(f"{pod.name} shop/web eth0: CHECK of CNI plugin bridge: ")
        assert check("nobody") == (1, "kroute kni check: nobody is not attached\n")
