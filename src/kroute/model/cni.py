"""The CNI network of the own node, before it becomes JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kroute.model.net import Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflist:
    """What the conflist file shall say. ``ranges`` are the own podCIDRs, primary family first, one range
    set each (host-local). ``mtu`` None leaves the bridge plugin's default.
    """

    name: str
    cni_version: str
    bridge: str
    ranges: tuple[Prefix, ...]
    mtu: int | None = None
    hairpin: bool = True
    default_gateway: bool = True
    port_map: bool = True
    loopback: bool = False
    data_dir: str = ""
    extra_plugins: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
