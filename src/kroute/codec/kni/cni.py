"""What a CNI plugin is given and what it answers (CNI specification 1.1.0, sections 2 to 5), as libcni has it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kroute.codec.kni import record
from kroute.model.errors import KrouteError
from kroute.model.kni import Attachment, Wiring

CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
"""Container ids that plugins take; the length leaves room for a file name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}\Z")
Json = dict[str, Any]


class CniSyntax(KrouteError):
    """A network configuration or a result that is none."""


@dataclass(frozen=True, slots=True)
class PluginError:
    """A plugin's refusal (section 5): its code, what it said, and details."""

    code: int
    message: str

    def __str__(self) -> str:
        """The plugin's words, without line ends."""
        return " ".join(self.message.split()) or f"error {self.code}"


def network_of(data: bytes) -> Json:
    """A conflist as a value; a single plugin's configuration becomes a list of one.

    Raises:
        CniSyntax: it is neither; says what is wrong.
    """
    document = _object(data, "the network configuration")
    if "plugins" not in document:
        plugin = {k: v for k, v in document.items() if k not in ("name", "cniVersion")}
        shared: Json = {k: document[k] for k in ("name", "cniVersion") if k in document}
        document = {**shared, "plugins": [plugin]}
    plugins = document["plugins"]
    if not isinstance(plugins, list) or not plugins:
        raise CniSyntax("the network configuration lists no plugins")
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind or "/" in kind:
            raise CniSyntax("the network configuration holds a plugin without a usable type")
    if not isinstance(document.get("name"), str) or not _NAME.match(document["name"]):
        raise CniSyntax("the network configuration has no valid name")
    version = document.setdefault("cniVersion", "0.2.0")
    if not isinstance(version, str) or not _VERSION.match(version):
        raise CniSyntax(f"the network configuration has no valid cniVersion: {version!r}")
    return document


def version(network: Mapping[str, Any]) -> tuple[int, ...]:
    """The network's version of the specification, comparable."""
    return tuple(int(part) for part in str(network["cniVersion"]).split("."))


def plugin_input(
    network: Mapping[str, Any],
    plugin: Mapping[str, Any],
    capabilities: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    **more: Any,
) -> bytes:
    """Standard input of one plugin: its configuration with the network's name and version, the runtimeConfig of the
    capabilities that it declares, and the previous result."""
    config: Json = {**plugin, "name": network["name"], "cniVersion": network["cniVersion"], **more}
    declared = plugin.get("capabilities") or {}
    runtime = {k: v for k, v in capabilities.items() if declared.get(k) is True}
    if runtime:
        config["runtimeConfig"] = runtime
    if previous is not None:
        config["prevResult"] = dict(previous)
    return json.dumps(config).encode()


def result_of(data: bytes) -> Json:
    """A plugin's result.

    Raises:
        CniSyntax: it is none; what others would make of it must not be guessed.
    """
    document = _object(data, "the plugin's result")
    for key, kind in (("interfaces", list), ("ips", list), ("routes", list), ("dns", dict)):
        if document.get(key) is not None and not isinstance(document[key], kind):
            raise CniSyntax(f"the plugin's result: {key} is of the wrong type")
    for key in ("interfaces", "ips"):
        if not all(isinstance(item, dict) for item in document.get(key) or ()):
            raise CniSyntax(f"the plugin's result: {key} holds something else than objects")
    return document


def error_of(out: bytes, err: bytes, status: int) -> PluginError:
    """Why a plugin ended with a status other than 0: its JSON on standard output, else whatever it printed."""
    try:
        document = json.loads(out)
        words = [str(document.get(key) or "") for key in ("msg", "details")]
        return PluginError(int(document.get("code") or 0), ": ".join(w for w in words if w))
    except (ValueError, TypeError, AttributeError, RecursionError):
        said = (err or out).decode("utf-8", "replace").strip()
        how = f"killed by signal {-status}" if status < 0 else f"status {status}"
        return PluginError(0, f"{said[-500:]} ({how})" if said else how)


def supported(data: bytes) -> tuple[str, ...]:
    """What VERSION answers.

    Raises:
        CniSyntax: no list of versions.
    """
    found = _object(data, "the plugin's versions").get("supportedVersions")
    if not isinstance(found, list):
        raise CniSyntax("the plugin names no supportedVersions")
    return tuple(str(version) for version in found)


def cache_entry(attachment: Attachment, wiring: Wiring) -> bytes:
    """The libcni record of an attachment (``cniCacheV1``), so that another runtime can DEL what we have ADDed.

    The key ``kroute``, which libcni does not know, holds our own record: a lost store is rebuilt from it.
    """
    pairs = [pair.split("=", 1) for pair in wiring.args.split(";") if "=" in pair]
    return json.dumps(
        {
            "kind": "cniCacheV1",
            "containerId": attachment.id,
            "config": base64.b64encode(json.dumps(wiring.network).encode()).decode(),
            "ifName": wiring.interface,
            "networkName": wiring.network["name"],
            "netns": attachment.netns,
            "cniArgs": pairs,
            "capabilityArgs": dict(wiring.capabilities),
            "result": dict(wiring.result),
            "kroute": record.write(attachment) if wiring is attachment.wirings[0] else "",
        }
    ).encode()


def cache_of(data: bytes) -> Json | None:
    """A cache file read back, whoever wrote it; None if it is none of libcni's."""
    try:
        document = json.loads(data)
        return document if document["kind"] == "cniCacheV1" and document["containerId"] else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def leased(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Every address of a result, bare, in its order."""
    found = (str(ip.get("address", "")).partition("/")[0] for ip in result.get("ips") or ())
    return tuple(a for a in found if a)


def _object(data: bytes | Sequence[int], what: str) -> Json:
    try:
        document = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise CniSyntax(f"{what} is not JSON") from error
    if not isinstance(document, dict):
        raise CniSyntax(f"{what} is not a JSON object")
    return document
