"""Pods: a network namespace inside a node, attached by the CNI plugins that the node's conflist names.

What was added is remembered in the node (/run/kroute-lab), as a runtime's cache is, so that DEL gets the
configuration and the result of its ADD also when the conflist has changed since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kroute.lab import cni_exec
from kroute.lab.backend import Backend, Result
from kroute.lab.cni_exec import Attachment, Network
from kroute.lab.errors import LabError
from kroute.lab.polling import attempts

_RECORDS = "/run/kroute-lab/pods"

_PREPARE = """set -e
ip netns add "$1"
ip -n "$1" link set lo up
for i in all default; do ip netns exec "$1" sysctl -qw net.ipv6.conf.$i.accept_dad=0 2>/dev/null || true; done
"""
"""A pod's namespace as a runtime hands it to the plugins; without duplicate address detection, which would make
each ADD wait for two seconds and finds nothing in a lab."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that was added; ``addresses`` without prefix lengths, in the order of the CNI result."""

    name: str
    node: str
    addresses: tuple[str, ...]

    @property
    def netns(self) -> str:
        """Its network namespace's name inside the node."""
        return f"pod-{self.name}"

    def address(self, family: int) -> str:
        """Its address of family 4 or 6.

        Raises:
            LabError: it has none.
        """
        for address in self.addresses:
            if (":" in address) == (family == 6):
                return address
        raise LabError(
            f"pod {self.name} has no IPv{family} address: {', '.join(self.addresses) or 'none'}"
        )


class Pods:
    """The pods of one lab."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def add(self, node: str, name: str, wait: float = 30.0) -> Pod:
        """Adds a pod as soon as the node has a conflist; one that is there already is returned as it is.

        Raises:
            LabError: no conflist within ``wait`` seconds, or a plugin refused; nothing is left of the pod then.
        """
        for pod in self.on(node):
            if pod.name == name:
                return pod
        net = self._network(node, wait)
        attachment = _attachment(name)
        self._in_node(node, ["sh", "-c", _PREPARE, "sh", f"pod-{name}"])
        try:
            result = cni_exec.add(self.backend, node, net, attachment)
        except LabError:
            self._in_node(node, ["ip", "netns", "delete", f"pod-{name}"])
            raise
        record = {
            "name": name,
            "result": result,
            "network": {"name": net.name, "version": net.version, "plugins": list(net.plugins)},
        }
        save = f'mkdir -p {_RECORDS} && cat >"{_RECORDS}/$1.json"'
        self._in_node(node, ["sh", "-c", save, "sh", name], json.dumps(record) + "\n")
        return _pod(node, record)

    def delete(self, node: str, name: str) -> None:
        """Deletes a pod with the configuration it was added with.

        Raises:
            LabError: there is no such pod, or a plugin refused (its namespace is gone all the same).
        """
        record = self._record(node, name)
        net = Network(**record["network"])
        try:
            cni_exec.delete(self.backend, node, net, _attachment(name), record["result"])
        finally:
            self._in_node(node, ["ip", "netns", "delete", f"pod-{name}"])
            self._in_node(node, ["rm", "-f", f"{_RECORDS}/{name}.json"])

    def check(self, node: str, name: str) -> None:
        """CNI CHECK of a pod.

        Raises:
            LabError: there is no such pod, or a plugin found it broken.
        """
        record = self._record(node, name)
        cni_exec.check(
            self.backend, node, Network(**record["network"]), _attachment(name), record["result"]
        )

    def on(self, node: str) -> list[Pod]:
        """The pods of a node, by name."""
        return [_pod(node, record) for record in self._records(node)]

    def run(self, pod: Pod, argv: Sequence[str], timeout: float = 60.0) -> Result:
        """Runs a command in a pod's network namespace."""
        return self.backend.run(pod.node, inside(pod, argv), timeout=timeout)

    def attach(self, node: str, name: str, argv: Sequence[str]) -> int:
        """Runs a command in a pod with our own standard streams; returns its status."""
        return self.backend.attach(node, inside(_pod(node, self._record(node, name)), argv))

    def _network(self, node: str, wait: float) -> Network:
        """The node's network, once there is one."""
        for _ in attempts(wait):
            if net := cni_exec.network(self.backend, node):
                return net
        raise LabError(f"{node}: no CNI configuration in {cni_exec.FOLDER} after {wait:.0f} s")

    def _in_node(self, node: str, argv: Sequence[str], text: str = "") -> str:
        """Runs a command in a node that must succeed."""
        result = self.backend.run(node, argv, text=text)
        if result.status:
            raise LabError(f"{node}: {' '.join(argv)}: {result.said}")
        return result.stdout

    def _records(self, node: str) -> list[dict[str, Any]]:
        """All that is remembered of a node's pods: one JSON document per line."""
        text = self._in_node(node, ["sh", "-c", f"cat {_RECORDS}/*.json 2>/dev/null || true"])
        return [json.loads(line) for line in text.splitlines()]

    def _record(self, node: str, name: str) -> dict[str, Any]:
        """What is remembered of one pod."""
        for record in self._records(node):
            if record["name"] == name:
                return record
        raise LabError(f"{node} has no pod {name}")


def inside(pod: Pod, argv: Sequence[str]) -> list[str]:
    """The node's command line that runs ``argv`` in a pod."""
    return ["nsenter", f"--net=/run/netns/{pod.netns}", *argv]


def _attachment(name: str) -> Attachment:
    """A pod's attachment."""
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
    return Attachment(container=f"lab-{name}", netns=f"/run/netns/pod-{name}", args=args)


def _pod(node: str, record: Mapping[str, Any]) -> Pod:
    """A pod from its record."""
    found = tuple(str(ip["address"]).split("/")[0] for ip in record["result"].get("ips", ()))
    return Pod(name=str(record["name"]), node=node, addresses=found)
