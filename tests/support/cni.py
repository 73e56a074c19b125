"""A container runtime's part of CNI, small: run a conflist's plugins as libcni does.

Section 3 of the CNI specification: plugins in order with the previous result for ADD and CHECK, in
reverse for DEL; capability arguments only to plugins that declare the capability.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.netns import Namespace


class CniError(AssertionError):
    """A plugin refused; the text is its own."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A namespace as a runtime attaches it."""

    namespace: Namespace
    ports: Sequence[Mapping[str, Any]] = ()

    @property
    def attachment(self) -> dict[str, str]:
        return {"containerID": self.namespace.name, "ifname": "eth0"}


class Runtime:
    """Runs one node's network; the node is a namespace."""

    def __init__(self, node: Namespace, folder: str) -> None:
        self.node = node
        self.folder = folder
        self.results: dict[str, Any] = {}
        self.attached: dict[str, Pod] = {}

    def versions(self) -> list[str]:
        """What the bridge plugin speaks."""
        answer = self._run({"cniVersion": "1.0.0", "type": "bridge"}, "VERSION", None)
        return list(answer["supportedVersions"])

    def add(self, conflist: bytes, pod: Pod) -> dict[str, Any]:
        """Attach a pod; returns the last plugin's result."""
        network = json.loads(conflist)
        result: dict[str, Any] | None = None
        for plugin in network["plugins"]:
            result = self._run(self._derived(network, plugin, pod, result), "ADD", pod)
        assert result is not None
        self.results[pod.namespace.name] = result
        self.attached[pod.namespace.name] = pod
        return result

    def check(self, conflist: bytes, pod: Pod) -> None:
        """Hold the attachment against what ADD said."""
        network, result = json.loads(conflist), self.results[pod.namespace.name]
        for plugin in network["plugins"]:
            self._run(self._derived(network, plugin, pod, result), "CHECK", pod)

    def delete(self, conflist: bytes, pod: Pod) -> None:
        """Detach a pod; again is no error."""
        network, result = json.loads(conflist), self.results.get(pod.namespace.name)
        for plugin in reversed(network["plugins"]):
            self._run(self._derived(network, plugin, pod, result), "DEL", pod)
        self.attached.pop(pod.namespace.name, None)

    def status(self, conflist: bytes) -> None:
        """Ask whether ADD would be served (since 1.1.0)."""
        network = json.loads(conflist)
        for plugin in network["plugins"]:
            self._run(self._derived(network, plugin, None, None), "STATUS", None)

    def collect(self, conflist: bytes, living: Sequence[Pod]) -> None:
        """Release what belongs to none of the living (GC, since 1.1.0).

        As libcni does: DEL for each attachment that it remembers and that is not alive, then GC for
        what it does not remember. The reference plugins answer GC and do nothing (1.9.1).
        """
        network = json.loads(conflist)
        for pod in [pod for pod in self.attached.values() if pod not in living]:
            self.delete(conflist, pod)
        valid = {"cni.dev/valid-attachments": [pod.attachment for pod in living]}
        for plugin in network["plugins"]:
            self._run(self._derived(network, plugin, None, None) | valid, "GC", None)

    def _derived(
        self,
        network: Mapping[str, Any],
        plugin: Mapping[str, Any],
        pod: Pod | None,
        result: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """What one plugin reads on its standard input."""
        given = {k: v for k, v in plugin.items() if k != "capabilities"}
        given |= {"cniVersion": network["cniVersion"], "name": network["name"]}
        if pod and pod.ports and plugin.get("capabilities", {}).get("portMappings"):
            given["runtimeConfig"] = {"portMappings": list(pod.ports)}
        if result is not None:
            given["prevResult"] = result
        return given

    def _run(self, given: Mapping[str, Any], command: str, pod: Pod | None) -> dict[str, Any]:
        environment = {"CNI_COMMAND": command, "CNI_PATH": self.folder, "PATH": os.environ["PATH"]}
        if pod is not None:
            environment |= {
                "CNI_CONTAINERID": pod.namespace.name,
                "CNI_NETNS": pod.namespace.path,
                "CNI_IFNAME": "eth0",
            }
        done = subprocess.run(
            ["nsenter", f"--net={self.node.path}", f"{self.folder}/{given['type']}"],
            input=json.dumps(given),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CniError(f"{given['type']} {command}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else {}
