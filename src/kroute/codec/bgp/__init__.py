"""BGP UPDATE messages of IPv4 and IPv6 unicast: bodies to steps, routes to messages; no I/O.

:class:`UpdateDecoder` reads what a session receives, :func:`announce` and :func:`withdraw` write what it
sends, and :mod:`~kroute.codec.bgp.text` renders attributes for people. RFC 4271, 1997, 2545, 4360, 4456,
4724, 4760, 6793, 7606, 8092, 8950.
"""

from kroute.codec.bgp.decode import UpdateDecoder
from kroute.codec.bgp.decoded import Decoded, Row, Step
from kroute.codec.bgp.encode import (
    AttributeBlock,
    TooLarge,
    announce,
    attribute_block,
    encode_updates,
    end_of_rib,
    route_refresh,
    withdraw,
)
from kroute.codec.bgp.problems import Action, Subcode, UpdateError, UpdateProblem
from kroute.codec.bgp.text import render

__all__ = [
    "Action",
    "AttributeBlock",
    "Decoded",
    "Row",
    "Step",
    "Subcode",
    "TooLarge",
    "UpdateDecoder",
    "UpdateError",
    "UpdateProblem",
    "announce",
    "attribute_block",
    "encode_updates",
    "end_of_rib",
    "render",
    "route_refresh",
    "withdraw",
]
