"""CNI network configurations: our own as bytes, and what others' files in the folder amount to.

The format is section 1 of the CNI specification (https://www.cni.dev/docs/spec/). What is rendered
holds for 0.3.1, 0.4.0, 1.0.0 and 1.1.0 alike: these versions differ in what a runtime calls (CHECK
since 0.4.0, GC and STATUS since 1.1.0) and in results, not in the keys used here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kroute.model.cni import Conflist

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions of the specification that a conflist may declare."""
SUFFIXES = (".conf", ".conflist", ".json")
"""Files that runtimes look at; all others in the folder are nothing to them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a runtime makes of a file.

    ``plugins`` are the plugins' types in order, ``bridge`` the bridge of the first if it names one.
    ``fault`` says in words why a runtime refuses the file; empty where it does not.
    """

    name: str = ""
    version: str = ""
    plugins: tuple[str, ...] = ()
    bridge: str = ""
    fault: str = ""


def render(conflist: Conflist) -> bytes:
    """The file: UTF-8 JSON with a line feed at its end. Equal values give equal bytes.

    Raises:
        ValueError: an unknown version, or an extra plugin that JSON cannot hold.
    """
    if conflist.cni_version not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise ValueError(f"CNI version {conflist.cni_version!r} is none of {known}")
    document = {
        "cniVersion": conflist.cni_version,
        "name": conflist.name,
        "plugins": list(_plugins(conflist)),
    }
    try:
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_mapping)
        return f"{text}\n".encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"an extra plugin cannot be written as JSON: {error}") from error


def binaries(conflist: Conflist) -> tuple[str, ...]:
    """The plugin binaries that this network runs, each once, in order of use."""
    named: dict[str, None] = {}
    for plugin in _plugins(conflist):
        named[str(plugin["type"])] = None
        ipam = plugin.get("ipam")
        if isinstance(ipam, Mapping) and ipam.get("type"):
            named[str(ipam["type"])] = None
    return tuple(named)


def inspect(data: bytes, *, single: bool = False) -> Inspection:
    """Judge a file as a runtime does. ``single``: its name says that it holds one plugin, not a
    list.

    Never raises: whatever the bytes are, the answer says so.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return Inspection(fault="it is not JSON")
    if not isinstance(document, dict):
        return Inspection(fault="it is not a JSON object")
    plugins = [document] if single else document.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        return Inspection(name=_text(document, "name"), fault="it lists no plugins")
    return Inspection(
        name=_text(document, "name"),
        version=_text(document, "cniVersion"),
        plugins=tuple(_text(p, "type") for p in plugins),
        bridge=_text(plugins[0], "bridge"),
        fault=_fault(document, plugins),
    )


def _mapping(thing: Any) -> dict[str, Any]:
    """Read-only mappings become JSON objects; anything else is no JSON."""
    if isinstance(thing, Mapping):
        return dict(thing)
    raise TypeError(f"{type(thing).__name__} is no JSON value")


def _text(thing: Any, key: str) -> str:
    """The string under a key; empty where there is none or something else."""
    value = thing.get(key) if isinstance(thing, dict) else None
    return value if isinstance(value, str) else ""


def _fault(document: dict[str, Any], plugins: list[Any]) -> str:
    if not all(_text(p, "type") for p in plugins):
        return "a plugin in it has no type"
    if not _NAME.match(_text(document, "name")):
        return "it has no valid name"
    return ""


def _plugins(conflist: Conflist) -> Iterator[Mapping[str, Any]]:
    yield _bridge(conflist)
    if conflist.loopback:
        yield {"type": "loopback"}
    if conflist.port_map:
        yield {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    yield from conflist.extra_plugins


def _bridge(conflist: Conflist) -> dict[str, Any]:
    """The bridge plugin, with the reasons for what is and is not said.

    ``isDefaultGateway`` alone makes the default route of both families; a 0.0.0.0/0 in the IPAM's
    routes as well makes ADD fail (plugins 1.1.1). ``ipMasq`` stays off: pods are reached, and
    answer, by their own addresses. ``forceAddress`` lets a changed podCIDR move the bridge's
    gateway address; without it every ADD fails until somebody removes the old one by hand.
    """
    plugin: dict[str, Any] = {
        "type": "bridge",
        "bridge": conflist.bridge,
        "isGateway": True,
        "isDefaultGateway": conflist.default_gateway,
        "forceAddress": True,
        "ipMasq": False,
        "hairpinMode": conflist.hairpin,
    }
    if conflist.mtu is not None:
        plugin["mtu"] = conflist.mtu
    plugin["ipam"] = _ipam(conflist)
    return plugin


def _ipam(conflist: Conflist) -> dict[str, Any]:
    """host-local with one set for each range: a pod gets one address out of every set."""
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": str(prefix)}] for prefix in conflist.ranges],
    }
    if conflist.data_dir:
        ipam["dataDir"] = conflist.data_dir
    return ipam
