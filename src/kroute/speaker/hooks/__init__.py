"""Everything that leans on ExaBGP's inside, each hook in one place.

``install()`` replaces attributes of ExaBGP's modules; the other modules subclass its classes:

========================  ==========================================  ==================================================
here                      there                                       why
========================  ==========================================  ==================================================
``wire.Wire``             ``reactor.network.connection.Connection``   buffered both ways, runs of UPDATEs, never blocks
``protocol.Protocol``     ``reactor.protocol.Protocol``               our sockets, our checks of the negotiation
``protocol.Offer``        ``...open.capability.Capabilities``         F and N bit, plain route refresh only
``protocol.Keepalives``   ``reactor.keepalive.KA``                    an interval of our own, also while it runs
``protocol.Interval``     ``bgp.message.open.holdtime.HoldTime``      the same, of the negotiated hold time
``peer.Peer``             ``reactor.peer.Peer``                       events, back-off
``peer.FlatRib``          ``rib.RIB``                                 the daemon owns every RIB
``install()``             ``reactor.peer.Protocol``                   Peer makes our Protocol
``install()``             ``reactor.peer.KA``                         and our Keepalives
``install()``             ``reactor.protocol.Capabilities``           the OPEN carries our Offer
``install()``             ``bgp.timer.time``                          timers run on the monotonic clock
``install()``             ``logger.log``                              silence below error, errors become frames
========================  ==========================================  ==================================================
"""

from kroute.speaker.hooks.install import install

__all__ = ["install"]
