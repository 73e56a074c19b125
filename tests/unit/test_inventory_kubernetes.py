"""The Kubernetes inventory through every fault of an API server: what is known never shrinks by a failure."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kroute.drivers.inventory.api import Patience
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.model.config import KubernetesInventory
from kroute.model.inventory import Fresh, Listed, Stale
from support.fakekube import Failure, FakeKube
from support.inventory import (
    HASTY,
    PROMPT,
    Told,
    eventually,
    following,
    kubeconfig,
    node_object,
)


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        for number in (1, 2, 3):
            server.put(node_object(number))
        yield server


@asynccontextmanager
async def driver(
    kube: FakeKube,
    tmp_path: Path,
    patience: Patience = PROMPT,
    selector: str = "",
    me: str = "",
) -> AsyncIterator[Told]:
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    config = KubernetesInventory(kubeconfig=path, label_selector=selector)
    async with following(KubernetesInventoryDriver(config, patience, me=me)) as told:
        yield told


def three(told: Told) -> bool:
    return told.names() == ["n1", "n2", "n3"]


async def test_the_whole_list_comes_first_and_changes_follow(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        assert told.lists == 1
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        changed = node_object(2)
        changed["status"]["addresses"][0]["address"] = "10.9.9.9"
        kube.put(changed)
        await told.until(lambda t: str(t.nodes["n2"].primary) == "10.9.9.9")
        kube.delete("n1")
        await told.until(lambda t: t.names() == ["n2", "n3", "n4"])
        assert told.lists == 1
        assert told.removed == ["n1"]


async def test_a_heartbeat_that_changes_nothing_for_routing_is_not_told(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        before = len(told.events)
        beating = node_object(1)
        pressure = {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": "now"}
        beating["status"]["conditions"] = [pressure]
        kube.put(beating)
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        assert len(told.events) == before + 1


async def test_an_empty_cluster_is_listed_too(tmp_path: Path):
    with FakeKube() as kube:
        async with driver(kube, tmp_path) as told:
            await told.until(lambda t: t.lists == 1)
            assert not told.nodes


async def test_only_nodes_with_the_wanted_labels_are_followed(tmp_path: Path):
    with FakeKube() as kube:
        kube.put(node_object(1, role="edge"))
        kube.put(node_object(2, role="core"))
        async with driver(kube, tmp_path, selector="role in (edge, border)") as told:
            await told.until(lambda t: t.names() == ["n1"])
            kube.put(node_object(2, role="border"))
            await told.until(lambda t: t.names() == ["n1", "n2"])
            kube.put(node_object(1, role="core"))
            await told.until(lambda t: t.names() == ["n2"])


async def test_a_selector_that_the_server_cannot_read_is_told_in_its_words(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, selector="a=b=c") as told:
        await told.until(lambda t: t.stale and "unable to parse requirement" in t.stale)


async def test_after_a_compaction_everything_is_listed_anew_and_compared(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.stop()
        kube.delete("n3")
        kube.put(node_object(4))
        kube.store.compact()
        kube.start()
        await told.until(lambda t: t.names() == ["n1", "n2", "n4"])
        assert told.lists == 2
        assert told.removed == ["n3"]


async def test_a_compaction_under_an_open_watch_takes_nothing_away(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.store.compact()
        await told.until(lambda t: t.lists == 2)
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        assert not told.removed
        assert told.stale is None


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_connection_is_resumed_where_it_ended(kube: FakeKube, tmp_path: Path, how: str):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.drop(how)
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        assert told.lists == 1
        assert "resourceVersion" in kube.watches()[-1]


async def test_an_api_server_that_goes_and_returns_is_told_and_takes_nothing_along(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.stop("rst")
        await told.until(lambda t: t.stale)
        assert "no news since 2" in str(told.stale)
        assert three(told)
        kube.put(node_object(4))
        kube.start()
        await told.until(lambda t: "n4" in t.nodes and t.stale is None)
        assert told.lists == 1
        assert not told.removed


async def test_a_server_that_is_back_and_has_nothing_to_say_counts_as_back(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, HASTY) as told:
        await told.until(three)
        kube.stop()
        await told.until(lambda t: t.stale)
        kube.bookmarks = False
        kube.start()
        # Such silence cannot be told from that of a dead connection: everything is listed anew, and that is all.
        await told.until(lambda t: t.lists == 2 and t.stale is None)
        back = next(n for n, event in enumerate(told.events) if isinstance(event, Fresh))
        assert sum(isinstance(event, Listed) for event in told.events[:back]) == 1
        assert not any(isinstance(event, Stale) for event in told.events[back:])


async def test_an_outage_is_told_once_not_at_each_attempt(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.failure = Failure(code=503)
        kube.drop()
        await told.until(lambda t: t.stale)
        before, seen = len(kube.requests), len(told.events)
        await eventually(lambda: len(kube.requests) > before + 5)
        assert len(told.events) == seen


async def test_an_api_server_that_is_not_there_at_start_is_told_and_waited_for(tmp_path: Path):
    with FakeKube() as kube:
        kube.stop()
        async with driver(kube, tmp_path) as told:
            await told.until(lambda t: t.stale)
            assert "never reached" in str(told.stale)
            assert told.lists == 0
            kube.start()
            await told.until(lambda t: t.lists == 1 and t.stale is None)


async def test_a_half_open_connection_is_given_up_after_silence(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path, HASTY) as told:
        await told.until(three)
        count = len(kube.requests)
        kube.talking.clear()
        await eventually(lambda: len(kube.requests) > count)
        await told.until(lambda t: t.stale)
        kube.talking.set()
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes and t.stale is None)
        assert not told.removed


async def test_throttling_waits_as_long_as_the_server_asks(kube: FakeKube, tmp_path: Path):
    kube.failure = Failure(code=429, reason="TooManyRequests", retry_after=1, times=1)
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: t.stale)
        assert "429" in str(told.stale)
        assert len(kube.requests) == 1
        await told.until(three)
        assert len(kube.requests) == 2


async def test_an_expired_token_is_read_again(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("old\n")
    with FakeKube(tokens=["old"]) as kube:
        kube.put(node_object(1))
        path = kubeconfig(tmp_path / "kubeconfig", kube.url, {"tokenFile": "token"})
        config = KubernetesInventory(kubeconfig=path)
        async with following(KubernetesInventoryDriver(config, PROMPT)) as told:
            await told.until(lambda t: t.names() == ["n1"])
            kube.tokens = {"new"}
            kube.drop()
            await told.until(lambda t: t.stale)
            assert "401" in str(told.stale)
            token.write_text("new\n")
            kube.put(node_object(2))
            await told.until(lambda t: t.names() == ["n1", "n2"] and t.stale is None)
            assert not told.removed


async def test_a_missing_right_is_told_in_the_servers_words(kube: FakeKube, tmp_path: Path):
    kube.failure = Failure(code=403, reason="Forbidden")
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: t.stale)
        assert "403" in str(told.stale)
        kube.failure = None
        await told.until(three)


async def test_without_watchlist_pages_are_listed(kube: FakeKube, tmp_path: Path):
    kube.watchlist = False
    for number in range(4, 251):
        kube.put(node_object(number))
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: len(t.nodes) == 250)
        assert told.lists == 1
        assert told.stale is None
        assert len([q for q in kube.lists() if "continue" in q]) == 2
        kube.delete("n7")
        await told.until(lambda t: "n7" not in t.nodes)


async def test_an_etcd_too_old_for_watchlist_answers_with_an_error_event(
    kube: FakeKube, tmp_path: Path
):
    kube.failure = Failure(code=500, reason="InternalError", event=True, watchlist_only=True)
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        assert told.stale is None
        assert kube.lists()


async def test_a_server_that_does_not_know_initial_events_is_listed_after_silence(
    kube: FakeKube, tmp_path: Path
):
    kube.ignores_initial_events = True
    async with driver(kube, tmp_path, HASTY) as told:
        await told.until(three)
        assert kube.lists()


async def test_a_plain_server_error_does_not_end_the_use_of_watchlist(
    kube: FakeKube, tmp_path: Path
):
    kube.failure = Failure(code=500, reason="InternalError", times=1)
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        assert not kube.lists()


async def test_pages_that_expire_while_they_are_read_are_read_anew(kube: FakeKube, tmp_path: Path):
    kube.watchlist = False
    for number in range(4, 251):
        kube.put(node_object(number))
    kube.on_list = [kube.store.compact]
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: len(t.nodes) == 250)
        assert told.stale is None
        assert not told.removed


async def test_an_etcd_restored_from_a_backup_is_noticed_by_its_silence(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, HASTY) as told:
        await told.until(three)
        for _ in range(30):
            kube.put(node_object(4))
            kube.delete("n4")
        await told.until(lambda t: len(t.removed) == 30)
        kube.stop()
        kube.store.restore(back=40)
        kube.put(node_object(5))
        kube.start()
        await told.until(lambda t: t.names() == ["n1", "n2", "n3", "n5"])


async def test_everything_is_listed_anew_now_and_then(kube: FakeKube, tmp_path: Path):
    patience = Patience(
        watch=(1, 1), first_pause=0.02, longest_pause=0.1, fresh_list=0.5, silence=5
    )
    async with driver(kube, tmp_path, patience) as told:
        await told.until(lambda t: t.lists >= 2)
        assert not told.removed


async def test_a_node_without_podcidr_or_address_is_known_as_such(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.put({"metadata": {"name": "bare"}, "spec": {}, "status": {}})
        await told.until(lambda t: "bare" in t.nodes)
        assert told.nodes["bare"].pod_cidrs == ()
        assert told.nodes["bare"].primary is None


async def test_a_bad_entry_is_a_problem_of_its_node_until_it_is_repaired(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        bad = node_object(2)
        bad["spec"] = {"podCIDRs": ["10.244.2.0/24", "nonsense"]}
        kube.put(bad)
        await told.until(lambda t: t.problems)
        assert told.problems[0].object == "node/n2"
        assert [str(c) for c in told.nodes["n2"].pod_cidrs] == ["10.244.2.0/24"]
        kube.put(node_object(2))
        await told.until(lambda t: not t.problems)


# --- lists that cannot be true


async def test_a_server_restored_without_its_nodes_takes_nothing_away(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, me="n1") as told:
        await told.until(three)
        kube.stop()
        for name in ("n1", "n2", "n3"):
            kube.delete(name)
        kube.store.compact()
        kube.start()
        await told.until(lambda t: t.stale)
        assert "lacks this node, n1" in str(told.stale)
        assert "labelSelector" not in str(told.stale)
        assert three(told)
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        assert told.stale, "a word of the server does not make its list true"
        assert not told.removed


async def test_what_such_a_server_lacks_is_gone_once_the_own_node_is_back(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, me="n1") as told:
        await told.until(three)
        kube.stop()
        for name in ("n1", "n2"):
            kube.delete(name)
        kube.store.compact()
        kube.start()
        await told.until(lambda t: t.stale)
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        kube.delete("n3")
        kube.put(node_object(1))
        await told.until(lambda t: t.names() == ["n1", "n4"] and not t.stale)
        assert sorted(told.removed) == ["n2", "n3"]
        kube.delete("n4")
        await told.until(lambda t: t.names() == ["n1"])


async def test_a_selector_that_leaves_the_own_node_out_is_told_and_the_others_are_known(
    tmp_path: Path,
):
    with FakeKube() as kube:
        kube.put(node_object(1, role="edge"))
        kube.put(node_object(2, role="core"))
        async with driver(kube, tmp_path, selector="role=core", me="n1") as told:
            await told.until(lambda t: t.names() == ["n2"] and t.stale)
            assert "labelSelector 'role=core' lacks this node, n1" in str(told.stale)
            assert told.lists == 0, "nothing is known to be gone"
            kube.put(node_object(1, role="core"))
            await told.until(
                lambda t: t.lists == 1 and t.names() == ["n1", "n2"] and t.stale is None
            )


async def test_an_outage_while_the_list_is_doubted_leaves_it_doubted(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path, me="n9") as told:
        await told.until(lambda t: t.stale and three(t))
        kube.stop("rst")
        await told.until(lambda t: "no news since" in str(t.stale))
        kube.start()
        await told.until(lambda t: "lacks this node, n9" in str(t.stale))
        assert told.lists == 0


GARBAGE = [
    b"not json\n",
    b"[]\n",
    b'{"type": "ADDED"}\n',
    b'{"type": "ADDED", "object": 7}\n',
    b'{"type": 1, "object": {}}\n',
    b'{"type": "ERROR", "object": {"code": "x"}}\n',
    b'{"type": "BOOKMARK", "object": {"metadata": 5}}\n',
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\n",
]


@pytest.mark.parametrize("line", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_in_a_stream_costs_that_stream_only(
    kube: FakeKube, tmp_path: Path, line: bytes
):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        kube.say_next = line
        kube.put(node_object(4))
        await told.until(lambda t: "n4" in t.nodes)
        kube.put(node_object(5))
        await told.until(lambda t: "n5" in t.nodes)
        assert not told.removed


async def test_the_drivers_thread_ends_with_it(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(three)
        mine = [t for t in threading.enumerate() if t.name.startswith("reflector")]
        assert len(mine) == 1
    await eventually(lambda: not mine[0].is_alive(), deadline=5)
