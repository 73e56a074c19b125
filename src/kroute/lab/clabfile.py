"""Reading a containerlab topology file into a :class:`~kroute.lab.topology.Topology`.

Every complaint names the file and the path of the key, and all of them are raised together.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kroute.lab import schema, yamlfile
from kroute.lab.errors import LabError
from kroute.lab.topology import Bind, Endpoint, Link, Node, Topology

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def find(where: str | Path) -> Path:
    """The topology file meant by ``where``: the file itself, or the only ``*.clab.yml`` of a folder.

    Raises:
        LabError: there is none, or more than one.
    """
    path = Path(where)
    if path.is_file():
        return path.resolve()
    if not path.is_dir():
        raise LabError(f"{path}: no such file or folder")
    files = sorted([*path.glob("*.clab.yml"), *path.glob("*.clab.yaml")])
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise LabError(f"{path}: want one *.clab.yml in this folder, found {found}")
    return files[0].resolve()


def load(where: str | Path, variables: Mapping[str, str] | None = None) -> Topology:
    """Reads a topology; ``variables`` (the environment unless given) fill ``${…}``.

    Raises:
        LabError: with every complaint about the file at once.
    """
    path = find(where)
    text = yamlfile.expand(yamlfile.read(path), os.environ if variables is None else variables)
    reader = _Reader(path)
    topology = reader.topology(yamlfile.parse(path.name, text))
    if reader.errors or topology is None:
        raise LabError(*reader.errors)
    return topology


class _Reader:
    """Walks the document once, collecting errors and warnings under the paths of their keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def error(self, at: str, what: str) -> None:
        """Notes that the file is refused."""
        self.errors.append(f"{self.path.name}: {at}: {what}" if at else f"{self.path.name}: {what}")

    def topology(self, document: Any) -> Topology | None:
        """The whole file, or None where its top level is beyond reading."""
        top = self.mapping("", document, schema.TOP)
        body = self.mapping("topology", top.get("topology"), schema.TOPOLOGY)
        name = str(top.get("name") or "")
        if not _NAME.fullmatch(name):
            self.error("name", f"want letters, digits, - and _, not {name!r}")
        nodes = self.nodes(name, body)
        if not nodes:
            self.error("topology.nodes", "want at least one node")
        links = self.links(body.get("links"), nodes)
        if self.errors:
            return None
        return Topology(
            name=name, path=self.path, nodes=nodes, links=links, warnings=tuple(self.warnings)
        )

    def mapping(self, at: str, value: Any, keys: Mapping[str, str] | None) -> dict[str, Any]:
        """``value`` as a mapping of known keys; what is unknown is an error, what is ignored a warning."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.error(at, f"want a mapping, not {type(value).__name__}")
            return {}
        for key in list(value) if keys is not None else ():
            known = keys.get(str(key)) if keys is not None else None
            place = f"{at}.{key}" if at else str(key)
            if known is None:
                self.error(
                    place,
                    f"containerlab has no such key{yamlfile.suggestion(str(key), keys or ())}",
                )
            elif known == schema.IGNORED:
                self.warnings.append(f"{place}: has no effect on network namespaces")
        return {str(key): item for key, item in value.items()}

    def nodes(self, lab: str, body: Mapping[str, Any]) -> dict[str, Node]:
        """All nodes, merged from their layers."""
        layers = _Layers(
            defaults=self.mapping("topology.defaults", body.get("defaults"), schema.NODE),
            kinds=self.layer("kinds", body),
            groups=self.layer("groups", body),
        )
        found: dict[str, Node] = {}
        for name, value in self.mapping("topology.nodes", body.get("nodes"), None).items():
            at = f"topology.nodes.{name}"
            spec = layers.merge(self.mapping(at, value, schema.NODE))
            found[name] = _NodeReader(self, at, lab, name).node(spec)
        for node in found.values():
            owner = node.bridge_in
            if owner and owner != node.name and (owner not in found or found[owner].is_switch):
                self.error(
                    f"topology.nodes.{node.name}", f"there is no node {owner} to hold this bridge"
                )
        return found

    def layer(self, which: str, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """``kinds`` or ``groups``: named sets of node keys."""
        at = f"topology.{which}"
        return {
            name: self.mapping(f"{at}.{name}", value, schema.NODE)
            for name, value in self.mapping(at, body.get(which), None).items()
        }

    def links(self, value: Any, nodes: Mapping[str, Node]) -> tuple[Link, ...]:
        """All links; each interface may be used once."""
        if value is not None and not isinstance(value, list):
            self.error("topology.links", "want a list")
            return ()
        links = [
            self.link(f"topology.links[{i}]", item, nodes) for i, item in enumerate(value or ())
        ]
        seen: dict[tuple[str, str], int] = {}
        for i, link in enumerate(links):
            for end in (link.a, link.b) if link else ():
                key = (nodes[end.node].namespace_owner, end.interface)
                if key in seen:
                    what = f"{end.node}:{end.interface} is used by links[{seen[key]}] already"
                    self.error(f"topology.links[{i}]", what)
                seen.setdefault(key, i)
        return tuple(link for link in links if link is not None)

    def link(self, at: str, value: Any, nodes: Mapping[str, Node]) -> Link | None:
        """One link, in the brief or the extended form; None where it could not be read."""
        spec = self.mapping(at, value, schema.LINK)
        kind = spec.get("type", "veth")
        if kind != "veth":
            self.error(f"{at}.type", f"{kind} links need containerlab; namespaces have veth only")
            return None
        ends = spec.get("endpoints")
        if not isinstance(ends, list) or len(ends) != 2:
            self.error(f"{at}.endpoints", "want two endpoints")
            return None
        read = [self.endpoint(f"{at}.endpoints[{i}]", end, nodes) for i, end in enumerate(ends)]
        mtu = spec.get("mtu", schema.DEFAULT_MTU)
        if not isinstance(mtu, int) or not 68 <= mtu <= 65535:
            self.error(f"{at}.mtu", f"want a number from 68 to 65535, not {mtu!r}")
            return None
        a, b = read
        return Link(a=a, b=b, mtu=mtu) if a and b else None

    def endpoint(self, at: str, value: Any, nodes: Mapping[str, Node]) -> Endpoint | None:
        """``node:interface``, or the same as a mapping."""
        if isinstance(value, str) and value.count(":") == 1:
            node, _, interface = value.partition(":")
        elif isinstance(value, dict):
            spec = self.mapping(at, value, schema.ENDPOINT)
            node, interface = str(spec.get("node", "")), str(spec.get("interface", ""))
        else:
            self.error(at, f"want node:interface, not {value!r}")
            return None
        if node not in nodes:
            self.error(at, f"there is no node {node}{yamlfile.suggestion(node, nodes)}")
            return None
        if not re.fullmatch(r"[^/\s:]{1,15}", interface):
            self.error(at, f"want an interface name of 1 to 15 characters, not {interface!r}")
            return None
        return Endpoint(node=node, interface=interface)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """What a node inherits. The nearest wins: node, group, kind, defaults."""

    defaults: Mapping[str, Any]
    kinds: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]

    def merge(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """One mapping of all layers; lists add up, mappings overlay, all else is replaced."""
        group = self.groups.get(str(spec.get("group", self.defaults.get("group", ""))), {})
        kind = spec.get("kind") or group.get("kind") or self.defaults.get("kind") or "linux"
        merged: dict[str, Any] = {}
        for layer in (self.defaults, self.kinds.get(str(kind), {}), group, spec):
            for key, value in layer.items():
                if key in schema.MERGED_LISTS and isinstance(value, list):
                    merged[key] = [*merged.get(key, []), *value]
                elif key in schema.MERGED_MAPPINGS and isinstance(value, dict):
                    merged[key] = {**merged.get(key, {}), **value}
                else:
                    merged[key] = value
        return {**merged, "kind": str(kind)}


def _as_text(value: Any) -> str:
    """A YAML scalar as containerlab's string fields see it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _NodeReader:
    """Turns one merged node into a :class:`Node`."""

    def __init__(self, reader: _Reader, at: str, lab: str, name: str) -> None:
        self.reader, self.at, self.name = reader, at, name
        self.magic = {
            "__clabNodeName__": name,
            "__clabLabName__": f"clab-{lab}",
            "__clabDir__": str(reader.path.parent / f"clab-{lab}"),
            "__clabNodeDir__": str(reader.path.parent / f"clab-{lab}" / name),
        }

    def node(self, spec: Mapping[str, Any]) -> Node:
        """The node; what is wrong with it goes to the reader."""
        kind = spec["kind"]
        if kind not in schema.KINDS:
            self.error("kind", f"{kind} needs containerlab; namespaces have linux and bridge")
        part = self.name.split("|")[-1] if kind == "bridge" else self.name
        if not _NAME.fullmatch(part):
            self.error("", "want a name of letters, digits, - and _")
        elif self.name in schema.RESERVED:
            self.error("", "containerlab keeps this name for an end of a link that is no node")
        self.stages(spec.get("stages"))
        command = [self.split(key, str(spec.get(key) or "")) for key in ("entrypoint", "cmd")]
        return Node(
            name=self.name,
            kind=kind,
            image=str(spec.get("image") or ""),
            group=str(spec.get("group") or ""),
            hostname=str(spec.get("hostname") or self.name),
            binds=tuple(self.binds(spec)),
            exec=tuple(self.split("exec", line) for line in self.lines("exec", spec)),
            env=self.strings("env", spec),
            labels=self.strings("labels", spec),
            sysctls=self.strings("sysctls", spec),
            command=command[0] + command[1],
            startup_delay=self.delay(spec.get("startup-delay", 0)),
            bridge_in=self.bridge_owner(spec) if kind == "bridge" else "",
        )

    def error(self, key: str, what: str) -> None:
        """Notes an error below this node."""
        self.reader.error(f"{self.at}.{key}" if key else self.at, what)

    def stages(self, value: Any) -> None:
        """Waiting for others' links needs no help here: all links are there before anything runs. The rest does."""
        for stage, content in (value or {}).items() if isinstance(value, dict | None) else ():
            if isinstance(content, dict) and set(content) - {"wait-for"}:
                what = "only wait-for has a meaning on network namespaces"
                self.reader.warnings.append(f"{self.at}.stages.{stage}: {what}")

    def bridge_owner(self, spec: Mapping[str, Any]) -> str:
        """``br0|sw`` with network-mode ``container:sw`` lives in sw's namespace; any other stands alone."""
        bridge, bar, owner = self.name.partition("|")
        mode = str(spec.get("network-mode") or "")
        if not re.fullmatch(r"[^/\s:]{1,15}", bridge):
            self.error("", "want a bridge name of 1 to 15 characters")
        if bar and mode != f"container:{owner}":
            self.error("network-mode", f"want container:{owner}, where this bridge lives")
        return owner if bar else self.name

    def lines(self, key: str, spec: Mapping[str, Any]) -> list[str]:
        """A list of strings with containerlab's own variables filled in."""
        value = spec.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.error(key, "want a list of strings")
            return []
        return [self.fill(item) for item in value]

    def fill(self, text: str) -> str:
        """Replaces ``__clabNodeName__`` and its like."""
        for name, value in self.magic.items():
            text = text.replace(name, value)
        return text

    def split(self, key: str, line: str) -> tuple[str, ...]:
        """A command line split as a shell would; no shell runs it."""
        try:
            return tuple(shlex.split(line))
        except ValueError as error:
            self.error(key, f"{error} in {line!r}")
            return ()

    def strings(self, key: str, spec: Mapping[str, Any]) -> dict[str, str]:
        """A mapping whose values are written as text."""
        return {
            name: _as_text(value)
            for name, value in self.reader.mapping(f"{self.at}.{key}", spec.get(key), None).items()
        }

    def delay(self, value: Any) -> float:
        """Seconds to wait before the node's main process starts."""
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
        self.error("startup-delay", f"want seconds, not {value!r}")
        return 0.0

    def binds(self, spec: Mapping[str, Any]) -> list[Bind]:
        """``source:target[:ro]``; of several with one target the nearest layer's wins."""
        found: dict[str, Bind] = {}
        for i, line in enumerate(self.lines("binds", spec)):
            parts = line.split(":")
            if len(parts) not in (2, 3) or not parts[1].startswith("/"):
                self.error(f"binds[{i}]", f"want source:/target or source:/target:ro, not {line!r}")
                continue
            source = (self.reader.path.parent / Path(parts[0]).expanduser()).resolve()
            if not source.exists():
                self.error(f"binds[{i}]", f"{source} does not exist")
                continue
            options = parts[2].split(",") if len(parts) == 3 else []
            found[parts[1]] = Bind(source=source, target=parts[1], read_only="ro" in options)
        return list(found.values())
