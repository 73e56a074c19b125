"""kroute: the BGP route-exchange network manager of a Kubernetes node.

Start reading at :mod:`kroute.plan` (what is decided), then :mod:`kroute.daemon` (how it is wired).
"""

__version__ = "0.1.0"
