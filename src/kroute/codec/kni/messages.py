"""The tables: which field of which message has which number, in each generation (kni-api's api.proto).

``proto/*.proto`` say the same to other programs; a test holds both equal through protoc.
"""

from __future__ import annotations

from kroute.codec.kni.wire import Field, Kind, Message
from kroute.model import kni


def _words(number: int, name: str) -> Field:
    return Field(number, name, Kind.WORDS)


_POD = (Field(1, "name"), Field(2, "id"), Field(3, "namespace"))

ISOLATION = Message(
    "Isolation", kni.Isolation, (Field(1, "path"), Field(2, "type"), _words(3, "extradata"))
)
DNS_CONFIG = Message(
    "DNSConfig",
    kni.DnsConfig,
    (
        Field(1, "servers", Kind.TEXTS),
        Field(2, "searches", Kind.TEXTS),
        Field(3, "options", Kind.TEXTS),
    ),
)
PORT_MAPPING = Message(
    "PortMapping",
    kni.PortMapping,
    (
        Field(1, "protocol", Kind.INT32),
        Field(2, "container_port", Kind.INT32),
        Field(3, "host_port", Kind.INT32),
        Field(4, "host_ip"),
    ),
)
IP_CONFIG = Message(
    "IPConfig",
    kni.IpConfig,
    (Field(1, "ip", Kind.TEXTS), Field(2, "mac"), _words(3, "extradata")),
)
NETWORK = Message(
    "Network",
    kni.Network,
    (Field(1, "name"), Field(2, "ready", Kind.BOOL), _words(3, "extradata")),
)

CREATE_REQUEST = Message(
    "CreateNetworkRequest",
    kni.CreateRequest,
    (
        Field(1, "name"),
        Field(2, "uid"),
        Field(3, "namespace"),
        Field(4, "netns_path_prefix"),
        _words(5, "labels"),
        _words(6, "annotations"),
        _words(7, "extradata"),
    ),
)
CREATE_REPLY = Message(
    "CreateNetworkResponse", kni.CreateReply, (Field(1, "netns_path"), _words(2, "extradata"))
)
DELETE_REQUEST = Message(
    "DeleteNetworkRequest",
    kni.DeleteRequest,
    (
        Field(1, "id"),
        Field(2, "name"),
        Field(3, "namespace"),
        Field(4, "netns_path"),
        _words(5, "extradata"),
    ),
)
_ISOLATED = Field(4, "isolation", Kind.MESSAGE, ISOLATION)
ATTACH_V005 = Message(
    "AttachNetworkRequest",
    kni.AttachRequest,
    (*_POD, _ISOLATED, _words(5, "labels"), _words(6, "annotations"), _words(7, "extradata")),
)
"""Until v0.0.5; what came after reads its labels as DNS servers, without an error."""
ATTACH_V006 = Message(
    "AttachNetworkRequest",
    kni.AttachRequest,
    (
        *_POD,
        _ISOLATED,
        Field(5, "dns_config", Kind.MESSAGE, DNS_CONFIG),
        Field(6, "port_mappings", Kind.MESSAGES, PORT_MAPPING),
        _words(7, "labels"),
        _words(8, "annotations"),
        _words(9, "extradata"),
    ),
)
ATTACH_INTERFACE = Message("AttachInterfaceRequest", kni.AttachRequest, ATTACH_V006.fields)
DETACH_REQUEST = Message(
    "DetachNetworkRequest",
    kni.DetachRequest,
    (*_POD, _ISOLATED, _words(5, "labels"), _words(6, "annotations"), _words(7, "extradata")),
)
POD_QUERY = Message("QueryPodNetworkRequest", kni.PodQuery, _POD)
POD_REPLY = Message(
    "QueryPodNetworkResponse",
    kni.PodReply,
    (Field(1, "ipconfigs", Kind.NAMED, IP_CONFIG), _words(2, "extradata")),
)
"""Attach answers with the same fields."""
NODES_REPLY = Message(
    "QueryNodeNetworksResponse",
    kni.NodesReply,
    (Field(1, "networks", Kind.MESSAGES, NETWORK), _words(2, "extradata")),
)
EMPTY = Message("Empty", kni.Empty)
"""All messages without fields are alike on the wire, whatever their names."""
