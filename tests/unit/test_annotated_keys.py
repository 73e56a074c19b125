"""Keys in kube-router's annotations on their way from the inventory to the keyring, beside the nodes' values."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.static import StaticInventoryDriver
from kroute.model.config import KubernetesInventory
from kroute.model.session_keys import AnnotatedKey, Sealed
from support.fakekube import FakeKube
from support.inventory import PROMPT, Told, eventually, following, kubeconfig, node_object

TOR = "192.0.2.9"


def annotated(number: int, password: str, **more: str) -> dict[str, Any]:
    """A node whose annotations name a router and its password."""
    thing = node_object(number)
    packed = base64.b64encode(password.encode()).decode()
    said = f"[{{remoteip: {TOR}, remoteasn: 65009, password: {packed}}}]"
    thing["metadata"]["annotations"] = {"kube-router.io/peers": said, **more}
    return thing


class Keys:
    """All that was told, in its order."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, AnnotatedKey]] = []
        self.nodes_before: list[bool] = []
        self.inventory: Told | None = None

    def take(self, keys: Mapping[str, AnnotatedKey]) -> None:
        self.told.append(keys)
        self.nodes_before.append(bool(self.inventory and self.inventory.nodes))

    def now(self) -> str | None:
        """The router's key as it was told last."""
        found = self.told[-1].get(TOR) if self.told else None
        return found.key.reveal() if found is not None and found.key is not None else None


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube() as server:
        server.put(annotated(1, "first"))
        server.put(annotated(2, "not ours"))
        yield server


async def test_the_api_tells_the_own_nodes_keys_before_the_node_and_each_change(
    kube: FakeKube, tmp_path: Path
) -> None:
    keys = Keys()
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    driver = KubernetesInventoryDriver(config, PROMPT, me="n1", keys=keys.take)
    async with following(driver) as told:
        keys.inventory = told
        await told.until(lambda t: t.names() == ["n1", "n2"])
        assert keys.nodes_before == [False]
        assert keys.told == [{TOR: AnnotatedKey(Sealed("first"))}]
        events = len(told.events)
        kube.put(annotated(2, "not ours either"))
        kube.put(annotated(1, "second"))
        await eventually(lambda: keys.now() == "second")
        assert len(told.events) == events, "the node itself is the same to us"
        kube.put(node_object(1))
        await eventually(lambda: keys.told[-1] == {})
        kube.delete("n1")
        await told.until(lambda t: t.names() == ["n2"])


async def test_a_list_that_lacks_the_own_node_takes_no_key_back(
    kube: FakeKube, tmp_path: Path
) -> None:
    keys = Keys()
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    driver = KubernetesInventoryDriver(config, PROMPT, me="n1", keys=keys.take)
    async with following(driver) as told:
        await told.until(lambda t: t.names() == ["n1", "n2"])
        kube.store.replace("nodes", [])
        kube.store.compact()
        kube.drop()
        await told.until(lambda t: t.stale)
        assert keys.now() == "first"


async def test_a_file_tells_the_own_nodes_keys_and_each_change(tmp_path: Path) -> None:
    file, keys = tmp_path / "nodes.yaml", Keys()

    def write(*things: dict[str, Any]) -> None:
        new = tmp_path / "new"
        new.write_text(yaml.safe_dump({"kind": "List", "items": list(things)}))
        new.replace(file)

    write(annotated(1, "first"), annotated(2, "not ours"))
    async with following(StaticInventoryDriver(str(file), me="n1", keys=keys.take)) as told:
        await told.until(lambda t: t.names() == ["n1", "n2"])
        assert keys.now() == "first"
        write(annotated(1, "second"))
        await eventually(lambda: keys.now() == "second")
        write(annotated(3, "not ours"))
        await told.until(lambda t: t.names() == ["n3"])
        assert keys.now() == "second", "a file without the own node says nothing of its keys"
        await asyncio.sleep(0)
