"""An API server under contract: the double, or any cluster that KUBECONFIG names, with objects of the tests' own."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from typing import Any

import urllib3

from kroute.drivers.inventory.api import Api, Patience
from kroute.drivers.inventory.credentials import Access
from support.fakekube import FakeKube
from support.inventory import node_object, pod_object

SERVERS = ["double", *(["cluster"] if os.environ.get("KUBECONFIG") else [])]
NODES = "/api/v1/nodes"
PODS, PODS_HERE = "/api/v1/pods", "/api/v1/namespaces/default/pods"
STREAM = {
    "allowWatchBookmarks": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}
LABEL = "kroute.io/contract-test"


@dataclass
class Server:
    """An API server, and a way to write Node objects that carry this test's label."""

    access: Access
    kubeconfig: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    kube: FakeKube | None = None
    """The double, where it is that."""
    made: list[str] = field(default_factory=list)
    _pool: urllib3.PoolManager = field(init=False)

    def __post_init__(self) -> None:
        tls = self.access.tls()
        self._pool = urllib3.PoolManager(**({"ssl_context": tls} if tls else {}))
        self.api = Api(lambda: self.access, Patience(watch=(10, 20)))

    @property
    def mine(self) -> dict[str, str]:
        """The query for the objects of this test."""
        return {"labelSelector": f"{LABEL}={self.run}"}

    def call(
        self, method: str, path: str, body: Any = None, user: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """One request, of another user where one is named; status and answer."""
        headers = {"Content-Type": "application/json"}
        if user:
            headers["Impersonate-User"] = user
        if token := self.access.bearer():
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(
            method, self.access.server + path, body=data, headers=headers, retries=False
        )
        return answer.status, json.loads(answer.data)

    def create(self, number: int) -> str:
        """Create a node; its name."""
        thing = node_object(number)
        name = thing["metadata"]["name"] = f"contract-{self.run}-{number}"
        thing["metadata"]["labels"] = {LABEL: self.run}
        thing["spec"] = {"podCIDR": f"198.18.{number}.0/24", "podCIDRs": [f"198.18.{number}.0/24"]}
        del thing["metadata"]["creationTimestamp"], thing["status"]
        code, answer = self.call("POST", NODES, thing)
        assert code == 201, answer
        return name

    def label(self, name: str, **labels: str) -> None:
        """Change a node's labels; again if a controller of the cluster was quicker."""
        code, answer = 409, {}
        for _ in range(10):
            _, thing = self.call("GET", f"{NODES}/{name}")
            thing["metadata"]["labels"] |= labels
            code, answer = self.call("PUT", f"{NODES}/{name}", thing)
            if code != 409:
                break
        assert code == 200, answer

    def delete(self, name: str) -> None:
        """Remove a node."""
        code, answer = self.call("DELETE", f"{NODES}/{name}")
        assert code == 200, answer

    def create_pod(self, name: str, node: str) -> str:
        """Create a pod that is bound to a node, which need not be there; its name."""
        thing = pod_object(f"contract-{self.run}-{name}", node, **{LABEL: self.run})
        code, answer = self.call("POST", f"{PODS_HERE}", thing)
        assert code == 201, answer
        return str(thing["metadata"]["name"])

    def delete_pod(self, name: str) -> None:
        """Remove a pod at once."""
        code, answer = self.call("DELETE", f"{PODS_HERE}/{name}?gracePeriodSeconds=0")
        assert code == 200, answer

    def make(self, path: str, thing: dict[str, Any]) -> str:
        """Create an object of a collection under a name of this test's own, to be removed at its end; the name."""
        name = f"contract-{self.run}-{thing['metadata'].get('name', 'x')}"
        metadata = {**thing["metadata"], "name": name}
        metadata["labels"] = {**metadata.get("labels", {}), LABEL: self.run}
        metadata.pop("creationTimestamp", None)
        code, answer = self.call("POST", path, {**thing, "metadata": metadata})
        assert code == 201, answer
        self.made.append(f"{path}/{name}")
        return name

    def clean(self) -> None:
        """Remove what the test left."""
        for path in self.made:
            self.call("DELETE", path)
        for item in self.api.get(PODS_HERE, self.mine)["items"]:
            self.delete_pod(item["metadata"]["name"])
        for item in self.api.get(NODES, self.mine)["items"]:
            self.delete(item["metadata"]["name"])
