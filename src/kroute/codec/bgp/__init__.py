"""BGP UPDATE messages of IPv4 and IPv6 unicast: bodies to steps, routes to messages; no I/O.

:class:`UpdateDecoder` reads what a session receives, :mod:`~kroute.codec.bgp.encode` writes what it sends,
and :mod:`~kroute.codec.bgp.text` renders attributes for people. RFC 4271, 1997, 2545, 4360, 4456, 4724,
4760, 6793, 7606, 8092, 8950.
"""

from kroute.codec.bgp.decode import Decoded, Step, UpdateDecoder
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem

__all__ = ["Action", "Decoded", "Step", "Subcode", "UpdateDecoder", "UpdateError", "UpdateProblem"]
