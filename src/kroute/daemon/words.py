"""What peers are to be told, as the UPDATE messages that say it."""

from __future__ import annotations

import logging

from kroute.codec.bgp import TooLarge, announce, attribute_block, end_of_rib, withdraw
from kroute.plan.adj_out import Tell

log = logging.getLogger(__name__)


def encode(tell: Tell) -> bytes:
    """The UPDATE messages of a tell: withdrawals first, then announcements, then End-of-RIB. With several paths to a
    prefix announcements go first: what is withdrawn may be the last that the peer has of a prefix.

    Attributes that leave no room for a prefix in a message are left out with an error line: such a path cannot
    be announced at all (RFC 4271 §4).
    """
    size = tell.rules.message_size
    gone = withdraw(tell.family, tell.withdrawn, message_size=size) if tell.withdrawn else []
    messages: list[bytes] = []
    for attributes, nlris in tell.announced:
        block = attribute_block(tell.family, attributes, asn4=tell.rules.asn4)
        try:
            messages += announce(block, nlris, message_size=size)
        except TooLarge as error:
            log.error("not announced prefixes=%d reason=%s", len(nlris), error)
    messages = messages + gone if tell.rules.has_ids(tell.family) else gone + messages
    if tell.end_of_rib:
        messages.append(end_of_rib(tell.family))
    return b"".join(messages)
