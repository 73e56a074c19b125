"""Which keys of containerlab's topology file mean something here.

Three kinds of keys: honoured, harmless (they speak of containers, and namespaces have no counterpart that could
matter), and ignored with a warning. Any other key is an error, as it is for containerlab, which reads strictly.
"""

from __future__ import annotations

from collections.abc import Mapping

HONOURED, HARMLESS, IGNORED = "honoured", "harmless", "ignored"

TOP: Mapping[str, str] = {
    "name": HONOURED,
    "topology": HONOURED,
    "prefix": HARMLESS,
    "debug": HARMLESS,
    "mgmt": IGNORED,
    "settings": IGNORED,
}

TOPOLOGY: Mapping[str, str] = dict.fromkeys(
    ("defaults", "kinds", "groups", "nodes", "links"), HONOURED
)

_NODE_HONOURED = "binds cmd entrypoint env exec group hostname image kind labels network-mode startup-delay sysctls"
_NODE_HARMLESS = (
    "auto-remove cap-add cgroup-parent cgroupns-mode config image-pull-policy license"
    " position privileged restart-policy runtime security-opts shm-size stages type"
)
_NODE_IGNORED = (
    "aliases certificate components cpu cpu-set credentials devices dns enforce-startup-config env-files extras"
    " healthcheck link-apply-mode memory mgmt-ipv4 mgmt-ipv6 pid-mode ports startup-config"
    " suppress-startup-config tmpfs user volumes"
)
NODE: Mapping[str, str] = {
    **dict.fromkeys(_NODE_HONOURED.split(), HONOURED),
    **dict.fromkeys(_NODE_HARMLESS.split(), HARMLESS),
    **dict.fromkeys(_NODE_IGNORED.split(), IGNORED),
}

LINK: Mapping[str, str] = {
    "endpoints": HONOURED,
    "type": HONOURED,
    "mtu": HONOURED,
    "vars": HARMLESS,
    "labels": HARMLESS,
    "ipv4": IGNORED,
    "ipv6": IGNORED,
}

ENDPOINT: Mapping[str, str] = {
    "node": HONOURED,
    "interface": HONOURED,
    "vars": HARMLESS,
    "mac": IGNORED,
    "ipv4": IGNORED,
    "ipv6": IGNORED,
}

KINDS = ("linux", "bridge")
"""The kinds that namespaces can stand for."""

RESERVED = ("host", "mgmt-net")
"""Names that containerlab reads in a link's endpoints as the machine itself and its management network."""

MERGED_LISTS = ("binds", "exec")
"""Lists to which each layer (defaults, kind, group, node) adds."""

MERGED_MAPPINGS = ("env", "labels", "sysctls")
"""Mappings of which the nearest layer wins key by key."""

DEFAULT_MTU = 9500
"""containerlab's own default for veth links."""
