"""kube-router's words in kroute's: its deployment for ``kroute check-config --from-kube-router``, its annotations live.

Written from kube-router 2.11's documented flags. What has no counterpart is said, never dropped in silence.
"""

from __future__ import annotations

from kroute.codec.kube_router.annotations import node_annotations
from kroute.codec.kube_router.flags import Deployment, Translation, read_deployment, translate

__all__ = ["Deployment", "Translation", "node_annotations", "read_deployment", "translate"]
