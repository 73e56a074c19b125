"""Services and endpoint slices from an API server and from files: followed live, only where wanted, never lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.static import StaticInventoryDriver
from kroute.model.config import KubernetesInventory
from kroute.model.inventory import NODES, SERVICES, SLICES
from support.fakekube import Failure, FakeKube
from support.inventory import PROMPT, Told, following, kubeconfig, node_object
from support.services import endpoint, one_service, service_object, slice_object


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with one_service() as server:
        yield server


@asynccontextmanager
async def driver(kube: FakeKube, tmp_path: Path, *, services: bool = True) -> AsyncIterator[Told]:
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    async with following(KubernetesInventoryDriver(config, PROMPT, services=services)) as told:
        yield told


def whole(told: Told) -> bool:
    return set(told.services) == {"default/web"} and set(told.slices) == {"default/web-1"}


async def test_services_and_slices_are_listed_and_their_changes_follow(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: whole(t) and t.names() == ["n1"])
        kube.put(slice_object(endpoint("n1"), endpoint("n2")), "endpointslices")
        await told.until(lambda t: len(t.slices["default/web-1"].nodes) == 2)
        kube.put(service_object("db"), "services")
        await told.until(lambda t: "default/db" in t.services)
        kube.store.delete("services", "web", "default")
        kube.store.delete("endpointslices", "web-1", "default")
        await told.until(lambda t: set(t.services) == {"default/db"} and not t.slices)
        assert told.service_lists == [1, 1]


async def test_nobody_asks_for_services_unless_they_are_wanted(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path, services=False) as told:
        await told.until(lambda t: t.names() == ["n1"])
        assert {path for _, path, _ in kube.requests} == {"/api/v1/nodes"}
        assert not told.services


async def test_a_change_that_is_nothing_to_routing_is_not_told(kube: FakeKube, tmp_path: Path):
    async with driver(kube, tmp_path) as told:
        await told.until(whole)
        before = len(told.events)
        moved = slice_object(endpoint("n1"))
        moved["endpoints"][0]["addresses"] = ["10.244.1.77"]
        kube.put(moved, "endpointslices")
        kube.put(service_object("db"), "services")
        await told.until(lambda t: "default/db" in t.services)
        assert len([e for e in told.events[before:] if "Slice" in type(e).__name__]) == 0


async def test_after_a_compaction_services_are_listed_anew_and_compared(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(whole)
        kube.stop()
        kube.store.delete("services", "web", "default")
        kube.put(service_object("db"), "services")
        kube.store.compact()
        kube.start()
        await told.until(lambda t: set(t.services) == {"default/db"} and t.service_lists[1] == 2)
        assert set(told.slices) == {"default/web-1"}


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_watch_of_slices_is_resumed(kube: FakeKube, tmp_path: Path, how: str):
    async with driver(kube, tmp_path) as told:
        await told.until(whole)
        kube.drop(how)
        kube.put(slice_object(endpoint("n2")), "endpointslices")
        await told.until(lambda t: t.slices["default/web-1"].nodes[0].node == "n2")
        assert told.service_lists == [1, 1]


async def test_a_server_that_is_away_takes_no_service_along_and_each_list_says_so(
    kube: FakeKube, tmp_path: Path
):
    async with driver(kube, tmp_path) as told:
        await told.until(whole)
        kube.stop("rst")
        await told.until(lambda t: {SERVICES, SLICES} <= set(t.stale_lists))
        assert whole(told)
        kube.start()
        await told.until(lambda t: not t.stale_lists)


async def test_a_server_without_watch_lists_is_listed_by_pages(kube: FakeKube, tmp_path: Path):
    kube.failure = Failure(422, "Invalid", watchlist_only=True)
    async with driver(kube, tmp_path) as told:
        await told.until(whole)


async def test_what_is_wrong_with_a_service_is_told_until_it_is_right(
    kube: FakeKube, tmp_path: Path
):
    kube.put(service_object(externalIPs=["198.51.100.300"]), "services")
    async with driver(kube, tmp_path) as told:
        await told.until(lambda t: t.problems)
        assert told.problems[0].object == "service/default/web"
        kube.put(service_object(externalIPs=["198.51.100.3"]), "services")
        await told.until(lambda t: not t.problems)


# --- files -------------------------------------------------------------------------------------------


def write(path: Path, *things: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(yaml.safe_dump({"kind": "List", "items": [node_object(1), *things]}))
    new.replace(path)


async def test_services_stand_in_the_same_files_as_nodes(tmp_path: Path):
    file = tmp_path / "all.yaml"
    write(file, service_object(), slice_object(endpoint("n1")))
    async with following(StaticInventoryDriver(str(file), services=True)) as told:
        await told.until(lambda t: whole(t) and t.names() == ["n1"])
        write(file, service_object(), slice_object(endpoint("n2")))
        await told.until(lambda t: t.slices["default/web-1"].nodes[0].node == "n2")
        write(file)
        await told.until(lambda t: not t.services and not t.slices)
    async with following(StaticInventoryDriver(str(file))) as told:
        await told.until(lambda t: t.names() == ["n1"])
        assert told.service_lists == [0, 0]


async def test_files_of_a_folder_share_services_and_the_first_description_counts(tmp_path: Path):
    write(tmp_path / "a.yaml", service_object(labels={"from": "a"}))
    text = yaml.safe_dump_all([service_object(labels={"from": "b"}), slice_object(endpoint("n1"))])
    (tmp_path / "b.yaml").write_text(text)
    async with following(StaticInventoryDriver(str(tmp_path), services=True)) as told:
        await told.until(whole)
        assert told.services["default/web"].labels == {"from": "a"}
        assert [p.object for p in told.problems] == ["service/default/web"]


async def test_a_broken_file_takes_no_service_along(tmp_path: Path):
    write(tmp_path / "a.yaml", slice_object(endpoint("n1")))
    other = tmp_path / "b.yaml"
    other.write_text(yaml.safe_dump(service_object()))
    async with following(StaticInventoryDriver(str(tmp_path), services=True)) as told:
        await told.until(whole)
        other.write_text("kind: [")
        await told.until(lambda t: t.problems)
        assert whole(told)


# --- a server that was emptied


@asynccontextmanager
async def doubting(kube: FakeKube, tmp_path: Path) -> AsyncIterator[Told]:
    """The driver of the node n1, which knows all there is."""
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    found = KubernetesInventoryDriver(config, PROMPT, me="n1", services=True)
    async with following(found) as told:
        await told.until(lambda t: whole(t) and t.names() == ["n1"])
        yield told


def emptied(kube: FakeKube, *resources: str) -> None:
    """An etcd that was restored without these: nobody's watch goes on."""
    for resource in resources:
        kube.store.objects[resource].clear()
    kube.store.compact()
    kube.drop()


ALL = ("nodes", "services", "endpointslices")


async def test_an_emptied_server_takes_no_service_away(kube: FakeKube, tmp_path: Path):
    async with doubting(kube, tmp_path) as told:
        emptied(kube, *ALL)
        await told.until(lambda t: len(t.stale_lists) == 3)
        assert whole(told)
        assert told.service_lists == [1, 1]
        assert "lacks 1 of those known" in told.stale_lists[SERVICES]
        assert "does not know this node, n1, either" in told.stale_lists[SLICES]


async def test_what_an_emptied_server_gets_anew_is_news_and_what_it_loses_is_not(
    kube: FakeKube, tmp_path: Path
):
    async with doubting(kube, tmp_path) as told:
        emptied(kube, *ALL)
        await told.until(lambda t: len(t.stale_lists) == 3)
        kube.put(service_object("db"), "services")
        await told.until(lambda t: set(t.services) == {"default/db", "default/web"})
        kube.store.delete("services", "db", "default")
        kube.put(service_object("cache"), "services")
        await told.until(lambda t: "default/cache" in t.services)
        assert set(told.services) == {"default/cache", "default/db", "default/web"}


async def test_once_the_server_knows_the_node_again_what_it_lacks_is_gone(
    kube: FakeKube, tmp_path: Path
):
    async with doubting(kube, tmp_path) as told:
        emptied(kube, *ALL)
        await told.until(lambda t: len(t.stale_lists) == 3)
        kube.put(slice_object(endpoint("n1")), "endpointslices")
        kube.put(node_object(1))
        await told.until(lambda t: not t.services and not t.stale_lists)
        assert set(told.slices) == {"default/web-1"}, "it is there again"


async def test_a_server_that_knows_the_node_is_believed_at_once(kube: FakeKube, tmp_path: Path):
    async with doubting(kube, tmp_path) as told:
        emptied(kube, "services", "endpointslices")
        await told.until(lambda t: not t.services and not t.slices)
        assert not told.stale_lists


async def test_a_server_that_cannot_be_asked_about_the_node_is_not_believed_yet(
    kube: FakeKube, tmp_path: Path
):
    async with doubting(kube, tmp_path) as told:
        # Lists are watches here, so this fails for the question alone.
        kube.refuses_lists = True
        emptied(kube, "services")
        await told.until(lambda t: "cannot be asked" in t.stale_lists.get(SERVICES, ""))
        assert whole(told)
        kube.refuses_lists = False
        await told.until(lambda t: not t.services and not t.stale_lists)


async def test_services_alone_are_not_doubted_for_a_selector_that_leaves_the_node_out(
    kube: FakeKube, tmp_path: Path
):
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    config = KubernetesInventory(kubeconfig=path, label_selector="colour=red")
    driver = KubernetesInventoryDriver(config, PROMPT, me="n1", services=True)
    async with following(driver) as told:
        await told.until(lambda t: whole(t) and t.stale_lists)
        emptied(kube, "services")
        await told.until(lambda t: not t.services)
        assert set(told.stale_lists) == {NODES}
