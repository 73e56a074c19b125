"""A node of the cluster, as far as routing cares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kroute.model.kube_router import NodeAnnotations
from kroute.model.net import Address, Family, Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The slim value kept of a Kubernetes Node object (`kubectl get node -o yaml`).

    ``addresses`` are the InternalIP addresses in the object's order (ExternalIP where there is none), so
    the first is the primary one. ``pod_cidrs`` is ``spec.podCIDRs`` (or ``spec.podCIDR``), primary family
    first; empty while the controller has not assigned them yet. ``created`` is ``creationTimestamp`` as
    text (RFC 3339, sorts by age) and decides which of two claimants of a podCIDR came first.
    """

    name: str
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Prefix, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    created: str = ""
    uid: str = ""
    unschedulable: bool = False
    kube_router: NodeAnnotations | None = None
    """What its ``kube-router.io/…`` annotations say; None where it has none."""
    ready: bool = True
    """The Ready condition, as the node's kubelet or, in its silence, the cluster says; True where there is none."""

    def address(self, family: Family) -> Address | None:
        """The node's first address of a family, or None."""
        version = family.version
        for address in self.addresses:
            if address.version == version:
                return address
        return None

    @property
    def primary(self) -> Address | None:
        """The first address, whatever its family; None for a node that has none yet."""
        return self.addresses[0] if self.addresses else None
