"""What each client of KNI really sends, and protobuf itself as the judge of our bytes.

The messages follow the sources of the clients: the kubelet fork at the demo's commit and later ones, the containerd
variant, knix. ``oracle`` encodes and decodes with Google's library from ``proto/*.proto``.
"""

from __future__ import annotations

from base64 import b85decode
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from kroute.codec.kni.descriptors import DESCRIPTORS

ID = "8c1f0e9f5b7a4d6c8e2a1b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70"
NETNS = "/var/run/netns/cni-6c2ee0a1-41cd-b5ae-0d5c-3e4a0b5f9b1d"
LABELS = {
    "app": "nginx",
    "io.kubernetes.pod.name": "nginx-7c79c4bf97-wlxyz",
    "io.kubernetes.pod.namespace": "default",
    "io.kubernetes.pod.uid": "0e9c9d9a-6f3f-4d0e-9a57-3a6f1f0a8a11",
}
ANNOTATIONS = {
    "kubernetes.io/config.seen": "2024-01-12T17:03:11Z",
    "kubernetes.io/config.source": "api",
}


@dataclass(frozen=True)
class Call:
    """One call of one client: the file that describes it, the message's name, its content as JSON names it."""

    client: str
    method: str
    file: str
    message: str
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.client}-{self.method}"


@cache
def messages(file: str) -> dict[str, Any]:
    """Google's classes for the messages of one .proto file, in a pool of their own."""
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorProto.FromString(b85decode(DESCRIPTORS[file]))
    pool.Add(described)
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kni.{m.name}"))
        for m in described.message_type
    }


def encode(file: str, message: str, content: dict[str, Any]) -> bytes:
    """The bytes that Google's library makes, keys in order."""
    made = messages(file)[message]()
    json_format.ParseDict(content, made)
    return bytes(made.SerializeToString(deterministic=True))


def decode(file: str, message: str, data: bytes) -> dict[str, Any]:
    """What Google's library reads, with every field."""
    read = messages(file)[message].FromString(data)
    return dict(
        json_format.MessageToDict(
            read,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            use_integers_for_enums=True,
        )
    )


_KNOWN = {"labels": LABELS, "annotations": ANNOTATIONS}
_PODS = {"name": "nginx-7c79c4bf97-wlxyz", "namespace": "default"}
_DNS = {
    "servers": ["10.96.0.10"],
    "searches": ["default.svc.cluster.local"],
    "options": ["ndots:5"],
}
_PORTS = [
    {"container_port": 80, "host_port": 8080},
    {"protocol": 1, "container_port": 53, "host_port": 5353},
]

CALLS = [
    # Kubelet @f0473537: the demo of 12 January 2024.
    Call("demo", "AttachNetwork", "kni-v0.0.5.proto", "AttachNetworkRequest",
         {"id": ID, "isolation": {"path": NETNS, "type": "namespace"}, **_KNOWN}),
    Call("demo", "DetachNetwork", "kni-v0.0.5.proto", "DetachNetworkRequest", {"id": ID}),
    Call("demo", "QueryPodNetwork", "kni-v0.0.5.proto", "QueryPodNetworkRequest", {"id": ID}),
    Call("demo", "QueryNodeNetworks", "kni-v0.0.5.proto", "QueryNodeNetworksRequest", {}),
    # Kubelet @4edfd9b8: the netns travels in the status' info.
    Call("demo-info", "AttachNetwork", "kni-v0.0.5.proto", "AttachNetworkRequest",
         {"id": ID, **_KNOWN, "extradata": {"netns": NETNS}}),
    # Kubelet @0488a091 on v0.0.6.
    Call("kubelet-v0.0.6", "AttachNetwork", "kni-v0.0.6.proto", "AttachNetworkRequest",
         {"id": ID, **_PODS, "dns_config": _DNS, "port_mappings": _PORTS, **_KNOWN,
          "extradata": {"netns": NETNS, "cgroupPath": "/kubepods/burstable/pod0e9c"}}),
    Call("kubelet-v0.0.6", "CreateNetwork", "kni-v0.0.6.proto", "CreateNetworkRequest", _PODS),
    Call("kubelet-v0.0.6", "DeleteNetwork", "kni-v0.0.6.proto", "DeleteNetworkRequest", {"id": ID}),
    Call("kubelet-v0.0.6", "DetachNetwork", "kni-v0.0.6.proto", "DetachNetworkRequest", {"id": ID}),
    # v0.0.8.
    Call("kubelet-v0.0.8", "AttachInterface", "kni-v0.0.8.proto", "AttachInterfaceRequest",
         {"id": ID, **_PODS, "dns_config": _DNS, "port_mappings": _PORTS, **_KNOWN,
          "extradata": {"netns": NETNS}}),
    Call("kubelet-v0.0.8", "DetachInterface", "kni-v0.0.8.proto", "DetachInterfaceRequest", {"id": ID}),
    # containerd's kni-containerd-poc @a5898a66.
    Call("containerd", "CreateNetwork", "kni-v0.0.8.proto", "CreateNetworkRequest", {}),
    Call("containerd", "AttachInterface", "kni-v0.0.8.proto", "AttachInterfaceRequest",
         {"id": ID, "name": "nginx_default_0e9c_0", "namespace": "default",
          "isolation": {"path": NETNS}, **_KNOWN}),
    Call("containerd", "DeleteNetwork", "kni-v0.0.8.proto", "DeleteNetworkRequest",
         {"id": ID, "name": "nginx_default_0e9c_0", "netns_path": NETNS}),
    # knix.
    Call("knix", "CreateIsolationDomain", "kni-knix.proto", "CreateIsolationDomainRequest",
         {**_PODS, "uid": LABELS["io.kubernetes.pod.uid"]}),
    Call("knix", "AttachInterface", "kni-knix.proto", "AttachInterfaceRequest",
         {"id": ID, **_PODS, "isolation": {"path": NETNS, "type": "namespace"}, **_KNOWN}),
    Call("knix", "DetachInterface", "kni-knix.proto", "DetachInterfaceRequest", {"id": ID, **_PODS}),
    Call("knix", "DeleteIsolationDomain", "kni-knix.proto", "DeleteIsolationDomainRequest",
         {"id": ID, **_PODS}),
]  # fmt: skip
