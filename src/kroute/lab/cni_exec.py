"""Calling CNI plugins as a container runtime does (CNI specification 1.0.0, sections 3 and 4).

The configuration is what the node's daemon wrote; the plugins are the node's own binaries; all runs inside the
node, through its back-end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kroute.lab.backend import Backend, Result
from kroute.lab.errors import LabError

FOLDER = "/etc/cni/net.d"
PATH = "/opt/cni/bin:/usr/lib/cni"

_FIRST = f"for f in $(ls {FOLDER} 2>/dev/null | grep -E '[.](conflist|conf|json)$'); do cat {FOLDER}/$f; break; done"
_EXECUTE = (
    'for d in $(echo "$CNI_PATH" | tr : " "); do [ -x "$d/$0" ] && exec "$d/$0"; done;'
    ' echo "no plugin $0 in $CNI_PATH" >&2; exit 127'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A conflist: plugins to be called in order, each with the network's name and version."""

    name: str
    version: str
    plugins: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A container's interface in a network: what the runtime passes in CNI_* variables."""

    container: str
    netns: str
    interface: str = "eth0"
    args: str = ""
    port_mappings: Sequence[Mapping[str, Any]] = ()


def network(backend: Backend, node: str) -> Network | None:
    """The network that the node's runtime would use: the first file of its CNI folder; None while there is none.

    Raises:
        LabError: the file is no CNI configuration.
    """
    text = backend.run(node, ["sh", "-c", _FIRST]).stdout
    if not text.strip():
        return None
    try:
        read = json.loads(text)
        plugins = read.get("plugins", [read])
        return Network(name=read["name"], version=read["cniVersion"], plugins=tuple(plugins))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(
            f"{node}: the first file of {FOLDER} is no CNI configuration: {error}"
        ) from error


def add(backend: Backend, node: str, net: Network, attachment: Attachment) -> dict[str, Any]:
    """ADD of every plugin in order, each given the result before it; returns the last result.

    Raises:
        LabError: a plugin refused; DEL has been called for all of them, as a runtime does.
    """
    result: dict[str, Any] | None = None
    for plugin in net.plugins:
        try:
            answer = _call(backend, node, "ADD", net, plugin, attachment, result)
            result = json.loads(answer.stdout)
        except (LabError, ValueError) as error:
            delete(backend, node, net, attachment, result)
            raise LabError(f"{node}: ADD of {attachment.container}: {error}") from error
    return result or {}


def check(
    backend: Backend, node: str, net: Network, attachment: Attachment, result: Mapping[str, Any]
) -> None:
    """CHECK of every plugin in order.

    Raises:
        LabError: a plugin found the attachment broken.
    """
    for plugin in net.plugins:
        _call(backend, node, "CHECK", net, plugin, attachment, result)


def delete(
    backend: Backend,
    node: str,
    net: Network,
    attachment: Attachment,
    result: Mapping[str, Any] | None,
) -> None:
    """DEL of every plugin in reverse order. All are called; the first refusal is raised afterwards.

    Raises:
        LabError: a plugin refused.
    """
    refusals = []
    for plugin in reversed(net.plugins):
        try:
            _call(backend, node, "DEL", net, plugin, attachment, result)
        except LabError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _call(
    backend: Backend,
    node: str,
    command: str,
    net: Network,
    plugin: Mapping[str, Any],
    attachment: Attachment,
    previous: Mapping[str, Any] | None,
) -> Result:
    """One call of one plugin, with its configuration on standard input."""
    config = {**plugin, "name": net.name, "cniVersion": net.version}
    capabilities = config.pop("capabilities", {})
    if capabilities.get("portMappings") and attachment.port_mappings:
        config["runtimeConfig"] = {"portMappings": list(attachment.port_mappings)}
    if previous is not None:
        config["prevResult"] = previous
    settings = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": attachment.container,
        "CNI_NETNS": attachment.netns,
        "CNI_IFNAME": attachment.interface,
        "CNI_ARGS": attachment.args,
        "CNI_PATH": PATH,
    }
    words = [f"{key}={value}" for key, value in settings.items()]
    argv = ["env", *words, "sh", "-c", _EXECUTE, str(plugin["type"])]
    result = backend.run(node, argv, text=json.dumps(config))
    if result.status:
        raise LabError(f"{node}: {plugin['type']} {command}: {_complaint(result)}")
    return result


def _complaint(result: Result) -> str:
    """A plugin's own words: CNI errors are JSON on standard output."""
    try:
        error = json.loads(result.stdout)
        return " ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
    except (ValueError, KeyError, TypeError, AttributeError):
        return result.said or f"status {result.status}"
