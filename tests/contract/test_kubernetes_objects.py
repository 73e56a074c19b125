"""What kroute relies on of Services, EndpointSlices, Secrets, Events and rights: the double, and any real cluster."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from kroute.codec.events import event_object, event_path
from kroute.codec.services import service_of, slice_of
from kroute.drivers.inventory.kubernetes import KubernetesInventoryDriver
from kroute.drivers.inventory.secrets import KubernetesSecrets
from kroute.model.config import KubernetesInventory
from kroute.model.errors import DriverError
from kroute.model.service import AddressKind, EndpointSlice, NodeEndpoints, Service, TrafficPolicy
from kroute.model.session_keys import SecretKey
from support.apiserver import STREAM, Server
from support.fakekube import Grant
from support.inventory import PROMPT, following
from support.netns import until, wait_for
from support.services import endpoint, slice_object

WITHIN = "/api/v1/namespaces/default"
SERVICES, SECRETS = f"{WITHIN}/services", f"{WITHIN}/secrets"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
PORTS = [{"port": 80, "protocol": "TCP"}]


def balanced(**more: Any) -> dict[str, Any]:
    """A Service with all that kroute looks at."""
    spec = {
        "type": "LoadBalancer",
        "ports": PORTS,
        "externalIPs": ["198.18.0.1"],
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "loadBalancerClass": "example.org/contract",
        # Else the server takes two ports of the nodes for it, and asks for rights to more.
        "allocateLoadBalancerNodePorts": False,
    }
    annotations = {"kroute.io/advertise": "externalIP"}
    return {"metadata": {"name": "web", "annotations": annotations}, "spec": spec | more}


def secret(name: str, **data: str) -> dict[str, Any]:
    packed = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"metadata": {"name": name}, "data": packed}


def put(server: Server, path: str, **changes: Any) -> None:
    """Change fields of an object."""
    _, thing = server.call("GET", path)
    code, answer = server.call("PUT", path, thing | changes)
    assert code == 200, answer


def read_service(server: Server, name: str) -> Service:
    items = server.api.get("/api/v1/services", server.mine)["items"]
    (item,) = [i for i in items if i["metadata"]["name"] == name]
    found, problems = service_of(item)
    assert found is not None
    assert not problems
    return found


def read_slice(server: Server, name: str) -> EndpointSlice:
    items = server.api.get("/apis/discovery.k8s.io/v1/endpointslices", server.mine)["items"]
    (item,) = [i for i in items if i["metadata"]["name"] == name]
    found, problems = slice_of(item)
    assert found is not None
    assert not problems
    return found


# --- services


def test_a_service_is_read_with_its_addresses_policies_class_and_annotations(server: Server):
    name = server.make(SERVICES, balanced())
    before = read_service(server, name)
    ingress = [{"ip": "198.18.1.1"}, {"ip": "198.18.1.2", "ipMode": "Proxy"}]
    put(server, f"{SERVICES}/{name}/status", status={"loadBalancer": {"ingress": ingress}})
    found = read_service(server, name)
    kinds = [kind for kind, _ in before.addresses]
    assert AddressKind.LOAD_BALANCER_IP not in kinds
    outside = [(k, str(a)) for k, a in found.addresses if k is not AddressKind.CLUSTER_IP]
    assert outside == [
        (AddressKind.EXTERNAL_IP, "198.18.0.1"),
        (AddressKind.LOAD_BALANCER_IP, "198.18.1.1"),
    ]
    assert (found.internal_policy, found.external_policy) == (TrafficPolicy.LOCAL,) * 2
    assert found.load_balancer_class == "example.org/contract"
    assert found.advertise == {kind: kind is AddressKind.EXTERNAL_IP for kind in found.advertise}
    assert found.key == f"default/{name}"
    assert found.created.endswith("Z")


def test_a_headless_service_has_no_address(server: Server):
    name = server.make(
        SERVICES, {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": PORTS}}
    )
    assert read_service(server, name).addresses == ()


# --- endpoint slices


def test_the_conditions_of_endpoints_are_kept_as_they_were_written(server: Server):
    thing = slice_object(
        {**endpoint("n1", ready=True), "addresses": ["198.18.2.1"]},
        {
            **endpoint("n1", ready=False, serving=True, terminating=True),
            "addresses": ["198.18.2.2"],
        },
        {**endpoint("n2", ready=False, serving=False), "addresses": ["198.18.2.3"]},
        {"addresses": ["198.18.2.4"], "nodeName": "n3"},
        {**endpoint(None, ready=True), "addresses": ["198.18.2.5"]},
    )
    found = read_slice(server, server.make(SLICES, thing))
    assert found.nodes == (
        NodeEndpoints("", 1, 0),
        NodeEndpoints("n1", 1, 1),
        NodeEndpoints("n3", 1, 0),
    )
    assert found.service_key == "default/web"


async def test_the_driver_follows_services_and_slices(server: Server):
    config = KubernetesInventory(kubeconfig=server.kubeconfig)
    async with following(KubernetesInventoryDriver(config, PROMPT, services=True)) as told:
        await told.until(lambda t: t.service_lists == [1, 1])
        name = server.make(SERVICES, balanced())
        part = server.make(SLICES, slice_object({**endpoint("n1"), "addresses": ["198.18.2.1"]}))
        await told.until(
            lambda t: {f"default/{name}", f"default/{part}"} <= {*t.services, *t.slices}
        )
        server.call("DELETE", f"{SERVICES}/{name}")
        server.call("DELETE", f"{SLICES}/{part}")
        await told.until(
            lambda t: not {f"default/{name}", f"default/{part}"} & {*t.services, *t.slices}
        )
        assert told.service_lists == [1, 1]


# --- secrets


def test_a_list_of_one_name_holds_that_alone(server: Server):
    name = server.make(SECRETS, secret("bgp", tor="first"))
    server.make(SECRETS, secret("other", tor="not this"))
    found = server.api.get(SECRETS, {"fieldSelector": f"metadata.name={name}"})
    assert [item["metadata"]["name"] for item in found["items"]] == [name]
    assert base64.b64decode(found["items"][0]["data"]["tor"]) == b"first"


def test_a_stream_of_one_name_tells_that_alone_also_what_comes_and_goes(server: Server):
    name = server.make(SECRETS, secret("bgp", tor="first"))
    other = server.make(SECRETS, secret("other", tor="not this"))
    events = server.api.watch(SECRETS, {"fieldSelector": f"metadata.name={name}", **STREAM})
    said = []
    for kind, thing in events:
        said.append((kind, thing["metadata"].get("name")))
        if kind == "BOOKMARK" and len(said) == 2:
            put(server, f"{SECRETS}/{other}", data={"tor": "eA=="})
            put(server, f"{SECRETS}/{name}", data={"tor": "eA=="})
            server.call("DELETE", f"{SECRETS}/{name}")
        if kind == "DELETED":
            break
    assert [s for s in said if s[0] != "BOOKMARK"] == [
        ("ADDED", name),
        ("MODIFIED", name),
        ("DELETED", name),
    ]


async def test_the_driver_follows_one_secret(server: Server):
    secrets = KubernetesSecrets(server.kubeconfig, lambda: None, PROMPT)
    name = server.make(SECRETS, secret("bgp", tor="first"))
    key = SecretKey(namespace="default", name=name, key="tor")

    def reads() -> str:
        try:
            return secrets.read(key)
        except DriverError as error:
            return str(error)

    secrets.follow([key])
    try:
        await until(lambda: reads() == "first", 10, "the key")
        put(server, f"{SECRETS}/{name}", data=secret("", tor="second")["data"])
        await until(lambda: reads() == "second", 10, "the new key")
        server.call("DELETE", f"{SECRETS}/{name}")
        await until(lambda: "does not exist any more" in reads(), 10, "its end")
    finally:
        secrets.close()


# --- events


def event(name: str, kind: str, namespace: str) -> dict[str, Any]:
    return event_object(
        name=name,
        kind=kind,
        namespace=namespace,
        object_name="contract",
        uid="",
        reason="Contract",
        message="said by a contract test",
        host="n1",
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


@pytest.mark.parametrize(("kind", "namespace"), [("Node", ""), ("Service", "default")])
def test_an_event_is_created_once(server: Server, kind: str, namespace: str):
    path = event_path(namespace)
    name = server.make(path, event(kind.lower(), kind, namespace))
    code, answer = server.call("POST", path, event(name, kind, namespace))
    assert (code, answer["reason"]) == (409, "AlreadyExists")


def test_an_event_about_an_object_of_another_namespace_is_refused_for_good(server: Server):
    thing = event(f"contract-{server.run}-refused", "Service", "elsewhere")
    thing["metadata"]["namespace"] = "default"
    code, answer = server.call("POST", event_path("default"), thing)
    assert (code, answer["reason"]) == (422, "Invalid")


# --- rights


def granted(server: Server, rules: list[dict[str, Any]]) -> str:
    """A user who may do what a Role in the default namespace says; its name."""
    user = f"contract-{server.run}"
    if server.kube is not None:
        server.kube.rights[user] = [Grant.of(rule, "default") for rule in rules]
        return user
    role = server.make(f"{ROLES}/roles", {"metadata": {}, "rules": rules})
    bound = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    who = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    server.make(f"{ROLES}/rolebindings", {"metadata": {}, "roleRef": bound, "subjects": [who]})
    return user


def test_a_right_to_one_name_covers_lists_and_watches_of_that_name_and_no_others(server: Server):
    name = server.make(SECRETS, secret("bgp", tor="first"))
    other = server.make(SECRETS, secret("other", tor="not this"))
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name]}
    user = granted(server, [rule | {"verbs": ["list", "watch"]}])

    def status(query: str) -> int:
        return server.call("GET", f"{SECRETS}{query}", user=user)[0]

    mine = f"?fieldSelector=metadata.name%3D{name}"
    wait_for(lambda: status(mine) == 200, 10, "the right to be known to the server")
    assert status(f"?fieldSelector=metadata.name%3D{other}") == 403
    assert status("") == 403
    assert status(f"/{name}") == 403, "to get one is another right"
    elsewhere = f"/api/v1/namespaces/kube-system/secrets{mine}"
    assert server.call("GET", elsewhere, user=user)[0] == 403
    assert server.call("DELETE", f"{SECRETS}/{name}", user=user)[0] == 403


def test_a_right_to_create_events_is_none_to_read_or_change_them(server: Server):
    rule = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
    user = granted(server, [rule])
    path = event_path("")

    def create(number: int) -> int:
        thing = event(f"contract-{server.run}-{number}", "Node", "")
        code, _ = server.call("POST", path, thing, user=user)
        if code == 201:
            server.made.append(f"{path}/{thing['metadata']['name']}")
        return code

    wait_for(lambda: create(1) in (201, 409), 10, "the right to be known to the server")
    assert server.call("GET", path, user=user)[0] == 403
    assert server.call("DELETE", f"{path}/contract-{server.run}-1", user=user)[0] == 403
