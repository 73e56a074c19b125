"""Drawing a topology: as text for terminals, as a Mermaid diagram for pages."""

from __future__ import annotations

import re

from kroute.lab.topology import Endpoint, Topology


def mermaid(topology: Topology) -> str:
    """A Mermaid ``graph``; switches are rounded."""
    lines = ["graph TD"]
    for node in topology.nodes.values():
        if node.is_switch:
            lines.append(f'  {_id(node.name)}("{node.bridge}")')
        elif any(node.name in (link.a.node, link.b.node) for link in topology.links):
            image = f"<br/>{node.image}" if node.image else ""
            lines.append(f'  {_id(node.name)}["{node.name}{image}"]')
    for link in topology.links:
        text = f"{link.a.interface} - {link.b.interface}"
        lines.append(f'  {_id(link.a.node)} ---|"{text}"| {_id(link.b.node)}')
    return "\n".join(lines) + "\n"


def text(topology: Topology) -> str:
    """One paragraph per node: what it is, and where each of its interfaces leads."""
    lines = [f"lab {topology.name}"]
    for node in topology.nodes.values():
        what = "switch" if node.is_switch else node.image or node.kind
        lines.append(f"{node.name}  {what}")
        for link in topology.links:
            lines += _cable(node.name, link.a, link.b)
            lines += _cable(node.name, link.b, link.a)
    return "\n".join(lines) + "\n"


def _cable(name: str, here: Endpoint, there: Endpoint) -> list[str]:
    """One end of a link, if it is this node's."""
    return [f"  {here.interface} ── {there.node}:{there.interface}"] if here.node == name else []


def _id(name: str) -> str:
    """A name that Mermaid takes as an identifier."""
    return re.sub(r"\W", "_", name)
