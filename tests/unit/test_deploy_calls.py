"""The rights that the manifests grant are those that the API is asked for: none too few, and none too many.

The drivers run against the double, which refuses what the rendered rules do not allow and notes what it was asked for.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kroute.codec.config import parse_config
from kroute.drivers.inventory.api import Api
from kroute.drivers.inventory.credentials import find_access
from kroute.drivers.inventory.events import EventWriter
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.pods import KubernetesPods
from kroute.drivers.inventory.secrets import KubernetesSecrets
from kroute.model.config import KubernetesInventory
from kroute.model.problem import Problem
from kroute.model.session_keys import SecretKey
from support.fakekube import Call, FakeKube, Grant
from support.inventory import PROMPT, Told, eventually, following, kubeconfig
from support.services import one_service

DEPLOY = Path(__file__).parents[2] / "deploy"
KEYS = DEPLOY / "overlays" / "session-keys"
Right = tuple[str, str, str]
"""Verb, API group and resource."""


def grants(*files: Path) -> list[Grant]:
    """The rules of all roles in manifests."""
    found = []
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            if document["kind"] in ("Role", "ClusterRole"):
                namespace = document["metadata"].get("namespace", "")
                found += [Grant.of(rule, namespace) for rule in document["rules"]]
    assert found
    return found


def rights(granted: list[Grant]) -> set[Right]:
    return {
        (verb, group, resource)
        for grant in granted
        for verb in grant.verbs
        for group in grant.groups
        for resource in grant.resources
    }


def asked(calls: set[Call]) -> set[Right]:
    return {(call.verb, call.group, call.resource) for call in calls}


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with one_service() as server:
        yield server


@asynccontextmanager
async def driver(kube: FakeKube, tmp_path: Path) -> AsyncIterator[Told]:
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    found = KubernetesInventoryDriver(config, PROMPT, me="n1", services=True)
    async with following(found) as told:
        await told.until(lambda t: t.lists and t.service_lists == [1, 1])
        assert not told.stale_lists
        yield told


async def test_the_daemonset_grants_what_is_asked_for_and_no_more(kube: FakeKube, tmp_path: Path):
    granted = kube.rights[""] = grants(DEPLOY / "daemonset.yaml")
    async with driver(kube, tmp_path) as told:
        # A server that was emptied is asked whether it knows the node.
        kube.store.objects["services"].clear()
        kube.store.compact()
        kube.drop()
        await told.until(lambda t: not t.services)
    kube.watchlist = False
    async with driver(kube, tmp_path):
        pass  # a server without WatchList is asked for lists
    path = kubeconfig(tmp_path / "kubeconfig", kube.url)
    problem = Problem(object="node/n1", field="spec.podCIDRs", reason="is too wide")
    events = EventWriter(
        Api(lambda: find_access(path), PROMPT), "n1", lambda: (problem,), lambda _name: "", print
    )
    assert events.round() is None
    assert asked(kube.calls) == rights(granted)


async def test_the_overlay_of_session_keys_grants_the_secret_that_its_configuration_names(
    kube: FakeKube, tmp_path: Path
):
    granted = kube.rights[""] = grants(KEYS / "role.yaml")
    patch = yaml.safe_load((KEYS / "config.yaml").read_text())
    config = parse_config(patch["data"]["kroute.yaml"], "session-keys")
    named = [group.password_secret for group in config.peering.groups]
    (wanted,) = (secret for secret in named if secret is not None)
    for key in (wanted, SecretKey(namespace=wanted.namespace, name="another", key="x")):
        kube.put(secret(key), "secrets")
    for kube.watchlist in (True, False):
        secrets = KubernetesSecrets(
            kubeconfig(tmp_path / "kubeconfig", kube.url), lambda: None, PROMPT
        )
        secrets.follow([wanted])
        try:
            await eventually(lambda s=secrets: s.read(wanted) == "hush" if known(s, wanted) else 0)
        finally:
            secrets.close()
    assert asked(kube.calls) == rights(granted)
    assert {(call.namespace, call.name) for call in kube.calls} == {
        (wanted.namespace, name) for grant in granted for name in grant.names
    }


async def test_the_overlay_of_kni_grants_the_pods_and_no_more(kube: FakeKube, tmp_path: Path):
    granted = kube.rights[""] = grants(DEPLOY / "overlays" / "kni" / "rbac.yaml")
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    pods = KubernetesPods(config, "n1", patience=PROMPT)
    pods.start()
    try:
        await eventually(lambda: not pods.seen().failure)
        assert not (await asyncio.to_thread(pods.ask)).failure
    finally:
        pods.close()
    assert asked(kube.calls) == rights(granted)


def known(secrets: KubernetesSecrets, key: SecretKey) -> bool:
    return secrets._followed[key.namespace, key.name]._entries is not None


def secret(key: SecretKey) -> dict[str, Any]:
    data = {key.key: base64.b64encode(b"hush").decode()}
    return {"metadata": {"namespace": key.namespace, "name": key.name}, "data": data}


async def test_without_a_right_the_double_refuses_as_the_server_does(
    kube: FakeKube, tmp_path: Path
):
    kube.rights[""] = [g for g in grants(DEPLOY / "daemonset.yaml") if "nodes" not in g.resources]
    config = KubernetesInventory(kubeconfig=kubeconfig(tmp_path / "kubeconfig", kube.url))
    async with following(KubernetesInventoryDriver(config, PROMPT, me="n1")) as told:
        await told.until(lambda t: "is forbidden" in (t.stale or ""))
