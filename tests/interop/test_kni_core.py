"""Attach, detach and query with the real plugins: idempotent, atomic, durable (C4 to C15)."""

from __future__ import annotations

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from kroute.drivers.kni import gc
from kroute.drivers.kni.plugins import Deadline
from kroute.model.kni import (
    AttachRequest,
    CreateRequest,
    DeleteRequest,
    Generation,
    Isolation,
    KniError,
    Phase,
    PodReply,
    PortMapping,
    Refusal,
)
from kroute.plan import kni as plan
from support.kni import KniNode, request
from support.netns import wait_for

pytestmark = pytest.mark.root
V = Generation


@pytest.fixture
def node():
    with KniNode() as made:
        yield made


def refused(call, *args) -> KniError:
    with pytest.raises(KniError) as caught:
        call(*args)
    return caught.value


def clean(node: KniNode, core) -> None:
    """Nothing is left of any pod; the kernel takes a dead namespace's veth when it comes to it."""
    wait_for(lambda: node.veths() == [], what="a veth of no pod to go")
    assert node.leased() == {}
    assert core.store.attachments == {}
    assert list((node.folder / "cache" / "results").glob("*")) == []


def test_c5_attach_answers_with_bare_addresses_primary_first_and_the_pod_s_mac(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        reply = core.attach(request(pod), V.V008)
    eth0 = reply.ipconfigs["eth0"]
    assert eth0.ip == ("10.244.1.2", "fd00:10:244:1::2")
    shown = json.loads(pod.run(["ip", "-j", "addr", "show", "eth0"]))[0]
    assert eth0.mac == shown["address"]
    assert {"10.244.1.2", "fd00:10:244:1::2"} <= {a["local"] for a in shown["addr_info"]}
    assert "UP" in json.loads(pod.run(["ip", "-j", "link", "show", "lo"]))[0]["flags"]
    assert {"kroute0", "lo", *node.veths()} <= set(reply.ipconfigs)
    assert core.query_pod(pod.name) == reply
    assert eth0.extradata["gateways"] == "10.244.1.1,fd00:10:244:1::1"


@pytest.mark.parametrize(
    "where",
    [
        lambda p: {"isolation": Isolation(path=p)},
        lambda p: {"isolation": None, "extradata": {"netns": p}},
        lambda p: {"isolation": None, "annotations": {"netns": p}},
        lambda p: {"isolation": None, "annotations": {"kni.dev/netns": p}},
    ],
    ids=["isolation", "extradata", "annotation", "kni.dev"],
)
def test_c4_the_namespace_is_found_wherever_a_client_says_it(node, where):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        assert core.attach(request(pod, **where(pod.path)), V.V005).ipconfigs["eth0"].ip


def test_c4_without_a_namespace_the_demo_s_generation_gets_ok_and_empty_later_ones_an_error(node):
    pod, core = node.pod("a"), node.core()
    assert core.attach(request(pod, isolation=None), V.V005) == PodReply()
    for generation in (V.V006, V.V008, V.KNIX):
        error = refused(core.attach, request(pod, isolation=None), generation)
        assert error.refusal is Refusal.INVALID
    assert core.store.attachments == {}


def test_c4_a_namespace_that_createnetwork_made_is_used_by_name(node):
    core = node.core()
    with node.node.entered():
        path = core.domains.create(CreateRequest(name="web", namespace="default")).netns_path
        asked = request(node.pod("x"), id="c1", isolation=None, name="web", namespace="default")
        reply = core.attach(asked, V.V006)
        assert reply.extradata["netns"] == path
        core.domains.delete(DeleteRequest(id="c1"))
        clean(node, core)
    assert not (node.folder / "netns" / "kni-default-web").exists()


def test_c6_repeated_and_concurrent_attaches_give_one_attachment_and_one_answer(node):
    pod, core = node.pod("a"), node.core()

    def attach(_):
        with node.node.entered():
            return core.attach(request(pod), V.V008)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(attach, range(8)))
    assert all(r == replies[0] for r in replies)
    assert len(node.veths()) == 1
    assert len(node.leased()) == 2


def test_c6_an_id_that_lives_in_another_namespace_is_refused_and_one_that_died_is_replaced(node):
    a, b, core = node.pod("a"), node.pod("b"), node.core()
    with node.node.entered():
        core.attach(request(a, id="c1"), V.V008)
        error = refused(core.attach, request(b, id="c1"), V.V008)
        assert error.refusal is Refusal.CONFLICT
    node.gone(a)
    with node.node.entered():
        assert core.attach(request(b, id="c1"), V.V008).ipconfigs["eth0"].ip
        assert set(node.leased().values()) == {"c1"}
        core.detach("c1")
        clean(node, core)


@pytest.mark.parametrize(
    "plugin",
    [
        "exit 1",
        "cat >/dev/null; echo no json at all",
        "kill -SEGV $$",
        'cat >/dev/null; echo \'{"cniVersion":"1.0.0","code":7,"msg":"not today"}\'; exit 1',
        "cat >/dev/null; echo '[]'",
        "yes",
    ],
    ids=["fails", "garbage", "crashes", "refuses", "list", "endless"],
)
def test_c7_whatever_a_plugin_does_a_failed_attach_leaves_nothing(node, plugin):
    document = json.loads((node.conf / "10-kroute.conflist").read_text())
    node.plain("kroute", *document["plugins"], {"type": "odd"})
    node.script("odd", f'[ "$CNI_COMMAND" = DEL ] && exit 0\n{plugin}')
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        error = refused(core.attach, request(pod), V.V008)
    assert "odd" in str(error)
    clean(node, core)
    assert core.query_pod(pod.name) == PodReply()


def test_c7_a_missing_plugin_is_named_with_the_folders(node):
    document = json.loads((node.conf / "10-kroute.conflist").read_text())
    node.plain("kroute", *document["plugins"], {"type": "absent"})
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        error = refused(core.attach, request(pod), V.V008)
    assert "'absent'" in str(error)
    assert str(node.bin) in str(error)
    # DEL cannot call it either: the rest is released, the record waits for the plugin.
    assert node.veths() == []
    assert node.leased() == {}
    assert core.query_pod(pod.name) == PodReply()


def test_c8_del_gets_the_arguments_of_add_and_annotations_never_become_cni_args(node):
    calls = node.folder / "calls"
    node.script(
        "note",
        f'echo "$CNI_COMMAND $CNI_ARGS" >>{calls}; tee -a {calls} >/dev/null; echo >>{calls}\n'
        '[ "$CNI_COMMAND" = ADD ] && echo \'{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}]}\'; exit 0',
    )
    node.plain("kroute", {"type": "note", "capabilities": {"portMappings": True, "dns": True}})
    pod, core = node.pod("a"), node.core()
    labels = {"io.kubernetes.pod.uid": "u-1", "io.kubernetes.pod.name": "web", "x": "a;b=c"}
    asked = request(
        pod,
        labels=labels,
        annotations={"evil": "K8S_POD_NAME=root;x=y"},
        port_mappings=(PortMapping(container_port=80, host_port=8080, protocol=1),),
    )
    with node.node.entered():
        core.attach(asked, V.V008)
        core.detach(pod.name)
    add, added, delete, deleted = calls.read_text().split("\n")[:4]
    expected = (
        f"IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID={pod.name};K8S_POD_UID=u-1"
    )
    assert (add, delete) == (f"ADD {expected}", f"DEL {expected}")
    added, deleted = json.loads(added), json.loads(deleted)
    assert added["runtimeConfig"] == deleted["runtimeConfig"]
    assert added["runtimeConfig"]["portMappings"][0]["protocol"] == "udp"
    assert deleted["prevResult"]["ips"][0]["address"] == "192.0.2.9/24"
    assert "prevResult" not in added


def test_c9_a_plugin_that_hangs_is_killed_at_the_deadline_and_everything_is_undone(node):
    document = json.loads((node.conf / "10-kroute.conflist").read_text())
    node.plain("kroute", *document["plugins"], {"type": "hang"})
    node.script("hang", '[ "$CNI_COMMAND" = DEL ] && exit 0; sleep 1000 & wait')
    pod, core = node.pod("a"), node.core(deadline=1.5)
    with node.node.entered():
        error = refused(core.attach, request(pod), V.V008)
    assert error.refusal is Refusal.LATE
    clean(node, core)


def test_c10_detach_needs_the_id_alone_and_unknown_or_repeated_is_no_error(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        core.detach(pod.name)
        core.detach(pod.name)
        core.detach("never-seen")
    clean(node, core)


def test_c10_detach_after_the_namespace_is_gone_still_releases(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
    node.gone(pod)
    with node.node.entered():
        core.detach(pod.name)
    assert node.leased() == {}
    assert core.store.attachments == {}


def test_c10_the_record_stays_until_del_succeeds_and_c14_the_pod_reads_empty_at_once(node):
    flag = node.folder / "refuse"
    node.script(
        "moody",
        f'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && [ -e {flag} ] && exit 1\n'
        '[ "$CNI_COMMAND" = ADD ] && echo \'{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}]}\'; exit 0',
    )
    node.plain("kroute", {"type": "moody"})
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        flag.touch()
        refused(core.detach, pod.name)
        assert pod.name in core.store.attachments
        assert core.query_pod(pod.name) == PodReply()
        flag.unlink()
        core.detach(pod.name)
    assert core.store.attachments == {}


def test_c11_deletenetwork_detaches_first_and_leaves_foreign_namespaces(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        core.domains.delete(DeleteRequest(id=pod.name, netns_path=pod.path))
        clean(node, core)
        core.domains.delete(DeleteRequest(name="none", namespace="such"))
    pod.run(["true"])


def test_c11_deletenetwork_by_id_after_the_detach_removes_what_was_made_for_the_sandbox(node):
    """KillPod of the kubelet fork: DetachNetwork, then DeleteNetwork, each with the id alone."""
    pod, core = CreateRequest(name="web", namespace="default"), node.core()
    with node.node.entered():
        for broken in ({}, {"annotations": {"kubernetes.io/ingress-bandwidth": "much"}}):
            path = core.domains.create(pod).netns_path
            asked = request(node.lab.namespace("x"), id="c1", isolation=Isolation(path=path))
            with suppress(KniError):
                core.attach(replace(asked, **broken), V.V006)
            core.detach("c1")
            core.domains.delete(DeleteRequest(id="c1"))
            assert list((node.folder / "netns").glob("*")) == []
            node.gone(node.lab._namespaces[-1])
    assert core.store.domains == {}


def test_c11_deletenetwork_knows_a_namespace_by_any_of_its_paths(node):
    core = node.core()
    with node.node.entered():
        path = core.domains.create(CreateRequest(name="web")).netns_path
        other = node.folder / "var-run"
        other.symlink_to(node.folder / "netns")
        same = str(other / Path(path).name)
        core.attach(AttachRequest(id="c1", isolation=Isolation(path=same)), V.V008)
        core.domains.delete(DeleteRequest(netns_path=path))
        clean(node, core)
    assert not Path(path).exists()


def test_a_pod_s_next_sandbox_has_its_own_namespace_and_outlives_the_former_one(node):
    made, core = CreateRequest(name="web", namespace="default"), node.core()
    asked = AttachRequest(id="old", name="web", namespace="default")
    with node.node.entered():
        paths = [core.domains.create(made).netns_path]
        core.attach(asked, V.V006)
        paths.append(core.domains.create(made).netns_path)
        assert core.attach(replace(asked, id="new"), V.V006).extradata["netns"] == paths[1]
        assert core.attach(asked, V.V006).extradata["netns"] == paths[0], "the same as before"
        core.domains.delete(DeleteRequest(id="old", name="web", namespace="default"))
        assert [Path(p).exists() for p in paths] == [False, True]
        assert set(core.store.attachments) == {"new"}
        third = core.domains.create(made).netns_path
        core.domains.delete(DeleteRequest(name="web", namespace="default"))
        assert (Path(third).exists(), set(core.store.attachments)) == (False, {"new"})
        core.domains.delete(DeleteRequest(name="web", namespace="default"))
        clean(node, core)
    assert list((node.folder / "netns").glob("*")) == []


def test_c12_createnetwork_without_a_name_gives_a_unique_namespace_each_time(node):
    core = node.core()
    with node.node.entered():
        paths = {core.domains.create(CreateRequest()).netns_path for _ in range(3)}
        assert len(paths) == 3
        named = [
            core.domains.create(CreateRequest(name="a", namespace="b")).netns_path for _ in range(2)
        ]
        assert named[0] == named[1]
        for path in (*paths, named[0]):
            core.domains.delete(DeleteRequest(netns_path=path))
    assert list((node.folder / "netns").glob("*")) == []


def test_c13_an_unknown_pod_reads_empty_also_while_it_is_being_attached(node):
    started, go_on = node.folder / "started", node.folder / "go-on"
    node.script(
        "slow",
        f'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && exit 0\ntouch {started}\n'
        f"while [ ! -e {go_on} ]; do sleep 0.02; done\n"
        'echo \'{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}]}\'',
    )
    node.plain("kroute", {"type": "slow"})
    pod, core = node.pod("a"), node.core()
    assert core.query_pod("unknown") == PodReply()

    def attach():
        with node.node.entered():
            core.attach(request(pod), V.V008)

    worker = threading.Thread(target=attach)
    worker.start()
    wait_for(started.exists, what="the plugin to run")
    assert core.query_pod(pod.name) == PodReply()
    go_on.touch()
    worker.join()
    assert core.query_pod(pod.name).ipconfigs["eth0"].ip == ("192.0.2.9",)


def test_an_id_that_is_none_and_the_node_s_own_namespace_are_refused(node):
    pod, core = node.pod("a"), node.core()
    for odd in ("../../etc", "", "a b", "x" * 300):
        assert refused(core.attach, request(pod, id=odd), V.V008).refusal is Refusal.INVALID
    for path in (node.node.path, "/etc/passwd", "/run/netns/none"):
        with node.node.entered():
            asked = request(pod, isolation=Isolation(path=path))
            assert refused(core.attach, asked, V.V008).refusal is Refusal.INVALID
    assert core.store.attachments == {}


def test_what_a_client_says_writes_no_lines_into_the_log_nor_into_tables(node, caplog):
    caplog.set_level("INFO")
    pod, core, odd = node.pod("a"), node.core(), "web\nfake \x1b[31mline"
    with node.node.entered():
        core.attach(request(pod, name=odd, namespace="shop"), V.V008)
        core.detach(pod.name)
        core.attach(request(pod, name=odd, namespace="shop"), V.V008)
        error = refused(core.attach, request(pod, id="b", isolation=Isolation(path=odd)), V.V008)
    (row,) = plan.pods(core.store.attachments.values(), 0.0)
    for text in (*caplog.messages, str(error), row["pod"]):
        assert text.isprintable()
    assert row["pod"] == "shop/web\\nfake \\x1b[31mline"


def test_every_acknowledged_attachment_is_there_in_the_next_life_and_can_be_detached(node):
    pods, core = [node.pod(f"p{i}") for i in range(4)], node.core()
    with node.node.entered():
        replies = [core.attach(request(p), V.V005) for p in pods]
    core.store.close()
    again = node.core()
    assert [again.query_pod(p.name) for p in pods] == replies
    with node.node.entered():
        assert again.attach(request(pods[0]), V.V005) == replies[0]
        for pod in pods:
            again.detach(pod.name)
    clean(node, again)


def test_a_damaged_store_is_set_aside_and_rebuilt_from_the_node(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        reply = core.attach(request(pod), V.V008)
    core.store.close()
    (node.folder / "state" / "kni.sqlite").write_bytes(b"no database" * 1000)
    again = node.core()
    assert again.store.set_aside is not None
    assert again.store.set_aside.exists()
    assert again.query_pod(pod.name) == reply
    with node.node.entered():
        again.detach(pod.name)
    clean(node, again)


def test_c15_a_disk_that_cannot_be_written_refuses_attaches_and_leaves_nothing(node, monkeypatch):
    pod, core = node.pod("a"), node.core()
    real = core.store._db

    class Full:
        def execute(self, statement, *values):
            if statement == "COMMIT":
                real.execute("ROLLBACK")
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(statement, *values)

    monkeypatch.setattr(core.store, "_db", Full())
    with node.node.entered():
        error = refused(core.attach, request(pod), V.V008)
    assert error.refusal is Refusal.UNAVAILABLE
    assert "disk is full" in core.store.fault
    assert core.query_nodes().networks[0].ready is False
    assert node.veths() == []
    assert node.leased() == {}
    monkeypatch.setattr(core.store, "_db", real)
    with node.node.entered():
        assert core.attach(request(pod), V.V008).ipconfigs["eth0"].ip
    assert core.store.fault == ""


def test_an_exhausted_range_says_so_and_a_detach_makes_room(node):
    node.write(ranges=("10.244.1.0/30",))
    a, b, core = node.pod("a"), node.pod("b"), node.core()
    with node.node.entered():
        core.attach(request(a), V.V008)
        error = refused(core.attach, request(b), V.V008)
        assert error.refusal is Refusal.EXHAUSTED
        core.detach(a.name)
        assert core.attach(request(b), V.V008).ipconfigs["eth0"].ip == ("10.244.1.2",)


def test_further_networks_get_their_own_interfaces_and_all_go_together(node):
    ipam = {
        "type": "host-local",
        "dataDir": str(node.leases),
        "ranges": [[{"subnet": "10.9.0.0/24"}]],
    }
    node.plain("blue", {"type": "bridge", "bridge": "blue0", "ipam": ipam})
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        asked = request(pod, annotations={"kni.io/multi-network": "blue@net1"})
        reply = core.attach(asked, V.V006)
        assert reply.ipconfigs["net1"].ip == ("10.9.0.2",)
        assert reply.ipconfigs["eth0"].ip[0] == "10.244.1.2"
        core.detach(pod.name)
        clean(node, core)
        missing = request(pod, annotations={"kni.io/multi-network": "red"})
        assert "red" in str(refused(core.attach, missing, V.V006))
    clean(node, core)
    assert not list((node.leases / "blue").glob("10.*"))


@pytest.mark.parametrize("old", [{}, {"cniVersion": "0.2.0"}], ids=["none", "0.2.0"])
def test_a_further_network_of_a_version_whose_results_are_not_understood_is_refused(node, old):
    ipam = {"type": "host-local", "dataDir": str(node.leases), "subnet": "10.9.0.0/24"}
    content = {"name": "blue", "type": "bridge", "bridge": "blue0", "ipam": ipam}
    (node.conf / "50-blue.conf").write_text(json.dumps(content | old))
    pod, core = node.pod("a"), node.core()
    asked = request(pod, annotations={"kni.io/multi-network": "blue"})
    with node.node.entered():
        error = refused(core.attach, asked, V.V008)
    assert (error.refusal, "50-blue.conf" in str(error)) == (Refusal.INVALID, True)
    clean(node, core)


def test_leases_without_an_owner_are_released_and_those_of_another_runtime_stay(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
    folder = node.leases / "kroute"
    (folder / "10.244.1.77").write_text("nobody\r\neth0")
    (folder / "10.244.1.78").write_text("theirs\r\neth0")
    entry = {"kind": "cniCacheV1", "containerId": "theirs"}
    (node.folder / "cache" / "results" / "kroute-theirs-eth0").write_text(json.dumps(entry))
    assert gc.collect(core, dry_run=False) == []
    (seen,) = gc.collect(core, dry_run=True, lease_age=0.0)
    assert (seen.object, seen.outcome) == ("lease/10.244.1.77", "would be released")
    (done,) = gc.collect(core, dry_run=False, lease_age=0.0)
    assert done.outcome == "released"
    assert set(node.leased().values()) == {pod.name, "theirs"}


def test_leases_of_further_networks_are_looked_at_as_well_while_pods_are_in_them(node):
    ranges = [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]]
    ipam = {"type": "host-local", "dataDir": str(node.leases), "ranges": ranges}
    node.plain("blue", {"type": "bridge", "bridge": "blue0", "ipam": ipam})
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod, annotations={"kni.io/multi-network": "blue"}), V.V008)
        for address in ("10.9.0.77", "fd09::77"):
            (node.leases / "blue" / address).write_text("nobody\r\nnet1")
        assert gc.collect(core, dry_run=False) == []
        done = gc.collect(core, dry_run=False, lease_age=0.0)
    expected = [("lease/10.9.0.77", "released"), ("lease/fd09::77", "released")]
    assert sorted((f.object, f.outcome) for f in done) == expected
    left = {p.name for p in (node.leases / "blue").glob("*") if p.name[0] in "1f"}
    assert left == {"10.9.0.2", "fd09::2"}


def test_real_plugins_take_status_and_gc_where_they_speak_the_version_that_has_them(node):
    """From 1.1.0 of the specification on: scripts/interop-cni brings such plugins, Debian's do not speak it yet."""
    core, pod, deadline = node.core(), node.pod("a"), Deadline(20.0)
    knows = "1.1.0" in core.plugins.versions("host-local", deadline)
    node.write(cni_version="1.1.0" if knows else "1.0.0")
    network = core.networks.default()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        core.plugins.status(network, deadline)
        core.plugins.collect(network, [(pod.name, "eth0")], deadline)
        assert pod.name in node.leased().values()
        core.detach(pod.name)
    clean(node, core)


def test_gc_names_our_attachments_and_those_that_libcni_knows_of_another_runtime(node):
    core, results = node.core(), node.folder / "cache" / "results"
    node.script("spy", f'[ "$CNI_COMMAND" != GC ] || cat > {node.folder}/told')
    node.plain(node.network, {"type": "spy"}, version="1.1.0")
    results.mkdir(parents=True)
    entry = {"kind": "cniCacheV1", "containerId": "theirs", "ifName": "net1"}
    (results / "kroute-theirs-net1").write_text(json.dumps(entry))
    gc.collect(core, dry_run=False)
    told = json.loads((node.folder / "told").read_text())
    assert told["cni.dev/valid-attachments"] == [{"containerID": "theirs", "ifname": "net1"}]


def test_a_lease_that_a_plugin_s_crash_left_without_an_owner_is_released(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
    (node.leases / "kroute" / "10.244.1.99").touch()
    (found,) = gc.collect(core, dry_run=False, lease_age=0.0)
    assert (found.object, found.outcome) == ("lease/10.244.1.99", "released")
    assert set(node.leased().values()) == {pod.name}


def test_a_detach_that_runs_is_no_garbage_and_one_that_was_broken_off_is(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        known = core.store.attachments[pod.name]
        core.store.put(replace(known, phase=Phase.DETACHING), synced=True)
        with core.locks.held(pod.name, 1.0):
            assert gc.collect(core, dry_run=True) == []
            assert gc.collect(core, dry_run=False) == []
        (found,) = gc.collect(core, dry_run=False)
    assert (found.reason, found.outcome) == ("its detach did not end", "released")
    assert node.leased() == {}


def test_garbage_that_was_attached_anew_while_the_collector_waited_stays(node, monkeypatch):
    """A client detaches and attaches a pod; the collector saw it in between, and comes after both."""
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
        known = core.store.attachments[pod.name]
        core.store.put(replace(known, phase=Phase.DETACHING), synced=True)
        seen = core.why_garbage

        def looked_at(attachment):
            found = seen(attachment)
            core.store.put(known, synced=True)
            return found

        monkeypatch.setattr(core, "why_garbage", looked_at)
        assert gc.collect(core, dry_run=False) == []
    assert core.store.attachments[pod.name].phase is Phase.ATTACHED
    assert pod.name in node.leased().values()


def test_attachments_of_a_former_boot_are_released_and_never_answered_for(node):
    pod, core = node.pod("a"), node.core()
    with node.node.entered():
        core.attach(request(pod), V.V008)
    core.boot = "another"
    node.gone(pod)
    with node.node.entered():
        (found,) = gc.collect(core, dry_run=False)
    assert "former boot" in found.reason
    assert node.leased() == {}
    assert core.store.attachments == {}


def test_libcni_s_record_that_a_crash_prevented_is_written_by_the_next_life_but_of_no_pod_that_has_gone(
    node,
):
    core, results = node.core(), node.folder / "cache" / "results"
    pods = [node.pod(name) for name in ("stays", "goes")]
    with node.node.entered():
        for pod in pods:
            core.attach(request(pod), V.V008)
        for record in results.iterdir():
            record.unlink()
        again = node.core(core.store)
        again.recover()
        again.detach(pods[1].name)
        again.complete_cache()
        assert [p.name for p in results.iterdir()] == [f"kroute-{pods[0].name}-eth0"]
