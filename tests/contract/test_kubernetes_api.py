"""What the Kubernetes inventory relies on, held against the double and against any real cluster.

The double is always there. A real API server joins where KUBECONFIG names one; its Node objects of the tests' own are
labelled and removed. The same assertions for both keep the double honest.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from kroute.codec.kubernetes import node_of
from kroute.drivers.inventory.api import Api, ApiError, ErrorEvent, Patience
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.pods import KubernetesPods
from kroute.model.config import KubernetesInventory
from support.apiserver import LABEL, NODES, PODS, STREAM, Server
from support.inventory import following
from support.netns import until


def names(things: list[dict[str, Any]]) -> list[str]:
    return [thing["metadata"]["name"] for thing in things]


def initial_events(server: Server, query: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a WatchList stream up to and with the mark of its end."""
    found = []
    for kind, thing in server.api.watch(NODES, {**query, **STREAM}):
        found.append((kind, thing))
        annotations = thing["metadata"].get("annotations") or {}
        if kind == "BOOKMARK" and annotations.get("k8s.io/initial-events-end") == "true":
            return found
    raise AssertionError("the stream ended without the mark")


def next_events(server: Server, version: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The first events after a resourceVersion that are no bookmarks."""
    query = {**server.mine, "resourceVersion": version}
    events = (e for e in server.api.watch(NODES, query) if e[0] != "BOOKMARK")
    return list(islice(events, count))


def events_until_deleted(
    server: Server, version: str, **query: str
) -> list[tuple[str, dict[str, Any]]]:
    """The events after a resourceVersion, without bookmarks, up to the first removal."""
    found = []
    query = {**server.mine, "resourceVersion": version, **query}
    for kind, thing in server.api.watch(NODES, query):
        found.append((kind, thing))
        if kind == "DELETED":
            return found
    raise AssertionError(f"no removal among {[kind for kind, _ in found]}")


def version_of(server: Server) -> str:
    found = server.api.get(NODES, server.mine)["metadata"]["resourceVersion"]
    assert isinstance(found, str)
    return found


def test_a_list_has_a_version_and_items_without_kinds(server: Server):
    name = server.create(1)
    answer = server.api.get(NODES, server.mine)
    assert answer["kind"] == "NodeList"
    assert answer["metadata"]["resourceVersion"].isdecimal()
    assert names(answer["items"]) == [name]
    assert "kind" not in answer["items"][0]


def test_a_list_comes_in_pages_of_one_version(server: Server):
    created = {server.create(number) for number in range(1, 6)}
    query = {**server.mine, "limit": "2"}
    first = server.api.get(NODES, query)
    second = server.api.get(NODES, {**query, "continue": first["metadata"]["continue"]})
    third = server.api.get(NODES, {**query, "continue": second["metadata"]["continue"]})
    assert [len(page["items"]) for page in (first, second, third)] == [2, 2, 1]
    assert not third["metadata"].get("continue")
    assert {n for page in (first, second, third) for n in names(page["items"])} == created
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    assert len(versions) == 1


def test_a_watchlist_stream_tells_everything_and_then_marks_the_end(server: Server):
    created = {server.create(number) for number in (1, 2, 3)}
    *added, mark = initial_events(server, server.mine)
    assert {kind for kind, _ in added} == {"ADDED"}
    assert set(names([thing for _, thing in added])) == created
    assert mark[1]["metadata"]["resourceVersion"].isdecimal()


def test_a_watchlist_stream_of_nothing_marks_the_end_at_once(server: Server):
    assert [kind for kind, _ in initial_events(server, server.mine)] == ["BOOKMARK"]


def test_a_watch_resumes_behind_the_mark_of_a_stream(server: Server):
    server.create(1)
    version = initial_events(server, server.mine)[-1][1]["metadata"]["resourceVersion"]
    name = server.create(2)
    (event,) = next_events(server, version, 1)
    assert (event[0], event[1]["metadata"]["name"]) == ("ADDED", name)


def test_a_watch_tells_additions_changes_and_removals_in_order(server: Server):
    version = version_of(server)
    name = server.create(1)
    server.label(name, colour="red")
    server.delete(name)
    events = events_until_deleted(server, version)
    # A cluster's controllers may write to a new node as well.
    assert list(dict.fromkeys(kind for kind, _ in events)) == ["ADDED", "MODIFIED", "DELETED"]
    assert any(t["metadata"]["labels"].get("colour") == "red" for k, t in events if k == "MODIFIED")
    versions = [int(thing["metadata"]["resourceVersion"]) for _, thing in events]
    assert versions == sorted(set(versions))


def test_a_watch_resumes_behind_any_event(server: Server):
    version = version_of(server)
    first, second = server.create(1), server.create(2)
    (event,) = next_events(server, version, 1)
    assert event[1]["metadata"]["name"] == first
    version = event[1]["metadata"]["resourceVersion"]
    later = server.api.watch(NODES, {**server.mine, "resourceVersion": version})
    assert any(thing["metadata"]["name"] == second for _, thing in later)


def test_a_write_on_the_base_of_an_old_version_is_refused(server: Server):
    name = server.create(1)
    _, thing = server.call("GET", f"{NODES}/{name}")
    server.label(name, colour="red")
    code, answer = server.call("PUT", f"{NODES}/{name}", thing)
    assert (code, answer["reason"]) == (409, "Conflict")


def test_a_name_is_taken_once(server: Server):
    name = server.create(1)
    code, answer = server.call("POST", NODES, {"metadata": {"name": name}})
    assert (code, answer["reason"]) == (409, "AlreadyExists")


def test_an_object_that_leaves_the_selection_looks_deleted_and_one_that_enters_looks_added(
    server: Server,
):
    name = server.create(1)
    version = version_of(server)
    server.label(name, colour="red")
    server.label(name, colour="blue")
    selector = f"{LABEL}={server.run},colour=red"
    events = events_until_deleted(server, version, labelSelector=selector)
    assert [kind for kind, _ in events if kind != "MODIFIED"] == ["ADDED", "DELETED"]
    assert {thing["metadata"]["name"] for _, thing in events} == {name}


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("colour", [1, 2]),
        ("!colour", [3]),
        ("colour=red", [1]),
        ("colour!=red", [2, 3]),
        ("colour in (red, blue)", [1, 2]),
        ("colour notin (red)", [2, 3]),
    ],
)
def test_label_selectors_choose(server: Server, selector: str, chosen: list[int]):
    created = {number: server.create(number) for number in (1, 2, 3)}
    server.label(created[1], colour="red")
    server.label(created[2], colour="blue")
    query = {"labelSelector": f"{LABEL}={server.run},{selector}"}
    assert names(server.api.get(NODES, query)["items"]) == [created[n] for n in chosen]


def test_a_selector_that_cannot_be_read_is_refused(server: Server):
    with pytest.raises(ApiError) as caught:
        server.api.get(NODES, {"labelSelector": "a=b=c"})
    assert caught.value.status == 400


def told_from(server: Server, version: str) -> int | list[str]:
    """Names of the objects in a watch's first event; or the code of the error event that it ends with."""
    try:
        return names([thing for _, thing in next_events(server, version, 1)])
    except ErrorEvent as error:
        return error.status


def test_a_watch_from_a_forgotten_version_ends_with_an_error_event(server: Server):
    name = server.create(1)
    # The first version of all: only a cluster that is as new as itself has not forgotten it.
    assert told_from(server, "1") in (410, [name])


def test_a_list_from_the_future_times_out_in_words_that_we_know(server: Server):
    future = str(int(version_of(server)) + 1_000_000)
    with pytest.raises(ApiError) as caught:
        server.api.get(NODES, {"resourceVersion": future})
    assert caught.value.status == 504
    assert "Too large resource version" in str(caught.value)


def test_initial_events_need_the_version_match(server: Server):
    query = {"allowWatchBookmarks": "true", "sendInitialEvents": "true"}
    with pytest.raises(ApiError) as caught:
        next(server.api.watch(NODES, query))
    assert caught.value.status == 422
    assert not isinstance(caught.value, ErrorEvent)


def test_the_server_ends_a_watch_after_the_time_it_was_given(server: Server):
    api = Api(lambda: server.access, Patience(watch=(1, 1)))
    query = {**server.mine, "resourceVersion": version_of(server)}
    assert [kind for kind, _ in api.watch(NODES, query) if kind != "BOOKMARK"] == []


def test_an_unknown_path_is_not_found(server: Server):
    with pytest.raises(ApiError) as caught:
        server.api.get("/api/v1/nodez", {})
    assert caught.value.status == 404


def test_a_node_is_read_as_a_value(server: Server):
    name = server.create(7)
    (item,) = server.api.get(NODES, server.mine)["items"]
    node, problems = node_of(item)
    assert not problems
    assert node is not None
    assert (node.name, [str(c) for c in node.pod_cidrs]) == (name, ["198.18.7.0/24"])
    assert node.created.endswith("Z")
    assert node.uid


async def test_the_driver_follows_the_server(server: Server):
    first = server.create(1)
    config = KubernetesInventory(
        kubeconfig=server.kubeconfig, label_selector=server.mine["labelSelector"]
    )
    async with following(KubernetesInventoryDriver(config)) as told:
        await told.until(lambda t: t.names() == [first])
        second = server.create(2)
        await told.until(lambda t: t.names() == [first, second])
        server.label(second, colour="red")
        await told.until(lambda t: t.nodes[second].labels.get("colour") == "red")
        server.delete(first)
        await told.until(lambda t: t.names() == [second])
        assert told.lists == 1
        assert told.stale is None


# --- the pods of one node -------------------------------------------------------------------------------


def on(server: Server, node: str) -> dict[str, str]:
    """The query for the pods of a node."""
    return {"fieldSelector": f"spec.nodeName={node}"}


def test_a_field_selector_chooses_the_pods_of_one_node(server: Server):
    here, there = f"here-{server.run}", f"there-{server.run}"
    a, b, c = (server.create_pod(n, where) for n, where in (("a", here), ("b", there), ("c", here)))
    assert names(server.api.get(PODS, on(server, here))["items"]) == [a, c]
    assert names(server.api.get(PODS, on(server, there))["items"]) == [b]
    assert names(server.api.get(PODS, on(server, f"nowhere-{server.run}"))["items"]) == []
    both = {"fieldSelector": f"spec.nodeName!={there},metadata.name={a}"}
    assert names(server.api.get(PODS, both)["items"]) == [a]


def test_a_field_that_cannot_be_selected_by_is_refused(server: Server):
    for path, label in ((PODS, "spec.colour"), (NODES, "spec.nodeName")):
        with pytest.raises(ApiError) as caught:
            server.api.get(path, {"fieldSelector": f"{label}=x"})
        assert caught.value.status == 400
        assert "field label not supported" in str(caught.value)


async def test_the_pods_of_a_node_are_followed(server: Server):
    here, there = f"here-{server.run}", f"there-{server.run}"
    first = server.create_pod("a", here)
    pods = KubernetesPods(KubernetesInventory(kubeconfig=server.kubeconfig), here)
    pods.start()

    def known(*expected: str) -> bool:
        return sorted(pods.seen().pods) == [f"default/{name}" for name in expected]

    try:
        await until(lambda: known(first) and not pods.seen().failure, 20, "the list")
        server.create_pod("b", there)
        second = server.create_pod("c", here)
        await until(lambda: known(first, second), 20, "a pod that came")
        server.delete_pod(first)
        await until(lambda: known(second), 20, "a pod that went")
        assert pods.ask().pods == pods.seen().pods
        assert pods.seen().pods[f"default/{second}"].uid
    finally:
        pods.close()
