"""KNI over real sockets: every client's bytes, status codes, who may listen, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from kroute.codec.kni.methods import METHODS
from kroute.drivers.kni.client import KniClient, Refused
from kroute.drivers.kni.door import take
from kroute.drivers.kni.meter import Meter
from kroute.drivers.kni.server import KniServer
from kroute.model.errors import DriverError
from kroute.model.kni import CreateRequest, DeleteRequest, Generation, PodReply
from support import kni_clients
from support.daemon import reaches
from support.kni import KniNode
from support.kni_clients import CALLS
from support.netns import wait_for
from support.nobody import as_user

pytestmark = pytest.mark.root


class Site:
    """A node and its server; the server's threads live in the node's namespace."""

    def __init__(self, node: KniNode) -> None:
        self.node = node
        self.path = node.folder / "kni.sock"
        self.core = node.core()
        self.server = KniServer(self.core, Meter())
        with node.node.entered():
            self.server.start(take((self.path, node.folder / "second.sock")))

    def client(self, generation: Generation | None = None) -> KniClient:
        return KniClient(str(self.path), generation, timeout=30.0)


@pytest.fixture
def site():
    with KniNode() as node:
        made = Site(node)
        yield made
        made.server.stop(0)


def as_client(call, pod) -> bytes:
    """A recorded request with this pod's id and namespace in place of the recorded ones."""
    text = json.dumps(call.content)
    text = text.replace(kni_clients.ID, pod.name).replace(kni_clients.NETNS, pod.path)
    return kni_clients.encode(call.file, call.message, json.loads(text))


CLIENTS = sorted({c.client for c in CALLS})


def answered(wire, call, pod) -> dict[str, Any]:
    """The answer to a recorded request, every field of it, as Google's protobuf reads it for that client."""
    answer = wire.raw(METHODS[call.method].path, as_client(call, pod))
    return kni_clients.decode(call.file, f"{call.method}Response", answer)


@pytest.mark.parametrize("client", CLIENTS)
def test_c2_c5_every_generation_s_client_reads_its_answers_field_by_field(site, client):
    pod = site.node.pod("a")
    calls = {c.method: c for c in CALLS if c.client == client}
    queries = {c.method: c for c in CALLS if c.client == "demo" and c.method.startswith("Query")}
    file = next(iter(calls.values())).file
    told = {}
    with site.client() as wire:
        for method, call in calls.items():
            if method.startswith(("Create", "Attach")):
                told[method[:6]] = answered(wire, call, pod)
        attached = told["Attach"]
        (veth,) = site.node.veths()
        assert attached == {
            "ipconfigs": {
                "eth0": {
                    "ip": ["10.244.1.2", "fd00:10:244:1::2"],
                    "mac": mac(pod.ip("-j link show eth0")),
                    "extradata": {
                        "cidrs": "10.244.1.2/24,fd00:10:244:1::2/64",
                        "gateways": "10.244.1.1,fd00:10:244:1::1",
                    },
                },
                "lo": {"ip": ["127.0.0.1", "::1"], "mac": "00:00:00:00:00:00", "extradata": {}},
                "kroute0": {
                    "ip": [],
                    "mac": mac(site.node.node.ip("-j link show kroute0")),
                    "extradata": {},
                },
                veth: {
                    "ip": [],
                    "mac": mac(site.node.node.ip(f"-j link show {veth}")),
                    "extradata": {},
                },
            },
            "extradata": {"how": "exec", "netns": pod.path},
        }
        assert answered(wire, replace(queries["QueryPodNetwork"], file=file), pod) == attached
        nodes = answered(wire, replace(queries["QueryNodeNetworks"], file=file), pod)
        (own,) = nodes.pop("networks")
        assert (nodes, own["name"], own["ready"]) == ({"extradata": {}}, "kroute", False)
        assert own["extradata"]["attachments"] == "1"
        if "Create" in told:
            made = told["Create"].pop("netns_path")
            assert (told["Create"], Path(made).exists()) == ({"extradata": {}}, True)
        reaches(pod, "10.244.1.1")
        reaches(pod, "fd00:10:244:1::1")
        for method, call in calls.items():
            if method.startswith(("Detach", "Delete")):
                assert answered(wire, call, pod) == {}
        wire.detach(pod.name)
        assert wire.query(pod.name) == PodReply()
    assert site.node.leased() == {}


def mac(links: str) -> str:
    return str(json.loads(links)[0]["address"])


def test_c3_c16_querynodenetworks_is_never_empty_and_gives_its_reasons(site):
    with site.client() as wire:
        (own,) = wire.nodes().networks
    assert own.ready is False
    assert "podCIDR" in own.extradata["reasons"]


def test_c13_an_unknown_pod_is_ok_and_empty(site):
    with site.client() as wire:
        assert wire.query("nobody") == PodReply()


def test_c17_setupnodenetwork_answers_with_an_empty_message(site):
    with site.client() as wire:
        assert wire.raw(METHODS["SetupNodeNetwork"].path, b"") == b""


def test_malformed_and_oversized_requests_are_refused_and_harm_nobody(site):
    with site.client() as wire:
        with pytest.raises(Refused) as caught:
            wire.raw(METHODS["AttachInterface"].path, b"\xff\xff\xff")
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(Refused) as caught:
            wire.raw(METHODS["AttachInterface"].path, b"\x0a" + b"x" * (5 << 20))
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(Refused) as caught:
            wire.raw("/kni.KNI/Nonsense", b"")
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
        assert wire.nodes().networks


def test_the_client_finds_out_the_newest_generation(site):
    with site.client() as wire:
        assert wire.generation is Generation.V008


@pytest.mark.parametrize("generation", list(Generation))
def test_the_client_speaks_every_generation(site, generation):
    with site.client(generation) as wire:
        path = wire.create(CreateRequest(name="web", namespace="default")).netns_path
        reply = wire.attach("c1", path)
        assert wire.query("c1") == reply
        assert reply.ipconfigs["eth0"].ip
        wire.detach("c1")
        wire.delete(DeleteRequest(netns_path=path))
    assert not Path(path).exists()


def test_64_clients_at_once_get_distinct_addresses(site):
    pods = [site.node.pod(f"p{i}") for i in range(64)]
    replies: dict[str, PodReply] = {}

    def attach(pod):
        with site.client(Generation.V008) as wire:
            replies[pod.name] = wire.attach(pod.name, pod.path)

    threads = [threading.Thread(target=attach, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    given = [ip for reply in replies.values() for ip in reply.ipconfigs["eth0"].ip]
    assert len(given) == len(set(given)) == 128
    with site.client(Generation.V008) as wire:
        for pod in pods:
            wire.detach(pod.name)
    assert site.node.leased() == {}
    assert site.node.veths() == []


def test_health_and_reflection_tell_what_is_served(site):
    with site.client() as wire:
        assert wire.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"
        with pytest.raises(Refused) as caught:
            wire.raw("/grpc.health.v1.Health/Check", b"\x0a\x04nope")
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
        stream = wire._channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        )
        listed, found, missing = stream(
            iter([b"\x3a\x00", b"\x22\x07kni.KNI", b"\x22\x04nope"]), timeout=10
        )
    assert b"kni.KNI" in listed
    assert b"AttachInterface" in found
    assert b"not known" in missing


def test_c1_sockets_are_for_root_only_and_go_with_the_server(site):
    for path in (site.path, site.node.folder / "second.sock"):
        mode = path.stat()
        assert stat.S_ISSOCK(mode.st_mode)
        assert stat.S_IMODE(mode.st_mode) == 0o600
        assert mode.st_uid == os.getuid()
    for path in (site.path, site.path.with_name("kni.sock.lock")):
        path.unlink()
        wait_for(path.exists, 3.0, "what somebody removed to be there again")
    site.server.stop(0)
    assert [p.name for p in site.node.folder.glob("*.sock")] == []
    assert list(site.node.folder.glob(".*")) == []


def test_c1_nobody_but_root_can_connect_whatever_the_folder_allows(site):
    site.node.folder.chmod(0o755)
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = [sys.executable, "-c", code, str(site.path)]
    assert subprocess.run(command, check=False).returncode == 0
    refused = subprocess.run(
        [*as_user(), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in refused.stderr


def test_c1_a_second_server_and_a_foreign_one_are_never_displaced(site):
    fresh = site.node.folder / "fresh.sock"
    with pytest.raises(DriverError):
        take((fresh, site.path))
    assert not list(site.node.folder.glob(".fresh*")), "all or none"
    with site.client() as wire:
        assert wire.nodes().networks
    foreign = site.node.folder / "foreign.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(foreign))
        listener.listen()
        who = rf"answers there \(pid {os.getpid()}, .*, uid {os.getuid()}\)"
        with pytest.raises(DriverError, match=who):
            take((foreign,))
        assert foreign.exists()


def test_c1_a_stale_socket_is_replaced_and_a_file_that_is_none_is_left(site):
    stale, file = site.node.folder / "stale.sock", site.node.folder / "file.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    file.write_text("mine")
    with pytest.raises(DriverError, match="no socket"):
        take((file,))
    assert file.read_text() == "mine"
    server = KniServer(site.core, Meter())
    server.start(take((stale,)))
    with KniClient(str(stale)) as wire:
        assert wire.nodes().networks
    server.stop(0)
    assert not stale.exists()


def test_c1_what_a_killed_life_left_beside_its_socket_goes_and_what_others_made_stays(site):
    folder = site.node.folder
    left, others = folder / ".fresh.sock-1", folder / ".fresh.sock-2"
    left.mkdir()
    (left / "s").touch()
    others.mkdir()
    os.chown(others, 65534, 65534)
    (door,) = take((folder / "fresh.sock",))
    assert [path.name for path in folder.glob(".fresh*") if path != door.draft.parent] == [
        others.name
    ]
    door.close()


def test_c1_a_lock_that_somebody_else_has_made_is_named_as_such(site):
    lock = site.node.folder / "fresh.sock.lock"
    lock.touch()
    os.chown(lock, 65534, 65534)
    with pytest.raises(DriverError, match=r"fresh\.sock\.lock belongs to uid 65534"):
        take((site.node.folder / "fresh.sock",))


def test_stopping_lets_a_running_attach_end(site):
    go_on, started = site.node.folder / "go-on", site.node.folder / "started"
    site.node.script(
        "slow",
        f'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && exit 0\ntouch {started}\n'
        f"while [ ! -e {go_on} ]; do sleep 0.02; done\n"
        'echo \'{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}]}\'',
    )
    site.node.plain("kroute", {"type": "slow"})
    pod, replies = site.node.pod("a"), []

    def attach():
        with site.client(Generation.V008) as wire:
            replies.append(wire.attach(pod.name, pod.path))

    caller = threading.Thread(target=attach)
    caller.start()
    wait_for(started.exists, what="the plugin to run")
    stopper = threading.Thread(target=site.server.stop, args=(20.0,))
    stopper.start()
    go_on.touch()
    for thread in (caller, stopper):
        thread.join()
    assert replies[0].ipconfigs["eth0"].ip == ("192.0.2.9",)


def test_queries_are_answered_while_every_worker_waits_for_a_plugin(site):
    go_on = site.node.folder / "go-on"
    site.node.script(
        "slow",
        f'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && exit 0\n'
        f'while [ ! -e {go_on} ]; do sleep 0.1; done\necho \'{{"cniVersion":"1.0.0"}}\'',
    )
    site.node.plain("kroute", {"type": "slow"})
    pods = [site.node.pod(f"p{i}") for i in range(40)]

    def attach(pod):
        with site.client(Generation.V008) as wire:
            wire.attach(pod.name, pod.path)

    threads = [threading.Thread(target=attach, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(site.core.store.attachments) >= 32, what="all workers to be busy")
    with site.client() as wire:
        assert wire.query("nobody") == PodReply()
        assert wire.nodes().networks
    go_on.touch()
    for thread in threads:
        thread.join()


def test_without_kni_grpc_is_not_loaded():
    code = "import sys, kroute.daemon; sys.exit(any(m.partition('.')[0] in ('grpc', 'sqlite3') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
